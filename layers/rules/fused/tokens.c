/*
 * tokens.c - the recurrent form of a fused rule: token by token, on states in the layout of
 * tensors.
 */
#include "layers/rules/fused/fused.h"

#include <omp.h>
#include <string.h>

/* Returns the columns of the initial state where the kernel can read them. They are used in place
 * if they have the layout of the result; otherwise they are copied to the result. */
static const void *start_columns(const pal_fused *f, const pal_lane *l, int64_t i, int64_t from,
                                 int64_t end)
{
    const pal_rule_shape *s = &f->shape;
    const bool alike = l->before.channel == 1 && l->before.step == s->V;
    const bool changes = f->opts->records && l->head.last_x.data; /* before it is kept */
    if (l->before.data && alike && !changes && pal_fused_length(f, pal_fused_sequence(f, i)) > 0)
        return l->before.data;
    for (int64_t r = 0; r < s->K && l->before.data != l->after.data; r++) {
        char *to = (char *)l->after.data + (size_t)(r * s->V + from) * f->size;
        const char *x = pal_rows_from(f, l->before, r).data;
        if (!x)
            memset(to, 0, (size_t)(end - from) * f->size);
        else if (l->before.channel == 1)
            memcpy(to, x + (size_t)from * f->size, (size_t)(end - from) * f->size);
        else
            for (int64_t j = from; j < end; j++, to += f->size)
                memcpy(to, x + j * l->before.channel * (int64_t)f->size, f->size);
    }
    return l->after.data;
}

/* With a single token a lane ends before its state has been read into the caches. So decoding
 * prefetches the state of the next lane. */
static const void *next_state(const pal_fused *f, int64_t i)
{
    if (pal_fused_length(f, pal_fused_sequence(f, i)) != 1) return NULL;
    pal_rows next = pal_fused_state_rows(f, pal_fused_in(f, PAL_IN_STATE), i + 1);
    return next.channel == 1 && next.step == f->shape.V ? next.data : NULL;
}

/*
 * Mamba-3 makes much between two sweeps, while nothing would be on its way from memory. So the
 * first rows of the state that comes next are asked for there, a few at a time: more would not fit
 * into the queues of the first-level cache.
 */
static void ask_for_rows(const pal_fused *f, const void *next, pal_chunk *c)
{
    enum { LINES = 16 };
    const pal_rule_shape *s = &f->shape;
    const int64_t bytes = s->V * (int64_t)f->size, most = (LINES * 64 + bytes - 1) / bytes;
    const int64_t from = c->ahead.rows, to = from + most < s->K ? from + most : s->K;
    if (!next || !s->trapezoid) return;
    for (int64_t at = from * bytes; at < to * bytes; at += 64)
        __builtin_prefetch((const char *)next + at, 0, 2);
    c->ahead.rows = to;
}

/* The same for the other parts of the state, as far as they are contiguous. */
static void ask_for_parts(const pal_fused *f, int64_t i)
{
    const pal_rule_shape *s = &f->shape;
    const int64_t count[] = {
        [PAL_ANGLES] = s->angles, [PAL_LAST_K] = s->ranks * s->K, [PAL_LAST_X] = s->V};
    if (!s->trapezoid || pal_fused_length(f, pal_fused_sequence(f, i)) != 1) return;
    for (int part = PAL_ANGLES; part <= PAL_LAST_X; part++) {
        const pal_array *x = pal_fused_in(f, PAL_IN_STATE + part);
        if (!x) continue;
        const char *at = pal_fused_part_rows(f, x, i + 1).data;
        for (int64_t byte = 0; byte < count[part] * (int64_t)f->size; byte += 64)
            __builtin_prefetch(at + byte, 0, 2);
    }
}

/* It has to if states are kept. */
bool pal_fused_whole_lanes(const pal_fused *f) { return f->lanes >= f->team || f->opts->records; }

/* Columns from .. to - 1 of a lane. The next lane is this thread's too if `goes_on`: prefetching
 * what another thread writes to would take it away from that thread's caches. */
static void token_lane(const pal_fused *f, int64_t i, int64_t from, int64_t to, bool goes_on,
                       pal_chunk *c)
{
    const void *next = goes_on ? next_state(f, i) : NULL;
    const pal_rule_shape *s = &f->shape;
    pal_lane l = pal_lane_of(f, i);
    c->ahead.rows = 0;
    ask_for_rows(f, next, c);
    const void *S = start_columns(f, &l, i, from, to);
    const int64_t chunks = pal_fused_chunks(f, pal_fused_sequence(f, i));
    double *angles =
        NULL; /* before the next chunk; if others do parts of the lane, all are there */
    if (s->trapezoid && pal_fused_whole_lanes(f)) angles = pal_fused_first_angles(f, i, &l.head);
    if (goes_on) ask_for_parts(f, i);
    ask_for_rows(f, next, c);
    pal_tokens_fn *const tokens = s->trapezoid ? f->table->ranked_tokens : f->table->tokens;
    if (f->opts->records && S == l.after.data)
        pal_fused_enter(f, &l.head, l.after.data, false, from, to);
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const int64_t t = chunk * f->tokens;
        pal_rows o = pal_rows_from(f, l.o, chunk * s->C), x = pal_rows_from(f, l.head.in[PAL_V], t);
        const bool moved = S == l.after.data;
        if (f->opts->records && chunk % f->opts->every == 0)
            f->table->panels(s->K, s->V, moved ? &l.after : &l.before, s->Kp,
                             pal_fused_state(f, i, chunk), 0, pal_fused_panels(f), PAL_PANELS_READ);
        c->rows = pal_fused_rows(f, pal_fused_sequence(f, i), chunk);
        c->enter = !f->opts->records && chunk == 0;
        c->angles_after = angles ? angles += s->angles : NULL;
        f->rule->pack(s, &l.head, t, c);
        ask_for_rows(f, next, c);
        tokens(s, c, from, to, S, l.after.data, next, &o, l.head.D != 0 ? &x : NULL, l.head.D);
        S = l.after.data;
    }
    if (!s->trapezoid || !pal_fused_whole_lanes(f)) return;
    const int64_t last = (c->rows - s->ranks) * s->Kp;
    pal_fused_lane_end(f, i, &l.head, l.head.length ? (char *)c->k + (size_t)last * f->size : NULL);
}

/* ---- Entry ---- */

size_t pal_fused_token_bytes(const pal_fused *f)
{
    pal_carver c = {NULL, 0};
    pal_carve_chunk(&c, f);
    return c.used;
}

void pal_fused_tokens(const pal_fused *f, char *scratch, size_t each)
{
    /* The columns are divided into whole groups. */
    const int64_t groups = (f->shape.V + f->table->group - 1) / f->table->group;
    const int64_t parts = pal_fused_whole_lanes(f) ? 1 : groups;
    const int64_t width = (groups + parts - 1) / parts * f->table->group, all = f->lanes * parts;
#pragma omp parallel num_threads(f->team) if (f->team > 1)
    {
        const unsigned mode = pal_flush_begin();
        pal_carver c = {scratch + (size_t)omp_get_thread_num() * each, 0};
        pal_chunk chunk = pal_carve_chunk(&c, f);
        const int64_t me = omp_get_thread_num(), threads = omp_get_num_threads();
        const int64_t end = all * (me + 1) / threads;
        for (int64_t i = all * me / threads; i < end; i++) {
            const int64_t from = i % parts * width, to = from + width;
            token_lane(f, i / parts, from, to < f->shape.V ? to : f->shape.V, i + parts < end,
                       &chunk);
        }
        pal_flush_end(mode);
    }
}
