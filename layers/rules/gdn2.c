/*
 * gdn2.c - Gated DeltaNet-2, token by token.
 *
 * With e = b*k (what is erased) and z = w*v (what is written), the recurrence
 *
 *     S <- (I - k e^T) diag(exp g) S + k z^T
 *
 * needs no K x K matrix: decay the state to D = diag(exp g) S, read it along e, and write at k the
 * difference of z and what was read: S = D + k (z - D^T e)^T.
 */
#include "layers/rules/scan.h"

#include <math.h>

typedef struct gdn2 {
    pal_tensor q, e;  /* [B,T,HV,1,K] */
    pal_tensor k;     /* [B,T,HV,K,1] */
    pal_tensor z;     /* [B,T,HV,1,V] */
    pal_tensor decay; /* exp g [B,T,HV,K,1], or PAL_NONE */
} gdn2;

static pal_tensor token(const void *rule, int64_t t, pal_tensor *S)
{
    const gdn2 *r = rule;
    pal_tensor k = pal_select(r->k, 1, t), e = pal_select(r->e, 1, t);
    pal_tensor q = pal_select(r->q, 1, t), z = pal_select(r->z, 1, t);
    pal_tensor D = pal_is_none(r->decay) ? *S : pal_mul(pal_select(r->decay, 1, t), *S);
    pal_tensor old = pal_matmul(e, D);            /* (D^T e)^T [B,HV,1,V] */
    *S = pal_add(D, pal_mul(k, pal_sub(z, old))); /* D + k (z - old)^T [B,HV,K,V] */
    return pal_squeeze(pal_matmul(q, *S), -2);    /* S^T q [B,HV,V] */
}

static pal_rule_out compose(pal_scan *s, const pal_tensor *in, const pal_rule_opts *opts)
{
    const pal_frame *f = s->frame;
    pal_tensor q = in[0], k = in[1], v = in[2], g = in[3], b = in[4], w = in[5];
    const int64_t HV = f->size['J'], n = HV / f->size['H']; /* n value heads share a key head */
    pal_scan_prepare(s, opts, &q, &k, &g);
    const double scale = opts->scale != 0 ? opts->scale : 1 / sqrt((double)f->size['K']);
    const int64_t n_b = HV / pal_dim(b, 2);
    pal_tensor e = pal_mul(pal_share_heads(b, n_b), pal_share_heads(k, n));
    pal_tensor z = pal_mul(w, v);
    gdn2 rule = {
        .q = pal_unsqueeze(pal_share_heads(pal_affine(q, scale, 0), n), -2),
        .e = pal_unsqueeze(e, -2),
        .k = pal_unsqueeze(pal_share_heads(k, n), -1),
        .z = pal_unsqueeze(z, -2),
    };
    if (!pal_is_none(g))
        rule.decay = pal_unsqueeze(pal_share_heads(pal_exp(g), HV / pal_dim(in[3], 2)), -1);
    return pal_scan_run(s, token, &rule, z);
}

const pal_rule pal_rule_gdn2 = {
    .name = "gdn2",
    .kind = PAL_KIND_gdn2,
    .operand = {{"q", "BTHK", PAL_Q, false},
                {"k", "BTHK", PAL_K, false},
                {"v", "BTJV", PAL_V, false},
                {"g", "BTEK", PAL_G, true},
                {"b", "BTEK", PAL_B, false},
                {"w", "BTJV", PAL_W, false}},
    .state = {{"state", "SJKV", PAL_IN_STATE, true}},
    .erases = true,
    .unit_keys = true,
    .activates = true,
    .compose = compose,
};

pal_rule_out pal_gdn2(pal_tensor q, pal_tensor k, pal_tensor v, pal_tensor g, pal_tensor b,
                      pal_tensor w, pal_rule_opts opts)
{
    return pal_rule_call(&pal_rule_gdn2, (const pal_tensor[]){q, k, v, g, b, w}, opts);
}
