/*
 * rule_deltanet.c - DeltaNet, token by token: the delta rule by itself.
 *
 * S <- (I - beta k k^T) S + beta k v^T takes beta of what the state holds at key k away and puts
 * beta v there: S <- S - k (beta S^T k)^T + k (beta v)^T.
 */
#include "layers/rules/fused/fused.h"

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

pal_rule_out pal_deltanet(pal_tensor q, pal_tensor k, pal_tensor v, pal_tensor beta,
                          pal_rule_opts opts)
{
    pal_frame f;
    pal_scan scan;
    pal_arg a[] = {
        {"q", "BTHK", q, false},
        {"k", "BTHK", k, false},
        {"v", "BTJV", v, false},
        {"beta", "BTJ", beta, false},
    };
    pal_frame_init(&f, "deltanet");
    if (!pal_frame_add(&f, 4, a) || !pal_frame_groups(&f, 'J', 'H') ||
        !pal_frame_decay(&f, PAL_NONE, "", &opts) || !pal_scan_init(&scan, &f, "BTJKV", &opts))
        return pal_scan_failed(&f);
    q = a[0].t, k = a[1].t, v = a[2].t, beta = a[3].t;

    pal_rule_parts parts;
    pal_tensor in[PAL_FUSED_INPUTS] = {q, k, v, PAL_NONE, beta, PAL_NONE, scan.state, opts.offsets};
    if (!pal_rule_parts_begin(&parts, &scan, PAL_DELTANET, in, &opts)) return pal_scan_failed(&f);
    if (!pal_scan_composed(&scan, &opts))
        return pal_rule_parts_end(&parts, pal_fused_rule(&f, &scan, PAL_DELTANET, in, &opts));
    pal_scan_prepare(&scan, &opts, &q, &k, NULL);
    beta = pal_unsqueeze(beta, -1);            /* [B,T,HV,1] */
    int64_t group = f.size['J'] / f.size['H']; /* value heads that read one key head */
    q = pal_share_heads(q, group), k = pal_share_heads(k, group);
    double scale = opts.scale != 0 ? opts.scale : 1 / sqrt((double)f.size['K']);
    deltanet rule = {
        .q = pal_unsqueeze(pal_affine(q, scale, 0), -2),
        .key_column = pal_unsqueeze(k, -1),
        .beta_k = pal_unsqueeze(pal_mul(beta, k), -2),
        .beta_v = pal_unsqueeze(pal_mul(beta, v), -2),
    };
    return pal_rule_parts_end(&parts, pal_scan_run(&scan, token, &rule, v));
}
