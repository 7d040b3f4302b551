/*
 * 04_custom_op.c - an operation of one's own, the Huber loss, whose gradient is checked.
 *     y = x^2/2 where |x| <= d, else d (|x| - d/2)        dx = dy clamp(x, -d, d)
 *
 * infer checks the arguments and gives the outputs their shapes. Only infer may fail; forward and
 * backward only compute.
 */
#include <palimpsest.h>
#include <math.h>

typedef struct huber_opts {
    double d;
} huber_opts;

static pal_status huber_infer(pal_call *call)
{
    const huber_opts *o = call->opts;
    const pal_array *x = call->in[0];
    if (!x) return pal_call_error(call, PAL_EVALUE, "x is missing");
    if (x->dtype == PAL_I64) return pal_call_error(call, PAL_EDTYPE, "x is not f32 or f64");
    if (!(o->d > 0)) return pal_call_error(call, PAL_EVALUE, "d = %g is not positive", o->d);
    return pal_call_out(call, 0, x->dtype, pal_array_shape(x));
}

/* The position of element i in row-major order. x may be a view with any strides. */
static void position(const pal_array *x, int64_t i, int64_t index[PAL_MAX_DIMS])
{
    for (int axis = x->ndim - 1; axis >= 0; i /= x->shape[axis--]) index[axis] = i % x->shape[axis];
}

static void huber_forward(const pal_call *call)
{
    double d = ((const huber_opts *)call->opts)->d;
    int64_t index[PAL_MAX_DIMS];
    for (int64_t i = 0; i < pal_array_count(call->in[0]); i++) {
        position(call->in[0], i, index);
        double x = pal_array_get(call->in[0], index);
        pal_array_set(call->out[0], index, fabs(x) <= d ? x * x / 2 : d * (fabs(x) - d / 2));
    }
}

/* backward adds to din, because other operations may use x too. */
static void huber_backward(const pal_call *call)
{
    double d = ((const huber_opts *)call->opts)->d;
    int64_t index[PAL_MAX_DIMS];
    for (int64_t i = 0; i < pal_array_count(call->in[0]); i++) {
        position(call->in[0], i, index);
        double x = pal_array_get(call->in[0], index), dy = pal_array_get(call->dout[0], index);
        double slope = fmin(fmax(x, -d), d), before = pal_array_get(call->din[0], index);
        pal_array_set(call->din[0], index, before + dy * slope);
    }
}

static const pal_op huber_op = {.name = "huber",
                                .args = "x",
                                .infer = huber_infer,
                                .forward = huber_forward,
                                .backward = huber_backward,
                                .unread_out = 1};

static pal_tensor huber(pal_tensor x, huber_opts opts)
{
    pal_tensor y;
    pal_apply(&huber_op, &opts, sizeof opts, 1, &x, 1, &y);
    return y;
}

static void for_gradcheck(void *context, const pal_tensor *in, pal_tensor *out)
{
    out[0] = huber(pal_transpose(in[0], 0, 1), *(const huber_opts *)context);
}

int main(void)
{
    huber_opts opts = {.d = 1};
    pal_tape *tape = pal_tape_new();
    const double values[] = {-3, -0.5, 0, 0.25, 2, 5};
    pal_tensor x = pal_want_grad(pal_from(tape, PAL_F64, PAL_SHAPE(6), values));
    pal_tensor y = huber(x, opts);
    pal_backward(pal_sum(y, PAL_ALL, false));
    pal_print("x", x);
    pal_print("huber(x)", y);
    pal_print("its gradient", pal_grad(x));
    pal_tape_free(tape);

    /* Differences, here through a transposed view. No value is near the kinks at -1 and 1. */
    double data[] = {-3, -0.5, 0.1, 0.25, 2, 5};
    pal_array input = pal_array_of(PAL_F64, PAL_SHAPE(2, 3), data);
    pal_gradcheck_opts check = {0};
    pal_error error;
    bool agree = pal_gradcheck(for_gradcheck, &opts, 1, &input, 1, &check, &error);
    if (agree)
        printf("gradcheck: %lld comparisons agree, worst relative error %.1e\n",
               (long long)check.compared, check.worst);
    else
        printf("gradcheck: %s\n", error.message);
    return agree ? 0 : 1;
}
