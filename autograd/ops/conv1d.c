/*
 * conv1d.c - convolution with channels along the last axis.
 *
 * For one entry of the batch and one group, all inputs that the outputs read are copied into a
 * matrix [C / groups W, T'] ("columns"); outputs and gradients are products with it. The matrix is
 * W times as large as the lines that it comes from, and exists once.
 */
#include "autograd/ops/map.h"
#include "autograd/ops/product.h"
#include "autograd/ops/shape.h"

enum { X, WEIGHT, BIAS };

/* ---- Infer ---- */

static pal_conv1d_opts options(const pal_call *call)
{
    pal_conv1d_opts o = *(const pal_conv1d_opts *)call->opts;
    if (o.stride == 0) o.stride = 1;
    if (o.dilation == 0) o.dilation = 1;
    if (o.groups == 0) o.groups = 1;
    return o;
}

static pal_status check_operands(pal_call *call)
{
    for (int i = X; i <= BIAS; i++) {
        if (i == BIAS && !call->in[i]) continue;
        pal_status status = pal_map_need(call, i, true, false);
        if (status != PAL_OK) return status;
        if (call->in[i]->dtype != call->in[X]->dtype)
            return pal_call_error(call, PAL_EDTYPE, "the dtypes differ");
    }
    const pal_array *x = call->in[X], *w = call->in[WEIGHT], *bias = call->in[BIAS];
    const pal_conv1d_opts o = options(call);
    if (x->ndim != 3 || w->ndim != 3)
        return pal_call_error(call, PAL_ESHAPE,
                              "x should be [B, C, T] and weight [O, C / groups, W]");
    if (o.groups < 1 || x->shape[1] % o.groups || w->shape[0] % o.groups)
        return pal_call_error(call, PAL_EVALUE, "%lld groups do not divide %lld and %lld channels",
                              (long long)o.groups, (long long)x->shape[1], (long long)w->shape[0]);
    if (w->shape[1] != x->shape[1] / o.groups)
        return pal_call_error(call, PAL_ESHAPE, "each of %lld groups has %lld channels, not %lld",
                              (long long)o.groups, (long long)(x->shape[1] / o.groups),
                              (long long)w->shape[1]);
    if (bias && (bias->ndim != 1 || bias->shape[0] != w->shape[0]))
        return pal_call_error(call, PAL_ESHAPE, "bias is not of shape [%lld]",
                              (long long)w->shape[0]);
    return PAL_OK;
}

/* The entries of a result; -1: x is too short, or the numbers are too large. */
static int64_t result_length(const pal_call *call)
{
    const pal_conv1d_opts o = options(call);
    const int64_t t = call->in[X]->shape[2], w = call->in[WEIGHT]->shape[2];
    const double span = (double)o.dilation * (double)(w - 1) + 1;
    if (span > 1e15 || w < 1 || (double)t + 2 * (double)o.padding < span) return -1;
    return (t + 2 * o.padding - o.dilation * (w - 1) - 1) / o.stride + 1;
}

typedef struct problem {
    pal_conv1d_opts o;
    pal_dtype dtype;
    size_t size;
    int64_t batch, in, out, t, width, length; /* in, out: channels of a group */
    /* Scratch. columns and d_columns are [in width, length]; the others [O, in width]. */
    char *columns, *d_columns, *weight, *d_weight;
} problem;

static problem describe(const pal_call *call, bool gradients, pal_carver *c)
{
    const pal_array *x = call->in[X], *w = call->in[WEIGHT];
    problem p = {.o = options(call), .dtype = x->dtype, .size = pal_dtype_size(x->dtype)};
    p.batch = x->shape[0], p.t = x->shape[2], p.width = w->shape[2];
    p.in = w->shape[1], p.out = w->shape[0] / p.o.groups;
    p.length = call->out[0]->shape[2];
    const size_t columns = (size_t)(p.in * p.width * p.length) * p.size;
    const size_t weights = (size_t)pal_array_count(w) * p.size;
    p.columns = pal_carve(c, columns);
    p.weight = pal_carve(c, weights);
    if (!gradients) return p;
    p.d_columns = pal_carve(c, columns);
    p.d_weight = pal_carve(c, weights);
    return p;
}

