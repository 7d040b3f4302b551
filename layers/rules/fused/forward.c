/*
 * forward.c - the forward pass of a fused rule, in either schedule; tokens.c is its recurrent form.
 */
#include "layers/rules/fused/fused.h"

#include <omp.h>
#include <string.h>

static void panels(const pal_fused *f, const pal_rows *x, void *S, int64_t from, int64_t to,
                   pal_panels_way way)
{
    const pal_rule_shape *s = &f->shape;
    f->table->panels(s->K, s->V, x, s->Kp, S, from, to, way);
}
static void load_state(const pal_fused *f, const pal_lane *l, void *S, int64_t from, int64_t to)
{
    panels(f, &l->before, S, from, to, l->before.data ? PAL_PANELS_READ : PAL_PANELS_CLEAR);
    pal_fused_enter(f, &l->head, S, true, from, to);
}

/* Kept states of a call, in bytes, that no cache holds until backward reads them. */
enum { LARGE_KEPT = 1 << 24 };

static void keep(const pal_fused *f, const void *S, int64_t from, int64_t to, void *kept)
{
    const size_t size = pal_fused_panel_bytes(f), at = (size_t)from * size;
    if ((size_t)pal_fused_kept(f) * pal_fused_state_bytes(f) >= LARGE_KEPT)
        f->table->keep(&f->shape, S, from, to, kept);
    else
        memcpy((char *)kept + at, (const char *)S + at, (size_t)(to - from) * size);
}

/* Scans one chunk on panels from .. to - 1. Before that, it keeps the state if backward needs
 * it. */
static void scan(const pal_fused *f, const pal_lane *l, int64_t i, int64_t chunk,
                 const pal_chunk *c, void *S, int64_t from, int64_t to)
{
    pal_rows o = pal_rows_from(f, l->o, chunk * f->shape.C);
    pal_rows x = pal_rows_from(f, l->head.in[PAL_V], chunk * f->tokens);
    const bool skips = f->opts->rule->skips && l->head.D != 0;
    if (f->opts->records && chunk % f->opts->every == 0)
        keep(f, S, from, to, pal_fused_state(f, i, chunk));
    for (int64_t p = from; p < to; p++)
        f->table->scan(&f->shape, c, p, S, S, NULL, &o, skips ? &x : NULL, l->head.D);
}

static void prepare(const pal_fused *f, const pal_lane *l, int64_t i, int64_t chunk, pal_chunk *c)
{
    c->rows = pal_fused_rows(f, pal_fused_sequence(f, i), chunk);
    f->rule->prepare(&f->shape, &l->head, chunk * f->tokens, c);
}

/* ---- Lanes by threads ---- */

/* Lists the rows that the first chunk of lane i reads and writes. Lanes from `first` on are side by
 * side; what one of them has read already is left out. */
static void first_rows(const pal_fused *f, const pal_lane *l, int64_t i, int64_t first,
                       pal_prefetch *a)
{
    pal_prefetch_begin(a, 0);
    pal_fused_ahead_head(f, a, l->head.in, 0, first, i);
    pal_fused_ahead_out(f, a, l->o, 0);
}

/* Lists the same rows of chunk `chunk`, which has `tokens` tokens. They are prefetched while a
 * thread scans the chunk before it. If tokens < 1, there is no such chunk. */
static void ask_ahead(const pal_fused *f, const pal_prefetch *rows, int64_t chunk, int64_t tokens,
                      pal_prefetch *a)
{
    pal_prefetch_begin(a, tokens);
    if (tokens < 1) return;
    a->arrays = rows->arrays;
    for (int i = 0; i < a->arrays; i++) {
        a->data[i] = rows->data[i] + chunk * f->tokens * rows->step[i];
        a->step[i] = rows->step[i];
        a->bytes[i] = rows->bytes[i];
    }
}

/* Memory of one thread. */
typedef struct thread_space {
    pal_chunk chunk;
    char *S; /* the states of a group of lanes */
} thread_space;

static thread_space carve_thread(pal_carver *c, const pal_fused *f)
{
    thread_space t = {.chunk = pal_carve_chunk(c, f)};
    t.S = pal_carve(c, (size_t)pal_fused_side(f, 1) * pal_fused_state_bytes(f));
    return t;
}

static void chunk_lanes(const pal_fused *f, pal_lanes g, thread_space *t)
{
    pal_lane l[PAL_SIDE];
    pal_prefetch rows[PAL_SIDE];
    double *angles[PAL_SIDE] = {NULL}; /* before the next chunk */
    const size_t size = pal_fused_state_bytes(f);
    const int64_t all = pal_fused_panels(f), sequence = pal_fused_sequence(f, g.first);
    for (int64_t i = 0; i < g.count; i++) {
        l[i] = pal_lane_of(f, g.first + i);
        first_rows(f, &l[i], g.first + i, g.first, &rows[i]);
        load_state(f, &l[i], t->S + (size_t)i * size, 0, all);
        if (f->shape.trapezoid) angles[i] = pal_fused_first_angles(f, g.first + i, &l[i].head);
    }
    for (int64_t chunk = 0; chunk < pal_fused_chunks(f, sequence); chunk++)
        for (int64_t i = 0; i < g.count; i++) {
            const bool last = i + 1 == g.count;
            const int64_t next = last ? 0 : i + 1;
            if (angles[i]) t->chunk.angles_after = angles[i] += f->shape.angles;
            prepare(f, &l[i], g.first + i, chunk, &t->chunk);
            ask_ahead(f, &rows[next], chunk + last, pal_fused_tokens_in(f, sequence, chunk + last),
                      &t->chunk.ahead);
            scan(f, &l[i], g.first + i, chunk, &t->chunk, t->S + (size_t)i * size, 0, all);
        }
    for (int64_t i = 0; i < g.count; i++)
        panels(f, &l[i].after, t->S + (size_t)i * size, 0, all, PAL_PANELS_WRITE);
}

