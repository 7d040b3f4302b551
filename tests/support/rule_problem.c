/*
 * rule_problem.c - drawing the inputs of a rule.
 */
#include "tests/support/rule_problem.h"
#include "tests/support/node.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double exact(double x) { return (double)(float)x; }

/* ---- Shapes ---- */

/* Of axes by letter; gates and g may have heads of their own. */
static pal_shape shape_of(const rule_problem *p, const char *name, const char *axes)
{
    const bool gate = strchr("gb", name[0]) && p->gate_heads;
    pal_shape s = {0};
    for (const char *c = axes; *c; c++)
        s.dim[s.ndim++] = *c == 'B'   ? p->B
                          : *c == 'T' ? p->T
                          : *c == 'S' ? (p->sequences ? p->sequences : p->B)
                          : *c == 'K' ? p->K
                          : *c == 'V' ? p->V
                          : gate      ? p->gate_heads
                          : *c == 'J' ? p->HV
                                      : p->H;
    return s;
}

int rule_time_axis(int input, const pal_array *x)
{
    return input < IN_STATE && x->data && x->ndim >= 3 ? 1 : -1;
}

int rule_head_axis(int input, const pal_array *x)
{
    if (!x->data) return -1;
    return input == IN_STATE ? 1 : x->ndim >= 3 ? 2 : 0;
}

/* ---- Numbers ---- */

static double decay(rule_decay kind, int64_t t, pal_rng *rng)
{
    double u = pal_rng_next(rng), r = pal_rng_next(rng);
    switch (kind) {
    case DECAY_ZERO:
        return 0;
    case DECAY_20:
        return -20;
    case DECAY_1E12:
        return log(1e-12);
    case DECAY_HALF:
        return r < 0.5 ? 0 : -u;
    case DECAY_WIDE:
        return -316 * u;
    case DECAY_FIRST:
        return t == 0 ? -90 : 0;
    case DECAY_TENTH:
        return r < 0.1 ? -316 : -u;
    case DECAY_INFINITE:
        return r < 0.1 ? -INFINITY : -u;
    case DECAY_ACTIVATION:
        return 4 * u - 2;
    default:
        return -u;
    }
}

/* The largest -g of a kind: Mamba-2 gets A = -strongest and dt = g / A. */
static double strongest(rule_decay kind)
{
    switch (kind) {
    case DECAY_20:
        return 20;
    case DECAY_1E12:
        return -exact(log(1e-12));
    case DECAY_WIDE:
    case DECAY_TENTH:
        return 316;
    case DECAY_FIRST:
        return 90;
    default:
        return 1;
    }
}

static double gate(rule_gates kind, pal_rng *rng)
{
    double u = pal_rng_next(rng);
    return kind == GATES_ONE ? 1 : kind == GATES_SATURATED ? u < 0.5 : u;
}

static void draw_row(const rule_problem *p, char which, int64_t row, double *x, pal_rng *rng)
{
    rule_keys kind = which == 'B' || which == 'C' ? KEYS_UNIT : p->keys;
    double square = 0, length = 1;
    for (int64_t c = 0; c < p->K; c++) {
        x[c] = 2 * pal_rng_next(rng) - 1;
        square += x[c] * x[c];
    }
    if (kind == KEYS_UNIT || kind == KEYS_SAME) length = sqrt(square);
    if (kind == KEYS_TINY && row % 3 == 1) length = HUGE_VAL;
    if (kind == KEYS_TINY && row % 3 == 2) length = 1e4 * sqrt(square);
    for (int64_t c = 0; c < p->K; c++) x[c] = exact(x[c] / length);
    if (which == 'k' && kind == KEYS_SAME && row > 0)
        memcpy(x, x - row * p->K, (size_t)p->K * sizeof *x);
}

/* Entry i of the input; per is the number of entries a token. */
static double draw_entry(const rule_problem *p, char which, int64_t i, int64_t per, pal_rng *rng)
{
    int64_t t = per && p->T ? i / per % p->T : 0;
    switch (which) {
    case 'g':
        return decay(p->decay, t, rng);
    case 'b':
    case 'w':
        return gate(p->gates, rng);
    case 'd':
        if (p->gates != GATES_INSIDE || p->decay == DECAY_ZERO) return gate(p->gates, rng);
        return -decay(p->decay, t, rng) / strongest(p->decay);
    case 'A':
        if (p->decay == DECAY_MILD) return -0.5 - pal_rng_next(rng);
        return p->decay == DECAY_ZERO ? 0 : -strongest(p->decay);
    default:
        return 2 * pal_rng_next(rng) - 1;
    }
}

static void draw(const rule_problem *p, const char *name, uint64_t seed, pal_shape shape,
                 pal_array *x)
{
    int64_t n = pal_shape_count(shape);
    double *data = malloc((size_t)n * sizeof *data + 8);
    if (!data) abort();
    *x = pal_array_of(PAL_F64, shape, data);
    pal_rng rng = pal_rng_new(seed, (uint64_t)name[0]);
    bool rows = strchr("qkBC", name[0]) != NULL;
    int64_t tokens = p->B * p->T, per = tokens > 0 ? n / tokens : 0;
    for (int64_t i = 0; rows && i < n; i += p->K) draw_row(p, name[0], i / p->K, data + i, &rng);
    for (int64_t i = 0; !rows && i < n; i++) data[i] = exact(draw_entry(p, name[0], i, per, &rng));
}

void rule_draw(const rule_problem *p, int rule, uint64_t seed, pal_array x[RULE_INPUTS])
{
    const pal_rule *r = pal_rule_at(rule);
    for (int i = 0; i < RULE_INPUTS; i++) x[i] = (pal_array){.dtype = PAL_F64};
    for (int i = 0; i < rule_operands(rule); i++) {
        const char *name = pal_rule_operand(r, i);
        if (name[0] == 'g' && p->decay == DECAY_ABSENT) continue;
        draw(p, name, seed, shape_of(p, name, pal_rule_axes(r, i)), &x[i]);
    }
    if (!p->no_state) draw(p, "state", seed, shape_of(p, "state", "SJKV"), &x[IN_STATE]);
    if (p->decay != DECAY_ACTIVATION || rule == RULE_deltanet || rule == RULE_mamba2) return;
    int64_t heads = x[3].shape[2], K = x[3].ndim == 4 ? x[3].shape[3] : 1;
    draw(p, "log", seed, PAL_SHAPE(heads), &x[IN_A_LOG]);
    draw(p, "offset", seed, PAL_SHAPE(heads * K), &x[IN_DT_BIAS]);
}

void rule_inputs_free(pal_array x[RULE_INPUTS])
{
    for (int i = 0; i < RULE_INPUTS; i++) free(x[i].data);
}

pal_rule_opts rule_options(const rule_problem *p, pal_rule_mode mode,
                           const pal_tensor in[RULE_INPUTS])
{
    pal_rule_opts o = {.mode = mode,
                       .scale = p->scale,
                       .state = in[IN_STATE],
                       .chunk = p->chunk,
                       .keep_every = p->keep_every,
                       .normalize = p->normalize,
                       .A_log = in[IN_A_LOG],
                       .dt_bias = in[IN_DT_BIAS],
                       .lower_bound = p->lower_bound};
    if (p->sequences)
        o.offsets = pal_from(tape_of(in[0]), PAL_I64, PAL_SHAPE(p->sequences + 1), p->offsets);
    return o;
}
