/*
 * ops.h - the generic operations, and how to write one of your own.
 *
 * Shapes are in brackets, dx is the gradient of x, N is the number of elements, and "any shape"
 * includes sizes of zero.
 */
#ifndef PAL_OPS_H
#define PAL_OPS_H

#include "autograd/autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Elementwise operations ---- */

/*
 * Binary operations broadcast as in NumPy: axes are aligned from the last one, and axes of size 1
 * are repeated. Operands have one dtype (f32, f64 or i64) and any strides. The gradient of a
 * repeated operand is the sum over the repeated axes. On i64 there are no gradients, division
 * rounds down, and division by zero gives 0.
 */
PAL_API pal_tensor pal_add(pal_tensor a, pal_tensor b); /* a + b */
PAL_API pal_tensor pal_sub(pal_tensor a, pal_tensor b); /* a - b */
PAL_API pal_tensor pal_mul(pal_tensor a, pal_tensor b); /* a * b */
PAL_API pal_tensor pal_div(pal_tensor a, pal_tensor b); /* a / b */
/* a - b floor(a / b); only i64, no gradient */
PAL_API pal_tensor pal_mod(pal_tensor a, pal_tensor b);
/* a^b for f32 and f64. The gradient of b is 0 where a <= 0. */
PAL_API pal_tensor pal_pow(pal_tensor a, pal_tensor b);
/* The angle of the point (b, a), in -pi..pi, for f32 and f64. Both gradients are 0 at (0, 0). */
PAL_API pal_tensor pal_atan2(pal_tensor a, pal_tensor b);
/* The larger of the two, NaN if either is NaN. Equal operands get half the gradient each. */
PAL_API pal_tensor pal_maximum(pal_tensor a, pal_tensor b);
/* The smaller of the two, with the rules of pal_maximum. */
PAL_API pal_tensor pal_minimum(pal_tensor a, pal_tensor b);
/* a == b. Comparisons give 1 or 0 in the operands' dtype, so that a mask can be multiplied. They
 * have no gradient. */
PAL_API pal_tensor pal_eq(pal_tensor a, pal_tensor b);
/* a != b */
PAL_API pal_tensor pal_ne(pal_tensor a, pal_tensor b);
/* a < b */
PAL_API pal_tensor pal_lt(pal_tensor a, pal_tensor b);
/* a <= b */
PAL_API pal_tensor pal_le(pal_tensor a, pal_tensor b);
/* a > b */
PAL_API pal_tensor pal_gt(pal_tensor a, pal_tensor b);
/* a >= b */
PAL_API pal_tensor pal_ge(pal_tensor a, pal_tensor b);

/* -x. Unary operations take f32 and f64; neg, abs, sign and square also take i64. In f32 exp, log,
 * tanh, sigmoid, softplus and silu are within 2 ulp of the exact value. */
PAL_API pal_tensor pal_neg(pal_tensor x);
PAL_API pal_tensor pal_abs(pal_tensor x);  /* dx = sign(x) dy, 0 at 0 */
PAL_API pal_tensor pal_sign(pal_tensor x); /* -1, 0, 1; no gradient */
/* x^2 */
PAL_API pal_tensor pal_square(pal_tensor x);
PAL_API pal_tensor pal_sqrt(pal_tensor x);  /* dx = dy / (2 y) */
PAL_API pal_tensor pal_rsqrt(pal_tensor x); /* x^-1/2 */
/* e^x */
PAL_API pal_tensor pal_exp(pal_tensor x);
PAL_API pal_tensor pal_log(pal_tensor x); /* -inf at 0, NaN below */
/* sin x, x in radians */
PAL_API pal_tensor pal_sin(pal_tensor x);
/* cos x, x in radians */
PAL_API pal_tensor pal_cos(pal_tensor x);
/* 2 / sqrt(pi) times the integral of e^-t^2 from 0 to x. The exact GELU is x / 2 (1 + erf(x /
 * sqrt(2))). */
