/*
 * rows_norm.c - rms_norm, layer_norm and l2_norm over the last axis.
 *
 * Backward needs the input and one or two numbers for each row, which forward saves. The gradients
 * of weight and bias are sums over rows. The rows are cut into at most BLOCKS blocks, which depend
 * only on their number. Each block has its own sums, and these are added in order.
 */
#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"
#include "autograd/ops/narrow.h"
#include "autograd/ops/shape.h"

#include <omp.h>
#include <string.h>

enum { BLOCKS = 32, ROWS_A_BLOCK = 16 };

typedef enum kind { RMS, LAYER, L2 } kind;

/* `op` comes first, so that a pointer to it is a pointer to the whole. */
typedef struct norm_op {
    pal_op op;
    kind kind;
} norm_op;

typedef struct options {
    double eps;
    bool narrow; /* the result of f32 is bf16 */
} options;

static int64_t blocks_of(int64_t rows)
{
    int64_t blocks = (rows + ROWS_A_BLOCK - 1) / ROWS_A_BLOCK;
    return blocks < BLOCKS ? blocks : BLOCKS;
}

static size_t row_bytes(const pal_array *x)
{
    return pal_round_up((size_t)x->shape[x->ndim - 1] * pal_dtype_size(x->dtype), PAL_ALIGN);
}

static pal_status infer(pal_call *call)
{
    const pal_array *x = call->in[0];
    const options *o = call->opts;
    const double eps = o->eps;
    pal_status status = pal_map_need(call, 0, true, false);
    if (status != PAL_OK) return status;
    if (x->ndim == 0) return pal_call_error(call, PAL_ESHAPE, "a scalar has no last axis");
    if (!(eps >= 0)) return pal_call_error(call, PAL_EVALUE, "eps %g is negative", eps);
    int64_t n = x->shape[x->ndim - 1], rows = 1;
    for (int d = 0; d < x->ndim - 1; d++) rows *= x->shape[d];
    for (int i = 1; i < call->nin; i++) {
        const pal_array *w = call->in[i];
        if (!w) continue;
        if (w->dtype != x->dtype) return pal_call_error(call, PAL_EDTYPE, "the dtypes differ");
        if (w->ndim != 1 || w->shape[0] != n)
            return pal_call_error(call, PAL_ESHAPE, "%s is not of shape [%lld]",
                                  i == 1 ? "weight" : "bias", (long long)n);
    }
    bool layer = ((const norm_op *)(const void *)call->op)->kind == LAYER;
    const bool narrow = o->narrow && x->dtype == PAL_F32;
    status = pal_call_out(call, 0, narrow ? PAL_BF16 : x->dtype, pal_array_shape(x));
    if (status == PAL_OK) status = pal_call_save(call, PAL_F64, PAL_SHAPE(rows, layer ? 2 : 1));
    if (status != PAL_OK) return status;
    int64_t work = 2 * pal_array_count(x) + 1;
    size_t row = row_bytes(x), team = (size_t)pal_call_team(call, work);
    /* Room for contiguous weight and bias, then for a row of x and dx for each thread (forward: a
     * row of the result before it is rounded), then for the sums. */
    return pal_call_scratch(call, (2 + (narrow ? team : 0)) * row,
                            (2 + 2 * team + 2 * (size_t)blocks_of(rows)) * row);
}

typedef struct problem {
    kind kind;
    double eps;
    const pal_kernels *k;
    pal_lines x;
    int64_t n, rows;
    size_t row;
    const void *weight, *bias; /* contiguous, or NULL */
} problem;

/* in[i] in contiguous memory, which is `buffer` if it has to be copied; NULL if it is left out. */
static const void *as_run(const pal_call *call, int i, void *buffer)
{
    if (i >= call->nin || !call->in[i]) return NULL;
    pal_lines l = pal_lines_of(call->in[i], 0);
    return pal_line_read(&l, l.data, 0, l.n, buffer);
}

static problem describe(const pal_call *call)
{
    const pal_array *x = call->in[0];
    problem p = {.kind = ((const norm_op *)(const void *)call->op)->kind,
                 .eps = ((const options *)call->opts)->eps,
                 .k = pal_kernels_for(x->dtype),
                 .x = pal_lines_of(x, x->ndim - 1),
                 .row = row_bytes(x)};
    p.n = p.x.n;
    p.rows = p.x.count;
    p.weight = as_run(call, 1, call->scratch);
    p.bias = as_run(call, 2, (char *)call->scratch + p.row);
    return p;
}

static void forward(const pal_call *call)
{
    if (pal_array_count(call->in[0]) == 0) return;
    problem p = describe(call);
    double *saved = call->saved[0].data;
    const bool narrow = call->out[0]->dtype == PAL_BF16;
    char *y = narrow ? (char *)call->scratch + 2 * p.row : call->out[0]->data;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < p.rows; i++) {
        void *to =
            y + (narrow ? (size_t)omp_get_thread_num() * p.row : (size_t)(i * p.n) * p.x.size);
        const void *x = pal_line_read(&p.x, pal_line(&p.x, i), 0, p.n, to);
        if (p.kind == LAYER)
            p.k->layer_norm_row(p.n, x, p.weight, p.bias, p.eps, to, saved + 2 * i);
        else if (p.kind == RMS)
            saved[i] = p.k->rms_norm_row(p.n, x, p.weight, p.eps, to);
        else
            saved[i] = p.k->l2_norm_row(p.n, x, p.weight, p.eps, to);
        if (narrow) p.k->to_bf16(p.n, to, (uint16_t *)call->out[0]->data + i * p.n);
    }
}

/* ---- Backward ---- */

