/*
 * mamba3.c - the Mamba-3 layer (arXiv 2603.15569).
 *
 * One projection gives z, x, B, C, dt, A, lam and the angles in this order. B and C go through a
 * norm; there is no convolution. The inner width is di = expand d, cut into nh heads of P. With
 * is_mimo a token has R rows, which mimo_x, mimo_z and mimo_o make of x and z and join again.
 */
#include "layers/mixers/internal.h"

#include <math.h>

typedef struct mamba3 {
    pal_mixer mixer;
    pal_mamba3_opts opts; /* with every default filled in */
    int64_t di, nh, P, N, G, R, J;
    pal_tensor in_proj, in_bias, out_proj, out_bias;
    pal_tensor B_norm, C_norm, B_bias, C_bias, dt_bias, D, norm;
    pal_tensor mimo_x, mimo_z, mimo_o; /* PAL_NONE without is_mimo */
} mamba3;

enum { Z, X, B_ROWS, C_ROWS, DT, A, LAM, ANGLE, PARTS }; /* of the projection */

/* ---- Forward ---- */

static const double PI = 3.141592653589793;

/* The log-decay g = -max(f(a), A_floor) dt. */
static pal_tensor log_decay(const mamba3 *m, pal_tensor a, pal_tensor dt)
{
    pal_tensor f;
    if (m->opts.A_act == PAL_A_HEAVY_TAIL) {
        const pal_tensor one = pal_affine(a, 0, 1), zero = pal_affine(a, 0, 0);
        const pal_tensor below = pal_affine(pal_clamp(a, -HUGE_VAL, 0), -1, 1);
        f = pal_where(pal_ge(a, zero), pal_affine(a, 1, 1), pal_div(one, below));
    } else {
        f = pal_softplus(a);
    }
    return pal_neg(pal_mul(pal_clamp(f, m->opts.A_floor, HUGE_VAL), dt));
}

/* B or C [B,T,R,G,N] of its part of the projection. */
static pal_tensor rows_of(const mamba3 *m, pal_tensor part, pal_tensor norm)
{
    const pal_shape shape = PAL_SHAPE(pal_dim(part, 0), pal_dim(part, 1), m->R, m->G, m->N);
    return pal_rms_norm(pal_reshape(part, shape), norm, m->opts.norm_eps);
}

/* The output [B,T,di] of the rule's rows o [B,T,nh,R,P] and the gate z [B,T,di]. */
static pal_tensor gated(const mamba3 *m, pal_tensor o, pal_tensor z)
{
    const int64_t B = pal_dim(z, 0), T = pal_dim(z, 1);
    z = pal_reshape(z, PAL_SHAPE(B, T, m->nh, 1, m->P));
    if (m->opts.is_outproj_norm) {
        const pal_tensor norm = pal_on(pal_tape_of(o.node), m->norm);
        const pal_tensor weight = pal_reshape(norm, PAL_SHAPE(m->nh, 1, m->P));
        o = pal_mul(pal_rms_norm(o, PAL_NONE, m->opts.norm_eps), weight);
    }
    if (m->opts.is_mimo) z = pal_mul(z, m->mimo_z);
    pal_tensor y = pal_swiglu(pal_expand(z, pal_shape_of(o)), o);
    if (m->opts.is_mimo) y = pal_sum(pal_mul(y, m->mimo_o), 3, true);
    return pal_reshape(y, PAL_SHAPE(B, T, m->di));
}

/* The angles' rates om [B,T,J] of their part of the projection. */
static pal_tensor rates(pal_tensor part) { return pal_affine(pal_tanh(part), PI, 0); }

