/*
 * attention_op.c - the operation behind pal_attention: the order of pairs of blocks, and where they
 * are in memory.
 *
 * Forward, a thread takes a block of queries of all heads that share a kv head through the keys
 * that they see. Backward has two schedules. If there are enough lanes for the team, a thread
 * takes a whole lane and computes each pair of blocks once. With fewer lanes, threads share the key
 * blocks, for dk and dv, and then the query blocks, for dq; each pair is computed twice. Both add
 * in the same order, so results do not depend on the number of threads.
 */
#include "layers/attention/attention_op.h"
#include "layers/attention/attention.h"

#include <omp.h>
#include <string.h>

/* Sizes of blocks, which were measured, as PAL_ATTENTION_KEYS was. ROWS counts the queries of a
 * block in forward over all heads of a group. */
enum { KEYS = PAL_ATTENTION_KEYS, ROWS = 128, LEAST_ROWS = 16, BACK_ROWS = 64 };

PAL_KERNEL_TABLES(pal_attention_table, attention);

const pal_attention_table *pal_attention_table_for(pal_dtype dtype)
{
    return PAL_KERNEL_TABLE(attention, dtype);
}

/* ---- Geometry ---- */

typedef struct problem {
    const pal_call *call;
    const pal_attention_table *table;
    pal_attention_shape shape;
    size_t size;       /* of an element */
    pal_sequences seq; /* of queries */
    int64_t S, HKV, group;
    int64_t longest; /* queries of a sequence */
    int64_t rows;    /* queries of a block */
} problem;

static problem problem_of(const pal_call *call, bool back)
{
    const pal_array *q = call->in[0], *k = call->in[1];
    const pal_attention_call *o = call->opts;
    const pal_attention_table *table = pal_attention_table_for(q->dtype);
    problem p = {.call = call,
                 .table = table,
                 .size = pal_dtype_size(q->dtype),
                 .seq = pal_sequences_of(call->in[3], q->shape[0], q->shape[1]),
                 .S = k->shape[1],
                 .HKV = k->shape[2],
                 .group = q->shape[2] / k->shape[2]};
    p.longest = pal_sequence_longest(&p.seq);
    int64_t D = q->shape[3], Dp = pal_round_up_count(D, table->panel);
    /* One panel more than needed, so that rows do not all fall into the same sets of a cache. */
    p.shape = (pal_attention_shape){.D = D,
                                    .Dp = Dp,
                                    .ld = Dp + table->panel,
                                    .keys_ld = KEYS + table->panel,
                                    .window = o->window,
                                    .scale = o->scale,
                                    .narrow = o->narrow};
    p.rows = back ? BACK_ROWS : pal_round_up_count(ROWS / p.group, LEAST_ROWS);
    if (p.rows < LEAST_ROWS) p.rows = LEAST_ROWS;
    return p;
}

/* A kv head of a sequence. */
typedef struct lane {
    int64_t T, S; /* queries and keys */
    int64_t batch, head;
    int64_t query, key; /* the first ones */
} lane;

static lane lane_of(const problem *p, int64_t sequence, int64_t head)
{
    const int64_t n = pal_sequence_length(&p->seq, sequence), past = p->S - p->seq.T;
    lane l = {n, n, pal_sequence_batch(&p->seq, sequence), head, 0, 0};
    l.query = l.key = pal_sequence_first(&p->seq, sequence);
    /* Keys before the first query belong to the first sequence if sequences are packed, else to
     * each. */
    if (sequence > 0 && p->seq.offsets)
        l.key += past;
    else
        l.S += past;
    return l;
}

/* Rows of q, o or their gradients from query t of the lane on; and of k, v or theirs from key j
 * on. */
static pal_rows rows_of(const pal_array *x, const lane *l, int64_t head, int64_t t)
{
    return pal_rows_at(x, l->batch, l->query + t, head);
}
static pal_rows key_rows(const pal_array *x, const lane *l, int64_t j)
{
    return pal_rows_at(x, l->batch, l->key + j, l->head);
}

/* The log-sum-exp of query t of the lane. */
static void *lse_of(const problem *p, const lane *l, int64_t head, int64_t t)
{
    int64_t at = (l->batch * p->HKV * p->group + head) * p->seq.T + l->query + t;
    return (char *)p->call->saved[0].data + (size_t)at * p->size;
}

/* Returns the sequence of a block. *at is the block's first token there, which may be past the
 * end. */
