/*
 * call.c - every call of a rule passes here: checks, then the form that computes it.
 */
#include "layers/rules/fused/fused.h"

#include <string.h>

/* Appends operands to the arguments a[n], a[n+1], ...: those with axis E (`either`), or the others.
 * Returns the new number of arguments. Argument i is operand from[i]. */
static int gather(const pal_rule *rule, bool either, const pal_tensor *in, int n, pal_arg *a,
                  int *from)
{
    for (int i = 0; i < pal_rule_operands(rule); i++) {
        const pal_operand *o = &rule->operand[i];
        if ((strchr(o->axes, 'E') != NULL) != either) continue;
        a[n] = (pal_arg){o->name, o->axes, in[i], o->optional};
        from[n++] = i;
    }
    return n;
}

/* Those that may have key heads or value heads come last, when both numbers are known. */
bool pal_rule_check(pal_frame *f, const pal_rule *rule, pal_tensor *in, pal_rule_opts *opts)
{
    pal_arg a[PAL_RULE_OPERANDS];
    char axes[PAL_RULE_OPERANDS][8];
    int from[PAL_RULE_OPERANDS];
    const int sure = gather(rule, false, in, 0, a, from), n = gather(rule, true, in, sure, a, from);
    if (!pal_frame_add(f, sure, a) || !pal_frame_groups(f, 'J', 'H')) return false;
    for (int i = sure; i < n; i++) {
        const pal_node *x = a[i].t.node;
        const bool fits = x && x->a.ndim == (int)strlen(a[i].dims);
        snprintf(axes[i], sizeof axes[i], "%s", a[i].dims);
        axes[i][2] = fits && x->a.shape[2] == f->size['J'] ? 'J' : 'H';
        a[i].dims = axes[i];
    }
    if (n > sure && !pal_frame_add(f, n - sure, a + sure)) return false;
    pal_arg g = {NULL, "", PAL_NONE, true};
    for (int i = 0; i < n; i++) {
        in[from[i]] = a[i].t;
        if (rule->activates && rule->operand[from[i]].place == PAL_G) g = a[i];
    }
    return pal_frame_decay(f, g.t, g.dims, opts) && (!rule->fits || rule->fits(f, opts));
}

pal_rule_out pal_rule_call(const pal_rule *rule, const pal_tensor *given, pal_rule_opts opts)
{
    pal_frame f;
    pal_scan scan;
    pal_rule_parts parts;
    const int n = pal_rule_operands(rule);
    pal_tensor in[PAL_RULE_INPUTS] = {PAL_NONE};
    memcpy(in, given, (size_t)n * sizeof *in);
    pal_frame_init(&f, rule->name);
    f.shown = rule->shown;
    if (!pal_rule_check(&f, rule, in, &opts) || !pal_scan_init(&scan, &f, rule, &opts))
        return pal_scan_failed(&f);
    for (int i = n; i < pal_rule_inputs(rule); i++) {
        const int place = pal_rule_input(rule, i)->place;
        in[i] = place < PAL_IN_OFFSETS && place >= PAL_IN_STATE ? scan.state[place - PAL_IN_STATE]
                : place == PAL_IN_OFFSETS                       ? opts.offsets
                : place == PAL_IN_A_LOG                         ? opts.A_log
                                                                : opts.dt_bias;
    }
    if (!pal_rule_parts_begin(&parts, &scan, rule, in, &opts)) return pal_scan_failed(&f);
    return pal_rule_parts_end(&parts, pal_scan_composed(&scan, &opts)
                                          ? rule->compose(&scan, in, &opts)
                                          : pal_fused_rule(&f, &scan, rule, in, &opts));
}
