/*
 * geometry.c - how the problem of a fused rule is divided, and where its data are.
 */
#include "layers/rules/fused/fused.h"

#include <string.h>

PAL_KERNEL_TABLES(pal_rule_table, rules);

const pal_rule_table *pal_rule_table_for(pal_dtype dtype) { return PAL_KERNEL_TABLE(rules, dtype); }

int64_t pal_fused_whole_chunks(const pal_fused *f, int64_t chunks)
{
    const int64_t whole = pal_round_up_count(chunks, f->opts->every);
    const int64_t most = (pal_sequence_longest(&f->seq) + f->tokens - 1) / f->tokens;
    const int64_t longest = most < 1 ? 1 : most;
    return whole < longest ? whole : longest;
}

int64_t pal_fused_wave(const pal_fused *f, int64_t units, int64_t chunks)
{
    if (units == 0 || units >= f->team) return 0;
    return pal_fused_whole_chunks(f, (chunks + units - 1) / units);
}

/* Measured: 8 states of 128 x 128 side by side are 13% faster than one, and still fit a
 * second-level cache of this size. */
enum { SIDE_BYTES = 1 << 19 };

int64_t pal_fused_side(const pal_fused *f, int64_t members)
{
    int64_t families = f->HV / members, bytes = (int64_t)pal_fused_state_bytes(f) * members;
    int64_t each = (f->seq.count * families + f->team - 1) / f->team;
    int64_t most =
        PAL_SIDE / members < SIDE_BYTES / bytes ? PAL_SIDE / members : SIDE_BYTES / bytes;
    if (most > families) most = families;
    if (most < 1 || each < 1) return 1;
    int64_t parts = (each + most - 1) / most; /* a thread's share is cut into parts of equal size */
    return (each + parts - 1) / parts;
}

static int64_t groups_of_sequence(const pal_fused *f, int64_t members, int64_t side)
{
    return (f->HV / members + side - 1) / side;
}
int64_t pal_fused_groups(const pal_fused *f, int64_t members, int64_t side)
{
    return f->seq.count * groups_of_sequence(f, members, side);
}
pal_lanes pal_fused_group(const pal_fused *f, int64_t members, int64_t side, int64_t i)
{
    int64_t groups = groups_of_sequence(f, members, side), first = i % groups * side * members;
    int64_t left = f->HV - first, count = side * members;
    return (pal_lanes){i / groups * f->HV + first, left < count ? left : count};
}

/* What the letters of an operand say, for a value by token; decoding does this for each token, so
 * they are read once. */
typedef struct letters {
    int heads, ranks; /* axes; -1: there is none */
    char channels;    /* K, V or A; 0: it has one number per head, or there is no such operand */
} letters;

static letters letters_of(const char *axes)
{
    letters l = {-1, -1, 0};
    for (int i = 0; axes[i]; i++) {
        const char c = axes[i];
        if (c == 'H' || c == 'J' || c == 'E') l.heads = i;
        if (c == 'R') l.ranks = i;
        l.channels = c == 'K' || c == 'V' || c == 'A' ? c : 0;
    }
    return l;
}

/* Finds the inputs of the rule. */
static void find_inputs(pal_fused *f, letters by_token[PAL_HEAD_ARGS])
{
    const pal_rule *rule = f->opts->rule;
    const int inputs = pal_rule_inputs(rule), operands = pal_rule_operands(rule);
    for (int place = 0; place < PAL_PLACES; place++) f->at[place] = -1;
    for (int i = 0; i < PAL_HEAD_ARGS; i++) by_token[i] = letters_of("");
    for (int i = 0; i < inputs; i++) {
        const pal_operand *x = i < operands ? &rule->operand[i] : pal_rule_input(rule, i);
        f->at[x->place] = i;
        if (x->place < PAL_HEAD_ARGS) by_token[x->place] = letters_of(x->axes);
    }
}

/* At most this number of rows in a chunk with several rows a token. */
enum { MOST_ROWS = 256 };

