/*
 * mamba2.c - the Mamba-2 layer (arXiv 2405.21060).
 *
 * One projection gives z, x, B, C and dt in this order; x, B and C go through one convolution. The
 * inner width is di = expand d, cut into nh heads of P.
 */
#include "layers/mixers/internal.h"

#include <math.h>

typedef struct mamba2 {
    pal_mixer mixer;
    pal_mamba2_opts opts; /* with every default filled in */
    int64_t di, nh, P, N, G;
    pal_tensor in_proj, in_bias, conv, conv_bias, A_log, dt_bias, D, norm, out_proj, out_bias;
} mamba2;

/* [B,T,di] with the gate z [B,T,di]. */
static pal_tensor gated_norm(const mamba2 *m, pal_tensor y, pal_tensor z)
{
    if (m->opts.no_norm) return pal_mul(y, pal_silu(z));
    pal_gated_norm_opts opts = {
        .eps = m->opts.norm_eps, .gate_first = !m->opts.norm_before_gate, .groups = m->G};
    return pal_gated_norm_read(y, z, m->norm, opts);
}

/* The input projection, with z, x, B, C and dt times their scales. */
static pal_tensor project(const mamba2 *m, pal_tensor u)
{
    const pal_mamba2_opts *o = &m->opts;
    const double scale[] = {o->z_scale, o->x_scale, o->B_scale, o->C_scale, o->dt_scale};
    const int64_t GN = m->G * m->N, width[] = {m->di, m->di, GN, GN, m->nh};
    bool any = false;
    for (int i = 0; i < 5; i++) any = any || (scale[i] != 0 && scale[i] != 1);
    pal_tensor y = pal_linear(pal_scaled(u, o->in_scale), m->in_proj, m->in_bias), part[5];
    pal_tape *tape = pal_tape_of(y.node);
    if (!any || !tape) return y;
    for (int i = 0; i < 5; i++)
        part[i] =
            pal_full(tape, pal_dtype_of(y), PAL_SHAPE(width[i]), scale[i] != 0 ? scale[i] : 1);
    return pal_mul(y, pal_concat(5, part, 0));
}

static pal_tensor forward(const pal_mixer *mixer, pal_tensor u, const pal_mixer_call *call)
{
    const mamba2 *m = (const mamba2 *)mixer;
    int64_t B = pal_dim(u, 0), T = pal_dim(u, 1), GN = m->G * m->N;
    pal_tensor zxbcdt = project(m, u), part[3], xbc[3];
    pal_tape *tape = pal_tape_of(zxbcdt.node);
    if (!tape || pal_tape_status(tape) != PAL_OK) return zxbcdt;
    pal_split(zxbcdt, -1, 3, (int64_t[]){m->di, m->di + 2 * GN, m->nh}, part); /* z, xBC, dt */
    pal_short_conv_opts how = {.silu = true,
                               .tail = pal_mixer_find_part(call, pal_conv_part(0)),
                               .offsets = call->opts.offsets,
                               .parts = call->opts.parts,
                               .continued = call->opts.continued};
    pal_tensor conv = pal_short_conv(part[1], m->conv, m->conv_bias, how);
    pal_split(conv, -1, 3, (int64_t[]){m->di, GN, GN}, xbc);

    /* As in pal_log_decay: exp(A_log) stays finite in f32. */
    pal_tensor A = pal_neg(pal_exp(pal_clamp(pal_on(tape, m->A_log), -HUGE_VAL, 80)));
    pal_tensor dt = pal_softplus(pal_add(part[2], m->dt_bias)); /* [B,T,nh] */
    if (m->opts.dt_min > 0 || m->opts.dt_max > 0)
        dt = pal_clamp(dt, m->opts.dt_min, m->opts.dt_max > 0 ? m->opts.dt_max : HUGE_VAL);
    pal_tensor x = pal_reshape(xbc[0], PAL_SHAPE(B, T, m->nh, m->P));
    pal_tensor k = pal_reshape(xbc[1], PAL_SHAPE(B, T, m->G, m->N));
    pal_tensor q = pal_reshape(xbc[2], PAL_SHAPE(B, T, m->G, m->N));
    pal_mixer_show(call, "dt", &dt);
    pal_mixer_show(call, "q", &q);
    pal_mixer_show(call, "k", &k);
    pal_mixer_show(call, "v", &x);
    if (call->opts.hook) {
        pal_tensor g = pal_mul(dt, A);
        pal_mixer_show(call, "g", &g);
    }
    pal_rule_out out = pal_mamba2(x, dt, A, k, q, m->D, pal_mixer_rule(call, &pal_rule_mamba2));
    pal_mixer_done(call, &pal_rule_mamba2, &out);
    pal_mixer_show(call, "gate", &part[0]);
    pal_tensor y = gated_norm(m, pal_reshape(out.o, PAL_SHAPE(B, T, m->di)), part[0]);
    y = pal_mixer_heads(call, y, m->nh);
    return pal_scaled(pal_linear(y, m->out_proj, m->out_bias), m->opts.out_scale);
}

