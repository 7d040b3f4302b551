/*
 * attention.c - softmax attention: the checks, and the form that is composed of generic operations.
 */
#include "layers/attention/attention_op.h"
#include "autograd/ops/narrow.h"
#include "layers/parts.h"

#include <math.h>

/* o [B,T,H,D] = softmax(scale q k^T) v for one sequence, or a batch of them. k and v have as many
 * heads as q. */
static pal_tensor compose(pal_tensor q, pal_tensor k, pal_tensor v, const pal_attention_call *o)
{
    pal_tape *tape = pal_tape_of(q.node);
    int64_t T = pal_dim(q, 1), S = pal_dim(k, 1);
    q = pal_transpose(q, 1, 2); /* [B,H,T,D] */
    k = pal_transpose(k, 1, 2); /* [B,H,S,D] */
    v = pal_transpose(v, 1, 2);
    pal_tensor scores = pal_affine(pal_matmul(q, pal_transpose(k, -1, -2)), o->scale, 0);

    pal_tensor i = pal_affine(pal_unsqueeze(pal_arange(tape, PAL_I64, T), 1), 1, (double)(S - T));
    pal_tensor j = pal_arange(tape, PAL_I64, S), last = pal_affine(i, 1, -(double)o->window);
    pal_tensor hidden = pal_maximum(pal_gt(j, i), pal_le(j, last)); /* [T,S] */
    pal_tensor weights = pal_softmax(pal_masked_fill(scores, hidden, -HUGE_VAL), -1);
    return pal_transpose(pal_matmul(weights, v), 1, 2); /* [B,T,H,D] */
}

/* Calls compose for each packed sequence. */
static pal_tensor compose_packed(pal_frame *f, const pal_tensor in[3], const pal_attention_call *o,
                                 int64_t sequences, const int64_t *offsets)
{
    size_t size = (size_t)sequences * sizeof(pal_tensor);
    pal_tensor *part = pal_malloc(size), out = pal_frame_poison(f);
    if (!part) {
        pal_frame_fail(f, PAL_ENOMEM, "out of memory for %lld sequences", (long long)sequences);
        return out;
    }
    int n = 0;
    const int64_t past = pal_dim(in[1], 1) - pal_dim(in[0], 1); /* keys before the first sequence */
    for (int64_t i = 0; i < sequences; i++) {
        pal_tensor x[3];
        if (offsets[i] == offsets[i + 1]) continue;
        x[0] = pal_slice(in[0], 1, offsets[i], offsets[i + 1], 1);
        for (int j = 1; j < 3; j++)
            x[j] = pal_slice(in[j], 1, i ? past + offsets[i] : 0, past + offsets[i + 1], 1);
        part[n++] = compose(x[0], x[1], x[2], o);
    }
    if (n) out = pal_concat(n, part, 1);
    pal_free(part, size);
    return out;
}

bool pal_attention_fits(pal_frame *f, const pal_attention_opts *opts)
{
    int64_t T = f->size['T'], S = f->size['S'];
    if (S < T)
        return pal_frame_fail(f, PAL_ESHAPE, "%lld queries are more than the %lld keys",
                              (long long)T, (long long)S);
    if (opts->window < 0)
        return pal_frame_fail(f, PAL_EVALUE, "window is %lld and should be above 0 (0: none)",
                              (long long)opts->window);
    if (!isfinite(opts->scale))
        return pal_frame_fail(f, PAL_EVALUE, "scale is %g and should be a number", opts->scale);
    return true;
}

pal_attention_call pal_attention_options(const pal_frame *f, const pal_attention_opts *opts)
{
    const int64_t S = f->size['S'], D = f->size['D'];
    const bool all = opts->window == 0 || opts->window > S;
    return (pal_attention_call){.scale = opts->scale != 0 ? opts->scale : 1 / sqrt((double)D),
                                .window = all ? S : opts->window};
}

/* Puts the keys and values that earlier ranks have of the first sequence before those of this part,
 * in[1] and in[2]. */
static void keys_of_parts(pal_frame *f, const pal_part *s, const pal_attention_opts *opts,
                          int64_t pieces, const int64_t *offsets, pal_tensor in[3])
{
    const int64_t S = f->size['S'], n = opts->window ? opts->window - 1 : INT64_MAX;
    const int64_t first = pieces > 1 ? S - f->size['T'] + offsets[pieces - 1] : 0;
    const pal_offer *offers = pal_part_offers(f, s, S - first);
    for (int i = 1; i < 3 && offers; i++) {
        pal_tensor before = pal_before(s, offers, pal_slice(in[i], 1, first, S, 1), n);
        in[i] = pal_concat(2, (pal_tensor[]){before, in[i]}, 1);
    }
    if (offers) f->size['S'] += pal_part_before(offers, s->comm->rank, n);
}

pal_tensor pal_attention(pal_tensor q, pal_tensor k, pal_tensor v, pal_attention_opts opts)
{
    pal_frame f;
    pal_arg a[] = {{"q", "BTHD", q, false}, {"k", "BSJD", k, false}, {"v", "BSJD", v, false}};
    const int64_t *offsets = NULL;
    int64_t sequences = 1;
    pal_frame_init(&f, "attention");
    if (!pal_frame_add(&f, 3, a) || !pal_frame_groups(&f, 'H', 'J') ||
        !pal_attention_fits(&f, &opts))
        return pal_frame_poison(&f);
    if (!pal_is_none(opts.offsets)) {
        offsets = pal_frame_offsets(&f, opts.offsets, f.size['B'], f.size['T'], &sequences);
        if (!offsets) return pal_frame_poison(&f);
    }
    pal_tensor in[] = {a[0].t, a[1].t, a[2].t, opts.offsets}, out;
    const pal_part part = pal_part_of(opts.parts, opts.continued, offsets ? sequences : 0);
    if (part.comm) keys_of_parts(&f, &part, &opts, sequences, offsets, in);
    if (pal_tape_status(f.tape) != PAL_OK) return pal_frame_poison(&f);
    pal_attention_call o = pal_attention_options(&f, &opts);
    o.narrow = pal_narrow_dtype(in[0]) == PAL_BF16;
    bool empty = f.size['B'] * f.size['T'] * f.size['H'] == 0 || f.size['D'] == 0;
    if (opts.composed && !empty) {
        for (int i = 1; i < 3; i++) in[i] = pal_share_heads(in[i], f.size['H'] / f.size['J']);
        return offsets ? compose_packed(&f, in, &o, sequences, offsets)
                       : compose(in[0], in[1], in[2], &o);
    }
    for (int i = 1; i < 3 && f.tape->grad; i++) in[i] = pal_apart(in, i, true);
    pal_apply(&pal_attention_op, &o, sizeof o, 4, in, 1, &out);
    return out;
}