static pal_rule_shape shape_of(const pal_fused *f, const letters by_token[PAL_HEAD_ARGS],
                               const pal_array *q, const pal_array *v)
{
    const pal_fused_opts *o = f->opts;
    const int64_t pad = f->table->pad, K = q->shape[q->ndim - 1], V = v->shape[3];
    const int64_t ranks = by_token[PAL_Q].ranks < 0 ? 1 : q->shape[by_token[PAL_Q].ranks];
    const pal_array *om = pal_fused_in(f, PAL_OM);
    const int64_t angles = om ? om->shape[2] : 0;
    int64_t tokens = ranks > 1 && o->C > MOST_ROWS / ranks ? MOST_ROWS / ranks : o->C;
    /* A few tokens need no room for a chunk, unless backward counts in chunks. */
    if (o->recurrent && !o->records && f->seq.T < tokens) tokens = f->seq.T > 1 ? f->seq.T : 1;
    return (pal_rule_shape){.C = tokens * ranks,
                            .K = K,
                            .V = V,
                            .ranks = ranks,
                            .Kp = pal_round_up_count(K, pad),
                            .Vp = pal_round_up_count(V, pad),
                            .Cp = pal_round_up_count(tokens * ranks, pad),
                            .scale = o->scale,
                            .erase = o->rule->erases,
                            .decay = pal_fused_in(f, PAL_G) != NULL,
                            .channel_decay = by_token[PAL_G].channels == 'K',
                            .normalize = o->normalize,
                            .activate = o->activate,
                            .lower_bound = o->lower_bound,
                            .trapezoid = pal_fused_in(f, PAL_LAM) != NULL,
                            .angles = angles,
                            .Ap = pal_round_up_count(angles > 0 ? angles : 1, pad),
                            .half = o->pair == PAL_PAIR_HALF};
}

pal_fused pal_fused_of(const pal_call *call, int team)
{
    const pal_fused_opts *o = call->opts;
    pal_fused f = {.call = call, .opts = o};
    letters by_token[PAL_HEAD_ARGS];
    find_inputs(&f, by_token);
    const pal_array *q = pal_fused_in(&f, PAL_Q), *v = pal_fused_in(&f, PAL_V);
    const pal_rule_table *table = pal_rule_table_for(q->dtype);
    f.table = table;
    f.rule = &table->rule[o->rule->kind];
    f.size = pal_dtype_size(q->dtype);
    f.HV = v->shape[2];
    for (int i = 0; i < PAL_HEAD_ARGS; i++) {
        const pal_array *x = pal_fused_in(&f, i);
        f.head_axis[i] = by_token[i].heads;
        f.heads[i] = x && f.head_axis[i] >= 0 ? x->shape[f.head_axis[i]] : 1;
        f.sharers[i] = f.HV / f.heads[i];
    }
    f.seq = pal_sequences_of(pal_fused_in(&f, PAL_IN_OFFSETS), v->shape[0], v->shape[1]);
    f.lanes = f.seq.count * f.HV;
    f.shape = shape_of(&f, by_token, q, v);
    f.tokens = f.shape.C / f.shape.ranks;
    f.members = pal_fused_members(&f);
    for (int i = 0; i < PAL_HEAD_ARGS; i++) {
        const char by = by_token[i].channels;
        f.channels[i] = by == 'K'   ? f.shape.K
                        : by == 'V' ? f.shape.V
                        : by == 'A' ? f.shape.angles
                                    : 1;
    }
    if (o->records && call->saved && call->nsaved > 1) f.angles = call->saved[1].data;
    pal_fused_use_team(&f, team);
    return f;
}

void pal_fused_use_team(pal_fused *f, int team)
{
    f->team = team;
    /* Forward scans lanes. Between two barriers the team prepares about four chunks for each
     * thread. */
    f->wave = f->opts->recurrent ? 0 : pal_fused_wave(f, f->lanes, 4 * team);
}

/* ---- Where things are ---- */

/* Where the kept states of a sequence begin, for one head. The blocks of tokens between kept states
 * are numbered over all sequences. */