PAL_API pal_tensor pal_erf(pal_tensor x);
/* tanh x */
PAL_API pal_tensor pal_tanh(pal_tensor x);
/* 1 / (1 + e^-x) */
PAL_API pal_tensor pal_sigmoid(pal_tensor x);
PAL_API pal_tensor pal_softplus(pal_tensor x); /* log(1 + e^x); x for x > 20 */
PAL_API pal_tensor pal_silu(pal_tensor x);     /* x sigmoid(x) */
/* max(x, 0); dx is 0 at 0 */
PAL_API pal_tensor pal_relu(pal_tensor x);
/* x where x > 0, else slope x; dx is slope dy at 0. Often slope = 0.01. */
PAL_API pal_tensor pal_leaky_relu(pal_tensor x, double slope);
PAL_API pal_tensor pal_gelu(pal_tensor x); /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
/* silu(gate) up, both of one shape. It keeps nothing for backward. */
PAL_API pal_tensor pal_swiglu(pal_tensor gate, pal_tensor up);
/* x limited to [low, high]. dx = dy where low <= x <= high, else 0. */
PAL_API pal_tensor pal_clamp(pal_tensor x, double low, double high);
/* scale x + shift. Also i64, with both numbers rounded. */
PAL_API pal_tensor pal_affine(pal_tensor x, double scale, double shift);
/* x - period floor(x / period), in [0, period): angles without their whole turns, for period = 2
 * pi. f32 or f64; period > 0. It is computed in double. dx = dy. */
PAL_API pal_tensor pal_wrap(pal_tensor x, double period);
/* x in another dtype: rounded to the nearest, and toward zero to i64. A gradient passes between
 * f32, f64 and bf16, and that of a bf16 tensor is f32. */
PAL_API pal_tensor pal_cast(pal_tensor x, pal_dtype dtype);

/* a where condition != 0, else b; all three broadcast. condition has any dtype; a and b have one
 * dtype. Differentiable in a and b. */
PAL_API pal_tensor pal_where(pal_tensor condition, pal_tensor a, pal_tensor b);
/* x, but `value` where mask != 0; mask broadcasts to x. */
PAL_API pal_tensor pal_masked_fill(pal_tensor x, pal_tensor mask, double value);
/* Keeps entries (i, j) of the last two axes with j <= i + diagonal; the others become 0. */
PAL_API pal_tensor pal_tril(pal_tensor x, int64_t diagonal);
/* The same for the upper triangle: j >= i + diagonal. */
PAL_API pal_tensor pal_triu(pal_tensor x, int64_t diagonal);
/* Each element becomes 0 with probability p in [0, 1), else x / (1 - p). The probability is rounded
 * to a multiple of 2^-32, the factor is not. It draws from pal_tape_rng. p = 0 returns x. */
PAL_API pal_tensor pal_dropout(pal_tensor x, double p);

/* ---- Reductions along one axis (or PAL_ALL) ---- */

enum { PAL_ALL = -2147483647 - 1 }; /* as an axis: all axes */

/*
 * The sum over an axis. In all reductions axis may be negative, and `keep` leaves the reduced axis
 * with size 1. Sums run in an order fixed by the shape. An empty axis gives sum 0, mean NaN and
 * logsumexp -inf; for max, min, argmax and argmin it is an error.
 */
PAL_API pal_tensor pal_sum(pal_tensor x, int axis, bool keep); /* also i64 */
/* The sum divided by the number of elements. */
PAL_API pal_tensor pal_mean(pal_tensor x, int axis, bool keep);
/* The largest element. Also i64. NaN if any is NaN. The first of equal elements gets the
 * gradient. */
PAL_API pal_tensor pal_max(pal_tensor x, int axis, bool keep);
/* The smallest element, with the rules of pal_max. */
PAL_API pal_tensor pal_min(pal_tensor x, int axis, bool keep);
/* The index (i64) of the largest element, the first one of equal elements. */
PAL_API pal_tensor pal_argmax(pal_tensor x, int axis, bool keep);
/* The index of the smallest element, with the rules of pal_argmax. */
PAL_API pal_tensor pal_argmin(pal_tensor x, int axis, bool keep);
/* log(sum e^x), computed with a shift by the maximum. */
PAL_API pal_tensor pal_logsumexp(pal_tensor x, int axis, bool keep);
/* sqrt(sum x^2); dx = 0 where it is 0. */
PAL_API pal_tensor pal_norm(pal_tensor x, int axis, bool keep);
/*
 * The same over n axes at once: pal_sum_over(x, 2, (int[]){0, 2}, false). The axes are different,
 * in any order, and at least one; {PAL_ALL} means all. The result does not depend on their order,
 * and sums over them are one sum. x is copied where these axes do not lie together in memory. Also
 * i64.
 */
