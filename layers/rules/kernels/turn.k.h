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

/* Adds those of token t to the angles before it. */
static inline void add_angles(const pal_rule_shape *s, const pal_head *h, int64_t t, double *phi)
{
    const double dt = (double)element(&h->in[PAL_STEP], t, 0);
    const pal_rows *om = &h->in[PAL_OM];
    const R *row = (const R *)om->data + t * om->step;
    R room[s->Ap];
    if (om->channel != 1) row = copy_row(row, om->channel, s->angles, s->Ap, room);
    for (int64_t j = 0; j < s->angles; j += DL)
        *(VD *)(void *)(phi + j) += ld_double(row, j, s->angles) * dt;
}

/* DL angles in -pi .. pi, to x. */
static inline void reduced_angles(VD phi, R *x)
{
    const double turn = 6.283185307179586, inverse = 0.15915494309189535, magic = 0x1.8p52;
    const VD n = (phi * inverse + magic) - magic;
    *(VNU *)x = __builtin_convertvector(phi - n * turn, VN);
}

/* Adds the angles of n tokens from t on to phi [Ap], and writes what there is after each of them,
 * in -pi .. pi, to x [n][Ap]. A few angles at a time, which stay in registers. */
static inline void angles_of(const pal_rule_shape *s, const pal_head *h, int64_t t, int64_t n,
                             double *phi, R *x)
{
    const pal_rows *om = &h->in[PAL_OM];
    const R *rows = (const R *)om->data + t * om->step;
    int64_t step = om->step;
    R room[n * s->Ap];
    double dt[n];
    for (int64_t u = 0; u < n; u++) dt[u] = (double)element(&h->in[PAL_STEP], t + u, 0);
    for (int64_t u = 0; u < n && om->channel != 1; u++)
        copy_row(rows + u * step, om->channel, s->angles, s->Ap, room + u * s->Ap);
    if (om->channel != 1) rows = room, step = s->Ap;
    for (int64_t j = 0; j < s->Ap; j += DL) {
        VD *at = (VD *)(void *)(phi + j), sum = *at;
        for (int64_t u = 0; u < n; u++) {
            if (j < s->angles) sum += ld_double(rows + u * step, j, s->angles) * dt[u];
            reduced_angles(sum, x + u * s->Ap + j);
        }
        *at = sum;
    }
}

/* Copies angles [angles] to aligned [Ap], filled up with zeros. */
static inline void angles_at(const pal_rule_shape *s, const double *angle, double *phi)
{
    for (int64_t j = 0; j < s->angles; j++) phi[j] = angle[j];
    for (int64_t j = s->angles; j < s->Ap; j++) phi[j] = 0;
}

/* phi in [0, 2 pi], where 2 pi stands for less than nothing below it. */
static inline VD wrapped(VD phi)
{
    typedef int64_t mask __attribute__((vector_size(VBYTES)));
    const double turn = 6.283185307179586, inverse = 0.15915494309189535, magic = 0x1.8p52;
    const VD turns = (VD){0} + turn;
    VD x = phi - ((phi * inverse + magic) - magic) * turn;
    x += (VD)((mask)(x < 0) & (mask)turns);
    return x - (VD)((mask)(x > turns) & (mask)turns);
}

/* Wraps angles phi [Ap], and copies them to `to` [angles]. */
static inline void wrap_angles(const pal_rule_shape *s, double *phi, double *to)
{
    for (int64_t j = 0; j < s->angles; j += DL) {
        VD *x = (VD *)(void *)(phi + j);
        *x = wrapped(*x);
    }
    for (int64_t j = 0; j < s->angles; j++) to[j] = phi[j];
}

/* How many factors of each kind a turn has: for neighbours one for a channel, for halves one for a
 * pair. */
static inline int64_t turn_width(const pal_rule_shape *s) { return s->half ? s->Ap : 2 * s->Ap; }

/* The turn by angles x [Ap]: what each channel counts, and its partner, [2][turn_width]. For halves
 * these are cosines and sines. Neighbours have each cosine twice, and each sine with a minus first.
 */
static inline void turn_of(const pal_rule_shape *s, const R *x, R *cs)
{
    V minus = {0};
    R *sn = cs + turn_width(s);
    for (int l = 0; l < VL; l += 2) minus[l] = -(R)0;
    for (int64_t j = 0; j < s->angles; j += VL) {
        V sin, cos;
        vsincos(load(x + j), &sin, &cos);
        if (s->half) {
            store(cs + j, cos), store(sn + j, sin);
            continue;
        }
        for (int i = 0; i < 2; i++) {
            store(cs + 2 * j + i * VL, each_twice(cos, i));
            store(sn + 2 * j + i * VL, from_bits(bits(each_twice(sin, i)) ^ bits(minus)));
        }
    }
}

/* y where element i of a row is one of the first n, and x elsewhere. */
INLINE V turned_part(int64_t i, int64_t n, V y, V x)
{
    return i + VL <= n ? y : sel((VI)(element_numbers() < splat((R)(n - i))), y, x);
}

/* Turns a row whose pairs are halves, forward (sign 1) or back (-1). */
static inline void turn_halves(const pal_rule_shape *s, const R *cs, R sign, R *x)
{
    const R *sn = cs + turn_width(s);
    const int64_t J = s->angles, other = s->K / 2;
    for (int64_t j = 0; j < J; j += VL) {
        const V a = load(x + j), b = loadu(x + other + j), z = load(sn + j) * sign;
        const V c = load(cs + j), first = vfma(a, c, -(b * z)), second = vfma(b, c, a * z);
        store(x + j, turned_part(j, J, first, a)); /* it may reach into the other half */
        *(VU *)(x + other + j) = (VU)turned_part(j, J, second, b);
    }
}

