/*
 * attention.k.c - softmax attention by blocks, without a matrix of all pairs
 * (layers/attention/attention.h).
 *
 * Forward takes 4 D flops a visible pair. Backward takes 10 D, or 14 D if key blocks and query
 * blocks are done separately, because P and dS are then computed twice. In forward a block has 128
 * queries, of all heads of a group together. It reads the keys and values that it sees once: 8 D
 * bytes a key in f32. Backward reads q, o and do once for each block of 64 keys: 12 D bytes a
 * query. On a Zen 3 core in f32 with D = 64 this reaches 0.67 of the sgemm rate forward, and 0.71
 * forward and backward (docs/attention.md).
 *
 * Triangles are cut exactly: a product never multiplies a pair that is not visible, not even by
 * zero. So a NaN in a token reaches only the tokens that see it. Scores of invisible pairs are
 * computed if they share a tile with visible ones, and are then dropped.
 */
#include "layers/attention/attention.h"
#include "layers/kernels/lane.k.h"

enum { KEYS = PAL_ATTENTION_KEYS };

/* ---- Blocks in and out ---- */

/* x rounded to the nearest bf16, ties to even. Only kernels of f32 are asked to. */
INLINE V to_half(V x)
{
    typedef uint32_t word __attribute__((vector_size(VBYTES)));
    const word bits = (word)x, half = bits + 0x7fff + ((bits >> 16) & 1);
    return sel(is_nan(x), x, (V)(half & 0xffff0000));
}

/* Columns from .. to - 1, whole vectors, of `rows` rows. */
static void round_rows(R *x, int64_t rows, int64_t ld, int64_t from, int64_t to)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = from; c < to; c += VL)
            store(x + r * ld + c, to_half(load(x + r * ld + c)));
}

/* to [room][ld] = factor * rows 0 .. rows - 1 of x, then zeros. */
static void read_block(const pal_attention_shape *s, const pal_rows *x, int64_t rows, int64_t room,
                       R factor, R *to)
{
    for (int64_t r = 0; r < rows; r++) {
        const R *from = get_row(x, r, s->D, s->Dp, to + r * s->ld);
        for (int64_t c = 0; c < s->Dp; c += VL) store(to + r * s->ld + c, loadu(from + c) * factor);
    }
    if (s->narrow) round_rows(to, rows, s->ld, 0, s->Dp);
    for (int64_t r = rows; r < room; r++)
        for (int64_t c = 0; c < s->Dp; c += VL) store(to + r * s->ld + c, (V){0});
}

/* panels = the transpose of the rows x [KEYS][Dp]. */
static void turn_block(const pal_attention_shape *s, const R *x, R *panels)
{
    for (int64_t p = 0; p < KEYS; p += PANEL)
        transpose(PANEL, s->Dp, x + p * s->ld, s->ld, panels + p * s->Dp, PANEL);
}

static void clear_rows(const pal_attention_shape *s, int64_t rows, R *x)
{
    for (int64_t i = 0; i < rows * s->ld; i += VL) store(x + i, (V){0});
}

static int64_t whole_tiles(int64_t rows) { return (rows + MR - 1) / MR * MR; }

static void load_keys(const pal_attention_shape *s, pal_rows k, pal_rows v, pal_key_block *x)
{
    read_block(s, &k, x->count, KEYS, 1, x->K);
    turn_block(s, x->K, x->Kt);
    read_block(s, &v, x->count, KEYS, 1, x->V);
    if (x->Vt) turn_block(s, x->V, x->Vt);
}

static void add_rows(const pal_attention_shape *s, int64_t count, const void *rows, double factor,
                     pal_rows to)
{
    R row[s->Dp] __attribute__((aligned(64)));
    for (int64_t r = 0; r < count; r++) {
        for (int64_t c = 0; c < s->Dp; c += VL)
            store(row + c, load((const R *)rows + r * s->ld + c) * (R)factor);
        put_row(&to, r, s->D, true, row);
    }
}

/* ---- Products of visible pairs ---- */

/*
 * t += x b over the depths from .. to - 1. The left operand and b begin at depth `from`. Depth d
 * counts only for the rows d - above .. d + below - 1.
 *
 * Query i sees key j if i - w < j <= i. Rows and depth are counted from the tile's first row. If
 * queries are rows and keys are depth, above = 0 and below = w. If keys are rows, above = w - 1 and
 * below = 1.
 */
