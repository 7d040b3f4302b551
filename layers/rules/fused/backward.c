/*
 * backward.c - the backward pass of a fused rule, in either schedule.
 *
 * Forward kept the state before every n-th chunk. Backward goes over the chunks between kept
 * states, from the last to the first. It prepares them again and carries the state through them,
 * which gives S0 and U of each. Then it carries dS back, which gives dX of each, and computes the
 * gradients of the inputs from both. Value heads that share a key head add to the same gradients,
 * so one thread computes all lanes of such a family, in order.
 */
#include "layers/rules/fused/fused.h"

#include <omp.h>
#include <string.h>

/* The data of one chunk between the steps. */
typedef struct slot {
    pal_chunk chunk;
    void *S0, *own_S0; /* the state before it: kept by forward, or computed here */
    void *U, *dO, *dX; /* panels */
    double *sums;      /* of the parameters of the decay, or of A and D */
    double *late;      /* Mamba-3: what the chunk's gradient hands on (pal_head_grad) */
} slot;

/* Where a lane's inputs are, and where its gradients go. */
typedef struct lane_rows {
    pal_head head;
    pal_head_grad grad;
    pal_rows dout;
} lane_rows;

/* What a lane needs: slots for a wave of chunks, and the gradient of the state after each of them
 * (dS[i + 1] after slot i, dS[0] before the first). */
typedef struct lane_space {
    lane_rows *rows;
    slot *slots;
    void **dS;
    double *sums; /* over the whole lane */
} lane_space;

typedef struct problem {
    pal_fused f;
    int64_t wave;
    int64_t count; /* of sums */
    double *ends;  /* Mamba-3: of each lane, pal_fused_ends_back */
    pal_shared shared;
} problem;

/* ---- Memory ---- */

static problem problem_of(const pal_call *call, int team)
{
    problem p = {.f = pal_fused_of(call, team)};
    /* Families of lanes are independent. In a wave each thread gets about one chunk of one
     * family. */
    p.f.wave = pal_fused_wave(&p.f, p.f.lanes / p.f.members, team);
    p.wave = p.f.wave ? p.f.wave : pal_fused_whole_chunks(&p.f, 1);
    p.count = pal_fused_sum_count(&p.f);
    return p;
}

static slot carve_slot(pal_carver *c, const problem *p, bool first)
{
    const pal_fused *f = &p->f;
    size_t panels = (size_t)(f->shape.C * f->shape.Vp) * f->size;
    slot s = {.chunk = pal_carve_chunk(c, f)};
    s.own_S0 = first ? NULL : pal_carve(c, pal_fused_state_bytes(f));
    s.U = f->shape.erase ? pal_carve(c, panels) : s.chunk.Z; /* nothing is erased: U = Z */
    s.dO = pal_carve(c, panels), s.dX = pal_carve(c, panels);
    s.sums = pal_carve(c, (size_t)p->count * sizeof(double));
    s.late = pal_carve(c, sizeof(double));
    return s;
}

static lane_space carve_lane(pal_carver *c, const problem *p)
{
    lane_space l = {.slots = pal_carve(c, (size_t)p->wave * sizeof *l.slots)};
    l.dS = pal_carve(c, (size_t)(p->wave + 1) * sizeof *l.dS);
    for (int64_t i = 0; i <= p->wave; i++) {
        void *dS = pal_carve(c, pal_fused_state_bytes(&p->f));
        if (l.dS) l.dS[i] = dS;
    }
    for (int64_t i = 0; i < p->wave; i++) {
        slot s = carve_slot(c, p, i % p->f.opts->every == 0);
        if (l.slots) l.slots[i] = s;
    }
    return l;
}

/* ---- The four steps ---- */

/* Where the gradients of a lane go. They are added to what is there, except where nothing was
 * written yet. */
static pal_head_grad gradient_rows(const problem *p, int64_t lane)
{
    const pal_fused *f = &p->f;
    pal_head_grad g = {.add = 0};
    for (int i = 0; i < PAL_HEAD_ARGS; i++) {
        if (!pal_fused_din(f, i)) continue;
        bool fresh;
        const pal_array d = pal_fused_family_grad(f, &p->shared, i, lane, &fresh);
        g.out[i] = pal_fused_operand_rows(f, i, &d, lane);
        if (!fresh) g.add |= 1u << i;
        if (f->shape.trapezoid && i <= PAL_K) g.rank[i] = d.stride[2];
    }
    return g;
}

