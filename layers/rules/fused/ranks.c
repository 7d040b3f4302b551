/*
 * ranks.c - a rule on sequences that several ranks share: the state comes from earlier ranks, and
 * the gradient of the state comes from later ranks.
 *
 * The part of rank r is a map of the matrix (map.c), and maps compose:
 *
 *     S_out = M_r S_in + N_r        (M2, N2) o (M1, N1) = (M2 M1, M2 N1 + N2)
 *
 * The map into each part is the composition of all maps before it. It is found by recursive
 * doubling in ceil(log2 P) rounds. With its initial state each rank then runs the ordinary rule.
 *
 * Other parts of a state come first, because the map depends on them. The rule brings them itself
 * (pal_rule.bring) by operations with gradients of their own.
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

/* N has the shape of the matrix, [S,HV,K,V]. M is [S,HV,K,K], or [S,HV,1,1] if the map is a number
 * (pal_rule_map); then products take the matrix as a row, [S,HV,1,K V]. */
typedef struct map_form {
    pal_dtype dtype;
    pal_shape N, M, product;
} map_form;

/* The maps of so many sequences, for a matrix of this shape. */
static map_form form_of(const pal_rule *rule, pal_dtype dtype, pal_shape matrix, int64_t sequences)
{
    const int64_t *n = matrix.dim;
    map_form f = {.dtype = dtype, .N = PAL_SHAPE(sequences, n[1], n[2], n[3])};
    const bool number = pal_rule_map_is_number(rule);
    f.M = PAL_SHAPE(sequences, n[1], number ? 1 : n[2], number ? 1 : n[2]);
    f.product = number ? PAL_SHAPE(sequences, n[1], 1, n[2] * n[3]) : f.N;
    return f;
}

/* A message: whether the map is closed, N, M. */
typedef struct carry {
    int64_t *closed;
    pal_array N, M;
} carry;

static size_t carry_bytes(const map_form *f)
{
    return sizeof(int64_t) + pal_shape_bytes(f->dtype, f->N) + pal_shape_bytes(f->dtype, f->M);
}

static carry carry_at(const map_form *f, void *message)
{
    char *N = (char *)message + sizeof(int64_t), *M = N + pal_shape_bytes(f->dtype, f->N);
    return (carry){message, pal_array_of(f->dtype, f->N, N), pal_array_of(f->dtype, f->M, M)};
}

static void copy(const pal_array *to, const pal_array *from)
{
    pal_status same_shape = pal_array_copy(to, from, NULL);
    (void)same_shape; /* cannot fail */
}

/* *out = second o first. The M of a closed map is not read. */
static void compose(const void *user, void *second, void *first, void *out)
{
    const map_form *f = user;
    const carry b = carry_at(f, second), a = carry_at(f, first), c = carry_at(f, out);
    *c.closed = *b.closed || *a.closed;
    copy(&c.N, &b.N);
    copy(&c.M, &b.M);
    if (*b.closed) return;
    const pal_array from = pal_array_of(f->dtype, f->product, a.N.data),
                    to = pal_array_of(f->dtype, f->product, c.N.data);
    pal_matmul_arrays(1, &b.M, &from, 1, &to);
    if (!*c.closed) pal_matmul_arrays(1, &b.M, &a.M, 0, &c.M);
}

/* Memory of one composition: this rank's own map, and room for three more. */
static pal_composition carve_maps(pal_carver *c, const map_form *f)
{
    pal_composition x = {.compose = compose, .user = f, .bytes = carry_bytes(f)};
    x.own = pal_carve(c, x.bytes);
    for (int i = 0; i < 3; i++) x.spare[i] = pal_carve(c, x.bytes);
    return x;
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
    const pal_rule *rule;
    pal_part part;
    pal_shape shape; /* of the matrix, for all sequences */
    int64_t count;   /* sequences that go on: all of a batch, or one packed piece */
} before_opts;
/* Inputs: the given matrices; M and N of what goes on to the next rank, as far as they are needed;
 * one operand of the rule, for its dtype. */
enum { GIVEN, MAP, WRITTEN, OPERAND, BEFORE_INPUTS };

static map_form before_form(const pal_call *call)
{
    const before_opts *o = call->opts;
    return form_of(o->rule, call->in[OPERAND]->dtype, o->shape, o->count);
}

static pal_status before_infer(pal_call *call)
{
    const before_opts *o = call->opts;
    const map_form f = before_form(call);
    pal_carver c = {NULL, 0};
    carve_maps(&c, &f);
    pal_status status = pal_call_out(call, 0, f.dtype, o->shape);
    return status == PAL_OK ? pal_call_scratch(call, c.used, 0) : status;
}

