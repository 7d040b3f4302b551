/*
 * validate.c - every kernel is compared with the composed rule in f64 before it is timed.
 *
 * A wrong kernel can be as fast as it likes. The shapes are small: one where nothing is a multiple
 * of anything, and one whose widths are those of the default set; both end in a part of a chunk.
 */
#include "bench/rules/rules.h"

#include <math.h>
#include <stdlib.h>

enum { OUTPUTS = 4, RESULTS = OUTPUTS + INPUTS + 1 };

/* What a rule computes: o and state without and with gradients on, then the gradients. */
typedef struct results {
    pal_tape *tape;
    int n;
    pal_tensor at[RESULTS];
} results;

static void result_name(const pal_rule *r, int i, char name[16])
{
    static const char *const outputs[OUTPUTS] = {"o", "state", "o (train)", "state (train)"};
    int of = i - OUTPUTS;
    if (of < 0)
        snprintf(name, 16, "%s", outputs[i]);
    else
        snprintf(name, 16, "d%s", of < operands(r) ? pal_rule_operand(r, of) : "state");
}

static void add(results *r, pal_tensor t) { r->at[r->n++] = t; }

static void add_outputs(results *r, pal_rule_out out)
{
    add(r, out.o);
    add(r, out.state);
}

/* false: the library has said what went wrong. */
static bool compute(const subject *s, pal_rule_opts opts, pal_dtype dtype, results *r)
{
    pal_tensor in[INPUTS], cotangent[2];
    *r = (results){.tape = pal_tape_new()};
    leaves(r->tape, s, dtype, true, in);
    for (int i = 0; i < 2; i++) cotangent[i] = leaf(r->tape, s->cotangent[i], dtype, false);
    pal_tensor state[PAL_RULE_STATES];
    for (int i = 0; i < states(s->rule); i++) state[i] = leaf(r->tape, s->state[i], dtype, true);
    opts = subject_opts(s, opts, state);

    pal_set_grad(r->tape, false);
    add_outputs(r, pal_rule_call(s->rule, in, opts));
    pal_set_grad(r->tape, true);
    pal_rule_out out = pal_rule_call(s->rule, in, opts);
    add_outputs(r, out);
    if (pal_tape_status(r->tape) != PAL_OK) return false;
    if (pal_backward_from(2, (pal_tensor[]){out.o, out.state}, cotangent) != PAL_OK) return false;
    for (int i = 0; i < operands(s->rule); i++) add(r, pal_grad(in[i]));
    add(r, pal_grad(opts.state));
    return true;
}

/* The same outputs token by token, each over the state that the one before it has left. */
static bool decode(const subject *s, pal_rule_opts opts, pal_dtype dtype, results *r,
                   pal_params *store)
{
    pal_tensor in[INPUTS], token[INPUTS], *o = malloc((size_t)s->d.T * sizeof *o);
    *r = (results){.tape = pal_tape_new()};
    leaves(r->tape, s, dtype, false, in);
    pal_set_grad(r->tape, false);
    opts.in_place = true;
    pal_tensor state[PAL_RULE_STATES];
    for (int i = 0; i < states(s->rule); i++)
        state[i] =
            pal_keep(store, pal_rule_state(s->rule, i), leaf(r->tape, s->state[i], dtype, false));
    opts = subject_opts(s, opts, state);
    for (int64_t t = 0; t < s->d.T; t++) {
        for (int i = 0; i < operands(s->rule); i++) {
            bool timed = pal_rule_axes(s->rule, i)[1] == 'T';
            token[i] = timed ? pal_slice(in[i], 1, t, t + 1, 1) : in[i];
        }
        o[t] = pal_rule_call(s->rule, token, opts).o;
        if (pal_tape_status(r->tape) != PAL_OK) break;
    }
    add(r, pal_concat((int)s->d.T, o, 1));
    add(r, pal_on(r->tape, opts.state));
    free(o);
    return pal_tape_status(r->tape) == PAL_OK;
}

