/*
 * 07_own_mixer.c - a mixer of one's own: retention (Sun et al. 2023, arXiv 2307.08621). Each head
 * forgets at a rate of its own:  S <- gamma S + k v^T,  o = S^T q / sqrt K. The program runs the
 * tests of this library's own mixers; as a shared object the file serves all programs by its name:
 *
 *     cc -shared -fPIC -DPLUGIN 07_own_mixer.c -o retention.so $(pkg-config --cflags palimpsest)
 *     PAL_MIXERS=./retention.so recall --mixers gdn2,retention --pairs 8 --len 48
 */
#include <palimpsest.h>
#include <math.h>

typedef struct retention { /* also its options, of which H is read */
    pal_mixer mixer;
    int64_t H;
    pal_tensor q, k, v, gate, out, norm;
} retention;

static pal_tensor forward(const pal_mixer *mixer, pal_tensor x, const pal_mixer_call *call)
{
    const retention *r = (const retention *)mixer;
    const pal_shape each = PAL_SHAPE(pal_dim(x, 0), pal_dim(x, 1), r->H); /* head and token */
    /* log gamma = log(1 - 2^(-5-h)) of head h */
    pal_tensor g = pal_arange(pal_tape_at(x), pal_dtype_of(x), r->H);
    g = pal_log(pal_affine(pal_exp(pal_affine(g, -M_LN2, -5 * M_LN2)), -1, 1));
    pal_tensor q = pal_linear_heads(x, r->q, r->H), k = pal_linear_heads(x, r->k, r->H);
    pal_tensor v = pal_linear_heads(x, r->v, r->H), gate = pal_linear_heads(x, r->gate, r->H);
    pal_tensor o = pal_mixer_attend(call, q, k, v, pal_expand(g, each));
    o = pal_gated_rms_norm(o, gate, r->norm, (pal_gated_norm_opts){0});
    return pal_linear(pal_merge_heads(o), r->out, PAL_NONE);
}

static pal_mixer *create(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const void *opts, pal_rng *rng)
{
    static const char *const names[] = {"q_proj", "k_proj", "v_proj", "g_proj", "o_proj"};
    const int64_t H = ((const retention *)opts)->H ? ((const retention *)opts)->H : 2;
    char name[PAL_MIXER_NAME];
    retention *r = pal_params_alloc(params, sizeof *r);
    if (!r) return NULL;
    if (width % H) return pal_mixer_wrong("retention", "num_heads does not divide the width");
    r->mixer = (pal_mixer){.name = "retention", .forward = forward};
    r->mixer.state = PAL_SHAPE(H, width / H, width / H), r->H = H;
    pal_tensor *const weight[] = {&r->q, &r->k, &r->v, &r->gate, &r->out};
    for (int i = 0; i < 5; i++)
        *weight[i] = pal_mixer_linear(params, prefix, names[i], width, width, dtype, rng);
    r->norm = pal_ones_new(params, pal_mixer_param(name, prefix, "norm.weight"), width / H, dtype);
    return &r->mixer;
}

static const pal_key rows[] = {
    {"num_heads", PAL_KEY_WHOLE, PAL_AT(retention, H), .low = 1, .high = 1024}};
static const pal_mixer_kind kind = {"retention", PAL_KEYS(rows), sizeof(retention), create};
PAL_MIXER(kind)

#ifndef PLUGIN
int main(void) { return pal_mixer_test("retention:num_heads=3", (pal_mixer_test_opts){0}) != 0; }
#endif
