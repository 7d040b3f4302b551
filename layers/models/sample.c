/*
 * sample.c - drawing tokens from logits.
 *
 * The candidates of a row are a heap with the most likely on top. Only as many are taken off as
 * top_k or top_p ask for, so the vocabulary is never sorted as a whole.
 */
#include "layers/models/lm.h"

#include <math.h>

/* One row. order[0 .. kept-1] from its end backwards are the candidates taken off the heap. */
typedef struct candidates {
    const double *weight; /* of all tokens; their probability up to a factor */
    int64_t *order;       /* of `count` tokens: a heap of `heap`, then those taken off it */
    int64_t count, heap;
} candidates;

/* Of equals the one of the smaller number comes first. */
static bool before(const candidates *c, int64_t i, int64_t j)
{
    const int64_t a = c->order[i], b = c->order[j];
    return c->weight[a] > c->weight[b] || (c->weight[a] == c->weight[b] && a < b);
}

static void swap(int64_t *order, int64_t i, int64_t j)
{
    int64_t t = order[i];
    order[i] = order[j], order[j] = t;
}

static void sift(const candidates *c, int64_t at)
{
    for (;;) {
        int64_t best = at;
        for (int64_t child = 2 * at + 1; child <= 2 * at + 2 && child < c->heap; child++)
            if (before(c, child, best)) best = child;
        if (best == at) return;
        swap(c->order, at, best);
        at = best;
    }
}

/* The i-th most likely token; those before it have been asked for. */
static int64_t ranked(candidates *c, int64_t i)
{
    if (c->count - c->heap <= i) {
        swap(c->order, 0, --c->heap);
        sift(c, 0);
    }
    return c->order[c->count - 1 - i];
}

/* How many of the most likely tokens can be drawn. *sum is the weight of all tokens, and becomes
 * theirs. */
static int64_t cut(candidates *c, const pal_sample_opts *o, double *sum)
{
    int64_t kept = c->count;
    for (int64_t i = kept / 2; i-- > 0;) sift(c, i);
    if (o->top_k > 0 && o->top_k < kept) {
        kept = o->top_k;
        *sum = 0;
        for (int64_t i = 0; i < kept; i++) *sum += c->weight[ranked(c, i)];
    }
    if (!(o->top_p > 0 && o->top_p < 1)) return kept;
    const double enough = o->top_p * *sum;
    double reached = 0;
    int64_t n = 0;
    while (n < kept && !(n > 0 && reached >= enough)) reached += c->weight[ranked(c, n++)];
    *sum = reached;
    return n;
}

/* Logits x become weights in place. -1 if none of them is a number above -inf. */
static int64_t draw(double *x, int64_t n, int64_t *order, const pal_sample_opts *o, pal_rng *rng)
{
    candidates c = {.weight = x, .order = order};
    double most = -HUGE_VAL, sum = 0;
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++) /* NaN is above nothing */
        if (x[i] > most) most = x[i], best = i;
    if (best < 0 || o->temperature == 0) return best;
    for (int64_t i = 0; i < n; i++) {
        x[i] = x[i] == most ? 1 : x[i] < most ? exp((x[i] - most) / o->temperature) : 0;
        sum += x[i];
        if (x[i] > 0) order[c.count++] = i;
    }
    c.heap = c.count;
    const bool all = o->top_k == 0 && !(o->top_p > 0 && o->top_p < 1);
    const int64_t kept = all ? c.count : cut(&c, o, &sum);
    double u = pal_rng_next(rng) * sum;
    for (int64_t i = 0; i < kept; i++) {
        int64_t token = all ? order[i] : ranked(&c, i);
        u -= x[token];
        if (u < 0) return token;
    }
    return best; /* rounding left nothing */
}

static pal_status check(const pal_array *a, const pal_sample_opts *o, int64_t B, pal_error *error)
{
    char text[128];
    if (!(o->temperature >= 0 && o->temperature < HUGE_VAL) || o->top_k < 0 ||
        !(o->top_p >= 0 && o->top_p <= 1))
        return pal_error_set(error, PAL_EVALUE,
                             "sample: temperature %g, top_k %lld or top_p %g is out of range",
                             o->temperature, (long long)o->top_k, o->top_p);
    if (pal_dtype_real(a->dtype) && a->ndim > 0 && pal_array_count(a) > 0 &&
        pal_array_count(a) / a->shape[a->ndim - 1] == B)
        return PAL_OK;
    return pal_error_set(error, PAL_ESHAPE,
                         "sample: argument logits is %s and should be of %lld rows of f32 or f64",
                         pal_array_describe(a, text, sizeof text), (long long)B);
}

/* A row after the other, as doubles in memory for n of them and n integers. */
static pal_status draw_rows(const pal_array *a, const pal_sample_opts *o, pal_rng *rng, double *x,
                            int64_t *tokens, pal_error *error)
{
    const int64_t n = a->shape[a->ndim - 1], B = pal_array_count(a) / n;
    const int64_t size = (int64_t)pal_dtype_size(a->dtype);
    int64_t *order = (int64_t *)(void *)(x + n);
    for (int64_t b = 0; b < B; b++) {
        int64_t offset = 0, rest = b;
        for (int i = a->ndim - 2; i >= 0; i--) {
            offset += rest % a->shape[i] * a->stride[i];
            rest /= a->shape[i];
        }
        pal_array row = pal_array_of(a->dtype, PAL_SHAPE(n), (char *)a->data + offset * size);
        row.stride[0] = a->stride[a->ndim - 1];
        pal_array copy = pal_array_of(PAL_F64, PAL_SHAPE(n), x);
        pal_status s = pal_array_copy(&copy, &row, error);
        if (s != PAL_OK) return s;
        tokens[b] = draw(x, n, order, o, rng);
        if (tokens[b] < 0)
            return pal_error_set(error, PAL_EVALUE,
                                 "sample: no logit of row %lld is a number above -inf",
                                 (long long)b);
    }
    return PAL_OK;
}

void pal_sample_rows(pal_tensor logits, pal_sample_opts opts, pal_rng *rng, int64_t B,
                     int64_t *tokens)
{
    for (int64_t b = 0; b < B; b++) tokens[b] = -1;
    pal_node *node = pal_node_of(logits, "sample", "logits");
    if (!node) return;
    pal_error error = {PAL_OK, ""};
    if (check(&node->a, &opts, B, &error) == PAL_OK) {
        size_t n = (size_t)node->a.shape[node->a.ndim - 1], bytes = n * 2 * sizeof(double);
        double *memory = pal_malloc(bytes);
        if (!memory)
            pal_error_set(&error, PAL_ENOMEM, "sample: out of memory");
        else if (draw_rows(&node->a, &opts, rng, memory, tokens, &error) != PAL_OK)
            for (int64_t b = 0; b < B; b++) tokens[b] = -1;
        pal_free(memory, memory ? bytes : 0);
    }
    if (error.status != PAL_OK) pal_fail(node->owner, error.status, "%s", error.message);
}

int64_t pal_sample(pal_tensor logits, pal_sample_opts opts, pal_rng *rng)
{
    int64_t token;
    pal_sample_rows(logits, opts, rng, 1, &token);
    return token;
}
