/*
 * ends.c - where a sequence of Mamba-3 begins and ends: its angles, what is left of the last write
 * before it, and the parts of the state beside the matrix.
 *
 * The angles before each chunk are made first, so that chunks are independent of each other.
 * Forward saves them for backward. In backward the gradient of the angles at a chunk's end follows
 * from the state there and its gradient, so that this needs no sum over the sequence either.
 */
#include "autograd/ops/shape.h"
#include "layers/rules/fused/fused.h"

/* ---- Angles ---- */

/* A token of each lane is too little for a team, which would be waited for. */
static bool few(const pal_fused *f) { return f->team == 1 || f->lanes * f->seq.T < 1 << 10; }

pal_carver pal_fused_scratch(pal_fused *f, void *base)
{
    pal_carver c = {base, 0};
    if (f->opts->records || !f->shape.trapezoid) return c;
    f->angles = pal_carve(&c, (size_t)pal_fused_angle_count(f) * sizeof(double));
    return c;
}

double *pal_fused_first_angles(const pal_fused *f, int64_t lane, const pal_head *h)
{
    double *to = pal_fused_lane_angles(f, lane);
    f->table->angles(&f->shape, h, 0, to);
    return to;
}

void pal_fused_lane_begin(const pal_fused *f, int64_t lane, const pal_head *h)
{
    f->table->angles(&f->shape, h, h->length, pal_fused_lane_angles(f, lane));
}

void pal_fused_angles(const pal_fused *f)
{
#pragma omp parallel for num_threads(f->team) schedule(static) if (!few(f))
    for (int64_t i = 0; i < f->lanes; i++) {
        const pal_head h = pal_fused_head(f, i);
        pal_fused_lane_begin(f, i, &h);
    }
}

/* ---- The beginning ---- */

void pal_fused_enter(const pal_fused *f, const pal_head *h, void *S, bool panel, int64_t from,
                     int64_t to)
{
    const pal_rule_shape *s = &f->shape;
    const int64_t width = f->table->panel;
    if (!s->trapezoid) return;
    if (!panel) f->table->enter(s, h, (char *)S + (size_t)from * f->size, s->V, from, to - from);
    for (int64_t p = from; p < to && panel; p++)
        f->table->enter(s, h, (char *)S + (size_t)p * pal_fused_panel_bytes(f), width, p * width,
                        width);
}

/* ---- The end ---- */

void pal_fused_lane_end(const pal_fused *f, int64_t lane, const pal_head *h, const void *keys)
{
    const double *phi =
        h->angle + pal_fused_chunks(f, pal_fused_sequence(f, lane)) * f->shape.angles;
    const pal_rows th = pal_fused_part_rows(f, pal_fused_final(f, PAL_ANGLES), lane);
    const pal_rows k = pal_fused_part_rows(f, pal_fused_final(f, PAL_LAST_K), lane);
    const pal_rows x = pal_fused_part_rows(f, pal_fused_final(f, PAL_LAST_X), lane);
    f->table->last(&f->shape, h, phi, keys, &th, &k, &x);
}

void pal_fused_last(const pal_fused *f)
{
#pragma omp parallel for num_threads(f->team) schedule(static) if (!few(f))
    for (int64_t i = 0; i < f->lanes; i++) {
        const pal_head h = pal_fused_head(f, i);
        pal_fused_lane_end(f, i, &h, NULL);
    }
}

/* ---- Backward ---- */

/* Where a lane's part of a contiguous array [S,HV,..] begins; NULL if there is none. */
static const void *lane_of(const pal_fused *f, const pal_array *x, int64_t lane)
{
    return x ? (const char *)x->data + (size_t)(lane * x->stride[1]) * f->size : NULL;
}

/* What an empty sequence is given, it hands on: the gradient of a part of its state goes back. */
static void hand_through(const pal_fused *f, int part, int64_t lane)
{
    const pal_array *from = f->call->dout[1 + part];
    const pal_array *to = pal_fused_din(f, PAL_IN_STATE + part);
    if (!from || !to) return;
    pal_array x = *from, y = *to;
    const int64_t size = (int64_t)f->size, n = pal_fused_sequence(f, lane),
                  head = pal_fused_value_head(f, lane);
    x.data = (char *)x.data + (n * x.stride[0] + head * x.stride[1]) * size;
    y.data = (char *)y.data + (n * y.stride[0] + head * y.stride[1]) * size;
    for (int d = 0; d < 2; d++) x.shape[d] = y.shape[d] = 1;
    pal_array_add(&y, &x);
}

void pal_fused_ends_back(const pal_fused *f, double *ends)
{
    const pal_array *const *d = f->call->dout;
    pal_array *const *out = f->call->out;
    for (int64_t i = 0; i < f->lanes; i++) {
        double *end = ends + i * 2 * f->shape.angles;
        f->table->ends(&f->shape, lane_of(f, d[1 + PAL_ANGLES], i), lane_of(f, d[1], i),
                       lane_of(f, out[1], i), lane_of(f, d[1 + PAL_LAST_K], i),
                       lane_of(f, out[1 + PAL_LAST_K], i), end, end + f->shape.angles);
        if (pal_fused_length(f, pal_fused_sequence(f, i)) > 0) continue;
        for (int part = PAL_ANGLES; part <= PAL_LAST_X; part++) hand_through(f, part, i);
    }
}

void pal_fused_ends_grad(const pal_fused *f, int64_t lane, const double *ends, pal_head_grad *g)
{
    const pal_array *const *d = f->call->dout;
    g->first_angles = pal_fused_part_rows(f, pal_fused_din(f, PAL_IN_STATE + PAL_ANGLES), lane);
    g->last_k = pal_fused_part_rows(f, pal_fused_din(f, PAL_IN_STATE + PAL_LAST_K), lane);
    g->last_x = pal_fused_part_rows(f, pal_fused_din(f, PAL_IN_STATE + PAL_LAST_X), lane);
    g->end_k = pal_fused_part_rows(f, d[1 + PAL_LAST_K], lane);
    g->end_x = pal_fused_part_rows(f, d[1 + PAL_LAST_X], lane);
    g->end_angles = ends + lane * 2 * f->shape.angles;
    g->whole_turn = g->end_angles + f->shape.angles;
}
