/*
 * head.c - heads for classes and values: hidden states are pooled, and one product follows.
 */
#include "layers/models/trunk.h"

#include <math.h>

/* ---- Pooling ---- */

/* [B,d] of x [B,T,d]. */
static pal_tensor pool_rows(pal_tensor x, pal_tensor query, pal_pooling how)
{
    if (how == PAL_POOL_MEAN) return pal_mean(x, 1, false);
    if (how == PAL_POOL_LAST) return pal_select(x, 1, -1);
    const int64_t d = pal_dim(x, 2);
    pal_tensor score = pal_matmul(x, pal_reshape(query, PAL_SHAPE(d, 1))); /* [B,T,1] */
    score = pal_softmax(pal_affine(score, 1 / sqrt((double)d), 0), 1);
    return pal_squeeze(pal_matmul(pal_transpose(score, 1, 2), x), 1);
}

/* [N,d] of packed sequences. */
static pal_tensor pool_packed(pal_frame *f, pal_tensor x, pal_tensor query, pal_pooling how,
                              int64_t sequences, const int64_t *offsets)
{
    const size_t size = (size_t)sequences * sizeof(pal_tensor);
    pal_tensor *part = pal_malloc(size), out = pal_frame_poison(f);
    if (!part) {
        pal_frame_fail(f, PAL_ENOMEM, "out of memory for %lld sequences", (long long)sequences);
        return out;
    }
    int64_t n = 0;
    for (; n < sequences && offsets[n] < offsets[n + 1]; n++)
        part[n] = pool_rows(pal_slice(x, 1, offsets[n], offsets[n + 1], 1), query, how);
    if (n < sequences)
        pal_frame_fail(f, PAL_EVALUE, "sequence %lld is empty", (long long)n);
    else if (pal_tape_status(f->tape) == PAL_OK)
        out = n > 1 ? pal_concat((int)n, part, 0) : part[0];
    pal_free(part, size);
    return out;
}

pal_tensor pal_pool(pal_tensor x, pal_tensor query, pal_pooling how, pal_tensor offsets)
{
    pal_frame f;
    pal_arg a[] = {{"x", "BTd", x, false}, {"query", "d", query, false}};
    const bool reads = how == PAL_POOL_ATTENTION;
    int64_t sequences = 0;
    pal_frame_init(&f, "pool");
    if (!pal_frame_add(&f, reads ? 2 : 1, a)) return pal_frame_poison(&f);
    if (how == PAL_POOL_NONE) return a[0].t;
    if (!pal_is_none(offsets)) {
        const int64_t *o = pal_frame_offsets(&f, offsets, f.size['B'], f.size['T'], &sequences);
        if (o && sequences > 0) return pool_packed(&f, a[0].t, a[1].t, how, sequences, o);
        if (o) pal_frame_fail(&f, PAL_EVALUE, "there is no sequence");
        return pal_frame_poison(&f);
    }
    if (f.size['T'] > 0) return pool_rows(a[0].t, a[1].t, how);
    pal_frame_fail(&f, PAL_EVALUE, "sequences of no token have nothing to pool");
    return pal_frame_poison(&f);
}

/* ---- Heads ---- */

pal_task_head pal_task_head_new(pal_params *params, const char *prefix, int64_t d, int64_t n,
                                pal_task_head_opts opts, pal_dtype dtype, pal_rng *rng)
{
    pal_build b = {params, prefix, dtype, rng, ""};
    pal_task_head head = {.opts = opts};
    if (d < 1 || n < 1 || d > 1 << 24 || n > 1 << 30 || !(opts.dropout >= 0 && opts.dropout < 1)) {
        pal_build_fail(&b, "head", "the width %lld, %lld outputs or dropout %g is out of range",
                       (long long)d, (long long)n, opts.dropout);
        return head;
    }
    head.weight = pal_build_linear(&b, "weight", n, d);
    if (!opts.no_bias) head.bias = pal_bias_new(params, pal_build_name(&b, "bias"), n, dtype);
    if (opts.pooling != PAL_POOL_ATTENTION) return head;
    head.query = pal_param(params, pal_build_name(&b, "query"), dtype, PAL_SHAPE(d));
    if (rng) head.query = pal_fill_normal(head.query, 0, 0.02, rng);
    return head;
}