static void by_lanes(const pal_fused *f, char *scratch, size_t each)
{
    const int64_t side = pal_fused_side(f, 1);
#pragma omp parallel num_threads(f->team) if (f->team > 1)
    {
        const unsigned mode = pal_flush_begin();
        pal_carver c = {scratch + (size_t)omp_get_thread_num() * each, 0};
        thread_space t = carve_thread(&c, f);
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < pal_fused_groups(f, 1, side); i++)
            chunk_lanes(f, pal_fused_group(f, 1, side, i), &t);
        pal_flush_end(mode);
    }
}

/* ---- All together, in waves ---- */

/* What one lane has. Work for each chunk is left to the team: the pieces of a chunk are laid out by
 * the thread that prepares it first. */
typedef struct lane_space {
    pal_lane lane;
    void *S;
    pal_chunk *chunk; /* f->wave of them */
    char *pieces;     /* chunk_bytes of each of them */
} lane_space;

static size_t chunk_bytes(const pal_fused *f)
{
    pal_carver c = {NULL, 0};
    pal_carve_chunk(&c, f);
    return c.used;
}

static lane_space *carve_lanes(pal_carver *c, const pal_fused *f)
{
    const size_t each = chunk_bytes(f);
    lane_space *l = pal_carve(c, (size_t)f->lanes * sizeof *l);
    for (int64_t i = 0; i < f->lanes; i++) {
        void *S = pal_carve(c, pal_fused_state_bytes(f));
        pal_chunk *chunk = pal_carve(c, (size_t)f->wave * sizeof *chunk);
        if (l) l[i] = (lane_space){pal_lane_of(f, i), S, chunk, c->base + c->used};
        c->used += (size_t)f->wave * each;
    }
    return l;
}

static void wave_prepare(const pal_fused *f, lane_space *space, int64_t first, int64_t item,
                         size_t each)
{
    int64_t i = item / f->wave, j = item % f->wave;
    lane_space *l = &space[i];
    if (first + j >= pal_fused_chunks(f, pal_fused_sequence(f, i))) return;
    if (first == 0)
        l->chunk[j] = pal_carve_chunk(&(pal_carver){l->pieces + (size_t)j * each, 0}, f);
    prepare(f, &l->lane, i, first + j, &l->chunk[j]);
}

static void wave_scan(const pal_fused *f, lane_space *space, int64_t first, int64_t item)
{
    int64_t all = pal_fused_panels(f), i = item / all, panel = item % all;
    int64_t chunks = pal_fused_chunks(f, pal_fused_sequence(f, i));
    const lane_space *l = &space[i];
    if (first == 0) load_state(f, &l->lane, l->S, panel, panel + 1);
    for (int64_t j = 0; j < f->wave && first + j < chunks; j++)
        scan(f, &l->lane, i, first + j, &l->chunk[j], l->S, panel, panel + 1);
    if (first + f->wave >= chunks && (first == 0 || first < chunks))
        panels(f, &l->lane.after, l->S, panel, panel + 1, PAL_PANELS_WRITE);
}

static void by_waves(const pal_fused *f, lane_space *space)
{
    const size_t each = chunk_bytes(f);
    int64_t longest = 1;
    for (int64_t n = 0; n < f->seq.count; n++)
        if (pal_fused_chunks(f, n) > longest) longest = pal_fused_chunks(f, n);
#pragma omp parallel num_threads(f->team) if (f->team > 1)
    {
        const unsigned mode = pal_flush_begin();
        for (int64_t first = 0; first < longest; first += f->wave) {
#pragma omp for schedule(dynamic, 1)
            for (int64_t i = 0; i < f->lanes * f->wave; i++) wave_prepare(f, space, first, i, each);
#pragma omp for schedule(dynamic, 1)
            for (int64_t i = 0; i < f->lanes * pal_fused_panels(f); i++)
                wave_scan(f, space, first, i);
        }
        pal_flush_end(mode);
    }
}

/* ---- Entry ---- */

static size_t thread_bytes(const pal_fused *f)
{
    pal_carver c = {NULL, 0};
    if (f->opts->recurrent) return pal_fused_token_bytes(f);
    carve_thread(&c, f);
    return c.used;
}

size_t pal_fused_forward_scratch(const pal_fused *f)
{
    pal_fused copy = *f;
    pal_carver c = pal_fused_scratch(&copy, NULL);
    if (!f->wave) return c.used + (size_t)f->team * thread_bytes(f);
    carve_lanes(&c, f);
    return c.used;
}

void pal_fused_forward(const pal_call *call)
{
    pal_fused f = pal_fused_of(call, call->team);
    pal_carver c = pal_fused_scratch(&f, call->scratch);
    /* Where a thread takes whole lanes, it makes their angles on the way; token by token it also
     * ends them. */
    const bool ends = f.shape.trapezoid && !(f.opts->recurrent && pal_fused_whole_lanes(&f));
    if (ends && (f.opts->recurrent || f.wave)) pal_fused_angles(&f);
    if (f.wave)
        by_waves(&f, carve_lanes(&c, &f));
    else if (f.opts->recurrent)
        pal_fused_tokens(&f, (char *)call->scratch + c.used, thread_bytes(&f));
    else
        by_lanes(&f, (char *)call->scratch + c.used, thread_bytes(&f));
    if (ends) pal_fused_last(&f);
}