static pal_remembered remembers(const pal_mixer *mixer, int64_t B, int64_t seen)
{
    const mamba2 *m = (const mamba2 *)mixer;
    pal_remembered memory = {0};
    (void)seen;
    pal_remember_rule(&memory, &pal_rule_mamba2,
                      (pal_state_sizes){.S = B, .HV = m->nh, .K = m->N, .V = m->P});
    pal_remember(&memory, pal_conv_part(0),
                 PAL_SHAPE(B, m->opts.conv_kernel - 1, m->di + 2 * m->G * m->N));
    return memory;
}

static void parameters(mamba2 *m, pal_build *b, int64_t d)
{
    int64_t channels = m->di + 2 * m->G * m->N, rows = m->di + channels + m->nh;
    const pal_mamba2_opts *o = &m->opts;
    m->in_proj = pal_build_linear(b, "in_proj.weight", rows, d);
    if (o->use_bias)
        m->in_bias = pal_bias_new(b->params, pal_build_name(b, "in_proj.bias"), rows, b->dtype);
    m->conv = pal_conv_weight(b->params, pal_build_name(b, "conv1d.weight"), channels,
                              o->conv_kernel, b->dtype, b->rng);
    if (!o->no_conv_bias)
        m->conv_bias =
            pal_bias_new(b->params, pal_build_name(b, "conv1d.bias"), channels, b->dtype);
    m->dt_bias = pal_dt_bias_new(b->params, pal_build_name(b, "dt_bias"), m->nh, b->dtype, b->rng);
    m->A_log = pal_A_log_new(b->params, pal_build_name(b, "A_log"), m->nh, 1, 16, b->dtype, b->rng);
    m->D = pal_ones_new(b->params, pal_build_name(b, "D"), m->nh, b->dtype);
    if (!o->no_norm)
        m->norm = pal_ones_new(b->params, pal_build_name(b, "norm.weight"), m->di, b->dtype);
    m->out_proj = pal_build_linear(b, "out_proj.weight", d, m->di);
    if (o->use_bias)
        m->out_bias = pal_bias_new(b->params, pal_build_name(b, "out_proj.bias"), d, b->dtype);
}

/* Whether all scales are numbers; false after reporting. */
static bool scales(const mamba2 *m, const pal_build *b)
{
    const pal_mamba2_opts *o = &m->opts;
    const double all[] = {o->in_scale, o->out_scale, o->z_scale, o->x_scale,
                          o->B_scale,  o->C_scale,   o->dt_scale};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!isfinite(all[i]))
            return pal_build_fail(b, "mamba2", "a scale is %g, which is no number", all[i]);
    return true;
}

/* Fills in defaults and derives the sizes; false after reporting. */
static bool sizes(mamba2 *m, const pal_build *b, int64_t d)
{
    pal_mamba2_opts *o = &m->opts;
    if (o->expand == 0) o->expand = 2;
    if (o->conv_kernel == 0) o->conv_kernel = 4;
    if (o->n_groups == 0) o->n_groups = 1;
    if (o->state_size == 0) o->state_size = 128;
    if (o->num_heads && !o->head_dim) o->head_dim = 64;
    double inner =
        o->num_heads ? (double)o->num_heads * (double)o->head_dim : o->expand * (double)d;
    if (d < 1 || !(inner >= 1) || inner > 1 << 30 || inner != floor(inner))
        return pal_build_fail(b, "mamba2",
                              "expand %g times the width %lld, or num_heads %lld times head_dim "
                              "%lld, is no inner width",
                              o->expand, (long long)d, (long long)o->num_heads,
                              (long long)o->head_dim);
    m->di = (int64_t)inner;
    m->P = o->head_dim ? o->head_dim : m->di < 64 ? m->di : 64;
    m->N = o->state_size, m->G = o->n_groups;
    if (m->P < 1 || m->N < 1 || m->G < 1 || m->N > 1 << 20 || m->G > m->di || o->conv_kernel < 1 ||
        o->conv_kernel > 1 << 20 || !(o->norm_eps >= 0))
        return pal_build_fail(b, "mamba2",
                              "head_dim %lld, state_size %lld, n_groups %lld, conv_kernel %lld or "
                              "norm_eps %g is out of range",
                              (long long)m->P, (long long)m->N, (long long)m->G,
                              (long long)o->conv_kernel, o->norm_eps);
    m->nh = m->di / m->P;
    if (m->di % m->P || m->nh % m->G)
        return pal_build_fail(
            b, "mamba2", "an inner width of %lld cannot be cut into heads of %lld in %lld groups",
            (long long)m->di, (long long)m->P, (long long)m->G);
    return true;
}