static int64_t find_block(const problem *p, int64_t block, int64_t tokens, int64_t rows,
                          int64_t *at)
{
    int64_t low = 0, high = p->seq.count;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (pal_first_block(&p->seq, middle, tokens, rows) <= block)
            low = middle;
        else
            high = middle;
    }
    *at = (block - pal_first_block(&p->seq, low, tokens, rows)) * rows;
    return low;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- Memory ---- */

static void *carve_rows(pal_carver *c, const problem *p, int64_t rows)
{
    return pal_carve(c, (size_t)(rows * p->shape.ld) * p->size);
}

static pal_key_block carve_keys(pal_carver *c, const problem *p, bool back)
{
    pal_key_block k = {.K = carve_rows(c, p, KEYS), .V = carve_rows(c, p, KEYS)};
    k.Kt = carve_rows(c, p, KEYS);
    if (back) k.Vt = carve_rows(c, p, KEYS);
    return k;
}

/* Rows that a block has at most, in whole tiles. */
static int64_t block_rows(const problem *p)
{
    return pal_round_up_count(least(p->rows, p->longest), p->table->rows);
}

typedef struct forward_space {
    pal_key_block keys;
    pal_query_block *queries; /* of each head of a group */
} forward_space;

static forward_space carve_forward(pal_carver *c, const problem *p)
{
    const int64_t rows = block_rows(p);
    forward_space f = {.keys = carve_keys(c, p, false)};
    f.queries = pal_carve(c, (size_t)p->group * sizeof *f.queries);
    void *P = pal_carve(c, (size_t)(p->table->rows * p->shape.keys_ld) * p->size);
    for (int64_t g = 0; g < p->group; g++) {
        pal_query_block x = {.Q = carve_rows(c, p, rows), .O = carve_rows(c, p, rows), .P = P};
        x.m = pal_carve(c, (size_t)rows * p->size);
        x.l = pal_carve(c, (size_t)(rows * p->table->vector) * p->size);
        if (f.queries) f.queries[g] = x;
    }
    return f;
}

typedef struct back_space {
    pal_key_block keys;
    pal_query_block queries;
    void *dK, *dV, *dQ; /* dQ of a block, or of all queries of a lane */
} back_space;

/* The number of rows of whole blocks that hold so many queries. */
static int64_t lane_rows(int64_t T) { return pal_round_up_count(T, BACK_ROWS); }

static back_space carve_back(pal_carver *c, const problem *p, bool whole_lanes)
{
    const int64_t rows = block_rows(p);
    back_space b = {.keys = carve_keys(c, p, true)};
    size_t pairs = (size_t)(rows * p->shape.keys_ld) * p->size;
    b.dK = carve_rows(c, p, KEYS), b.dV = carve_rows(c, p, KEYS);
    b.queries.Q = carve_rows(c, p, rows), b.queries.dO = carve_rows(c, p, rows);
    b.queries.P = pal_carve(c, pairs), b.queries.dS = pal_carve(c, pairs);
    b.queries.lse = pal_carve(c, (size_t)rows * p->size);
    b.queries.delta = pal_carve(c, (size_t)rows * p->size);
    b.dQ = carve_rows(c, p, whole_lanes ? p->group * lane_rows(p->longest) : rows);
    return b;
}

static size_t forward_bytes(const problem *p)
{
    pal_carver c = {NULL, 0};
    carve_forward(&c, p);
    return c.used;
}

static size_t back_bytes(const problem *p, bool whole_lanes)
{
    pal_carver c = {NULL, 0};
    carve_back(&c, p, whole_lanes);
    return c.used;
}

/* Whether there are enough lanes for the team. */
static bool by_lanes(const problem *p, int team) { return p->seq.count * p->HKV >= team; }

/* ---- Forward ---- */

static void load_keys(const problem *p, const lane *l, int64_t first, pal_key_block *k)
{
    k->first = first;
    k->count = least(KEYS, l->S - first);
    p->table->load_keys(&p->shape, key_rows(p->call->in[1], l, first),
                        key_rows(p->call->in[2], l, first), k);
}

/* Lists the block of keys from `first` on, if that is before `end`, to be prefetched. */
static void keys_ahead(const problem *p, const lane *l, int64_t first, int64_t end, pal_prefetch *a)
{
    pal_prefetch_begin(a, least(KEYS, end - first));
    for (int i = 1; i < 3 && first < end; i++)
        pal_prefetch_add(a, key_rows(p->call->in[i], l, first), p->shape.D, p->size);
}

/* The first block of keys that the query at this position sees. */
static int64_t first_keys(const problem *p, int64_t position)
{
    return most(0, position - p->shape.window + 1) / KEYS * KEYS;
}

