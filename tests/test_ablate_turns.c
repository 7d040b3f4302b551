/*
 * test_ablate_turns.c - edits of Mamba-3 by ablate --layers: each gives the same logits as another
 * way to do it, which is weights set by hand, a hook, or a model with one row a token.
 */
#include "tests/ablate/edited.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

enum { DI = 2 * WIDTH, HEADS = DI / 6, N = 6, J = 3 }; /* of MAMBA3 */

static double *numbers(const model_of *m, int layer, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "model.layers.%d.attn.%s", layer, what);
    for (int i = 0; i < pal_params_count(m->params); i++)
        if (strcmp(pal_params_name(m->params, i), name) == 0)
            return pal_params_array(m->params, i).data;
    ck_abort_msg("no parameter %s", name);
    return NULL;
}

/* Rows of the projection: their weights are 0 and their biases `bias`, so they are no function of
 * the input. */
static void fix_rows(const model_of *m, int layer, int first, int rows, double bias)
{
    double *w = numbers(m, layer, "in_proj.weight"), *b = numbers(m, layer, "in_proj.bias");
    for (int i = first; i < first + rows; i++) {
        for (int c = 0; c < WIDTH; c++) w[i * WIDTH + c] = 0;
        b[i] = bias;
    }
    pal_params_touch(m->params);
}

/* lam is the sigmoid of its rows, which come before those of the angles, whose rates are pi tanh of
 * them. */
static void fix(const model_of *m, int layer, edit e)
{
    const int first = 2 * DI + 2 * N + 2 * HEADS;
    if (e == EULER)
        fix_rows(m, layer, first, HEADS, 1e4);
    else
        fix_rows(m, layer, first + HEADS, J, 0);
}

START_TEST(as_fixed_rows)
{
    const int layer = _i % LAYERS;
    const edit e = _i / LAYERS ? NO_TURN : EULER;
    double is[LOGITS], wanted[LOGITS];
    const model_of m = edit_model(MAMBA3, MAMBA3, layer);
    edit_run(&m, layer, e, is);
    fix(&m, layer, e);
    edit_plain(&m, (pal_run_opts){0}, 1, wanted);
    edit_agree(is, wanted, e, layer);
    pal_params_free(m.params);
}
END_TEST

/* A hook that takes the biases from keys and queries, to which the rule adds them. Every head has a
 * group, so it can. */
typedef struct unbiased {
    const model_of *m;
    int layer;
} unbiased;

static bool take_bias(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    const unbiased *u = user;
    const bool k = strcmp(name, "k") == 0;
    if (layer != u->layer || (!k && strcmp(name, "q") != 0)) return true;
    const double *bias = numbers(u->m, u->layer, k ? "B_bias" : "C_bias"); /* [HEADS,R,N] */
    const pal_shape s = pal_shape_of(*t);                                  /* [B,T,R,HEADS,N] */
    const int64_t R = s.dim[2];
    *t = pal_affine(*t, 1, 0);
    double *x = pal_edit(*t).data;
    for (int64_t i = 0; i < B * T * R * HEADS * N; i++)
        x[i] -= bias[(i / N % HEADS * R + i / N / HEADS % R) * N + i % N];
    return true;
}

static const char *const several[] = {MAMBA3 ":n_groups=4",
                                      MAMBA3 ":n_groups=4:is_mimo=true:mimo_rank=2"};

START_TEST(without_biases)
{
    const int layer = _i % LAYERS;
    const char *text = several[_i / LAYERS];
    double is[LOGITS], wanted[LOGITS];
    const model_of m = edit_model(text, text, layer);
    unbiased mine = {&m, layer};
    edit_run(&m, layer, NO_BIAS, is);
    edit_plain(&m, (pal_run_opts){.hook = take_bias, .user = &mine}, 1, wanted);
    edit_agree(is, wanted, NO_BIAS, layer);
    pal_params_free(m.params);
}
END_TEST

/* With one row: B and C come from the other model, as means. */
enum { RANKS = 4, GROUPS = 2, ROWS = GROUPS * N };
typedef struct one_row {
    int layer;
    double mean[2][B * T * ROWS]; /* of q and k */
} one_row;

static bool keep_rows(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    one_row *o = user;
    if (layer != o->layer || (strcmp(name, "k") != 0 && strcmp(name, "q") != 0)) return true;
    double *to = o->mean[*name == 'k'];
    const double *x = pal_f64(pal_contiguous(*t)); /* [B,T,RANKS,GROUPS,N] */
    for (int i = 0; i < B * T * ROWS; i++) {
        to[i] = 0;
        for (int r = 0; r < RANKS; r++)
            to[i] += x[(i / ROWS * RANKS + r) * ROWS + i % ROWS] / RANKS;
    }
    return true;
}

static bool put_rows(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    one_row *o = user;
    if (layer == o->layer && (strcmp(name, "k") == 0 || strcmp(name, "q") == 0)) {
        *t = pal_affine(*t, 1, 0);
        memcpy(pal_edit(*t).data, o->mean[*name == 'k'], sizeof o->mean[0]);
    }
    return true;
}

