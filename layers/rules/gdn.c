/*
 * rule_gdn.c - Gated DeltaNet, token by token.
 *
 * One decay a = exp g for the whole head commutes with the erase, so the recurrence
 *
 *     S <- a (I - beta k k^T) S + beta k v^T
 *
 * reads the state as it is, m = S^T k, and becomes S <- a S + k (beta (v - a m))^T.
 */
#include "layers/rules/fused/fused.h"

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

pal_rule_out pal_gdn(pal_tensor q, pal_tensor k, pal_tensor v, pal_tensor g, pal_tensor beta,
                     pal_rule_opts opts)
{
    pal_frame f;
    pal_scan scan;
    pal_arg a[] = {
        {"q", "BTHK", q, false}, {"k", "BTHK", k, false},      {"v", "BTJV", v, false},
        {"g", "BTJ", g, true},   {"beta", "BTJ", beta, false},
    };
    pal_frame_init(&f, "gdn");
    if (!pal_frame_add(&f, 5, a) || !pal_frame_groups(&f, 'J', 'H') ||
        !pal_frame_decay(&f, g, "BTJ", &opts) || !pal_scan_init(&scan, &f, "BTJKV", &opts))
        return pal_scan_failed(&f);
    q = a[0].t, k = a[1].t, v = a[2].t, g = a[3].t, beta = a[4].t;

    pal_rule_parts parts;
    pal_tensor in[PAL_FUSED_INPUTS] = {
        q, k, v, g, beta, PAL_NONE, scan.state, opts.offsets, opts.A_log, opts.dt_bias};
    if (!pal_rule_parts_begin(&parts, &scan, PAL_GDN, in, &opts)) return pal_scan_failed(&f);
    if (!pal_scan_composed(&scan, &opts))
        return pal_rule_parts_end(&parts, pal_fused_rule(&f, &scan, PAL_GDN, in, &opts));
    pal_scan_prepare(&scan, &opts, &q, &k, &g);
    int64_t group = f.size['J'] / f.size['H']; /* value heads that read one key head */
    q = pal_share_heads(q, group), k = pal_share_heads(k, group);
    double scale = opts.scale != 0 ? opts.scale : 1 / sqrt((double)f.size['K']);
    gdn rule = {
        .q = pal_unsqueeze(pal_affine(q, scale, 0), -2),
        .key_row = pal_unsqueeze(k, -2),
        .key_column = pal_unsqueeze(k, -1),
        .v = pal_unsqueeze(v, -2),
        .beta = pal_unsqueeze(pal_unsqueeze(beta, -1), -1),
    };
    if (!pal_is_none(g)) rule.a = pal_unsqueeze(pal_unsqueeze(pal_exp(g), -1), -1);
    return pal_rule_parts_end(&parts, pal_scan_run(&scan, token, &rule, v));
}
