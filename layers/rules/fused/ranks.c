/*
 * ranks.c - a rule on sequences that several ranks share: the state comes from earlier ranks, and
 * the gradient of the state comes from later ranks.
 *
 * The part of rank r is a map of the state (map.c), and maps compose:
 *
 *     S_out = M_r S_in + N_r        (M2, N2) o (M1, N1) = (M2 M1, M2 N1 + N2)
 *
 * The map into each part is the composition of all maps before it. It is found by recursive
 * doubling in ceil(log2 P) rounds. With its initial state each rank then runs the ordinary rule.
 *
 * In backward the maps are transposed, dS_in = M_r^T dS_out + n_r, and composed in the same way,
 * from the last rank to the first. Each rank's rule then runs backward from the dS_out that it
 * gets.
 *
 * If a sequence begins in a part, no earlier state goes on, so its map is only N. Such a map is
 * closed: its M may have to be sent, but nobody reads it. So no number of an earlier sequence gets
 * in, not even NaN.
 */
#include "autograd/ops/shape.h"
#include "layers/rules/fused/fused.h"

#include <string.h>

/* ---- Maps, and what is composed of all that come before ---- */

typedef struct carry {
    int64_t *closed; /* the beginning of a message of `bytes` bytes; N follows, then M */
    pal_array N, M;  /* [S,HV,K,V], [S,HV,K,K] */
    size_t bytes;
} carry;

/* N has the shape of `state`, with this number of sequences. base may be NULL. */
static carry carve_carry(pal_carver *c, const pal_array *state, int64_t sequences)
{
    const int64_t *n = state->shape;
    const pal_shape N = PAL_SHAPE(sequences, n[1], n[2], n[3]);
    const pal_shape M = PAL_SHAPE(sequences, n[1], n[2], n[2]);
    const size_t wide = pal_shape_bytes(state->dtype, N), square = pal_shape_bytes(state->dtype, M);
    carry x = {.bytes = sizeof(int64_t) + wide + square};
    char *at = pal_carve(c, x.bytes);
    x.closed = (int64_t *)(void *)at;
    x.N = pal_array_of(state->dtype, N, at ? at + sizeof(int64_t) : NULL);
    x.M = pal_array_of(state->dtype, M, at ? at + sizeof(int64_t) + wide : NULL);
    return x;
}

/* Memory of one composition: this rank's own map, and room for three more. */
typedef struct carries {
    carry own, spare[3];
} carries;

static carries carve_carries(pal_carver *c, const pal_array *state, int64_t sequences)
{
    carries x = {.own = carve_carry(c, state, sequences)};
    for (int i = 0; i < 3; i++) x.spare[i] = carve_carry(c, state, sequences);
    return x;
}

static void copy(const pal_array *to, const pal_array *from)
{
    pal_status same_shape = pal_array_copy(to, from, NULL);
    (void)same_shape; /* cannot fail */
}

/* *out = second o first. */
static void compose(const carry *second, const carry *first, carry *out)
{
    *out->closed = *second->closed || *first->closed;
    copy(&out->N, &second->N);
    if (!*second->closed) pal_matmul_arrays(1, &second->M, &first->N, 1, &out->N);
    if (!*out->closed) pal_matmul_arrays(1, &second->M, &first->M, 0, &out->M);
}

static void swap(carry **a, carry **b)
{
    carry *x = *a;
    *a = *b, *b = x;
}

/*
 * Returns the composition of the maps of all earlier ranks. With `back` it is that of all later
 * ranks, from the last one on. NULL: there are none. Before the round of distance d, `before` is
 * the composition of the d - 1 nearest ranks.
 */
static const carry *compose_before(const pal_comm *c, bool back, carries *x)
{
    const int rank = back ? c->size - 1 - c->rank : c->rank;
    carry *before = &x->spare[0], *sent = &x->spare[1], *received = &x->spare[2];
    bool any = false;
    for (int d = 1; d < c->size; d *= 2) {
        const int to = rank + d, from = rank - d;
        const bool sends = to < c->size, receives = from >= 0;
        const carry *own = &x->own;
        if (sends && any && !*own->closed) {
            compose(own, before, sent);
            own = sent;
        }
        c->exchange(c,
                    !sends ? -1
                    : back ? c->size - 1 - to
                           : to,
                    own->closed, own->bytes,
                    !receives ? -1
                    : back    ? c->size - 1 - from
                              : from,
                    received->closed, received->bytes);
        if (receives && !any) {
            swap(&before, &received);
            any = true;
        } else if (receives && !*before->closed) {
            compose(before, received, sent);
            swap(&before, &sent);
        }
    }
    return any ? before : NULL;
}

