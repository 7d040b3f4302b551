/*
 * autograd.h - tensors with a history: tape, parameters, gradients, and the generic operations.
 *
 * There are two owners, and nobody frees a tensor:
 *
 * - pal_tape owns one step. Operations run at once and record themselves; pal_backward walks the
 *   record in reverse; pal_tape_reset forgets the step and keeps the memory for the next one.
 * - pal_params owns parameters, their gradients, and the layers built on them.
 *
 * A training step:
 *
 *     pal_tensor x = pal_from(tape, PAL_F32, PAL_SHAPE(32, 8), batch);
 *     pal_tensor y = pal_add(pal_matmul(x, w), bias);
 *     pal_tensor loss = pal_mean(pal_square(pal_sub(y, target)), PAL_ALL, false);
 *     pal_backward(loss);
 *     ... update the parameters ...
 *     pal_tape_reset(tape);
 *
 * Nothing here returns a code that teaching code must check: a failure is a sentence that names the
 * operation, the argument and the shapes, and goes to the error handler (tensor.h). Only first
 * derivatives exist.
 *
 * In the comments, dx is the gradient of x, N the number of elements, and "any shape" includes
 * sizes of zero.
 */
#ifndef PAL_AUTOGRAD_H
#define PAL_AUTOGRAD_H

#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pal_tape pal_tape;
typedef struct pal_params pal_params;
typedef struct pal_node pal_node;

/*
 * A handle: copy it, pass it by value, let it go out of scope. Its tape (or parameters) owns what
 * it stands for. A handle kept across pal_tape_reset is stale, and using it is an error that names
 * operation and argument.
 */
typedef struct pal_tensor {
    pal_node *node;
    uint64_t generation;
} pal_tensor;

/* No tensor: what an optional argument is when it is left out. */
#ifdef __cplusplus
#define PAL_NONE (pal_tensor{nullptr, 0})
#else
#define PAL_NONE ((pal_tensor){0})
#endif
static inline bool pal_is_none(pal_tensor t) { return t.node == NULL; }

/* ---- The tape ---- */

/* NULL (after telling the handler) when there is no memory. */
PAL_API pal_tape *pal_tape_new(void);
/* Forgets every tensor of the step, clears a sticky error, and keeps the memory. */
PAL_API void pal_tape_reset(pal_tape *tape);
PAL_API void pal_tape_free(pal_tape *tape);

/* The first failure since the last reset: PAL_OK or its status, and its message ("" when there is
 * none). */
PAL_API pal_status pal_tape_status(const pal_tape *tape);
PAL_API const char *pal_tape_message(const pal_tape *tape);

/*
 * Gradients on or off; returns what it was, so that a region ends with pal_set_grad(tape, before).
 * With gradients off nothing is recorded and no operation keeps anything for a backward pass. On at
 * first; a reset leaves it as it is.
 */
PAL_API bool pal_set_grad(pal_tape *tape, bool on);

/* The generator that pal_dropout draws from. Explicit and seedable; it goes on across resets. */
PAL_API pal_rng *pal_tape_rng(pal_tape *tape);

/* Lists the record: one line an operation with its shapes, or a graph for Graphviz (`dot -Tsvg`).
 */
PAL_API void pal_tape_print(const pal_tape *tape, FILE *file);
PAL_API void pal_tape_dot(const pal_tape *tape, FILE *file);

typedef struct pal_memory {
    size_t live;     /* bytes of values, saved tensors and gradients now on the tape */
    size_t peak;     /* the most there has been since the tape was made */
    size_t reserved; /* bytes the tape holds from the allocator */
    int64_t ops;     /* recorded operations */
} pal_memory;
PAL_API pal_memory pal_tape_memory(const pal_tape *tape);
PAL_API void pal_memory_print(FILE *file, pal_memory memory);

/*
 * A profile: seconds by operation, of forward and of backward, since it was last turned on. What is
 * done between operations (finding the tape, shapes, memory) is in none of them. *lines stays valid
 * until the tape is freed; in the order of first use; names are the operations'. A recomputed
 * segment's operations count again, as forward.
 */