PAL_API pal_tensor pal_sum_over(pal_tensor x, int n, const int *axes, bool keep);
/* Their sum divided by the number of elements. */
PAL_API pal_tensor pal_mean_over(pal_tensor x, int n, const int *axes, bool keep);
/* The largest element, with the rules of pal_max. */
PAL_API pal_tensor pal_max_over(pal_tensor x, int n, const int *axes, bool keep);
/* The smallest element, with the rules of pal_max. */
PAL_API pal_tensor pal_min_over(pal_tensor x, int n, const int *axes, bool keep);
/*
 * The variance over n axes: sum (x - mean x)^2 / (m - correction) for m elements, computed in
 * double from the deviations. correction 1 gives the estimate from a sample, 0 the variance of the
 * elements. It is NaN for no elements, and where m = correction. f32 or f64.
 */
PAL_API pal_tensor pal_var(pal_tensor x, int n, const int *axes, double correction, bool keep);
/* The square root of pal_var; dx = 0 where it is 0. */
PAL_API pal_tensor pal_std(pal_tensor x, int n, const int *axes, double correction, bool keep);
/* Running sums along an axis; `reverse` starts at the end. Also i64. */
PAL_API pal_tensor pal_cumsum(pal_tensor x, int axis, bool reverse);
/* Running products along an axis. Also i64. The gradient is right where entries are 0: nothing is
 * divided. */
PAL_API pal_tensor pal_cumprod(pal_tensor x, int axis);
PAL_API pal_tensor pal_softmax(pal_tensor x, int axis); /* a row of -inf gives zeros */
/* log of pal_softmax, computed without the softmax. */
PAL_API pal_tensor pal_log_softmax(pal_tensor x, int axis);
/* The k largest entries of the last axis in descending order: out[0] has the values, out[1] the
 * indices (i64). Of equal entries the first comes first. NaN counts as the largest. */
PAL_API void pal_topk(pal_tensor x, int64_t k, pal_tensor out[2]);
/* Sorts along an axis: out[0] has the values in ascending order (or descending), out[1] the indices
 * (i64) that they had. Equal entries keep their order. NaN counts as the largest: it is last, and
 * first if descending. Also i64. Differentiable in x through the values. n log n steps a line. */
PAL_API void pal_sort(pal_tensor x, int axis, bool descending, pal_tensor out[2]);

/* x / sqrt(mean x^2 + eps) * weight. The norms are taken over the last axis, of width n. weight and
 * bias are [n] and may be PAL_NONE. */
PAL_API pal_tensor pal_rms_norm(pal_tensor x, pal_tensor weight, double eps);
/* (x - mean x) / sqrt(variance x + eps) * weight + bias; the variance is over n. */
PAL_API pal_tensor pal_layer_norm(pal_tensor x, pal_tensor weight, pal_tensor bias, double eps);
/* x / sqrt(sum x^2 + eps): rows of length 1, as for q and k. */
PAL_API pal_tensor pal_l2_norm(pal_tensor x, double eps);
/* For x [B, C, ..]: the layer norm over each of `groups` equal parts of the C channels with all
 * that follows them, then * weight[c] + bias[c]; weight and bias are [C] or PAL_NONE. It is
 * composed of operations. Source: Wu and He, ECCV 2018. */
PAL_API pal_tensor pal_group_norm(pal_tensor x, int64_t groups, pal_tensor weight, pal_tensor bias,
                                  double eps);

/* A target that does not count: batches contain it, and the loss of a language model ignores it. */
enum { PAL_IGNORE = -100 };

