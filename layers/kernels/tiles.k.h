/*
 * tiles.k.h - the building blocks of the kernels of rules and attention: register-blocked products,
 * dot products of rows, transposes, prefetching, and the exponential of a decay.
 *
 * BLIS is made for large matrices. On the 32 x 128 x 128 products of a chunk it reaches half of the
 * peak rate, and triangular matrices would have to be filled up with zeros. So a product here is a
 * tile of MR x NR vectors that stays in registers while the depth is summed. At each depth, MR
 * broadcasts and NR loads serve MR NR fused multiply-adds. With AVX-512 the tile takes 8 x 2 of 32
 * registers, with AVX2 and base 4 x 2 of 16. The latter are eight independent sums, which two units
 * with a latency of four cycles need. Right operands and results are rows of whole vectors, so
 * there is no remainder loop.
 *
 * Sums go along the depth in order, one fused multiply-add after the other. So an element does not
 * depend on how the work was divided. Triangles are cut exactly: no element of a later token is
 * read, so a NaN there cannot reach an earlier token.
 */
#ifndef PAL_TILES_K_H
#define PAL_TILES_K_H

#include "layers/lane.h"
#include "tensor/simd_math.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    MR = VBYTES == 64 ? 8 : 4,
    NR = 2,
    PANEL = NR * VL,
    BLOCK = MR /* rows between two anchors of a decay by channel */
};

/* A vector of a padded buffer, which is aligned and consists of whole vectors. */
INLINE V load(const R *x) { return (V) * (const VA *)(const void *)x; }
INLINE void store(R *x, V v) { *(VA *)(void *)x = (VA)v; }

/* ---- Products ---- */

typedef struct tile {
    V sum[MR][NR];
} tile;

/* The left operand: element (row r, depth d) is a[r * row + d * step]. One of the two is 1. */
typedef struct left {
    const R *a;
    int64_t row, step;
} left;

INLINE left left_of(const void *a, int64_t row, int64_t step)
{
    return (left){(const R *)a, row, step};
}
INLINE left left_at(left x, int64_t r, int64_t d)
{
    return (left){x.a + r * x.row + d * x.step, x.row, x.step};
}

INLINE tile tile_zero(void) { return (tile){{{{0}}}}; }

INLINE tile tile_load(const R *c, int64_t ld)
{
    tile t;
    UNROLL
    for (int r = 0; r < MR; r++)
        for (int j = 0; j < NR; j++) t.sum[r][j] = load(c + r * ld + j * VL);
    return t;
}

/* Row r times factor[r]. */
INLINE tile tile_load_scaled(const R *c, int64_t ld, const R *factor)
{
    tile t;
    UNROLL
    for (int r = 0; r < MR; r++)
        for (int j = 0; j < NR; j++) t.sum[r][j] = load(c + r * ld + j * VL) * factor[r];
    return t;
}

/* Multiplies row r by factor[r]. */
INLINE void tile_scale(tile *t, const R *factor)
{
    UNROLL
    for (int r = 0; r < MR; r++)
        for (int j = 0; j < NR; j++) t->sum[r][j] *= factor[r];
}

INLINE void tile_store(const tile *t, R *c, int64_t ld)
{
    UNROLL
    for (int r = 0; r < MR; r++)
        for (int j = 0; j < NR; j++) store(c + r * ld + j * VL, t->sum[r][j]);
}

/* Adds the product at one depth to rows first .. last - 1 and the first `cols` vectors of
 * columns. */
INLINE void tile_step(tile *t, int first, int last, int cols, left x, const R *b)
{
    V y[NR];
    for (int j = 0; j < cols; j++) y[j] = load(b + j * VL);
    UNROLL
    for (int r = 0; r < MR; r++) {
        if (r < first || r >= last) continue;
        V a = splat(x.a[r * x.row]);
        for (int j = 0; j < cols; j++) t->sum[r][j] = vfma(a, y[j], t->sum[r][j]);
    }
}

/* t += x b, summed over `depth`, for the first `cols` vectors of columns. Row d of b is at b + d *
 * ld. */
INLINE void tile_madd_cols(tile *t, int cols, left x, int64_t depth, const R *b, int64_t ld)
{
    if (x.row == 1) /* the two forms address their broadcasts differently */
        for (int64_t d = 0; d < depth; d++)
            tile_step(t, 0, MR, cols, left_of(x.a + d * x.step, 1, 0), b + d * ld);
    else
        for (int64_t d = 0; d < depth; d++)
            tile_step(t, 0, MR, cols, left_of(x.a + d, x.row, 0), b + d * ld);
}

