/*
 * muon.c - momentum made orthogonal, for matrices; AdamW for the rest.
 *
 * Products run over the smaller side of a matrix: of a tall one the transpose is taken, as a view.
 * The three products of an iteration are A = X X^T, P = c A A + b A, and (P + a I) X, where X and
 * its successor change places. The workspace has room for these two, A and P, for the largest
 * matrix.
 */
#include "autograd/internal.h"
#include "optim/optimisers/internal.h"
#include "optim/optimisers/kernels/muon.h"

#include <fnmatch.h>
#include <math.h>
#include <string.h>

enum { ITERATIONS = 5 };
static const double quintic[] = {3.4445, -4.7750, 2.0315}; /* a, b, c */
static const double least_norm = 1e-7;                     /* as torch.optim.Muon */

/* ---- Which are matrices ---- */

static bool excluded(const pal_muon_opts *o, const char *name)
{
    static const char *const usual[] = {"*embed*", "*head*"};
    const char *const *pattern = o->exclude ? o->exclude : usual;
    int count = o->exclude ? o->exclude_count : 2;
    for (int i = 0; i < count; i++)
        if (fnmatch(pattern[i], name, 0) == 0) return true;
    return false;
}

static void classify(const void *opts, const pal_params *params, int i, pal_setting *setting)
{
    const pal_muon_opts *o = opts;
    bool matrix = pal_params_array(params, i).ndim == 2 && !excluded(o, pal_params_name(params, i));
    setting->moments = matrix ? 1 : 2;
    setting->alone = matrix;
    if (!matrix) setting->rate = o->rest_rate;
}

/* ---- Newton-Schulz ---- */

/* A matrix as one of `least` x `most`, element (i, j) at i rs + j cs; and the workspace. */
typedef struct view {
    pal_dtype dtype;
    int64_t least, most, rs, cs;
    void *x, *next, *A, *P;
} view;

static size_t side_bytes(pal_dtype dtype, int64_t rows, int64_t columns)
{
    size_t size = (size_t)(rows * columns) * pal_dtype_size(dtype);
    return pal_round_up(size, PAL_ALIGN);
}

static view view_of(pal_dtype dtype, int64_t rows, int64_t columns, void *work)
{
    bool tall = rows > columns;
    view w = {.dtype = dtype,
              .least = tall ? columns : rows,
              .most = tall ? rows : columns,
              .rs = tall ? 1 : columns,
              .cs = tall ? columns : 1,
              .x = work};
    size_t whole = side_bytes(dtype, rows, columns), square = side_bytes(dtype, w.least, w.least);
    if (!work) return w;
    w.next = (char *)work + whole;
    w.A = (char *)w.next + whole;
    w.P = (char *)w.A + square;
    return w;
}

static size_t work(const pal_optim *optim)
{
    size_t most = 0;
    for (int i = 0; i < optim->count; i++) {
        pal_array array = pal_params_array(optim->params, i);
        if (!optim->setting[i].alone || !pal_state_at(&optim->state, i, 0)) continue;
        view w = view_of(array.dtype, array.shape[0], array.shape[1], NULL);
        size_t size =
            2 * side_bytes(w.dtype, w.least, w.most) + 2 * side_bytes(w.dtype, w.least, w.least);
        if (size > most) most = size;
    }
    return most;
}

static void iterate(view *w)
{
    int64_t n = w->least, m = w->most, size = (int64_t)pal_dtype_size(w->dtype);
    int wide = pal_team(n * n * m / 32), square = pal_team(n * n * n / 32); /* 64 flops a ns */
    pal_gemm(w->dtype, n, n, m, 1, w->x, w->rs, w->cs, w->x, w->cs, w->rs, 0, w->A, n, 1, wide);
    memcpy(w->P, w->A, (size_t)(n * n * size));
    pal_gemm(w->dtype, n, n, n, quintic[2], w->A, n, 1, w->A, n, 1, quintic[1], w->P, n, 1, square);
    for (int64_t i = 0; i < n; i++) pal_element_add(w->dtype, w->P, i * (n + 1), quintic[0]);
    pal_gemm(w->dtype, n, m, n, 1, w->P, n, 1, w->x, w->rs, w->cs, 0, w->next, w->rs, w->cs, wide);
    void *other = w->x;
    w->x = w->next;
    w->next = other;
}

/* ---- The update ---- */

static double factor(pal_muon_scale scale, double rows, double columns)
{
    if (scale == PAL_MUON_RMS) return 0.2 * sqrt(fmax(rows, columns));
    return sqrt(fmax(1, rows / columns));
}

