/*
 * clip.c - the norm of all gradients, and scaling them down to a given one.
 *
 * Squares are summed in double, piece by piece, and the pieces are added in order: the norm has the
 * same bits for every number of threads.
 */
#include "optim/internal.h"
#include "tensor/kernels.h"

#include <math.h>

/* The sum of squares of one run, `batch` pieces at a time: no memory beyond a fixed array. */
static double run_square(pal_block b, const pal_run *run)
{
    enum { BATCH = 256 };
    const pal_kernels *k = pal_kernels_for(b.dtype);
    int64_t pieces = pal_pieces(run->count);
    int team = pal_team(run->count);
    double sum = 0, part[BATCH];
    for (int64_t first = 0; first < pieces; first += BATCH) {
        int64_t n = pieces - first < BATCH ? pieces - first : BATCH;
#pragma omp parallel for num_threads(team) if (team > 1)
        for (int64_t i = 0; i < n; i++)
            part[i] =
                k->sum_square(pal_piece_size(run->count, first + i),
                              pal_element(b.dtype, b.grad, run->offset + (first + i) * PAL_PIECE));
        for (int64_t i = 0; i < n; i++) sum += part[i];
    }
    return sum;
}

static void scale_run(pal_block b, const pal_run *run, double factor)
{
    const pal_kernels *k = pal_kernels_for(b.dtype);
    const double scale_shift[2] = {factor, 0};
    int team = pal_team(run->count);
#pragma omp parallel for num_threads(team) if (team > 1)
    for (int64_t i = 0; i < pal_pieces(run->count); i++) {
        void *g = pal_element(b.dtype, b.grad, run->offset + i * PAL_PIECE);
        k->affine(pal_piece_size(run->count, i), g, scale_shift, g);
    }
}

double pal_clip_grad_norm(pal_params *params, double max_norm)
{
    double sum = 0;
    for (pal_run run = {0}; pal_run_next(params, &run);)
        sum += run_square(pal_params_block(params, run.block), &run);
    double norm = sqrt(sum);
    if (!(max_norm > 0) || !isfinite(norm) || norm <= max_norm) return norm;
    double factor = max_norm / (norm + 1e-6); /* as PyTorch: runs there and here agree */
    for (pal_run run = {0}; pal_run_next(params, &run);)
        scale_run(pal_params_block(params, run.block), &run, factor);
    return norm;
}
