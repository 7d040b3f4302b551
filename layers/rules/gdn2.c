/*
 * rule_gdn2.c - Gated DeltaNet-2, token by token.
 *
 * With e = b*k (what is erased) and z = w*v (what is written), the recurrence
 *
 *     S <- (I - k e^T) diag(exp g) S + k z^T
 *
 * needs no K x K matrix: decay the state to D = diag(exp g) S, read it along e, and write at k what
 * is to be there minus what was read: S = D + k (z - D^T e)^T.
 */
#include "layers/rules/fused/fused.h"

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

/* Axes of g or b: whichever of H and HV heads it has. */
static const char *gate_dims(pal_tensor gate, int64_t HV)
{
    bool per_value = gate.node && gate.node->a.ndim == 4 && gate.node->a.shape[2] == HV;
    return per_value ? "BTJK" : "BTHK";
}

pal_rule_out pal_gdn2(pal_tensor q, pal_tensor k, pal_tensor v, pal_tensor g, pal_tensor b,
                      pal_tensor w, pal_rule_opts opts)
{
    pal_frame f;
    pal_scan scan;
    pal_arg a[] = {
        {"q", "BTHK", q, false}, {"k", "BTHK", k, false}, {"v", "BTJV", v, false},
        {"w", "BTJV", w, false}, {"g", "BTHK", g, true},  {"b", "BTHK", b, false},
    };
    pal_frame_init(&f, "gdn2");
    if (!pal_frame_add(&f, 4, a) || !pal_frame_groups(&f, 'J', 'H')) return pal_scan_failed(&f);
    int64_t HV = f.size['J'], n = HV / f.size['H']; /* n value heads share a key head */
    a[4].dims = gate_dims(g, HV);
    a[5].dims = gate_dims(b, HV);
    if (!pal_frame_add(&f, 2, a + 4) || !pal_frame_decay(&f, a[4].t, a[4].dims, &opts) ||
        !pal_scan_init(&scan, &f, "BTJKV", &opts))
        return pal_scan_failed(&f);
    q = a[0].t, k = a[1].t, v = a[2].t, w = a[3].t, g = a[4].t, b = a[5].t;

    pal_rule_parts parts;
    pal_tensor in[PAL_FUSED_INPUTS] = {
        q, k, v, g, b, w, scan.state, opts.offsets, opts.A_log, opts.dt_bias};
    if (!pal_rule_parts_begin(&parts, &scan, PAL_GDN2, in, &opts)) return pal_scan_failed(&f);
    if (!pal_scan_composed(&scan, &opts))
        return pal_rule_parts_end(&parts, pal_fused_rule(&f, &scan, PAL_GDN2, in, &opts));
    pal_scan_prepare(&scan, &opts, &q, &k, &g);
    int64_t n_g = a[4].dims[2] == 'J' ? 1 : n, n_b = a[5].dims[2] == 'J' ? 1 : n;
    double scale = opts.scale != 0 ? opts.scale : 1 / sqrt((double)f.size['K']);
    pal_tensor e = pal_mul(pal_share_heads(b, n_b), pal_share_heads(k, n));
    pal_tensor z = pal_mul(w, v);
    gdn2 rule = {
        .q = pal_unsqueeze(pal_share_heads(pal_affine(q, scale, 0), n), -2),
        .e = pal_unsqueeze(e, -2),
        .k = pal_unsqueeze(pal_share_heads(k, n), -1),
        .z = pal_unsqueeze(z, -2),
    };
    if (!pal_is_none(g)) rule.decay = pal_unsqueeze(pal_share_heads(pal_exp(g), n_g), -1);
    return pal_rule_parts_end(&parts, pal_scan_run(&scan, token, &rule, z));
}
