/*
 * dropout.c - sets elements to zero at random.
 *
 * A call splits a generator from the tape's and keeps only that. Backward draws the same numbers
 * again, so no mask is stored. A recomputed segment starts from the same state of the tape's
 * generator, so it repeats its masks. Source: Srivastava et al., JMLR 15 (2014).
 */
#include "autograd/ops/map.h"

typedef struct dropout {
    double p;
    pal_rng rng;
} dropout;

/* y = 0 where u < p, else x scale; numbers = {p, scale}. The numbers u are f32 for both types, so
 * that both drop the same elements. */
static void drop_f32(int64_t n, const void *u, const void *x, const double *numbers, void *y)
{
    const float *from = x, *draw = u;
    float p = (float)numbers[0], scale = (float)numbers[1];
    for (int64_t i = 0; i < n; i++) ((float *)y)[i] = draw[i] < p ? 0 : from[i] * scale;
}

static void drop_f64(int64_t n, const void *u, const void *x, const double *numbers, void *y)
{
    const double *from = x, *draw = u;
    double p = numbers[0], scale = numbers[1];
    for (int64_t i = 0; i < n; i++) ((double *)y)[i] = draw[i] < p ? 0 : from[i] * scale;
}

static pal_status infer(pal_call *call)
{
    const dropout *d = call->opts;
    pal_status status = pal_map_need(call, 0, true, false);
    if (status != PAL_OK) return status;
    if (!(d->p >= 0 && d->p < 1))
        return pal_call_error(call, PAL_EVALUE, "probability %g is not in [0, 1)", d->p);
    status = pal_map_broadcast(call, 1);
    if (status != PAL_OK) return status;
    size_t bytes = pal_shape_bytes(PAL_F32, pal_array_shape(call->out[0]));
    return pal_call_scratch(call, bytes, bytes);
}

static pal_map_fn drop_fn(const pal_call *call)
{
    double p = ((const dropout *)call->opts)->p;
    pal_map_fn fn = {.nin = 2, .numbers = true, .p = {(double)(float)p, 1 / (1 - p)}};
    static pal_map2p *const drop[PAL_REALS] = {drop_f32, drop_f64};
    fn.f.two_p = drop[pal_real_index(call->out[0]->dtype)];
    return fn;
}

/* Draws one uniform number for every element of the result, into scratch. */
static pal_array draw(const pal_call *call)
{
    pal_rng rng = ((const dropout *)call->opts)->rng;
    pal_array u = pal_array_of(PAL_F32, pal_array_shape(call->out[0]), call->scratch);
    if (pal_array_count(&u)) pal_rng_uniform(&rng, &u, 0, 1);
    return u;
}

static void forward(const pal_call *call)
{
    pal_map_fn fn = drop_fn(call);
    pal_array u = draw(call);
    pal_map_forward(&fn, (const pal_array *[]){&u, call->in[0]}, call->out[0], call->team);
}

static void backward(const pal_call *call)
{
    pal_map_fn fn = drop_fn(call);
    pal_array u = draw(call);
    pal_map_backward(call, 0, &fn, (const pal_array *[]){&u, call->dout[0]});
}

static const pal_op dropout_op = {.name = "dropout",
                                  .args = "x",
                                  .infer = infer,
                                  .forward = forward,
                                  .backward = backward,
                                  .unread_in = 1,
                                  .unread_out = 1,
                                  .overwrites = 1};

pal_tensor pal_dropout(pal_tensor x, double p)
{
    pal_tensor y;
    const pal_node *n = p == 0 ? pal_node_of(x, "dropout", "x") : NULL;
    if (n && pal_dtype_real(n->a.dtype)) return x;
    pal_tape *tape = x.node && !pal_handle_problem(x) ? pal_tape_of(x.node) : NULL;
    dropout d = {.p = p, .rng = tape ? pal_rng_split(pal_tape_rng(tape)) : pal_rng_new(0, 0)};
    pal_apply(&dropout_op, &d, sizeof d, 1, &x, 1, &y);
    return y;
}
