/*
 * map.c - all tokens of a sequence as one affine map of the matrix, and its transpose.
 *
 * Every rule is linear in the matrix of its state, so the tokens of a sequence together are
 *
 *     S_out = M S_in + N          dS_in = M^T dS_out + n
 *
 * M [K,K] depends only on keys, gates and decays. N is what a zero matrix becomes, and n comes from
 * the gradient of the outputs. Processes that share a sequence exchange these. M is the scan of an
 * identity matrix without writes. The kernels of the state compute it too, as K more columns. Where
 * nothing is erased and all of a head decays alike, M is a number, the product of the decays.
 */
#include "layers/rules/fused/fused.h"

#include <omp.h>
#include <string.h>

/* ---- The map ---- */

bool pal_rule_map_is_number(const pal_rule *rule)
{
    return !rule->erases && pal_rule_channels(rule, PAL_G) != 'K';
}

typedef struct map_space {
    pal_chunk chunk;
    void *N, *M;   /* panels of V and of K columns */
    void *nothing; /* Z for the scan of the identity: panels of zeros */
} map_space;

static map_space carve_map(pal_carver *c, const pal_fused *f)
{
    const pal_rule_shape *s = &f->shape;
    map_space m = {.chunk = pal_carve_chunk(c, f), .N = pal_carve(c, pal_fused_state_bytes(f))};
    m.M = pal_carve(c, (size_t)(s->Kp * s->Kp) * f->size);
    m.nothing = pal_carve(c, (size_t)(s->C * s->Kp) * f->size);
    return m;
}

static pal_dtype dtype_of(const pal_fused *f) { return pal_fused_in(f, PAL_Q)->dtype; }

static void set_identity(const pal_fused *f, void *M)
{
    const pal_rule_shape *s = &f->shape;
    const int64_t panel = f->table->panel;
    memset(M, 0, (size_t)(s->Kp * s->Kp) * f->size);
    for (int64_t i = 0; i < s->K; i++) {
        int64_t at = i / panel * s->Kp * panel + i * panel + i % panel;
        pal_element_set(dtype_of(f), M, at, 1);
    }
}

/* The scan of the identity matrix over a chunk. */
static void map_chunk(const pal_fused *f, map_space *m)
{
    pal_rule_shape square = f->shape; /* K columns instead of V */
    square.V = f->shape.K, square.Vp = f->shape.Kp;
    pal_chunk still = m->chunk;
    still.Z = m->nothing;
    for (int64_t p = 0; p < square.Vp / f->table->panel; p++)
        f->table->scan(&square, &still, p, m->M, m->M, NULL, NULL, NULL, 0);
}

static double first_number(const pal_fused *f, const void *x)
{
    return pal_element_get(dtype_of(f), x, 0);
}

static void map_lane(const pal_fused *f, int64_t lane, map_space *m)
{
    const pal_rule_shape *s = &f->shape;
    const pal_array *to = f->call->nout > 1 ? f->call->out[1] : NULL;
    const bool number = pal_rule_map_is_number(f->opts->rule), square = to && !number;
    double product = 1;
    pal_head h = pal_fused_head(f, lane);
    pal_rows S = pal_fused_state_rows(f, pal_fused_in(f, PAL_IN_STATE), lane);
    f->table->panels(s->K, s->V, &S, s->Kp, m->N, 0, pal_fused_panels(f),
                     S.data ? PAL_PANELS_READ : PAL_PANELS_CLEAR);
    pal_fused_enter(f, &h, m->N, true, 0, pal_fused_panels(f));
    if (square) {
        memset(m->nothing, 0, (size_t)(s->C * s->Kp) * f->size);
        set_identity(f, m->M);
    }
    for (int64_t i = 0; i < pal_fused_chunks(f, pal_fused_sequence(f, lane)); i++) {
        m->chunk.rows = pal_fused_rows(f, pal_fused_sequence(f, lane), i);
        f->rule->prepare(s, &h, i * f->tokens, &m->chunk);
        for (int64_t p = 0; p < pal_fused_panels(f); p++)
            f->table->scan(s, &m->chunk, p, m->N, m->N, NULL, NULL, NULL, 0);
        if (square) map_chunk(f, m);
        product *= first_number(f, m->chunk.gamma);
    }
    pal_rows N = pal_fused_state_rows(f, f->call->out[0], lane), M;
    f->table->panels(s->K, s->V, &N, s->Kp, m->N, 0, pal_fused_panels(f), PAL_PANELS_WRITE);
    if (square) {
        M = pal_fused_state_rows(f, to, lane);
        f->table->panels(s->K, s->K, &M, s->Kp, m->M, 0, s->Kp / f->table->panel, PAL_PANELS_WRITE);
    } else if (to) {
        pal_array_set(
            to, (const int64_t[]){pal_fused_sequence(f, lane), pal_fused_value_head(f, lane), 0, 0},
            product);
    }
}

