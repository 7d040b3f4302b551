/*
 * gated_norm.c - RMS norm with a gate, in the two orders that the layers use, in one operation.
 *
 * The delta layers normalise each head and then gate it; Mamba-2 gates and then normalises, in
 * groups if its B and C come in groups. A row here is one group; all that is kept of it is 1 / rms.
 * The gradient of weight is summed as in autograd/ops/rows_norm.c, in blocks of rows.
 *
 * f32 with SiLU, one thread of an AMD EPYC (Zen 3), the shortest of 25 calls in a program of its
 * own, in ns an element: 8192 rows of 64, norm first, 2.7 forward and 5.3 backward (as rms_norm,
 * silu and mul 3.0 and 6.1); 2048 rows of 1024, gate first, 2.2 and 4.5 (2.8 and 6.0). Sigmoids
 * take most of it; what is saved besides is two tensors of the size of x on the tape.
 */
#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"
#include "autograd/ops/narrow.h"
#include "layers/modules/init.h"
#include "layers/modules/module_ops.h"

#include <omp.h>
#include <string.h>

enum { BLOCKS = 32, ROWS_A_BLOCK = 16 };
enum { X, GATE, WEIGHT };

static int64_t blocks_of(int64_t rows)
{
    int64_t blocks = (rows + ROWS_A_BLOCK - 1) / ROWS_A_BLOCK;
    return blocks < BLOCKS ? blocks : BLOCKS;
}

/* Lines of the last axis, or, where there are groups, of each of its parts. */
static pal_lines rows_of(const pal_array *a, int64_t groups)
{
    if (groups == 1) return pal_lines_of(a, a->ndim - 1);
    pal_array parts = *a;
    const int last = a->ndim - 1;
    parts.ndim++;
    parts.shape[last] = groups;
    parts.shape[last + 1] = a->shape[last] / groups;
    parts.stride[last] = parts.shape[last + 1] * a->stride[last];
    parts.stride[last + 1] = a->stride[last];
    return pal_lines_of(&parts, last + 1);
}

static pal_status check(pal_call *call)
{
    const pal_array *x = call->in[X], *gate = call->in[GATE], *weight = call->in[WEIGHT];
    const pal_gated_norm_call *o = call->opts;
    pal_status status = pal_map_need(call, X, true, false);
    if (status == PAL_OK && o->gated) status = pal_map_need(call, GATE, true, false);
    if (status != PAL_OK) return status;
    const int64_t n = x->ndim ? x->shape[x->ndim - 1] : 0;
    if (x->ndim < 1 || n % o->groups || (o->groups > 1 && x->ndim == PAL_MAX_DIMS))
        return pal_call_error(call, PAL_ESHAPE, "x has no last axis for %lld groups",
                              (long long)o->groups);
    if (gate && !pal_shape_equal(pal_array_shape(gate), pal_array_shape(x)))
        return pal_call_error(call, PAL_ESHAPE, "gate does not have the shape of x");
    if (weight && (weight->ndim != 1 || weight->shape[0] != n))
        return pal_call_error(call, PAL_ESHAPE, "weight is not of shape [%lld]", (long long)n);
    if ((gate && gate->dtype != x->dtype) || (weight && weight->dtype != x->dtype))
        return pal_call_error(call, PAL_EDTYPE, "the dtypes differ");
    return PAL_OK;
}

static size_t bytes_of(const pal_array *x, int64_t n)
{
    return pal_round_up((size_t)n * pal_dtype_size(x->dtype), PAL_ALIGN);
}