static pal_tensor forward(const pal_mixer *mixer, pal_tensor u, const pal_mixer_call *call)
{
    const mamba3 *m = (const mamba3 *)mixer;
    const int64_t B = pal_dim(u, 0), T = pal_dim(u, 1), rows = m->R * m->G * m->N;
    const int64_t sizes[PARTS] = {m->di, m->di, rows, rows, m->nh, m->nh, m->nh, m->J};
    const pal_tensor all = pal_linear(u, m->in_proj, m->in_bias);
    pal_tensor part[PARTS];
    pal_tape *tape = pal_tape_of(all.node);
    if (!tape || pal_tape_status(tape) != PAL_OK) return all;
    pal_split(all, -1, PARTS, sizes, part);
    pal_tensor dt = pal_softplus(pal_add(part[DT], m->dt_bias)), lam = pal_sigmoid(part[LAM]);
    pal_tensor om = rates(part[ANGLE]), g = log_decay(m, part[A], dt);
    pal_tensor q = rows_of(m, part[C_ROWS], m->C_norm), k = rows_of(m, part[B_ROWS], m->B_norm);
    pal_tensor x = pal_reshape(part[X], PAL_SHAPE(B, T, m->nh, m->P));
    pal_mixer_show(call, "dt", &dt);
    pal_mixer_show(call, "lam", &lam);
    pal_mixer_show(call, "om", &om);
    pal_mixer_show(call, "q", &q);
    pal_mixer_show(call, "k", &k);
    pal_mixer_show(call, "v", &x);
    pal_mixer_show(call, "g", &g);
    pal_rule_opts opts = pal_mixer_rule(call, &pal_rule_mamba3);
    if (m->opts.is_mimo) opts.pair = PAL_PAIR_HALF;
    pal_rule_out out =
        pal_mamba3(x, dt, g, lam, om, k, q, m->B_bias, m->C_bias, m->D, m->mimo_x, opts);
    pal_mixer_done(call, &pal_rule_mamba3, &out);
    pal_mixer_show(call, "gate", &part[Z]);
    const pal_tensor y = pal_mixer_heads(call, gated(m, out.o, part[Z]), m->nh);
    return pal_linear(y, m->out_proj, m->out_bias);
}

static pal_remembered remembers(const pal_mixer *mixer, int64_t B, int64_t seen)
{
    const mamba3 *m = (const mamba3 *)mixer;
    const pal_state_sizes sizes = {.S = B, .HV = m->nh, .K = m->N, .V = m->P, .R = m->R, .A = m->J};
    pal_remembered memory = {0};
    (void)seen;
    pal_remember_rule(&memory, &pal_rule_mamba3, sizes);
    return memory;
}

/* ---- Construction ---- */

/* A parameter [heads,R,width] of one value. Like norm weights these are gains that begin at a
 * value of their own, and B_bias and C_bias are biases: none of them decays. */
static pal_tensor gains(const mamba3 *m, pal_build *b, const char *name, int64_t width,
                        double value)
{
    const pal_shape shape = PAL_SHAPE(m->nh, m->R, width);
    return pal_fill(pal_no_decay(pal_param(b->params, pal_build_name(b, name), b->dtype, shape)),
                    value);
}

static void parameters(mamba3 *m, pal_build *b, int64_t d)
{
    const int64_t rows = 2 * m->di + 2 * m->R * m->G * m->N + 3 * m->nh + m->J;
    const pal_mamba3_opts *o = &m->opts;
    const double share = 1 / (double)m->R;
    m->in_proj = pal_build_linear(b, "in_proj.weight", rows, d);
    if (o->use_bias)
        m->in_bias = pal_bias_new(b->params, pal_build_name(b, "in_proj.bias"), rows, b->dtype);
    m->dt_bias = pal_dt_bias_new(b->params, pal_build_name(b, "dt_bias"), m->nh, b->dtype, b->rng);
    m->B_bias = gains(m, b, "B_bias", m->N, 1);
    m->C_bias = gains(m, b, "C_bias", m->N, 1);
    m->B_norm = pal_ones_new(b->params, pal_build_name(b, "B_norm.weight"), m->N, b->dtype);
    m->C_norm = pal_ones_new(b->params, pal_build_name(b, "C_norm.weight"), m->N, b->dtype);
    if (o->is_mimo) {
        m->mimo_x = gains(m, b, "mimo_x", m->P, share);
        m->mimo_z = gains(m, b, "mimo_z", m->P, 1);
        m->mimo_o = gains(m, b, "mimo_o", m->P, share);
    }
    m->D = pal_ones_new(b->params, pal_build_name(b, "D"), m->nh, b->dtype);
    if (o->is_outproj_norm)
        m->norm = pal_ones_new(b->params, pal_build_name(b, "norm.weight"), m->di, b->dtype);
    m->out_proj = pal_build_linear(b, "out_proj.weight", d, m->di);
    if (o->use_bias)
        m->out_bias = pal_bias_new(b->params, pal_build_name(b, "out_proj.bias"), d, b->dtype);
}

static void defaults(pal_mamba3_opts *o)
{
    if (o->expand == 0) o->expand = 2;
    if (o->n_groups == 0) o->n_groups = 1;
    if (o->state_size == 0) o->state_size = 128;
    if (o->mimo_rank == 0) o->mimo_rank = 4;
    if (o->rope_fraction == 0) o->rope_fraction = 0.5;
    if (o->A_floor == 0) o->A_floor = 1e-4;
    if (o->norm_eps == 0) o->norm_eps = 1e-5;
}

