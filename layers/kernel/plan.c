/*
 * plan.c - the arguments of each kind of kernel, checked as its function on tensors checks them.
 */
#include "layers/kernel/kernel.h"

#include <math.h>

/* ---- Rules ---- */

/* The options, with A_log, dt_bias, the state and the offsets among the arguments. */
static pal_rule_opts rule_options(const pal_rule *rule, const pal_kernel_opts *x,
                                  const pal_tensor *in)
{
    pal_rule_opts o = {.mode = x->mode,
                       .scale = x->scale,
                       .chunk = x->chunk,
                       .keep_every = x->keep_every,
                       .normalize = x->normalize,
                       .lower_bound = x->lower_bound,
                       .pair = x->pair};
    for (int i = pal_rule_operands(rule); i < pal_rule_inputs(rule); i++) {
        const int place = pal_rule_input(rule, i)->place;
        if (place == PAL_IN_A_LOG) o.A_log = in[i];
        if (place == PAL_IN_DT_BIAS) o.dt_bias = in[i];
        if (place == PAL_IN_OFFSETS) o.offsets = in[i];
        if (place == PAL_IN_STATE) o.state = in[i];
        if (place > PAL_IN_STATE && place < PAL_IN_OFFSETS)
            o.more[place - PAL_IN_STATE - 1] = in[i];
    }
    return o;
}

bool pal_kernel_plan_rule(pal_frame *f, const pal_kernel *kernel, const pal_kernel_call *call,
                          bool records, pal_kernel_plan *plan)
{
    const pal_rule *rule = kernel->rule;
    pal_node node[PAL_RULE_INPUTS];
    pal_tensor in[PAL_RULE_INPUTS] = {PAL_NONE};
    pal_scan scan;
    for (int i = 0; i < pal_rule_inputs(rule); i++) in[i] = pal_plain_tensor(call->in[i], &node[i]);
    pal_rule_opts o = rule_options(rule, &call->opts, in);
    f->shown = rule->shown;
    if (!pal_rule_check(f, rule, in, &o)) return false;
    if (o.mode == PAL_RULE_COMPOSED)
        return pal_frame_fail(f, PAL_EVALUE, "the composed mode needs a tape");
    if (o.mode == PAL_RULE_AUTO) o.mode = PAL_RULE_CHUNK; /* to be told what is too wide */
    if (!pal_scan_init(&scan, f, rule, &o)) return false;
    if (pal_shape_count(scan.shape[0]) == 0)
        return pal_frame_fail(f, PAL_EVALUE, "the state has no elements");
    o.mode = call->opts.mode;
    plan->op = pal_fused_op(rule);
    plan->opts.rule = pal_fused_options(rule, in, &o);
    plan->opts.rule.records = records;
    plan->opts.rule.recurrent = pal_fused_recurrent(&scan, &o);
    if (f->size['R'] >= 0) plan->rows = f->size['R'];
    return true;
}

/* ---- The others ---- */

bool pal_kernel_plan_conv(pal_frame *f, const pal_kernel *kernel, const pal_kernel_call *call,
                          bool records, pal_kernel_plan *plan)
{
    (void)kernel, (void)records;
    pal_node node[PAL_CONV_INPUTS];
    pal_tensor in[PAL_CONV_INPUTS];
    for (int i = 0; i < PAL_CONV_INPUTS; i++) in[i] = pal_plain_tensor(call->in[i], &node[i]);
    pal_arg a[] = {
        {"x", "BTC", in[PAL_CONV_X], false},
        {"weight", "C1W", in[PAL_CONV_WEIGHT], false},
        {"bias", "C", in[PAL_CONV_BIAS], true},
        {"tail", "SLC", in[PAL_CONV_TAIL], true},
    };
    f->size['1'] = 1;
    if (!pal_frame_add(f, 3, a)) return false;
    if (f->size['W'] < 1) return pal_frame_fail(f, PAL_ESHAPE, "the weight has no taps");
    f->size['L'] = f->size['W'] - 1;
    f->size['S'] = f->size['B'];
    if (call->in[PAL_CONV_OFFSETS] &&
        !pal_frame_offsets(f, in[PAL_CONV_OFFSETS], f->size['B'], f->size['T'], &f->size['S']))
        return false;
    if (!pal_frame_add(f, 1, a + 3)) return false;
    for (int i = 0; i < 4; i += 3)
        if (a[i].t.node && f->size['C'] > 1 && a[i].t.node->a.stride[2] != 1)
            return pal_frame_fail(f, PAL_ESHAPE,
                                  "the channels of argument %s do not lie next to each other",
                                  a[i].name);
    plan->op = &pal_short_conv_op;
    plan->opts.silu = call->opts.silu;
    return true;
}

bool pal_kernel_plan_norm(pal_frame *f, const pal_kernel *kernel, const pal_kernel_call *call,
                          bool records, pal_kernel_plan *plan)
{
    (void)kernel, (void)records;
    const pal_kernel_opts *x = &call->opts;
    const pal_array *in = call->in[0];
    if (x->gate < PAL_GATE_DEFAULT || x->gate > PAL_GATE_NONE)
        return pal_frame_fail(f, PAL_EVALUE, "there is no gate %d", (int)x->gate);
    if (!(x->eps >= 0) || x->groups < 0)
        return pal_frame_fail(f, PAL_EVALUE, "eps is %g and groups is %lld; both are at least 0",
                              x->eps, (long long)x->groups);
    if ((call->in[1] == NULL) != (x->gate == PAL_GATE_NONE))
        return pal_frame_fail(f, PAL_EVALUE, "argument gate is given without option gate none");
    /* Axes of x have a letter each, and gate has the same. */
    const int ndim = in && in->ndim >= 1 && in->ndim <= PAL_MAX_DIMS ? in->ndim : 1;
    const char *dims = &"abcdefgZ"[PAL_MAX_DIMS - ndim];
    pal_node node[3];
    pal_arg a[] = {{"x", dims, pal_plain_tensor(in, &node[0]), false},
                   {"gate", dims, pal_plain_tensor(call->in[1], &node[1]), true},
                   {"weight", "Z", pal_plain_tensor(call->in[2], &node[2]), true}};
    if (!pal_frame_add(f, 3, a)) return false;
    plan->op = &pal_gated_norm_op;
    plan->opts.norm = pal_gated_norm_options((pal_gated_norm_opts){
        .eps = x->eps, .gate = x->gate, .gate_first = x->gate_first, .groups = x->groups});
    return true;
}

bool pal_kernel_plan_attention(pal_frame *f, const pal_kernel *kernel, const pal_kernel_call *call,
                               bool records, pal_kernel_plan *plan)
{
    (void)kernel, (void)records;
    const pal_attention_opts o = {.scale = call->opts.scale, .window = call->opts.window};
    pal_node node[4];
    pal_tensor in[4];
    for (int i = 0; i < 4; i++) in[i] = pal_plain_tensor(call->in[i], &node[i]);
    pal_arg a[] = {
        {"q", "BTHD", in[0], false}, {"k", "BSJD", in[1], false}, {"v", "BSJD", in[2], false}};
    int64_t sequences;
    if (!pal_frame_add(f, 3, a) || !pal_frame_groups(f, 'H', 'J') || !pal_attention_fits(f, &o))
        return false;
    if (call->in[3] && !pal_frame_offsets(f, in[3], f->size['B'], f->size['T'], &sequences))
        return false;
    plan->op = &pal_attention_op;
    plan->opts.attention = pal_attention_options(f, &o);
    return true;
}
