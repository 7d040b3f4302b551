/*
 * test_mamba3_layer.c - the Mamba-3 layer: its equations, the same bits on any number of threads,
 * causality to the bit, the floor of the decay, and pre-activations that overflow elsewhere.
 */
#include "tests/support/rule_compare.h"
#include "tests/support/trial.h"

#include "autograd/internal.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 32 };

enum { N = 12 };
static const char *const texts[] = {
    "mamba3:head_dim=8:state_size=12:n_groups=2:use_bias=true",
    "mamba3:head_dim=16:state_size=12:n_groups=2:is_mimo=true:is_outproj_norm=true:use_bias=true",
    ("mamba3:head_dim=8:state_size=12:is_mimo=true:mimo_rank=2:rope_fraction=1:A_act=heavy_tail"
     ":use_bias=true"),
};
enum { TEXTS = sizeof texts / sizeof *texts };
static const struct sizes {
    int64_t H, G, R, J;
    bool mimo, norm, heavy_tail;
} sizes[] = {{8, 2, 1, 3, false, false, false},
             {4, 2, 4, 3, true, true, false},
             {8, 1, 2, 6, true, false, true}};
enum { INNER = 2 * WIDTH };

/* ---- A call ---- */

typedef struct layer_call {
    const pal_mixer *mixer;
    pal_rule_mode mode;
    bool packed;
    int64_t first; /* only outputs of so many tokens, and no state; 0: everything */
} layer_call;

static int forward(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    const layer_call *c = context;
    const int64_t offsets[] = {0, 37, 37, 38, pal_dim(x, 1)};
    pal_run_opts run = {.mode = c->mode};
    pal_mixer_state state = {.seen = 0};
    if (c->packed) run.offsets = pal_from(tape, PAL_I64, PAL_SHAPE(5), offsets);
    out[0] = pal_mixer_forward(c->mixer, x, &state, run);
    if (c->first) {
        out[0] = pal_slice(out[0], 1, 0, c->first, 1);
        return 1;
    }
    int n = 1;
    for (; n <= PAL_RULE_STATES; n++) out[n] = state.part[n - 1].tensor;
    return n;
}

static void check_same_bits(const trial_result *a, const trial_result *b, int values,
                            const char *text)
{
    ck_assert_int_eq(a->count, b->count);
    for (int i = 0; i < values; i++)
        ck_assert_msg(memcmp(a->value[i].data, b->value[i].data,
                             (size_t)pal_array_count(&a->value[i]) * sizeof(double)) == 0,
                      "%s: %s has other bits", text, a->name[i]);
}

/* ---- The equations ---- */

static int index_of(pal_params *params, const char *name)
{
    for (int i = 0; i < pal_params_count(params); i++)
        if (strcmp(pal_params_name(params, i), name) == 0) return i;
    ck_abort_msg("there is no %s", name);
    return -1;
}

typedef struct equations {
    const struct sizes *z;
    pal_params *params;
    pal_tensor x, weight, bias; /* the input, and in_proj */
} equations;

static pal_tensor param(const equations *e, const char *name)
{
    return pal_on(pal_tape_of(e->x.node), pal_params_at(e->params, index_of(e->params, name)));
}

/* x times rows first .. first + n - 1 of the projection. */
static pal_tensor projected(const equations *e, int64_t first, int64_t n)
{
    const pal_tensor w = pal_slice(e->weight, 0, first, first + n, 1);
    return pal_add(pal_matmul(e->x, pal_transpose(w, 0, 1)),
                   pal_slice(e->bias, 0, first, first + n, 1));
}

static pal_tensor normed(pal_tensor x, pal_tensor weight)
{
    const pal_tensor square = pal_mean(pal_square(x), -1, true);
    return pal_mul(pal_mul(x, pal_rsqrt(pal_affine(square, 1, 1e-5))), weight);
}

