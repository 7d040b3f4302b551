/*
 * mamba2.c - Mamba-2 (SSD), token by token.
 *
 * The state forgets by exp(A dt) and adds Bm (dt x)^T; nothing is erased. D x passes the input on
 * directly:
 *
 *     S <- exp(A dt) S + Bm (dt x)^T        o = S^T Cm + D x
 */
#include "layers/rules/scan.h"

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

static pal_rule_out compose(pal_scan *s, const pal_tensor *in, const pal_rule_opts *opts)
{
    const pal_frame *f = s->frame;
    pal_tensor x = in[0], dt = in[1], A = in[2], Bm = in[3], Cm = in[4], D = in[5];
    pal_scan_prepare(s, opts, &Cm, &Bm, NULL);
    const int64_t group = f->size['J'] / f->size['H']; /* heads that read one group */
    if (opts->scale != 0) Cm = pal_affine(Cm, opts->scale, 0);
    Bm = pal_share_heads(Bm, group), Cm = pal_share_heads(Cm, group);
    pal_tensor u = pal_mul(pal_unsqueeze(dt, -1), x); /* [B,T,nh,P] */
    mamba2 rule = {
        .decay = pal_unsqueeze(pal_unsqueeze(pal_exp(pal_mul(dt, A)), -1), -1),
        .read = pal_unsqueeze(Cm, -2),
        .write = pal_unsqueeze(Bm, -1),
        .u = pal_unsqueeze(u, -2),
    };
    pal_rule_out out = pal_scan_run(s, token, &rule, u);
    if (!pal_is_none(D)) out.o = pal_add(out.o, pal_mul(pal_unsqueeze(D, -1), x));
    return out;
}

const pal_rule pal_rule_mamba2 = {
    .name = "mamba2",
    .kind = PAL_KIND_mamba2,
    .operand = {{"x", "BTJV", PAL_V, false},
                {"dt", "BTJ", PAL_G, false},
                {"A", "J", PAL_IN_A, false},
                {"Bm", "BTHK", PAL_K, false},
                {"Cm", "BTHK", PAL_Q, false},
                {"D", "J", PAL_IN_D, true}},
    .state = {{"state", "SJKV", PAL_IN_STATE, true}},
    .shown = "HGJhKNVP",
    .skips = true,
    .scale = 1,
    .compose = compose,
};

pal_rule_out pal_mamba2(pal_tensor x, pal_tensor dt, pal_tensor A, pal_tensor Bm, pal_tensor Cm,
                        pal_tensor D, pal_rule_opts opts)
{
    return pal_rule_call(&pal_rule_mamba2, (const pal_tensor[]){x, dt, A, Bm, Cm, D}, opts);
}
