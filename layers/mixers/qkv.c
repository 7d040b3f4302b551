/*
 * qkv.c - what the delta layers share: sizes, and the way from x to q, k and v.
 */
#include "layers/mixers/internal.h"

#include <math.h>

bool pal_heads_init(pal_build *b, const char *layer, pal_heads *h, double expand_v, int64_t most_K,
                    double share)
{
    if (h->d < 1) return pal_build_fail(b, layer, "the width is %lld", (long long)h->d);
    if (h->K == 0) h->K = h->d / 4 < 1 ? 1 : h->d / 4 < most_K ? h->d / 4 : most_K;
    if (h->K > 0 && h->H == 0) h->H = (int64_t)((double)h->d * share) / h->K;
    if (h->K > 0 && h->H == 0) h->H = 1;
    if (h->HV == 0) h->HV = h->H;
    const double V = h->V ? (double)h->V : expand_v * (double)h->K;
    if (h->H < 1 || h->K < 1 || h->HV < 1 || h->conv < 0 || !(V >= 1) || !(h->eps >= 0) ||
        h->H > 1 << 20 || h->HV > 1 << 20 || h->K > 1 << 20 || V > 1 << 20 || h->conv > 1 << 20)
        return pal_build_fail(b, layer,
                              "num_heads %lld, num_v_heads %lld, head_dim %lld, expand_v %g, "
                              "head_v_dim %lld, conv_size %lld or norm_eps %g is out of range",
                              (long long)h->H, (long long)h->HV, (long long)h->K, expand_v,
                              (long long)h->V, (long long)h->conv, h->eps);
    h->V = (int64_t)V;
    if ((double)h->V != V)
        return pal_build_fail(b, layer, "expand_v %g times head_dim %lld is no whole number",
                              expand_v, (long long)h->K);
    if (h->HV % h->H)
        return pal_build_fail(b, layer, "num_v_heads %lld is no multiple of num_heads %lld",
                              (long long)h->HV, (long long)h->H);
    return true;
}

void pal_qkv_projections(pal_build *b, const pal_heads *h, pal_qkv *p)
{
    p->q_proj = pal_build_linear(b, "q_proj.weight", h->H * h->K, h->d);
    p->k_proj = pal_build_linear(b, "k_proj.weight", h->H * h->K, h->d);
    p->v_proj = pal_build_linear(b, "v_proj.weight", h->HV * h->V, h->d);
}

void pal_qkv_convolutions(pal_build *b, const pal_heads *h, pal_qkv *p)
{
    static const char *const weight[] = {"q_conv1d.weight", "k_conv1d.weight", "v_conv1d.weight"};
    static const char *const bias[] = {"q_conv1d.bias", "k_conv1d.bias", "v_conv1d.bias"};
    for (int i = 0; i < 3 && h->conv; i++) {
        int64_t n = i < 2 ? h->H * h->K : h->HV * h->V;
        p->conv[i] =
            pal_conv_weight(b->params, pal_build_name(b, weight[i]), n, h->conv, b->dtype, b->rng);
        if (h->conv_bias)
            p->conv_bias[i] = pal_bias_new(b->params, pal_build_name(b, bias[i]), n, b->dtype);
    }
}

/* Splits the last axis: [B,T,heads*width] to [B,T,heads,width]. */
static pal_tensor as_heads(pal_tensor x, int64_t heads, int64_t width)
{
    pal_shape s = pal_shape_of(x);
    return pal_reshape(x, PAL_SHAPE(s.dim[0], s.dim[1], heads, width));
}

pal_tensor pal_project_heads(pal_tensor x, pal_tensor weight, pal_tensor bias, int64_t heads,
                             int64_t width)
{
    return as_heads(pal_linear(x, weight, bias), heads, width);
}

void pal_qkv_forward(const pal_qkv *p, const pal_heads *h, pal_tensor x, const pal_mixer_call *call,
                     pal_tensor qkv[3])
{
    const pal_tensor proj[3] = {p->q_proj, p->k_proj, p->v_proj};
    for (int i = 0; i < 3; i++) {
        pal_tensor y = pal_linear(x, proj[i], PAL_NONE);
        pal_short_conv_opts how = {.silu = true,
                                   .tail =
                                       h->conv ? pal_mixer_find_part(call, pal_conv_part(i)) : NULL,
                                   .offsets = call->opts.offsets,
                                   .parts = call->opts.parts,
                                   .continued = call->opts.continued};
        y = h->conv ? pal_short_conv(y, p->conv[i], p->conv_bias[i], how) : pal_silu(y);
        qkv[i] = i < 2 ? as_heads(y, h->H, h->K) : as_heads(y, h->HV, h->V);
    }
}

pal_remembered pal_heads_remember(const pal_heads *h, const pal_rule *rule, int64_t B)
{
    pal_remembered m = {0};
    pal_remember_rule(&m, rule, (pal_state_sizes){.S = B, .HV = h->HV, .K = h->K, .V = h->V});
    for (int i = 0; i < 3 && h->conv; i++)
        pal_remember(&m, pal_conv_part(i),
                     PAL_SHAPE(B, h->conv - 1, i < 2 ? h->H * h->K : h->HV * h->V));
    return m;
}