typedef struct pal_profile_line {
    const char *name;
    int64_t calls; /* forward */
    double forward, backward;
} pal_profile_line;
PAL_API void pal_tape_profile(pal_tape *tape, bool on);
PAL_API int pal_tape_profile_lines(const pal_tape *tape, const pal_profile_line **lines);

/* ---- Leaves ---- */

PAL_API pal_tensor pal_full(pal_tape *tape, pal_dtype dtype, pal_shape shape, double value);
PAL_API pal_tensor pal_zeros(pal_tape *tape, pal_dtype dtype, pal_shape shape);
PAL_API pal_tensor pal_scalar(pal_tape *tape, pal_dtype dtype, double value); /* shape [] */
PAL_API pal_tensor pal_arange(pal_tape *tape, pal_dtype dtype, int64_t n);    /* 0, 1, ..., n-1 */
/* Copies n = pal_shape_count(shape) elements of dtype from data. */
PAL_API pal_tensor pal_from(pal_tape *tape, pal_dtype dtype, pal_shape shape, const void *data);
/* Copies an array, strides and all; dtype is the array's. */
PAL_API pal_tensor pal_from_array(pal_tape *tape, const pal_array *a);
PAL_API pal_tensor pal_uniform(pal_tape *tape, pal_dtype dtype, pal_shape shape, double low,
                               double high, pal_rng *rng);
PAL_API pal_tensor pal_normal(pal_tape *tape, pal_dtype dtype, pal_shape shape, double mean,
                              double deviation, pal_rng *rng);
/* Marks a leaf (f32 or f64, made by one of the above) as one whose gradient is wanted; returns it.
 * An error inside a recomputed segment, whose tensors do not outlive it. */
PAL_API pal_tensor pal_want_grad(pal_tensor leaf);
/* A parameter (or a tensor of another owner) as a leaf of this tape, for when no other operand
 * names a tape. */
PAL_API pal_tensor pal_on(pal_tape *tape, pal_tensor t);

/* ---- Looking at a tensor ---- */

/* Shape, strides and data, valid until the tape is reset. Read only: change a tensor through
 * pal_edit. An array of shape [0] without data for a poisoned tensor. */
PAL_API pal_array pal_value(pal_tensor t);
/* The same for writing. Backward will name the operation that had saved this tensor, if there is
 * one. */
PAL_API pal_array pal_edit(pal_tensor t);
PAL_API const float *pal_f32(
    pal_tensor t); /* contiguous data of that dtype, else an error and NULL */
PAL_API const double *pal_f64(pal_tensor t);
PAL_API const int64_t *pal_i64(pal_tensor t);
/* The only element of a tensor as a double (NaN for a poisoned tensor). */
PAL_API double pal_item(pal_tensor t);
PAL_API pal_dtype pal_dtype_of(pal_tensor t);
PAL_API pal_shape pal_shape_of(pal_tensor t);
PAL_API int64_t pal_dim(pal_tensor t,
                        int axis); /* size of one axis; negative axes count from the end */
PAL_API int64_t pal_count(pal_tensor t);
PAL_API void pal_print(const char *name, pal_tensor t); /* to stdout */
/* A label for messages, dumps and dot; copied. Returns t. */
PAL_API pal_tensor pal_label(pal_tensor t, const char *name);

/* ---- Gradients ---- */

/*
 * Adds d loss / d x to the gradient of every parameter and wanted leaf that loss depends on. loss
 * has one element and is f32 or f64. All memory is reserved before anything is computed: if that
 * fails, no gradient has changed. Gradients add up over calls; clear parameters with
 * pal_params_zero_grad, leaves with pal_tape_reset. Cost: the sum of the operations' backward
 * costs; buffers of intermediate gradients are reused.
 */
PAL_API pal_status pal_backward(pal_tensor loss);
/* The same from several outputs with given cotangents (same shape and dtype, on the same tape):
 * sum_i <cotangent_i, output_i>. */
PAL_API pal_status pal_backward_from(int n, const pal_tensor *outputs,
                                     const pal_tensor *cotangents);
