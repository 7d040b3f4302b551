/*
 * kernels.h - the table of vector kernels for one element type.
 *
 * Each kernel is written once, in kernels/NAME.k.c, and compiled for {f32, f64} x {base, avx2,
 * avx512}. kernels.def lists all of them and says what each one computes and which operands a
 * backward kernel takes. kernels/table.k.c makes a table for each combination from that list, and
 * pal_kernels_for returns the one for this processor. Pointers are void so that one signature
 * serves both types; the loads and stores of simd.h convert them.
 */
#ifndef PAL_KERNELS_H
#define PAL_KERNELS_H

#include "tensor/internal.h"

/* ---- Maps: y[i] = f(x[i], ...). Contiguous, n >= 0, any alignment; y may be an operand. ---- */

typedef void pal_map1(int64_t n, const void *x, void *y);
typedef void pal_map2(int64_t n, const void *a, const void *b, void *y);
typedef void pal_map3(int64_t n, const void *a, const void *b, const void *c, void *y);
/* The same with two numbers p: clamp (low, high) and affine (scale, shift). */
typedef void pal_map1p(int64_t n, const void *x, const double *p, void *y);
typedef void pal_map2p(int64_t n, const void *a, const void *b, const double *p, void *y);

/* da = dy b silu'(a), db = dy silu(a). */
typedef void pal_d_swiglu(int64_t n, const void *a, const void *b, const void *dy, void *da,
                          void *db);

/* ---- Sums into y ---- */

typedef void pal_fill_fn(int64_t n, double value, void *y);         /* y = value */
typedef void pal_axpy(int64_t n, double a, const void *x, void *y); /* y += a x */
/* y += a x z */
typedef void pal_axmuly(int64_t n, double a, const void *x, const void *z, void *y);
typedef void pal_widen(int64_t n, const void *x, double *y); /* y += f(x) in double */

/* ---- bf16 (tensor/dtype.h): y = x ---- */

typedef void pal_to_bf16(int64_t n, const void *x, uint16_t *y);
typedef void pal_from_bf16(int64_t n, const uint16_t *x, void *y);

/* ---- Reductions ---- */

/* They add in double for both types, in an order that depends only on n and on the instruction set:
 * element i goes to sum i mod (4 DL), and at the end the sums are added in a fixed order. */
typedef double pal_reduce1(int64_t n, const void *x);
typedef double pal_reduce2(int64_t n, const void *a, const void *b);

/* ---- Rows: one contiguous row of n elements, as softmax and the norms use it ---- */

/* y = scale e^(x - shift); all zeros if shift = -infinity. */
typedef void pal_exp_row(int64_t n, const void *x, double shift, double scale, void *y);
/* y = scale softmax(x). Returns the log-sum-exp, with the same bits as logsumexp_row. y may
 * be x. */
typedef double pal_softmax_row(int64_t n, const void *x, double scale, void *y);
/* y = x r weight (weight may be NULL). Returns r, which backward needs. y may be x. */
typedef double pal_rms_row(int64_t n, const void *x, const void *weight, double eps, void *y);
typedef void pal_d_rms_row(int64_t n, const void *x, const void *weight, double r, const void *dy,
                           void *dx);
/* y = (x - mean) r weight + bias (both may be NULL). stats = {mean, r}, which backward needs. */
typedef void pal_layer_row(int64_t n, const void *x, const void *weight, const void *bias,
                           double eps, void *y, double stats[2]);
typedef void pal_d_layer_row(int64_t n, const void *x, const void *weight, const double stats[2],
                             const void *dy, void *dx);
typedef void pal_d_layer_weight(int64_t n, const void *x, const double stats[2], const void *dy,
                                void *dweight);

/*
 * RMS norm of a row with a gate z. The result is y = x r weight act(z), or with gate_first y = u r
 * weight, where u = x act(z). r = 1 / sqrt(mean x^2 + eps), of u with gate_first; it is returned,
 * and backward needs it. weight may be NULL. z may be NULL (no gate) unless gate_first. Backward
 * writes dx and dz (NULL without a gate) and adds to dweight (may be NULL).
 */
typedef enum pal_act { PAL_ACT_SILU, PAL_ACT_SIGMOID } pal_act;
typedef double pal_gated_row(int64_t n, const void *x, const void *z, const void *weight,
                             pal_act kind, bool gate_first, double eps, void *y);
typedef void pal_d_gated_row(int64_t n, const void *x, const void *z, const void *weight,
                             pal_act kind, bool gate_first, double r, const void *dy, void *dx,
                             void *dz, void *dweight);

/*
 * One token of a depthwise convolution over n channels: y = bias + sum_j weight_j x[j]. x[j] is the
 * row of tap j < W, and weight_j is at weight + j step. bias may be NULL. `silu` applies SiLU to
 * the sum, and `add` adds the result to y. The gradients are dweight_j += dy x[j] and dbias += dy;
 * both pointers may be NULL.
 */
typedef void pal_conv_row(int64_t n, int64_t W, const void *const *x, const void *weight,
                          int64_t step, const void *bias, bool silu, bool add, void *y);
typedef void pal_d_conv_row(int64_t n, int64_t W, const void *const *x, const void *dy,
                            int64_t step, void *dweight, void *dbias);

/*
 * C = alpha A B + beta C for A of m x k and B of k x n; element (i, j) of X at x[i*rs + j*cs], any
 * strides. beta = 0 overwrites C without reading it. The bits are the same on every instruction
 * set: a sum along k that runs along both operands in memory (pal_product_along_k) is
 * PAL_PRODUCT_SUMS sums, any other is one sum in order, and none of them fuses a multiply with an
 * add.
 */
typedef struct pal_product {
    int64_t m, n, k;
    double alpha, beta;
    int64_t rsa, csa, rsb, csb, rsc, csc;
} pal_product;
typedef void pal_product_fn(const pal_product *p, const void *a, const void *b, void *c);

enum { PAL_PRODUCT_SUMS = 16 };
static inline bool pal_product_along_k(const pal_product *p)
{
    return p->csa == 1 && p->rsb == 1 && p->k >= PAL_PRODUCT_SUMS;
}

/*
 * Dropout of n elements. Element i has a number of 32 bits, and is dropped if that is less than
 * `below`. Its first 16 bits are half-word i % 8 of block counter + i / 8 of the generator (the low
 * half of a word comes first). Its last 16 bits matter only where the first equal those of `below`,
 * once in 65,536; they are the same half-word of the block that is PAL_DROPS_SECOND blocks later.
 * If an element is dropped, y is 0, else x scale, and bit e % 64 of keep[e / 64] says that element
 * e was kept; bits from n on mean nothing. `kept` does the same from these bits, from bit `first`
 * on, and adds to y if asked to.
 */
#define PAL_DROPS_SECOND (UINT64_C(1) << 63)
typedef struct pal_drops {
    uint64_t seed, stream, counter;
    uint32_t below;
} pal_drops;
typedef void pal_drop(int64_t n, const pal_drops *d, const void *x, double scale, void *y,
                      uint64_t *keep);
typedef void pal_kept(int64_t n, const uint64_t *keep, int64_t first, const void *x, double scale,
                      bool add, void *y);

typedef struct pal_kernels {
#define PAL_KERNEL(type, name) type *name;
#include "tensor/kernels/kernels.def"
#undef PAL_KERNEL
} pal_kernels;

/* The table for PAL_F32 or PAL_F64 and the selected instruction set. */
const pal_kernels *pal_kernels_for(pal_dtype dtype);

#endif