static pal_status infer(pal_call *call)
{
    const pal_array *x = call->in[X];
    pal_status status = check(call);
    if (status != PAL_OK) return status;
    const pal_gated_norm_call *o = call->opts;
    const pal_lines rows = rows_of(x, o->groups);
    status = pal_call_out(call, 0, o->narrow ? PAL_BF16 : x->dtype, pal_array_shape(x));
    if (status == PAL_OK) status = pal_call_save(call, PAL_F64, PAL_SHAPE(rows.count));
    if (status != PAL_OK) return status;
    const int64_t work = 8 * pal_array_count(x) + 1;
    const size_t team = (size_t)pal_call_team(call, work), row = bytes_of(x, rows.n);
    const size_t weight = bytes_of(x, x->shape[x->ndim - 1]);
    /* Scratch: the weight in contiguous memory; for each thread, x and gate of a row and their
     * gradients (forward: the result before it is rounded); the sums. */
    return pal_call_scratch(call, weight + 3 * team * row,
                            weight + 4 * team * row + (size_t)blocks_of(rows.count) * weight);
}

typedef struct problem {
    const pal_gated_norm_call *o;
    const pal_kernels *k;
    pal_lines x, gate, dx, dgate;
    int64_t n, blocks;  /* of a row, and blocks of rows */
    size_t row, all;    /* bytes of a row, and of a weight */
    const char *weight; /* a run, or NULL */
    char *own, *sums;   /* rows of each thread, and of each block (NULL: not wanted) */
    int buffers;        /* rows a thread */
    bool fresh_x, fresh_gate;
} problem;

static problem describe(const pal_call *call, int buffers)
{
    const pal_array *x = call->in[X], *weight = call->in[WEIGHT];
    const pal_gated_norm_call *o = call->opts;
    problem p = {.o = o, .k = pal_kernels_for(x->dtype), .x = rows_of(x, o->groups)};
    if (o->gated) p.gate = rows_of(call->in[GATE], o->groups);
    p.n = p.x.n;
    p.blocks = blocks_of(p.x.count);
    p.row = bytes_of(x, p.n);
    p.all = bytes_of(x, p.n * o->groups);
    p.buffers = buffers;
    p.own = (char *)call->scratch + p.all;
    if (weight) {
        pal_lines run = pal_lines_of(weight, 0);
        p.weight = pal_line_read(&run, run.data, 0, run.n, call->scratch);
    }
    return p;
}

/* Where the part of row i begins in a run over the whole last axis. */
static size_t part(const problem *p, int64_t i)
{
    return (size_t)(i % p->o->groups * p->n) * p->x.size;
}

static const void *gate_row(const problem *p, int64_t i, void *buffer)
{
    return p->o->gated ? pal_line_read(&p->gate, pal_line(&p->gate, i), 0, p->n, buffer) : NULL;
}

static char *own_rows(const problem *p)
{
    return p->own + (size_t)(omp_get_thread_num() * p->buffers) * p->row;
}

static void forward(const pal_call *call)
{
    if (pal_array_count(call->in[X]) == 0) return;
    const problem p = describe(call, 3);
    double *saved = call->saved[0].data;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < p.x.count; i++) {
        char *own = own_rows(&p), *y = own + 2 * p.row;
        if (!p.o->narrow) y = (char *)call->out[0]->data + (size_t)(i * p.n) * p.x.size;
        const void *x = pal_line_read(&p.x, pal_line(&p.x, i), 0, p.n, own);
        const void *z = gate_row(&p, i, own + p.row), *w = p.weight ? p.weight + part(&p, i) : NULL;
        saved[i] = p.k->gated_norm_row(p.n, x, z, w, p.o->act, p.o->gate_first, p.o->eps, y);
        if (p.o->narrow) p.k->to_bf16(p.n, y, (uint16_t *)call->out[0]->data + i * p.n);
    }
}

/* ---- Backward ---- */

