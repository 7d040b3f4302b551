/*
 * deltanet.c - DeltaNet, token by token: only the delta rule.
 *
 * S <- (I - beta k k^T) S + beta k v^T removes the share beta of what the state has at key k, and
 * adds beta v there: S <- S - k (beta S^T k)^T + k (beta v)^T.
 */
#include "layers/rules/scan.h"

#include <math.h>

typedef struct deltanet {
    pal_tensor q;              /* [B,T,HV,1,K] */
    pal_tensor key_column;     /* [B,T,HV,K,1] */
    pal_tensor beta_k, beta_v; /* [B,T,HV,1,K], [B,T,HV,1,V] */
} deltanet;

static pal_tensor token(const void *rule, int64_t t, pal_tensor *S)
{
    const deltanet *r = rule;
    pal_tensor erase = pal_matmul(pal_select(r->beta_k, 1, t), *S); /* [B,HV,1,V] */
    pal_tensor change = pal_sub(pal_select(r->beta_v, 1, t), erase);
    *S = pal_add(*S, pal_mul(pal_select(r->key_column, 1, t), change));
    return pal_squeeze(pal_matmul(pal_select(r->q, 1, t), *S), -2); /* [B,HV,V] */
}

static pal_rule_out compose(pal_scan *s, const pal_tensor *in, const pal_rule_opts *opts)
{
    const pal_frame *f = s->frame;
    pal_tensor q = in[0], k = in[1], v = in[2], beta = in[3];
    pal_scan_prepare(s, opts, &q, &k, NULL);
    beta = pal_unsqueeze(beta, -1);                    /* [B,T,HV,1] */
    const int64_t group = f->size['J'] / f->size['H']; /* value heads that read one key head */
    q = pal_share_heads(q, group), k = pal_share_heads(k, group);
    const double scale = opts->scale != 0 ? opts->scale : 1 / sqrt((double)f->size['K']);
    deltanet rule = {
        .q = pal_unsqueeze(pal_affine(q, scale, 0), -2),
        .key_column = pal_unsqueeze(k, -1),
        .beta_k = pal_unsqueeze(pal_mul(beta, k), -2),
        .beta_v = pal_unsqueeze(pal_mul(beta, v), -2),
    };
    return pal_scan_run(s, token, &rule, v);
}

const pal_rule pal_rule_deltanet = {
    .name = "deltanet",
    .kind = PAL_KIND_deltanet,
    .operand = {{"q", "BTHK", PAL_Q, false},
                {"k", "BTHK", PAL_K, false},
                {"v", "BTJV", PAL_V, false},
                {"beta", "BTJ", PAL_B, false}},
    .state = {{"state", "SJKV", PAL_IN_STATE, true}},
    .erases = true,
    .unit_keys = true,
    .compose = compose,
};

pal_rule_out pal_deltanet(pal_tensor q, pal_tensor k, pal_tensor v, pal_tensor beta,
                          pal_rule_opts opts)
{
    return pal_rule_call(&pal_rule_deltanet, (const pal_tensor[]){q, k, v, beta}, opts);
}
