/*
 * trunk_state.c - a trunk from call to call.
 *
 * The state of a block outlives the step: pal_keep copies it to parameters of its own, every time
 * to the same memory. Only the cache of attention without a window grows.
 */
#include "layers/models/trunk.h"

#include <string.h>

static size_t state_bytes(int64_t layers)
{
    return sizeof(pal_trunk_state) + (size_t)layers * sizeof(pal_mixer_state);
}

pal_trunk_state *pal_trunk_state_new(const pal_trunk *trunk)
{
    size_t size = state_bytes(trunk->opts.layers);
    pal_trunk_state *s = pal_malloc(size);
    if (!s) {
        pal_fail_nowhere(PAL_ENOMEM, "%s_state_new: out of memory", trunk->what);
        return NULL;
    }
    memset(s, 0, size);
    s->trunk = trunk;
    s->layers = trunk->opts.layers;
    s->store = pal_params_new();
    if (s->store) return s;
    pal_free(s, size);
    return NULL;
}

void pal_trunk_state_free(pal_trunk_state *s)
{
    if (!s) return;
    pal_params_free(s->store);
    pal_free(s, state_bytes(s->layers));
}

pal_tensor pal_state_keep(pal_params *store, int64_t layer, const char *part, pal_tensor t)
{
    char name[64];
    if (pal_is_none(t)) return t;
    snprintf(name, sizeof name, "layers.%lld.%s", (long long)layer, part);
    return pal_keep(store, name, t);
}

void pal_trunk_keep(pal_trunk_state *s, pal_mixer_state *after)
{
    for (int64_t i = 0; i < s->layers; i++) {
        for (int j = 0; j < PAL_MIXER_PARTS && after[i].part[j].name; j++) {
            const pal_mixer_part p = after[i].part[j];
            s->layer[i].part[j] =
                (pal_mixer_part){p.name, pal_state_keep(s->store, i, p.name, p.tensor)};
        }
        s->layer[i].seen = after[i].seen;
    }
}

bool pal_trunk_whole(const char *op, const pal_run_opts *run, pal_tensor x)
{
    if (!run->parts || run->parts->size < 2 || pal_is_none(x)) return true;
    pal_fail(x.node->owner, PAL_EVALUE, "%s: takes whole sequences, and run.parts has %d processes",
             op, run->parts->size);
    return false;
}

/* Copies of the parts on the tape. Backward may read them after pal_keep has written the next ones.
 */
static void hold_parts(pal_tape *tape, int64_t layers, pal_mixer_state *state)
{
    for (int64_t i = 0; i < layers && tape->grad; i++)
        for (int j = 0; j < PAL_MIXER_PARTS && state[i].part[j].name; j++) {
            pal_tensor *part = &state[i].part[j].tensor;
            if (!pal_is_none(*part) && !pal_is_poison(part->node))
                *part = pal_from_array(tape, &part->node->a);
        }
}

bool pal_trunk_go_on(const pal_trunk *t, pal_trunk_state *s, pal_tensor x, pal_run_opts run,
                     pal_tensor *out, pal_mixer_state **states)
{
    *out = x; /* [B,T,d] */
    if (!pal_trunk_begin(t, &run, out)) return false;
    pal_tape *tape = pal_tape_of(out->node);
    const size_t size = (size_t)s->layers * sizeof(pal_mixer_state);
    pal_mixer_state *after = pal_arena_take(&pal_tape_level(tape)->heads, size);
    *states = after;
    if (!after || s->layers != t->opts.layers) {
        pal_fail(&tape->owner, after ? PAL_EVALUE : PAL_ENOMEM, "%s_step: %s", t->what,
                 after ? "the state is of a model with another number of layers" : "out of memory");
        *out = pal_poison(&tape->owner);
        return false;
    }
    memcpy(after, s->layer, size);
    hold_parts(tape, s->layers, after);
    for (run.layer = 0; run.layer < s->layers; run.layer++) {
        *out = pal_trunk_block_on(t, tape, *out, &after[run.layer], run);
        if (pal_tape_status(tape) == PAL_OK) continue;
        *out = pal_poison(&tape->owner);
        return false;
    }
    return true;
}

pal_tensor pal_trunk_forward(const pal_trunk *t, pal_tensor x, pal_trunk_state *state,
                             pal_run_opts run)
{
    pal_tensor y;
    pal_mixer_state *after = NULL;
    if (state && !pal_trunk_whole("trunk_forward", &run, x)) return pal_poison(x.node->owner);
    if (state ? !pal_trunk_go_on(t, state, x, run, &y, &after) : !pal_trunk_run(t, x, run, &y))
        return y;
    y = pal_trunk_last_norm(t, y);
    if (state && pal_tape_status(pal_tape_of(y.node)) == PAL_OK) pal_trunk_keep(state, after);
    return y;
}
