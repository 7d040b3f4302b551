/*
 * forward.c - the forward pass of a fused rule: chunks in either schedule, or token by token.
 */
#include "layers/rules/fused/fused.h"

#include <omp.h>
#include <string.h>

/* What a lane's chunks read and write. */
typedef struct lane {
    pal_head head;
    pal_rows o, before, after; /* the states in tensors, before and after the sequence */
} lane;

static lane lane_of(const pal_fused *f, int64_t i)
{
    const pal_call *call = f->call;
    return (lane){.head = pal_fused_head(f, i),
                  .o = pal_fused_out_rows(f, call->out[0], i),
                  .before = pal_fused_state_rows(f, pal_fused_in(f, PAL_IN_STATE), i),
                  .after = pal_fused_state_rows(f, pal_fused_final(f, 0), i)};
}

static void panels(const pal_fused *f, const pal_rows *x, void *S, int64_t from, int64_t to,
                   pal_panels_way way)
{
    const pal_rule_shape *s = &f->shape;
    f->table->panels(s->K, s->V, x, s->Kp, S, from, to, way);
}
static void load_state(const pal_fused *f, const lane *l, void *S, int64_t from, int64_t to)
{
    panels(f, &l->before, S, from, to, l->before.data ? PAL_PANELS_READ : PAL_PANELS_CLEAR);
    pal_fused_enter(f, &l->head, S, true, from, to);
}

/* Scans one chunk on panels from .. to - 1. Before that, it keeps the state if backward needs
 * it. */
static void scan(const pal_fused *f, const lane *l, int64_t i, int64_t chunk, const pal_chunk *c,
                 void *S, int64_t from, int64_t to)
{
    pal_rows o = pal_rows_from(f, l->o, chunk * f->shape.C);
    pal_rows x = pal_rows_from(f, l->head.in[PAL_V], chunk * f->tokens);
    const bool skips = f->opts->rule->skips && l->head.D != 0;
    size_t size = pal_fused_panel_bytes(f), at = (size_t)from * size;
    if (f->opts->records && chunk % f->opts->every == 0)
        memcpy((char *)pal_fused_state(f, i, chunk) + at, (char *)S + at,
               (size_t)(to - from) * size);
    for (int64_t p = from; p < to; p++)
        f->table->scan(&f->shape, c, p, S, NULL, &o, skips ? &x : NULL, l->head.D, true);
}

static void prepare(const pal_fused *f, const lane *l, int64_t i, int64_t chunk, pal_chunk *c)
{
    c->rows = pal_fused_rows(f, i / f->HV, chunk);
    f->rule->prepare(&f->shape, &l->head, chunk * f->tokens, c);
}

/* ---- Lanes by threads ---- */

/* Lists the rows of the next chunk, of lane l, to be prefetched while this chunk is scanned. */
static void ask_ahead(const pal_fused *f, const lane *l, int64_t rows, int64_t chunk, pal_ahead *a)
{
    *a = (pal_ahead){.rows = rows > 0 ? rows / f->shape.ranks : 0}; /* tokens */
    if (rows <= 0) return;
    pal_fused_ahead_head(f, a, l->head.in, chunk * f->tokens);
    pal_fused_ahead(f, a, l->o, chunk * f->shape.C, f->shape.V);
}

/* Memory of one thread. */
typedef struct thread_space {
    pal_chunk chunk;
    char *S; /* the states of a group of lanes */
} thread_space;

static thread_space carve_thread(pal_carver *c, const pal_fused *f)
{
    thread_space t = {.chunk = pal_carve_chunk(c, f)};
    size_t states = f->opts->recurrent ? 0 : (size_t)pal_fused_side(f, 1);
    t.S = pal_carve(c, states * pal_fused_state_bytes(f));
    return t;
}

