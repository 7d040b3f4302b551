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
} slot;

/* What a lane needs: slots for a wave of chunks, and the gradient of the state after each of them
 * (dS[i + 1] after slot i, dS[0] before the first). */
typedef struct lane_space {
    slot *slots;
    void **dS;
    double *sums; /* over the whole lane */
} lane_space;

typedef struct problem {
    pal_fused f;
    int64_t wave;
    int64_t count; /* of sums */
    double *ends;  /* Mamba-3: of each lane, pal_fused_ends_back */
} problem;

/* ---- Memory ---- */

static problem problem_of(const pal_call *call, int team)
{
    problem p = {.f = pal_fused_of(call, team)};
    /* Families of lanes are independent. In a wave each thread gets about one chunk of one
     * family. */
    p.f.wave = pal_fused_wave(&p.f, p.f.lanes / (p.f.HV / p.f.H), team);
    p.wave = p.f.wave ? p.f.wave : pal_fused_segment(&p.f, 1);
    p.count = pal_fused_sum_count(&p.f);
    return p;
}

static slot carve_slot(pal_carver *c, const problem *p, bool first)
{
    const pal_fused *f = &p->f;
    size_t panels = (size_t)(f->shape.C * f->shape.Vp) * f->size;
    slot s = {.chunk = pal_carve_chunk(c, f)};
    s.own_S0 = first ? NULL : pal_carve(c, pal_fused_state_bytes(f));
    s.U = pal_carve(c, panels), s.dO = pal_carve(c, panels), s.dX = pal_carve(c, panels);
    s.sums = pal_carve(c, (size_t)p->count * sizeof(double));
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
static pal_head_grad gradient_rows(const pal_fused *f, int64_t lane)
{
    pal_head_grad g = {.add = 0};
    for (int i = 0; i < PAL_HEAD_ARGS; i++) {
        const pal_array *d = pal_fused_din(f, i);
        if (!d) continue;
        const int64_t sharers = f->HV / f->heads[i];
        g.out[i] = pal_fused_operand_rows(f, i, d, lane);
        if (!pal_call_fresh(f->call, f->at[i]) || lane % f->HV % sharers > 0) g.add |= 1u << i;
    }
    return g;
}

static void prepare(const problem *p, int64_t lane, int64_t chunk, slot *s)
{
    const pal_fused *f = &p->f;
    pal_head h = pal_fused_head(f, lane);
    s->chunk.rows = pal_fused_rows(f, lane / f->HV, chunk);
    f->rule->prepare(&f->shape, &h, chunk * f->tokens, &s->chunk);
}

/* S0 and U of `count` chunks from `first` on. */
static void recompute(const problem *p, int64_t lane, int64_t first, int64_t count, slot *slots,
                      int64_t from, int64_t to)
{
    const pal_fused *f = &p->f;
    size_t size = pal_fused_panel_bytes(f), at = (size_t)from * size;
    for (int64_t i = 0; i < count; i++) {
        slot *s = &slots[i], *next = s + 1;
        bool kept = (first + i) % f->opts->every == 0;
        bool update = i + 1 < count && (first + i + 1) % f->opts->every != 0;
        void *S0 = kept ? pal_fused_state(f, lane, first + i) : s->own_S0, *S = S0;
        if (update) { /* the scan overwrites the state, so it gets a copy */
            S = next->own_S0;
            memcpy((char *)S + at, (char *)S0 + at, (size_t)(to - from) * size);
        }
        for (int64_t j = from; j < to; j++)
            f->table->scan(&f->shape, &s->chunk, j, S, s->U, NULL, NULL, 0, update);
    }
}

/* dO, dX and dS of `count` chunks from `first` on. */
static void carry_back(const problem *p, int64_t lane, int64_t first, int64_t count, lane_space *l,
                       int64_t from, int64_t to)
{
    const pal_fused *f = &p->f;
    pal_rows dout = pal_fused_out_rows(f, f->call->dout[0], lane);
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

/* The gradients of chunk i of `count` slots from chunk `first` on. */
static void gradient(const problem *p, int64_t lane, int64_t first, int64_t i, int64_t count,
                     lane_space *l, const pal_chunk_back *space)
{
    slot *s = &l->slots[i];
    const int64_t chunk = first + i;
    const pal_fused *f = &p->f;
    pal_head h = pal_fused_head(f, lane);
    pal_head_grad g = gradient_rows(f, lane);
    pal_chunk_back b = *space;
    b.dO = s->dO, b.dX = s->dX, b.U = s->U;
    g.sums = p->count ? s->sums : NULL;
    const void *S0 = state_before(f, lane, chunk, s);
    if (f->shape.trapezoid) {
        const bool last = chunk + 1 == pal_fused_chunks(f, lane / f->HV);
        b.dS0 = l->dS[i];
        /* The state after the last slot is one that forward kept. */
        b.S1 = last ? NULL : state_before(f, lane, chunk + 1, i + 1 < count ? s + 1 : NULL);
        pal_fused_ends_grad(f, lane, p->ends, &g);
        g.sum_D = pal_fused_sums_of(f, PAL_IN_D, s->sums);
        g.sum_bias[PAL_Q] = pal_fused_sums_of(f, PAL_IN_C_BIAS, s->sums);
        g.sum_bias[PAL_K] = pal_fused_sums_of(f, PAL_IN_B_BIAS, s->sums);
        g.sum_mimo_x = pal_fused_sums_of(f, PAL_IN_MIMO_X, s->sums);
    }
    f->rule->gradient(&f->shape, &h, chunk * f->tokens, &s->chunk, &b, S0, l->dS[i + 1], &g);
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

static void add_sums(const problem *p, int64_t count, const slot *slots, double *sums)
{
    for (int64_t i = count - 1; i >= 0; i--)
        for (int64_t j = 0; j < p->count; j++) sums[j] += slots[i].sums[j];
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
 * again. */
static void ask_for_gradients(const problem *p, int64_t lane, int64_t first, int64_t count,
                              slot *slots)
{
    const pal_fused *f = &p->f;
    pal_head_grad g = gradient_rows(f, lane);
    for (int64_t i = 0; i < count; i++) {
        slots[i].chunk.ahead = (pal_ahead){.rows = slots[i].chunk.rows / f->shape.ranks};
        pal_fused_ahead_head(f, &slots[i].chunk.ahead, g.out, (first + i) * f->tokens);
    }
}

/* Lists the inputs of the next wave, which is wave w of lane `next`. They are prefetched while dS
 * is carried back over this wave of `count` chunks. */
static void ask_for_inputs(const problem *p, int64_t next, int64_t w, int64_t count, slot *slots)
{
    const pal_fused *f = &p->f;
    const int64_t there = w < 0 ? 0 : wave_count(p, next, w), first = w * p->wave;
    pal_head h = pal_fused_head(f, next);
    pal_rows dout = pal_fused_out_rows(f, f->call->dout[0], next);
    for (int64_t i = 0; i < count; i++) {
        pal_ahead *a = &slots[i].chunk.ahead;
        *a = (pal_ahead){
            .rows = i < there ? pal_fused_rows(f, next / f->HV, first + i) / f->shape.ranks : 0};
        if (a->rows == 0) continue;
        pal_fused_ahead_head(f, a, h.in, (first + i) * f->tokens);
        pal_fused_ahead(f, a, dout, (first + i) * f->shape.C, f->shape.V);
    }
}

/* Does wave w of a lane. The next one will be wave next_w of lane `next`. */
static void lane_wave(const problem *p, int64_t lane, int64_t w, int64_t next, int64_t next_w,
                      lane_space *l, const pal_chunk_back *space, double *sums)
{
    const int64_t all = pal_fused_panels(&p->f), first = w * p->wave;
    const int64_t count = wave_count(p, lane, w);
    for (int64_t i = 0; i < count; i++) prepare(p, lane, first + i, &l->slots[i]);
    ask_for_gradients(p, lane, first, count, l->slots);
    recompute(p, lane, first, count, l->slots, 0, all);
    ask_for_inputs(p, next, next_w, count, l->slots);
    carry_back(p, lane, first, count, l, 0, all);
    for (int64_t i = count - 1; i >= 0; i--) gradient(p, lane, first, i, count, l, space);
    add_sums(p, count, l->slots, sums);
}

/* Does all lanes of a group. carry[i] is the gradient of the state of lane i between two waves. */
static void group_lanes(const problem *p, pal_group g, lane_space *l, void **carry,
                        const pal_chunk_back *space, double *sums)
{
    const pal_fused *f = &p->f;
    const int64_t all = pal_fused_panels(f);
    for (int64_t i = 0; i < g.count; i++) begin_lane(f, g.first + i, carry[i], 0, all);
    for (int64_t w = waves(p, g.first) - 1; w >= 0; w--)
        for (int64_t i = 0; i < g.count; i++) {
            const bool last = i + 1 == g.count;
            const int64_t lane = g.first + i, next = last ? g.first : lane + 1;
            swap(&carry[i], &l->dS[wave_count(p, lane, w)]);
            lane_wave(p, lane, w, next, w - last, l, space, sums + lane * p->count);
            swap(&carry[i], &l->dS[0]);
        }
    for (int64_t i = 0; i < g.count; i++) end_lane(f, g.first + i, carry[i], 0, all);
}

static void **carve_carry(pal_carver *c, const problem *p)
{
    const int64_t members = p->f.HV / p->f.H, n = pal_fused_side(&p->f, members) * members;
    void **carry = pal_carve(c, (size_t)n * sizeof *carry);
    for (int64_t i = 0; i < n; i++) {
        void *dS = pal_carve(c, pal_fused_state_bytes(&p->f));
        if (carry) carry[i] = dS;
    }
    return carry;
}

static void by_lanes(const problem *p, char *scratch, size_t each, double *sums)
{
    const pal_fused *f = &p->f;
    const int64_t members = f->HV / f->H, side = pal_fused_side(f, members);
#pragma omp parallel num_threads(f->team) if (f->team > 1)
    {
        const unsigned mode = pal_flush_begin();
        pal_carver c = {scratch + (size_t)omp_get_thread_num() * each, 0};
        lane_space l = carve_lane(&c, p);
        void **carry = carve_carry(&c, p);
        pal_chunk_back space = pal_carve_back(&c, f);
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < pal_fused_groups(f, members, side); i++)
            group_lanes(p, pal_fused_group(f, members, side, i), &l, carry, &space, sums);
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
    carry_back(p, lane, first, count, l, panel, panel + 1);
    if (first == 0) end_lane(&p->f, lane, l->dS[0], panel, panel + 1);
}

/* Chunk i of the wave, for all lanes of a family. */
static void wave_gradient(const problem *p, int64_t family, int64_t r, int64_t i, lane_space *l,
                          const pal_chunk_back *space)
{
    int64_t members = p->f.HV / p->f.H, first, count;
    for (int64_t j = family * members; j < (family + 1) * members; j++)
        if (wave_at(p, j, r, &first, &count) && i < count)
            gradient(p, j, first, i, count, &l[j], space);
}

static void wave_end(const problem *p, int64_t lane, int64_t r, lane_space *l)
{
    int64_t first, count;
    if (!wave_at(p, lane, r, &first, &count)) return;
    add_sums(p, count, l->slots, l->sums);
    if (first) swap(&l->dS[0], &l->dS[p->wave]); /* the next round begins with it */
}

static void by_waves(const problem *p, lane_space *l, char *spaces, size_t each)
{
    const pal_fused *f = &p->f;
    int64_t rounds = 1, panels = pal_fused_panels(f), families = f->lanes / (f->HV / f->H);
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
                    prepare(p, lane, first + at, &l[lane].slots[at]);
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
    double *sums;      /* of all lanes */
    double *ends;      /* of all lanes */
    lane_space *lanes; /* waves only */
    size_t shared;     /* bytes of sums and lanes; the memory of the threads follows */
    size_t each;       /* bytes of a thread */
} layout;

static layout lay_out(const problem *p, char *base)
{
    const pal_fused *f = &p->f;
    pal_carver c = {base, 0}, thread = {NULL, 0};
    layout x = {.sums = pal_carve(&c, (size_t)(f->lanes * p->count) * sizeof(double))};
    x.ends = pal_carve(&c, (size_t)(f->lanes * 2 * f->shape.angles) * sizeof(double));
    if (f->wave) {
        x.lanes = pal_carve(&c, (size_t)f->lanes * sizeof *x.lanes);
        for (int64_t i = 0; i < f->lanes; i++) {
            lane_space l = carve_lane(&c, p);
            if (!x.lanes) continue;
            l.sums = x.sums + i * p->count;
            x.lanes[i] = l;
        }
    } else {
        carve_lane(&thread, p);
        carve_carry(&thread, p);
    }
    pal_carve_back(&thread, f);
    x.shared = c.used;
    x.each = thread.used;
    return x;
}

size_t pal_fused_backward_scratch(const pal_fused *f)
{
    problem p = problem_of(f->call, f->team);
    layout x = lay_out(&p, NULL);
    return x.shared + (size_t)f->team * x.each;
}

void pal_fused_backward(const pal_call *call)
{
    problem p = problem_of(call, call->team);
    char *scratch = call->scratch;
    layout x = lay_out(&p, scratch);
    memset(x.sums, 0, (size_t)(p.f.lanes * p.count) * sizeof(double));
    p.ends = x.ends;
    if (p.f.shape.trapezoid) pal_fused_ends_back(&p.f, x.ends);
    if (p.f.wave)
        by_waves(&p, x.lanes, scratch + x.shared, x.each);
    else
        by_lanes(&p, scratch + x.shared, x.each, x.sums);
    pal_fused_hand_out_sums(&p.f, x.sums);
}
