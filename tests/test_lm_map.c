/*
 * test_lm_map.c - pal_lm_map: a model whose mixers contain those of another computes the same.
 *
 * The maps are derived in docs/reductions.md, and tests/test_layer_reductions.c compares layers and
 * gradients. Here whole models are compared, and what cannot be mapped is a sentence.
 */
#include <palimpsest.h>

#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct model {
    pal_params *params;
    pal_lm *lm;
} model;

static model make(const char *mixers, pal_lm_opts o, uint64_t seed)
{
    model m = {pal_params_new(), NULL};
    pal_rng rng = pal_rng_new(seed, 0);
    o.mixers = mixers;
    if (!o.vocab) o.vocab = 40;
    if (!o.width) o.width = 24;
    o.layers = 2;
    m.lm = pal_lm_new(m.params, o, &rng);
    ck_assert_ptr_nonnull(m.lm);
    return m;
}

static void end(model *m) { pal_params_free(m->params); }

/* The largest difference of logits over 70 tokens, which are more than a chunk. */
static double difference(const model *a, const model *b)
{
    enum { T = 70 };
    int64_t token[T];
    double most = 0;
    for (int i = 0; i < T; i++) token[i] = (i * 11 + 5) % 40;
    pal_tape *tape = pal_tape_new();
    pal_set_grad(tape, false);
    const pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(1, T), token);
    const pal_tensor x = pal_cast(pal_lm_logits(a->lm, in, (pal_run_opts){0}), PAL_F64);
    const pal_tensor y = pal_cast(pal_lm_logits(b->lm, in, (pal_run_opts){0}), PAL_F64);
    for (int64_t i = 0; i < T * 40; i++) {
        const double d = fabs(pal_f64(x)[i] - pal_f64(y)[i]);
        if (!(d <= most)) most = d;
    }
    pal_tape_free(tape);
    return most;
}

static const struct pair {
    const char *small, *large;
    pal_dtype dtype;
    double tolerance;
} pairs[] = {
    {"gdn:num_heads=2:head_dim=8:output_gate=none:expand_v=1",
     "kda:num_heads=2:head_dim=8:output_gate=none:expand_v=1", PAL_F64, 1e-10},
    {"gdn:num_heads=2:head_dim=8:output_gate=none:expand_v=1",
     "gdn2:num_heads=2:head_dim=8:output_gate=none:expand_v=1", PAL_F64, 1e-10},
    {"kda:num_heads=2:head_dim=8:output_gate=silu", "gdn2:num_heads=2:head_dim=8", PAL_F64, 1e-10},
    {"kda:num_heads=2:head_dim=8:output_gate=silu", "gdn2:num_heads=2:head_dim=8", PAL_F32, 1e-4},
    {"kda:num_heads=2:head_dim=8,swa:num_heads=2:window_size=8",
     "gdn2:num_heads=2:head_dim=8:output_gate=sigmoid,swa:num_heads=2:window_size=8", PAL_F64,
     1e-10},
    {"gdn:num_heads=2:num_v_heads=4:head_dim=8:output_gate=none",
     "kda:num_heads=2:num_v_heads=4:head_dim=8:output_gate=none:expand_v=2", PAL_F64, 1e-10},
};

START_TEST(same_function)
{
    const struct pair *p = &pairs[_i];
    pal_error error;
    model small = make(p->small, (pal_lm_opts){.dtype = p->dtype}, 1);
    model large = make(p->large, (pal_lm_opts){.dtype = p->dtype}, 2);
    ck_assert_double_gt(difference(&small, &large), 1e-2);
    const pal_status s = pal_lm_map(large.lm, large.params, small.lm, small.params, &error);
    ck_assert_msg(s == PAL_OK, "%s", error.message);
    ck_assert_double_lt(difference(&small, &large), p->tolerance);
    end(&small);
    end(&large);
}
END_TEST

/* All channels through which the larger decay comes can be trained: if a row of f_proj.0 and its
 * column of f_proj.1 were both 0, neither would ever have a gradient. */
