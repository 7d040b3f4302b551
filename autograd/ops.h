/*
 * ops.h - the generic operations, and how to write one of your own.
 *
 * Shapes are in brackets; dx is the gradient of x, N the number of elements, and "any shape"
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
 * Binary operations broadcast as in NumPy (axes aligned from the last, sizes of 1 stretch) and take
 * operands of one dtype; the gradient of a stretched operand is the sum over the stretched axes.
 * f32, f64 and i64; on i64 there are no gradients, division rounds down and a zero divisor gives 0.
 * Any strides.
 */
PAL_API pal_tensor pal_add(pal_tensor a, pal_tensor b); /* a + b */
PAL_API pal_tensor pal_sub(pal_tensor a, pal_tensor b); /* a - b */
PAL_API pal_tensor pal_mul(pal_tensor a, pal_tensor b); /* a * b */
PAL_API pal_tensor pal_div(pal_tensor a, pal_tensor b); /* a / b */
PAL_API pal_tensor pal_mod(pal_tensor a,
                           pal_tensor b); /* a - b floor(a / b); i64 only, no gradient */
PAL_API pal_tensor pal_pow(pal_tensor a, pal_tensor b); /* a^b; f32, f64; db is 0 where a <= 0 */
PAL_API pal_tensor
pal_maximum(pal_tensor a, pal_tensor b); /* NaN if either is; ties give half the gradient to each */
/* The smaller of the two; as pal_maximum. */
PAL_API pal_tensor pal_minimum(pal_tensor a, pal_tensor b);
/* Comparisons: 1 or 0 in the operands' dtype (so that a mask multiplies); no gradient. */
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

/* Unary operations; f32 and f64 (neg, abs, sign, square also i64). In f32 exp, log, tanh, sigmoid,
 * softplus and silu are within 2 ulp of the exact value. */
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
/* tanh x */
PAL_API pal_tensor pal_tanh(pal_tensor x);
/* 1 / (1 + e^-x) */
PAL_API pal_tensor pal_sigmoid(pal_tensor x);
PAL_API pal_tensor pal_softplus(pal_tensor x); /* log(1 + e^x); x for x > 20 */
PAL_API pal_tensor pal_silu(pal_tensor x);     /* x sigmoid(x) */
/* max(x, 0); dx is 0 at 0 */
PAL_API pal_tensor pal_relu(pal_tensor x);
PAL_API pal_tensor pal_gelu(pal_tensor x); /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
PAL_API pal_tensor pal_swiglu(pal_tensor gate,
                              pal_tensor up); /* silu(gate) up, of one shape; keeps nothing */
PAL_API pal_tensor pal_clamp(pal_tensor x, double low,
                             double high); /* dx = dy where low <= x <= high */
PAL_API pal_tensor pal_affine(pal_tensor x, double scale,
                              double shift); /* scale x + shift; also i64 (rounded scalars) */
PAL_API pal_tensor pal_cast(pal_tensor x,
                            pal_dtype dtype); /* toward zero to i64; gradient between f32 and f64 */

/* where: a where condition != 0, else b; all three broadcast. condition has any dtype; a, b one
 * dtype. */
PAL_API pal_tensor pal_where(pal_tensor condition, pal_tensor a, pal_tensor b);
/* x with `value` where mask != 0; mask broadcasts to x. */
PAL_API pal_tensor pal_masked_fill(pal_tensor x, pal_tensor mask, double value);
/* Keeps entries (i, j) of the last two axes with j <= i + diagonal (tril) or j >= i + diagonal
 * (triu); others are 0. */
PAL_API pal_tensor pal_tril(pal_tensor x, int64_t diagonal);
/* The same for the upper triangle: j >= i + diagonal. */
PAL_API pal_tensor pal_triu(pal_tensor x, int64_t diagonal);
/* Each element is 0 with probability p in [0, 1), else x / (1 - p). Draws from pal_tape_rng. p = 0
 * returns x. */
PAL_API pal_tensor pal_dropout(pal_tensor x, double p);

/* ---- Reductions along one axis (or PAL_ALL) ---- */

enum { PAL_ALL = -2147483647 - 1 }; /* as an axis: all of them */

