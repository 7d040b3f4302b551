/*
 * 07_own_mixer.c - a mixer of one's own: retention (Sun et al. 2023, arXiv 2307.08621), inside a
 * language model that learns to recall. A head forgets at its own fixed rate gamma:
 *
 *     S <- gamma S + k v^T        o = S^T q / sqrt K
 *
 * With the name "retention" everything else works: lists of mixers, counts, checkpoints, decoding.
 * As a shared object this file also serves the programs of this repository:
 *
 *     cc -shared -fPIC -DPLUGIN 07_own_mixer.c -o retention.so $(pkg-config --cflags palimpsest)
 *     PAL_MIXERS=./retention.so train_lm --mixers retention,gdn2
 */
#include <palimpsest.h>

#include <math.h>

typedef struct options {
    int64_t num_heads;
} options;

typedef struct retention {
    pal_mixer mixer;
    int64_t H, K;
    pal_tensor q, k, v, gate, out, norm;
} retention;

static pal_tensor heads(const retention *r, pal_tensor x, pal_tensor weight)
{
    pal_shape shape = PAL_SHAPE(pal_dim(x, 0), pal_dim(x, 1), r->H, r->K);
    return pal_reshape(pal_linear(x, weight, PAL_NONE), shape);
}

static pal_tensor forward(const pal_mixer *mixer, pal_tensor x, const pal_mixer_call *call)
{
    const retention *r = (const retention *)mixer;
    pal_tensor q = heads(r, x, r->q), k = heads(r, x, r->k), v = heads(r, x, r->v);
    /* log gamma of each head, [H], for every token: [B,T,H] */
    pal_tensor h = pal_arange(pal_tape_at(x), pal_dtype_of(x), r->H);
    pal_tensor gamma = pal_affine(pal_exp(pal_affine(h, -M_LN2, -5 * M_LN2)), -1, 1);
    pal_tensor g = pal_expand(pal_log(gamma), PAL_SHAPE(pal_dim(x, 0), pal_dim(x, 1), r->H));
    pal_mixer_show(call, "q", &q);
    pal_mixer_show(call, "k", &k);
    pal_mixer_show(call, "v", &v);
    pal_mixer_show(call, "g", &g);
    pal_rule_out out = pal_linear_attention(q, k, v, g, pal_mixer_rule_opts(call));
    pal_mixer_rule_done(call, &out);
    pal_tensor y =
        pal_gated_rms_norm(out.o, heads(r, x, r->gate), r->norm, (pal_gated_norm_opts){0});
    y = pal_reshape(y, PAL_SHAPE(pal_dim(x, 0), pal_dim(x, 1), r->H * r->K));
    return pal_linear(y, r->out, PAL_NONE);
}

static pal_remembered remembers(const pal_mixer *mixer, int64_t B, int64_t seen)
{
    const retention *r = (const retention *)mixer;
    pal_remembered m = {0};
    (void)seen;
    pal_remember(&m, "state", PAL_SHAPE(B, r->H, r->K, r->K));
    return m;
}

static pal_mixer *create(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const void *opts, pal_rng *rng)
{
    const options *o = opts;
    const int64_t H = o->num_heads ? o->num_heads : 2;
    char name[PAL_MIXER_NAME];
    retention *r = pal_params_alloc(params, sizeof *r);
    if (!r) return NULL;
    if (width % H)
        return pal_mixer_wrong("retention", "%lld heads do not divide the width %lld", (long long)H,
                               (long long)width);
    *r = (retention){.mixer = {"retention", forward, remembers, 0}, .H = H, .K = width / H};
    const char *const names[] = {"q_proj", "k_proj", "v_proj", "g_proj", "o_proj"};
    pal_tensor *const weights[] = {&r->q, &r->k, &r->v, &r->gate, &r->out};
    for (int i = 0; i < 5; i++) {
        char weight[32];
        snprintf(weight, sizeof weight, "%s.weight", names[i]);
        *weights[i] = pal_linear_weight(params, pal_mixer_param(name, prefix, weight), width, width,
                                        dtype, rng);
    }
    r->norm = pal_ones_new(params, pal_mixer_param(name, prefix, "norm.weight"), r->K, dtype);
    return &r->mixer;
}

static const pal_key rows[] = {
    {"num_heads", PAL_KEY_WHOLE, PAL_AT(options, num_heads), .low = 1, .high = 1024},
};
static const pal_mixer_kind kind = {"retention", PAL_KEYS(rows), sizeof(options), create};
PAL_MIXER(kind)

#ifndef PLUGIN
int main(void)
{
    /* The tests that this library's own mixers pass. */
    if (pal_mixer_test("retention:num_heads=3", (pal_mixer_test_opts){0}) != 0) return 1;

    pal_rng rng = pal_rng_new(1, 0);
    pal_params *params = pal_params_new();
    pal_lm *lm = pal_lm_new(
        params, (pal_lm_opts){.vocab = 64, .width = 64, .mixers = "gdn2,retention"}, &rng);
    pal_lm_print_counts(lm, stdout);
    pal_params_free(params);
    return 0;
}
#endif