START_TEST(nothing_is_dead)
{
    enum { T = 20, HEADS = 2 };
    int64_t token[T], target[T];
    pal_error error;
    const char *large = _i ? "gdn2:num_heads=2:head_dim=8:output_gate=none:expand_v=1"
                           : "kda:num_heads=2:head_dim=8:output_gate=none:expand_v=1";
    model from = make(pairs[0].small, (pal_lm_opts){.dtype = PAL_F64}, 1);
    model to = make(large, (pal_lm_opts){.dtype = PAL_F64}, 2);
    ck_assert_int_eq(pal_lm_map(to.lm, to.params, from.lm, from.params, &error), PAL_OK);
    for (int i = 0; i < T; i++) token[i] = (i * 11 + 5) % 40, target[i] = (i * 7 + 1) % 40;
    pal_tape *tape = pal_tape_new();
    pal_backward(pal_lm_loss(to.lm, pal_from(tape, PAL_I64, PAL_SHAPE(1, T), token),
                             pal_from(tape, PAL_I64, PAL_SHAPE(1, T), target), (pal_run_opts){0}));
    const pal_array g =
        pal_value(pal_grad(pal_params_find(to.params, "model.layers.0.attn.f_proj.1.weight")));
    const int64_t rows = g.shape[0], columns = g.shape[1];
    ck_assert_int_gt(columns, HEADS);
    for (int64_t c = 0; c < columns; c++) {
        double most = 0;
        for (int64_t r = 0; r < rows; r++)
            most = fmax(most, fabs(((const double *)g.data)[r * columns + c]));
        ck_assert_double_gt(most, 0);
    }
    pal_tape_free(tape);
    end(&from);
    end(&to);
}
END_TEST

static const struct refusal {
    const char *small, *large, *says;
    pal_lm_opts opts; /* of the large one */
} refusals[] = {
    {"gdn:num_heads=2:head_dim=8",
     "kda:num_heads=2:head_dim=8:expand_v=2",
     "becomes",
     {.dtype = PAL_F64}},
    {"gdn2:num_heads=2:head_dim=8",
     "kda:num_heads=2:head_dim=8",
     "does not contain",
     {.dtype = PAL_F64}},
    {"attn:num_heads=2", "swa:num_heads=2:window_size=64", "does not contain", {.dtype = PAL_F64}},
    {"swa:num_heads=2:window_size=32",
     "swa:num_heads=2:window_size=64",
     "does not contain",
     {.dtype = PAL_F64}},
    {"kda:num_heads=2:head_dim=8",
     "gdn2:num_heads=2:head_dim=8:output_gate=none",
     "no place",
     {.dtype = PAL_F64}},
    {"kda:num_heads=2:head_dim=8",
     "gdn2:num_heads=2:head_dim=8",
     "something else",
     {.dtype = PAL_F64}},
    {"kda:num_heads=2:head_dim=8:output_gate=silu:allow_neg_eigval=true",
     "gdn2:num_heads=2:head_dim=8:allow_neg_eigval=true",
     "something else",
     {.dtype = PAL_F64}},
    {"kda:num_heads=2:head_dim=8:output_gate=silu",
     "gdn2:num_heads=2:head_dim=8",
     "has 40 tokens",
     {.vocab = 41, .dtype = PAL_F64}},
    {"kda:num_heads=2:head_dim=8:output_gate=silu",
     "gdn2:num_heads=2:head_dim=8",
     "becomes",
     {.width = 16, .dtype = PAL_F64}},
    {"kda:num_heads=2:head_dim=8:output_gate=silu",
     "gdn2:num_heads=2:head_dim=8",
     "element types",
     {.dtype = PAL_F32}},
};

START_TEST(nothing_changes)
{
    const struct refusal *r = &refusals[_i];
    pal_error error;
    model small = make(r->small, (pal_lm_opts){.dtype = PAL_F64}, 1),
          large = make(r->large, r->opts, 2);
    model same = make(r->large, r->opts, 2);
    ck_assert_int_ne(pal_lm_map(large.lm, large.params, small.lm, small.params, &error), PAL_OK);
    ck_assert_msg(strstr(error.message, r->says) != NULL, "%s", error.message);
    for (int i = 0; i < pal_params_count(large.params); i++) {
        const pal_array a = pal_params_array(large.params, i), b = pal_params_array(same.params, i);
        ck_assert_int_eq(
            memcmp(a.data, b.data, (size_t)pal_array_count(&a) * pal_dtype_size(a.dtype)), 0);
    }
    end(&small);
    end(&large);
    end(&same);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lm_map");
    TCase *tests = tcase_create("map");
    tcase_add_loop_test(tests, same_function, 0, sizeof pairs / sizeof *pairs);
    tcase_add_loop_test(tests, nothing_is_dead, 0, 2);
    tcase_add_loop_test(tests, nothing_changes, 0, sizeof refusals / sizeof *refusals);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