static int64_t first_kept(const pal_fused *f, int64_t sequence)
{
    return pal_first_block(&f->seq, sequence, f->seq.T, f->tokens * f->opts->every);
}

int64_t pal_fused_kept(const pal_fused *f) { return first_kept(f, f->seq.count) * f->HV; }

void *pal_fused_state(const pal_fused *f, int64_t lane, int64_t chunk)
{
    int64_t sequence = pal_fused_sequence(f, lane), first = first_kept(f, sequence);
    int64_t each = first_kept(f, sequence + 1) - first;
    int64_t i = first * f->HV + pal_fused_value_head(f, lane) * each + chunk / f->opts->every;
    return (char *)f->call->saved[0].data + (size_t)i * pal_fused_state_bytes(f);
}

pal_rows pal_fused_out_rows(const pal_fused *f, const pal_array *x, int64_t lane)
{
    if (!x) return (pal_rows){NULL, 0, 0};
    const int64_t n = pal_fused_sequence(f, lane),
                  first = pal_sequence_first(&f->seq, n) * f->shape.ranks;
    return pal_rows_at(x, pal_sequence_batch(&f->seq, n), first, pal_fused_value_head(f, lane));
}

/* Of head `head` of sequence n. */
static pal_rows operand_rows(const pal_fused *f, int place, const pal_array *x, int64_t n,
                             int64_t head)
{
    const int axis = f->head_axis[place];
    int64_t at = pal_sequence_batch(&f->seq, n) * x->stride[0] +
                 pal_sequence_first(&f->seq, n) * x->stride[1];
    const int64_t shared = f->sharers[place]; /* a division takes longer than all the rest */
    if (axis >= 0 && shared < f->HV) at += (shared == 1 ? head : head / shared) * x->stride[axis];
    return (pal_rows){(char *)x->data + at * (int64_t)f->size, x->stride[1],
                      axis + 1 == x->ndim ? 1 : x->stride[x->ndim - 1]};
}

pal_rows pal_fused_operand_rows(const pal_fused *f, int place, const pal_array *x, int64_t lane)
{
    return x ? operand_rows(f, place, x, pal_fused_sequence(f, lane), pal_fused_value_head(f, lane))
             : (pal_rows){NULL, 0, 0};
}

pal_rows pal_fused_state_rows(const pal_fused *f, const pal_array *x, int64_t lane)
{
    if (!x) return (pal_rows){NULL, 0, 0};
    int64_t at =
        pal_fused_sequence(f, lane) * x->stride[0] + pal_fused_value_head(f, lane) * x->stride[1];
    return (pal_rows){(char *)x->data + at * (int64_t)f->size, x->stride[2], x->stride[3]};
}

/* ---- Mamba-3 ---- */

/* A sequence of n chunks has n + 1 places or more. */
static int64_t first_place(const pal_fused *f, int64_t sequence)
{
    return pal_first_block(&f->seq, sequence, f->seq.T, f->tokens) + sequence;
}

int64_t pal_fused_angle_count(const pal_fused *f)
{
    return f->shape.trapezoid ? first_place(f, f->seq.count) * f->HV * f->shape.angles : 0;
}

double *pal_fused_lane_angles(const pal_fused *f, int64_t lane)
{
    const int64_t sequence = pal_fused_sequence(f, lane), first = first_place(f, sequence);
    const int64_t each = first_place(f, sequence + 1) - first;
    return f->angles + (first * f->HV + pal_fused_value_head(f, lane) * each) * f->shape.angles;
}

static pal_rows part_rows(const pal_fused *f, const pal_array *x, int64_t n, int64_t head)
{
    if (!x) return (pal_rows){NULL, 0, 0};
    const int64_t at = n * x->stride[0] + head * x->stride[1];
    return (pal_rows){(char *)x->data + at * (int64_t)f->size, x->ndim > 3 ? x->stride[2] : 0,
                      x->stride[x->ndim - 1]};
}

