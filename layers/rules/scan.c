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
    if (o->pair != PAL_PAIR_ADJACENT && (!rule->pairs || o->pair != PAL_PAIR_HALF))
        return pal_frame_fail(f, PAL_EVALUE,
                              rule->pairs ? "there is no pair %d" : "pair %d is for Mamba-3",
                              (int)o->pair);
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
    return s->shape[0].dim[2] > PAL_FUSED_WIDTH || s->shape[0].dim[3] > PAL_FUSED_WIDTH;
}

/* The kernels divide chunks into whole tokens. */
bool pal_scan_rows_fit(const pal_scan *s)
{
    const int64_t R = s->frame->size['R'];
    return R < 0 || R == 1 || R == 2 || R == 4 || R == 8;
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
    opts->dt_bias = a[1].t;
    if (!f->error) opts->dt_bias = pal_contiguous(a[1].t); /* kernels read it as a row */
    return pal_array_contiguous(&opts->dt_bias.node->a) ||
           pal_frame_fail(f, PAL_ESHAPE, "argument dt_bias is not contiguous");
}

/* Checks the parts of the initial state. */
static bool add_states(pal_scan *s, const pal_rule *rule, const pal_rule_opts *opts)
{
    pal_frame *f = s->frame;
    s->states = pal_rule_states(rule);
    for (int i = 0; i < PAL_RULE_STATES; i++) {
        const pal_tensor given = i ? opts->more[i - 1] : opts->state;
        if (i >= s->states) {
            if (pal_is_none(given)) continue;
            return pal_frame_fail(f, PAL_EVALUE, "the state has %d part%s, and more are given",
                                  s->states, s->states > 1 ? "s" : "");
        }
        pal_arg a = {rule->state[i].name, rule->state[i].axes, given, true};
        if (!pal_frame_add(f, 1, &a)) return false;
        for (const char *c = a.dims; *c; c++)
            s->shape[i].dim[s->shape[i].ndim++] = f->size[(int)*c];
        s->state[i] = a.t;
    }
    return true;
}

bool pal_scan_init(pal_scan *s, pal_frame *f, const pal_rule *rule, const pal_rule_opts *opts)
{
    const int64_t batch = f->size['B'];
    *s = (pal_scan){.sequences = 1, .T = f->size['T'], .frame = f};
    if (!fit_options(f, rule, opts)) return false;
    if (!pal_is_none(opts->offsets)) {
        s->offsets = pal_frame_offsets(f, opts->offsets, batch, s->T, &s->sequences);
        if (!s->offsets) return false;
    }
    f->size['S'] = s->offsets ? s->sequences : batch;
    if (!add_states(s, rule, opts)) return false;
    const bool fused =
        opts->mode == PAL_RULE_CHUNK || opts->mode == PAL_RULE_RECURRENT || opts->in_place;
    if (fused && !pal_scan_rows_fit(s))
        return pal_frame_fail(f, PAL_ESHAPE, "%lld rows a token; fused modes take 1, 2, 4 and 8",
                              (long long)f->size['R']);
    if (fused && pal_scan_too_wide(s))
        return pal_frame_fail(f, PAL_ESHAPE, "heads are %lld x %lld; fused modes take up to %d",
                              (long long)s->shape[0].dim[2], (long long)s->shape[0].dim[3],
                              PAL_FUSED_WIDTH);
    return f->error || f->tape->owner.error.status == PAL_OK;
}

bool pal_scan_composed(const pal_scan *s, const pal_rule_opts *opts)
{
    return opts->mode == PAL_RULE_COMPOSED || !pal_scan_rows_fit(s) ||
           pal_shape_count(s->shape[0]) == 0 || pal_scan_too_wide(s);
}

void pal_scan_prepare(pal_scan *s, const pal_rule_opts *opts, pal_tensor *q, pal_tensor *k,
                      pal_tensor *g)
{
    for (int i = 0; i < s->states; i++)
        if (pal_is_none(s->state[i]))
            s->state[i] = pal_zeros(s->frame->tape, s->frame->dtype, s->shape[i]);
    if (opts->normalize) *q = pal_l2_norm(*q, PAL_NORM_EPS), *k = pal_l2_norm(*k, PAL_NORM_EPS);
    if (g && !pal_is_none(opts->A_log))
        *g = pal_log_decay(*g, opts->A_log, opts->dt_bias, opts->lower_bound);
}

pal_rule_out pal_scan_failed(const pal_frame *f)
{
    const pal_tensor x = pal_frame_poison(f);
    return (pal_rule_out){x, x, {x, x, x}};
}

/* Part i of the state of sequence n. */
static pal_tensor part_of(const pal_scan *s, int i, int64_t n)
{
    return s->offsets ? pal_slice(s->state[i], 0, n, n + 1, 1) : s->state[i];
}

pal_rule_out pal_scan_run(const pal_scan *s, pal_token_fn *token, const void *rule,
                          pal_tensor none_out)
{
    const int64_t whole[2] = {0, s->T}, *offsets = s->offsets ? s->offsets : whole;
    pal_tape *tape = pal_tape_of(s->state[0].node);
    const int64_t N = s->sequences;
    size_t size = (size_t)(s->T + N * s->states) * sizeof(pal_tensor);
    pal_tensor *o = pal_malloc(size), *final = o + s->T; /* part i of sequence n at i * N + n */
    pal_rule_out out = pal_scan_failed(s->frame);
    if (!o) {
        pal_fail(&tape->owner, PAL_ENOMEM, "%s: out of memory for %lld tokens", s->frame->op,
                 (long long)s->T);
        return out;
    }
    for (int64_t n = 0; n < N; n++) {
        pal_tensor S[PAL_RULE_STATES];
        for (int i = 0; i < s->states; i++) S[i] = part_of(s, i, n);
        for (int64_t t = offsets[n]; t < offsets[n + 1]; t++) {
            o[t] = token(rule, t, S);
            if (pal_tape_status(tape) != PAL_OK) goto done;
        }
        for (int i = 0; i < s->states; i++) final[i * N + n] = S[i];
    }
    out = (pal_rule_out){s->T ? pal_stack((int)s->T, o, 1) : none_out, PAL_NONE, {PAL_NONE}};
    for (int i = 0; i < s->states; i++)
        *(i ? &out.more[i - 1] : &out.state) =
            s->offsets ? pal_concat((int)N, final + i * N, 0) : final[i];
done:
    pal_free(o, size);
    return out;
}