/*
 * The gradient of a parameter or wanted leaf, as a tensor of the same owner. PAL_NONE for a leaf
 * before any backward pass has reached it. Gradients are constants: there are no second
 * derivatives.
 */
PAL_API pal_tensor pal_grad(pal_tensor t);
/* The same value, cut from its history; shares memory. */
PAL_API pal_tensor pal_detach(pal_tensor t);

/*
 * Recomputation: runs segment(context, in, out) without keeping what it computes, and runs it again
 * during backward. Memory falls from all the values inside to the outputs, for one more forward
 * pass of the segment; with gradients off for nothing. The segment must compute out from in,
 * parameters and constants alone, the same way each time (dropout repeats its mask); a tensor of
 * the tape that wants a gradient and is not among `in` is an error. Segments nest. context must
 * live until backward.
 */
typedef void pal_segment_fn(void *context, const pal_tensor *in, pal_tensor *out);
PAL_API void pal_recompute(pal_tape *tape, pal_segment_fn *segment, void *context, int nin,
                           const pal_tensor *in, int nout, pal_tensor *out);

/* ---- Parameters ---- */

PAL_API pal_params *pal_params_new(void);
PAL_API void pal_params_free(pal_params *params);
/*
 * A new parameter, zero until filled through pal_edit (or pal_param_uniform and the like). The name
 * is a path with dots and unique in `params`. Parameters lie one after another in blocks (see
 * pal_params_block) in the order of their creation, each 64-byte aligned with zero padding, and
 * never move. On failure the handler is told and the tensor is poisoned.
 */
PAL_API pal_tensor pal_param(pal_params *params, const char *name, pal_dtype dtype,
                             pal_shape shape);
/* Fills a parameter (or leaf) in place and returns it. */
PAL_API pal_tensor pal_fill(pal_tensor t, double value);
PAL_API pal_tensor pal_fill_uniform(pal_tensor t, double low, double high, pal_rng *rng);
PAL_API pal_tensor pal_fill_normal(pal_tensor t, double mean, double deviation, pal_rng *rng);
/* Copies src (it broadcasts, dtype converts) into t in place and returns t. */
PAL_API pal_tensor pal_assign(pal_tensor t, const pal_array *src);
/* No weight decay on this parameter (A_log, dt_bias, D, norms, biases). Returns it. */
PAL_API pal_tensor pal_no_decay(pal_tensor param);
/* A frozen parameter is a constant in what runs from then on: no gradient is computed for it, no
 * optimiser or clipping touches it, and its moments rest. Returns it. */
PAL_API pal_tensor pal_freeze(pal_tensor param, bool frozen);
/*
 * The same for every parameter whose whole name matches a shell pattern (fnmatch: * ? [..], where *
 * crosses dots): "model.layers.*.attn.*". Returns how many matched; if none did, the handler is
 * told (PAL_EVALUE) and nothing has changed. Calls add up: freeze "*", then free "lm_head.*".
 */
PAL_API int pal_params_freeze(pal_params *params, const char *pattern, bool frozen);
PAL_API pal_tensor pal_params_find(pal_params *params,
                                   const char *name); /* PAL_NONE if there is none */
PAL_API int pal_params_count(const pal_params *params);
PAL_API pal_tensor pal_params_at(pal_params *params, int i); /* in order of creation */
PAL_API const char *pal_params_name(const pal_params *params, int i);
PAL_API pal_array pal_params_array(const pal_params *params, int i); /* its value */
PAL_API bool pal_params_decays(const pal_params *params, int i);
PAL_API bool pal_params_frozen(const pal_params *params, int i);
PAL_API int64_t
pal_params_size(const pal_params *params); /* elements of all parameters, without padding */
PAL_API void pal_params_zero_grad(pal_params *params);
/* A table of names, shapes and counts, with the total. */
PAL_API void pal_params_print(const pal_params *params, FILE *file);

/* The status of the first failed pal_param or pal_keep (PAL_OK if there was none). */
PAL_API pal_status pal_params_status(const pal_params *params);