static pal_status infer(pal_call *call)
{
    enum { LARGEST = 1 << 30 };
    pal_status status = check_operands(call);
    if (status != PAL_OK) return status;
    const pal_conv1d_opts o = options(call);
    const pal_array *x = call->in[X], *w = call->in[WEIGHT];
    if (o.stride < 1 || o.dilation < 1 || o.padding < 0 || o.stride > LARGEST ||
        o.dilation > LARGEST || o.padding > LARGEST)
        return pal_call_error(call, PAL_EVALUE,
                              "stride %lld, padding %lld or dilation %lld is out of range",
                              (long long)o.stride, (long long)o.padding, (long long)o.dilation);
    const int64_t length = result_length(call);
    if (length < 0)
        return pal_call_error(call, PAL_ESHAPE,
                              "the weights reach over more entries than the %lld of x with padding "
                              "%lld on both sides",
                              (long long)x->shape[2], (long long)o.padding);
    status = pal_call_out(call, 0, x->dtype, PAL_SHAPE(x->shape[0], w->shape[0], length));
    if (status != PAL_OK) return status;
    if (pal_shape_count(PAL_SHAPE(w->shape[1], w->shape[2], length)) < 0)
        return pal_call_error(call, PAL_ESHAPE,
                              "the inputs of the products have too many elements");
    pal_carver fore = {0}, back = {0};
    describe(call, false, &fore);
    describe(call, true, &back);
    pal_call_work(call, pal_array_count(call->out[0]) * w->shape[2] + 1);
    status = pal_call_scratch(call, fore.used, back.used);
    return status == PAL_OK ? pal_product_ready(call, (double)w->shape[1] * (double)w->shape[2] *
                                                          (double)w->shape[0] * (double)length)
                            : status;
}

/* ---- Columns ---- */

/* Where entry `w` of the weights reads for output t. */
static int64_t source(const problem *p, int64_t t, int64_t w)
{
    return t * p->o.stride - p->o.padding + w * p->o.dilation;
}

static char *line_of(const pal_array *x, int64_t b, int64_t c, size_t size)
{
    return (char *)x->data + (b * x->stride[0] + c * x->stride[1]) * (int64_t)size;
}

static void fill_columns(const problem *p, const pal_call *call, int64_t b, int64_t g)
{
    const pal_array *x = call->in[X];
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t row = 0; row < p->in * p->width; row++) {
        const char *from = line_of(x, b, g * p->in + row / p->width, p->size);
        char *to = p->columns + (size_t)(row * p->length) * p->size;
        for (int64_t t = 0; t < p->length; t++) {
            const int64_t at = source(p, t, row % p->width);
            const bool inside = at >= 0 && at < p->t;
            const double v = inside ? pal_element_get(p->dtype, from, at * x->stride[2]) : 0;
            pal_element_set(p->dtype, to, t, v);
        }
    }
}

/* Adds the gradient of the columns to dx. A channel is added to in one order. */
static void add_columns(const problem *p, const pal_call *call, int64_t b, int64_t g)
{
    const pal_array *dx = call->din[X];
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t c = 0; c < p->in; c++) {
        char *to = line_of(dx, b, g * p->in + c, p->size);
        for (int64_t w = 0; w < p->width; w++) {
            const char *from = p->d_columns + (size_t)((c * p->width + w) * p->length) * p->size;
            for (int64_t t = 0; t < p->length; t++) {
                const int64_t at = source(p, t, w);
                if (at >= 0 && at < p->t)
                    pal_element_add(p->dtype, to, at * dx->stride[2],
                                    pal_element_get(p->dtype, from, t));
            }
        }
    }
}

/* ---- Products ---- */

/* Outputs of a group in y or dy, which is contiguous: [out, length]. */
static pal_array outputs_of(const problem *p, const pal_array *y, int64_t b, int64_t g)
{
    const int64_t first = (b * p->o.groups + g) * p->out * p->length;
    return pal_array_of(p->dtype, PAL_SHAPE(p->out, p->length),
                        (char *)y->data + (size_t)first * p->size);
}