/* B or C [B,T,R,G,N], row by row: those of a rank stand together. */
static pal_tensor keys(const equations *e, int64_t first, pal_tensor norm)
{
    pal_tensor rank[4], group[2];
    for (int64_t r = 0; r < e->z->R; r++) {
        for (int64_t g = 0; g < e->z->G; g++)
            group[g] = normed(projected(e, first + (r * e->z->G + g) * N, N), norm);
        rank[r] = pal_stack((int)e->z->G, group, 2);
    }
    return pal_stack((int)e->z->R, rank, 2);
}

/* g of the raw A and the step. */
static pal_tensor decays(const equations *e, pal_tensor a, pal_tensor dt)
{
    pal_tensor f = pal_softplus(a);
    if (e->z->heavy_tail) {
        const pal_tensor zero = pal_affine(a, 0, 0), one = pal_affine(a, 0, 1);
        f = pal_add(pal_relu(a), pal_div(one, pal_sub(one, pal_minimum(a, zero))));
    }
    return pal_neg(pal_mul(pal_maximum(f, pal_affine(f, 0, 1e-4)), dt));
}

/* y of the rows o [B,T,H,R,P] and the gate z [B,T,H,P]. */
static pal_tensor joined(const equations *e, pal_tensor o, pal_tensor z)
{
    pal_tensor y = PAL_NONE;
    for (int64_t i = 0; i < e->z->R; i++) {
        pal_tensor row = pal_select(o, 3, i), gate = z;
        if (e->z->norm)
            row = normed(row,
                         pal_reshape(param(e, "norm.weight"), PAL_SHAPE(e->z->H, INNER / e->z->H)));
        if (e->z->mimo) gate = pal_mul(z, pal_select(param(e, "mimo_z"), 1, i));
        row = pal_mul(row, pal_silu(gate));
        if (e->z->mimo) row = pal_mul(row, pal_select(param(e, "mimo_o"), 1, i));
        y = i ? pal_add(y, row) : row;
    }
    return y;
}

static int by_equations(const void *context, pal_tape *tape, pal_tensor x, pal_tensor *out)
{
    equations e = *(const equations *)context;
    const int64_t B = pal_dim(x, 0), T = pal_dim(x, 1), H = e.z->H, rows = e.z->R * e.z->G * N;
    const pal_shape by_head = PAL_SHAPE(B, T, H, INNER / H);
    const int64_t steps = 2 * INNER + 2 * rows;
    (void)tape;
    e.x = x, e.weight = param(&e, "in_proj.weight"), e.bias = param(&e, "in_proj.bias");
    const pal_tensor z = pal_reshape(projected(&e, 0, INNER), by_head);
    const pal_tensor v = pal_reshape(projected(&e, INNER, INNER), by_head);
    const pal_tensor k = keys(&e, 2 * INNER, param(&e, "B_norm.weight"));
    const pal_tensor q = keys(&e, 2 * INNER + rows, param(&e, "C_norm.weight"));
    const pal_tensor dt = pal_softplus(pal_add(projected(&e, steps, H), param(&e, "dt_bias")));
    const pal_tensor g = decays(&e, projected(&e, steps + H, H), dt);
    const pal_tensor lam = pal_sigmoid(projected(&e, steps + 2 * H, H));
    const pal_tensor om =
        pal_affine(pal_tanh(projected(&e, steps + 3 * H, e.z->J)), 3.14159265358979312, 0);
    const pal_rule_out r =
        pal_mamba3(v, dt, g, lam, om, k, q, param(&e, "B_bias"), param(&e, "C_bias"),
                   param(&e, "D"), e.z->mimo ? param(&e, "mimo_x") : PAL_NONE,
                   (pal_rule_opts){.mode = PAL_RULE_COMPOSED,
                                   .pair = e.z->mimo ? PAL_PAIR_HALF : PAL_PAIR_ADJACENT});
    const pal_tensor y = pal_reshape(joined(&e, r.o, z), PAL_SHAPE(B, T, INNER));
    out[0] = pal_add(pal_matmul(y, pal_transpose(param(&e, "out_proj.weight"), 0, 1)),
                     param(&e, "out_proj.bias"));
    out[1] = r.state;
    for (int i = 1; i < PAL_RULE_STATES; i++) out[1 + i] = r.more[i - 1];
    return 1 + PAL_RULE_STATES;
}