/*
 * The storage behind the parameters: value and gradient of `count` elements laid out alike, padding
 * zero in both, so that an optimiser, a norm, an all-reduce or a checkpoint is one loop over
 * blocks. `param` says where each lies.
 */
typedef struct pal_block {
    pal_dtype dtype;
    int64_t count; /* elements in use, padding included */
    void *value, *grad;
} pal_block;
typedef struct pal_span {
    int block;
    int64_t offset, count; /* elements within the block, without padding */
} pal_span;
PAL_API int pal_params_blocks(const pal_params *params);
PAL_API pal_block pal_params_block(const pal_params *params, int b);
PAL_API pal_span pal_params_span(const pal_params *params, int i);
/* Says that the values of all parameters have been written (by an optimiser, through
 * pal_params_block). */
PAL_API void pal_params_touch(pal_params *params);

/* Called during backward as soon as the gradient of parameter i is complete, in the order in which
 * that happens. */
typedef void pal_grad_fn(pal_params *params, int i, void *user);
PAL_API void pal_params_on_grad(pal_params *params, pal_grad_fn *fn, void *user);

/*
 * Called between the operations of a backward pass, after each of them (those of recomputed
 * segments too): for communication that advances only when it is asked to. It may look at times and
 * flags, not at tensors. fn = NULL: nothing.
 */
typedef void pal_between_fn(void *user);
PAL_API void pal_tape_between(pal_tape *tape, pal_between_fn *fn, void *user);

/* Zeroed memory that lives as long as the parameters (for layers). NULL after telling the handler.
 */
PAL_API void *pal_params_alloc(pal_params *params, size_t size);

/*
 * Copies a tensor out of its tape under a name in `store` (a pal_params of its own: states,
 * statistics), so that it survives the reset; the copy is a constant. The same name, shape and
 * dtype again writes into the same memory, so a loop runs in constant memory. Sizes may change, but
 * not the number of axes; a tensor that has outgrown its memory moves to one of twice its size, and
 * what it leaves is given back with the store. Returns the copy.
 */
PAL_API pal_tensor pal_keep(pal_params *store, const char *name, pal_tensor t);

/*
 * Parameters as datasets group/NAME of an HDF5 file (docs/files.md). Loading is strict: one message
 * counts and names the parameters that are missing, the datasets that the model does not have, and
 * those of another shape or type or that cannot be read (the first of each kind, and how many
 * more); nothing is changed unless all fit. Floats of another width convert: f32 to f64 exactly,
 * f64 to f32 rounded to the nearest; integers do not. PAL_EFORMAT, PAL_ENOMEM.
 */
PAL_API PAL_CHECKED pal_status pal_params_put(const pal_params *params, pal_h5 *file,
                                              const char *group, pal_error *error);
PAL_API PAL_CHECKED pal_status pal_params_get(pal_params *params, pal_h5 *file, const char *group,
                                              pal_error *error);

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
PAL_API pal_tensor pal_minimum(pal_tensor a, pal_tensor b);
/* Comparisons: 1 or 0 in the operands' dtype (so that a mask multiplies); no gradient. */
PAL_API pal_tensor pal_eq(pal_tensor a, pal_tensor b);
PAL_API pal_tensor pal_ne(pal_tensor a, pal_tensor b);
PAL_API pal_tensor pal_lt(pal_tensor a, pal_tensor b);
PAL_API pal_tensor pal_le(pal_tensor a, pal_tensor b);
PAL_API pal_tensor pal_gt(pal_tensor a, pal_tensor b);
PAL_API pal_tensor pal_ge(pal_tensor a, pal_tensor b);

/* Unary operations; f32 and f64 (neg, abs, sign, square also i64). In f32 exp, log, tanh, sigmoid,
 * softplus and silu are within 2 ulp of the exact value. */
