/*
 * decode.c - decoding, and the log-probability of a text.
 *
 * The state of a layer outlives the step: pal_keep copies it to parameters of its own, every time
 * to the same memory. Only the cache of attention without a window grows.
 */
#include "layers/models/lm.h"

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

pal_lm_state *pal_lm_state_new(const pal_lm *lm) { return pal_trunk_state_new(lm->trunk); }
void pal_lm_state_free(pal_lm_state *s) { pal_trunk_state_free(s); }

pal_tensor pal_state_keep(pal_params *store, int64_t layer, const char *part, pal_tensor t)
{
    char name[64];
    if (pal_is_none(t)) return t;
    snprintf(name, sizeof name, "layers.%lld.%s", (long long)layer, part);
    return pal_keep(store, name, t);
}

/* [N,d], the last of each sequence of x [B,T,d] or, packed, [1,T,d]. */
static pal_tensor last_tokens(pal_tensor x, pal_tensor offsets)
{
    if (pal_is_none(offsets)) return pal_select(x, 1, -1);
    const int64_t n = pal_dim(offsets, 0) - 1, *o = pal_i64(offsets);
    pal_tape *tape = pal_tape_of(x.node);
    for (int64_t i = 0; i < n; i++)
        if (o[i] == o[i + 1]) {
            pal_fail(&tape->owner, PAL_EVALUE, "lm_step: sequence %lld is empty", (long long)i);
            return pal_poison(&tape->owner);
        }
    pal_tensor one = pal_full(tape, PAL_I64, PAL_SHAPE(1), 1);
    return pal_embedding(pal_select(x, 0, 0), pal_sub(pal_slice(offsets, 0, 1, n + 1, 1), one));
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
    for (run.layer = 0; run.layer < s->layers; run.layer++) {
        *out = pal_block_forward(&t->blocks[run.layer], *out, &after[run.layer], run);
        if (pal_tape_status(tape) == PAL_OK) continue;
        *out = pal_poison(&tape->owner);
        return false;
    }
    return true;
}

/* The new states are kept only if all layers and the head have succeeded. */
pal_tensor pal_lm_step(const pal_lm *lm, pal_lm_state *s, pal_tensor tokens, pal_run_opts run)
{
    pal_tensor x; /* [B,T,d] */
    pal_mixer_state *after;
    if (!pal_trunk_whole("lm_step", &run, tokens)) return pal_poison(tokens.node->owner);
    if (!pal_trunk_go_on(lm->trunk, s, tokens, run, &x, &after)) return x;
    pal_tape *tape = pal_tape_of(x.node);
    pal_tensor logits = pal_lm_head(lm, last_tokens(x, run.offsets)); /* [B,vocab] */
    if (pal_tape_status(tape) == PAL_OK) pal_trunk_keep(s, after);
    return logits;
}

/* ---- How likely a text is ---- */

/* Logits of this many bytes at a time, but of 64 rows at least. */
enum { SCORE_BYTES = 8 << 20, SCORE_ROWS = 64 };

/* In: x [B,n,d] and tokens [B,n]; out: the log-probability [B,n] of each token after its x. */
static void score_segment(void *context, const pal_tensor *in, pal_tensor *out)
{
    pal_tensor logits = pal_lm_head(context, in[0]);
    pal_tensor picked = pal_squeeze(pal_gather(logits, -1, pal_unsqueeze(in[1], 2)), 2);
    out[0] = pal_sub(picked, pal_logsumexp(logits, -1, false));
}

/* Sets to zero the entries of the first token of a sequence after another sequence. */
static pal_tensor without_seams(pal_tensor score, pal_tensor offsets)
{
    const pal_array o = pal_value(offsets);
    pal_tensor seam = pal_zeros(pal_tape_of(score.node), PAL_I64, pal_shape_of(score));
    int64_t *mark = pal_edit(seam).data;
    for (int64_t i = 0; i < o.shape[0]; i++) {
        int64_t first = ((const int64_t *)o.data)[i * o.stride[0]];
        if (first > 0 && first <= pal_count(score)) mark[first - 1] = 1;
    }
    return pal_masked_fill(score, seam, 0);
}

pal_tensor pal_lm_score(const pal_lm *lm, pal_tensor tokens, pal_run_opts run)
{
    pal_tensor x;
    if (!pal_trunk_whole("lm_score", &run, tokens)) return pal_poison(tokens.node->owner);
    if (!pal_trunk_run(lm->trunk, tokens, run, &x)) return x;
    pal_tape *tape = pal_tape_of(x.node);
    const int64_t B = pal_dim(x, 0), T = pal_dim(x, 1);
    const int64_t row = lm->opts.vocab * (int64_t)pal_dtype_size(lm->opts.dtype);
    const int64_t rows = SCORE_BYTES / row < SCORE_ROWS ? SCORE_ROWS : SCORE_BYTES / row;
    const int64_t step = B > 0 && rows / B > 1 ? rows / B : 1, n = (T - 1 + step - 1) / step;
    if (T < 2) return pal_zeros(tape, lm->opts.dtype, PAL_SHAPE(B, 0));
    pal_tensor *part = pal_arena_take(&pal_tape_level(tape)->heads, (size_t)n * sizeof *part);
    if (!part) {
        pal_fail(&tape->owner, PAL_ENOMEM, "lm_score: out of memory");
        return pal_poison(&tape->owner);
    }
    for (int64_t i = 0; i < n && pal_tape_status(tape) == PAL_OK; i++) {
        const int64_t from = i * step, to = from + step < T - 1 ? from + step : T - 1;
        const pal_tensor in[2] = {pal_slice(x, 1, from, to, 1),
                                  pal_slice(tokens, 1, from + 1, to + 1, 1)};
        /* Its memory is given back, and what backward needs is computed again. */
        pal_recompute(tape, score_segment, (void *)(uintptr_t)lm, 2, in, 1, &part[i]);
    }
    if (pal_tape_status(tape) != PAL_OK) return pal_poison(&tape->owner);
    pal_tensor score = n > 1 ? pal_concat((int)n, part, 1) : part[0];
    return pal_is_none(run.offsets) ? score : without_seams(score, run.offsets);
}