/* What a loss makes of the losses of its elements or rows. */
typedef enum pal_loss_reduction {
    PAL_REDUCE_MEAN = 0, /* their mean */
    PAL_REDUCE_SUM,      /* their sum */
    PAL_REDUCE_NONE      /* nothing: all of them are the result */
} pal_loss_reduction;

/* Options of the two cross-entropies. */
typedef struct pal_cross_entropy_opts {
    bool has_ignore;        /* whether `ignore` is used */
    int64_t ignore;         /* the target that does not count; often PAL_IGNORE */
    bool sum;               /* the same as reduction = PAL_REDUCE_SUM */
    double label_smoothing; /* in [0, 1): the fraction of each target that is spread evenly over
                               the n classes */
    pal_loss_reduction reduction; /* PAL_REDUCE_NONE: the result is [..], and 0 where the target is
                                ignored */
    pal_tensor weight; /* [..], a weight >= 0 for each target; PAL_NONE: all are 1. A weight for
                          each class c [n]: pal_gather(c, 0, targets) for targets [rows] */
} pal_cross_entropy_opts;
/*
 * Cross-entropy of logits [.., n] against targets [..] (i64 in 0..n-1): the mean of l = -log
 * softmax(logits)[target] over the targets that are not `ignore`. With weights w the mean is sum(w
 * l) / sum(w). If no target counts, loss and gradient are 0. Differentiable in logits; weights are
 * constants. It keeps one number for each target. A target out of range is an error.
 */
PAL_API pal_tensor pal_cross_entropy(pal_tensor logits, pal_tensor targets,
                                     pal_cross_entropy_opts opts);
/*
 * The same as pal_cross_entropy(pal_linear(x, weight, bias), targets, opts), but it never holds all
 * logits: this is the head of a language model and its loss. x [.., d], weight [n, d], bias [n] or
 * PAL_NONE, targets [..]. Differentiable in x, weight and bias.
 *
 * At a time it holds about 8 MB of logits (at least 256 rows). 2 d n flops a row, and 6 d n where a
 * gradient is wanted: the gradients of x, weight and bias are computed in forward and kept, each as
 * large as its tensor, and backward only scales them. With PAL_REDUCE_NONE this is not possible:
 * then it is the two operations, and holds all logits.
 */
PAL_API pal_tensor pal_linear_cross_entropy(pal_tensor x, pal_tensor weight, pal_tensor bias,
                                            pal_tensor targets, pal_cross_entropy_opts opts);

/* Options of the losses between x and a target. */
typedef struct pal_loss_opts {
    pal_loss_reduction reduction; /* mean, sum or none */
    pal_tensor weight;            /* weights >= 0 that broadcast to x; PAL_NONE: all are 1 */
    pal_tensor pos_weight;        /* pal_bce_logits: p, which broadcasts to x; PAL_NONE: 1 */
    double delta;                 /* pal_huber: > 0; 0 means 1 */
} pal_loss_opts;
/*
 * Losses between x and target, both of one shape and dtype (f32 or f64). The mean of w l is sum(w
 * l) / sum(w), and 0 if the weights add up to 0; sums are taken in double. With PAL_REDUCE_NONE the
 * result is w l, in the shape of x. Differentiable in x and target; weights are constants. The
 * squared error, l = (x - target)^2.
 */
PAL_API pal_tensor pal_mse(pal_tensor x, pal_tensor target, pal_loss_opts opts);
/* The absolute error, l = |x - target|; its gradient is 0 where they are equal. */
PAL_API pal_tensor pal_mae(pal_tensor x, pal_tensor target, pal_loss_opts opts);
/* l = d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), for d = x - target. Source: Huber,
 * 1964. */
PAL_API pal_tensor pal_huber(pal_tensor x, pal_tensor target, pal_loss_opts opts);
/* Binary cross-entropy of logits x against probabilities t: l = -p t log s(x) - (1 - t) log s(-x),
 * with s = sigmoid. */
PAL_API pal_tensor pal_bce_logits(pal_tensor x, pal_tensor target, pal_loss_opts opts);

/* ---- Products ---- */