/* The largest difference as a share of the largest value; infinite if anything is not a number. */
static double relative_error(pal_tensor have, pal_tensor want)
{
    pal_tape *tape = pal_tape_new();
    const double *x = pal_f64(leaf(tape, have, PAL_F64, false)), *y = pal_f64(want);
    double difference = 0, size = 0;
    bool finite = pal_shape_equal(pal_shape_of(have), pal_shape_of(want));
    for (int64_t i = 0; finite && i < pal_count(want); i++) {
        finite = isfinite(x[i]) && isfinite(y[i]);
        difference = fmax(difference, fabs(x[i] - y[i]));
        size = fmax(size, fabs(y[i]));
    }
    pal_tape_free(tape);
    return finite ? difference / fmax(size, 1e-300) : INFINITY;
}

/* ---- Every mode, shape and dtype ---- */

typedef struct verdict {
    bool good;
    double worst[2]; /* of f32 and f64, as pal_dtype counts them */
    char where[2][16];
} verdict;

static void compare(verdict *v, const pal_rule *r, pal_dtype dtype, const results *have,
                    const results *want)
{
    static const double limit[2] = {[PAL_F32] = 2e-5, [PAL_F64] = 1e-10};
    for (int i = 0; i < have->n; i++) {
        double error = relative_error(have->at[i], want->at[i]);
        char name[16];
        result_name(r, i, name);
        if (!(error <= limit[dtype])) {
            v->good = false;
            printf("#   %s: error of %s is %.2g, allowed is %.2g\n", pal_dtype_name(dtype), name,
                   error, limit[dtype]);
        }
        if (error < v->worst[dtype]) continue;
        v->worst[dtype] = error;
        snprintf(v->where[dtype], sizeof v->where[dtype], "%s", name);
    }
}

/* Both dtypes of one shape and chunk size. */
static void check(verdict *v, const subject *s, pal_rule_opts opts)
{
    results want, have;
    if (!compute(s, (pal_rule_opts){.mode = PAL_RULE_COMPOSED}, PAL_F64, &want)) v->good = false;
    for (pal_dtype dtype = PAL_F32; dtype <= PAL_F64 && v->good; dtype++) {
        pal_params *store = pal_params_new();
        bool in_place = opts.mode == PAL_RULE_AUTO;
        if (in_place ? decode(s, opts, dtype, &have, store) : compute(s, opts, dtype, &have))
            compare(v, s->rule, dtype, &have, &want);
        else
            v->good = false;
        pal_tape_free(have.tape);
        pal_params_free(store);
    }
    pal_tape_free(want.tape);
}

bool validate(const pal_rule *r, pal_rule_mode mode, const list *chunk)
{
    verdict v = {.good = true};
    pal_tape *data = pal_tape_new();
    pal_set_grad(data, false);
    for (int i = 0; i < chunk->n && v.good; i++) {
        int64_t T = (chunk->at[i] ? 2 * chunk->at[i] : 128) + 19;
        const dims shapes[] = {{2, T, 3, 21, 13, 1}, {1, T, 2, 128, 64, 1}, {1, T, 2, 64, 48, 4}};
        for (int j = 0; j < (states(r) > 1 ? 3 : 2) && v.good; j++) {
            pal_tape_reset(data);
            subject s = subject_draw(data, r, shapes[j]);
            check(&v, &s, (pal_rule_opts){.mode = mode, .chunk = chunk->at[i]});
        }
    }
    pal_tape_free(data);
    printf("# %-7s %-8s %-10s", v.good ? "valid" : "WRONG", pal_rule_name(r),
           mode == PAL_RULE_AUTO ? "decode" : mode_name((int)mode));
    if (v.good)
        printf("largest relative error: f32 %.1e (%s), f64 %.1e (%s)", v.worst[PAL_F32],
               v.where[PAL_F32], v.worst[PAL_F64], v.where[PAL_F64]);
    printf("\n");
    return v.good;
}
