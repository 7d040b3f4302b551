/*
 * op.c - the operations of the fused modes: their outputs, saved tensors and scratch.
 *
 * They save for backward only the state before every `every`-th chunk, in the panels of the
 * kernels.
 */
#include "layers/rules/fused/fused.h"

#include <math.h>
#include <string.h>

/* Measured by bench/rules: see docs/kernels.md. */
enum {
    KEEP_EVERY = 2,
    KEEP_MOST = 1 << 20, /* more chunks than any sequence has */
    SHORT = 8            /* sequences with fewer tokens are done token by token */
};

/* ---- The operation ---- */

/* The kept states [n,Kp,Vp] are saved as a tensor. */
static pal_status keep_states(pal_call *call, const pal_fused *f)
{
    const pal_rule_shape *s = &f->shape;
    pal_status status = pal_call_save(call, pal_fused_in(f, PAL_Q)->dtype,
                                      PAL_SHAPE(pal_fused_kept(f), s->Kp, s->Vp));
    if (status == PAL_OK && s->trapezoid)
        status = pal_call_save(call, PAL_F64, PAL_SHAPE(pal_fused_angle_count(f)));
    return status;
}

/* The parts of the final state after the output. */
static pal_status final_states(pal_call *call, const pal_fused *f)
{
    const pal_rule *rule = f->opts->rule;
    const int64_t size[] = {['S'] = f->seq.count, ['J'] = f->HV,          ['K'] = f->shape.K,
                            ['V'] = f->shape.V,   ['R'] = f->shape.ranks, ['A'] = f->shape.angles};
    pal_status status = PAL_OK;
    for (int i = 0; i < pal_rule_states(rule) && status == PAL_OK; i++) {
        pal_shape shape = {0};
        for (const char *c = rule->state[i].axes; *c; c++) shape.dim[shape.ndim++] = size[(int)*c];
        status = pal_call_out(call, 1 + i, pal_fused_in(f, PAL_V)->dtype, shape);
    }
    return status;
}

static pal_status infer(pal_call *call)
{
    const pal_fused_opts *o = call->opts;
    pal_fused f = pal_fused_of(call, 1);
    const pal_array *v = pal_fused_in(&f, PAL_V);
    /* One token is bound by memory, which is read and written once; more are by arithmetic. */
    const int64_t states = f.lanes * f.shape.K * f.shape.V, tokens = v->shape[0] * f.seq.T;
    int64_t work = 2 * states;
    if (tokens > f.lanes / f.HV)
        work = states + 8 * tokens * f.shape.ranks * f.HV * f.shape.K * f.shape.V;
    pal_fused_use_team(&f, pal_call_team(call, work));
    pal_shape out = pal_array_shape(v);
    out.dim[1] *= f.shape.ranks;
    pal_status status = pal_call_out(call, 0, v->dtype, out);
    if (status == PAL_OK && !o->in_place) status = final_states(call, &f);
    if (status == PAL_OK && o->records) status = keep_states(call, &f);
    if (status != PAL_OK) return status;
    return pal_call_scratch(call, pal_fused_forward_scratch(&f),
                            o->records ? pal_fused_backward_scratch(&f) : 0);
}

static pal_rule_ops ops;

/* Backward overwrites fresh gradients of operands by token and of the state. It reads neither the
 * initial state, which was kept, nor the results (Mamba-3: the final state and keys, K(ends)). */
static void make_op(const pal_rule *rule, pal_op *op)
{
    const uint32_t state = 1u << pal_rule_at_place(rule, PAL_IN_STATE);
    *op = (pal_op){.name = rule->name,
                   .infer = infer,
                   .forward = pal_fused_forward,
                   .backward = pal_fused_backward,
                   .unread_in = state,
                   .unread_out = 3,
                   .overwrites = state};
    if (pal_rule_states(rule) > 1) {
        op->unread_in |= 1u << pal_rule_at_place(rule, PAL_IN_STATE + PAL_ANGLES);
        op->unread_out = 1u | 1u << (1 + PAL_ANGLES) | 1u << (1 + PAL_LAST_X);
    }
    for (int place = 0; place < PAL_HEAD_ARGS; place++)
        if (pal_rule_at_place(rule, place) >= 0)
            op->overwrites |= 1u << pal_rule_at_place(rule, place);
}

const pal_op *pal_fused_op(const pal_rule *rule) { return pal_rule_op(&ops, rule, "", make_op); }

/* ---- From a rule's call ---- */

static bool records(const pal_tape *tape, const pal_tensor in[PAL_RULE_INPUTS])
{
    bool wanted = false;
    for (int i = 0; i < PAL_RULE_INPUTS; i++)
        wanted = wanted || (in[i].node && in[i].node->needs_grad);
    return tape->grad && wanted;
}

/* ---- In place ---- */

/* The state of an in-place call must be contiguous memory that outlives the step. */
static bool can_overwrite(pal_frame *f, pal_tensor state)
{
    if (f->tape->grad)
        return pal_frame_fail(f, PAL_EGRAD, "in_place needs gradients off (pal_set_grad)");
    const pal_node *n = state.node;
    if (!n || n->owner->is_tape || !pal_array_contiguous(&n->a))
        return pal_frame_fail(
            f, PAL_EVALUE, "in_place needs a state that is a contiguous parameter or kept tensor");
    return true;
}