/*
 * The sum over rows of wedge(du, u), times factor[r] if there are factors, of pairs j .. j + VL - 1
 * of padded rows: what a turn of u by a small angle does to the loss. For halves an element is a
 * pair. For neighbours it is du of a channel times u of its partner first, and their differences in
 * the end. What is past the last pair means nothing.
 */
INLINE V wedges(const pal_rule_shape *s, int64_t rows, const R *factor, const R *du, const R *u,
                int64_t j)
{
    const int64_t at = s->half ? j : 2 * j, other = s->half ? s->K / 2 : VL;
    V sum[2] = {{0}, {0}};
    for (int64_t r = 0; r < rows; r++, du += s->Kp, u += s->Kp) {
        const V by = splat(factor ? factor[r] : 1);
        const V a = load(du + at) * by, b = loadu(du + at + other) * by;
        const V x = load(u + at), y = loadu(u + at + other);
        if (s->half) {
            sum[0] += vfma(b, x, -(a * y));
            continue;
        }
        sum[0] = vfma(a, swap_neighbours(x), sum[0]);
        sum[1] = vfma(b, swap_neighbours(y), sum[1]);
    }
    return s->half ? sum[0] : every_second(sum[0], sum[1], 1) - every_second(sum[0], sum[1], 0);
}

/* scale times the turned x + bias. Halves whose vectors overlap each other are turned in place. */
INLINE void turn_sum(const pal_rule_shape *s, const R *cs, R scale, const R *x, const R *bias,
                     R *to)
{
    const int64_t J = s->angles, other = s->K / 2, n = s->half ? J : 2 * J;
    const R *sn = cs + turn_width(s);
    const bool apart = other % VL == 0;
    for (int64_t c = 0; s->half && apart && c < other; c += VL) {
        V a = loadu(x + c), b = loadu(x + other + c);
        if (bias) a += loadu(bias + c), b += loadu(bias + other + c);
        if (c < n) {
            const V y = load(cs + c), z = load(sn + c), first = a;
            a = turned_part(c, n, vfma(a, y, -(b * z)), a);
            b = turned_part(c, n, vfma(b, y, first * z), b);
        }
        store(to + c, a * scale), store(to + other + c, b * scale);
    }
    for (int64_t c = s->half && apart ? 2 * other : 0; c < s->Kp; c += VL) {
        V a = loadu(x + c);
        if (bias) a += loadu(bias + c);
        if (!s->half && c < n)
            a = turned_part(c, n, vfma(a, load(cs + c), swap_neighbours(a) * load(sn + c)), a);
        store(to + c, a * scale);
    }
    if (s->half && !apart) turn_halves(s, cs, 1, to);
}

/* Row i of token t of q or k: with its bias, turned, times `scale`. */
static inline void turned_row(const pal_rule_shape *s, const pal_head *h, int which, int64_t t,
                              int64_t i, const R *cs, R scale, R *to)
{
    R room[s->Kp] __attribute__((aligned(64))), more[s->Kp] __attribute__((aligned(64)));
    pal_rows x = h->in[which];
    x.data = (R *)x.data + i * h->rank[which];
    const R *from = get_row(&x, t, s->K, s->Kp, room), *bias = NULL;
    if (h->bias[which].data) bias = get_row(&h->bias[which], i, s->K, s->Kp, more);
    if (scale == 1)
        turn_sum(s, cs, 1, from, bias, to);
    else
        turn_sum(s, cs, scale, from, bias, to);
}

/* Row i of the values of token t: mimo_x_i * x. It becomes row r of panels of C rows. */
static inline void put_value_row(const pal_rule_shape *s, const pal_head *h, int64_t t, int64_t i,
                                 int64_t r, void *panels)
{
    R room[s->Vp] __attribute__((aligned(64))), more[s->Vp] __attribute__((aligned(64)));
    const R *x = get_row(&h->in[PAL_V], t, s->V, s->Vp, room);
    const R *by = h->mimo_x.data ? get_row(&h->mimo_x, i, s->V, s->Vp, more) : NULL;
    R *to = (R *)panels + r * PANEL;
    for (int64_t j = 0; j < s->Vp; j += PANEL, to += s->C * PANEL)
        for (int u = 0; u < PANEL; u += VL)
            store(to + u, by ? loadu(x + j + u) * loadu(by + j + u) : loadu(x + j + u));
}

/* The step of token t that is left to the next token's, or 0 if there is no such token. */
static inline R late_step(const pal_head *h, int64_t t)
{
    if (t >= h->length) return 0;
    return (1 - element(&h->in[PAL_LAM], t, 0)) * element(&h->in[PAL_STEP], t, 0);
}

/* Keys [ranks][Kp] and values [ranks][Vp] of the token before the sequence. false: there are
 * none. */
static inline bool rows_before(const pal_rule_shape *s, const pal_head *h, R *k, R *v)
{
    R room[s->Vp] __attribute__((aligned(64))), more[s->Vp] __attribute__((aligned(64)));
    if (!h->last_k.data || !h->last_x.data) return false;
    const R *x = get_row(&h->last_x, 0, s->V, s->Vp, room);
    for (int64_t i = 0; i < s->ranks; i++, k += s->Kp, v += s->Vp) {
        const R *from = get_row(&h->last_k, i, s->K, s->Kp, k);
        for (int64_t c = 0; c < s->Kp && from != k; c += VL) store(k + c, loadu(from + c));
        const R *by = h->mimo_x.data ? get_row(&h->mimo_x, i, s->V, s->Vp, more) : NULL;
        for (int64_t c = 0; c < s->Vp; c += VL)
            store(v + c, by ? loadu(x + c) * loadu(by + c) : loadu(x + c));
    }
    return true;
}

#endif