/*
 * axis may be negative; keep leaves the reduced axis in place with size 1. Sums run in an order
 * fixed by the shape. Empty: sum 0, mean NaN, logsumexp -inf; max, min, argmax, argmin of an empty
 * axis are an error.
 */
PAL_API pal_tensor pal_sum(pal_tensor x, int axis, bool keep); /* also i64 */
/* The sum over the number of elements. */
PAL_API pal_tensor pal_mean(pal_tensor x, int axis, bool keep);
PAL_API pal_tensor
pal_max(pal_tensor x, int axis,
        bool keep); /* also i64; NaN wins; the first of equals takes the gradient */
/* As pal_max, for the smallest. */
PAL_API pal_tensor pal_min(pal_tensor x, int axis, bool keep);
PAL_API pal_tensor pal_argmax(pal_tensor x, int axis, bool keep); /* i64; the first of equals */
/* As pal_argmax, for the smallest. */
PAL_API pal_tensor pal_argmin(pal_tensor x, int axis, bool keep);
PAL_API pal_tensor pal_logsumexp(pal_tensor x, int axis, bool keep); /* shifted by the maximum */
PAL_API pal_tensor pal_norm(pal_tensor x, int axis,
                            bool keep); /* sqrt(sum x^2); dx = 0 where it is 0 */
/* Running sums along an axis; reverse runs from the end. Also i64. */
PAL_API pal_tensor pal_cumsum(pal_tensor x, int axis, bool reverse);
PAL_API pal_tensor pal_softmax(pal_tensor x, int axis); /* a row of -inf gives zeros */
/* log of pal_softmax, without forming it. */
PAL_API pal_tensor pal_log_softmax(pal_tensor x, int axis);
/* The k largest of the last axis, descending, and where they are; of equals the first comes first.
 * out[0] values, out[1] indices (i64). NaN counts as largest. */
PAL_API void pal_topk(pal_tensor x, int64_t k, pal_tensor out[2]);

/* Normalisation over the last axis (width n). weight, bias [n] may be PAL_NONE. */
PAL_API pal_tensor pal_rms_norm(pal_tensor x, pal_tensor weight,
                                double eps); /* x / sqrt(mean x^2 + eps) * weight */
/* (x - mean x) / sqrt(variance x + eps) * weight + bias; the variance is over n. */
PAL_API pal_tensor pal_layer_norm(pal_tensor x, pal_tensor weight, pal_tensor bias, double eps);
PAL_API pal_tensor pal_l2_norm(pal_tensor x,
                               double eps); /* x / sqrt(sum x^2 + eps): unit rows, as for q and k */

/* A target that counts for nothing: what batches have and the loss of a language model ignores. */
enum { PAL_IGNORE = -100 };

/* Options of the two cross-entropies. */
typedef struct pal_cross_entropy_opts {
    bool has_ignore; /* `ignore` is in force */
    int64_t ignore;  /* the target that counts for nothing; often PAL_IGNORE */
    bool sum;        /* sum instead of mean */
    double
        label_smoothing; /* in [0, 1): this share of each target spread evenly over the n classes */
} pal_cross_entropy_opts;
/*
 * Cross-entropy of logits [.., n] against targets [..] (i64 in 0..n-1): the mean of -log
 * softmax(logits)[target] over the targets that are not `ignore`. No such target gives 0 with zero
 * gradient. A target out of range is an error. Differentiable in logits; keeps one number a target.
 */
PAL_API pal_tensor pal_cross_entropy(pal_tensor logits, pal_tensor targets,
                                     pal_cross_entropy_opts opts);
/*
 * pal_cross_entropy(pal_linear(x, weight, bias), targets, opts) without the logits: the head of a
 * language model and its loss. x [.., d], weight [n, d], bias [n] or PAL_NONE, targets [..].
 * Differentiable in x, weight and bias. Logits exist for about 8 MB of rows at a time (256 rows at
 * least). 2 d n flops a row, and 6 d n where a gradient is wanted: those of x, weight and bias are
 * computed at once and kept, each of the size of what it belongs to, and backward scales them.
 */
PAL_API pal_tensor pal_linear_cross_entropy(pal_tensor x, pal_tensor weight, pal_tensor bias,
                                            pal_tensor targets, pal_cross_entropy_opts opts);