/* Derives the sizes; false after reporting. */
static bool sizes_of(mamba3 *m, const pal_build *b, int64_t d)
{
    const pal_mamba3_opts *o = &m->opts;
    const double inner = o->expand * (double)d;
    if (d < 1 || !(inner >= 1) || inner > 1 << 30 || inner != floor(inner))
        return pal_build_fail(b, "mamba3", "expand %g times the width %lld is no inner width",
                              o->expand, (long long)d);
    m->di = (int64_t)inner;
    m->P = o->head_dim ? o->head_dim : m->di < 64 ? m->di : 64;
    m->N = o->state_size, m->G = o->n_groups, m->R = o->is_mimo ? o->mimo_rank : 1;
    if (m->P < 1 || m->N < 1 || m->G < 1 || m->R < 1 || m->N > 1 << 20 || m->G > m->di ||
        m->R > 1 << 10 || !(o->norm_eps > 0) || !(o->A_floor > 0))
        return pal_build_fail(b, "mamba3",
                              "head_dim %lld, state_size %lld, n_groups %lld, mimo_rank %lld, "
                              "A_floor %g or norm_eps %g is out of range",
                              (long long)m->P, (long long)m->N, (long long)m->G, (long long)m->R,
                              o->A_floor, o->norm_eps);
    m->nh = m->di / m->P;
    if (m->di % m->P || m->nh % m->G)
        return pal_build_fail(
            b, "mamba3", "an inner width of %lld cannot be cut into heads of %lld in %lld groups",
            (long long)m->di, (long long)m->P, (long long)m->G);
    if (o->rope_fraction != 0.5 && o->rope_fraction != 1)
        return pal_build_fail(b, "mamba3", "rope_fraction is %g and should be 0.5 or 1",
                              o->rope_fraction);
    m->J = (int64_t)floor((double)m->N * o->rope_fraction) / 2;
    if (o->is_mimo && m->N % 2)
        return pal_build_fail(b, "mamba3", "is_mimo needs an even state_size, and it is %lld",
                              (long long)m->N);
    return true;
}

pal_mixer *pal_mamba3_new(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                          pal_mamba3_opts opts, pal_rng *rng)
{
    pal_build b = {params, prefix, dtype, rng, ""};
    mamba3 *m = pal_params_alloc(params, sizeof *m);
    if (!m) return NULL;
    defaults(&opts);
    *m = (mamba3){.mixer = {.name = "mamba3", .forward = forward, .remembers = remembers},
                  .opts = opts};
    if (!sizes_of(m, &b, width)) return NULL;
    parameters(m, &b, width);
    return pal_params_status(params) == PAL_OK ? &m->mixer : NULL;
}

static pal_mixer *create(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const void *opts, pal_rng *rng)
{
    return pal_mamba3_new(params, prefix, width, dtype, *(const pal_mamba3_opts *)opts, rng);
}

static const pal_key rows[] = {
    {"head_dim", PAL_KEY_WHOLE, PAL_AT(pal_mamba3_opts, head_dim), .low = 1, .high = PAL_MOST_SIZE},
    {"state_size", PAL_KEY_WHOLE, PAL_AT(pal_mamba3_opts, state_size), .low = 1,
     .high = PAL_MOST_SIZE},
    {"expand", PAL_KEY_REAL, PAL_AT(pal_mamba3_opts, expand)},
    {"n_groups", PAL_KEY_WHOLE, PAL_AT(pal_mamba3_opts, n_groups), .low = 1, .high = PAL_MOST_SIZE},
    {"is_mimo", PAL_KEY_FLAG, PAL_AT(pal_mamba3_opts, is_mimo)},
    {"mimo_rank", PAL_KEY_WHOLE, PAL_AT(pal_mamba3_opts, mimo_rank), .low = 1,
     .high = PAL_MOST_SIZE},
    {"rope_fraction", PAL_KEY_REAL, PAL_AT(pal_mamba3_opts, rope_fraction)},
    {"A_floor", PAL_KEY_REAL, PAL_AT(pal_mamba3_opts, A_floor)},
    {"A_act", PAL_KEY_CHOICE, PAL_AT(pal_mamba3_opts, A_act), .words = "softplus|heavy_tail"},
    {"is_outproj_norm", PAL_KEY_FLAG, PAL_AT(pal_mamba3_opts, is_outproj_norm)},
    {"use_bias", PAL_KEY_FLAG, PAL_AT(pal_mamba3_opts, use_bias)},
    {"norm_eps", PAL_KEY_REAL, PAL_AT(pal_mamba3_opts, norm_eps)},
};
const pal_mixer_kind pal_mixer_kind_mamba3 = {"mamba3", PAL_KEYS(rows), sizeof(pal_mamba3_opts),
                                              create};
