/*
 * decode.c - a language model token by token, and drawing from its logits.
 *
 * What a layer remembers outlives the tape's step in a store of its own (pal_keep), which writes
 * into the same memory every time; only the cache of an attention without a window grows.
 */
#include "layers/lm.h"

#include <math.h>
#include <string.h>

struct pal_lm_state {
    int64_t layers;
    pal_params *store;
    pal_mixer_state layer[]; /* kept tensors; PAL_NONE at the start */
};

static size_t state_bytes(int64_t layers)
{
    return sizeof(pal_lm_state) + (size_t)layers * sizeof(pal_mixer_state);
}

pal_lm_state *pal_lm_state_new(const pal_lm *lm)
{
    size_t size = state_bytes(lm->opts.layers);
    pal_lm_state *s = pal_malloc(size);
    if (!s) {
        pal_fail_nowhere(PAL_ENOMEM, "lm_state_new: out of memory");
        return NULL;
    }
    memset(s, 0, size);
    s->layers = lm->opts.layers;
    s->store = pal_params_new();
    if (s->store) return s;
    pal_free(s, size);
    return NULL;
}

void pal_lm_state_free(pal_lm_state *s)
{
    if (!s) return;
    pal_params_free(s->store);
    pal_free(s, state_bytes(s->layers));
}

static pal_tensor keep(pal_lm_state *s, int64_t layer, const char *what, pal_tensor t)
{
    char name[64];
    if (pal_is_none(t)) return t;
    snprintf(name, sizeof name, "layers.%lld.%s", (long long)layer, what);
    return pal_keep(s->store, name, t);
}

/* [N,d], the last of each sequence of x [B,T,d] or, packed, [1,T,d]. */
static pal_tensor last_tokens(pal_tensor x, pal_tensor offsets)
{
    if (pal_is_none(offsets)) return pal_select(x, 1, -1);
    const int64_t n = pal_dim(offsets, 0) - 1, *o = pal_i64(offsets);
    pal_tape *tape = pal_tape_of(x.node);
    for (int64_t i = 0; o && i < n; i++)
        if (o[i] == o[i + 1]) {
            pal_fail(&tape->owner, PAL_EVALUE, "lm_step: sequence %lld is empty", (long long)i);
            return pal_poison(&tape->owner);
        }
    pal_tensor one = pal_full(tape, PAL_I64, PAL_SHAPE(1), 1);
    return pal_embedding(pal_select(x, 0, 0), pal_sub(pal_slice(offsets, 0, 1, n + 1, 1), one));
}

pal_tensor pal_lm_step(const pal_lm *lm, pal_lm_state *s, pal_tensor tokens, pal_run_opts run)
{
    static const char *const conv[] = {"conv.0", "conv.1", "conv.2"};
    pal_tensor x = pal_lm_embed(lm, tokens); /* [B,T,d] */
    pal_tape *tape = pal_tape_of(x.node);
    for (int64_t i = 0; i < s->layers; i++) {
        if (!tape || pal_tape_status(tape) != PAL_OK) return x;
        pal_mixer_state after = s->layer[i];
        run.layer = i;
        x = pal_block_forward(&lm->blocks[i], x, &after, run);
        if (pal_tape_status(tape) != PAL_OK) return x;
        s->layer[i].state = keep(s, i, "state", after.state);
        for (int j = 0; j < 3; j++) s->layer[i].conv[j] = keep(s, i, conv[j], after.conv[j]);
        s->layer[i].k = keep(s, i, "k", after.k);
        s->layer[i].v = keep(s, i, "v", after.v);
        s->layer[i].seen = after.seen;
    }
    return pal_lm_head(lm, last_tokens(x, run.offsets)); /* [B,vocab] */
}

/* ---- Drawing a token ---- */

/* The k-th largest of n values. A selection by counting: n is a vocabulary, k small. */
static double threshold(const double *x, int64_t n, int64_t k)
{
    double bound = HUGE_VAL;
    for (int64_t seen = 0; seen < k;) {
        double next = -HUGE_VAL;
        int64_t equal = 0;
        for (int64_t i = 0; i < n; i++) {
            if (!(x[i] < bound)) continue;
            equal = x[i] > next ? 1 : equal + (x[i] == next);
            if (x[i] > next) next = x[i];
        }
        if (!equal) break;
        bound = next, seen += equal;
    }
    return bound;
}

static int64_t draw(double *x, int64_t n, double temperature, int64_t top_k, pal_rng *rng)
{
    double most = -HUGE_VAL, sum = 0;
    int64_t best = 0;
    for (int64_t i = 0; i < n; i++)
        if (x[i] > most) most = x[i], best = i;
    if (!(temperature > 0)) return best;
    double least = top_k > 0 && top_k < n ? threshold(x, n, top_k) : -HUGE_VAL;
    for (int64_t i = 0; i < n; i++) {
        x[i] = x[i] >= least ? exp((x[i] - most) / temperature) : 0; /* NaN counts as never */
        sum += x[i];
    }
    double u = pal_rng_next(rng) * sum;
    for (int64_t i = 0; i < n; i++) {
        u -= x[i];
        if (u < 0) return i;
    }
    return best; /* rounding left nothing */
}

int64_t pal_sample(pal_tensor logits, double temperature, int64_t top_k, pal_rng *rng)
{
    pal_node *node = pal_node_of(logits, "sample", "logits");
    if (!node) return -1;
    int64_t n = pal_array_count(&node->a);
    double *x = n > 0 ? pal_malloc((size_t)n * sizeof *x) : NULL;
    if (!x) {
        pal_fail(node->owner, n > 0 ? PAL_ENOMEM : PAL_ESHAPE, "sample: %s",
                 n > 0 ? "out of memory" : "argument logits is empty");
        return -1;
    }
    pal_array copy = pal_array_of(PAL_F64, pal_array_shape(&node->a), x);
    pal_status status = pal_array_copy(&copy, &node->a, NULL);
    int64_t token = status == PAL_OK ? draw(x, n, temperature, top_k, rng) : -1;
    pal_free(x, (size_t)n * sizeof *x);
    return token;
}