/* [HEADS,1,w] of [HEADS,RANKS,w]: the mean times `by`. */
static void join(const model_of *to, const model_of *from, int layer, const char *what, int w,
                 double by)
{
    const double *x = numbers(from, layer, what);
    double *y = numbers(to, layer, what);
    for (int i = 0; i < HEADS * w; i++) {
        y[i] = 0;
        for (int r = 0; r < RANKS; r++) y[i] += by * x[(i / w * RANKS + r) * w + i % w] / RANKS;
    }
}

/* The rows of z and x, and those after B and C. */
static void take_projection(const model_of *to, const model_of *from, int layer)
{
    const int rest = 3 * HEADS + J, b = 2 * DI + 2 * RANKS * ROWS, a = 2 * DI + 2 * ROWS;
    const double *w = numbers(from, layer, "in_proj.weight");
    const double *v = numbers(from, layer, "in_proj.bias");
    double *x = numbers(to, layer, "in_proj.weight"), *y = numbers(to, layer, "in_proj.bias");
    memcpy(x, w, sizeof(double) * 2 * DI * WIDTH);
    memcpy(x + a * WIDTH, w + b * WIDTH, sizeof(double) * (size_t)(rest * WIDTH));
    memcpy(y, v, sizeof(double) * 2 * DI);
    memcpy(y + a, v + b, sizeof(double) * (size_t)rest);
}

/* Equal rows are one row whose x and o count as often as there are rows; D x is only in one share
 * of them. */
START_TEST(equal_rows)
{
    static const char text[] = MAMBA3 ":n_groups=2:is_mimo=true:mimo_rank=4";
    const int layer = _i;
    double is[LOGITS], wanted[LOGITS];
    const model_of m = edit_model(text, text, layer),
                   one = edit_model(text, MAMBA3 ":n_groups=2:is_mimo=true:mimo_rank=1", layer);
    one_row mine = {.layer = layer};
    edit_run(&m, layer, EQUAL_ROWS, is);
    edit_take(&one, &m);
    take_projection(&one, &m, layer);
    join(&one, &m, layer, "B_bias", N, 1);
    join(&one, &m, layer, "C_bias", N, 1);
    join(&one, &m, layer, "mimo_x", 6, RANKS);
    join(&one, &m, layer, "mimo_z", 6, 1);
    join(&one, &m, layer, "mimo_o", 6, RANKS);
    for (int h = 0; h < HEADS; h++) numbers(&one, layer, "D")[h] /= RANKS;
    pal_params_touch(one.params);
    edit_plain(&m, (pal_run_opts){.hook = keep_rows, .user = &mine}, 1, wanted);
    edit_plain(&one, (pal_run_opts){.hook = put_rows, .user = &mine}, 1, wanted);
    edit_agree(is, wanted, EQUAL_ROWS, layer);
    pal_params_free(m.params);
    pal_params_free(one.params);
}
END_TEST

/* What a layer does not have cannot be taken away. */
START_TEST(what_can_be)
{
    static const struct {
        const char *text;
        bool has[EDITS];
    } all[] = {
        {GDN2, {[SKIP] = 1, [MEAN_B] = 1, [MEAN_W] = 1, [TIE] = 1, [MEAN_G] = 1, [NO_CONV] = 1}},
        {MAMBA2, {[SKIP] = 1, [NO_CONV] = 1}},
        {MAMBA3, {[SKIP] = 1, [EULER] = 1, [NO_TURN] = 1, [NO_BIAS] = 1}},
        {"mamba3:state_size=1", {[SKIP] = 1, [EULER] = 1, [NO_BIAS] = 1}},
        {MAMBA3 ":is_mimo=true:mimo_rank=1",
         {[SKIP] = 1, [EULER] = 1, [NO_TURN] = 1, [NO_BIAS] = 1}},
        {MAMBA3 ":is_mimo=true",
         {[SKIP] = 1, [EULER] = 1, [NO_TURN] = 1, [NO_BIAS] = 1, [EQUAL_ROWS] = 1}}};
    double out[LOGITS];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const model_of m = edit_model(all[i].text, all[i].text, 0);
        pal_tape *tape = pal_tape_new();
        pal_set_grad(tape, false);
        surgeon *s = surgeon_new(m.params, tape, LAYERS);
        surgeon_begin(s, -1, NOTHING);
        edit_pass(&m, tape, surgeon_opts(s), out);
        surgeon_end(s);
        for (edit e = SKIP; e < EDITS; e++)
            ck_assert_msg(surgeon_can(s, 1, e) == all[i].has[e], "%s: %s", all[i].text,
                          edit_name(e));
        surgeon_free(s);
        pal_tape_free(tape);
        pal_params_free(m.params);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ablate's edits of Mamba-3");
    TCase *tc = tcase_create("edits");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, as_fixed_rows, 0, 2 * LAYERS);
    tcase_add_loop_test(tc, without_biases, 0, 2 * LAYERS);
    tcase_add_loop_test(tc, equal_rows, 0, LAYERS);
    tcase_add_test(tc, what_can_be);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
