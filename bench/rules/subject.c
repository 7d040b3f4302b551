/*
 * subject.c - the rules as a table: how each is called, and numbers as a layer would hand it.
 */
#include "bench/rules/rules.h"

static pal_rule_out gdn2(const pal_tensor *x, pal_rule_opts opts)
{
    return pal_gdn2(x[0], x[1], x[2], x[3], x[4], x[5], opts);
}
static pal_rule_out kda(const pal_tensor *x, pal_rule_opts opts)
{
    return pal_kda(x[0], x[1], x[2], x[3], x[4], opts);
}
static pal_rule_out gdn(const pal_tensor *x, pal_rule_opts opts)
{
    return pal_gdn(x[0], x[1], x[2], x[3], x[4], opts);
}
static pal_rule_out deltanet(const pal_tensor *x, pal_rule_opts opts)
{
    return pal_deltanet(x[0], x[1], x[2], x[3], opts);
}
static pal_rule_out mamba2(const pal_tensor *x, pal_rule_opts opts)
{
    return pal_mamba2(x[0], x[1], x[2], x[3], x[4], x[5], opts);
}

/* clang-format off */
#define QKV {"q", "BTHK", UNIT, 0, 0}, {"k", "BTHK", UNIT, 0, 0}, {"v", "BTHV", NORMAL, 0, 1}
const rule rules[RULES] = {
    [GDN2] = {"gdn2", gdn2, 6,
              {QKV, {"g", "BTHK", UNIFORM, -0.2, 0}, {"b", "BTHK", UNIFORM, 0, 1},
               {"w", "BTHV", UNIFORM, 0, 1}}},
    [KDA] = {"kda", kda, 5,
             {QKV, {"g", "BTHK", UNIFORM, -0.2, 0}, {"beta", "BTH", UNIFORM, 0, 1}}},
    [GDN] = {"gdn", gdn, 5,
             {QKV, {"g", "BTH", UNIFORM, -0.2, 0}, {"beta", "BTH", UNIFORM, 0, 1}}},
    [DELTANET] = {"deltanet", deltanet, 4, {QKV, {"beta", "BTH", UNIFORM, 0, 1}}},
    [MAMBA2] = {"mamba2", mamba2, 6,
                {{"x", "BTHV", NORMAL, 0, 1}, {"dt", "BTH", UNIFORM, 0, 0.1},
                 {"A", "H", UNIFORM, -16, -1}, {"Bm", "BT1K", NORMAL, 0, 0.3},
                 {"Cm", "BT1K", NORMAL, 0, 0.3}, {"D", "H", UNIFORM, 0.5, 1.5}}},
};
/* clang-format on */

static int64_t size_of(char axis, dims d)
{
    switch (axis) {
    case 'B':
        return d.B;
    case 'T':
        return d.T;
    case 'H':
        return d.H;
    case 'K':
        return d.K;
    case 'V':
        return d.V;
    default:
        return 1;
    }
}

static pal_tensor draw_input(pal_tape *data, input x, dims d, pal_rng *rng)
{
    pal_shape shape = PAL_SCALAR;
    for (const char *axis = x.axes; *axis; axis++) shape.dim[shape.ndim++] = size_of(*axis, d);
    if (x.draw == UNIFORM) return pal_uniform(data, PAL_F32, shape, x.low, x.high, rng);
    if (x.draw == NORMAL) return pal_normal(data, PAL_F32, shape, x.low, x.high, rng);
    return pal_l2_norm(pal_normal(data, PAL_F32, shape, 0, 1, rng), 1e-6);
}

subject subject_draw(pal_tape *data, const rule *r, dims d)
{
    const input o = {"o", "BTHV", NORMAL, 0, 1}, state = {"state", "BHKV", NORMAL, 0, 1};
    pal_rng rng = pal_rng_new(1, 0);
    subject s = {.rule = r, .d = d};
    for (int i = 0; i < r->nin; i++) s.in[i] = draw_input(data, r->in[i], d, &rng);
    s.state = draw_input(data, state, d, &rng);
    s.cotangent[0] = draw_input(data, o, d, &rng);
    s.cotangent[1] = draw_input(data, state, d, &rng);
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
    for (int i = 0; i < s->rule->nin; i++) in[i] = leaf(tape, s->in[i], dtype, want);
}