INLINE void tile_band(tile *t, left x, int64_t from, int64_t to, int64_t above, int64_t below,
                      const R *b, int64_t ld)
{
    const int64_t first = from > 1 - below ? from : 1 - below;
    const int64_t end = to < MR + above ? to : MR + above;
    int64_t dense = first > MR - below ? first : MR - below,
            edge = above + 1 < end ? above + 1 : end;
    if (dense > end) dense = end;
    if (edge < dense) edge = dense;
    for (int64_t d = first; d < dense; d++)
        tile_step(t, d > above ? (int)(d - above) : 0, d + below < MR ? (int)(d + below) : MR, NR,
                  left_at(x, 0, d - from), b + (d - from) * ld);
    tile_madd(t, left_at(x, 0, dense - from), edge - dense, b + (dense - from) * ld, ld);
    for (int64_t d = edge; d < end; d++)
        tile_step(t, d > above ? (int)(d - above) : 0, d + below < MR ? (int)(d + below) : MR, NR,
                  left_at(x, 0, d - from), b + (d - from) * ld);
}

/* out = MR rows of x times the transposed block, for the panels of the keys from .. to - 1. */
static inline void scores(const pal_attention_shape *s, const R *x, const R *panels, int64_t from,
                          int64_t to, R *out)
{
    for (int64_t p = from; p < to; p += PANEL) {
        tile t = tile_zero();
        tile_madd(&t, left_of(x, s->ld, 1), s->D, panels + p * s->Dp, PANEL);
        tile_store(&t, out + p, s->keys_ld);
    }
}

/* The columns of a block of keys that the MR rows from position `row` on see. At least one row sees
 * each column of first .. end - 1; there are none if first >= end. `all` says whether all rows see
 * all of these. */
typedef struct visible {
    int64_t first, end;
    bool all;
} visible;

static visible visible_keys(const pal_attention_shape *s, const pal_key_block *k, int64_t row,
                            int64_t rows)
{
    visible v = {row - s->window + 1 - k->first, row + rows - k->first, false};
    if (v.first < 0) v.first = 0;
    if (v.end > k->count) v.end = k->count;
    v.all = row + MR - 1 - s->window < k->first + v.first && row >= k->first + v.end - 1;
    return v;
}

static int64_t panel_down(int64_t c) { return c / PANEL * PANEL; }
static int64_t panel_up(int64_t c) { return (c + PANEL - 1) / PANEL * PANEL; }

/* ---- Forward ---- */

/* The first maximum. It is below every score, and finite because -infinity - (-infinity) is NaN. */
static inline R least(void) { return pick(-1e38, -1e300); }

static void start(const pal_attention_shape *s, pal_rows q, pal_query_block *x)
{
    const int64_t rows = whole_tiles(x->count);
    read_block(s, &q, x->count, rows, (R)s->scale, x->Q);
    clear_rows(s, rows, x->O);
    for (int64_t r = 0; r < rows; r++) {
        ((R *)x->m)[r] = least();
        store((R *)x->l + r * VL, (V){0});
    }
}

/* Columns from .. to - 1 that row `row` does not see become -infinity. */
static inline void hide(const pal_attention_shape *s, const pal_key_block *k, int64_t row, R *p,
                        int64_t from, int64_t to)
{
    V element;
    for (int l = 0; l < VL; l++) element[l] = (R)l;
    int64_t first = row - s->window + 1 - k->first, end = row + 1 - k->first;
    if (end > k->count) end = k->count;
    if (first < -1) first = -1;
    for (int64_t c = from; c < to; c += VL) {
        V at = element + (R)c;
        VI seen = (VI)(at >= splat((R)first)) & (VI)(at < splat((R)end));
        store(p + c, sel(seen, load(p + c), splat(-(R)INFINITY)));
    }
}

/* Scores p of MR rows become exp(p - m), where m is the new maximum. l becomes the new sum, and
 * factor[r] is what the output so far has to be multiplied by: exp(old m - new m). */
