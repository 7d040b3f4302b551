/*
 * mamba3.c - Mamba-3, token by token.
 *
 * A token writes twice: a part of its write at once, the rest together with the next token, by that
 * token's step and decay (the trapezoid rule). Queries and keys are turned by angles that add up
 * over the sequence, so a query and a key meet at the difference of their angles. A token has R
 * rows of keys, values and queries, which all write to and read from one state:
 *
 *     S <- exp(g) (S + (1 - lam) dt K_before^T V_before) + lam dt K^T V        O = Q S + D V
 *
 * with K, Q [R,N] turned and V [R,P]. The state also carries the angles, and k and x of the last
 * token, since its second write is still to come.
 */
#include "layers/rules/scan.h"

typedef struct mamba3 {
    pal_tensor decay, now, late; /* exp g, lam dt and (1 - lam) dt [B,T,nh,1,1] */
    pal_tensor angle;            /* [B,T,nh,J] */
    pal_tensor q, k;             /* turned [B,T,nh,R,N] */
    pal_tensor x;                /* [B,T,nh,P] */
    pal_tensor mimo_x;           /* [nh,R,P] */
    pal_tensor D;                /* [nh,1,1], or PAL_NONE */
} mamba3;

/* The rows V [B,nh,R,P] of x [B,nh,P]. */
static pal_tensor values(const mamba3 *r, pal_tensor x)
{
    return pal_mul(pal_unsqueeze(x, -2), r->mimo_x);
}
/* K^T V [B,nh,N,P] of k [B,nh,R,N] and v [B,nh,R,P]. */
static pal_tensor write(pal_tensor k, pal_tensor v)
{
    return pal_matmul(pal_transpose(k, -1, -2), v);
}

static pal_tensor token(const void *rule, int64_t t, pal_tensor *part)
{
    const mamba3 *r = rule;
    const pal_tensor k = pal_select(r->k, 1, t), x = pal_select(r->x, 1, t), v = values(r, x);
    pal_tensor late = write(part[PAL_LAST_K], values(r, part[PAL_LAST_X]));
    late = pal_mul(pal_select(r->late, 1, t), late);
    pal_tensor S = pal_mul(pal_select(r->decay, 1, t), pal_add(part[PAL_MATRIX], late));
    part[PAL_MATRIX] = S = pal_add(S, pal_mul(pal_select(r->now, 1, t), write(k, v)));
    part[PAL_ANGLES] = pal_select(r->angle, 1, t);
    part[PAL_LAST_K] = k, part[PAL_LAST_X] = x;
    pal_tensor o = pal_matmul(pal_select(r->q, 1, t), S); /* [B,nh,R,P] */
    return pal_is_none(r->D) ? o : pal_add(o, pal_mul(r->D, v));
}

/* ---- Angles ---- */

static const double TURN = 6.283185307179586; /* 2 pi */

/* th + the sum of dt om over the tokens of a sequence so far, in double [B,T,nh,J]. */
static pal_tensor angles_of(const pal_scan *s, pal_tensor dt, pal_tensor om)
{
    const int64_t whole[2] = {0, s->T}, *offsets = s->offsets ? s->offsets : whole;
    pal_tensor th = pal_cast(s->state[PAL_ANGLES], PAL_F64), all = PAL_NONE;
    dt = pal_unsqueeze(pal_cast(dt, PAL_F64), -1), om = pal_unsqueeze(pal_cast(om, PAL_F64), 2);
    const pal_tensor turn = pal_mul(dt, om);
    for (int64_t n = 0; n < s->sequences; n++) {
        pal_tensor start = s->offsets ? pal_slice(th, 0, n, n + 1, 1) : th;
        pal_tensor of_n = pal_cumsum(pal_slice(turn, 1, offsets[n], offsets[n + 1], 1), 1, false);
        of_n = pal_add(of_n, pal_unsqueeze(start, 1));
        all = n ? pal_concat(2, (pal_tensor[]){all, of_n}, 1) : of_n;
    }
    return all;
}