PAL_API pal_tensor pal_neg(pal_tensor x);
PAL_API pal_tensor pal_abs(pal_tensor x);  /* dx = sign(x) dy, 0 at 0 */
PAL_API pal_tensor pal_sign(pal_tensor x); /* -1, 0, 1; no gradient */
PAL_API pal_tensor pal_square(pal_tensor x);
PAL_API pal_tensor pal_sqrt(pal_tensor x);  /* dx = dy / (2 y) */
PAL_API pal_tensor pal_rsqrt(pal_tensor x); /* x^-1/2 */
PAL_API pal_tensor pal_exp(pal_tensor x);
PAL_API pal_tensor pal_log(pal_tensor x); /* -inf at 0, NaN below */
PAL_API pal_tensor pal_sin(pal_tensor x);
PAL_API pal_tensor pal_cos(pal_tensor x);
PAL_API pal_tensor pal_tanh(pal_tensor x);
PAL_API pal_tensor pal_sigmoid(pal_tensor x);
PAL_API pal_tensor pal_softplus(pal_tensor x); /* log(1 + e^x); x for x > 20 */
PAL_API pal_tensor pal_silu(pal_tensor x);     /* x sigmoid(x) */
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
PAL_API pal_tensor pal_mean(pal_tensor x, int axis, bool keep);
PAL_API pal_tensor
pal_max(pal_tensor x, int axis,
        bool keep); /* also i64; NaN wins; the first of equals takes the gradient */
PAL_API pal_tensor pal_min(pal_tensor x, int axis, bool keep);
PAL_API pal_tensor pal_argmax(pal_tensor x, int axis, bool keep); /* i64; the first of equals */
PAL_API pal_tensor pal_argmin(pal_tensor x, int axis, bool keep);
PAL_API pal_tensor pal_logsumexp(pal_tensor x, int axis, bool keep); /* shifted by the maximum */
PAL_API pal_tensor pal_norm(pal_tensor x, int axis,
                            bool keep); /* sqrt(sum x^2); dx = 0 where it is 0 */
/* Running sums along an axis; reverse runs from the end. Also i64. */
PAL_API pal_tensor pal_cumsum(pal_tensor x, int axis, bool reverse);
PAL_API pal_tensor pal_softmax(pal_tensor x, int axis); /* a row of -inf gives zeros */
PAL_API pal_tensor pal_log_softmax(pal_tensor x, int axis);
/* The k largest of the last axis, descending, and where they are; of equals the first comes first.
 * out[0] values, out[1] indices (i64). NaN counts as largest. */
PAL_API void pal_topk(pal_tensor x, int64_t k, pal_tensor out[2]);

/* Normalisation over the last axis (width n). weight, bias [n] may be PAL_NONE. */
PAL_API pal_tensor pal_rms_norm(pal_tensor x, pal_tensor weight,
                                double eps); /* x / sqrt(mean x^2 + eps) * weight */
PAL_API pal_tensor pal_layer_norm(pal_tensor x, pal_tensor weight, pal_tensor bias, double eps);
PAL_API pal_tensor pal_l2_norm(pal_tensor x,
                               double eps); /* x / sqrt(sum x^2 + eps): unit rows, as for q and k */

/* A target that counts for nothing: what batches have and the loss of a language model ignores. */
enum { PAL_IGNORE = -100 };

/*
 * Cross-entropy of logits [.., n] against targets [..] (i64 in 0..n-1): the mean of -log
 * softmax(logits)[target] over the targets that are not `ignore`. No such target gives 0 with zero
 * gradient. A target out of range is an error.
 */
typedef struct pal_cross_entropy_opts {
    bool has_ignore; /* `ignore` is in force */
    int64_t ignore;
    bool sum; /* sum instead of mean */
    double
        label_smoothing; /* in [0, 1): this share of each target spread evenly over the n classes */
} pal_cross_entropy_opts;
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
/* Solves T x = b for x [.., n, m] with triangular T [.., n, n]; leading axes broadcast. Only the
 * named triangle of T is read. n^2 m flops a matrix. */
typedef struct pal_solve_opts {
    bool upper;     /* T is upper triangular (default: lower) */
    bool unit;      /* its diagonal is 1 and is not read */
    bool transpose; /* solves T^T x = b */
} pal_solve_opts;
PAL_API pal_tensor pal_triangular_solve(pal_tensor t, pal_tensor b, pal_solve_opts opts);

/* ---- Shapes ---- */