static inline void weights(const pal_attention_shape *s, int64_t from, int64_t to, R *p, R *m, R *l,
                           R *factor)
{
    for (int r = 0; r < MR; r++) {
        V most = splat(m[r]);
        for (int64_t c = from; c < to; c += VL) most = vmax(most, load(p + r * s->keys_ld + c));
        R now = hmax(most);
        factor[r] = m[r] - now;
        m[r] = now;
    }
    for (int r = 0; r < MR; r += VL) store(factor + r, exp_decay(load(factor + r)));
    for (int r = 0; r < MR; r++) {
        V sum = load(l + r * VL) * factor[r];
        for (int64_t c = from; c < to; c += VL) {
            V e = exp_decay(load(p + r * s->keys_ld + c) - m[r]);
            store(p + r * s->keys_ld + c, e);
            sum += e;
        }
        store(l + r * VL, sum);
    }
}

static void absorb(const pal_attention_shape *s, const pal_key_block *k, pal_query_block *x)
{
    ahead next = ahead_of(&x->ahead, 0, 1, (x->count + MR - 1) / MR);
    for (int64_t r = 0; r < x->count; r += MR) {
        look_ahead(&next);
        const int64_t row = x->first + r, left_rows = x->count - r;
        const visible v = visible_keys(s, k, row, left_rows < MR ? left_rows : MR);
        if (v.first >= v.end) continue;
        const int64_t from = panel_down(v.first), to = panel_up(v.end);
        R *p = x->P, *O = (R *)x->O + r * s->ld;
        _Alignas(64) R factor[MR + VL] = {0};
        scores(s, (const R *)x->Q + r * s->ld, k->Kt, from, to, p);
        if (!v.all || v.first > from || v.end < to)
            for (int i = 0; i < MR; i++) hide(s, k, row + i, p + i * s->keys_ld, from, to);
        weights(s, from, to, p, (R *)x->m + r, (R *)x->l + r * VL, factor);
        if (s->narrow) round_rows(p, MR, s->keys_ld, from, to);
        for (int64_t c = 0; c < s->Dp; c += PANEL) {
            tile t = tile_load_scaled(O + c, s->ld, factor);
            tile_band(&t, left_of(p + v.first, s->keys_ld, 1), k->first + v.first - row,
                      k->first + v.end - row, 0, s->window, (const R *)k->V + v.first * s->ld + c,
                      s->ld);
            tile_store(&t, O + c, s->ld);
        }
    }
}

static void finish(const pal_attention_shape *s, const pal_query_block *x, pal_rows o, void *lse)
{
    R row[s->Dp] __attribute__((aligned(64)));
    for (int64_t r = 0; r < x->count; r++) {
        const R sum = sum_elements(load((const R *)x->l + r * VL)), part = 1 / sum;
        for (int64_t c = 0; c < s->Dp; c += VL)
            store(row + c, load((const R *)x->O + r * s->ld + c) * part);
        put_row(&o, r, s->D, false, row);
        ((R *)lse)[r] = ((const R *)x->m)[r] + (R)log((double)sum);
    }
}

/* ---- Backward ---- */

static void start_back(const pal_attention_shape *s, pal_rows q, pal_rows o, pal_rows dO,
                       const void *lse, pal_query_block *x)
{
    const int64_t rows = whole_tiles(x->count);
    R room[s->Dp] __attribute__((aligned(64)));
    read_block(s, &q, x->count, rows, (R)s->scale, x->Q);
    read_block(s, &dO, x->count, rows, 1, x->dO);
    for (int64_t r = 0; r < rows; r++) {
        V sum = {0};
        const R *from = r < x->count ? get_row(&o, r, s->D, s->Dp, room) : NULL;
        for (int64_t c = 0; from && c < s->Dp; c += VL)
            sum = vfma(loadu(from + c), load((const R *)x->dO + r * s->ld + c), sum);
        ((R *)x->delta)[r] = sum_elements(sum);
        ((R *)x->lse)[r] = r < x->count ? ((const R *)lse)[r] : 0;
    }
}

/* P = exp(P - lse) and dS = P*(dS - delta) for MR rows. On entry P contains Q K^T and dS contains
 * dO V^T. */
static inline void differences(const pal_attention_shape *s, const R *lse, const R *delta,
                               int64_t from, int64_t to, R *P, R *dS)
{
    for (int r = 0; r < MR; r++)
        for (int64_t c = from; c < to; c += VL) {
            const int64_t at = r * s->keys_ld + c;
            V p = exp_decay(load(P + at) - lse[r]);
            store(P + at, p);
            store(dS + at, p * (load(dS + at) - delta[r]));
        }
}