/* The layer gives what its equations give, written down once more: the order of the projection's
 * rows, B and C by rank and then group, norm before gate, pairs by halves with several rows. */
START_TEST(layer_is_its_equations)
{
    trial_layer l = trial_layer_new(texts[_i], WIDTH, PAL_F64, 5);
    const layer_call c = {l.mixer, PAL_RULE_CHUNK, false, 0};
    const equations e = {.z = &sizes[_i], .params = l.params};
    pal_array x = trial_input(3, PAL_SHAPE(2, 20, WIDTH));
    const trial t = {forward, &c, l.params, PAL_F64, &x};
    const trial u = {by_equations, &e, l.params, PAL_F64, &x};
    trial_result layer = trial_run(&t), written = trial_run(&u);
    trial_agree(&layer, &written, 1e-10, 1e-10, texts[_i]);
    trial_free(&layer), trial_free(&written);
    free(x.data);
    pal_params_free(l.params);
}
END_TEST

/* ---- Bits ---- */

/* 1, 2, 3 and 16 threads give the same output, state and gradients, in rows of a batch and packed,
 * in either fused mode. */
START_TEST(threads_change_no_bit)
{
    static const int threads[] = {2, 3, 16};
    const char *text = texts[_i];
    for (int i = 0; i < 8 * ISAS; i++) {
        if (!test_isa(i / 8, text)) continue;
        const bool packed = i % 2;
        const pal_dtype dtype = i / 2 % 2 ? PAL_F32 : PAL_F64;
        char how[256];
        trial_layer l = trial_layer_new(text, WIDTH, dtype, 5);
        const layer_call c = {l.mixer, i / 4 % 2 ? PAL_RULE_RECURRENT : PAL_RULE_CHUNK, packed, 0};
        pal_array x = trial_input(3, packed ? PAL_SHAPE(1, 130, WIDTH) : PAL_SHAPE(2, 70, WIDTH));
        const trial t = {forward, &c, l.params, dtype, &x};
        pal_set_threads(1);
        trial_result one = trial_run(&t);
        for (int j = 0; j < 3; j++) {
            pal_set_threads(threads[j]);
            ck_assert_int_eq(pal_team(INT64_C(1) << 20), threads[j]); /* they do work in a team */
            trial_result r = trial_run(&t);
            snprintf(how, sizeof how, "%s, mode %s, %s on %s%s, %d threads", text,
                     rule_mode_name(c.mode), pal_dtype_name(dtype), isa_name(),
                     packed ? ", packed" : "", threads[j]);
            check_same_bits(&r, &one, one.count, how);
            trial_free(&r);
        }
        trial_free(&one);
        free(x.data);
        pal_params_free(l.params);
    }
}
END_TEST

/* A token, and so its step, decay, angles, keys and all, changes nothing before it: neither outputs
 * nor the gradient of the input there. */
START_TEST(causal)
{
    static const int64_t cuts[] = {1, 15, 16, 40};
    for (int i = 0; i < 8; i++) {
        const pal_dtype dtype = i % 2 ? PAL_F32 : PAL_F64;
        const int64_t cut = cuts[i / 2];
        trial_layer l = trial_layer_new(texts[_i], WIDTH, dtype, 5);
        const layer_call c = {l.mixer, PAL_RULE_CHUNK, false, cut};
        pal_array x = trial_input(3, PAL_SHAPE(1, 70, WIDTH));
        const trial t = {forward, &c, l.params, dtype, &x};
        trial_result one = trial_run(&t);
        for (int64_t j = cut * WIDTH; j < 70 * WIDTH; j++) ((double *)x.data)[j] *= -0.5;
        trial_result two = trial_run(&t);
        check_same_bits(&two, &one, 2, texts[_i]); /* the output, and the gradient of x */
        trial_free(&one), trial_free(&two);
        free(x.data);
        pal_params_free(l.params);
    }
}
END_TEST

/* ---- Steps and decays ---- */

