/*
 * unary.c - functions of one operand. Each gradient is a kernel of (x, dy) or (y, dy); which one
 * decides what has to be kept until backward.
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

/* ---- Also for i64 ---- */

static const pal_map_op neg_op = {.op = {.name = "neg",
                                         .args = "x",
                                         .infer = pal_map_op_infer,
                                         .forward = pal_map_op_forward,
                                         .backward = pal_map_op_backward,
                                         .unread_in = 1,
                                         .unread_out = 1,
                                         .overwrites = 1},
                                  .nin = 1,
                                  .reals = true,
                                  .integers = true,
                                  .kernel = PAL_AT(neg),
                                  .d = {{PAL_AT(neg), "g"}},
                                  .integer.one = neg_i64};
pal_tensor pal_neg(pal_tensor x) { return pal_map_op_apply1(&neg_op, x); }

static const pal_map_op abs_op = {.op = {.name = "abs",
                                         .args = "x",
                                         .infer = pal_map_op_infer,
                                         .forward = pal_map_op_forward,
                                         .backward = pal_map_op_backward,
                                         .unread_out = 1,
                                         .overwrites = 1},
                                  .nin = 1,
                                  .reals = true,
                                  .integers = true,
                                  .kernel = PAL_AT(abs),
                                  .d = {{PAL_AT(d_abs), "ag"}},
                                  .integer.one = abs_i64};
pal_tensor pal_abs(pal_tensor x) { return pal_map_op_apply1(&abs_op, x); }

static const pal_map_op sign_op = {
    .op = {.name = "sign", .args = "x", .infer = pal_map_op_infer, .forward = pal_map_op_forward},
    .nin = 1,
    .reals = true,
    .integers = true,
    .kernel = PAL_AT(sign),
    .integer.one = sign_i64};
pal_tensor pal_sign(pal_tensor x) { return pal_map_op_apply1(&sign_op, x); }

static const pal_map_op square_op = {.op = {.name = "square",
                                            .args = "x",
                                            .infer = pal_map_op_infer,
                                            .forward = pal_map_op_forward,
                                            .backward = pal_map_op_backward,
                                            .unread_out = 1,
                                            .overwrites = 1},
                                     .nin = 1,
                                     .reals = true,
                                     .integers = true,
                                     .kernel = PAL_AT(square),
                                     .d = {{PAL_AT(d_square), "ag"}},
                                     .integer.one = square_i64};
pal_tensor pal_square(pal_tensor x) { return pal_map_op_apply1(&square_op, x); }

/* ---- The gradient follows from the result: x may change ---- */

static const pal_map_op sqrt_op = {.op = {.name = "sqrt",
                                          .args = "x",
                                          .infer = pal_map_op_infer,
                                          .forward = pal_map_op_forward,
                                          .backward = pal_map_op_backward,
                                          .unread_in = 1,
                                          .overwrites = 1},
                                   .nin = 1,
                                   .reals = true,
                                   .kernel = PAL_AT(sqrt),
                                   .d = {{PAL_AT(d_sqrt), "yg"}}};
pal_tensor pal_sqrt(pal_tensor x) { return pal_map_op_apply1(&sqrt_op, x); }

static const pal_map_op rsqrt_op = {.op = {.name = "rsqrt",
                                           .args = "x",
                                           .infer = pal_map_op_infer,
                                           .forward = pal_map_op_forward,
                                           .backward = pal_map_op_backward,
                                           .unread_in = 1,
                                           .overwrites = 1},
                                    .nin = 1,
                                    .reals = true,
                                    .kernel = PAL_AT(rsqrt),
                                    .d = {{PAL_AT(d_rsqrt), "yg"}}};
pal_tensor pal_rsqrt(pal_tensor x) { return pal_map_op_apply1(&rsqrt_op, x); }

static const pal_map_op exp_op = {.op = {.name = "exp",
                                         .args = "x",
                                         .infer = pal_map_op_infer,
                                         .forward = pal_map_op_forward,
                                         .backward = pal_map_op_backward,
                                         .unread_in = 1,
                                         .overwrites = 1},
                                  .nin = 1,
                                  .reals = true,
                                  .kernel = PAL_AT(exp),
                                  .d = {{PAL_AT(d_exp), "yg"}}};
pal_tensor pal_exp(pal_tensor x) { return pal_map_op_apply1(&exp_op, x); }

static const pal_map_op tanh_op = {.op = {.name = "tanh",
                                          .args = "x",
                                          .infer = pal_map_op_infer,
                                          .forward = pal_map_op_forward,
                                          .backward = pal_map_op_backward,
                                          .unread_in = 1,
                                          .overwrites = 1},
                                   .nin = 1,
                                   .reals = true,
                                   .kernel = PAL_AT(tanh),
                                   .d = {{PAL_AT(d_tanh), "yg"}}};