static size_t map_bytes(const pal_fused *f, int team)
{
    pal_fused copy = *f;
    pal_carver c = pal_fused_scratch(&copy, NULL), each = {NULL, 0};
    carve_map(&each, f);
    return c.used + (size_t)team * each.used;
}

static void map_forward(const pal_call *call)
{
    pal_fused f = pal_fused_of(call, call->team);
    const pal_carver shared = pal_fused_scratch(&f, call->scratch);
    if (f.shape.trapezoid) pal_fused_angles(&f);
#pragma omp parallel num_threads(f.team) if (f.team > 1)
    {
        const unsigned mode = pal_flush_begin();
        pal_carver each = {NULL, 0};
        carve_map(&each, &f);
        pal_carver c = {shared.base + shared.used + (size_t)omp_get_thread_num() * each.used, 0};
        map_space m = carve_map(&c, &f);
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < f.lanes; i++) map_lane(&f, i, &m);
        pal_flush_end(mode);
    }
}

/* ---- Its transpose ---- */

typedef struct back_space {
    pal_chunk chunk;
    void *dS, *dO, *dX;
} back_space;

static back_space carve_back(pal_carver *c, const pal_fused *f)
{
    size_t panels = (size_t)(f->shape.C * f->shape.Vp) * f->size;
    back_space b = {.chunk = pal_carve_chunk(c, f), .dS = pal_carve(c, pal_fused_state_bytes(f))};
    b.dO = pal_carve(c, panels), b.dX = pal_carve(c, panels);
    return b;
}

static void back_lane(const pal_fused *f, int64_t lane, back_space *b)
{
    const pal_rule_shape *s = &f->shape;
    pal_head h = pal_fused_head(f, lane);
    pal_rows dO = pal_fused_out_rows(f, f->call->in[pal_rule_inputs(f->opts->rule)], lane);
    pal_rows dS = pal_fused_state_rows(f, pal_fused_in(f, PAL_IN_STATE), lane);
    pal_rows n = pal_fused_state_rows(f, f->call->out[0], lane);
    pal_chunk_back space = {.dO = b->dO, .dX = b->dX};
    f->table->panels(s->K, s->V, &dS, s->Kp, b->dS, 0, pal_fused_panels(f),
                     dS.data ? PAL_PANELS_READ : PAL_PANELS_CLEAR);
    for (int64_t i = pal_fused_chunks(f, pal_fused_sequence(f, lane)) - 1; i >= 0; i--) {
        pal_rows rows = pal_rows_from(f, dO, i * s->C);
        b->chunk.rows = pal_fused_rows(f, pal_fused_sequence(f, lane), i);
        f->rule->prepare(s, &h, i * f->tokens, &b->chunk);
        for (int64_t p = 0; p < pal_fused_panels(f); p++)
            f->table->scan_back(s, &b->chunk, p, &rows, b->dS, b->dS, &space);
    }
    f->table->panels(s->K, s->V, &n, s->Kp, b->dS, 0, pal_fused_panels(f), PAL_PANELS_WRITE);
}