/* Sequences first .. first + count - 1 of x [S,..]. */
static pal_array sequences_of(const pal_array *x, int64_t first, int64_t count)
{
    pal_array part = *x;
    part.shape[0] = count;
    part.data = (char *)x->data + first * x->stride[0] * (int64_t)pal_dtype_size(x->dtype);
    return part;
}

/* ---- Before the rule: the state that comes in ---- */

typedef struct before_opts {
    pal_part part;
    pal_shape shape; /* of all states */
    int64_t count;   /* sequences that go on: all of a batch, or one packed piece */
} before_opts;
/* Inputs: the given states; M and N of what goes on to the next rank, as far as they are needed;
 * one operand of the rule, for its dtype. */
enum { GIVEN, MAP, WRITTEN, OPERAND, BEFORE_INPUTS };

static carries before_carries(pal_carver *c, const pal_call *call)
{
    const before_opts *o = call->opts;
    const pal_array state = pal_array_of(call->in[OPERAND]->dtype, o->shape, NULL);
    return carve_carries(c, &state, o->count);
}

static pal_status before_infer(pal_call *call)
{
    const before_opts *o = call->opts;
    pal_carver c = {NULL, 0};
    before_carries(&c, call);
    pal_status status = pal_call_out(call, 0, call->in[OPERAND]->dtype, o->shape);
    return status == PAL_OK ? pal_call_scratch(call, c.used, 0) : status;
}

/* This rank's map; the last rank sends none. */
static void own_map(const pal_call *call, carry *own)
{
    *own->closed = call->in[MAP] == NULL;
    if (call->in[WRITTEN]) copy(&own->N, call->in[WRITTEN]);
    if (call->in[MAP])
        copy(&own->M, call->in[MAP]);
    else
        pal_array_fill(&own->M, 0);
}

static void before_forward(const pal_call *call)
{
    const before_opts *o = call->opts;
    const pal_array *given = call->in[GIVEN], *state = call->out[0];
    pal_carver c = {call->scratch, 0};
    carries x = before_carries(&c, call);
    own_map(call, &x.own);
    const carry *before = compose_before(o->part.comm, false, &x);
    if (given)
        copy(state, given);
    else
        pal_array_fill(state, 0);
    if (!o->part.continued) return;
    const pal_array first = sequences_of(state, 0, o->count);
    copy(&first, &before->N);
}

/* The gradient of a state that came from another rank has already gone there (after_backward), so
 * it is skipped here. */
static void before_backward(const pal_call *call)
{
    const before_opts *o = call->opts;
    const pal_array *d = call->din[GIVEN], *g = call->dout[0];
    const int64_t skipped = o->part.continued ? o->count : 0;
    if (!d) return;
    const pal_array to = sequences_of(d, skipped, d->shape[0] - skipped);
    const pal_array from = sequences_of(g, skipped, g->shape[0] - skipped);
    pal_array_add(&to, &from);
}

static const pal_op before_op = {.name = "state_before",
                                 .args = "state M N operand",
                                 .infer = before_infer,
                                 .forward = before_forward,
                                 .backward = before_backward,
                                 .unread_in = 15,
                                 .unread_out = 1};

/* The inputs of the rule for tokens from .. to - 1 and this state, as constants. */
static void piece_of(const pal_rule *rule, const pal_tensor in[PAL_RULE_INPUTS], int64_t from,
                     int64_t to, pal_tensor state, pal_tensor out[PAL_RULE_INPUTS])
{
    for (int i = 0; i < pal_rule_inputs(rule); i++) {
        const int place = pal_rule_input(rule, i)->place;
        out[i] = place == PAL_IN_STATE ? state : place == PAL_IN_OFFSETS ? PAL_NONE : in[i];
        if (place < PAL_HEAD_ARGS && !pal_is_none(out[i]))
            out[i] = pal_slice(out[i], 1, from, to, 1);
        if (!pal_is_none(out[i])) out[i] = pal_detach(out[i]);
    }
}

/*
 * The map of the last sequence (not packed: of every sequence), for later ranks. If the sequence
 * begins here, it is only N, computed from the initial state; otherwise M and N.
 */