static void forward_block(const problem *p, const lane *l, int64_t t, forward_space *f)
{
    const pal_attention_table *k = p->table;
    const int64_t count = least(p->rows, l->T - t), position = l->S - l->T + t;
    for (int64_t g = 0; g < p->group; g++) {
        pal_query_block *x = &f->queries[g];
        x->first = position, x->count = count;
        k->start(&p->shape, rows_of(p->call->in[0], l, l->head * p->group + g, t), x);
    }
    for (int64_t j = first_keys(p, position); j < position + count; j += KEYS) {
        load_keys(p, l, j, &f->keys);
        keys_ahead(p, l, j + KEYS, position + count, &f->queries[0].ahead);
        for (int64_t g = 0; g < p->group; g++) k->absorb(&p->shape, &f->keys, &f->queries[g]);
    }
    for (int64_t g = 0; g < p->group; g++) {
        int64_t head = l->head * p->group + g;
        k->finish(&p->shape, &f->queries[g], rows_of(p->call->out[0], l, head, t),
                  lse_of(p, l, head, t));
    }
}

static void forward(const pal_call *call)
{
    if (pal_array_count(call->out[0]) == 0) return;
    problem p = problem_of(call, false);
    size_t each = forward_bytes(&p);
    int64_t items = pal_first_block(&p.seq, p.seq.count, p.seq.T, p.rows) * p.HKV;
#pragma omp parallel num_threads(call->team) if (call->team > 1)
    {
        pal_carver c = {(char *)call->scratch + (size_t)omp_get_thread_num() * each, 0};
        forward_space f = carve_forward(&c, &p);
        /* The last queries of a sequence see most keys, so they are begun first. */
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < items; i++) {
            int64_t item = items - 1 - i, t;
            int64_t sequence = find_block(&p, item / p.HKV, p.seq.T, p.rows, &t);
            lane l = lane_of(&p, sequence, item % p.HKV);
            if (t < l.T) forward_block(&p, &l, t, &f);
        }
    }
}

/* ---- Backward ---- */

static void load_queries(const problem *p, const lane *l, int64_t head, int64_t t,
                         pal_query_block *x)
{
    const pal_call *call = p->call;
    x->first = l->S - l->T + t;
    x->count = least(BACK_ROWS, l->T - t);
    p->table->start_back(&p->shape, rows_of(call->in[0], l, head, t),
                         rows_of(call->out[0], l, head, t), rows_of(call->dout[0], l, head, t),
                         lse_of(p, l, head, t), x);
}

static void clear(const problem *p, void *rows, int64_t n)
{
    memset(rows, 0, (size_t)(n * p->shape.ld) * p->size);
}

/* din[1] or din[2] += rows, from key j of the lane on. */
static void hand_out_keys(const problem *p, const lane *l, int i, int64_t j, int64_t count,
                          const void *rows)
{
    const pal_array *d = p->call->din[i];
    if (d) p->table->add(&p->shape, count, rows, 1, key_rows(d, l, j));
}

/* din[0] += scale times rows, from query t of the lane on. */
static void hand_out_queries(const problem *p, const lane *l, int64_t head, int64_t t,
                             int64_t count, const void *rows)
{
    const pal_array *d = p->call->din[0];
    if (d) p->table->add(&p->shape, count, rows, p->shape.scale, rows_of(d, l, head, t));
}

/* dk and dv of a block of keys, from all queries that see one of them. It adds to dQ
 * [heads][lane_rows] too if that is not NULL. */
static void key_block(const problem *p, const lane *l, int64_t j, back_space *b, char *dQ)
{
    const pal_call *call = p->call;
    const int64_t past = l->S - l->T, all = lane_rows(l->T);
    load_keys(p, l, j, &b->keys);
    b->keys.dK = call->din[1] ? b->dK : NULL;
    b->keys.dV = call->din[2] ? b->dV : NULL;
    clear(p, b->dK, KEYS), clear(p, b->dV, KEYS);
    const int64_t first = most(0, j - past) / BACK_ROWS * BACK_ROWS;
    const int64_t end = least(l->T, j + b->keys.count - 1 + p->shape.window - past);
    for (int64_t g = 0; g < p->group; g++)
        for (int64_t t = first; t < end; t += BACK_ROWS) {
            load_queries(p, l, l->head * p->group + g, t, &b->queries);
            b->queries.dQ = dQ ? dQ + (size_t)((g * all + t) * p->shape.ld) * p->size : NULL;
            p->table->pair(&p->shape, &b->keys, &b->queries);
        }
    hand_out_keys(p, l, 1, j, b->keys.count, b->dK);
    hand_out_keys(p, l, 2, j, b->keys.count, b->dV);
}

