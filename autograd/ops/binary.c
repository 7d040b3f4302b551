/*
 * binary.c - arithmetic of two operands that broadcast: the rows of PAL_BINARY in ops.def. The
 * gradient of a divisor is taken from y = a / b, so that a need not be kept.
 */
#include "autograd/ops/map.h"

/* ---- i64: two's complement that wraps, division that rounds down ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
    if (b == 0) return 0;
    if (b == -1) return (int64_t)(0 - (uint64_t)a); /* the smallest integer wraps to itself */
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

static int64_t floor_mod(int64_t a, int64_t b)
{
    if (b == 0 || b == -1) return 0;
    int64_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static void add_i64(int64_t n, const void *a, const void *b, void *y)
{
    const int64_t *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = (int64_t)((uint64_t)p[i] + (uint64_t)q[i]);
}

static void sub_i64(int64_t n, const void *a, const void *b, void *y)
{
    const int64_t *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = (int64_t)((uint64_t)p[i] - (uint64_t)q[i]);
}

static void mul_i64(int64_t n, const void *a, const void *b, void *y)
{
    const int64_t *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = (int64_t)((uint64_t)p[i] * (uint64_t)q[i]);
}

static void div_i64(int64_t n, const void *a, const void *b, void *y)
{
    const int64_t *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = floor_div(p[i], q[i]);
}

static void mod_i64(int64_t n, const void *a, const void *b, void *y)
{
    const int64_t *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = floor_mod(p[i], q[i]);
}

static void maximum_i64(int64_t n, const void *a, const void *b, void *y)
{
    const int64_t *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = p[i] > q[i] ? p[i] : q[i];
}

static void minimum_i64(int64_t n, const void *a, const void *b, void *y)
{
    const int64_t *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = p[i] < q[i] ? p[i] : q[i];
}

/* ---- Operations ---- */

/* Of integers only. */
static const pal_map_op mod_op = {
    .op = PAL_MAP_OP("mod", "a b", 2, 0u, 0u), .nin = 2, .integer.two = mod_i64};
pal_tensor pal_mod(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&mod_op, a, b); }

#define PAL_OP(name, test)
#define PAL_BINARY(function, integers, gradient_a, operands_a, gradient_b, operands_b)           \
    static const pal_map_op function##_op = {                                                    \
        .op = PAL_MAP_OP(#function, "a b", 2, PAL_BY operands_a, PAL_BY operands_b),             \
        .nin = 2,                                                                                \
        .reals = true,                                                                           \
        .kernel = PAL_AT(function),                                                              \
        .d = {{PAL_AT(gradient_a), PAL_BY operands_a}, {PAL_AT(gradient_b), PAL_BY operands_b}}, \
        .integer.two = integers};                                                                \
    pal_tensor pal_##function(pal_tensor a, pal_tensor b)                                        \
    {                                                                                            \
        return pal_map_op_apply2(&function##_op, a, b);                                          \
    }
#include "autograd/ops.def"