pal_tensor pal_task_head_forward(const pal_task_head *head, pal_tensor x, pal_run_opts run)
{
    const pal_pooling how = head->opts.pooling;
    if (how != PAL_POOL_NONE && !pal_trunk_whole("head", &run, x)) return pal_poison(x.node->owner);
    x = pal_pool(x, head->query, how, run.offsets);
    if (run.training) x = pal_dropout(x, head->opts.dropout);
    return pal_linear(x, head->weight, head->bias);
}

pal_tensor pal_task_head_classify(const pal_task_head *head, pal_tensor x, pal_tensor classes,
                                  pal_run_opts run)
{
    const pal_cross_entropy_opts opts = {.has_ignore = true, .ignore = PAL_IGNORE};
    return pal_cross_entropy(pal_task_head_forward(head, x, run), classes, opts);
}

pal_tensor pal_task_head_regress(const pal_task_head *head, pal_tensor x, pal_tensor targets,
                                 pal_run_opts run)
{
    const pal_tensor y = pal_task_head_forward(head, x, run);
    pal_tape *tape = pal_tape_of(y.node);
    if (!tape || pal_tape_status(tape) != PAL_OK) return y;
    const pal_node *n = pal_node_of(targets, "task_head_regress", "targets");
    if (!n) return pal_poison(&tape->owner);
    if (!pal_shape_equal(pal_array_shape(&n->a), pal_shape_of(y)) ||
        n->a.dtype != pal_dtype_of(y)) {
        char is[128], wanted[128];
        pal_fail(&tape->owner, PAL_ESHAPE,
                 "task_head_regress: argument targets is %s and should be %s, as the result is",
                 pal_array_describe(&n->a, is, sizeof is),
                 pal_array_describe(&y.node->a, wanted, sizeof wanted));
        return pal_poison(&tape->owner);
    }
    return pal_mean(pal_square(pal_sub(y, targets)), PAL_ALL, false);
}

double pal_accuracy(pal_tensor scores, pal_tensor classes)
{
    const pal_node *s = pal_node_of(scores, "accuracy", "scores");
    const pal_node *c = s ? pal_node_of(classes, "accuracy", "classes") : NULL;
    if (!c) return NAN;
    char is[128], other[128];
    bool fits = s->a.ndim == c->a.ndim + 1 && s->a.shape[c->a.ndim] > 0;
    for (int i = 0; fits && i < c->a.ndim; i++) fits = s->a.shape[i] == c->a.shape[i];
    if (!fits || c->a.dtype != PAL_I64 || !pal_dtype_real(s->a.dtype)) {
        pal_fail_nowhere(fits ? PAL_EDTYPE : PAL_ESHAPE,
                         "accuracy: scores %s and classes %s; real scores have one axis more than "
                         "integer classes",
                         pal_array_describe(&s->a, is, sizeof is),
                         pal_array_describe(&c->a, other, sizeof other));
        return NAN;
    }
    const int64_t n = pal_array_count(&c->a), classes_of = s->a.shape[c->a.ndim];
    int64_t right = 0, asked = 0, at[PAL_MAX_DIMS] = {0};
    for (int64_t i = 0; i < n; i++) {
        int64_t best = 0, left = i;
        double most = -INFINITY;
        for (int d = c->a.ndim - 1; d >= 0; left /= c->a.shape[d--]) at[d] = left % c->a.shape[d];
        const int64_t is_class = (int64_t)pal_array_get(&c->a, at);
        if (is_class == PAL_IGNORE) continue;
        for (int64_t k = 0; k < classes_of; k++) {
            at[c->a.ndim] = k;
            const double x = pal_array_get(&s->a, at);
            if (x > most) most = x, best = k;
        }
        asked++;
        right += best == is_class;
    }
    return asked ? (double)right / (double)asked : NAN;
}
