/*
 * turn.k.h - the rows of keys and queries of Mamba-3: each is what its group has, plus the head's
 * own bias, turned by angles that add up over the sequence.
 *
 * Angles add up in double. For the sine and cosine they are brought to -pi .. pi there, and only
 * then rounded to the element type.
 */
#ifndef PAL_TURN_K_H
#define PAL_TURN_K_H

#include "layers/rules/kernels/rows.k.h"

/* The angles after token t, from those before it. */
static inline void add_angles(const pal_rule_shape *s, const pal_head *h, int64_t t, double *phi)
{
    const double dt = (double)element(&h->in[PAL_STEP], t, 0);
    const pal_rows *om = &h->in[PAL_OM];
    const R *row = (const R *)om->data + t * om->step;
    if (om->channel == 1)
        for (int64_t j = 0; j < s->angles; j++) phi[j] += dt * (double)row[j];
    else
        for (int64_t j = 0; j < s->angles; j++) phi[j] += dt * (double)row[j * om->channel];
}

/* The cosines [Ap] and sines [Ap] of angles. */
static inline void turn_of(const pal_rule_shape *s, const double *phi, R *cs)
{
    R x[s->Ap] __attribute__((aligned(64)));
    const double turn = 6.283185307179586, inverse = 0.15915494309189535;
    for (int64_t j = 0; j < s->Ap; j++) x[j] = 0;
    for (int64_t j = 0; j < s->angles; j++) x[j] = (R)(phi[j] - turn * rint(phi[j] * inverse));
    for (int64_t j = 0; j < s->Ap; j += VL) {
        V sin, cos;
        vsincos(load(x + j), &sin, &cos);
        store(cs + j, cos), store(cs + s->Ap + j, sin);
    }
}

/* Turns a row of K channels forward (sign 1) or back (-1). */
static inline void turn_row(const pal_rule_shape *s, const R *restrict cs, R sign, R *restrict x)
{
    const R *restrict sn = cs + s->Ap;
    if (s->half) {
        R *restrict y = x + s->K / 2;
        for (int64_t j = 0; j < s->angles; j++) {
            const R a = x[j], b = y[j], z = sign * sn[j];
            x[j] = a * cs[j] - b * z;
            y[j] = a * z + b * cs[j];
        }
    } else {
        for (int64_t j = 0; j < s->angles; j++) {
            const R a = x[2 * j], b = x[2 * j + 1], z = sign * sn[j];
            x[2 * j] = a * cs[j] - b * z;
            x[2 * j + 1] = a * z + b * cs[j];
        }
    }
}

/*
 * acc += wedge(du, u) by pair, for padded rows: what a turn of u by a small angle does to the loss.
 * The value of pair j is acc[j] for halves and acc[2 j] for neighbours; what is between means
 * nothing.
 */
static inline void add_wedge(const pal_rule_shape *s, const R *du, const R *u, R *acc)
{
    const int64_t other = s->half ? s->K / 2 : 1, n = s->half ? s->angles : 2 * s->angles;
    for (int64_t a = 0; a < n; a += VL) {
        const V x = load(u + a) * loadu(du + a + other) - load(du + a) * loadu(u + a + other);
        store(acc + a, load(acc + a) + x);
    }
}

/* Row i of token t of q or k with its bias, not turned, to [Kp]. */
static inline void biased_row(const pal_rule_shape *s, const pal_head *h, int which, int64_t t,
                              int64_t i, R *to)
{
    R room[s->Kp] __attribute__((aligned(64))), more[s->Kp] __attribute__((aligned(64)));
    pal_rows x = h->in[which];
    x.data = (R *)x.data + i * h->rank[which];
    const R *from = get_row(&x, t, s->K, s->Kp, room);
    if (h->bias[which].data) {
        const R *bias = get_row(&h->bias[which], i, s->K, s->Kp, more);
        for (int64_t c = 0; c < s->Kp; c += VL) store(to + c, loadu(from + c) + loadu(bias + c));
    } else {
        for (int64_t c = 0; c < s->Kp; c += VL) store(to + c, loadu(from + c));
    }
}

/* Row i of the values [Vp] of a row x of V channels: mimo_x_i * x. */
static inline void value_row(const pal_rule_shape *s, const pal_head *h, const R *x, int64_t i,
                             R *to)
{
    R room[s->Vp] __attribute__((aligned(64)));
    if (!h->mimo_x.data) {
        for (int64_t c = 0; c < s->Vp; c += VL) store(to + c, loadu(x + c));
        return;
    }
    const R *by = get_row(&h->mimo_x, i, s->V, s->Vp, room);
    for (int64_t c = 0; c < s->Vp; c += VL) store(to + c, loadu(x + c) * loadu(by + c));
}

/* The step of token t that is left to the next token's, or 0 if there is no such token. */
static inline R late_step(const pal_head *h, int64_t t)
{
    if (t >= h->length) return 0;
    return (1 - element(&h->in[PAL_LAM], t, 0)) * element(&h->in[PAL_STEP], t, 0);
}

/* Rows k [ranks][Kp] and values v [ranks][Vp] of the token before t, whose angles are `phi`; before
 * the first token those that the sequence begins with. false: there are none. */
static inline bool rows_before(const pal_rule_shape *s, const pal_head *h, int64_t t,
                               const double *phi, R *k, R *v)
{
    R room[s->Vp] __attribute__((aligned(64))), cs[2 * s->Ap] __attribute__((aligned(64)));
    if (t == 0 && (!h->last_k.data || !h->last_x.data)) return false;
    if (t > 0) turn_of(s, phi, cs);
    for (int64_t i = 0; i < s->ranks; i++) {
        if (t > 0) {
            biased_row(s, h, PAL_K, t - 1, i, k + i * s->Kp);
            turn_row(s, cs, 1, k + i * s->Kp);
        } else {
            copy_row((const R *)h->last_k.data + i * h->last_k.step, h->last_k.channel, s->K, s->Kp,
                     k + i * s->Kp);
        }
        const R *x = t > 0 ? get_row(&h->in[PAL_V], t - 1, s->V, s->Vp, room)
                           : get_row(&h->last_x, 0, s->V, s->Vp, room);
        value_row(s, h, x, i, v + i * s->Vp);
    }
    return true;
}

#endif