pal_tensor pal_tanh(pal_tensor x) { return pal_map_op_apply1(&tanh_op, x); }

static const pal_map_op sigmoid_op = {.op = {.name = "sigmoid",
                                             .args = "x",
                                             .infer = pal_map_op_infer,
                                             .forward = pal_map_op_forward,
                                             .backward = pal_map_op_backward,
                                             .unread_in = 1,
                                             .overwrites = 1},
                                      .nin = 1,
                                      .reals = true,
                                      .kernel = PAL_AT(sigmoid),
                                      .d = {{PAL_AT(d_sigmoid), "yg"}}};
pal_tensor pal_sigmoid(pal_tensor x) { return pal_map_op_apply1(&sigmoid_op, x); }

/* ---- The gradient follows from x ---- */

static const pal_map_op log_op = {.op = {.name = "log",
                                         .args = "x",
                                         .infer = pal_map_op_infer,
                                         .forward = pal_map_op_forward,
                                         .backward = pal_map_op_backward,
                                         .unread_out = 1,
                                         .overwrites = 1},
                                  .nin = 1,
                                  .reals = true,
                                  .kernel = PAL_AT(log),
                                  .d = {{PAL_AT(d_log), "ag"}}};
pal_tensor pal_log(pal_tensor x) { return pal_map_op_apply1(&log_op, x); }

static const pal_map_op sin_op = {.op = {.name = "sin",
                                         .args = "x",
                                         .infer = pal_map_op_infer,
                                         .forward = pal_map_op_forward,
                                         .backward = pal_map_op_backward,
                                         .unread_out = 1,
                                         .overwrites = 1},
                                  .nin = 1,
                                  .reals = true,
                                  .kernel = PAL_AT(sin),
                                  .d = {{PAL_AT(d_sin), "ag"}}};
pal_tensor pal_sin(pal_tensor x) { return pal_map_op_apply1(&sin_op, x); }

static const pal_map_op cos_op = {.op = {.name = "cos",
                                         .args = "x",
                                         .infer = pal_map_op_infer,
                                         .forward = pal_map_op_forward,
                                         .backward = pal_map_op_backward,
                                         .unread_out = 1,
                                         .overwrites = 1},
                                  .nin = 1,
                                  .reals = true,
                                  .kernel = PAL_AT(cos),
                                  .d = {{PAL_AT(d_cos), "ag"}}};
pal_tensor pal_cos(pal_tensor x) { return pal_map_op_apply1(&cos_op, x); }

static const pal_map_op softplus_op = {.op = {.name = "softplus",
                                              .args = "x",
                                              .infer = pal_map_op_infer,
                                              .forward = pal_map_op_forward,
                                              .backward = pal_map_op_backward,
                                              .unread_out = 1,
                                              .overwrites = 1},
                                       .nin = 1,
                                       .reals = true,
                                       .kernel = PAL_AT(softplus),
                                       .d = {{PAL_AT(d_softplus), "ag"}}};
pal_tensor pal_softplus(pal_tensor x) { return pal_map_op_apply1(&softplus_op, x); }

static const pal_map_op silu_op = {.op = {.name = "silu",
                                          .args = "x",
                                          .infer = pal_map_op_infer,
                                          .forward = pal_map_op_forward,
                                          .backward = pal_map_op_backward,
                                          .unread_out = 1,
                                          .overwrites = 1},
                                   .nin = 1,
                                   .reals = true,
                                   .kernel = PAL_AT(silu),
                                   .d = {{PAL_AT(d_silu), "ag"}}};
pal_tensor pal_silu(pal_tensor x) { return pal_map_op_apply1(&silu_op, x); }

static const pal_map_op relu_op = {.op = {.name = "relu",
                                          .args = "x",
                                          .infer = pal_map_op_infer,
                                          .forward = pal_map_op_forward,
                                          .backward = pal_map_op_backward,
                                          .unread_out = 1,
                                          .overwrites = 1},
                                   .nin = 1,
                                   .reals = true,
                                   .kernel = PAL_AT(relu),
                                   .d = {{PAL_AT(d_relu), "ag"}}};
pal_tensor pal_relu(pal_tensor x) { return pal_map_op_apply1(&relu_op, x); }

static const pal_map_op gelu_op = {.op = {.name = "gelu",
                                          .args = "x",
                                          .infer = pal_map_op_infer,
                                          .forward = pal_map_op_forward,
                                          .backward = pal_map_op_backward,
                                          .unread_out = 1,
                                          .overwrites = 1},
                                   .nin = 1,
                                   .reals = true,
                                   .kernel = PAL_AT(gelu),
                                   .d = {{PAL_AT(d_gelu), "ag"}}};
pal_tensor pal_gelu(pal_tensor x) { return pal_map_op_apply1(&gelu_op, x); }
