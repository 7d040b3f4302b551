/*
 * scalar.c - functions of one operand and one or two numbers: clamp, leaky_relu, affine and wrap.
 */
#include "autograd/ops/map.h"

#include <math.h>

/* Rounds to the nearest integer, or to the limit of int64_t if the number is beyond it. */
static int64_t rounded(double x)
{
    if (!(x == x)) return 0;
    if (x >= 0x1p63) return INT64_MAX;
    if (x < -0x1p63) return INT64_MIN;
    return llround(x);
}

static void affine_i64(int64_t n, const void *x, const double *p, void *y)
{
    uint64_t scale = (uint64_t)rounded(p[0]), shift = (uint64_t)rounded(p[1]);
    const int64_t *from = x;
    for (int64_t i = 0; i < n; i++)
        ((int64_t *)y)[i] = (int64_t)(scale * (uint64_t)from[i] + shift);
}

static pal_map_fn with_numbers(const pal_call *call, int nin)
{
    const double *p = call->opts;
    return (pal_map_fn){.nin = nin, .numbers = true, .p = {p[0], p[1]}};
}

static pal_tensor apply(const pal_op *op, pal_tensor x, double p0, double p1)
{
    pal_tensor y;
    double p[2] = {p0, p1};
    pal_apply(op, p, sizeof p, 1, &x, 1, &y);
    return y;
}

/* ---- clamp ---- */

static pal_status clamp_infer(pal_call *call)
{
    const double *p = call->opts;
    pal_status status = pal_map_need(call, 0, true, false);
    if (status != PAL_OK) return status;
    if (!(p[0] <= p[1]))
        return pal_call_error(call, PAL_EVALUE, "low %g is not at most high %g", p[0], p[1]);
    return pal_map_broadcast(call, 1);
}

static void clamp_forward(const pal_call *call)
{
    pal_map_fn fn = with_numbers(call, 1);
    fn.f.one_p = pal_kernels_for(call->out[0]->dtype)->clamp;
    pal_map_forward(&fn, call->in, call->out[0], call->team);
}

static void clamp_backward(const pal_call *call)
{
    pal_map_fn fn = with_numbers(call, 2);
    fn.f.two_p = pal_kernels_for(call->out[0]->dtype)->d_clamp;
    pal_map_backward(call, 0, &fn, (const pal_array *[]){call->in[0], call->dout[0]});
}

static const pal_op clamp_op = {.name = "clamp",
                                .args = "x",
                                .infer = clamp_infer,
                                .forward = clamp_forward,
                                .backward = clamp_backward,
                                .unread_out = 1,
                                .overwrites = 1};

pal_tensor pal_clamp(pal_tensor x, double low, double high)
{
    return apply(&clamp_op, x, low, high);
}

/* ---- leaky_relu ---- */

static void leaky_f32(int64_t n, const void *x, const double *p, void *y)
{
    const float *v = x, slope = (float)p[0];
    for (int64_t i = 0; i < n; i++) ((float *)y)[i] = v[i] > 0 ? v[i] : slope * v[i];
}
static void leaky_f64(int64_t n, const void *x, const double *p, void *y)
{
    const double *v = x, slope = p[0];
    for (int64_t i = 0; i < n; i++) ((double *)y)[i] = v[i] > 0 ? v[i] : slope * v[i];
}
static void d_leaky_f32(int64_t n, const void *x, const void *dy, const double *p, void *dx)
{
    const float *v = x, *g = dy, slope = (float)p[0];
    for (int64_t i = 0; i < n; i++) ((float *)dx)[i] = v[i] > 0 ? g[i] : slope * g[i];
}
static void d_leaky_f64(int64_t n, const void *x, const void *dy, const double *p, void *dx)
{
    const double *v = x, *g = dy, slope = p[0];
    for (int64_t i = 0; i < n; i++) ((double *)dx)[i] = v[i] > 0 ? g[i] : slope * g[i];
}

static pal_status leaky_infer(pal_call *call)
{
    pal_status status = pal_map_need(call, 0, true, false);
    return status == PAL_OK ? pal_map_broadcast(call, 1) : status;
}

static void leaky_forward(const pal_call *call)
{
    static pal_map1p *const leaky[PAL_REALS] = {leaky_f32, leaky_f64};
    pal_map_fn fn = with_numbers(call, 1);
    fn.f.one_p = leaky[pal_real_index(call->out[0]->dtype)];
    pal_map_forward(&fn, call->in, call->out[0], call->team);
}