/*
 * a [.., m, k] times b [.., k, n]; leading axes broadcast. To transpose an operand use
 * pal_transpose, which costs nothing (BLIS takes the strides). 2 m n k flops a matrix forward,
 * twice that backward. If one is bf16, the other is rounded to bf16; the result is f32.
 */
PAL_API pal_tensor pal_matmul(pal_tensor a, pal_tensor b);
/*
 * x W^T + bias for x [.., d], weight W [n, d] and bias [n] (may be PAL_NONE); the result is [..,
 * n]. All rows of x form one product. 2 d n flops a row forward, twice that backward. x and W
 * may be bf16, as in pal_matmul; see pal_tape_precision. It saves nothing.
 */
PAL_API pal_tensor pal_linear(pal_tensor x, pal_tensor weight, pal_tensor bias);
/*
 * Einstein's notation for two operands: "bik,bjk->bij" names the axes of a, of b and of the result
 * by letters; what the result does not name is summed. Without "->" the result has the letters that
 * occur once, in alphabetical order. Letters within one operand are different, and a letter has one
 * size. It is pal_permute, pal_reshape (which may copy) and one pal_matmul. f32 or f64.
 */
PAL_API pal_tensor pal_einsum(const char *text, pal_tensor a, pal_tensor b);
/* Options of pal_conv1d. */
typedef struct pal_conv1d_opts {
    int64_t stride;   /* 0: 1 */
    int64_t padding;  /* zeros before and after each line */
    int64_t dilation; /* 0: 1 */
    int64_t groups;   /* 0: 1 */
} pal_conv1d_opts;
/*
 * Convolution with channels: y[b,o,t] = bias[o] + sum_{c,w} weight[o,c,w] x[b,c',t stride - padding
 * + w dilation] for x [B, C, T], weight [O, C / groups, W], bias [O] or PAL_NONE; x is 0 outside.
 * Outputs of group g read its inputs, c' = g C / groups + c. The result has floor((T + 2 padding -
 * dilation (W - 1) - 1) / stride) + 1 entries. Differentiable in all three. A product for each
 * entry of the batch and group, 2 B O T' C / groups W flops; backward takes twice that. For a
 * causal convolution of each channel by itself see pal_short_conv.
 */
PAL_API pal_tensor pal_conv1d(pal_tensor x, pal_tensor weight, pal_tensor bias,
                              pal_conv1d_opts opts);
/* Options of pal_triangular_solve. */
typedef struct pal_solve_opts {
    bool upper;     /* T is upper triangular (default: lower) */
    bool unit;      /* the diagonal of T is 1 and is not read */
    bool transpose; /* solves T^T x = b */
} pal_solve_opts;
/* Solves T x = b for x [.., n, m] with triangular T [.., n, n]; leading axes broadcast. Only one
 * triangle of T is read, as opts say. Differentiable in T and b. n^2 m flops a matrix. */
PAL_API pal_tensor pal_triangular_solve(pal_tensor t, pal_tensor b, pal_solve_opts opts);

/* ---- Shapes ---- */

/*
 * Changes the shape. reshape, permute, slice, transpose, select, squeeze and unsqueeze are views:
 * they do not copy, and the gradient of a view is the same view of the gradient. Only reshape
 * copies, if the strides require it. They take any dtype.
 */
PAL_API pal_tensor pal_reshape(pal_tensor x, pal_shape shape); /* one dimension may be -1 */
/* Reorders the axes: axis i of the result is axis axes[i] of x. */
PAL_API pal_tensor pal_permute(pal_tensor x, const int *axes);
/* Every step-th entry of one axis from start up to but not including stop, as in NumPy; step
 * >= 1. */
PAL_API pal_tensor pal_slice(pal_tensor x, int axis, int64_t start, int64_t stop, int64_t step);
/* Exchanges two axes. */
PAL_API pal_tensor pal_transpose(pal_tensor x, int axis1, int axis2);
/* The slice at one index, without its axis. */
PAL_API pal_tensor pal_select(pal_tensor x, int axis, int64_t index);
PAL_API pal_tensor pal_squeeze(pal_tensor x, int axis); /* drops an axis of size 1 */
/* Adds an axis of size 1, which becomes `axis` of the result. */
PAL_API pal_tensor pal_unsqueeze(pal_tensor x, int axis);
/* Cuts an axis into n views of the given sizes, which must add up to the size of the axis. */
PAL_API void pal_split(pal_tensor x, int axis, int n, const int64_t *sizes, pal_tensor *out);