static lane_rows rows_of(const problem *p, int64_t lane)
{
    const pal_fused *f = &p->f;
    lane_rows r = {.head = pal_fused_head(f, lane),
                   .grad = gradient_rows(p, lane),
                   .dout = pal_fused_out_rows(f, f->call->dout[0], lane)};
    if (f->shape.trapezoid) pal_fused_ends_grad(f, lane, p->ends, &r.grad);
    return r;
}

static void prepare(const problem *p, const lane_space *l, int64_t lane, int64_t chunk, slot *s)
{
    const pal_fused *f = &p->f;
    s->chunk.rows = pal_fused_rows(f, pal_fused_sequence(f, lane), chunk);
    f->rule->prepare(&f->shape, &l->rows->head, chunk * f->tokens, &s->chunk);
}

/* Whether slot i of `count` slots, which begin with chunk `first`, makes the state before the next
 * one. */
static bool updates(const problem *p, int64_t first, int64_t i, int64_t count)
{
    return i + 1 < count && (first + i + 1) % p->f.opts->every != 0;
}

/* S0 and U of `count` chunks from `first` on. */
static void recompute(const problem *p, int64_t lane, int64_t first, int64_t count, slot *slots,
                      int64_t from, int64_t to)
{
    const pal_fused *f = &p->f;
    for (int64_t i = 0; i < count; i++) {
        slot *s = &slots[i];
        bool kept = (first + i) % f->opts->every == 0;
        const bool update = updates(p, first, i, count);
        const void *S0 = kept ? pal_fused_state(f, lane, first + i) : s->own_S0;
        void *S = update ? slots[i + 1].own_S0 : NULL, *U = f->shape.erase ? s->U : NULL;
        for (int64_t j = from; j < to && (S || U); j++)
            f->table->scan(&f->shape, &s->chunk, j, S0, S, U, NULL, NULL, 0);
    }
}

/* dO, dX and dS of `count` chunks from `first` on. */
static void carry_back(const problem *p, int64_t first, int64_t count, lane_space *l, int64_t from,
                       int64_t to)
{
    const pal_fused *f = &p->f;
    const pal_rows dout = l->rows->dout;
    for (int64_t i = count - 1; i >= 0; i--) {
        slot *s = &l->slots[i];
        pal_chunk_back b = {.dO = s->dO, .dX = s->dX};
        pal_rows rows = pal_rows_from(f, dout, (first + i) * f->shape.C);
        for (int64_t j = from; j < to; j++)
            f->table->scan_back(&f->shape, &s->chunk, j, dout.data ? &rows : NULL, l->dS[i + 1],
                                l->dS[i], &b);
    }
}

/* The state before a chunk, which forward kept or its slot has. */
static const void *state_before(const pal_fused *f, int64_t lane, int64_t chunk, const slot *s)
{
    return chunk % f->opts->every == 0 ? pal_fused_state(f, lane, chunk) : s->own_S0;
}

/* The gradients of slot i, when slots begin with chunk `first`. */
static void gradient(const problem *p, int64_t lane, int64_t first, int64_t i, lane_space *l,
                     const pal_chunk_back *space)
{
    slot *s = &l->slots[i];
    const int64_t chunk = first + i;
    const pal_fused *f = &p->f;
    pal_head_grad g = l->rows->grad;
    pal_chunk_back b = *space;
    b.dO = s->dO, b.dX = s->dX, b.U = s->U;
    g.sums = p->count ? s->sums : NULL;
    const void *S0 = state_before(f, lane, chunk, s);
    if (f->shape.trapezoid) {
        b.dS0 = l->dS[i];
        g.late = s->late;
        g.sum_D = pal_fused_sums_of(f, PAL_IN_D, s->sums);
        g.sum_bias[PAL_Q] = pal_fused_sums_of(f, PAL_IN_C_BIAS, s->sums);
        g.sum_bias[PAL_K] = pal_fused_sums_of(f, PAL_IN_B_BIAS, s->sums);
        g.sum_mimo_x = pal_fused_sums_of(f, PAL_IN_MIMO_X, s->sums);
    }
    f->rule->gradient(&f->shape, &l->rows->head, chunk * f->tokens, &s->chunk, &b, S0, l->dS[i + 1],
                      &g);
}

/* ---- Beginning and end of a lane ---- */

static void state_panels(const pal_fused *f, const pal_array *x, int64_t lane, void *dS,
                         int64_t from, int64_t to, pal_panels_way way)
{
    const pal_rule_shape *s = &f->shape;
    pal_rows rows = pal_fused_state_rows(f, x, lane);
    f->table->panels(s->K, s->V, &rows, s->Kp, dS, from, to, way);
}