pal_rows pal_fused_part_rows(const pal_fused *f, const pal_array *x, int64_t lane)
{
    return part_rows(f, x, pal_fused_sequence(f, lane), pal_fused_value_head(f, lane));
}

/* Rows of a head in x [HV,R,channels]. */
static pal_rows gain_rows(const pal_fused *f, const pal_array *x, int64_t head)
{
    if (!x) return (pal_rows){NULL, 0, 0};
    return (pal_rows){(char *)x->data + head * x->stride[0] * (int64_t)f->size, x->stride[1],
                      x->stride[2]};
}

/* What a head of Mamba-3 has beside its operands by token. */
static void add_ends(const pal_fused *f, int64_t lane, int64_t n, int64_t head, pal_head *h)
{
    h->length = pal_fused_length(f, n);
    h->rank[PAL_Q] = pal_fused_in(f, PAL_Q)->stride[2];
    h->rank[PAL_K] = pal_fused_in(f, PAL_K)->stride[2];
    h->bias[PAL_Q] = gain_rows(f, pal_fused_in(f, PAL_IN_C_BIAS), head);
    h->bias[PAL_K] = gain_rows(f, pal_fused_in(f, PAL_IN_B_BIAS), head);
    h->mimo_x = gain_rows(f, pal_fused_in(f, PAL_IN_MIMO_X), head);
    h->first_angles = part_rows(f, pal_fused_in(f, PAL_IN_STATE + PAL_ANGLES), n, head);
    h->last_k = part_rows(f, pal_fused_in(f, PAL_IN_STATE + PAL_LAST_K), n, head);
    h->last_x = part_rows(f, pal_fused_in(f, PAL_IN_STATE + PAL_LAST_X), n, head);
    if (f->angles) h->angle = pal_fused_lane_angles(f, lane);
}

/* ---- Heads ---- */

/* Element i of a vector of f32 or f64. */
static double number(const pal_array *x, int64_t i) { return pal_array_get(x, &i); }

pal_head pal_fused_head(const pal_fused *f, int64_t lane)
{
    pal_head h = {.A_log = 0};
    const pal_array *A = pal_fused_in(f, PAL_IN_A), *D = pal_fused_in(f, PAL_IN_D);
    const int64_t n = pal_fused_sequence(f, lane), head = pal_fused_value_head(f, lane);
    for (int i = 0; i < PAL_HEAD_ARGS; i++)
        if (pal_fused_in(f, i)) h.in[i] = operand_rows(f, i, pal_fused_in(f, i), n, head);
    if (A) h.A = number(A, head);
    if (D) h.D = number(D, head);
    if (f->opts->activate) {
        const int64_t gate = head / (f->HV / pal_fused_in(f, PAL_G)->shape[2]);
        const int64_t width = f->shape.channel_decay ? f->shape.K : 1;
        h.A_log = number(pal_fused_in(f, PAL_IN_A_LOG), gate);
        h.dt_bias =
            (char *)pal_fused_in(f, PAL_IN_DT_BIAS)->data + (size_t)(gate * width) * f->size;
    }
    if (f->shape.trapezoid) add_ends(f, lane, n, head, &h);
    return h;
}

const pal_array *pal_fused_final(const pal_fused *f, int i)
{
    return f->opts->in_place ? pal_fused_in(f, PAL_IN_STATE + i) : f->call->out[1 + i];
}

pal_lane pal_lane_of(const pal_fused *f, int64_t lane)
{
    return (pal_lane){.head = pal_fused_head(f, lane),
                      .o = pal_fused_out_rows(f, f->call->out[0], lane),
                      .before = pal_fused_state_rows(f, pal_fused_in(f, PAL_IN_STATE), lane),
                      .after = pal_fused_state_rows(f, pal_fused_final(f, 0), lane)};
}

