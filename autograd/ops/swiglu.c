/*
 * swiglu.c - silu(gate) up in one pass, and both gradients in one pass (Shazeer 2020, arXiv
 * 2002.05202).
 *
 * Backward computes the sigmoid of the gate again instead of reading a saved one. Measured for
 * [2048,2816] in f32 with one thread of an AMD EPYC (Zen 3), shortest of 25 calls in a program of
 * its own: 1.7 ns an element forward and 5.0 backward. As silu and mul it takes 2.3 and 6.4.
 */
#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"
#include "autograd/ops/narrow.h"

#include <omp.h>

enum { GATE, UP };

static size_t row_bytes(const pal_array *x, int64_t n)
{
    return pal_round_up((size_t)n * pal_dtype_size(x->dtype), PAL_ALIGN);
}

static pal_lines rows_of(const pal_array *a) { return pal_lines_of(a, a->ndim ? a->ndim - 1 : 0); }

static pal_status infer(pal_call *call)
{
    const pal_array *gate = call->in[GATE], *up = call->in[UP];
    for (int i = 0; i < 2; i++) {
        pal_status status = pal_map_need(call, i, true, false);
        if (status != PAL_OK) return status;
    }
    if (gate->dtype != up->dtype)
        return pal_call_error(call, PAL_EDTYPE, "the dtypes differ; see pal_cast");
    if (!pal_shape_equal(pal_array_shape(gate), pal_array_shape(up)))
        return pal_call_error(call, PAL_ESHAPE, "the shapes differ");
    const int64_t work = 4 * pal_array_count(gate) + 1;
    const size_t rows = (size_t)pal_call_team(call, work) * row_bytes(gate, rows_of(gate).n);
    const bool narrow = *(const bool *)call->opts && gate->dtype == PAL_F32;
    pal_status status =
        pal_call_out(call, 0, narrow ? PAL_BF16 : gate->dtype, pal_array_shape(gate));
    return status == PAL_OK ? pal_call_scratch(call, 3 * rows, 4 * rows) : status;
}

static void forward(const pal_call *call)
{
    const pal_lines gate = rows_of(call->in[GATE]), up = rows_of(call->in[UP]);
    const pal_kernels *k = pal_kernels_for(call->in[GATE]->dtype);
    const size_t row = row_bytes(call->in[GATE], gate.n);
    const bool narrow = call->out[0]->dtype == PAL_BF16;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < gate.count; i++) {
        char *own = (char *)call->scratch + 3 * (size_t)omp_get_thread_num() * row;
        char *y =
            narrow ? own + 2 * row : (char *)call->out[0]->data + (size_t)(i * gate.n) * gate.size;
        k->swiglu(gate.n, pal_line_read(&gate, pal_line(&gate, i), 0, gate.n, own),
                  pal_line_read(&up, pal_line(&up, i), 0, gate.n, own + row), y);
        if (narrow) k->to_bf16(gate.n, y, (uint16_t *)call->out[0]->data + i * gate.n);
    }
}

static void backward(const pal_call *call)
{
    const pal_lines gate = rows_of(call->in[GATE]), up = rows_of(call->in[UP]);
    const pal_kernels *k = pal_kernels_for(call->in[GATE]->dtype);
    const size_t row = row_bytes(call->in[GATE], gate.n);
    pal_lines d[2] = {{0}};
    for (int i = 0; i < 2; i++)
        if (call->din[i]) d[i] = rows_of(call->din[i]);
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < gate.count; i++) {
        char *own = (char *)call->scratch + 4 * (size_t)omp_get_thread_num() * row, *line[2];
        void *to[2];
        for (int j = 0; j < 2; j++) {
            line[j] = call->din[j] ? pal_line(&d[j], i) : NULL;
            to[j] = pal_line_target(&d[j], line[j], pal_call_fresh(call, j),
                                    own + (size_t)(2 + j) * row);
        }
        k->d_swiglu(gate.n, pal_line_read(&gate, pal_line(&gate, i), 0, gate.n, own),
                    pal_line_read(&up, pal_line(&up, i), 0, gate.n, own + row),
                    (const char *)call->dout[0]->data + (size_t)(i * gate.n) * gate.size, to[GATE],
                    to[UP]);
        for (int j = 0; j < 2; j++)
            pal_line_give(&d[j], k, line[j], pal_call_fresh(call, j), gate.n, to[j]);
    }
}

static const pal_op swiglu_op = {.name = "swiglu",
                                 .args = "gate up",
                                 .infer = infer,
                                 .forward = forward,
                                 .backward = backward,
                                 .unread_out = 1,
                                 .overwrites = 3};

pal_tensor pal_swiglu(pal_tensor gate, pal_tensor up) { return pal_swiglu_as(gate, up, PAL_F32); }

pal_tensor pal_swiglu_as(pal_tensor gate, pal_tensor up, pal_dtype dtype)
{
    pal_tensor y;
    const bool narrow = dtype == PAL_BF16;
    /* Threads add to gradients row by row, so two views of the same memory must not be used
     * together. */
    if (gate.node && up.node && gate.node->base == up.node->base) up = pal_affine(up, 1, 0);
    pal_apply(&swiglu_op, &narrow, sizeof narrow, 2, (pal_tensor[]){gate, up}, 1, &y);
    return y;
}