static void leaky_backward(const pal_call *call)
{
    static pal_map2p *const d_leaky[PAL_REALS] = {d_leaky_f32, d_leaky_f64};
    pal_map_fn fn = with_numbers(call, 2);
    fn.f.two_p = d_leaky[pal_real_index(call->out[0]->dtype)];
    pal_map_backward(call, 0, &fn, (const pal_array *[]){call->in[0], call->dout[0]});
}

static const pal_op leaky_relu_op = {.name = "leaky_relu",
                                     .args = "x",
                                     .infer = leaky_infer,
                                     .forward = leaky_forward,
                                     .backward = leaky_backward,
                                     .unread_out = 1,
                                     .overwrites = 1};

pal_tensor pal_leaky_relu(pal_tensor x, double slope) { return apply(&leaky_relu_op, x, slope, 0); }

/* ---- affine ---- */

static pal_status affine_infer(pal_call *call)
{
    pal_status status = pal_map_need(call, 0, true, true);
    return status == PAL_OK ? pal_map_broadcast(call, 1) : status;
}

static void affine_forward(const pal_call *call)
{
    pal_map_fn fn = with_numbers(call, 1);
    pal_dtype dtype = call->out[0]->dtype;
    fn.f.one_p = dtype == PAL_I64 ? affine_i64 : pal_kernels_for(dtype)->affine;
    pal_map_forward(&fn, call->in, call->out[0], call->team);
}

static void affine_backward(const pal_call *call)
{
    pal_map_fn fn = with_numbers(call, 1);
    fn.f.one_p = pal_kernels_for(call->out[0]->dtype)->affine;
    fn.p[1] = 0;
    pal_map_backward(call, 0, &fn, call->dout);
}

static const pal_op affine_op = {.name = "affine",
                                 .args = "x",
                                 .infer = affine_infer,
                                 .forward = affine_forward,
                                 .backward = affine_backward,
                                 .unread_in = 1,
                                 .unread_out = 1,
                                 .overwrites = 1};

pal_tensor pal_affine(pal_tensor x, double scale, double shift)
{
    return apply(&affine_op, x, scale, shift);
}

/* ---- wrap ---- */

static double wrapped(double x, double period)
{
    const double rest = fmod(x, period), y = rest < 0 ? rest + period : rest;
    return y >= period ? 0 : y; /* below 0 by so little that the sum was rounded to the period */
}

static void wrap_f32(int64_t n, const void *x, const double *p, void *y)
{
    for (int64_t i = 0; i < n; i++) {
        const float to = (float)wrapped((double)((const float *)x)[i], p[0]);
        ((float *)y)[i] = (double)to >= p[0] ? 0 : to;
    }
}
static void wrap_f64(int64_t n, const void *x, const double *p, void *y)
{
    for (int64_t i = 0; i < n; i++) ((double *)y)[i] = wrapped(((const double *)x)[i], p[0]);
}

static pal_status wrap_infer(pal_call *call)
{
    const double *p = call->opts;
    pal_status status = pal_map_need(call, 0, true, false);
    if (status != PAL_OK) return status;
    if (!(p[0] > 0)) return pal_call_error(call, PAL_EVALUE, "the period is %g, not above 0", p[0]);
    return pal_map_broadcast(call, 1);
}

static void wrap_forward(const pal_call *call)
{
    static pal_map1p *const wrap[PAL_REALS] = {wrap_f32, wrap_f64};
    pal_map_fn fn = with_numbers(call, 1);
    fn.f.one_p = wrap[pal_real_index(call->out[0]->dtype)];
    pal_map_forward(&fn, call->in, call->out[0], call->team);
}

static void wrap_backward(const pal_call *call)
{
    const pal_map_fn pass = {.nin = 1};
    pal_map_backward(call, 0, &pass, call->dout);
}

static const pal_op wrap_op = {.name = "wrap",
                               .args = "x",
                               .infer = wrap_infer,
                               .forward = wrap_forward,
                               .backward = wrap_backward,
                               .unread_in = 1,
                               .unread_out = 1,
                               .overwrites = 1};

pal_tensor pal_wrap(pal_tensor x, double period) { return apply(&wrap_op, x, period, 0); }