INLINE void tile_madd(tile *t, left x, int64_t depth, const R *b, int64_t ld)
{
    tile_madd_cols(t, NR, x, depth, b, ld);
}

/* t += x b, where x is the MR x MR part on the diagonal of a lower (or upper) triangular matrix. */
INLINE void tile_madd_lower(tile *t, left x, const R *b, int64_t ld)
{
    UNROLL
    for (int d = 0; d < MR; d++) tile_step(t, d, MR, NR, left_at(x, 0, d), b + d * ld);
}
INLINE void tile_madd_upper(tile *t, left x, const R *b, int64_t ld)
{
    UNROLL
    for (int d = 0; d < MR; d++) tile_step(t, 0, d + 1, NR, left_at(x, 0, d), b + d * ld);
}

/* t += x b for rows r .. r + MR - 1 of a lower (or upper) triangular matrix x of n rows. */
INLINE void tile_triangle(tile *t, left x, bool upper, int64_t r, int64_t n, const R *b, int64_t ld)
{
    if (!upper) {
        tile_madd(t, left_at(x, r, 0), r, b, ld);
        tile_madd_lower(t, left_at(x, r, r), b + r * ld, ld);
    } else {
        tile_madd_upper(t, left_at(x, r, r), b + r * ld, ld);
        tile_madd(t, left_at(x, r, r + MR), n - r - MR, b + (r + MR) * ld, ld);
    }
}

/* ---- Across elements ---- */

static inline V element_numbers(void)
{
    V n = {0};
    for (int l = 0; l < VL; l++) n[l] = (R)l;
    return n;
}

/* Element i of the result is the sum of the elements of x[i], for i < VL. */
INLINE V sums_of(const V *x)
{
    V y[VL];
    UNROLL
    for (int i = 0; i < VL; i++) y[i] = x[i];
    UNROLL
    for (int h = VL / 2; h >= 1; h /= 2) {
        UNROLL
        for (int i = 0; i < h; i++)
            y[i] = first_halves(y[i], y[i + h], h) + second_halves(y[i], y[i + h], h);
    }
    return y[0];
}

/* y [cols][ldy] = transpose of x [rows][ldx]. rows and cols are multiples of VL. It swaps halves of
 * pairs of rows, then quarters, and so on. */
static inline void transpose(int64_t rows, int64_t cols, const R *x, int64_t ldx, R *y, int64_t ldy)
{
    for (int64_t i = 0; i < rows; i += VL)
        for (int64_t j = 0; j < cols; j += VL) {
            V a[VL];
            UNROLL
            for (int r = 0; r < VL; r++) a[r] = load(x + (i + r) * ldx + j);
            UNROLL
            for (int h = VL / 2; h >= 1; h /= 2) {
                UNROLL
                for (int pair = 0; pair < VL / 2; pair++) {
                    /* r counts the rows without the bit h. For a loop over all rows that skips the
                     * others, gcc 14 warns about r + h. */
                    const int r = pair + (pair & -h);
                    V first = first_halves(a[r], a[r + h], h);
                    a[r + h] = second_halves(a[r], a[r + h], h);
                    a[r] = first;
                }
            }
            UNROLL
            for (int r = 0; r < VL; r++) store(y + (j + r) * ldy + i, a[r]);
        }
}

/* ---- Dot products of rows ---- */

/* Rows of a matrix in panels, or plain rows (then `panel` is PANEL). The PANEL columns of row r in
 * panel j are at x + r * row + j * panel. */
typedef struct strip {
    const R *x;
    int64_t row, panel;
} strip;

enum { DOT_ROWS = 4, DOT_COLS = VL >= 16 ? 4 : 2, DOTS = DOT_ROWS * DOT_COLS };

/* out[i * ld + j] = <row i of a, row j of b> for DOT_ROWS x DOT_COLS rows of `panels` panels. */
INLINE void dots(strip a, strip b, int64_t panels, R *out, int64_t ld)
{
    V sum[DOTS];
    UNROLL
    for (int i = 0; i < DOTS; i++) sum[i] = (V){0};
    for (int64_t p = 0; p < panels; p++)
        for (int u = 0; u < NR; u++) {
            V y[DOT_COLS];
            UNROLL
            for (int j = 0; j < DOT_COLS; j++) y[j] = load(b.x + j * b.row + p * b.panel + u * VL);
            UNROLL
            for (int i = 0; i < DOT_ROWS; i++) {
                V x = load(a.x + i * a.row + p * a.panel + u * VL);
                UNROLL
                for (int j = 0; j < DOT_COLS; j++)
                    sum[i * DOT_COLS + j] = vfma(x, y[j], sum[i * DOT_COLS + j]);
            }
        }
    union {
        V v[DOTS / VL];
        R r[DOTS];
    } s;
    UNROLL
    for (int i = 0; i < DOTS / VL; i++) s.v[i] = sums_of(sum + i * VL);
    UNROLL
    for (int i = 0; i < DOTS; i++) out[i / DOT_COLS * ld + i % DOT_COLS] = s.r[i];
}

