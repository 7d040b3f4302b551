/*
 * unary.c - functions of one operand: the rows of PAL_UNARY in ops.def. Each gradient is a kernel
 * of (x, dy) or (y, dy); which one decides what has to be kept until backward.
 */
#include "autograd/ops/map.h"

/* ---- i64 ---- */

static void neg_i64(int64_t n, const void *x, void *y)
{
    const int64_t *p = x;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = (int64_t)(0 - (uint64_t)p[i]);
}

static void abs_i64(int64_t n, const void *x, void *y)
{
    const int64_t *p = x;
    for (int64_t i = 0; i < n; i++)
        ((int64_t *)y)[i] = p[i] < 0 ? (int64_t)(0 - (uint64_t)p[i]) : p[i];
}

static void sign_i64(int64_t n, const void *x, void *y)
{
    const int64_t *p = x;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = (p[i] > 0) - (p[i] < 0);
}

static void square_i64(int64_t n, const void *x, void *y)
{
    const int64_t *p = x;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = (int64_t)((uint64_t)p[i] * (uint64_t)p[i]);
}

/* ---- Operations ---- */

#define PAL_OP(name, test)
#define PAL_UNARY(function, integers, gradient, operands)         \
    static const pal_map_op function##_op = {                     \
        .op = PAL_MAP_OP(#function, "x", 1, PAL_BY operands, 0u), \
        .nin = 1,                                                 \
        .reals = true,                                            \
        .kernel = PAL_AT(function),                               \
        .d = {{PAL_AT(gradient), PAL_BY operands}},               \
        .integer.one = integers};                                 \
    pal_tensor pal_##function(pal_tensor x) { return pal_map_op_apply1(&function##_op, x); }
#include "autograd/ops.def"