size_t pal_rule_map_back_bytes(const pal_fused *f, int team)
{
    pal_fused copy = *f;
    pal_carver c = pal_fused_scratch(&copy, NULL), each = {NULL, 0};
    carve_back(&each, f);
    return c.used + (size_t)team * each.used;
}

void pal_rule_map_back_forward(const pal_call *call)
{
    pal_fused f = pal_fused_of(call, call->team);
    const pal_carver shared = pal_fused_scratch(&f, call->scratch);
    if (f.shape.trapezoid) pal_fused_angles(&f);
#pragma omp parallel num_threads(f.team) if (f.team > 1)
    {
        const unsigned mode = pal_flush_begin();
        pal_carver each = {NULL, 0};
        carve_back(&each, &f);
        pal_carver c = {shared.base + shared.used + (size_t)omp_get_thread_num() * each.used, 0};
        back_space b = carve_back(&c, &f);
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < f.lanes; i++) back_lane(&f, i, &b);
        pal_flush_end(mode);
    }
}

/* ---- The operations ---- */

static pal_status infer(pal_call *call, bool back)
{
    pal_fused f = pal_fused_of(call, 1);
    const int64_t K = f.shape.K, V = f.shape.V, work = f.lanes * (1 + 6 * f.seq.T) * K * (V + K);
    pal_dtype dtype = pal_fused_in(&f, PAL_V)->dtype;
    const int team = pal_call_team(call, work);
    pal_status status = pal_call_out(call, 0, dtype, PAL_SHAPE(f.seq.count, f.HV, K, V));
    const int64_t width = pal_rule_map_is_number(f.opts->rule) ? 1 : K;
    if (status == PAL_OK && call->nout > 1)
        status = pal_call_out(call, 1, dtype, PAL_SHAPE(f.seq.count, f.HV, width, width));
    if (status != PAL_OK) return status;
    const size_t bytes = back ? pal_rule_map_back_bytes(&f, team) : map_bytes(&f, team);
    return pal_call_scratch(call, bytes, 0);
}
static pal_status map_infer(pal_call *call) { return infer(call, false); }
static pal_status back_infer(pal_call *call) { return infer(call, true); }

static pal_rule_ops map_ops, back_ops;

static void make_map(const pal_rule *rule, pal_op *op)
{
    (void)rule;
    *op = (pal_op){.name = "rule_map", .infer = map_infer, .forward = map_forward};
}
static void make_back(const pal_rule *rule, pal_op *op)
{
    (void)rule;
    *op = (pal_op){
        .name = "rule_map_back", .infer = back_infer, .forward = pal_rule_map_back_forward};
}

void pal_rule_map(const pal_rule *rule, const pal_tensor in[PAL_RULE_INPUTS], pal_rule_opts opts,
                  pal_tensor *M, pal_tensor *N)
{
    pal_fused_opts o = pal_fused_options(rule, in, &opts);
    pal_tensor out[2];
    pal_apply(pal_rule_op(&map_ops, rule, "", make_map), &o, sizeof o, pal_rule_inputs(rule), in,
              M ? 2 : 1, out);
    *N = out[0];
    if (M) *M = out[1];
}

pal_tensor pal_rule_map_back(const pal_rule *rule, const pal_tensor in[PAL_RULE_INPUTS],
                             pal_rule_opts opts, pal_tensor dO)
{
    pal_fused_opts o = pal_fused_options(rule, in, &opts);
    const int inputs = pal_rule_inputs(rule);
    pal_tensor all[PAL_RULE_INPUTS + 1], n;
    memcpy(all, in, (size_t)inputs * sizeof *in);
    all[inputs] = dO;
    pal_apply(pal_rule_op(&back_ops, rule, "dO", make_back), &o, sizeof o, inputs + 1, all, 1, &n);
    return n;
}
