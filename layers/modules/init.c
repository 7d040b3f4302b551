/*
 * init.c - parameters as the papers draw them, each under its name.
 */
#include "layers/modules/init.h"
#include "tensor/number.h"

#include <math.h>

/* U(low, high), N(0, deviation); without a generator t stays zeros, since values will be loaded. */
static pal_tensor draw_uniform(pal_tensor t, double low, double high, pal_rng *rng)
{
    return rng ? pal_fill_uniform(t, low, high, rng) : t;
}

static pal_tensor draw_normal(pal_tensor t, double deviation, pal_rng *rng)
{
    return rng ? pal_fill_normal(t, 0, deviation, rng) : t;
}

pal_tensor pal_linear_weight(pal_params *params, const char *name, int64_t out, int64_t in,
                             pal_dtype dtype, pal_rng *rng)
{
    /* Xavier: the variance of a uniform on +-bound is bound^2 / 3 = gain^2 2 / (in + out). */
    double gain = exp2(-2.5), bound = gain * sqrt(6 / (double)(in + out > 0 ? in + out : 1));
    dtype = pal_params_stored(params, dtype);
    return draw_uniform(pal_param(params, name, dtype, PAL_SHAPE(out, in)), -bound, bound, rng);
}

pal_tensor pal_bias_new(pal_params *params, const char *name, int64_t n, pal_dtype dtype)
{
    return pal_no_decay(pal_param(params, name, dtype, PAL_SHAPE(n)));
}

pal_tensor pal_ones_new(pal_params *params, const char *name, int64_t n, pal_dtype dtype)
{
    return pal_fill(pal_no_decay(pal_param(params, name, dtype, PAL_SHAPE(n))), 1);
}

pal_tensor pal_embedding_weight(pal_params *params, const char *name, int64_t n, int64_t d,
                                pal_dtype dtype, pal_rng *rng)
{
    dtype = pal_params_stored(params, dtype);
    return draw_normal(pal_param(params, name, dtype, PAL_SHAPE(n, d)), 0.02, rng);
}

pal_tensor pal_conv_weight(pal_params *params, const char *name, int64_t n, int64_t width,
                           pal_dtype dtype, pal_rng *rng)
{
    double bound = 1 / sqrt((double)width);
    return draw_uniform(pal_param(params, name, dtype, PAL_SHAPE(n, 1, width)), -bound, bound, rng);
}

/* Draws U(low, high) into t and replaces each draw by map(draw). */
static pal_tensor fill_mapped(pal_tensor t, double low, double high, double (*map)(double),
                              pal_rng *rng)
{
    if (!rng) return t;
    pal_fill_uniform(t, low, high, rng);
    pal_array a = pal_edit(t);
    if (!a.data) return t;
    for (int64_t i = 0; i < a.shape[0]; i++) pal_array_set(&a, &i, map(pal_array_get(&a, &i)));
    return t;
}

/* Without the floor, a head whose draw is near 0 would never forget, and gradients could not change
 * that.
 */
static double floored_log(double a) { return log(a > 0.01 ? a : 0.01); }

pal_tensor pal_A_log_new(pal_params *params, const char *name, int64_t n, double low, double high,
                         pal_dtype dtype, pal_rng *rng)
{
    pal_tensor t = pal_no_decay(pal_param(params, name, dtype, PAL_SHAPE(n)));
    return fill_mapped(t, low, high, floored_log, rng);
}

/* softplus^-1 of exp(u): y = log(1 + e^x) has x = y + log(1 - e^-y). */
static double inverse_softplus_of_exp(double u)
{
    double y = exp(u) > 1e-4 ? exp(u) : 1e-4;
    return y + log(-expm1(-y));
}

pal_tensor pal_dt_bias_new(pal_params *params, const char *name, int64_t n, pal_dtype dtype,
                           pal_rng *rng)
{
    pal_tensor t = pal_no_decay(pal_param(params, name, dtype, PAL_SHAPE(n)));
    return fill_mapped(t, log(0.001), log(0.1), inverse_softplus_of_exp, rng);
}

/* ---- A layer under construction ---- */

const char *pal_build_name(pal_build *b, const char *suffix)
{
    const char *dot = b->prefix && *b->prefix ? "." : "";
    snprintf(b->name, sizeof b->name, "%s%s%s", b->prefix ? b->prefix : "", dot, suffix);
    return b->name;
}

bool pal_build_fail(const pal_build *b, const char *layer, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    pal_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pal_fail_nowhere(PAL_EVALUE, "%s (%s): %s", layer, b->prefix ? b->prefix : "", text);
    return false;
}

pal_tensor pal_build_linear(pal_build *b, const char *suffix, int64_t out, int64_t in)
{
    return pal_linear_weight(b->params, pal_build_name(b, suffix), out, in, b->dtype, b->rng);
}

pal_tensor pal_build_norm(pal_build *b, const char *suffix, int64_t n, bool plus_one)
{
    const char *name = pal_build_name(b, suffix);
    return plus_one ? pal_bias_new(b->params, name, n, b->dtype)
                    : pal_ones_new(b->params, name, n, b->dtype);
}

pal_tensor pal_norm_gain(pal_tensor x, pal_tensor weight, bool plus_one)
{
    pal_tape *tape = plus_one && !pal_is_none(x) ? pal_tape_of(x.node) : NULL;
    return tape ? pal_affine(pal_on(tape, weight), 1, 1) : weight;
}

pal_tensor pal_scaled(pal_tensor x, double scale)
{
    if (scale == 0 || scale == 1) return x;
    if (!pal_is_none(x) && pal_dtype_of(x) == PAL_BF16) x = pal_cast(x, PAL_F32);
    return pal_affine(x, scale, 0);
}