void pal_fused_ahead_head(const pal_fused *f, pal_prefetch *a, const pal_rows x[PAL_HEAD_ARGS],
                          int64_t t, int64_t first, int64_t lane)
{
    enum { LINE = 64 };
    for (int i = 0; i < PAL_HEAD_ARGS; i++) {
        /* Heads that share a row, or whose numbers are in one line. */
        int64_t together = f->sharers[i];
        if (f->channels[i] == 1) together *= LINE / (int64_t)f->size;
        if (lane == first || pal_fused_value_head(f, lane) % together == 0)
            pal_fused_ahead(f, a, x[i], t, f->channels[i]);
    }
}

void pal_fused_ahead_out(const pal_fused *f, pal_prefetch *a, pal_rows x, int64_t t)
{
    const int64_t m = f->shape.ranks;
    for (int64_t i = 0; i < m; i++) {
        pal_rows row = pal_rows_from(f, x, t * m + i);
        row.step *= m;
        pal_prefetch_add(a, row, f->shape.V, f->size);
    }
}

void pal_fused_ahead_state(const pal_fused *f, pal_prefetch *a, const void *state, int64_t i,
                           int64_t parts)
{
    const int64_t bytes = (int64_t)pal_fused_state_bytes(f) / parts, row = bytes / a->rows;
    const pal_rows rows = {(char *)state + i * bytes, row / (int64_t)f->size, 1};
    pal_prefetch_add(a, rows, rows.step, f->size);
}

/* ---- Memory ---- */

pal_chunk pal_carve_chunk(pal_carver *c, const pal_fused *f)
{
    const pal_rule_shape *s = &f->shape;
    size_t rows = (size_t)(s->C * s->Kp) * f->size, square = (size_t)(s->C * s->C) * f->size;
    size_t line = (size_t)s->C * f->size;
    pal_chunk x = {.q = pal_carve(c, rows), .k = pal_carve(c, rows)};
    x.Qg = s->trapezoid ? x.q : pal_carve(c, rows);
    x.Kt = s->trapezoid ? x.k : pal_carve(c, rows);
    if (s->erase) x.e = pal_carve(c, rows), x.En = pal_carve(c, rows);
    x.alpha = pal_carve(c, s->channel_decay ? rows : line);
    x.p = pal_carve(c, square + line);
    x.A = pal_carve(c, square);
    if (s->erase || s->trapezoid) x.T = pal_carve(c, square);
    if (s->erase) x.inverse = pal_carve(c, square);
    if (s->trapezoid) {
        x.from_q = pal_carve(c, line), x.from_k = pal_carve(c, line);
        x.turn = pal_carve(c, (size_t)(f->tokens * 4 * s->Ap) * f->size);
        x.weigh = pal_carve(c, 2 * line);
        x.before = pal_carve(c, (size_t)(s->ranks * (s->Kp + s->Vp)) * f->size);
    }
    x.Z = pal_carve(c, (size_t)(s->C * s->Vp) * f->size);
    x.gamma = pal_carve(c, (size_t)s->Kp * f->size);
    x.norm = pal_carve(c, 2 * line);
    return x;
}

pal_chunk_back pal_carve_back(pal_carver *c, const pal_fused *f)
{
    const pal_rule_shape *s = &f->shape;
    size_t rows = (size_t)(s->C * s->Kp) * f->size, square = (size_t)(s->C * s->C) * f->size;
    size_t turned = (size_t)(s->Cp * s->Vp) * f->size;
    pal_chunk_back x = {.wide = pal_carve(c, (size_t)(s->Kp * s->Cp) * f->size)};
    x.turned[0] = pal_carve(c, turned), x.turned[2] = pal_carve(c, turned);
    x.dq = pal_carve(c, rows), x.dk = pal_carve(c, rows);
    x.dA = pal_carve(c, square);
    if (s->erase) {
        x.turned[1] = pal_carve(c, turned);
        x.de = pal_carve(c, rows);
        x.dT = pal_carve(c, square);
    }
    x.dg = pal_carve(c, rows), x.x = pal_carve(c, rows);
    if (!s->channel_decay) return x;
    x.kappa = pal_carve(c, rows), x.kk = pal_carve(c, rows);
    return x;
}
