/*
 * rule_mamba2.c - Mamba-2 (SSD), token by token.
 *
 * The state forgets by exp(A dt) and adds Bm (dt x)^T; nothing is erased. D x passes the input by:
 *
 *     S <- exp(A dt) S + Bm (dt x)^T        o = S^T Cm + D x
 */
#include "layers/rules/fused/fused.h"

typedef struct mamba2 {
    pal_tensor decay; /* exp(A dt) [B,T,nh,1,1] */
    pal_tensor read;  /* Cm [B,T,nh,1,N] */
    pal_tensor write; /* Bm [B,T,nh,N,1] */
    pal_tensor u;     /* dt x [B,T,nh,1,P] */
} mamba2;

static pal_tensor token(const void *rule, int64_t t, pal_tensor *S)
{
    const mamba2 *r = rule;
    pal_tensor kept = pal_mul(pal_select(r->decay, 1, t), *S);
    *S = pal_add(kept, pal_mul(pal_select(r->write, 1, t), pal_select(r->u, 1, t)));
    return pal_squeeze(pal_matmul(pal_select(r->read, 1, t), *S), -2); /* S^T Cm [B,nh,P] */
}

pal_rule_out pal_mamba2(pal_tensor x, pal_tensor dt, pal_tensor A, pal_tensor Bm, pal_tensor Cm,
                        pal_tensor D, pal_rule_opts opts)
{
    pal_frame f;
    pal_scan scan;
    pal_arg a[] = {
        {"x", "BThP", x, false},   {"dt", "BTh", dt, false},  {"A", "h", A, false},
        {"Bm", "BTGN", Bm, false}, {"Cm", "BTGN", Cm, false}, {"D", "h", D, true},
    };
    pal_frame_init(&f, "mamba2");
    if (!pal_frame_add(&f, 6, a) || !pal_frame_groups(&f, 'h', 'G') ||
        !pal_frame_decay(&f, PAL_NONE, "", &opts) || !pal_scan_init(&scan, &f, "BThNP", &opts))
        return pal_scan_failed(&f);
    x = a[0].t, dt = a[1].t, A = a[2].t, Bm = a[3].t, Cm = a[4].t, D = a[5].t;

    pal_rule_parts parts;
    pal_tensor in[PAL_FUSED_INPUTS] = {Cm,         Bm,           x, dt, PAL_NONE, PAL_NONE,
                                       scan.state, opts.offsets, A, D};
    if (!pal_rule_parts_begin(&parts, &scan, PAL_MAMBA2, in, &opts)) return pal_scan_failed(&f);
    if (!pal_scan_composed(&scan, &opts))
        return pal_rule_parts_end(&parts, pal_fused_rule(&f, &scan, PAL_MAMBA2, in, &opts));
    pal_scan_prepare(&scan, &opts, &Cm, &Bm, NULL);
    int64_t group = f.size['h'] / f.size['G']; /* heads that read one group */
    if (opts.scale != 0) Cm = pal_affine(Cm, opts.scale, 0);
    Bm = pal_share_heads(Bm, group), Cm = pal_share_heads(Cm, group);
    pal_tensor u = pal_mul(pal_unsqueeze(dt, -1), x); /* [B,T,nh,P] */
    mamba2 rule = {
        .decay = pal_unsqueeze(pal_unsqueeze(pal_exp(pal_mul(dt, A)), -1), -1),
        .read = pal_unsqueeze(Cm, -2),
        .write = pal_unsqueeze(Bm, -1),
        .u = pal_unsqueeze(u, -2),
    };
    pal_rule_out out = pal_scan_run(&scan, token, &rule, u);
    if (!pal_is_none(D)) out.o = pal_add(out.o, pal_mul(pal_unsqueeze(D, -1), x));
    return pal_rule_parts_end(&parts, out);
}