/* ---- Products ---- */

/*
 * a [.., m, k] times b [.., k, n]; leading axes broadcast. A transpose is pal_transpose of the
 * operand and costs nothing (BLIS takes the strides). 2 m n k flops a matrix forward, twice that
 * backward.
 */
PAL_API pal_tensor pal_matmul(pal_tensor a, pal_tensor b);
/*
 * x W^T + bias for x [.., d], weight W [n, d] and bias [n] (may be PAL_NONE): [.., n]. As one
 * product over all rows of x; 2 d n flops a row forward, twice that backward. Saves nothing.
 */
PAL_API pal_tensor pal_linear(pal_tensor x, pal_tensor weight, pal_tensor bias);
/* Options of pal_triangular_solve. */
typedef struct pal_solve_opts {
    bool upper;     /* T is upper triangular (default: lower) */
    bool unit;      /* its diagonal is 1 and is not read */
    bool transpose; /* solves T^T x = b */
} pal_solve_opts;
/* Solves T x = b for x [.., n, m] with triangular T [.., n, n]; leading axes broadcast. Only the
 * named triangle of T is read. Differentiable in both. n^2 m flops a matrix. */
PAL_API pal_tensor pal_triangular_solve(pal_tensor t, pal_tensor b, pal_solve_opts opts);

/* ---- Shapes ---- */

/* These four are views: no copy, and the gradient of a view is the view of the gradient. (reshape
 * copies when the strides leave no other way.) Any dtype. */
PAL_API pal_tensor pal_reshape(pal_tensor x, pal_shape shape); /* one dimension may be -1 */
PAL_API pal_tensor pal_permute(pal_tensor x,
                               const int *axes); /* axis i of the result is axis axes[i] of x */
PAL_API pal_tensor pal_slice(pal_tensor x, int axis, int64_t start, int64_t stop,
                             int64_t step); /* as in NumPy; step >= 1 */
/* Exchanges two axes. */
PAL_API pal_tensor pal_transpose(pal_tensor x, int axis1, int axis2);
PAL_API pal_tensor pal_select(pal_tensor x, int axis,
                              int64_t index);           /* a slice of one, without its axis */
PAL_API pal_tensor pal_squeeze(pal_tensor x, int axis); /* drops an axis of size 1 */
PAL_API pal_tensor pal_unsqueeze(pal_tensor x,
                                 int axis); /* a new axis of size 1 before `axis` of the result */
/* Cuts an axis into n views of the given sizes (they add up to the axis). */
PAL_API void pal_split(pal_tensor x, int axis, int n, const int64_t *sizes, pal_tensor *out);

/* Copies. */
PAL_API pal_tensor pal_contiguous(pal_tensor x);              /* x itself if it is */
PAL_API pal_tensor pal_expand(pal_tensor x, pal_shape shape); /* NumPy's broadcast_to */
/* n tensors end to end along an axis; all other sizes are equal. */
PAL_API pal_tensor pal_concat(int n, const pal_tensor *parts, int axis);
PAL_API pal_tensor pal_stack(int n, const pal_tensor *parts, int axis);      /* along a new axis */
PAL_API pal_tensor pal_repeat(pal_tensor x, int axis, int64_t n);            /* tiles: a b a b */
PAL_API pal_tensor pal_repeat_interleave(pal_tensor x, int axis, int64_t n); /* a a b b */
/* More entries of `value` before and after those of an axis. */
PAL_API pal_tensor pal_pad(pal_tensor x, int axis, int64_t before, int64_t after, double value);
/* The axis in reverse order. */
PAL_API pal_tensor pal_flip(pal_tensor x, int axis);

/* Rows of weight [n, d] at index (i64, any shape): [.., d]. An index out of range is an error. */
PAL_API pal_tensor pal_embedding(pal_tensor weight, pal_tensor index);
/* NumPy's take_along_axis: y[i, j, k] = x[i, index[i, j, k], k] for axis 1; index has x's shape but
 * for the axis. */
PAL_API pal_tensor pal_gather(pal_tensor x, int axis, pal_tensor index);
PAL_API pal_tensor pal_one_hot(pal_tensor index, int64_t n,
                               pal_dtype dtype); /* [.., n]; out of range is an error */

