/*
 * gdn.c - Gated DeltaNet, token by token.
 *
 * One decay a = exp g for the whole head commutes with the erase, so the recurrence
 *
 *     S <- a (I - beta k k^T) S + beta k v^T
 *
 * reads the state as it is, m = S^T k, and becomes S <- a S + k (beta (v - a m))^T.
 */
#include "layers/rules/scan.h"

#include <math.h>

typedef struct gdn {
    pal_tensor q, key_row; /* [B,T,HV,1,K] */
    pal_tensor key_column; /* [B,T,HV,K,1] */
    pal_tensor v;          /* [B,T,HV,1,V] */
    pal_tensor a, beta;    /* [B,T,HV,1,1]; a may be PAL_NONE */
} gdn;

static pal_tensor token(const void *rule, int64_t t, pal_tensor *S)
{
    const gdn *r = rule;
    pal_tensor m = pal_matmul(pal_select(r->key_row, 1, t), *S); /* [B,HV,1,V] */
    if (!pal_is_none(r->a)) {
        pal_tensor a = pal_select(r->a, 1, t);
        m = pal_mul(a, m);
        *S = pal_mul(a, *S);
    }
    pal_tensor u = pal_mul(pal_select(r->beta, 1, t), pal_sub(pal_select(r->v, 1, t), m));
    *S = pal_add(*S, pal_mul(pal_select(r->key_column, 1, t), u));
    return pal_squeeze(pal_matmul(pal_select(r->q, 1, t), *S), -2); /* [B,HV,V] */
}

static pal_rule_out compose(pal_scan *s, const pal_tensor *in, const pal_rule_opts *opts)
{
    const pal_frame *f = s->frame;
    pal_tensor q = in[0], k = in[1], v = in[2], g = in[3], beta = in[4];
    pal_scan_prepare(s, opts, &q, &k, &g);
    const int64_t group = f->size['J'] / f->size['H']; /* value heads that read one key head */
    q = pal_share_heads(q, group), k = pal_share_heads(k, group);
    const double scale = opts->scale != 0 ? opts->scale : 1 / sqrt((double)f->size['K']);
    gdn rule = {
        .q = pal_unsqueeze(pal_affine(q, scale, 0), -2),
        .key_row = pal_unsqueeze(k, -2),
        .key_column = pal_unsqueeze(k, -1),
        .v = pal_unsqueeze(v, -2),
        .beta = pal_unsqueeze(pal_unsqueeze(beta, -1), -1),
    };
    if (!pal_is_none(g)) rule.a = pal_unsqueeze(pal_unsqueeze(pal_exp(g), -1), -1);
    return pal_scan_run(s, token, &rule, v);
}

const pal_rule pal_rule_gdn = {
    .name = "gdn",
    .kind = PAL_KIND_gdn,
    .operand = {{"q", "BTHK", PAL_Q, false},
                {"k", "BTHK", PAL_K, false},
                {"v", "BTJV", PAL_V, false},
                {"g", "BTJ", PAL_G, true},
                {"beta", "BTJ", PAL_B, false}},
    .state = {{"state", "SJKV", PAL_IN_STATE, true}},
    .erases = true,
    .unit_keys = true,
    .activates = true,
    .compose = compose,
};

pal_rule_out pal_gdn(pal_tensor q, pal_tensor k, pal_tensor v, pal_tensor g, pal_tensor beta,
                     pal_rule_opts opts)
{
    return pal_rule_call(&pal_rule_gdn, (const pal_tensor[]){q, k, v, g, beta}, opts);
}