static void update(const pal_optim *optim, const pal_extent *extent, double lr)
{
    const pal_muon_opts *o = optim->opts;
    if (!optim->setting[extent->first].alone) {
        const pal_adamw_opts rest = {.beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps};
        pal_adamw_update_extent(optim, extent, &rest, lr, false);
        return;
    }
    pal_array x = pal_params_array(optim->params, extent->first);
    if (extent->count == 0) return;
    int64_t rows = x.shape[0], columns = x.shape[1];
    pal_param_block of = pal_params_block(optim->params, extent->block);
    void *g = pal_element(of.dtype, of.grad, extent->offset);
    const pal_optim_kernels *k = pal_optim_kernels_for(of.dtype);
    view w = view_of(of.dtype, rows, columns, optim->work);
    pal_muon_numbers numbers = {.momentum = o->momentum,
                                .nesterov = !o->no_nesterov,
                                .rate = lr * factor(o->scale, (double)rows, (double)columns),
                                .decay = lr * extent->decay};
    pal_update_all(of.dtype, extent->count, k->muon_direction, &numbers, extent->use, g, NULL,
                   pal_state_at(&optim->state, extent->first, 0), w.x);
    double norm = pal_squares_root(pal_sum_square(of.dtype, extent->count, w.x));
    pal_scale(of.dtype, extent->count, w.x, 1 / (norm < least_norm ? least_norm : norm));
    for (int i = 0; i < ITERATIONS; i++) iterate(&w);
    pal_update_all(of.dtype, extent->count, k->muon_move, &numbers, (pal_use){0}, w.x, x.data, NULL,
                   NULL);
}

static const pal_key rows[] = {
    {"momentum", PAL_KEY_REAL, PAL_AT(pal_muon_opts, momentum), .high = 1, .open = PAL_OPEN_BOTH},
    {"beta1", PAL_KEY_REAL, PAL_AT(pal_muon_opts, beta1), .high = 1, .open = PAL_OPEN_BOTH},
    {"beta2", PAL_KEY_REAL, PAL_AT(pal_muon_opts, beta2), .high = 1, .open = PAL_OPEN_BOTH},
    {"eps", PAL_KEY_REAL, PAL_AT(pal_muon_opts, eps), .high = HUGE_VAL},
    {"nesterov", PAL_KEY_NOT, PAL_AT(pal_muon_opts, no_nesterov)},
    {"scale", PAL_KEY_CHOICE, PAL_AT(pal_muon_opts, scale), .words = "shape|rms"},
    {"rest_rate", PAL_KEY_REAL, PAL_AT(pal_muon_opts, rest_rate), .high = HUGE_VAL,
     .tag = PAL_IN_SETTING},
    {"decay", PAL_KEY_REAL, PAL_AT(pal_muon_opts, decay), .high = HUGE_VAL, .tag = PAL_IN_SETTING},
};

pal_optim *pal_muon_new(pal_params *params, pal_muon_opts o)
{
    if (o.momentum == 0) o.momentum = 0.95;
    if (o.rest_rate == 0) o.rest_rate = o.scale == PAL_MUON_RMS ? 1 : 0.015;
    if (o.beta1 == 0) o.beta1 = 0.9;
    if (o.beta2 == 0) o.beta2 = 0.95;
    if (o.eps == 0) o.eps = 1e-8;
    if (o.scale != PAL_MUON_SHAPE && o.scale != PAL_MUON_RMS) {
        pal_fail_nowhere(PAL_EVALUE, "muon_new: there is no scale %d", (int)o.scale);
        return NULL;
    }
    if (o.exclude_count < 0 || (o.exclude_count > 0 && !o.exclude)) {
        pal_fail_nowhere(PAL_EVALUE, "muon_new: exclude_count is %d and exclude is %s",
                         o.exclude_count, o.exclude ? "there" : "NULL");
        return NULL;
    }
    return pal_optim_make(&pal_update_muon, params, &o, o.groups, o.group_count, o.decay);
}

static pal_optim *create(pal_params *params, const void *opts)
{
    return pal_muon_new(params, *(const pal_muon_opts *)opts);
}

const pal_update_kind pal_update_muon = {.name = "muon",
                                         .keys = PAL_KEYS(rows),
                                         .opts_size = sizeof(pal_muon_opts),
                                         .groups = offsetof(pal_muon_opts, groups),
                                         .create = create,
                                         .classify = classify,
                                         .work = work,
                                         .update = update};
