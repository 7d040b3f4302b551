/*
 * geometry.c - how the problem of a fused rule is divided, and where its data are.
 */
#include "layers/rules/fused/fused.h"

#include <string.h>

PAL_KERNEL_TABLES(pal_rule_table, rules);

const pal_rule_table *pal_rule_table_for(pal_dtype dtype) { return PAL_KERNEL_TABLE(rules, dtype); }

int64_t pal_fused_segment(const pal_fused *f, int64_t chunks)
{
    const int64_t whole = pal_round_up_count(chunks, f->opts->every);
    const int64_t most = (pal_sequence_longest(&f->seq) + f->tokens - 1) / f->tokens;
    const int64_t longest = most < 1 ? 1 : most;
    return whole < longest ? whole : longest;
}

int64_t pal_fused_wave(const pal_fused *f, int64_t units, int64_t chunks)
{
    if (units == 0 || units >= f->team) return 0;
    return pal_fused_segment(f, (chunks + units - 1) / units);
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
pal_group pal_fused_group(const pal_fused *f, int64_t members, int64_t side, int64_t i)
{
    int64_t groups = groups_of_sequence(f, members, side), first = i % groups * side * members;
    int64_t left = f->HV - first, count = side * members;
    return (pal_group){i / groups * f->HV + first, left < count ? left : count};
}

/* The axis of an operand with this letter; -1: it has none. */
static int axis_of(const pal_fused *f, int place, char letter)
{
    const char *axes = f->at[place] < 0 ? "" : pal_rule_input(f->opts->rule, f->at[place])->axes;
    const char *at = strchr(axes, letter);
    return at ? (int)(at - axes) : -1;
}

/* The axis of heads, whichever letter it has. */
static int head_axis(const pal_fused *f, int place)
{
    int axis = -1;
    for (const char *c = "HJE"; *c && axis < 0; c++) axis = axis_of(f, place, *c);
    return axis;
}

/* At most this number of rows in a chunk with several rows a token. */
enum { MOST_ROWS = 256 };

static pal_rule_shape shape_of(const pal_fused *f, const pal_array *q, const pal_array *v)
{
    const pal_fused_opts *o = f->opts;
    const int64_t pad = f->table->pad, K = q->shape[q->ndim - 1], V = v->shape[3];
    const int64_t ranks = axis_of(f, PAL_Q, 'R') < 0 ? 1 : q->shape[axis_of(f, PAL_Q, 'R')];
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
                            .channel_decay = pal_rule_channels(o->rule, PAL_G) == 'K',
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
    pal_fused f = {.call = call, .opts = o, .team = team};
    for (int place = 0; place < PAL_PLACES; place++)
        f.at[place] = pal_rule_at_place(o->rule, place);
    const pal_array *q = pal_fused_in(&f, PAL_Q), *v = pal_fused_in(&f, PAL_V);
    const pal_rule_table *table = pal_rule_table_for(q->dtype);
    f.table = table;
    f.rule = &table->rule[o->rule->kind];
    f.size = pal_dtype_size(q->dtype);
    f.HV = v->shape[2];
    for (int i = 0; i < PAL_HEAD_ARGS; i++) {
        const pal_array *x = pal_fused_in(&f, i);
        f.head_axis[i] = head_axis(&f, i);
        f.heads[i] = x && f.head_axis[i] >= 0 ? x->shape[f.head_axis[i]] : 1;
    }
    /* All heads add to the gradient of what is given once for all of them. */
    f.H = pal_fused_in(&f, PAL_OM) ? 1 : f.heads[PAL_Q];
    f.seq = pal_sequences_of(pal_fused_in(&f, PAL_IN_OFFSETS), v->shape[0], v->shape[1]);
    f.lanes = f.seq.count * f.HV;
    f.shape = shape_of(&f, q, v);
    f.tokens = f.shape.C / f.shape.ranks;
    for (int i = 0; i < PAL_HEAD_ARGS; i++) {
        const char by = pal_rule_channels(o->rule, i);
        f.channels[i] = by == 'K'   ? f.shape.K
                        : by == 'V' ? f.shape.V
                        : by == 'A' ? f.shape.angles
                                    : 1;
    }
    /* Forward scans lanes. Between two barriers the team prepares about four chunks for each
     * thread. */
    if (!o->recurrent) f.wave = pal_fused_wave(&f, f.lanes, 4 * team);
    if (o->records && call->saved && call->nsaved > 1) f.angles = call->saved[1].data;
    return f;
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
    int64_t sequence = lane / f->HV, first = first_kept(f, sequence);
    int64_t each = first_kept(f, sequence + 1) - first;
    int64_t i = first * f->HV + lane % f->HV * each + chunk / f->opts->every;
    return (char *)f->call->saved[0].data + (size_t)i * pal_fused_state_bytes(f);
}

pal_rows pal_fused_out_rows(const pal_fused *f, const pal_array *x, int64_t lane)
{
    if (!x) return (pal_rows){NULL, 0, 0};
    const int64_t n = lane / f->HV, first = pal_sequence_first(&f->seq, n) * f->shape.ranks;
    return pal_rows_at(x, pal_sequence_batch(&f->seq, n), first, lane % f->HV);
}

pal_rows pal_fused_operand_rows(const pal_fused *f, int place, const pal_array *x, int64_t lane)
{
    if (!x) return (pal_rows){NULL, 0, 0};
    const int64_t n = lane / f->HV;
    const int axis = f->head_axis[place];
    int64_t at = pal_sequence_batch(&f->seq, n) * x->stride[0] +
                 pal_sequence_first(&f->seq, n) * x->stride[1];
    if (axis >= 0) at += lane % f->HV / (f->HV / f->heads[place]) * x->stride[axis];
    return (pal_rows){(char *)x->data + at * (int64_t)f->size, x->stride[1],
                      axis + 1 == x->ndim ? 1 : x->stride[x->ndim - 1]};
}

pal_rows pal_fused_state_rows(const pal_fused *f, const pal_array *x, int64_t lane)
{
    if (!x) return (pal_rows){NULL, 0, 0};
    int64_t at = lane / f->HV * x->stride[0] + lane % f->HV * x->stride[1];
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
    const int64_t sequence = lane / f->HV, first = first_place(f, sequence);
    const int64_t each = first_place(f, sequence + 1) - first;
    return f->angles + (first * f->HV + lane % f->HV * each) * f->shape.angles;
}

pal_rows pal_fused_part_rows(const pal_fused *f, const pal_array *x, int64_t lane)
{
    if (!x) return (pal_rows){NULL, 0, 0};
    const int64_t at = lane / f->HV * x->stride[0] + lane % f->HV * x->stride[1];
    return (pal_rows){(char *)x->data + at * (int64_t)f->size, x->ndim > 3 ? x->stride[2] : 0,
                      x->stride[x->ndim - 1]};
}

/* Rows of a head in x [HV,R,channels]. */
static pal_rows gain_rows(const pal_fused *f, const pal_array *x, int64_t lane)
{
    if (!x) return (pal_rows){NULL, 0, 0};
    return (pal_rows){(char *)x->data + lane % f->HV * x->stride[0] * (int64_t)f->size,
                      x->stride[1], x->stride[2]};
}

/* What a head of Mamba-3 has beside its operands by token. */
static void add_ends(const pal_fused *f, int64_t lane, pal_head *h)
{
    h->length = pal_fused_length(f, lane / f->HV);
    h->rank[PAL_Q] = pal_fused_in(f, PAL_Q)->stride[2];
    h->rank[PAL_K] = pal_fused_in(f, PAL_K)->stride[2];
    h->bias[PAL_Q] = gain_rows(f, pal_fused_in(f, PAL_IN_C_BIAS), lane);
    h->bias[PAL_K] = gain_rows(f, pal_fused_in(f, PAL_IN_B_BIAS), lane);
    h->mimo_x = gain_rows(f, pal_fused_in(f, PAL_IN_MIMO_X), lane);
    h->first_angles = pal_fused_part_rows(f, pal_fused_in(f, PAL_IN_STATE + PAL_ANGLES), lane);
    h->last_k = pal_fused_part_rows(f, pal_fused_in(f, PAL_IN_STATE + PAL_LAST_K), lane);
    h->last_x = pal_fused_part_rows(f, pal_fused_in(f, PAL_IN_STATE + PAL_LAST_X), lane);
    if (f->angles) h->angle = pal_fused_lane_angles(f, lane);
}

/* ---- Heads ---- */

/* Element i of a vector of f32 or f64. */
static double number(const pal_array *x, int64_t i) { return pal_array_get(x, &i); }

pal_head pal_fused_head(const pal_fused *f, int64_t lane)
{
    pal_head h = {.A_log = 0};
    const pal_array *A = pal_fused_in(f, PAL_IN_A), *D = pal_fused_in(f, PAL_IN_D);
    const int64_t head = lane % f->HV;
    for (int i = 0; i < PAL_HEAD_ARGS; i++)
        h.in[i] = pal_fused_operand_rows(f, i, pal_fused_in(f, i), lane);
    if (A) h.A = number(A, head);
    if (D) h.D = number(D, head);
    if (f->opts->activate) {
        const int64_t gate = head / (f->HV / pal_fused_in(f, PAL_G)->shape[2]);
        const int64_t width = f->shape.channel_decay ? f->shape.K : 1;
        h.A_log = number(pal_fused_in(f, PAL_IN_A_LOG), gate);
        h.dt_bias =
            (char *)pal_fused_in(f, PAL_IN_DT_BIAS)->data + (size_t)(gate * width) * f->size;
    }
    if (f->shape.trapezoid) add_ends(f, lane, &h);
    return h;
}

void pal_fused_ahead_head(const pal_fused *f, pal_ahead *a, const pal_rows x[PAL_HEAD_ARGS],
                          int64_t t)
{
    for (int i = 0; i < PAL_HEAD_ARGS; i++) pal_fused_ahead(f, a, x[i], t, f->channels[i]);
}

/* ---- Memory ---- */

pal_chunk pal_carve_chunk(pal_carver *c, const pal_fused *f)
{
    const pal_rule_shape *s = &f->shape;
    size_t rows = (size_t)(s->C * s->Kp) * f->size, square = (size_t)(s->C * s->C) * f->size;
    size_t line = (size_t)s->C * f->size;
    pal_chunk x = {.q = pal_carve(c, rows), .k = pal_carve(c, rows), .Qg = pal_carve(c, rows)};
    x.Kt = pal_carve(c, rows);
    if (s->erase) x.e = pal_carve(c, rows), x.En = pal_carve(c, rows);
    x.alpha = pal_carve(c, s->channel_decay ? rows : line);
    x.p = pal_carve(c, square + line);
    x.A = pal_carve(c, square);
    if (s->erase || s->trapezoid) x.T = pal_carve(c, square);
    if (s->erase) x.inverse = pal_carve(c, square);
    if (s->trapezoid) {
        x.turn = pal_carve(c, (size_t)(f->tokens * 2 * s->Ap) * f->size);
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