static void map_of_last(const pal_rule_parts *p, const pal_scan *s, const pal_rule *rule,
                        const pal_tensor in[PAL_RULE_INPUTS], const pal_rule_opts *opts,
                        pal_tensor *M, pal_tensor *N)
{
    const pal_comm *c = p->part.comm;
    const int64_t pieces = s->sequences, from = s->offsets ? s->offsets[pieces - 1] : 0;
    pal_tensor last[PAL_RULE_INPUTS], state = PAL_NONE;
    if (c->rank == c->size - 1) return;
    if (!p->part.through && !pal_is_none(s->state[0]))
        state = s->offsets ? pal_slice(s->state[0], 0, pieces - 1, pieces, 1) : s->state[0];
    piece_of(rule, in, from, s->T, state, last);
    pal_rule_map(rule, last, *opts, p->part.through ? M : NULL, N);
}

bool pal_rule_parts_begin(pal_rule_parts *p, pal_scan *s, const pal_rule *rule,
                          pal_tensor in[PAL_RULE_INPUTS], const pal_rule_opts *opts)
{
    *p = (pal_rule_parts){
        .part = pal_part_of(opts->parts, opts->continued, s->offsets ? s->sequences : 0)};
    if (pal_shape_count(s->shape[0]) == 0) p->part.comm = NULL;
    if (!p->part.comm) return true;
    if (pal_scan_too_wide(s))
        return pal_frame_fail(
            s->frame, PAL_ESHAPE, "heads are %lld x %lld; sequences over processes take up to %d",
            (long long)s->shape[0].dim[2], (long long)s->shape[0].dim[3], PAL_FUSED_WIDTH);
    p->opts = pal_fused_options(rule, in, opts);
    p->first = s->offsets ? s->offsets[1] : s->T;
    piece_of(rule, in, 0, p->first, PAL_NONE, p->piece);
    pal_tensor x[BEFORE_INPUTS] = {
        [GIVEN] = s->state[0], [OPERAND] = p->piece[pal_rule_at_place(rule, PAL_V)]};
    map_of_last(p, s, rule, in, opts, &x[MAP], &x[WRITTEN]);
    p->map = x[MAP];
    const before_opts o = {p->part, s->shape[0], s->offsets ? 1 : s->shape[0].dim[0]};
    pal_apply(&before_op, &o, sizeof o, BEFORE_INPUTS, x, 1, s->state);
    in[pal_rule_at_place(rule, PAL_IN_STATE)] = s->state[0];
    return pal_tape_status(s->frame->tape) == PAL_OK;
}

/* ---- After the rule: the gradient of the state that comes from later ranks ---- */

/* The first member makes the call one that pal_fused_of takes. */
typedef struct after_opts {
    pal_fused_opts fused;
    pal_part part;
    int64_t first;
} after_opts;
/* Inputs: those of the rule for the first sequence, with the rule's final state in place of a
 * state; then its output, and the map. */
typedef struct after_inputs {
    int final, output, map, count;
} after_inputs;

static after_inputs after_of(const pal_rule *rule)
{
    const int n = pal_rule_inputs(rule);
    return (after_inputs){pal_rule_at_place(rule, PAL_IN_STATE), n, n + 1, n + 2};
}
static after_inputs inputs_of(const pal_call *call)
{
    return after_of(((const after_opts *)call->opts)->fused.rule);
}

/* All of a batch, or one packed piece. */
static int64_t sequences_after(const pal_call *call)
{
    const pal_rule *rule = ((const after_opts *)call->opts)->fused.rule;
    return call->in[pal_rule_at_place(rule, PAL_Q)]->shape[0];
}

static pal_status after_infer(pal_call *call)
{
    const after_inputs x = inputs_of(call);
    const pal_array *o = call->in[x.output], *S = call->in[x.final];
    const pal_fused f = pal_fused_of(call, 1);
    const int64_t work = f.lanes * (1 + 10 * f.seq.T) * f.shape.K * f.shape.V;
    pal_carver c = {NULL, 0};
    carve_carries(&c, S, sequences_after(call));
    pal_carve(&c, f.size);
    pal_call_work(call, work);
    pal_status status = pal_call_out(call, 0, o->dtype, pal_array_shape(o));
    if (status == PAL_OK) status = pal_call_out(call, 1, S->dtype, pal_array_shape(S));
    if (status != PAL_OK) return status;
    const size_t each = pal_rule_map_back_bytes(&f);
    return pal_call_scratch(call, 0, c.used + (size_t)pal_team(work) * each);
}

