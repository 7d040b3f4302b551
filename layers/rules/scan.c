/*
 * scan.c - the loop over tokens and packed sequences that the composed rules share.
 *
 * Each rule has its own function for one token. This file has the order of tokens, the initial and
 * final states, and the joining of outputs.
 */
#include "layers/rules/scan.h"
#include "layers/rules/kernels.h"

/* Options that do not go together, or with the rule. */
static bool fit_options(pal_frame *f, const pal_rule *rule, const pal_rule_opts *o)
{
    const bool A = !pal_is_none(o->A_log), bias = !pal_is_none(o->dt_bias);
    if (o->mode < PAL_RULE_AUTO || o->mode > PAL_RULE_CHUNK)
        return pal_frame_fail(f, PAL_EVALUE, "there is no mode %d", (int)o->mode);
    if (o->chunk < 0 || o->chunk % 16 || o->chunk > 256)
        return pal_frame_fail(f, PAL_EVALUE,
                              "chunk is %lld and should be a multiple of 16 up to 256",
                              (long long)o->chunk);
    if (o->keep_every < 0)
        return pal_frame_fail(f, PAL_EVALUE, "keep_every is %lld and should be above 0 (0: chosen)",
                              (long long)o->keep_every);
    if (o->normalize && !rule->unit_keys)
        return pal_frame_fail(f, PAL_EVALUE, "normalize is for the delta rules");
    if (A != bias)
        return pal_frame_fail(f, PAL_EVALUE, "A_log and dt_bias are given together or not at all");
    if (!(o->lower_bound <= 0) || (o->lower_bound < 0 && !A))
        return pal_frame_fail(f, PAL_EVALUE,
                              "lower_bound is %g and should be below 0 (0: none), and needs A_log",
                              o->lower_bound);
    if (o->in_place && (pal_is_none(o->state) || o->mode == PAL_RULE_COMPOSED))
        return pal_frame_fail(f, PAL_EVALUE, "in_place needs a state and a fused mode");
    if (o->in_place && o->parts && o->parts->size > 1)
        return pal_frame_fail(f, PAL_EVALUE, "in_place needs sequences that lie in one process");
    return true;
}

bool pal_scan_too_wide(const pal_scan *s)
{
    return s->shape.dim[2] > PAL_FUSED_WIDTH || s->shape.dim[3] > PAL_FUSED_WIDTH;
}

bool pal_frame_decay(pal_frame *f, pal_tensor g, const char *dims, pal_rule_opts *opts)
{
    if (pal_is_none(opts->A_log) || pal_is_none(opts->dt_bias))
        return true; /* or pal_scan_init says why */
    if (pal_is_none(g))
        return pal_frame_fail(f, PAL_EVALUE,
                              "A_log and dt_bias make a decay of g, and there is none");
    const char heads[] = {dims[2], 0};
    pal_arg a[] = {{"A_log", heads, opts->A_log, false}, {"dt_bias", "D", opts->dt_bias, false}};
    f->size['D'] = f->size[(int)dims[2]] * (dims[3] ? f->size[(int)dims[3]] : 1);
    if (!pal_frame_add(f, 2, a)) return false;
    opts->A_log = a[0].t;
    opts->dt_bias = pal_contiguous(a[1].t); /* kernels read it as a row */
    return true;
}

bool pal_scan_init(pal_scan *s, pal_frame *f, const pal_rule *rule, const pal_rule_opts *opts)
{
    const char *dims = rule->state[0].axes;
    const int64_t batch = f->size['B'];
    *s = (pal_scan){.sequences = 1, .T = f->size['T'], .frame = f};
    if (!fit_options(f, rule, opts)) return false;
    if (!pal_is_none(opts->offsets)) {
        s->offsets = pal_frame_offsets(f, opts->offsets, batch, s->T, &s->sequences);
        if (!s->offsets) return false;
    }
    f->size['S'] = s->offsets ? s->sequences : batch;
    pal_arg state = {rule->state[0].name, dims, opts->state, true};
    if (!pal_frame_add(f, 1, &state)) return false;
    s->shape = (pal_shape){.ndim = 4};
    for (int d = 0; d < 4; d++) s->shape.dim[d] = f->size[(int)dims[d]];
    s->state = state.t;
    const bool fused =
        opts->mode == PAL_RULE_CHUNK || opts->mode == PAL_RULE_RECURRENT || opts->in_place;
    if (fused && pal_scan_too_wide(s))
        return pal_frame_fail(f, PAL_ESHAPE, "heads are %lld x %lld; fused modes take up to %d",
                              (long long)s->shape.dim[2], (long long)s->shape.dim[3],
                              PAL_FUSED_WIDTH);
    return f->tape->owner.error.status == PAL_OK;
}

bool pal_scan_composed(const pal_scan *s, const pal_rule_opts *opts)
{
    return opts->mode == PAL_RULE_COMPOSED || pal_shape_count(s->shape) == 0 ||
           pal_scan_too_wide(s);
}

void pal_scan_prepare(pal_scan *s, const pal_rule_opts *opts, pal_tensor *q, pal_tensor *k,
                      pal_tensor *g)
{
    if (pal_is_none(s->state)) s->state = pal_zeros(s->frame->tape, s->frame->dtype, s->shape);
    if (opts->normalize) *q = pal_l2_norm(*q, PAL_NORM_EPS), *k = pal_l2_norm(*k, PAL_NORM_EPS);
    if (g && !pal_is_none(opts->A_log))
        *g = pal_log_decay(*g, opts->A_log, opts->dt_bias, opts->lower_bound);
}

pal_rule_out pal_scan_failed(const pal_frame *f)
{
    return (pal_rule_out){pal_frame_poison(f), pal_frame_poison(f)};
}

pal_rule_out pal_scan_run(const pal_scan *s, pal_token_fn *token, const void *rule,
                          pal_tensor none_out)
{
    const int64_t whole[2] = {0, s->T}, *offsets = s->offsets ? s->offsets : whole;
    pal_tape *tape = pal_tape_of(s->state.node);
    size_t size = (size_t)(s->T + s->sequences) * sizeof(pal_tensor);
    pal_tensor *o = pal_malloc(size), *final = o + s->T;
    pal_rule_out out = {pal_poison(&tape->owner), pal_poison(&tape->owner)};
    if (!o) {
        pal_fail(&tape->owner, PAL_ENOMEM, "%s: out of memory for %lld tokens", s->frame->op,
                 (long long)s->T);
        return out;
    }
    for (int64_t n = 0; n < s->sequences; n++) {
        pal_tensor S = s->offsets ? pal_slice(s->state, 0, n, n + 1, 1) : s->state;
        for (int64_t t = offsets[n]; t < offsets[n + 1]; t++) {
            o[t] = token(rule, t, &S);
            if (pal_tape_status(tape) != PAL_OK) goto done;
        }
        final[n] = S;
    }
    out.o = s->T ? pal_stack((int)s->T, o, 1) : none_out;
    out.state = s->offsets ? pal_concat((int)s->sequences, final, 0) : final[0];
done:
    pal_free(o, size);
    return out;
}
