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

/* Owns one step: tensors, records of operations, and their memory. */
typedef struct pal_tape pal_tape;
/* Owns parameters, their gradients and the layers built on them (params.h). */
typedef struct pal_params pal_params;
/* What a handle points to; private. */
typedef struct pal_node pal_node;

/*
 * A handle: copy it, pass it by value, let it go out of scope. Its tape (or parameters) owns what
 * it stands for. A handle kept across pal_tape_reset is stale, and using it is an error that names
 * operation and argument.
 */
typedef struct pal_tensor {
    pal_node *node;      /* NULL: no tensor */
    uint64_t generation; /* the number that the node had when the handle was made */
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
/* Frees the tape and all its tensors; handles of them must not be used any more. NULL is allowed.
 */
PAL_API void pal_tape_free(pal_tape *tape);

/* The first failure since the last reset: PAL_OK or its status, and its message ("" when there is
 * none). */
PAL_API pal_status pal_tape_status(const pal_tape *tape);
/* The sentence of that failure; "" when there is none. */
PAL_API const char *pal_tape_message(const pal_tape *tape);

/*
 * Gradients on or off; returns what it was, so that a region ends with pal_set_grad(tape, before).
 * With gradients off nothing is recorded and no operation keeps anything for a backward pass. On at
 * first; a reset leaves it as it is.
 */
PAL_API bool pal_set_grad(pal_tape *tape, bool on);

/* The generator that pal_dropout draws from. Explicit and seedable; it goes on across resets. */
PAL_API pal_rng *pal_tape_rng(pal_tape *tape);

/* Lists the record: one line an operation with its shapes. */
PAL_API void pal_tape_print(const pal_tape *tape, FILE *file);
/* The record as a graph for Graphviz (`dot -Tsvg`). */
PAL_API void pal_tape_dot(const pal_tape *tape, FILE *file);

/* Memory of a tape, as pal_tape_memory gives it. */
typedef struct pal_memory {
    size_t live;     /* bytes of values, saved tensors and gradients now on the tape */
    size_t peak;     /* the most there has been since the tape was made */
    size_t reserved; /* bytes the tape holds from the allocator */
    int64_t ops;     /* recorded operations */
} pal_memory;
/* What the tape holds now and has held. */
PAL_API pal_memory pal_tape_memory(const pal_tape *tape);
/* One line, in MiB. */
PAL_API void pal_memory_print(FILE *file, pal_memory memory);

/* An operation of the profile, below. */
typedef struct pal_profile_line {
    const char *name; /* of the operation */
    int64_t calls;    /* forward */
    double forward;   /* seconds */
    double backward;  /* seconds */
} pal_profile_line;
/*
 * A profile: seconds by operation, of forward and of backward, since it was last turned on. What is
 * done between operations (finding the tape, shapes, memory) is in none of them. *lines stays valid
 * until the tape is freed; in the order of first use; names are the operations'. A recomputed
 * segment's operations count again, as forward.
 */
PAL_API void pal_tape_profile(pal_tape *tape, bool on);
/* Points *lines at the profile and returns how many lines it has. */
PAL_API int pal_tape_profile_lines(const pal_tape *tape, const pal_profile_line **lines);

/* ---- Leaves ---- */

/* A tensor with every element set to value. */
PAL_API pal_tensor pal_full(pal_tape *tape, pal_dtype dtype, pal_shape shape, double value);
/* A tensor of zeros. */
PAL_API pal_tensor pal_zeros(pal_tape *tape, pal_dtype dtype, pal_shape shape);
PAL_API pal_tensor pal_scalar(pal_tape *tape, pal_dtype dtype, double value); /* shape [] */
PAL_API pal_tensor pal_arange(pal_tape *tape, pal_dtype dtype, int64_t n);    /* 0, 1, ..., n-1 */
/* Copies n = pal_shape_count(shape) elements of dtype from data. */
PAL_API pal_tensor pal_from(pal_tape *tape, pal_dtype dtype, pal_shape shape, const void *data);
/* Copies an array, strides and all; dtype is the array's. */
PAL_API pal_tensor pal_from_array(pal_tape *tape, const pal_array *a);
/* Draws from [low, high); f32 or f64. */
PAL_API pal_tensor pal_uniform(pal_tape *tape, pal_dtype dtype, pal_shape shape, double low,
                               double high, pal_rng *rng);
/* Draws from the normal distribution; f32 or f64. */
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
/* The same for f64. */
PAL_API const double *pal_f64(pal_tensor t);
/* The same for i64. */
PAL_API const int64_t *pal_i64(pal_tensor t);
/* The only element of a tensor as a double (NaN for a poisoned tensor). */
PAL_API double pal_item(pal_tensor t);
/* Its element type. */
PAL_API pal_dtype pal_dtype_of(pal_tensor t);
/* Its shape; [0] for a poisoned tensor. */
PAL_API pal_shape pal_shape_of(pal_tensor t);
PAL_API int64_t pal_dim(pal_tensor t,
                        int axis); /* size of one axis; negative axes count from the end */
/* How many elements it has. */
PAL_API int64_t pal_count(pal_tensor t);
PAL_API void pal_print(const char *name, pal_tensor t); /* to stdout */
/* A label for messages, dumps and dot; copied. Returns t. */
PAL_API pal_tensor pal_label(pal_tensor t, const char *name);

/* ---- Gradients ---- */

/*
 * Adds d loss / d x to the gradient of every parameter and wanted leaf that loss depends on. loss
 * has one element and is f32 or f64. All memory is reserved before anything is computed, at the
 * first pass also that of the parameters' gradients: if that fails (PAL_ENOMEM), no value and no
 * gradient has changed. Gradients add up over calls; clear parameters with
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
 * before any backward pass has reached it; zeros for a parameter, for which the memory of all
 * gradients is taken if no pass has done so (PAL_ENOMEM is told to the handler, and the result is
 * poisoned). Gradients are constants: there are no second derivatives.
 */
PAL_API pal_tensor pal_grad(pal_tensor t);
/* The same value, cut from its history; shares memory. */
PAL_API pal_tensor pal_detach(pal_tensor t);

/* A segment: fills out[] from in[]. */
typedef void pal_segment_fn(void *context, const pal_tensor *in, pal_tensor *out);
/*
 * Recomputation: runs segment(context, in, out) without keeping what it computes, and runs it again
 * during backward. Memory falls from all the values inside to the outputs, for one more forward
 * pass of the segment; with gradients off for nothing. The segment must compute out from in,
 * parameters and constants alone, the same way each time (dropout repeats its mask); a tensor of
 * the tape that wants a gradient and is not among `in` is an error. Segments nest. context must
 * live until backward.
 */
PAL_API void pal_recompute(pal_tape *tape, pal_segment_fn *segment, void *context, int nin,
                           const pal_tensor *in, int nout, pal_tensor *out);

/* ---- Checking gradients ---- */

/* What is checked: builds out[] from in[] (f64 leaves that want gradients), the same way each time.
 */
typedef void pal_gradcheck_fn(void *context, const pal_tensor *in, pal_tensor *out);
/* Options of pal_gradcheck, and two results of it. */
typedef struct pal_gradcheck_opts {
    double tolerance; /* 0: 1e-7 */
    double step;      /* 0: 1e-3 times max(1, |x|) for entries, 1e-3 along unit directions */
    int directions;   /* random directions per input; 0: 2 */
    int entries;      /* single entries per input, drawn at random; 0: 8 */
    uint64_t seed;    /* of cotangents, directions and entries */
    double worst;     /* out: the largest ratio of error to its scale that was seen */
    int64_t compared; /* out: how many comparisons were made */
} pal_gradcheck_opts;
/*
 * Compares the tape's gradient of <cotangent, f(x)> with 4-point differences in f64, for random
 * cotangents, random directions and single entries: |numeric - analytic| <= tolerance *
 * max(|numeric|, |analytic|, rms of the gradient). f builds the outputs from the inputs (f64 leaves
 * that want gradients) on the given tape, the same way each time. Returns true if all agree;
 * otherwise *error (may be NULL) names the input and entry. Choose inputs away from kinks. opts may
 * be NULL; inputs are f64 arrays of yours, read only.
 */
PAL_API bool pal_gradcheck(pal_gradcheck_fn *f, void *context, int nin, const pal_array *inputs,
                           int nout, pal_gradcheck_opts *opts, pal_error *error);

#ifdef __cplusplus
}
#endif

#include "autograd/ops.h"
#include "autograd/params.h"

#endif