static bool all_finite(const pal_tensor in[PAL_RULE_INPUTS])
{
    bool finite = true;
    for (int i = 0; i < PAL_RULE_INPUTS; i++)
        finite = finite && (!in[i].node || pal_array_finite(&in[i].node->a));
    return finite;
}

/* Part i of the state that is given. */
static pal_tensor given(const pal_rule_opts *opts, int i)
{
    return i ? opts->more[i - 1] : opts->state;
}

/* What a rule returns: the output [B,T ranks,HV,V] as its users have it, and the parts of the
 * state. */
static pal_rule_out results(const pal_frame *f, const pal_rule *rule, pal_tensor o,
                            const pal_tensor *part)
{
    pal_rule_out out = {o, part[0], {PAL_NONE}};
    for (int i = 1; i < pal_rule_states(rule); i++) out.more[i - 1] = part[i];
    if (f->size['R'] < 0) return out;
    pal_shape shape =
        PAL_SHAPE(f->size['B'], f->size['T'], f->size['R'], f->size['J'], f->size['V']);
    out.o = pal_transpose(pal_reshape(o, shape), 2, 3);
    return out;
}

/* pal_apply looks at inputs only when a result is not finite. By then the state is overwritten, so
 * finiteness is checked here, before and after the call. */
static pal_rule_out overwrite(pal_frame *f, const pal_op *op, const pal_fused_opts *o,
                              const pal_tensor in[PAL_RULE_INPUTS], const pal_rule_opts *opts)
{
    const int parts = pal_rule_states(o->rule);
    pal_tensor out, part[PAL_RULE_STATES];
    for (int i = 0; i < parts; i++)
        if (!can_overwrite(f, part[i] = given(opts, i))) return pal_scan_failed(f);
    bool finite = f->tape->check_numerics && all_finite(in);
    pal_apply(op, o, sizeof *o, pal_rule_inputs(o->rule), in, 1, &out);
    if (pal_tape_status(f->tape) != PAL_OK) return pal_scan_failed(f);
    bool good = !finite || pal_array_finite(&out.node->a);
    for (int i = 0; i < parts; i++) {
        part[i].node->base->version++;
        good = good && (!finite || pal_array_finite(&part[i].node->a));
    }
    if (!good) {
        pal_frame_fail(f, PAL_ENUMERIC, "the result holds a number that is not finite");
        return pal_scan_failed(f);
    }
    return results(f, o->rule, out, part);
}

pal_fused_opts pal_fused_options(const pal_rule *rule, const pal_tensor in[PAL_RULE_INPUTS],
                                 const pal_rule_opts *opts)
{
    pal_fused_opts o = {.rule = rule,
                        .in_place = opts->in_place,
                        .normalize = opts->normalize,
                        .activate = rule->activates && !pal_is_none(opts->A_log),
                        .lower_bound = opts->lower_bound,
                        .pair = opts->pair,
                        .C = opts->chunk ? opts->chunk : PAL_DEFAULT_CHUNK,
                        .every = opts->keep_every ? opts->keep_every : KEEP_EVERY,
                        .scale = opts->scale};
    if (o.every > KEEP_MOST) o.every = KEEP_MOST;
    if (o.scale == 0) o.scale = rule->scale;
    const pal_array *q = &in[pal_rule_at_place(rule, PAL_Q)].node->a;
    if (o.scale == 0) o.scale = 1 / sqrt((double)q->shape[q->ndim - 1]);
    return o;
}

/* Copies operands that share memory if different threads would write their gradients. */
static void set_apart(const pal_rule *rule, pal_tensor in[PAL_RULE_INPUTS])
{
    /* The operands by token, and the state. */
    pal_tensor x[PAL_HEAD_ARGS + PAL_RULE_STATES];
    for (int i = 0; i < PAL_HEAD_ARGS + PAL_RULE_STATES; i++) {
        const bool by_token = i < PAL_HEAD_ARGS;
        const int at = pal_rule_at_place(rule, by_token ? i : PAL_IN_STATE + i - PAL_HEAD_ARGS);
        x[i] = at < 0 ? PAL_NONE : in[at];
        x[i] = pal_apart(x, i, by_token);
        if (at >= 0) in[at] = x[i];
    }
}

bool pal_fused_recurrent(const pal_scan *s, const pal_rule_opts *opts)
{
    return opts->mode == PAL_RULE_RECURRENT ||
           (opts->mode == PAL_RULE_AUTO && s->T < SHORT * s->sequences);
}

pal_rule_out pal_fused_rule(pal_frame *f, const pal_scan *s, const pal_rule *rule,
                            const pal_tensor in[PAL_RULE_INPUTS], const pal_rule_opts *opts)
{
    pal_fused_opts o = pal_fused_options(rule, in, opts);
    pal_tensor out[1 + PAL_RULE_STATES], operands[PAL_RULE_INPUTS];
    o.recurrent = pal_fused_recurrent(s, opts);
    o.records = records(f->tape, in);
    memcpy(operands, in, sizeof operands);
    if (o.in_place) return overwrite(f, pal_fused_op(rule), &o, operands, opts);
    if (o.records) set_apart(rule, operands);
    pal_apply(pal_fused_op(rule), &o, sizeof o, pal_rule_inputs(rule), operands,
              1 + pal_rule_states(rule), out);
    return results(f, rule, out[0], out + 1);
}