/* out[r][s] = <a_r, b_s> for r < rows and s < cols. With `lower`, only the blocks that a lower
 * triangle needs are computed; those on the diagonal are whole. rows and cols are multiples of
 * 4. */
static inline void dot_rows(int64_t rows, int64_t cols, bool lower, strip a, strip b,
                            int64_t panels, R *out, int64_t ld)
{
    for (int64_t r = 0; r < rows; r += DOT_ROWS) {
        int64_t end = lower && r + DOT_ROWS < cols ? r + DOT_ROWS : cols;
        for (int64_t s = 0; s < end; s += DOT_COLS)
            dots((strip){a.x + r * a.row, a.row, a.panel}, (strip){b.x + s * b.row, b.row, b.panel},
                 panels, out + r * ld + s, ld);
    }
}

/* ---- Looking ahead ---- */

/* What is still to be prefetched of the rows of all arrays together, and how many rows at each
 * step. */
typedef struct ahead {
    const pal_prefetch *a;
    int64_t array;
    const char *at; /* the next row; its array has `rows` left */
    int64_t rows, left, each;
} ahead;

/* Part `part` of `parts` of all rows, spread over `steps` calls of look_ahead. */
static inline ahead ahead_of(const pal_prefetch *a, int64_t part, int64_t parts, int64_t steps)
{
    const int64_t all = a->arrays * a->rows;
    if (all == 0) return (ahead){a, 0, NULL, 0, 0, 0};
    const int64_t first = all * part / parts, count = all * (part + 1) / parts - first;
    const int64_t array = first / a->rows, row = first % a->rows;
    if (count == 0) return (ahead){a, 0, NULL, 0, 0, 0};
    return (ahead){a,
                   array,
                   a->data[array] + row * a->step[array],
                   a->rows - row,
                   count,
                   (count + steps - 1) / steps};
}

/* Prefetches `bytes` from `at` on. It takes four cache lines at a time, because this loop runs
 * between products and is a tenth of their instructions. */
INLINE void ask_row(const char *at, int64_t bytes)
{
    for (; bytes > 192; bytes -= 256, at += 256) {
        __builtin_prefetch(at, 0, 2);
        __builtin_prefetch(at + 64, 0, 2);
        __builtin_prefetch(at + 128, 0, 2);
        __builtin_prefetch(at + 192, 0, 2);
    }
    for (; bytes > 0; bytes -= 64, at += 64) __builtin_prefetch(at, 0, 2);
}

static inline void look_ahead(ahead *x)
{
    const pal_prefetch *a = x->a;
    for (int64_t n = x->each < x->left ? x->each : x->left; n > 0; n--) {
        ask_row(x->at, a->bytes[x->array]);
        x->at += a->step[x->array];
        x->left--;
        if (--x->rows > 0 || x->left == 0) continue;
        x->rows = a->rows;
        x->at = a->data[++x->array];
    }
}

/* ---- A decay's exponential ---- */

/*
 * e^x for x <= 0, within 2 ulp. It is 0 for -infinity and NaN for NaN. It is shorter than vexp
 * (simd_math.h), because nothing overflows and results below the normal numbers are 0. For such an
 * x the bits of 2^n are wrong, but the result is replaced by 0, so x needs no limit.
 */
INLINE V exp_decay(V x)
{
    const VI gone = (VI)(x < splat(pick(-87, -708)));
    V t = vfma(x, splat(pick(0x1.715476p0, 0x1.71547652b82fep0)), splat(round_magic()));
    V n = t - round_magic();
    V r = vfma(n, splat(pick(-0x1.62e4p-1, -0x1.62e42feep-1)), x);
    r = vfma(n, splat(pick(-0x1.7f7d1cp-20, -0x1.a39ef35793c76p-33)), r);
    V q = vfma(exp_tail(r), r * r, r) + 1;
    return only(~gone, q * exp2_int(bits(t) - bits(splat(round_magic()))));
}

#endif