static void after_forward(const pal_call *call)
{
    const after_inputs x = inputs_of(call);
    copy(call->out[0], call->in[x.output]);
    copy(call->out[1], call->in[x.final]);
}

/* n of the first sequence, plus M^T times the gradient that reached its final state here. Together
 * with what comes from later ranks, this is what goes to earlier ranks. */
static void own_gradient(const pal_call *call, void *zero, void *scratch, const pal_array *n)
{
    const after_opts *o = call->opts;
    const after_inputs x = inputs_of(call);
    const pal_array *in[PAL_RULE_INPUTS + 1];
    pal_array dO, dS, out = *n;
    memcpy(in, call->in, (size_t)x.map * sizeof *in);
    if (call->dout[0]) {
        dO = *call->dout[0];
    } else {
        dO = *call->in[x.output];
        memset(dO.stride, 0, sizeof dO.stride);
        memset(dO.data = zero, 0, pal_dtype_size(dO.dtype));
    }
    dO.shape[1] = o->first;
    in[x.output] = &dO, in[x.final] = NULL;
    if (call->dout[1]) {
        dS = sequences_of(call->dout[1], 0, sequences_after(call));
        in[x.final] = &dS;
    }
    const pal_call back = {.op = call->op,
                           .opts = &o->fused,
                           .nin = x.map,
                           .nout = 1,
                           .in = in,
                           .out = (pal_array *[]){&out},
                           .scratch = scratch,
                           .team = call->team};
    pal_rule_map_back_forward(&back);
}

/* This rank's M^T. If the sequence begins or ends here, no gradient goes through, and the map is
 * closed. */
static void own_transpose(const pal_array *map, carry *own)
{
    *own->closed = map == NULL;
    if (map) {
        pal_array M = *map;
        M.stride[2] = map->stride[3], M.stride[3] = map->stride[2];
        copy(&own->M, &M);
    } else {
        pal_array_fill(&own->M, 0);
    }
}

static void after_backward(const pal_call *call)
{
    const after_opts *o = call->opts;
    const after_inputs at = inputs_of(call);
    const int64_t n = sequences_after(call);
    pal_carver c = {call->scratch, 0};
    carries x = carve_carries(&c, call->in[at.final], n);
    void *zero = pal_carve(&c, pal_dtype_size(call->in[at.final]->dtype));
    pal_array_fill(&x.own.N, 0);
    if (o->part.continued) own_gradient(call, zero, (char *)call->scratch + c.used, &x.own.N);
    own_transpose(call->in[at.map], &x.own);
    const carry *behind = compose_before(o->part.comm, true, &x);
    if (call->dout[0]) pal_give_gradient(call, at.output, call->dout[0]);
    pal_array *d = call->din[at.final];
    if (!d) return;
    if (call->dout[1]) pal_array_add(d, call->dout[1]);
    const pal_array last = sequences_of(d, d->shape[0] - n, n);
    if (behind) pal_array_add(&last, &behind->N);
}

static pal_rule_ops after_ops;

static void make_after(const pal_rule *rule, pal_op *op)
{
    const after_inputs x = after_of(rule);
    *op = (pal_op){.name = "state_after",
                   .infer = after_infer,
                   .forward = after_forward,
                   .backward = after_backward,
                   .unread_in = 1u << x.final | 1u << x.output,
                   .unread_out = 3,
                   .overwrites = 1u << x.output};
}

pal_rule_out pal_rule_parts_end(const pal_rule_parts *p, pal_rule_out out)
{
    if (!p->part.comm) return out;
    const pal_rule *rule = p->opts.rule;
    const after_opts o = {p->opts, p->part, p->first};
    const after_inputs x = after_of(rule);
    pal_tensor in[PAL_RULE_INPUTS + 2], result[2];
    if (!pal_tape_of(out.o.node)->grad || !out.o.node->needs_grad) return out;
    memcpy(in, p->piece, sizeof p->piece);
    in[x.final] = out.state, in[x.output] = out.o, in[x.map] = p->map;
    pal_apply(pal_rule_op(&after_ops, rule, "o M", make_after), &o, sizeof o, x.count, in, 2,
              result);
    return (pal_rule_out){result[0], result[1], {PAL_NONE}};
}
