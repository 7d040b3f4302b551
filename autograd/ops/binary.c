/*
 * binary.c - arithmetic of two operands that broadcast.
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

static const pal_map_op add_op = {.op = {.name = "add",
                                         .args = "a b",
                                         .infer = pal_map_op_infer,
                                         .forward = pal_map_op_forward,
                                         .backward = pal_map_op_backward,
                                         .unread_in = 3,
                                         .unread_out = 1,
                                         .overwrites = 3},
                                  .nin = 2,
                                  .reals = true,
                                  .integers = true,
                                  .kernel = PAL_AT(add),
                                  .d = {{PAL_AT(copy), "g"}, {PAL_AT(copy), "g"}},
                                  .integer.two = add_i64};
pal_tensor pal_add(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&add_op, a, b); }

static const pal_map_op sub_op = {.op = {.name = "sub",
                                         .args = "a b",
                                         .infer = pal_map_op_infer,
                                         .forward = pal_map_op_forward,
                                         .backward = pal_map_op_backward,
                                         .unread_in = 3,
                                         .unread_out = 1,
                                         .overwrites = 3},
                                  .nin = 2,
                                  .reals = true,
                                  .integers = true,
                                  .kernel = PAL_AT(sub),
                                  .d = {{PAL_AT(copy), "g"}, {PAL_AT(neg), "g"}},
                                  .integer.two = sub_i64};
pal_tensor pal_sub(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&sub_op, a, b); }

static const pal_map_op mul_op = {.op = {.name = "mul",
                                         .args = "a b",
                                         .infer = pal_map_op_infer,
                                         .forward = pal_map_op_forward,
                                         .backward = pal_map_op_backward,
                                         .unread_out = 1,
                                         .overwrites = 3},
                                  .nin = 2,
                                  .reals = true,
                                  .integers = true,
                                  .kernel = PAL_AT(mul),
                                  .d = {{PAL_AT(mul), "bg"}, {PAL_AT(mul), "ag"}},
                                  .integer.two = mul_i64};
pal_tensor pal_mul(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&mul_op, a, b); }

/* db is taken from y = a / b, so that a need not be kept. */
static const pal_map_op div_op = {.op = {.name = "div",
                                         .args = "a b",
                                         .infer = pal_map_op_infer,
                                         .forward = pal_map_op_forward,
                                         .backward = pal_map_op_backward,
                                         .unread_in = 1,
                                         .overwrites = 3},
                                  .nin = 2,
                                  .reals = true,
                                  .integers = true,
                                  .kernel = PAL_AT(div),
                                  .d = {{PAL_AT(div), "gb"}, {PAL_AT(d_div_b), "byg"}},
                                  .integer.two = div_i64};
pal_tensor pal_div(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&div_op, a, b); }

static const pal_map_op mod_op = {
    .op = {.name = "mod", .args = "a b", .infer = pal_map_op_infer, .forward = pal_map_op_forward},
    .nin = 2,
    .integers = true,
    .integer.two = mod_i64};
pal_tensor pal_mod(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&mod_op, a, b); }

static const pal_map_op pow_op = {.op = {.name = "pow",
                                         .args = "a b",
                                         .infer = pal_map_op_infer,
                                         .forward = pal_map_op_forward,
                                         .backward = pal_map_op_backward,
                                         .overwrites = 3},
                                  .nin = 2,
                                  .reals = true,
                                  .kernel = PAL_AT(pow),
                                  .d = {{PAL_AT(d_pow_a), "abg"}, {PAL_AT(d_pow_b), "ayg"}}};
pal_tensor pal_pow(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&pow_op, a, b); }

static const pal_map_op maximum_op = {.op = {.name = "maximum",
                                             .args = "a b",
                                             .infer = pal_map_op_infer,
                                             .forward = pal_map_op_forward,
                                             .backward = pal_map_op_backward,
                                             .unread_out = 1,
                                             .overwrites = 3},
                                      .nin = 2,
                                      .reals = true,
                                      .integers = true,
                                      .kernel = PAL_AT(maximum),
                                      .d = {{PAL_AT(d_maximum), "abg"}, {PAL_AT(d_maximum), "bag"}},
                                      .integer.two = maximum_i64};
pal_tensor pal_maximum(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&maximum_op, a, b); }

static const pal_map_op minimum_op = {.op = {.name = "minimum",
                                             .args = "a b",
                                             .infer = pal_map_op_infer,
                                             .forward = pal_map_op_forward,
                                             .backward = pal_map_op_backward,
                                             .unread_out = 1,
                                             .overwrites = 3},
                                      .nin = 2,
                                      .reals = true,
                                      .integers = true,
                                      .kernel = PAL_AT(minimum),
                                      .d = {{PAL_AT(d_minimum), "abg"}, {PAL_AT(d_minimum), "bag"}},
                                      .integer.two = minimum_i64};
pal_tensor pal_minimum(pal_tensor a, pal_tensor b) { return pal_map_op_apply2(&minimum_op, a, b); }
