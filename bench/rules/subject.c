/*
 * subject.c - numbers for a rule as a layer would hand it.
 */
#include "bench/rules/rules.h"

#include <string.h>

int operands(const pal_rule *r)
{
    int n = 0;
    while (pal_rule_operand(r, n)) n++;
    return n;
}

int states(const pal_rule *r)
{
    int n = 0;
    while (pal_rule_state(r, n)) n++;
    return n;
}

pal_rule_opts subject_opts(const subject *s, pal_rule_opts opts, const pal_tensor *state)
{
    opts.pair = s->pair;
    if (state) opts.state = state[0];
    for (int i = 1; i < states(s->rule) && state; i++) opts.more[i - 1] = state[i];
    return opts;
}

int number_of(const pal_rule *r)
{
    int i = 0;
    while (pal_rule_at(i) != r) i++;
    return i;
}

typedef enum draw { NORMAL, UNIFORM, UNIT } draw;
typedef struct input {
    const char *name;
    draw draw;
    double low, high; /* of UNIFORM; mean and deviation of NORMAL; UNIT has rows of length one */
    bool one_group;   /* one head for all */
} input;
/* What is not here is normal. */
static const input inputs[] = {
    {"q", UNIT, 0, 0, false},         {"k", UNIT, 0, 0, false},
    {"g", UNIFORM, -0.2, 0, false},   {"b", UNIFORM, 0, 1, false},
    {"w", UNIFORM, 0, 1, false},      {"beta", UNIFORM, 0, 1, false},
    {"dt", UNIFORM, 0, 0.1, false},   {"A", UNIFORM, -16, -1, false},
    {"D", UNIFORM, 0.5, 1.5, false},  {"Bm", NORMAL, 0, 0.3, true},
    {"Cm", NORMAL, 0, 0.3, true},     {"lam", UNIFORM, 0, 1, false},
    {"om", UNIFORM, -3, 3, false},    {"th", UNIFORM, 0, 6, false},
    {"mimo_x", UNIFORM, 0, 1, false},
};

static input input_of(const char *name)
{
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (strcmp(inputs[i].name, name) == 0) return inputs[i];
    return (input){name, NORMAL, 0, 1, false};
}

static int64_t size_of(char axis, dims d)
{
    switch (axis) {
    case 'B':
    case 'S':
        return d.B;
    case 'T':
        return d.T;
    case 'R':
        return d.R ? d.R : 1;
    case 'A':
        return d.K / 4;
    case 'K':
        return d.K;
    case 'V':
        return d.V;
    default:
        return d.H;
    }
}

static pal_tensor draw_input(pal_tape *data, const char *name, const char *axes, dims d,
                             pal_rng *rng)
{
    const input x = input_of(name);
    pal_shape shape = PAL_SCALAR;
    if (x.one_group) d.H = 1;
    for (const char *axis = axes; *axis; axis++) shape.dim[shape.ndim++] = size_of(*axis, d);
    if (x.draw == UNIFORM) return pal_uniform(data, PAL_F32, shape, x.low, x.high, rng);
    if (x.draw == NORMAL) return pal_normal(data, PAL_F32, shape, x.low, x.high, rng);
    return pal_l2_norm(pal_normal(data, PAL_F32, shape, 0, 1, rng), 1e-6);
}

subject subject_draw(pal_tape *data, const pal_rule *r, dims d)
{
    pal_rng rng = pal_rng_new(1, 0);
    subject s = {.rule = r, .d = d};
    for (int i = 0; i < operands(r); i++)
        s.in[i] = draw_input(data, pal_rule_operand(r, i), pal_rule_axes(r, i), d, &rng);
    for (int i = 0; i < states(r); i++)
        s.state[i] = draw_input(data, pal_rule_state(r, i), pal_rule_state_axes(r, i), d, &rng);
    s.pair = d.R > 1 && d.K % 2 == 0 ? PAL_PAIR_HALF : PAL_PAIR_ADJACENT;
    s.cotangent[0] = draw_input(data, "o", states(r) > 1 ? "BTHRV" : "BTHV", d, &rng);
    s.cotangent[1] = draw_input(data, "state", "BHKV", d, &rng);
    return s;
}

pal_tensor leaf(pal_tape *tape, pal_tensor x, pal_dtype dtype, bool want)
{
    pal_array a = pal_value(x);
    pal_tensor t = pal_assign(pal_zeros(tape, dtype, pal_array_shape(&a)), &a);
    return want ? pal_want_grad(t) : t;
}

void leaves(pal_tape *tape, const subject *s, pal_dtype dtype, bool want, pal_tensor in[INPUTS])
{
    for (int i = 0; i < operands(s->rule); i++) in[i] = leaf(tape, s->in[i], dtype, want);
}