/* The first copies the gradient of the final state to dS; the second copies dS to the gradient of
 * the initial state. */
static void begin_lane(const pal_fused *f, int64_t lane, void *dS, int64_t from, int64_t to)
{
    const pal_array *d = f->call->dout[1];
    state_panels(f, d, lane, dS, from, to, d ? PAL_PANELS_READ : PAL_PANELS_CLEAR);
}
static void end_lane(const pal_fused *f, int64_t lane, void *dS, int64_t from, int64_t to)
{
    const pal_array *d = pal_fused_din(f, PAL_IN_STATE);
    bool fresh = d && pal_call_fresh(f->call, f->at[PAL_IN_STATE]);
    if (d) state_panels(f, d, lane, dS, from, to, fresh ? PAL_PANELS_WRITE : PAL_PANELS_ADD);
}

/* What is left to do when the gradients of `count` chunks from `first` on are there, and those of
 * all later ones. */
static void finish(const problem *p, int64_t first, int64_t count, const lane_space *l,
                   double *sums)
{
    const pal_fused *f = &p->f;
    for (int64_t i = count - 1; i >= 0; i--)
        for (int64_t j = 0; j < p->count; j++) sums[j] += l->slots[i].sums[j];
    const pal_head *h = &l->rows->head;
    for (int64_t i = 0; i < count && f->shape.trapezoid; i++) {
        const int64_t t = (first + i + 1) * f->tokens;
        if (t < h->length) f->table->late_back(h, t, *l->slots[i].late, &l->rows->grad);
    }
}

static void swap(void **a, void **b)
{
    void *x = *a;
    *a = *b;
    *b = x;
}

/* ---- Lanes by threads ---- */

/* Chunks of wave w of a lane. */
static int64_t wave_count(const problem *p, int64_t lane, int64_t w)
{
    int64_t left = pal_fused_chunks(&p->f, lane / p->f.HV) - w * p->wave;
    return left < p->wave ? left : p->wave;
}
static int64_t waves(const problem *p, int64_t lane)
{
    return (pal_fused_chunks(&p->f, lane / p->f.HV) + p->wave - 1) / p->wave;
}

/* Lists the rows that the gradients of a wave go to, to be prefetched while its U is computed
 * again. Lanes from `group` on are side by side. */
static void ask_for_gradients(const problem *p, int64_t group, int64_t lane, int64_t first,
                              int64_t count, const pal_head_grad *g, slot *slots)
{
    const pal_fused *f = &p->f;
    for (int64_t i = 0; i < count; i++) {
        pal_prefetch_begin(&slots[i].chunk.ahead, slots[i].chunk.rows / f->shape.ranks);
        pal_fused_ahead_head(f, &slots[i].chunk.ahead, g->out, (first + i) * f->tokens, group,
                             lane);
    }
}

/* Lists the inputs of the next wave, which is wave w of lane `next`. They are prefetched while dS
 * is carried back over this wave of `count` chunks, together with what is still in a list because
 * U of that slot needed no scan. */
static void ask_for_inputs(const problem *p, int64_t group, int64_t next, int64_t w, int64_t count,
                           const lane_rows *rows_of_next, slot *slots)
{
    const pal_fused *f = &p->f;
    const int64_t there = w < 0 ? 0 : wave_count(p, next, w), first = w * p->wave;
    for (int64_t i = 0; i < count; i++) {
        pal_prefetch *a = &slots[i].chunk.ahead;
        const int64_t rows =
            i < there ? pal_fused_tokens_in(f, pal_fused_sequence(f, next), first + i) : 0;
        const bool left = !f->shape.erase && !updates(p, first, i, count);
        if (!left || (rows > 0 && rows != a->rows)) pal_prefetch_begin(a, rows);
        if (rows == 0) continue;
        pal_fused_ahead_head(f, a, rows_of_next->head.in, (first + i) * f->tokens, group, next);
        pal_fused_ahead_out(f, a, rows_of_next->dout, (first + i) * f->tokens);
        pal_fused_ahead_state(f, a, pal_fused_state(f, next, first), i, there);
    }
}

/* A group of lanes that a thread takes side by side. */
typedef struct group_space {
    lane_rows *rows; /* of each lane */
    void **carry;    /* the gradient of its state between two waves */
} group_space;

