/*
 * dropout.c - sets elements to zero at random.
 *
 * A call splits a generator from the tape's, and element i is a function of that and i. What was
 * kept is stored as one bit an element, so backward draws nothing. A recomputed segment starts from
 * the same state of the tape's generator, so it repeats its masks. Source: Srivastava et al., JMLR
 * 15 (2014).
 */
#include "autograd/ops/lines.h"
#include "autograd/ops/map.h"

#include <math.h>
#include <omp.h>

typedef struct dropout {
    double p;
    pal_rng rng;
} dropout;

enum { CHUNK = 4096 }; /* elements of a piece of work, whole words of bits */

static pal_status infer(pal_call *call)
{
    const dropout *d = call->opts;
    pal_status status = pal_map_need(call, 0, true, false);
    if (status != PAL_OK) return status;
    if (!(d->p >= 0 && d->p < 1))
        return pal_call_error(call, PAL_EVALUE, "probability %g is not in [0, 1)", d->p);
    const pal_array *x = call->in[0];
    const int64_t n = pal_array_count(x);
    status = pal_call_out(call, 0, x->dtype, pal_array_shape(x));
    if (status == PAL_OK) status = pal_call_save(call, PAL_I64, PAL_SHAPE((n + 63) / 64));
    const size_t team = (size_t)pal_call_team(call, 4 * n);
    /* Backward: a chunk for each thread, where the gradient is not contiguous. */
    const size_t chunk = CHUNK * pal_dtype_size(x->dtype);
    return status == PAL_OK ? pal_call_scratch(call, 0, team * chunk) : status;
}

/* The share p of the 2^32 numbers, rounded. */
static pal_drops drops_of(const dropout *d)
{
    const double below = rint(d->p * 0x1p32);
    return (pal_drops){.seed = d->rng.seed,
                       .stream = d->rng.stream,
                       .counter = d->rng.counter,
                       .below = below < UINT32_MAX ? (uint32_t)below : UINT32_MAX};
}

static void forward(const pal_call *call)
{
    const pal_array *x = call->in[0], *y = call->out[0];
    const dropout *d = call->opts;
    const pal_kernels *k = pal_kernels_for(x->dtype);
    const int64_t n = pal_array_count(y);
    const size_t size = pal_dtype_size(y->dtype);
    const pal_drops drops = drops_of(d);
    const char *from = x->data;
    if (n == 0) return;
    if (!pal_array_contiguous(x)) {
        if (pal_array_copy(y, x, NULL) != PAL_OK) return; /* infer has seen shape and dtype */
        from = y->data;
    }
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < n; i += CHUNK) {
        pal_drops piece = drops;
        piece.counter += (uint64_t)(i / 8);
        k->drop(n - i < CHUNK ? n - i : CHUNK, &piece, from + (size_t)i * size, 1 / (1 - d->p),
                (char *)y->data + (size_t)i * size, (uint64_t *)call->saved[0].data + i / 64);
    }
}

static void backward(const pal_call *call)
{
    const pal_array *dy = call->dout[0];
    const pal_lines lines = pal_lines_of(call->din[0], PAL_ALL);
    const pal_kernels *k = pal_kernels_for(dy->dtype);
    const uint64_t *keep = call->saved[0].data;
    const double scale = 1 / (1 - ((const dropout *)call->opts)->p);
    const int64_t pieces = (lines.n + CHUNK - 1) / CHUNK;
    const bool fresh = pal_call_fresh(call, 0), direct = lines.step == 1;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < lines.count * pieces; i++) {
        const int64_t start = i % pieces * CHUNK, first = i / pieces * lines.n + start;
        const int64_t n = lines.n - start < CHUNK ? lines.n - start : CHUNK;
        const char *from = (const char *)dy->data + (size_t)first * lines.size;
        char *line = pal_line(&lines, i / pieces);
        char *own = (char *)call->scratch + (size_t)omp_get_thread_num() * CHUNK * lines.size;
        char *to = direct ? line + (size_t)start * lines.size : own;
        k->kept(n, keep, first, from, scale, direct && !fresh, to);
        if (direct) continue;
        if (fresh)
            pal_line_write(&lines, line, start, n, own);
        else
            pal_line_add(&lines, k, line, start, n, own);
    }
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