static void backward_row(const pal_call *call, const problem *p, int64_t i, char *dweight)
{
    char *own = own_rows(p), *dx = p->dx.data ? pal_line(&p->dx, i) : NULL;
    char *dgate = p->dgate.data ? pal_line(&p->dgate, i) : NULL;
    const char *dy = (const char *)call->dout[0]->data + (size_t)(i * p->n) * p->x.size;
    const void *x = pal_line_read(&p->x, pal_line(&p->x, i), 0, p->n, own);
    const void *z = gate_row(p, i, own + p->row), *w = p->weight ? p->weight + part(p, i) : NULL;
    void *to_x = pal_line_target(&p->dx, dx, p->fresh_x, own + 2 * p->row);
    void *to_gate = pal_line_target(&p->dgate, dgate, p->fresh_gate, own + 3 * p->row);
    p->k->d_gated_norm_row(p->n, x, z, w, p->o->act, p->o->gate_first,
                           ((const double *)call->saved[0].data)[i], dy, to_x, to_gate,
                           dweight ? dweight + part(p, i) : NULL);
    pal_line_give(&p->dx, p->k, dx, p->fresh_x, p->n, to_x);
    pal_line_give(&p->dgate, p->k, dgate, p->fresh_gate, p->n, to_gate);
}

static void backward(const pal_call *call)
{
    if (pal_array_count(call->in[X]) == 0) return;
    problem p = describe(call, 4);
    const pal_array *dweight = call->din[WEIGHT];
    if (call->din[X]) p.dx = rows_of(call->din[X], p.o->groups);
    if (call->din[GATE]) p.dgate = rows_of(call->din[GATE], p.o->groups);
    p.fresh_x = pal_call_fresh(call, X);
    p.fresh_gate = pal_call_fresh(call, GATE);
    if (dweight) p.sums = p.own + (size_t)(call->team * p.buffers) * p.row;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t b = 0; b < p.blocks; b++) {
        char *sum = p.sums ? p.sums + (size_t)b * p.all : NULL;
        if (sum) memset(sum, 0, p.all);
        for (int64_t i = p.x.count * b / p.blocks; i < p.x.count * (b + 1) / p.blocks; i++)
            backward_row(call, &p, i, sum);
    }
    if (!dweight) return;
    const int64_t n = p.n * p.o->groups;
    for (int64_t b = 1; b < p.blocks; b++) p.k->accumulate(n, p.sums + (size_t)b * p.all, p.sums);
    pal_array sum = pal_array_of(dweight->dtype, PAL_SHAPE(n), p.sums);
    pal_array_add(dweight, &sum);
}

/* ---- The operation ---- */

const pal_op pal_gated_norm_op = {.name = "gated_rms_norm",
                                  .args = "x gate weight",
                                  .infer = infer,
                                  .forward = forward,
                                  .backward = backward,
                                  .unread_out = 1,
                                  .overwrites = 3};

pal_gated_norm_call pal_gated_norm_options(pal_gated_norm_opts opts)
{
    return (pal_gated_norm_call){.eps = opts.eps > 0 ? opts.eps : 1e-5,
                                 .groups = opts.groups > 0 ? opts.groups : 1,
                                 .act =
                                     opts.gate == PAL_GATE_SIGMOID ? PAL_ACT_SIGMOID : PAL_ACT_SILU,
                                 .gated = opts.gate != PAL_GATE_NONE,
                                 .gate_first = opts.gate_first && opts.gate != PAL_GATE_NONE};
}

static pal_tensor apply(pal_tensor x, pal_tensor gate, pal_tensor weight, pal_gated_norm_opts opts,
                        bool narrow)
{
    pal_gated_norm_call o = pal_gated_norm_options(opts);
    o.narrow = narrow;
    if (!o.gated) gate = PAL_NONE;
    /* Threads add to gradients row by row, so inputs must not share memory. */
    if (x.node && gate.node && x.node->base == gate.node->base) gate = pal_affine(gate, 1, 0);
    pal_tensor y;
    pal_apply(&pal_gated_norm_op, &o, sizeof o, 3, (pal_tensor[]){x, gate, weight}, 1, &y);
    return y;
}

pal_tensor pal_gated_rms_norm(pal_tensor x, pal_tensor gate, pal_tensor weight,
                              pal_gated_norm_opts opts)
{
    return apply(x, gate, weight, opts, false);
}

pal_tensor pal_gated_norm_read(pal_tensor x, pal_tensor gate, pal_tensor weight,
                               pal_gated_norm_opts opts)
{
    return apply(x, gate, weight, opts, pal_narrow_dtype(x) == PAL_BF16);
}