static void chunk_lanes(const pal_fused *f, pal_group g, thread_space *t)
{
    lane l[PAL_SIDE];
    const size_t size = pal_fused_state_bytes(f);
    const int64_t all = pal_fused_panels(f), sequence = g.first / f->HV;
    for (int64_t i = 0; i < g.count; i++) {
        l[i] = lane_of(f, g.first + i);
        load_state(f, &l[i], t->S + (size_t)i * size, 0, all);
    }
    for (int64_t chunk = 0; chunk < pal_fused_chunks(f, sequence); chunk++)
        for (int64_t i = 0; i < g.count; i++) {
            const bool last = i + 1 == g.count;
            const int64_t next = chunk + last;
            prepare(f, &l[i], g.first + i, chunk, &t->chunk);
            ask_ahead(f, &l[last ? 0 : i + 1], pal_fused_rows(f, sequence, next), next,
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

/* Memory of one lane. */
typedef struct lane_space {
    void *S;
    pal_chunk *chunk; /* f->wave of them */
} lane_space;

static lane_space *carve_lanes(pal_carver *c, const pal_fused *f)
{
    lane_space *l = pal_carve(c, (size_t)f->lanes * sizeof *l);
    for (int64_t i = 0; i < f->lanes; i++) {
        void *S = pal_carve(c, pal_fused_state_bytes(f));
        pal_chunk *chunk = pal_carve(c, (size_t)f->wave * sizeof *chunk);
        for (int64_t j = 0; j < f->wave; j++) {
            pal_chunk x = pal_carve_chunk(c, f);
            if (l) chunk[j] = x;
        }
        if (l) l[i] = (lane_space){S, chunk};
    }
    return l;
}

static void wave_prepare(const pal_fused *f, lane_space *space, int64_t first, int64_t item)
{
    int64_t i = item / f->wave, j = item % f->wave;
    if (first + j >= pal_fused_chunks(f, i / f->HV)) return;
    lane l = lane_of(f, i);
    prepare(f, &l, i, first + j, &space[i].chunk[j]);
}

static void wave_scan(const pal_fused *f, lane_space *space, int64_t first, int64_t item)
{
    int64_t all = pal_fused_panels(f), i = item / all, panel = item % all;
    int64_t chunks = pal_fused_chunks(f, i / f->HV);
    lane l = lane_of(f, i);
    if (first == 0) load_state(f, &l, space[i].S, panel, panel + 1);
    for (int64_t j = 0; j < f->wave && first + j < chunks; j++)
        scan(f, &l, i, first + j, &space[i].chunk[j], space[i].S, panel, panel + 1);
    if (first + f->wave >= chunks && (first == 0 || first < chunks))
        panels(f, &l.after, space[i].S, panel, panel + 1, PAL_PANELS_WRITE);
}

static void by_waves(const pal_fused *f, lane_space *space)
{
    int64_t longest = 1;
    for (int64_t n = 0; n < f->seq.count; n++)
        if (pal_fused_chunks(f, n) > longest) longest = pal_fused_chunks(f, n);
#pragma omp parallel num_threads(f->team) if (f->team > 1)
    {
        const unsigned mode = pal_flush_begin();
        for (int64_t first = 0; first < longest; first += f->wave) {
#pragma omp for schedule(dynamic, 1)
            for (int64_t i = 0; i < f->lanes * f->wave; i++) wave_prepare(f, space, first, i);
#pragma omp for schedule(dynamic, 1)
            for (int64_t i = 0; i < f->lanes * pal_fused_panels(f); i++)
                wave_scan(f, space, first, i);
        }
        pal_flush_end(mode);
    }
}

/* ---- Token by token ---- */

/* Returns the columns of the initial state where the kernel can read them. They are used in place
 * if they have the layout of the result; otherwise they are copied to the result. */
static const void *start_columns(const pal_fused *f, const lane *l, int64_t i, int64_t from,
                                 int64_t end)
{
    const pal_rule_shape *s = &f->shape;
    const bool alike = l->before.channel == 1 && l->before.step == s->V;
    const bool changes = f->opts->records && l->head.last_x.data; /* before it is kept */
    if (l->before.data && alike && !changes && pal_fused_length(f, i / f->HV) > 0)
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
    if (pal_fused_length(f, i / f->HV) != 1 || i + 1 >= f->lanes) return NULL;
    pal_rows next = pal_fused_state_rows(f, pal_fused_in(f, PAL_IN_STATE), i + 1);
    return next.channel == 1 && next.step == f->shape.V ? next.data : NULL;
}

/* Columns from .. to - 1 of a lane. They have to be all of its columns if states are kept. */
static void token_lane(const pal_fused *f, int64_t i, int64_t from, int64_t to, pal_chunk *c)
{
    const void *next = next_state(f, i);
    const pal_rule_shape *s = &f->shape;
    lane l = lane_of(f, i);
    const void *S = start_columns(f, &l, i, from, to);
    pal_tokens_fn *const tokens = s->trapezoid ? f->table->ranked_tokens : f->table->tokens;
    if (f->opts->records && S == l.after.data)
        pal_fused_enter(f, &l.head, l.after.data, false, from, to);
    for (int64_t chunk = 0; chunk < pal_fused_chunks(f, i / f->HV); chunk++) {
        const int64_t t = chunk * f->tokens;
        pal_rows o = pal_rows_from(f, l.o, chunk * s->C), x = pal_rows_from(f, l.head.in[PAL_V], t);
        const bool moved = S == l.after.data;
        if (f->opts->records && chunk % f->opts->every == 0)
            panels(f, moved ? &l.after : &l.before, pal_fused_state(f, i, chunk), 0,
                   pal_fused_panels(f), PAL_PANELS_READ);
        c->rows = pal_fused_rows(f, i / f->HV, chunk);
        c->enter = !f->opts->records && chunk == 0;
        f->rule->pack(s, &l.head, t, c);
        tokens(s, c, from, to, S, l.after.data, next, &o, l.head.D != 0 ? &x : NULL, l.head.D);
        S = l.after.data;
    }
}

static void by_tokens(const pal_fused *f, char *scratch, size_t each)
{
    /* The columns are divided into whole groups, but only if there are fewer lanes than threads and
     * no states are kept. */
    int64_t groups = (f->shape.V + f->table->group - 1) / f->table->group;
    int64_t parts = f->lanes < f->team && !f->opts->records ? groups : 1;
    int64_t width = (groups + parts - 1) / parts * f->table->group;
#pragma omp parallel num_threads(f->team) if (f->team > 1)
    {
        const unsigned mode = pal_flush_begin();
        pal_carver c = {scratch + (size_t)omp_get_thread_num() * each, 0};
        thread_space t = carve_thread(&c, f);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < f->lanes * parts; i++) {
            int64_t from = i % parts * width, to = from + width;
            token_lane(f, i / parts, from, to < f->shape.V ? to : f->shape.V, &t.chunk);
        }
        pal_flush_end(mode);
    }
}

/* ---- Entry ---- */

static size_t thread_bytes(const pal_fused *f)
{
    pal_carver c = {NULL, 0};
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
    if (f.shape.trapezoid) pal_fused_angles(&f);
    if (f.wave)
        by_waves(&f, carve_lanes(&c, &f));
    else if (f.opts->recurrent)
        by_tokens(&f, (char *)call->scratch + c.used, thread_bytes(&f));
    else
        by_lanes(&f, (char *)call->scratch + c.used, thread_bytes(&f));
    if (f.shape.trapezoid) pal_fused_last(&f);
}
