/*
 * conv.k.c - one time step of a causal depthwise convolution with W taps, over n channels.
 *
 *     conv_row      y = f(bias + sum_j weight_j * x_j), or y += that; f is silu or nothing
 *     d_conv_row    dweight_j += dy * x_j        dbias += dy
 *
 * The caller passes the rows x_j of the W taps. So the kernels need not know about sequences that
 * are packed together, nor about the rows before a sequence. (Those come from a tail or are zero.)
 * The usual W = 4 has a copy of the code in which W is a constant.
 */
#include "tensor/kernels/kernels.k.h"
#include "tensor/simd_math.h"

#define ALWAYS static inline __attribute__((always_inline))

typedef struct conv {
    int64_t W, step;
    const void *const *x;
    const R *weight, *bias;
    bool silu, add;
} conv;

/* Channels i .. i + VL - 1 of a row, as far as they are before `end`. */
ALWAYS void conv_part(const conv *c, int64_t W, int64_t i, int64_t end, void *y)
{
    V s = c->bias ? ld(c->bias, i, end) : (V){0};
    for (int64_t j = 0; j < W; j++)
        s = vfma(ld(c->weight + j * c->step, i, end), ld(c->x[j], i, end), s);
    if (c->silu) s = vsilu(s);
    st(y, i, end, c->add ? ld(y, i, end) + s : s);
}

ALWAYS void conv_row(const conv *c, int64_t W, int64_t n, void *y)
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL) conv_part(c, W, i, i + VL, y);
    if (i < n) conv_part(c, W, i, n, y);
}

void K(conv_row)(int64_t n, int64_t W, const void *const *x, const void *weight, int64_t step,
                 const void *bias, bool silu, bool add, void *y)
{
    const conv c = {W, step, x, weight, bias, silu, add};
    if (W == 4)
        conv_row(&c, 4, n, y);
    else
        conv_row(&c, W, n, y);
}

ALWAYS void weight_part(int64_t W, const void *const *x, const void *dy, int64_t step, R *dweight,
                        void *dbias, int64_t i, int64_t end)
{
    const V g = ld(dy, i, end);
    for (int64_t j = 0; j < W && dweight; j++) {
        R *d = dweight + j * step;
        st(d, i, end, vfma(g, ld(x[j], i, end), ld(d, i, end)));
    }
    if (dbias) st(dbias, i, end, ld(dbias, i, end) + g);
}

ALWAYS void weight_row(int64_t W, int64_t n, const void *const *x, const void *dy, int64_t step,
                       R *dweight, void *dbias)
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL) weight_part(W, x, dy, step, dweight, dbias, i, i + VL);
    if (i < n) weight_part(W, x, dy, step, dweight, dbias, i, n);
}

void K(d_conv_row)(int64_t n, int64_t W, const void *const *x, const void *dy, int64_t step,
                   void *dweight, void *dbias)
{
    if (W == 4)
        weight_row(4, n, x, dy, step, dweight, dbias);
    else
        weight_row(W, n, x, dy, step, dweight, dbias);
}