/* Does wave w of lane i of a group. The next one will be wave next_w of lane `next`. */
static void lane_wave(const problem *p, pal_lanes g, int64_t i, int64_t w, int64_t next,
                      int64_t next_w, const group_space *x, lane_space *l,
                      const pal_chunk_back *space, double *sums)
{
    const int64_t all = pal_fused_panels(&p->f), first = w * p->wave, lane = g.first + i;
    const int64_t count = wave_count(p, lane, w);
    l->rows = &x->rows[i];
    for (int64_t j = 0; j < count; j++) prepare(p, l, lane, first + j, &l->slots[j]);
    ask_for_gradients(p, g.first, lane, first, count, &l->rows->grad, l->slots);
    recompute(p, lane, first, count, l->slots, 0, all);
    ask_for_inputs(p, g.first, g.first + next, next_w, count, &x->rows[next], l->slots);
    carry_back(p, first, count, l, 0, all);
    for (int64_t j = count - 1; j >= 0; j--) gradient(p, lane, first, j, l, space);
    finish(p, first, count, l, sums + lane * p->count);
}

static void group_lanes(const problem *p, pal_lanes g, const group_space *x, lane_space *l,
                        const pal_chunk_back *space, double *sums)
{
    const pal_fused *f = &p->f;
    const int64_t all = pal_fused_panels(f);
    for (int64_t i = 0; i < g.count; i++) {
        x->rows[i] = rows_of(p, g.first + i);
        begin_lane(f, g.first + i, x->carry[i], 0, all);
    }
    for (int64_t w = waves(p, g.first) - 1; w >= 0; w--)
        for (int64_t i = 0; i < g.count; i++) {
            const bool last = i + 1 == g.count;
            void **dS = &l->dS[wave_count(p, g.first, w)];
            swap(&x->carry[i], dS);
            lane_wave(p, g, i, w, last ? 0 : i + 1, w - last, x, l, space, sums);
            swap(&x->carry[i], &l->dS[0]);
        }
    for (int64_t i = 0; i < g.count; i++) end_lane(f, g.first + i, x->carry[i], 0, all);
}

static group_space carve_group(pal_carver *c, const problem *p)
{
    const int64_t members = p->f.members, n = pal_fused_side(&p->f, members) * members;
    group_space x = {.rows = pal_carve(c, (size_t)n * sizeof *x.rows)};
    x.carry = pal_carve(c, (size_t)n * sizeof *x.carry);
    for (int64_t i = 0; i < n; i++) {
        void *dS = pal_carve(c, pal_fused_state_bytes(&p->f));
        if (x.carry) x.carry[i] = dS;
    }
    return x;
}

static void by_lanes(const problem *p, char *scratch, size_t each, double *sums)
{
    const pal_fused *f = &p->f;
    const int64_t members = f->members, side = pal_fused_side(f, members);
#pragma omp parallel num_threads(f->team) if (f->team > 1)
    {
        const unsigned mode = pal_flush_begin();
        pal_carver c = {scratch + (size_t)omp_get_thread_num() * each, 0};
        lane_space l = carve_lane(&c, p);
        const group_space x = carve_group(&c, p);
        pal_chunk_back space = pal_carve_back(&c, f);
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < pal_fused_groups(f, members, side); i++)
            group_lanes(p, pal_fused_group(f, members, side, i), &x, &l, &space, sums);
        pal_flush_end(mode);
    }
}

/* ---- All together, in waves ---- */

/* The wave that a lane is at in round r, counted from its end; false if it has none left. */
static bool wave_at(const problem *p, int64_t lane, int64_t r, int64_t *first, int64_t *count)
{
    int64_t w = waves(p, lane) - 1 - r;
    if (w < 0) return false;
    *first = w * p->wave;
    *count = wave_count(p, lane, w);
    return true;
}

static void wave_scan(const problem *p, int64_t lane, int64_t r, lane_space *l, int64_t panel)
{
    int64_t first, count;
    if (!wave_at(p, lane, r, &first, &count)) {
        if (r == 0) { /* the gradient of an empty sequence's state does not change */
            begin_lane(&p->f, lane, l->dS[0], panel, panel + 1);
            end_lane(&p->f, lane, l->dS[0], panel, panel + 1);
        }
        return;
    }
    if (r == 0) begin_lane(&p->f, lane, l->dS[count], panel, panel + 1);
    recompute(p, lane, first, count, l->slots, panel, panel + 1);
    carry_back(p, first, count, l, panel, panel + 1);
    if (first == 0) end_lane(&p->f, lane, l->dS[0], panel, panel + 1);
}

/* Chunk i of the wave, for all lanes of a family. */
static void wave_gradient(const problem *p, int64_t family, int64_t r, int64_t i, lane_space *l,
                          const pal_chunk_back *space)
{
    int64_t members = p->f.members, first, count;
    for (int64_t j = family * members; j < (family + 1) * members; j++)
        if (wave_at(p, j, r, &first, &count) && i < count) gradient(p, j, first, i, &l[j], space);
}

