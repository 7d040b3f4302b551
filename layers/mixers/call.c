/*
 * call.c - one call of a mixer: the options that it gives to a rule, and the hook.
 */
#include "layers/mixers/internal.h"

#include <string.h>

static bool alike(pal_tensor a, pal_tensor b)
{
    return pal_shape_equal(pal_shape_of(a), pal_shape_of(b)) && pal_dtype_of(a) == pal_dtype_of(b);
}

/* What a hook may skip: a mixer by its input, and an MLP. */
static bool can_skip(const char *name)
{
    return strcmp(name, "x") == 0 || strcmp(name, "mlp_x") == 0;
}

bool pal_mixer_show(const pal_mixer_call *call, const char *name, pal_tensor *t)
{
    pal_tape *tape = call->opts.hook && !pal_is_none(*t) ? pal_tape_of(t->node) : NULL;
    if (!tape || pal_tape_status(tape) != PAL_OK) return true;
    const pal_tensor before = *t;
    const bool on = call->opts.hook(call->opts.user, call->opts.layer, name, t) || !can_skip(name);
    const bool nothing = pal_is_none(*t);
    if (pal_tape_status(tape) == PAL_OK && (nothing ? on : !alike(before, *t))) {
        char text[128];
        pal_fail(&tape->owner, PAL_ESHAPE, "hook: %s of layer %lld was replaced by %s", name,
                 (long long)call->opts.layer,
                 nothing ? "nothing" : pal_array_describe(&t->node->a, text, sizeof text));
    }
    if (pal_tape_status(tape) != PAL_OK) *t = pal_poison(&tape->owner); /* one error, not two */
    return on;
}

pal_rule_opts pal_mixer_rule(const pal_mixer_call *call, const pal_rule *rule)
{
    pal_rule_opts o = {.mode = call->opts.mode,
                       .offsets = call->opts.offsets,
                       .parts = call->opts.parts,
                       .continued = call->opts.continued};
    for (int i = 0; i < pal_rule_states(rule); i++) {
        const pal_tensor *part = pal_mixer_find_part(call, rule->state[i].name);
        if (part) *(i ? &o.more[i - 1] : &o.state) = *part;
    }
    return o;
}

void pal_mixer_delta(const pal_mixer_call *call, pal_tensor A_log, pal_tensor dt_bias,
                     double lower_bound, pal_tensor qkv[3], pal_tensor *g, pal_rule_opts *opts)
{
    if (!call->opts.hook) {
        opts->normalize = true;
        opts->A_log = A_log, opts->dt_bias = dt_bias, opts->lower_bound = lower_bound;
        return;
    }
    for (int i = 0; i < 2; i++) qkv[i] = pal_l2_norm(qkv[i], PAL_NORM_EPS);
    if (g) *g = pal_log_decay(*g, A_log, dt_bias, lower_bound);
    pal_mixer_show(call, "q", &qkv[0]);
    pal_mixer_show(call, "k", &qkv[1]);
    pal_mixer_show(call, "v", &qkv[2]);
    if (g) pal_mixer_show(call, "g", g);
}

void pal_mixer_done(const pal_mixer_call *call, const pal_rule *rule, pal_rule_out *out)
{
    pal_mixer_show(call, "o", &out->o);
    pal_mixer_show(call, "state", &out->state);
    for (int i = 0; i < pal_rule_states(rule); i++) {
        pal_tensor *part = pal_mixer_find_part(call, rule->state[i].name);
        if (part) *part = i ? out->more[i - 1] : out->state;
    }
}

pal_tensor pal_mixer_heads(const pal_mixer_call *call, pal_tensor y, int64_t heads)
{
    if (!call->opts.hook) return y;
    const pal_shape flat = pal_shape_of(y);
    if (flat.ndim != 3) return y; /* after an error */
    y = pal_reshape(y, PAL_SHAPE(flat.dim[0], flat.dim[1], heads, flat.dim[2] / heads));
    pal_mixer_show(call, "heads", &y);
    return pal_reshape(y, flat);
}

/* ---- For mixers of one's own ---- */

pal_rule_opts pal_mixer_rule_opts(const pal_mixer_call *call)
{
    pal_rule_opts o = {.mode = call->opts.mode,
                       .offsets = call->opts.offsets,
                       .parts = call->opts.parts,
                       .continued = call->opts.continued};
    const pal_tensor *part = pal_mixer_find_part(call, "state");
    if (part) o.state = *part;
    return o;
}

void pal_mixer_rule_done(const pal_mixer_call *call, pal_rule_out *out)
{
    pal_mixer_show(call, "o", &out->o);
    pal_mixer_show(call, "state", &out->state);
    pal_tensor *part = pal_mixer_find_part(call, "state");
    if (part) *part = out->state;
}

pal_short_conv_opts pal_mixer_conv_opts(const pal_mixer_call *call, const char *part)
{
    return (pal_short_conv_opts){.tail = pal_mixer_find_part(call, part),
                                 .offsets = call->opts.offsets,
                                 .parts = call->opts.parts,
                                 .continued = call->opts.continued};
}

pal_tensor pal_mixer_attend(const pal_mixer_call *call, pal_tensor q, pal_tensor k, pal_tensor v,
                            pal_tensor g)
{
    pal_mixer_show(call, "q", &q);
    pal_mixer_show(call, "k", &k);
    pal_mixer_show(call, "v", &v);
    if (!pal_is_none(g)) pal_mixer_show(call, "g", &g);
    pal_rule_out out = pal_linear_attention(q, k, v, g, pal_mixer_rule_opts(call));
    pal_mixer_rule_done(call, &out);
    return out.o;
}