/* ---- Operations of your own ---- */

/*
 * What an operation sees of one call. The library's own operations are written against this and
 * nothing else.
 *
 * infer runs first and is the only function that may fail or size anything: it checks the
 * arguments, sets dtype and shape of every out[i], and asks for saved tensors and scratch. forward
 * and backward then cannot fail and do not allocate. Values: in[i] may have any strides; out[i],
 * saved[i] and dout[i] are contiguous.
 *
 * backward adds to din[i], which has in[i]'s shape and any strides. din[i] == NULL: not wanted.
 * dout[i] == NULL: no gradient reached that output; it counts as zero (at least one is there).
 */
typedef struct pal_call pal_call;
struct pal_call {
    const struct pal_op *op;      /* whose call it is */
    const void *opts;             /* the call's options, copied */
    int nin;                      /* inputs */
    int nout;                     /* outputs */
    int nsaved;                   /* saved tensors */
    const pal_array *const *in;   /* NULL: an optional argument left out */
    pal_array *const *out;        /* infer sets dtype and shape, forward the elements */
    pal_array *saved;             /* those that infer asked for, in order */
    const pal_array *const *dout; /* gradients of out; backward only */
    pal_array *const *din;        /* gradients of in, added to; backward only */
    void *scratch; /* 64-byte aligned; forward's in forward, backward's in backward */
    int team;      /* threads to use; divide work by shapes, never by this number */
};

/* An operation: its name, its functions, and what the tape may assume. Constant and shared by all
 * calls. */
typedef struct pal_op {
    const char *name; /* in messages and prints */
    const char *args; /* names of the inputs for messages, separated by spaces; the last one
                         repeats: "a b", "part" */
    pal_status (*infer)(pal_call *call);    /* checks and sizes; see pal_call */
    void (*forward)(const pal_call *call);  /* computes out and saved */
    void (*backward)(const pal_call *call); /* NULL: no gradient, the outputs are constants */
    /* Bit i set: backward does not read the value of in[i], so it may change before backward. */
    uint32_t unread_in;
    uint32_t unread_out; /* the same for out[i] */
    /*
     * Bit i set: when call->fresh bit i is set, backward overwrites din[i] (its memory is not
     * cleared) instead of adding to it. Saves a pass over memory; leave it 0 and din is always
     * cleared before the first addition.
     */
    uint32_t overwrites;
} pal_op;

/* For infer. Each returns a status to hand on: `return pal_call_error(...)`; PAL_OK otherwise. */
/* Sets dtype and shape of out[i]. */
PAL_API pal_status pal_call_out(pal_call *call, int i, pal_dtype dtype, pal_shape shape);
/* Asks for one more saved tensor: saved[0], saved[1], ... in the order of the calls. */
PAL_API pal_status pal_call_save(pal_call *call, pal_dtype dtype, pal_shape shape);
/* Asks for scratch memory, which lives for one call of forward or backward. */
PAL_API pal_status pal_call_scratch(pal_call *call, size_t forward_bytes, size_t backward_bytes);
/* How many threads the call's work (elements or flops) deserves; the default is the number of
 * output elements. */
PAL_API void pal_call_work(pal_call *call, int64_t work);
/*
 * Says what is wrong; the library adds the operation's name and every argument with its shape:
 * pal_call_error(call, PAL_ESHAPE, "the inner sizes %d and %d differ", ...) -> "matmul: the inner
 * sizes 3 and 4 differ (a f32[2,3], b f32[4,5])".
 */
PAL_API pal_status pal_call_error(pal_call *call, pal_status status, const char *format, ...)
    PAL_PRINTF(3, 4);
/* In backward: whether din[i] holds nothing yet and must be overwritten; only for inputs in
 * op->overwrites. */
PAL_API bool pal_call_fresh(const pal_call *call, int i);

/*
 * Runs an operation: infer, forward, and a record for backward if an input wants a gradient. opts
 * (size bytes) are copied. An input may be PAL_NONE if infer allows it. The tape is that of the
 * first input that lives on one.
 */
PAL_API void pal_apply(const pal_op *op, const void *opts, size_t size, int nin,
                       const pal_tensor *in, int nout, pal_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