static void wave_end(const problem *p, int64_t lane, int64_t r, lane_space *l)
{
    int64_t first, count;
    if (!wave_at(p, lane, r, &first, &count)) return;
    finish(p, first, count, l, l->sums);
    if (first) swap(&l->dS[0], &l->dS[p->wave]); /* the next round begins with it */
}

static void by_waves(const problem *p, lane_space *l, char *spaces, size_t each)
{
    const pal_fused *f = &p->f;
    int64_t rounds = 1, panels = pal_fused_panels(f), families = f->lanes / f->members;
    for (int64_t i = 0; i < f->lanes; i++) *l[i].rows = rows_of(p, i);
    for (int64_t i = 0; i < f->lanes; i += f->HV)
        if (waves(p, i) > rounds) rounds = waves(p, i);
#pragma omp parallel num_threads(f->team) if (f->team > 1)
    {
        const unsigned mode = pal_flush_begin();
        pal_carver c = {spaces + (size_t)omp_get_thread_num() * each, 0};
        pal_chunk_back space = pal_carve_back(&c, f);
        for (int64_t r = 0; r < rounds; r++) {
#pragma omp for schedule(dynamic, 1)
            for (int64_t i = 0; i < f->lanes * p->wave; i++) {
                int64_t lane = i / p->wave, first, count, at = i % p->wave;
                if (wave_at(p, lane, r, &first, &count) && at < count)
                    prepare(p, &l[lane], lane, first + at, &l[lane].slots[at]);
            }
#pragma omp for schedule(dynamic, 1)
            for (int64_t i = 0; i < f->lanes * panels; i++)
                wave_scan(p, i / panels, r, &l[i / panels], i % panels);
#pragma omp for schedule(dynamic, 1)
            for (int64_t i = 0; i < families * p->wave; i++)
                wave_gradient(p, i / p->wave, r, i % p->wave, l, &space);
#pragma omp for schedule(static)
            for (int64_t i = 0; i < f->lanes; i++) wave_end(p, i, r, &l[i]);
        }
        pal_flush_end(mode);
    }
}

/* ---- Entry ---- */

typedef struct layout {
    double *sums; /* of all lanes */
    double *ends; /* of all lanes */
    pal_shared shared;
    lane_space *lanes; /* waves only */
    size_t together;   /* bytes of all this; the memory of the threads follows */
    size_t each;       /* bytes of a thread */
} layout;

static layout lay_out(const problem *p, char *base)
{
    const pal_fused *f = &p->f;
    pal_carver c = {base, 0}, thread = {NULL, 0};
    layout x = {.sums = pal_carve(&c, (size_t)(f->lanes * p->count) * sizeof(double))};
    x.ends = pal_carve(&c, (size_t)(f->lanes * 2 * f->shape.angles) * sizeof(double));
    x.shared = pal_carve_shared(&c, f);
    if (f->wave) {
        x.lanes = pal_carve(&c, (size_t)f->lanes * sizeof *x.lanes);
        lane_rows *rows = pal_carve(&c, (size_t)f->lanes * sizeof *rows);
        for (int64_t i = 0; i < f->lanes; i++) {
            lane_space l = carve_lane(&c, p);
            if (!x.lanes) continue;
            l.sums = x.sums + i * p->count;
            l.rows = rows + i;
            x.lanes[i] = l;
        }
    } else {
        carve_lane(&thread, p);
        carve_group(&thread, p);
    }
    pal_carve_back(&thread, f);
    x.together = c.used;
    x.each = thread.used;
    return x;
}

size_t pal_fused_backward_scratch(const pal_fused *f)
{
    problem p = problem_of(f->call, f->team);
    layout x = lay_out(&p, NULL);
    return x.together + (size_t)f->team * x.each;
}

void pal_fused_backward(const pal_call *call)
{
    problem p = problem_of(call, call->team);
    char *scratch = call->scratch;
    layout x = lay_out(&p, scratch);
    memset(x.sums, 0, (size_t)(p.f.lanes * p.count) * sizeof(double));
    p.ends = x.ends, p.shared = x.shared;
    if (p.f.shape.trapezoid) pal_fused_ends_back(&p.f, x.ends);
    if (p.f.wave)
        by_waves(&p, x.lanes, scratch + x.together, x.each);
    else
        by_lanes(&p, scratch + x.together, x.each, x.sums);
    pal_fused_add_shared(&p.f, &p.shared);
    pal_fused_hand_out_sums(&p.f, x.sums);
}