/* This rank's map; the last rank sends none. */
static void own_map(const pal_call *call, const carry *own)
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
    const map_form f = before_form(call);
    const pal_array *given = call->in[GIVEN], *state = call->out[0];
    pal_carver c = {call->scratch, 0};
    const pal_composition x = carve_maps(&c, &f);
    const carry own = carry_at(&f, x.own);
    own_map(call, &own);
    void *before = pal_part_compose(o->part.comm, false, &x);
    if (given)
        copy(state, given);
    else
        pal_array_fill(state, 0);
    if (!o->part.continued) return;
    const pal_array first = sequences_of(state, 0, o->count);
    const carry all = carry_at(&f, before);
    copy(&first, &all.N);
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

/* Sequence n of a part of the state; all of a batch if they are not packed. */
static pal_tensor part_of(const pal_scan *s, int i, int64_t n)
{
    return s->offsets && !pal_is_none(s->state[i]) ? pal_slice(s->state[i], 0, n, n + 1, 1)
                                                   : s->state[i];
}

/* The inputs of the rule for tokens from .. to - 1, which are those of sequence n, as constants.
 * `matrix` says whether its matrix is among them. */
static void piece_of(const pal_scan *s, const pal_rule *rule, const pal_tensor in[PAL_RULE_INPUTS],
                     int64_t from, int64_t to, int64_t n, bool matrix,
                     pal_tensor out[PAL_RULE_INPUTS])
{
    for (int i = 0; i < pal_rule_inputs(rule); i++) {
        const int place = pal_rule_input(rule, i)->place, part = place - PAL_IN_STATE;
        out[i] = in[i];
        if (place == PAL_IN_OFFSETS || (place == PAL_IN_STATE && !matrix)) out[i] = PAL_NONE;
        if (place < PAL_HEAD_ARGS && !pal_is_none(in[i]))
            out[i] = pal_slice(in[i], 1, from, to, 1);
        else if (part >= !matrix && part < s->states)
            out[i] = part_of(s, part, n);
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
    const int64_t n = s->sequences - 1, from = s->offsets ? s->offsets[n] : 0;
    pal_tensor last[PAL_RULE_INPUTS];
    if (c->rank == c->size - 1) return;
    piece_of(s, rule, in, from, s->T, n, !p->part.through, last);
    pal_rule_map(rule, last, *opts, p->part.through ? M : NULL, N);
}

/* The kernels compute the maps, so a rule that they cannot compute is refused. */
static bool fits(const pal_scan *s)
{
    const long long K = s->shape[0].dim[2], V = s->shape[0].dim[3], R = s->frame->size['R'];
    if (pal_scan_too_wide(s))
        return pal_frame_fail(s->frame, PAL_ESHAPE,
                              "heads are %lld x %lld; sequences over processes take up to %d", K, V,
                              PAL_FUSED_WIDTH);
    if (!pal_scan_rows_fit(s))
        return pal_frame_fail(s->frame, PAL_ESHAPE,
                              "%lld rows a token; sequences over processes take 1, 2, 4 and 8", R);
    return true;
}

bool pal_rule_parts_begin(pal_rule_parts *p, pal_scan *s, const pal_rule *rule,
                          pal_tensor in[PAL_RULE_INPUTS], const pal_rule_opts *opts)
{
    *p = (pal_rule_parts){
        .part = pal_part_of(opts->parts, opts->continued, s->offsets ? s->sequences : 0)};
    if (pal_shape_count(s->shape[0]) == 0) p->part.comm = NULL;
    if (!p->part.comm) return true;
    if (!fits(s)) return false;
    p->opts = pal_fused_options(rule, in, opts);
    if (rule->bring) rule->bring(s, &p->part, in, opts, p->brought);
    if (pal_tape_status(s->frame->tape) != PAL_OK) return false;
    piece_of(s, rule, in, 0, s->offsets ? s->offsets[1] : s->T, 0, false, p->piece);
    pal_tensor x[BEFORE_INPUTS] = {
        [GIVEN] = s->state[0], [OPERAND] = p->piece[pal_rule_at_place(rule, PAL_V)]};
    map_of_last(p, s, rule, in, opts, &x[MAP], &x[WRITTEN]);
    p->map = x[MAP];
    const before_opts o = {rule, p->part, s->shape[0], s->offsets ? 1 : s->shape[0].dim[0]};
    pal_apply(&before_op, &o, sizeof o, BEFORE_INPUTS, x, 1, s->state);
    for (int i = 0; i < s->states; i++) in[pal_rule_at_place(rule, PAL_IN_STATE + i)] = s->state[i];
    return pal_tape_status(s->frame->tape) == PAL_OK;
}

/* ---- After the rule: the gradient of the state that comes from later ranks ---- */

/* The first member makes the call one that pal_fused_of takes. */
typedef struct after_opts {
    pal_fused_opts fused;
    pal_part part;
} after_opts;
/* Inputs: those of the rule for the first sequence, with the rule's final matrix in place of a
 * matrix; then its output, the map, and what pal_rule.bring has brought. Backward has no gradient
 * for the last; they are inputs so that their own backward runs on every rank. */
typedef struct after_inputs {
    int final, output, map, brought, count;
} after_inputs;

static after_inputs after_of(const pal_rule *rule)
{
    const int n = pal_rule_inputs(rule);
    return (after_inputs){pal_rule_at_place(rule, PAL_IN_STATE), n, n + 1, n + 2,
                          n + 1 + pal_rule_states(rule)};
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

static map_form after_form(const pal_call *call)
{
    const pal_rule *rule = ((const after_opts *)call->opts)->fused.rule;
    const pal_array *S = call->in[inputs_of(call).final];
    return form_of(rule, S->dtype, pal_array_shape(S), sequences_after(call));
}

static pal_status after_infer(pal_call *call)
{
    const after_inputs x = inputs_of(call);
    const pal_array *o = call->in[x.output], *S = call->in[x.final];
    const pal_fused f = pal_fused_of(call, 1);
    const int64_t work = f.lanes * (1 + 10 * f.seq.T) * f.shape.K * f.shape.V;
    const map_form form = after_form(call);
    pal_carver c = {NULL, 0};
    carve_maps(&c, &form);
    pal_carve(&c, f.size);
    const int team = pal_call_team(call, work);
    pal_status status = pal_call_out(call, 0, o->dtype, pal_array_shape(o));
    if (status == PAL_OK) status = pal_call_out(call, 1, S->dtype, pal_array_shape(S));
    if (status != PAL_OK) return status;
    return pal_call_scratch(call, 0, c.used + pal_rule_map_back_bytes(&f, team));
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
static void own_transpose(const pal_array *map, const carry *own)
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
    const map_form f = after_form(call);
    pal_carver c = {call->scratch, 0};
    const pal_composition x = carve_maps(&c, &f);
    const carry own = carry_at(&f, x.own);
    void *zero = pal_carve(&c, pal_dtype_size(f.dtype));
    pal_array_fill(&own.N, 0);
    if (o->part.continued) own_gradient(call, zero, (char *)call->scratch + c.used, &own.N);
    own_transpose(call->in[at.map], &own);
    void *behind = pal_part_compose(o->part.comm, true, &x);
    if (call->dout[0]) pal_give_gradient(call, at.output, call->dout[0]);
    pal_array *d = call->din[at.final];
    if (!d) return;
    if (call->dout[1]) pal_array_add(d, call->dout[1]);
    if (!behind) return;
    const pal_array last = sequences_of(d, d->shape[0] - n, n);
    const carry all = carry_at(&f, behind);
    pal_array_add(&last, &all.N);
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
    for (int i = x.brought; i < x.count; i++) op->unread_in |= 1u << i;
}

/* o [B,T,HV,R,V] as [B,T R,HV,V], which the kernels take, and back. */
static pal_tensor as_rows(pal_tensor o)
{
    const pal_shape n = pal_shape_of(o);
    if (n.ndim != 5) return o;
    return pal_reshape(pal_transpose(o, 2, 3),
                       PAL_SHAPE(n.dim[0], n.dim[1] * n.dim[3], n.dim[2], n.dim[4]));
}
static pal_tensor as_tokens(pal_tensor o, pal_shape n)
{
    if (n.ndim != 5) return o;
    o = pal_reshape(o, PAL_SHAPE(n.dim[0], n.dim[1], n.dim[3], n.dim[2], n.dim[4]));
    return pal_transpose(o, 2, 3);
}

pal_rule_out pal_rule_parts_end(const pal_rule_parts *p, pal_rule_out out)
{
    if (!p->part.comm) return out;
    const pal_rule *rule = p->opts.rule;
    const pal_shape shape = pal_shape_of(out.o);
    const after_opts o = {p->opts, p->part};
    const after_inputs x = after_of(rule);
    pal_tensor in[PAL_RULE_INPUTS + 1 + PAL_RULE_STATES], result[2];
    if (!pal_tape_of(out.o.node)->grad || !out.o.node->needs_grad) return out;
    memcpy(in, p->piece, sizeof p->piece);
    in[x.final] = out.state, in[x.output] = as_rows(out.o), in[x.map] = p->map;
    for (int i = x.brought; i < x.count; i++) in[i] = p->brought[i - x.brought];
    pal_apply(pal_rule_op(&after_ops, rule, "o M brought", make_after), &o, sizeof o, x.count, in,
              2, result);
    out.o = as_tokens(result[0], shape), out.state = result[1];
    return out;
}
