/* compare.c - comparisons: 1 where they are true and 0 elsewhere, in the dtype of the operands. */
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

/* ---- Operations: none has a gradient ---- */

static const pal_map_op eq_op = {
    .op = {.name = "eq", .args = "a b", .infer = pal_map_op_infer, .forward = pal_map_op_forward},
    .nin = 2,
    .reals = true,
    .integers = true,
    .kernel = PAL_AT(eq),
    .integer.two = eq_i64};
pal_tensor pal_eq(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&eq_op, a, b); }

static const pal_map_op ne_op = {
    .op = {.name = "ne", .args = "a b", .infer = pal_map_op_infer, .forward = pal_map_op_forward},
    .nin = 2,
    .reals = true,
    .integers = true,
    .kernel = PAL_AT(ne),
    .integer.two = ne_i64};
pal_tensor pal_ne(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&ne_op, a, b); }

static const pal_map_op lt_op = {
    .op = {.name = "lt", .args = "a b", .infer = pal_map_op_infer, .forward = pal_map_op_forward},
    .nin = 2,
    .reals = true,
    .integers = true,
    .kernel = PAL_AT(lt),
    .integer.two = lt_i64};
pal_tensor pal_lt(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&lt_op, a, b); }

static const pal_map_op le_op = {
    .op = {.name = "le", .args = "a b", .infer = pal_map_op_infer, .forward = pal_map_op_forward},
    .nin = 2,
    .reals = true,
    .integers = true,
    .kernel = PAL_AT(le),
    .integer.two = le_i64};
pal_tensor pal_le(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&le_op, a, b); }

static const pal_map_op gt_op = {
    .op = {.name = "gt", .args = "a b", .infer = pal_map_op_infer, .forward = pal_map_op_forward},
    .nin = 2,
    .reals = true,
    .integers = true,
    .kernel = PAL_AT(gt),
    .integer.two = gt_i64};
pal_tensor pal_gt(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&gt_op, a, b); }

static const pal_map_op ge_op = {
    .op = {.name = "ge", .args = "a b", .infer = pal_map_op_infer, .forward = pal_map_op_forward},
    .nin = 2,
    .reals = true,
    .integers = true,
    .kernel = PAL_AT(ge),
    .integer.two = ge_i64};
pal_tensor pal_ge(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&ge_op, a, b); }