typedef struct backward_loop {
    problem p;
    pal_lines dx;
    bool wants_x, fresh;
    const double *saved;
    const char *dy;
    char *buffers; /* two rows for each thread */
    char *sums[3]; /* of weight and bias, one row for each block; NULL: not wanted */
    int64_t blocks;
} backward_loop;

static void d_x(const backward_loop *b, int64_t i, const void *x, const void *dy, void *buffer)
{
    const problem *p = &b->p;
    char *line = pal_line(&b->dx, i);
    void *to = pal_line_target(&b->dx, line, b->fresh, buffer);
    if (p->kind == LAYER)
        p->k->d_layer_norm_row(p->n, x, p->weight, b->saved + 2 * i, dy, to);
    else if (p->kind == RMS)
        p->k->d_rms_norm_row(p->n, x, p->weight, b->saved[i], dy, to);
    else
        p->k->d_l2_norm_row(p->n, x, p->weight, b->saved[i], dy, to);
    pal_line_give(&b->dx, p->k, line, b->fresh, p->n, to);
}

static void backward_block(const backward_loop *b, int64_t block)
{
    const problem *p = &b->p;
    char *own = b->buffers + 2 * (size_t)omp_get_thread_num() * p->row;
    char *dweight = b->sums[1] ? b->sums[1] + (size_t)block * p->row : NULL;
    char *dbias = b->sums[2] ? b->sums[2] + (size_t)block * p->row : NULL;
    if (dweight) memset(dweight, 0, p->row);
    if (dbias) memset(dbias, 0, p->row);
    for (int64_t i = p->rows * block / b->blocks; i < p->rows * (block + 1) / b->blocks; i++) {
        const void *x = pal_line_read(&p->x, pal_line(&p->x, i), 0, p->n, own);
        const void *dy = b->dy + (size_t)(i * p->n) * p->x.size;
        if (b->wants_x) d_x(b, i, x, dy, own + p->row);
        if (dweight && p->kind == LAYER)
            p->k->d_layer_norm_weight(p->n, x, b->saved + 2 * i, dy, dweight);
        else if (dweight)
            p->k->axmuly(p->n, b->saved[i], x, dy, dweight);
        if (dbias) p->k->accumulate(p->n, dy, dbias);
    }
}

/* din[i] += the sums of all blocks. */
static void add_sums(const pal_call *call, const backward_loop *b, int i)
{
    const problem *p = &b->p;
    if (!b->sums[i]) return;
    for (int64_t k = 1; k < b->blocks; k++)
        p->k->accumulate(p->n, b->sums[i] + (size_t)k * p->row, b->sums[i]);
    pal_array sum = pal_array_of(call->in[0]->dtype, PAL_SHAPE(p->n), b->sums[i]);
    pal_array_add(call->din[i], &sum);
}

static void backward(const pal_call *call)
{
    if (pal_array_count(call->in[0]) == 0) return;
    backward_loop b = {.p = describe(call),
                       .wants_x = call->din[0] != NULL,
                       .fresh = pal_call_fresh(call, 0),
                       .saved = call->saved[0].data,
                       .dy = call->dout[0]->data};
    b.buffers = (char *)call->scratch + 2 * b.p.row;
    b.blocks = blocks_of(b.p.rows);
    if (b.wants_x) b.dx = pal_lines_of(call->din[0], call->in[0]->ndim - 1);
    char *sums = b.buffers + 2 * (size_t)call->team * b.p.row;
    for (int i = 1; i < call->nin; i++)
        if (call->din[i]) b.sums[i] = sums + (size_t)((i - 1) * b.blocks) * b.p.row;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t k = 0; k < b.blocks; k++) backward_block(&b, k);
    for (int i = 1; i < call->nin; i++) add_sums(call, &b, i);
}

/* ---- The operations ---- */

static const norm_op rms_norm_op = {.kind = RMS,
                                    .op = {.name = "rms_norm",
                                           .args = "x weight",
                                           .infer = infer,
                                           .forward = forward,
                                           .backward = backward,
                                           .unread_out = 1,
                                           .overwrites = 1}};

static const norm_op layer_norm_op = {.kind = LAYER,
                                      .op = {.name = "layer_norm",
                                             .args = "x weight bias",
                                             .infer = infer,
                                             .forward = forward,
                                             .backward = backward,
                                             .unread_in = 4,
                                             .unread_out = 1,
                                             .overwrites = 1}};

static const norm_op l2_norm_op = {.kind = L2,
                                   .op = {.name = "l2_norm",
                                          .args = "x",
                                          .infer = infer,
                                          .forward = forward,
                                          .backward = backward,
                                          .unread_out = 1,
                                          .overwrites = 1}};

static pal_tensor apply(const norm_op *op, int nin, const pal_tensor *in, double eps, bool narrow)
{
    pal_tensor y;
    const options o = {.eps = eps, .narrow = narrow};
    pal_apply(&op->op, &o, sizeof o, nin, in, 1, &y);
    return y;
}

pal_tensor pal_rms_norm_as(pal_tensor x, pal_tensor weight, double eps, pal_dtype dtype)
{
    return apply(&rms_norm_op, 2, (pal_tensor[]){x, weight}, eps, dtype == PAL_BF16);
}

pal_tensor pal_rms_norm(pal_tensor x, pal_tensor weight, double eps)
{
    return apply(&rms_norm_op, 2, (pal_tensor[]){x, weight}, eps, false);
}

pal_tensor pal_layer_norm(pal_tensor x, pal_tensor weight, pal_tensor bias, double eps)
{
    return apply(&layer_norm_op, 3, (pal_tensor[]){x, weight, bias}, eps, false);
}

pal_tensor pal_l2_norm(pal_tensor x, double eps) { return apply(&l2_norm_op, 1, &x, eps, false); }