/* The weights of a group in contiguous memory, as [out, in width]. */
static pal_array weights_of(const problem *p, char *all, int64_t g)
{
    const int64_t n = p->in * p->width;
    return pal_array_of(p->dtype, PAL_SHAPE(p->out, n), all + (size_t)(g * p->out * n) * p->size);
}

static pal_array columns_of(const problem *p, char *columns)
{
    return pal_array_of(p->dtype, PAL_SHAPE(p->in * p->width, p->length), columns);
}

static void copy_weights(const problem *p, const pal_call *call)
{
    const pal_array *w = call->in[WEIGHT];
    const pal_array run = pal_array_of(p->dtype, pal_array_shape(w), p->weight);
    pal_array_assign(&run, w);
}

static void forward(const pal_call *call)
{
    pal_carver c = {.base = call->scratch};
    const problem p = describe(call, false, &c);
    if (pal_array_count(call->out[0]) == 0) return;
    copy_weights(&p, call);
    for (int64_t i = 0; i < p.batch * p.o.groups; i++) {
        const int64_t b = i / p.o.groups, g = i % p.o.groups;
        pal_array y = outputs_of(&p, call->out[0], b, g), w = weights_of(&p, p.weight, g);
        pal_array columns = columns_of(&p, p.columns);
        fill_columns(&p, call, b, g);
        if (call->in[BIAS]) {
            pal_array bias = pal_axis_range(call->in[BIAS], 0, g * p.out, p.out, 1);
            bias.ndim = 2, bias.shape[1] = 1, bias.stride[1] = 0;
            pal_array_assign(&y, &bias);
        }
        pal_product_sum(&w, &columns, call->in[BIAS] != NULL, &y);
    }
}

/* ---- Backward ---- */

static void add_bias(const problem *p, const pal_call *call)
{
    const pal_array *dy = call->dout[0], *db = call->din[BIAS];
    const int64_t outputs = p->out * p->o.groups;
    for (int64_t o = 0; db && o < outputs; o++) {
        double sum = 0;
        for (int64_t b = 0; b < p->batch; b++)
            for (int64_t t = 0; t < p->length; t++)
                sum += pal_element_get(p->dtype, dy->data, (b * outputs + o) * p->length + t);
        pal_element_add(p->dtype, db->data, o * db->stride[0], sum);
    }
}

static void backward(const pal_call *call)
{
    pal_carver c = {.base = call->scratch};
    const problem p = describe(call, true, &c);
    const pal_array *w = call->in[WEIGHT];
    pal_array dw = pal_array_of(p.dtype, pal_array_shape(w), p.d_weight);
    copy_weights(&p, call);
    pal_array_fill(&dw, 0);
    for (int64_t i = 0; i < p.batch * p.o.groups && p.out > 0; i++) {
        const int64_t b = i / p.o.groups, g = i % p.o.groups;
        const pal_array dy = outputs_of(&p, call->dout[0], b, g);
        if (call->din[WEIGHT]) {
            const pal_array columns = columns_of(&p, p.columns),
                            own = weights_of(&p, p.d_weight, g);
            const pal_array transposed = pal_array_transposed(&columns);
            fill_columns(&p, call, b, g);
            pal_product_sum(&dy, &transposed, true, &own);
        }
        if (call->din[X]) {
            const pal_array weights = weights_of(&p, p.weight, g);
            const pal_array transposed = pal_array_transposed(&weights);
            const pal_array d = columns_of(&p, p.d_columns);
            pal_product_sum(&transposed, &dy, false, &d);
            add_columns(&p, call, b, g);
        }
    }
    pal_give_gradient(call, WEIGHT, &dw);
    add_bias(&p, call);
}

static const pal_op conv1d_op = {.name = "conv1d",
                                 .args = "x weight bias",
                                 .infer = infer,
                                 .forward = forward,
                                 .backward = backward,
                                 .unread_in = 4,
                                 .unread_out = 1};

pal_tensor pal_conv1d(pal_tensor x, pal_tensor weight, pal_tensor bias, pal_conv1d_opts opts)
{
    pal_tensor y;
    pal_apply(&conv1d_op, &opts, sizeof opts, 3, (pal_tensor[]){x, weight, bias}, 1, &y);
    return y;
}