/* A callback of pal_hook_grad. *grad has the shape and dtype of x and is contiguous; what the
 * callback writes into its data is the gradient from then on. It may not call operations. */
typedef void pal_see_grad_fn(void *user, pal_array *grad);
/*
 * A copy of x, whose gradient is shown to `see` during backward, when it is complete and before it
 * goes on to x: to look at it, to scale it or to limit it. Use the result in place of x:
 *
 *     x = pal_hook_grad(x, limit, &opts);
 *
 * The callback is called on the thread of pal_backward, once a pass, if x wants a gradient. user
 * must live until then. dx is what the callback leaves. pal_want_grad keeps a gradient without a
 * callback. Cost: a copy in forward, a copy and an addition in backward.
 */
PAL_API pal_tensor pal_hook_grad(pal_tensor x, pal_see_grad_fn *see, void *user);

/* x in contiguous memory: a copy, or x itself if it is contiguous. */
PAL_API pal_tensor pal_contiguous(pal_tensor x);
/* Repeats axes of size 1, as NumPy's broadcast_to. */
PAL_API pal_tensor pal_expand(pal_tensor x, pal_shape shape);
/* Joins n tensors along an axis; all other sizes are equal. */
PAL_API pal_tensor pal_concat(int n, const pal_tensor *parts, int axis);
/* Joins n tensors along a new axis. */
PAL_API pal_tensor pal_stack(int n, const pal_tensor *parts, int axis);
/* Repeats the whole axis: a b a b. */
PAL_API pal_tensor pal_repeat(pal_tensor x, int axis, int64_t n);
/* Repeats each entry: a a b b. */
PAL_API pal_tensor pal_repeat_interleave(pal_tensor x, int axis, int64_t n);
/* Adds entries of `value` before and after those of an axis. */
PAL_API pal_tensor pal_pad(pal_tensor x, int axis, int64_t before, int64_t after, double value);
/* Reverses the order of an axis. */
PAL_API pal_tensor pal_flip(pal_tensor x, int axis);

/* The rows of weight [n, d] at index (i64, any shape); the result is [.., d]. An index out of range
 * is an error. */
PAL_API pal_tensor pal_embedding(pal_tensor weight, pal_tensor index);
/* NumPy's take_along_axis: y[i, j, k] = x[i, index[i, j, k], k] for axis 1. index has x's shape
 * except along the axis. */
PAL_API pal_tensor pal_gather(pal_tensor x, int axis, pal_tensor index);
/* The entries of one axis at index (i64, [m]), in that order; the axis has then m entries. Any
 * dtype. An index out of range is an error. */
PAL_API pal_tensor pal_index_select(pal_tensor x, int axis, pal_tensor index);
/* y = x, and then y[i, index[i, j, k], k] += src[i, j, k] for axis 1: the opposite of pal_gather.
 * index and src have x's shape except along the axis. Entries are added in the order of the axis.
 * Differentiable in x and src. Also i64. */
PAL_API pal_tensor pal_scatter_add(pal_tensor x, int axis, pal_tensor index, pal_tensor src);
/* 1 at the index and 0 elsewhere along a new last axis: [.., n]. An index out of range is an
 * error. */
PAL_API pal_tensor pal_one_hot(pal_tensor index, int64_t n, pal_dtype dtype);

/* ---- Operations of your own ---- */

/*
 * What an operation sees of one call. The library's own operations use only this interface too.
 *
 * infer runs first. Only infer may fail or decide sizes: it checks the arguments, sets dtype and
 * shape of every out[i], and asks for saved tensors and scratch. forward and backward then cannot
 * fail and do not allocate. in[i] may have any strides; out[i], saved[i] and dout[i] are
 * contiguous.
 *
 * backward adds to din[i], which has in[i]'s shape and any strides. din[i] == NULL means that this
 * gradient is not wanted. dout[i] == NULL means that no gradient reached that output, and counts as
 * zero; at least one dout[i] is not NULL.
 */
