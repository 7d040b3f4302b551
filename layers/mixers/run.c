/*
 * run.c - one call of a mixer: what its options mean for a rule, and the hook that looks in.
 */
#include "layers/mixers/internal.h"

#include <string.h>

static bool alike(pal_tensor a, pal_tensor b)
{
    return pal_shape_equal(pal_shape_of(a), pal_shape_of(b)) && pal_dtype_of(a) == pal_dtype_of(b);
}

bool pal_run_show(const pal_run *run, const char *name, pal_tensor *t)
{
    pal_tape *tape = run->opts.hook && !pal_is_none(*t) ? pal_tape_of(t->node) : NULL;
    if (!tape || pal_tape_status(tape) != PAL_OK) return true;
    const pal_tensor before = *t;
    const bool on = run->opts.hook(run->opts.user, run->opts.layer, name, t) || strcmp(name, "x");
    const bool nothing = pal_is_none(*t);
    if (pal_tape_status(tape) == PAL_OK && (nothing ? on : !alike(before, *t))) {
        char text[128];
        pal_fail(&tape->owner, PAL_ESHAPE, "hook: %s of layer %lld was replaced by %s", name,
                 (long long)run->opts.layer,
                 nothing ? "nothing" : pal_array_describe(&t->node->a, text, sizeof text));
    }
    if (pal_tape_status(tape) != PAL_OK) *t = pal_poison(&tape->owner); /* one error, not two */
    return on;
}

pal_rule_opts pal_run_rule(const pal_run *run, const pal_rule *rule)
{
    const pal_tensor *state = pal_run_part(run, rule->state[0].name);
    return (pal_rule_opts){.mode = run->opts.mode,
                           .offsets = run->opts.offsets,
                           .parts = run->opts.parts,
                           .continued = run->opts.continued,
                           .state = state ? *state : PAL_NONE};
}

void pal_run_delta(const pal_run *run, pal_tensor A_log, pal_tensor dt_bias, double lower_bound,
                   pal_tensor qkv[3], pal_tensor *g, pal_rule_opts *opts)
{
    if (!run->opts.hook) {
        opts->normalize = true;
        opts->A_log = A_log, opts->dt_bias = dt_bias, opts->lower_bound = lower_bound;
        return;
    }
    for (int i = 0; i < 2; i++) qkv[i] = pal_l2_norm(qkv[i], PAL_NORM_EPS);
    if (g) *g = pal_log_decay(*g, A_log, dt_bias, lower_bound);
    pal_run_show(run, "q", &qkv[0]);
    pal_run_show(run, "k", &qkv[1]);
    pal_run_show(run, "v", &qkv[2]);
    if (g) pal_run_show(run, "g", g);
}

void pal_run_done(const pal_run *run, const pal_rule *rule, pal_rule_out *out)
{
    pal_tensor *state = pal_run_part(run, rule->state[0].name);
    pal_run_show(run, "o", &out->o);
    pal_run_show(run, "state", &out->state);
    if (state) *state = out->state;
}