/* Turns the pairs of channels of x [..,N] by angles with this cosine and sine [..,J]. */
static pal_tensor turned(pal_tensor x, pal_tensor cos, pal_tensor sin, pal_pair pair)
{
    const pal_shape shape = pal_shape_of(x);
    const int64_t N = shape.dim[shape.ndim - 1], J = pal_dim(cos, -1);
    const bool half = pair == PAL_PAIR_HALF;
    pal_tensor a, b;
    if (half) {
        a = pal_slice(x, -1, 0, J, 1), b = pal_slice(x, -1, N / 2, N / 2 + J, 1);
    } else {
        a = pal_slice(x, -1, 0, 2 * J, 2), b = pal_slice(x, -1, J ? 1 : 0, 2 * J, 2);
    }
    const pal_tensor first = pal_sub(pal_mul(a, cos), pal_mul(b, sin));
    const pal_tensor second = pal_add(pal_mul(a, sin), pal_mul(b, cos));
    if (half)
        return pal_concat(4,
                          (pal_tensor[]){first, pal_slice(x, -1, J, N / 2, 1), second,
                                         pal_slice(x, -1, N / 2 + J, N, 1)},
                          -1);
    pal_shape pairs = shape;
    pairs.dim[pairs.ndim - 1] = 2 * J;
    const pal_tensor both = pal_reshape(pal_stack(2, (pal_tensor[]){first, second}, -1), pairs);
    return pal_concat(2, (pal_tensor[]){both, pal_slice(x, -1, 2 * J, N, 1)}, -1);
}

/* The rows of each head [B,T,nh,R,N]: those x [B,T,R,G,N] of its group, and its own bias [nh,R,N].
 */
static pal_tensor rows_of(pal_tensor x, pal_tensor bias, int64_t group)
{
    x = pal_repeat_interleave(pal_transpose(x, 2, 3), 2, group);
    return pal_is_none(bias) ? x : pal_add(x, bias);
}

/* [..] to [..,1,1]. */
static pal_tensor of_matrix(pal_tensor x) { return pal_unsqueeze(pal_unsqueeze(x, -1), -1); }

static pal_rule_out compose(pal_scan *s, const pal_tensor *in, const pal_rule_opts *opts)
{
    const pal_frame *f = s->frame;
    const int64_t group = f->size['J'] / f->size['H']; /* heads that read one group */
    const pal_tensor x = in[0], dt = in[1], g = in[2], lam = in[3], om = in[4];
    pal_tensor Bm = in[5], Cm = in[6], D = in[9], mimo_x = in[10];
    pal_scan_prepare(s, opts, &Cm, &Bm, NULL);
    const pal_tensor phi = angles_of(s, dt, om);
    const pal_tensor cos = pal_unsqueeze(pal_cast(pal_cos(phi), f->dtype), -2);
    const pal_tensor sin = pal_unsqueeze(pal_cast(pal_sin(phi), f->dtype), -2);
    const pal_tensor now = pal_mul(lam, dt);
    if (pal_is_none(mimo_x))
        mimo_x =
            pal_full(f->tape, f->dtype, PAL_SHAPE(f->size['J'], f->size['R'], f->size['V']), 1);
    pal_tensor q = turned(rows_of(Cm, in[8], group), cos, sin, opts->pair);
    mamba3 rule = {
        .decay = of_matrix(pal_exp(g)),
        .now = of_matrix(now),
        .late = of_matrix(pal_mul(pal_affine(lam, -1, 1), dt)),
        .angle = pal_cast(pal_wrap(phi, TURN), f->dtype),
        .q = opts->scale != 0 ? pal_affine(q, opts->scale, 0) : q,
        .k = turned(rows_of(Bm, in[7], group), cos, sin, opts->pair),
        .x = x,
        .mimo_x = mimo_x,
        .D = pal_is_none(D) ? D : of_matrix(D),
    };
    return pal_scan_run(s, token, &rule, pal_mul(pal_unsqueeze(x, -2), mimo_x));
}

/* ---- Sequences over processes ---- */

/* Keys k [C,nh,R,N] turned by the angles th [C,nh,J] (sign 1), or back (-1). */
static pal_tensor keys_turned(pal_tensor k, pal_tensor th, double sign, pal_pair pair)
{
    const pal_dtype dtype = pal_dtype_of(k);
    const pal_tensor cos = pal_cast(pal_cos(th), dtype), sin = pal_cast(pal_sin(th), dtype);
    return turned(k, pal_unsqueeze(cos, -2), pal_affine(pal_unsqueeze(sin, -2), sign, 0), pair);
}

/* Part i of the initial state of sequence n, or of all of a batch; zeros if it is not given. */
static pal_tensor given(const pal_scan *s, int i, int64_t n)
{
    pal_tensor x = s->state[i];
    if (pal_is_none(x)) x = pal_zeros(s->frame->tape, s->frame->dtype, s->shape[i]);
    return s->offsets ? pal_slice(x, 0, n, n + 1, 1) : x;
}

/*
 * Angles are a sum over all tokens of a sequence, so over its ranks too. Keys and x are those of
 * the last token, wherever it is; an empty part hands them on. Keys travel unturned, since the
 * angles of the last token are known only where they arrive, as the sum.
 */
