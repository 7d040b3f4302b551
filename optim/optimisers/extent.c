/*
 * extent.c - the extents of memory that optimisers work on, and passes over them.
 */
#include "optim/optimisers/internal.h"
#include "tensor/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

static bool joined(const pal_params *params, const pal_setting *setting, int i, int j)
{
    if (!setting) return true;
    const pal_setting *a = &setting[i], *b = &setting[j];
    return !a->alone && !b->alone && a->rate == b->rate && a->moments == b->moments &&
           a->decay == b->decay && a->schedule == b->schedule &&
           pal_params_decays(params, i) == pal_params_decays(params, j);
}

static bool left_out(const pal_params *params, const pal_setting *setting, int i)
{
    return pal_params_frozen(params, i) || (setting && setting[i].elsewhere);
}

bool pal_extent_next(const pal_params *params, const pal_setting *setting, pal_extent *extent)
{
    int i = extent->next, n = pal_params_count(params);
    while (i < n && left_out(params, setting, i)) i++;
    if (i >= n) return false;
    int begin = i;
    pal_span first = pal_params_span(params, i), last = first;
    for (i++; i < n; i++) {
        if (left_out(params, setting, i) || !joined(params, setting, begin, i)) break;
        pal_span span = pal_params_span(params, i);
        if (span.block != first.block) break;
        last = span;
    }
    *extent = (pal_extent){.next = i,
                           .first = begin,
                           .block = first.block,
                           .offset = first.offset,
                           .count = last.offset + last.count - first.offset};
    if (!setting) return true;
    extent->rate = setting[begin].rate;
    extent->schedule = setting[begin].schedule;
    extent->decay = pal_params_decays(params, begin) ? setting[begin].decay : 0;
    return true;
}

/* A factor that is not a normal float goes in two steps, each of which is one: large numbers times
 * a tiny factor are in range. */
static void scale_piece(pal_dtype dtype, int64_t n, double factor, void *x)
{
    const double step = fabs(factor) < FLT_MIN ? 0x1p-100 : 0x1p100, size = fabs(factor);
    if (dtype == PAL_F32 && factor != 0 && isfinite(factor) && (size < FLT_MIN || size > FLT_MAX)) {
        scale_piece(PAL_F32, n, step, x);
        factor /= step;
    }
    const double scale_shift[2] = {factor, 0};
    pal_kernels_for(dtype)->affine(n, x, scale_shift, x);
}

void pal_update_all(pal_dtype dtype, int64_t count, pal_update *kernel, const void *numbers,
                    pal_use use, void *g, void *x, void *m, void *v)
{
    int team = pal_team(count);
#pragma omp parallel for num_threads(team) if (team > 1)
    for (int64_t i = 0; i < pal_pieces(count); i++) {
        const int64_t at = i * PAL_PIECE, n = pal_piece_size(count, i);
        void *piece = pal_element(dtype, g, at);
        if (use.spend && use.factor != 1) scale_piece(dtype, n, use.factor, piece);
        kernel(n, numbers, piece, pal_element(dtype, x, at), pal_element(dtype, m, at),
               pal_element(dtype, v, at));
        if (use.spend) memset(piece, 0, (size_t)n * pal_dtype_size(dtype));
    }
}

/* Squares are summed in double, piece by piece, and the pieces are added in order; BATCH pieces at
 * a time, so that a fixed array is enough. */
pal_squares pal_sum_square(pal_dtype dtype, int64_t count, void *memory)
{
    enum { BATCH = 256 };
    int64_t pieces = pal_pieces(count);
    int team = pal_team(count);
    pal_squares sum = {0}, part[BATCH];
    for (int64_t first = 0; first < pieces; first += BATCH) {
        int64_t n = pieces - first < BATCH ? pieces - first : BATCH;
#pragma omp parallel for num_threads(team) if (team > 1)
        for (int64_t i = 0; i < n; i++)
            part[i] = pal_squares_of(dtype, pal_piece_size(count, first + i),
                                     pal_element(dtype, memory, (first + i) * PAL_PIECE));
        for (int64_t i = 0; i < n; i++) pal_squares_add(&sum, part[i]);
    }
    return sum;
}

void pal_scale(pal_dtype dtype, int64_t count, void *memory, double factor)
{
    int team = pal_team(count);
#pragma omp parallel for num_threads(team) if (team > 1)
    for (int64_t i = 0; i < pal_pieces(count); i++)
        scale_piece(dtype, pal_piece_size(count, i), factor,
                    pal_element(dtype, memory, i * PAL_PIECE));
}

bool pal_all_finite(pal_dtype dtype, int64_t count, void *memory)
{
    const pal_kernels *k = pal_kernels_for(dtype);
    const int team = pal_team(count);
    int64_t bad = 0;
#pragma omp parallel for num_threads(team) reduction(+ : bad) if (team > 1)
    for (int64_t i = 0; i < pal_pieces(count); i++) {
        const int64_t n = pal_piece_size(count, i);
        const void *x = pal_element(dtype, memory, i * PAL_PIECE);
        bad += k->zero_sum(n, x) != 0;
    }
    return bad == 0;
}

double pal_largest(pal_dtype dtype, int64_t count, const void *memory)
{
    const pal_kernels *k = pal_kernels_for(dtype);
    return fmax(k->max(count, memory), -k->min(count, memory));
}