typedef struct pal_call pal_call;
struct pal_call {
    const struct pal_op *op;      /* the operation that is called */
    const void *opts;             /* a copy of the call's options */
    int nin;                      /* number of inputs */
    int nout;                     /* number of outputs */
    int nsaved;                   /* number of saved tensors */
    const pal_array *const *in;   /* in[i] == NULL: an optional argument is left out */
    pal_array *const *out;        /* infer sets dtype and shape, forward writes the elements */
    pal_array *saved;             /* those that infer asked for, in order */
    const pal_array *const *dout; /* gradients of the outputs; only in backward */
    pal_array *const *din;        /* gradients of the inputs, to be added to; only in backward */
    /* Scratch memory, 64-byte aligned, of the sizes that infer asked for. */
    void *scratch;
    int team; /* threads to use; divide work by shapes, never by this number */
};

/* An operation: its name, its functions, and what the tape may assume. It is constant, and all
 * calls share it. */
typedef struct pal_op {
    const char *name; /* used in messages and prints */
    const char *args; /* names of the inputs for messages, separated by spaces; the last one
                         repeats: "a b", "part" */
    pal_status (*infer)(pal_call *call);   /* checks and sizes; see pal_call */
    void (*forward)(const pal_call *call); /* computes out and saved */
    /* Adds to din. NULL: there is no gradient, and the outputs are constants. */
    void (*backward)(const pal_call *call);
    /* Bit i set: backward does not read the value of in[i], so it may change before backward. */
    uint32_t unread_in;
    uint32_t unread_out; /* the same for out[i] */
    /*
     * Bit i set: if pal_call_fresh(call, i), backward overwrites din[i], whose memory was not
     * cleared, instead of adding to it. This saves a pass over memory. With bit i clear din[i] is
     * always cleared before the first addition.
     */
    uint32_t overwrites;
} pal_op;

/* The following functions are for infer. Each returns PAL_OK or the status that infer has to
 * return, as in `return pal_call_error(...)`. */
/* Sets dtype and shape of out[i]. */
PAL_API pal_status pal_call_out(pal_call *call, int i, pal_dtype dtype, pal_shape shape);
/* Asks for one more saved tensor: saved[0], saved[1], ... in the order of the calls. */
PAL_API pal_status pal_call_save(pal_call *call, pal_dtype dtype, pal_shape shape);
/* Asks for scratch memory, which lives for one call of forward or backward. */
PAL_API pal_status pal_call_scratch(pal_call *call, size_t forward_bytes, size_t backward_bytes);
/* Sets the work of the call (in elements or flops), which decides how many threads it gets. The
 * default is the number of output elements. */
PAL_API void pal_call_work(pal_call *call, int64_t work);
/* The same, and returns the number of threads that the call gets, for scratch memory of each. The
 * number is chosen here: call it once, and pal_call_work not after it. */
PAL_API int pal_call_team(pal_call *call, int64_t work);
/*
 * Reports what is wrong. The library adds the operation's name and every argument with its shape:
 * pal_call_error(call, PAL_ESHAPE, "the inner sizes %d and %d differ", ...) -> "matmul: the inner
 * sizes 3 and 4 differ (a f32[2,3], b f32[4,5])".
 */
PAL_API pal_status pal_call_error(pal_call *call, pal_status status, const char *format, ...)
    PAL_PRINTF(3, 4);
/* For backward: whether nothing has been added to din[i] yet, so that it must be overwritten. It is
 * true only for inputs in op->overwrites. */
PAL_API bool pal_call_fresh(const pal_call *call, int i);

/*
 * Runs an operation: infer, forward, and a record for backward if an input wants a gradient. opts
 * (size bytes) are copied. An input may be PAL_NONE if infer allows it. The call belongs to the
 * tape of the first input that is on a tape.
 */
PAL_API void pal_apply(const pal_op *op, const void *opts, size_t size, int nin,
                       const pal_tensor *in, int nout, pal_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