pal_mixer *pal_mamba2_new(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                          pal_mamba2_opts opts, pal_rng *rng)
{
    pal_build b = {params, prefix, dtype, rng, ""};
    mamba2 *m = pal_params_alloc(params, sizeof *m);
    if (!m) return NULL;
    *m = (mamba2){.mixer = {.name = "mamba2", .forward = forward, .remembers = remembers},
                  .opts = opts};
    if (!sizes(m, &b, width) || !scales(m, &b)) return NULL;
    parameters(m, &b, width);
    return pal_params_status(params) == PAL_OK ? &m->mixer : NULL;
}

static pal_mixer *create(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const void *opts, pal_rng *rng)
{
    return pal_mamba2_new(params, prefix, width, dtype, *(const pal_mamba2_opts *)opts, rng);
}

static const pal_key rows[] = {
    {"num_heads", PAL_KEY_WHOLE, PAL_AT(pal_mamba2_opts, num_heads), .low = 1,
     .high = PAL_MOST_SIZE},
    {"head_dim", PAL_KEY_WHOLE, PAL_AT(pal_mamba2_opts, head_dim), .low = 1, .high = PAL_MOST_SIZE},
    {"state_size", PAL_KEY_WHOLE, PAL_AT(pal_mamba2_opts, state_size), .low = 1,
     .high = PAL_MOST_SIZE},
    {"expand", PAL_KEY_REAL, PAL_AT(pal_mamba2_opts, expand)},
    {"n_groups", PAL_KEY_WHOLE, PAL_AT(pal_mamba2_opts, n_groups), .low = 1, .high = PAL_MOST_SIZE},
    {"conv_kernel", PAL_KEY_WHOLE, PAL_AT(pal_mamba2_opts, conv_kernel), .low = 1,
     .high = PAL_MOST_SIZE},
    {"dt_min", PAL_KEY_REAL, PAL_AT(pal_mamba2_opts, dt_min)},
    {"dt_max", PAL_KEY_REAL, PAL_AT(pal_mamba2_opts, dt_max)},
    {"use_conv_bias", PAL_KEY_NOT, PAL_AT(pal_mamba2_opts, no_conv_bias)},
    {"use_bias", PAL_KEY_FLAG, PAL_AT(pal_mamba2_opts, use_bias)},
    {"rmsnorm", PAL_KEY_NOT, PAL_AT(pal_mamba2_opts, no_norm)},
    {"norm_before_gate", PAL_KEY_FLAG, PAL_AT(pal_mamba2_opts, norm_before_gate)},
    {"norm_eps", PAL_KEY_REAL, PAL_AT(pal_mamba2_opts, norm_eps)},
    {"in_scale", PAL_KEY_REAL, PAL_AT(pal_mamba2_opts, in_scale)},
    {"out_scale", PAL_KEY_REAL, PAL_AT(pal_mamba2_opts, out_scale)},
    {"z_scale", PAL_KEY_REAL, PAL_AT(pal_mamba2_opts, z_scale)},
    {"x_scale", PAL_KEY_REAL, PAL_AT(pal_mamba2_opts, x_scale)},
    {"B_scale", PAL_KEY_REAL, PAL_AT(pal_mamba2_opts, B_scale)},
    {"C_scale", PAL_KEY_REAL, PAL_AT(pal_mamba2_opts, C_scale)},
    {"dt_scale", PAL_KEY_REAL, PAL_AT(pal_mamba2_opts, dt_scale)},
};
const pal_mixer_kind pal_mixer_kind_mamba2 = {"mamba2", PAL_KEYS(rows), sizeof(pal_mamba2_opts),
                                              create};