/* dq of a block of queries, from all keys that one of them sees. */
static void query_block(const problem *p, const lane *l, int64_t head, int64_t t, back_space *b)
{
    load_queries(p, l, head, t, &b->queries);
    b->queries.dQ = b->dQ;
    b->keys.dK = b->keys.dV = NULL;
    clear(p, b->dQ, block_rows(p));
    const int64_t end = b->queries.first + b->queries.count;
    for (int64_t j = first_keys(p, b->queries.first); j < end; j += KEYS) {
        load_keys(p, l, j, &b->keys);
        p->table->pair(&p->shape, &b->keys, &b->queries);
    }
    hand_out_queries(p, l, head, t, b->queries.count, b->dQ);
}

static void whole_lane(const problem *p, const lane *l, back_space *b)
{
    char *dQ = p->call->din[0] ? b->dQ : NULL;
    const int64_t all = lane_rows(l->T);
    if (dQ) clear(p, dQ, p->group * all);
    for (int64_t j = 0; j < l->S; j += KEYS) key_block(p, l, j, b, dQ);
    for (int64_t g = 0; g < p->group && dQ; g++)
        hand_out_queries(p, l, l->head * p->group + g, 0, l->T,
                         dQ + (size_t)(g * all * p->shape.ld) * p->size);
}

/* Runs inside a parallel region: all key blocks, then all query blocks. */
static void by_blocks(const problem *p, back_space *b)
{
    const pal_call *call = p->call;
    const int64_t H = p->HKV * p->group;
    int64_t keys = pal_first_block(&p->seq, p->seq.count, p->S, KEYS) * p->HKV;
    int64_t queries = pal_first_block(&p->seq, p->seq.count, p->seq.T, BACK_ROWS) * H;
    if (!call->din[1] && !call->din[2]) keys = 0;
    if (!call->din[0]) queries = 0;
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < keys; i++) { /* the first keys are seen most, so they are begun first */
        int64_t j, sequence = find_block(p, i / p->HKV, p->S, KEYS, &j);
        lane l = lane_of(p, sequence, i % p->HKV);
        if (j < l.S) key_block(p, &l, j, b, NULL);
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < queries; i++) {
        int64_t item = queries - 1 - i, head = item % H, t;
        int64_t sequence = find_block(p, item / H, p->seq.T, BACK_ROWS, &t);
        lane l = lane_of(p, sequence, head / p->group);
        if (t < l.T) query_block(p, &l, head, t, b);
    }
}

static void backward(const pal_call *call)
{
    if (pal_array_count(call->out[0]) == 0) return;
    problem p = problem_of(call, true);
    const bool whole = by_lanes(&p, call->team);
    size_t each = back_bytes(&p, whole);
#pragma omp parallel num_threads(call->team) if (call->team > 1)
    {
        pal_carver c = {(char *)call->scratch + (size_t)omp_get_thread_num() * each, 0};
        back_space b = carve_back(&c, &p, whole);
        if (!whole) {
            by_blocks(&p, &b);
        } else {
#pragma omp for schedule(dynamic, 1)
            for (int64_t i = 0; i < p.seq.count * p.HKV; i++) {
                lane l = lane_of(&p, i / p.HKV, i % p.HKV);
                whole_lane(&p, &l, &b);
            }
        }
    }
}

/* ---- The operation ---- */

static pal_status infer(pal_call *call)
{
    const pal_array *q = call->in[0];
    const pal_attention_call *o = call->opts;
    const int64_t B = q->shape[0], T = q->shape[1], H = q->shape[2], D = q->shape[3];
    pal_status status = pal_call_out(call, 0, q->dtype, pal_array_shape(q));
    if (status == PAL_OK) status = pal_call_save(call, q->dtype, PAL_SHAPE(B, H, T));
    if (status != PAL_OK || pal_array_count(q) == 0) return status;
    const int64_t work = 4 * B * H * T * D * o->window;
    const int team = pal_call_team(call, work);
    problem p = problem_of(call, false), back = problem_of(call, true);
    return pal_call_scratch(call, (size_t)team * forward_bytes(&p),
                            (size_t)team * back_bytes(&back, by_lanes(&back, team)));
}

const pal_op pal_attention_op = {.name = "attention",
                                 .args = "q k v offsets",
                                 .infer = infer,
                                 .forward = forward,
                                 .backward = backward};