/* sum [KEYS][ld] += weight^T rows. The weights are P or dS, and the rows dO or Q. */
static inline void to_keys(const pal_attention_shape *s, const pal_key_block *k,
                           const pal_query_block *x, const R *weight, const R *rows, R *sum)
{
    for (int64_t r = 0; r < k->count; r += MR) {
        /* The queries first .. end - 1 see a key of this tile. */
        const int64_t row = k->first + r;
        int64_t first = row - x->first, end = row + MR - 1 + s->window - x->first;
        if (first < 0) first = 0;
        if (end > x->count) end = x->count;
        if (first >= end) continue;
        for (int64_t c = 0; c < s->Dp; c += PANEL) {
            tile t = tile_load(sum + r * s->ld + c, s->ld);
            tile_band(&t, left_of(weight + first * s->keys_ld + r, 1, s->keys_ld),
                      x->first + first - row, x->first + end - row, s->window - 1, 1,
                      rows + first * s->ld + c, s->ld);
            tile_store(&t, sum + r * s->ld + c, s->ld);
        }
    }
}

static void pair(const pal_attention_shape *s, pal_key_block *k, pal_query_block *x)
{
    for (int64_t r = 0; r < x->count; r += MR) {
        const int64_t row = x->first + r, left_rows = x->count - r;
        const visible v = visible_keys(s, k, row, left_rows < MR ? left_rows : MR);
        if (v.first >= v.end) continue;
        const int64_t from = panel_down(v.first), to = panel_up(v.end);
        R *P = (R *)x->P + r * s->keys_ld, *dS = (R *)x->dS + r * s->keys_ld;
        scores(s, (const R *)x->Q + r * s->ld, k->Kt, from, to, P);
        scores(s, (const R *)x->dO + r * s->ld, k->Vt, from, to, dS);
        differences(s, (const R *)x->lse + r, (const R *)x->delta + r, from, to, P, dS);
        if (s->narrow) {
            round_rows(P, MR, s->keys_ld, from, to);
            round_rows(dS, MR, s->keys_ld, from, to);
        }
        for (int64_t c = 0; c < s->Dp && x->dQ; c += PANEL) {
            R *dQ = (R *)x->dQ + r * s->ld + c;
            tile t = tile_load(dQ, s->ld);
            tile_band(&t, left_of(dS + v.first, s->keys_ld, 1), k->first + v.first - row,
                      k->first + v.end - row, 0, s->window, (const R *)k->K + v.first * s->ld + c,
                      s->ld);
            tile_store(&t, dQ, s->ld);
        }
    }
    if (k->dV) to_keys(s, k, x, x->P, x->dO, k->dV);
    if (k->dK) to_keys(s, k, x, x->dS, x->Q, k->dK);
}

/* ---- Rotary positions ---- */

static void rotate(int64_t half, const void *cosines, const void *sines, bool back, pal_pairs x,
                   pal_pairs y, bool add)
{
    const int64_t padded = (half + VL - 1) / VL * VL;
    R p[padded] __attribute__((aligned(64))), q[padded] __attribute__((aligned(64)));
    const R *low = get_row(&x.low, 0, half, padded, p);
    const R *high = get_row(&x.high, 0, half, padded, q);
    for (int64_t c = 0; c < half; c += VL) {
        V a = loadu(low + c), b = loadu(high + c), sine = ld(sines, c, half);
        V cosine = ld(cosines, c, half);
        if (back) sine = -sine;
        store(p + c, a * cosine - b * sine);
        store(q + c, b * cosine + a * sine);
    }
    put_row(&y.low, 0, half, add, p);
    put_row(&y.high, 0, half, add, q);
}

static void pass(int64_t n, pal_rows x, pal_rows y, bool add)
{
    const int64_t padded = (n + VL - 1) / VL * VL;
    R room[padded] __attribute__((aligned(64)));
    put_row(&y, 0, n, add, copy_row(x.data, x.channel, n, padded, room));
}

extern const pal_attention_table K(attention);
const pal_attention_table K(attention) = {
    .panel = PANEL,
    .vector = VL,
    .rows = MR,
    .load_keys = load_keys,
    .start = start,
    .absorb = absorb,
    .finish = finish,
    .start_back = start_back,
    .pair = pair,
    .add = add_rows,
    .rotate = rotate,
    .pass = pass,
};