/* The row of in_proj where the steps of the heads begin. */
static int64_t steps_at(int i) { return 2 * INNER + 2 * sizes[i].R * sizes[i].G * N; }

/* Sets the biases of the heads' steps (which 0) or decays (1) to these four values in turn. */
static void set_bias(const trial_layer *l, int i, int which, const double *value)
{
    const int64_t heads = sizes[i].H, before = steps_at(i);
    const pal_array b = pal_params_array(l->params, index_of(l->params, "in_proj.bias"));
    for (int64_t h = 0; h < heads; h++)
        pal_array_set(&b, (const int64_t[]){before + which * heads + h}, value[h % 4]);
}

/* Raw steps and decays from -200 to 25 give finite outputs, states and gradients. */
START_TEST(extreme_activations)
{
    static const double step[] = {25, -200, 25, -200}, decay[] = {25, 25, -200, -200};
    for (int i = 0; i < 4; i++) {
        const pal_dtype dtype = i % 2 ? PAL_F32 : PAL_F64;
        trial_layer l = trial_layer_new(texts[_i], WIDTH, dtype, 5);
        set_bias(&l, _i, 0, step);
        set_bias(&l, _i, 1, decay);
        const layer_call c = {l.mixer, i / 2 ? PAL_RULE_RECURRENT : PAL_RULE_CHUNK, false, 0};
        pal_array x = trial_input(3, PAL_SHAPE(2, 40, WIDTH));
        const trial t = {forward, &c, l.params, dtype, &x};
        trial_result r = trial_run(&t);
        for (int v = 0; v < r.count; v++)
            ck_assert_msg(pal_array_finite(&r.value[v]), "%s, %s: %s is not finite", texts[_i],
                          pal_dtype_name(dtype), r.name[v]);
        trial_free(&r);
        free(x.data);
        pal_params_free(l.params);
    }
}
END_TEST

/* Where f(A) is below the floor, the decay is that of the floor, and A has no gradient. The heavy
 * tail is never that low: at -30 it is 1/31. */
START_TEST(no_gradient_below_the_floor)
{
    static const double decay[] = {-30, 1, -30, 0.5};
    trial_layer l = trial_layer_new(texts[_i], WIDTH, PAL_F64, 5);
    const layer_call c = {l.mixer, PAL_RULE_CHUNK, false, 0};
    const int bias = index_of(l.params, "in_proj.bias");
    pal_array x = trial_input(3, PAL_SHAPE(1, 20, WIDTH));
    const int64_t heads = sizes[_i].H, before = steps_at(_i);
    /* The projection's own share of A is taken away, so that the bias decides. */
    const pal_array w = pal_params_array(l.params, index_of(l.params, "in_proj.weight"));
    for (int64_t h = 0; h < heads; h++)
        for (int64_t j = 0; j < WIDTH; j++)
            pal_array_set(&w, (const int64_t[]){before + heads + h, j}, 0);
    set_bias(&l, _i, 1, decay);
    const trial t = {forward, &c, l.params, PAL_F64, &x};
    trial_result r = trial_run(&t);
    const double *d = r.value[r.outputs + 1 + bias].data;
    for (int64_t h = 0; h < heads; h++) {
        const bool below = decay[h % 4] < 0 && !sizes[_i].heavy_tail;
        ck_assert_msg((d[before + heads + h] == 0) == below, "%s: head %lld has the gradient %g",
                      texts[_i], (long long)h, d[before + heads + h]);
    }
    trial_free(&r);
    free(x.data);
    pal_params_free(l.params);
}
END_TEST

static void add(TCase *tc)
{
    pal_team_from(1 << 12);
    tcase_add_loop_test(tc, layer_is_its_equations, 0, TEXTS);
    tcase_add_loop_test(tc, threads_change_no_bit, 0, TEXTS);
    tcase_add_loop_test(tc, causal, 0, TEXTS);
    tcase_add_loop_test(tc, extreme_activations, 0, TEXTS);
    tcase_add_loop_test(tc, no_gradient_below_the_floor, 0, TEXTS);
}

int main(void) { return rule_test_main("mamba3 layer", add); }