static void bring(pal_scan *s, const pal_part *part, const pal_tensor *in,
                  const pal_rule_opts *opts, pal_tensor *brought)
{
    const pal_frame *f = s->frame;
    const int64_t group = f->size['J'] / f->size['H'], n = s->sequences - 1, T = s->T;
    const int64_t from = s->offsets ? s->offsets[n] : 0, end = T > from ? T - 1 : T;
    const pal_tensor dt = pal_cast(pal_slice(in[1], 1, from, T, 1), PAL_F64);
    const pal_tensor om = pal_cast(pal_slice(in[4], 1, from, T, 1), PAL_F64);
    const pal_tensor k = rows_of(pal_slice(in[5], 1, end, T, 1), in[7], group);
    /* Sums over one token or none. */
    pal_tensor own[] = {pal_matmul(pal_transpose(dt, 1, 2), om), pal_sum(k, 1, false),
                        pal_sum(pal_slice(in[0], 1, end, T, 1), 1, false)};
    const bool begins = !part->through, stops[] = {begins, begins || end < T, begins || end < T};
    if (begins) {
        const pal_tensor th = pal_cast(given(s, PAL_ANGLES, n), PAL_F64);
        own[0] = pal_add(own[0], th);
        if (end == T) {
            const pal_tensor last = given(s, PAL_LAST_K, n);
            own[1] = pal_add(own[1], keys_turned(last, th, -1, opts->pair));
            own[2] = pal_add(own[2], given(s, PAL_LAST_X, n));
        }
    }
    own[0] = pal_wrap(own[0], TURN);
    pal_part_sums(part, 3, own, stops, brought);
    if (!part->continued) return;
    const pal_tensor th = pal_wrap(brought[0], TURN);
    const pal_tensor first[] = {pal_cast(th, f->dtype), keys_turned(brought[1], th, 1, opts->pair),
                                brought[2]};
    for (int i = PAL_ANGLES; i <= PAL_LAST_X; i++) {
        pal_tensor state = first[i - PAL_ANGLES];
        if (n > 0) {
            const pal_tensor all =
                pal_is_none(s->state[i]) ? pal_zeros(f->tape, f->dtype, s->shape[i]) : s->state[i];
            const pal_tensor rest = pal_slice(all, 0, 1, s->sequences, 1);
            state = pal_concat(2, (pal_tensor[]){state, rest}, 0);
        }
        s->state[i] = state;
    }
}

static bool fits(pal_frame *f, const pal_rule_opts *opts)
{
    const int64_t N = f->size['K'], J = f->size['A'];
    if (2 * J > N)
        return pal_frame_fail(f, PAL_ESHAPE, "%lld pairs cannot be among %lld channels",
                              (long long)J, (long long)N);
    if (opts->pair == PAL_PAIR_HALF && N % 2)
        return pal_frame_fail(f, PAL_ESHAPE, "%lld channels have no two halves", (long long)N);
    return true;
}

const pal_rule pal_rule_mamba3 = {
    .name = "mamba3",
    .kind = PAL_KIND_mamba3,
    .operand = {{"x", "BTJV", PAL_V, false},
                {"dt", "BTJ", PAL_STEP, false},
                {"g", "BTJ", PAL_G, false},
                {"lam", "BTJ", PAL_LAM, false},
                {"om", "BTA", PAL_OM, false},
                {"Bm", "BTRHK", PAL_K, false},
                {"Cm", "BTRHK", PAL_Q, false},
                {"B_bias", "JRK", PAL_IN_B_BIAS, true},
                {"C_bias", "JRK", PAL_IN_C_BIAS, true},
                {"D", "J", PAL_IN_D, true},
                {"mimo_x", "JRV", PAL_IN_MIMO_X, true}},
    .state = {{"state", "SJKV", PAL_IN_STATE, true},
              {"th", "SJA", PAL_IN_STATE + PAL_ANGLES, true},
              {"k", "SJRK", PAL_IN_STATE + PAL_LAST_K, true},
              {"x", "SJV", PAL_IN_STATE + PAL_LAST_X, true}},
    .shown = "HGJhKNVP",
    .pairs = true,
    .scale = 1,
    .fits = fits,
    .compose = compose,
    .bring = bring,
};

pal_rule_out pal_mamba3(pal_tensor x, pal_tensor dt, pal_tensor g, pal_tensor lam, pal_tensor om,
                        pal_tensor Bm, pal_tensor Cm, pal_tensor B_bias, pal_tensor C_bias,
                        pal_tensor D, pal_tensor mimo_x, pal_rule_opts opts)
{
    return pal_rule_call(&pal_rule_mamba3,
                         (const pal_tensor[]){x, dt, g, lam, om, Bm, Cm, B_bias, C_bias, D, mimo_x},
                         opts);
}
