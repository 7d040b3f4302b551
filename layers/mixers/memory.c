/*
 * memory.c - what mixers remember between calls: parts by name.
 */
#include "layers/mixers/internal.h"

#include <string.h>

/* ---- What there will be ---- */

void pal_remember(pal_remembered *m, const char *name, pal_shape shape)
{
    if (m->parts >= PAL_MIXER_PARTS) {
        pal_fail_nowhere(PAL_EVALUE, "remember: no room for %s: a state has %d parts at most", name,
                         PAL_MIXER_PARTS);
        return;
    }
    m->part[m->parts].name = name;
    m->part[m->parts++].shape = shape;
}

void pal_remember_rule(pal_remembered *m, const pal_rule *rule, pal_state_sizes sizes)
{
    const int64_t by_letter[] = {['S'] = sizes.S, ['J'] = sizes.HV, ['K'] = sizes.K,
                                 ['V'] = sizes.V, ['R'] = sizes.R,  ['A'] = sizes.A};
    for (int i = 0; i < pal_rule_states(rule); i++) {
        pal_shape shape = {0};
        for (const char *c = rule->state[i].axes; *c; c++)
            shape.dim[shape.ndim++] = by_letter[(int)*c];
        pal_remember(m, rule->state[i].name, shape);
    }
}

const char *pal_conv_part(int i)
{
    static const char *const names[] = {"conv.0", "conv.1", "conv.2"};
    return names[i];
}

/* ---- What there is ---- */

/* The part of this name, or the first that is not there yet; NULL if all are there. */
static pal_mixer_part *find(pal_mixer_state *state, const char *name)
{
    pal_mixer_part *p = state->part, *end = p + PAL_MIXER_PARTS;
    while (p < end && p->name && strcmp(p->name, name) != 0) p++;
    return p < end ? p : NULL;
}

pal_tensor pal_mixer_state_get(const pal_mixer_state *state, const char *name)
{
    pal_mixer_state copy = *state;
    const pal_mixer_part *p = find(&copy, name);
    return p && p->name ? p->tensor : PAL_NONE;
}

void pal_mixer_state_set(pal_mixer_state *state, const char *name, pal_tensor tensor)
{
    pal_mixer_part *p = find(state, name);
    if (p)
        *p = (pal_mixer_part){name, tensor};
    else
        pal_fail_nowhere(PAL_EVALUE,
                         "mixer_state_set: no room for %s: a state has %d parts at most", name,
                         PAL_MIXER_PARTS);
}

pal_tensor *pal_mixer_find_part(const pal_mixer_call *call, const char *name)
{
    if (!call->state) return NULL;
    pal_mixer_part *p = find(call->state, name);
    if (!p) { /* the caller has filled it with parts of other names */
        pal_mixer_state_set(call->state, name, PAL_NONE);
        return NULL;
    }
    p->name = name;
    return &p->tensor;
}