/* These four are views: no copy, and the gradient of a view is the view of the gradient. (reshape
 * copies when the strides leave no other way.) Any dtype. */
PAL_API pal_tensor pal_reshape(pal_tensor x, pal_shape shape); /* one dimension may be -1 */
PAL_API pal_tensor pal_permute(pal_tensor x,
                               const int *axes); /* axis i of the result is axis axes[i] of x */
PAL_API pal_tensor pal_slice(pal_tensor x, int axis, int64_t start, int64_t stop,
                             int64_t step); /* as in NumPy; step >= 1 */
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
PAL_API pal_tensor pal_concat(int n, const pal_tensor *parts, int axis);
PAL_API pal_tensor pal_stack(int n, const pal_tensor *parts, int axis);      /* along a new axis */
PAL_API pal_tensor pal_repeat(pal_tensor x, int axis, int64_t n);            /* tiles: a b a b */
PAL_API pal_tensor pal_repeat_interleave(pal_tensor x, int axis, int64_t n); /* a a b b */
PAL_API pal_tensor pal_pad(pal_tensor x, int axis, int64_t before, int64_t after, double value);
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
    const struct pal_op *op;
    const void *opts; /* the call's options, copied */
    int nin, nout, nsaved;
    const pal_array *const *in; /* NULL: an optional argument left out */
    pal_array *const *out;
    pal_array *saved;             /* those that infer asked for, in order */
    const pal_array *const *dout; /* backward only, as is din */
    pal_array *const *din;
    void *scratch; /* 64-byte aligned; forward's in forward, backward's in backward */
    int team;      /* threads to use; divide work by shapes, never by this number */
};

typedef struct pal_op {
    const char *name;
    const char *args; /* names of the inputs for messages, separated by spaces; the last one
                         repeats: "a b", "part" */
    pal_status (*infer)(pal_call *call);
    void (*forward)(const pal_call *call);
    void (*backward)(const pal_call *call); /* NULL: no gradient, the outputs are constants */
    /* Bit i set: backward does not read the value of in[i] (out[i]), so it may change before
     * backward. */
    uint32_t unread_in, unread_out;
    /*
     * Bit i set: when call->fresh bit i is set, backward overwrites din[i] (its memory is not
     * cleared) instead of adding to it. Saves a pass over memory; leave it 0 and din is always
     * cleared before the first addition.
     */
    uint32_t overwrites;
} pal_op;

/* For infer. Each returns a status to hand on: `return pal_call_error(...)`; PAL_OK otherwise. */
PAL_API pal_status pal_call_out(pal_call *call, int i, pal_dtype dtype, pal_shape shape);
PAL_API pal_status pal_call_save(pal_call *call, pal_dtype dtype, pal_shape shape);
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

/* ---- Checking gradients ---- */

/*
 * Compares the tape's gradient of <cotangent, f(x)> with 4-point differences in f64, for random
 * cotangents, random directions and single entries: |numeric - analytic| <= tolerance *
 * max(|numeric|, |analytic|, rms of the gradient). f builds the outputs from the inputs (f64 leaves
 * that want gradients) on the given tape, the same way each time. Returns true if all agree;
 * otherwise *error (may be NULL) names the input and entry. Choose inputs away from kinks.
 */
typedef void pal_gradcheck_fn(void *context, const pal_tensor *in, pal_tensor *out);
typedef struct pal_gradcheck_opts {
    double tolerance; /* 0: 1e-7 */
    double step;      /* 0: 1e-3 times max(1, |x|) for entries, 1e-3 along unit directions */
    int directions;   /* random directions per input; 0: 2 */
    int entries;      /* single entries per input, drawn at random; 0: 8 */
    uint64_t seed;
    double worst;     /* out: the largest ratio of error to its scale that was seen */
    int64_t compared; /* out: how many comparisons were made */
} pal_gradcheck_opts;
PAL_API bool pal_gradcheck(pal_gradcheck_fn *f, void *context, int nin, const pal_array *inputs,
                           int nout, pal_gradcheck_opts *opts, pal_error *error);

#ifdef __cplusplus
}
#endif
#endif
