/*
 * compare.c - comparisons, the rows of PAL_COMPARE in ops.def: 1 where they hold and 0 elsewhere,
 * in the dtype of the operands. None has a gradient.
 */
#include "autograd/ops/map.h"

/* ---- i64 ---- */

static void eq_i64(int64_t n, const void *a, const void *b, void *y)
{
    const int64_t *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = p[i] == q[i];
}

static void ne_i64(int64_t n, const void *a, const void *b, void *y)
{
    const int64_t *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = p[i] != q[i];
}

static void lt_i64(int64_t n, const void *a, const void *b, void *y)
{
    const int64_t *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = p[i] < q[i];
}

static void le_i64(int64_t n, const void *a, const void *b, void *y)
{
    const int64_t *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = p[i] <= q[i];
}

static void gt_i64(int64_t n, const void *a, const void *b, void *y)
{
    const int64_t *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = p[i] > q[i];
}

static void ge_i64(int64_t n, const void *a, const void *b, void *y)
{
    const int64_t *p = a, *q = b;
    for (int64_t i = 0; i < n; i++) ((int64_t *)y)[i] = p[i] >= q[i];
}

/* ---- Operations ---- */

#define PAL_OP(name, test)
#define PAL_COMPARE(function)                                                               \
    static const pal_map_op function##_op = {.op = PAL_MAP_OP(#function, "a b", 2, 0u, 0u), \
                                             .nin = 2,                                      \
                                             .reals = true,                                 \
                                             .kernel = PAL_AT(function),                    \
                                             .integer.two = function##_i64};                \
    pal_tensor pal_##function(pal_tensor a, pal_tensor b)                                   \
    {                                                                                       \
        return pal_map_op_apply2(&function##_op, a, b);                                     \
    }
#include "autograd/ops.def"
