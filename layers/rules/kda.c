/*
 * kda.c - Kimi Delta Attention, token by token.
 *
 * The recurrence S <- (I - beta k k^T) diag(exp g) S + beta k v^T is one step of online learning: D
 * = diag(exp g) S predicts the value D^T k for key k, and the state moves by beta along the error:
 * S = D + k (beta (v - D^T k))^T.
 */
#include "layers/rules/scan.h"

#include <math.h>

typedef struct kda {
    pal_tensor q, key_row; /* [B,T,HV,1,K] */
    pal_tensor key_column; /* [B,T,HV,K,1] */
    pal_tensor v;          /* [B,T,HV,1,V] */
    pal_tensor decay;      /* exp g [B,T,HV,K,1], or PAL_NONE */
    pal_tensor beta;       /* [B,T,HV,1,1] */
} kda;

static pal_tensor token(const void *rule, int64_t t, pal_tensor *S)
{
    const kda *r = rule;
    pal_tensor D = pal_is_none(r->decay) ? *S : pal_mul(pal_select(r->decay, 1, t), *S);
    pal_tensor predicted = pal_matmul(pal_select(r->key_row, 1, t), D); /* [B,HV,1,V] */
    pal_tensor wrong = pal_sub(pal_select(r->v, 1, t), predicted);
    pal_tensor step = pal_mul(pal_select(r->beta, 1, t), wrong);
    *S = pal_add(D, pal_mul(pal_select(r->key_column, 1, t), step));
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
    kda rule = {
        .q = pal_unsqueeze(pal_affine(q, scale, 0), -2),
        .key_row = pal_unsqueeze(k, -2),
        .key_column = pal_unsqueeze(k, -1),
        .v = pal_unsqueeze(v, -2),
        .beta = pal_unsqueeze(pal_unsqueeze(beta, -1), -1),
    };
    if (!pal_is_none(g)) rule.decay = pal_unsqueeze(pal_exp(g), -1);
    return pal_scan_run(s, token, &rule, v);
}

const pal_rule pal_rule_kda = {
    .name = "kda",
    .kind = PAL_KIND_kda,
    .operand = {{"q", "BTHK", PAL_Q, false},
                {"k", "BTHK", PAL_K, false},
                {"v", "BTJV", PAL_V, false},
                {"g", "BTJK", PAL_G, true},
                {"beta", "BTJ", PAL_B, false}},
    .state = {{"state", "SJKV", PAL_IN_STATE, true}},
    .erases = true,
    .unit_keys = true,
    .activates = true,
    .compose = compose,
};

pal_rule_out pal_kda(pal_tensor q, pal_tensor k, pal_tensor v, pal_tensor g, pal_tensor beta,
                     pal_rule_opts opts)
{
    return pal_rule_call(&pal_rule_kda, (const pal_tensor[]){q, k, v, g, beta}, opts);
}
