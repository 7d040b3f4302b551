/*
 * autograd.h - tensors that know their history: tape, parameters, gradients and generic operations.
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
 * Most functions return no status that a program must check. A failure is reported to the error
 * handler (tensor.h), as a sentence that names the operation, the argument and the shapes. Only
 * first derivatives exist.
 *
 * In the comments, dx is the gradient of x, N is the number of elements, and "any shape" includes
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
 * A handle: copy it, pass it by value, let it go out of scope. The tensor belongs to a tape or to a
 * set of parameters. A handle kept across pal_tape_reset is stale; using it is an error that names
 * the operation and the argument.
 */
typedef struct pal_tensor {
    pal_node *node;      /* NULL: no tensor */
    uint64_t generation; /* the number that the node had when the handle was made */
} pal_tensor;

/* No tensor: the value of an optional argument that is left out. */
#ifdef __cplusplus
#define PAL_NONE (pal_tensor{nullptr, 0})
#else
#define PAL_NONE ((pal_tensor){0})
#endif
static inline bool pal_is_none(pal_tensor t) { return t.node == NULL; }

/* ---- The tape ---- */

/* Makes a tape. If there is no memory, it tells the handler and returns NULL. */
PAL_API pal_tape *pal_tape_new(void);
/* Forgets every tensor of the step, clears a sticky error, and keeps the memory. */
PAL_API void pal_tape_reset(pal_tape *tape);
/* Frees the tape and all its tensors. Their handles must not be used after this. NULL is
 * allowed. */
PAL_API void pal_tape_free(pal_tape *tape);

/* The status of the first failure since the last reset; PAL_OK if there was none. */
PAL_API pal_status pal_tape_status(const pal_tape *tape);
/* The message of that failure; "" if there was none. */
PAL_API const char *pal_tape_message(const pal_tape *tape);

/*
 * Turns gradients on or off and returns the setting before, so that a region can end with
 * pal_set_grad(tape, before). With gradients off nothing is recorded, and no operation keeps
 * anything for a backward pass. They are on at first; a reset does not change this.
 */
PAL_API bool pal_set_grad(pal_tape *tape, bool on);

/*
 * Sets in which type the large products of f32 layers are computed on this tape, and returns the
 * setting before: PAL_F32 (the default) or PAL_BF16. With PAL_BF16 pal_linear and
 * pal_linear_cross_entropy round their operands to bf16, forward and backward (x, weight, and the
 * gradient of the result), and fused attention does so too; sums, results and gradients are f32.
 * All else stays f32: parameters, norms, rules, losses, what an optimiser keeps. A weight is
 * rounded once for all its readers until it is written to, and its copy takes 2 bytes a number. f64
 * is not touched. Each product is within 2^-8 sqrt(terms) of the exact one, in units of its largest
 * term. It saves time where the processor multiplies bf16 faster than f32; pal_kernels_in_use says
 * so. PAL_EDTYPE for another dtype. A reset does not change the setting. It holds for operations
 * that are recorded from then on: backward and pal_recompute go by what held when they were.
 */
PAL_API pal_dtype pal_tape_precision(pal_tape *tape, pal_dtype products);

/* The generator that pal_dropout draws from. A program may seed it. A reset does not change it. */
PAL_API pal_rng *pal_tape_rng(pal_tape *tape);

/* Prints the record: one line for each operation, with its shapes. */
PAL_API void pal_tape_print(const pal_tape *tape, FILE *file);
/* Prints the record as a graph for Graphviz (`dot -Tsvg`). */
PAL_API void pal_tape_dot(const pal_tape *tape, FILE *file);

/* Memory of a tape, as pal_tape_memory gives it. */
typedef struct pal_memory {
    size_t live;     /* bytes of values, saved tensors and gradients that are on the tape now */
    size_t peak;     /* the most there has been since the tape was made */
    size_t reserved; /* bytes that the tape holds from the allocator */
    int64_t ops;     /* number of recorded operations */
} pal_memory;
/* The memory that the tape uses now, and the most that it has used. */
PAL_API pal_memory pal_tape_memory(const pal_tape *tape);
/* Prints the memory on one line, in MiB. */
PAL_API void pal_memory_print(FILE *file, pal_memory memory);

/* One operation in the profile of a tape (pal_tape_profile_lines). */
typedef struct pal_profile_line {
    const char *name; /* of the operation */
    int64_t calls;    /* forward calls */
    double forward;   /* seconds */
    double backward;  /* seconds */
} pal_profile_line;
/*
 * Turns the profile of a tape on or off: the seconds of each operation in forward and in backward,
 * since the profile was last turned on. The time between operations (finding the tape, shapes,
 * memory) is not included. Operations that pal_recompute runs again count again as forward.
 */
PAL_API void pal_tape_profile(pal_tape *tape, bool on);
/* Points *lines at the profile and returns how many lines it has. Lines are in the order of first
 * use, under the names of the operations. *lines stays valid until the tape is freed. */
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
/* Copies an array, which may have any strides; the dtype is the array's. */
PAL_API pal_tensor pal_from_array(pal_tape *tape, const pal_array *a);
/* Numbers drawn uniformly from [low, high); f32 or f64. */
PAL_API pal_tensor pal_uniform(pal_tape *tape, pal_dtype dtype, pal_shape shape, double low,
                               double high, pal_rng *rng);
/* Numbers drawn from the normal distribution; f32 or f64. */
PAL_API pal_tensor pal_normal(pal_tape *tape, pal_dtype dtype, pal_shape shape, double mean,
                              double deviation, pal_rng *rng);
/*
 * Says that the gradient of a tensor is wanted, and returns the tensor: pal_grad gives it after the
 * backward pass. The tensor is f32 or f64, and a leaf of the functions above or the result of any
 * operation, such as a gate that a hook is shown (pal_hook_fn). Mark it before anything reads it:
 * what reads a constant before the mark does not count. It takes memory of the tensor's size. Of a
 * view, the tensor that it shows is marked. PAL_EGRAD for a parameter, which needs no mark, for a
 * view of a constant, and inside a recomputed segment, because the tensors there do not outlive it.
 */
PAL_API pal_tensor pal_want_grad(pal_tensor t);
/* A parameter (or a tensor of another owner) as a leaf of this tape. It is needed when no other
 * operand names a tape. */
PAL_API pal_tensor pal_on(pal_tape *tape, pal_tensor t);
/* The tape that a tensor is on, for functions that are given tensors only. NULL if it is on none,
 * as a parameter, or is stale. */
PAL_API pal_tape *pal_tape_at(pal_tensor t);

/* ---- Looking at a tensor ---- */

/* Shape, strides and data of a tensor, valid until the tape is reset. Read only: use pal_edit to
 * change a tensor. For a poison tensor the array has shape [0] and no data. */
PAL_API pal_array pal_value(pal_tensor t);
/* The same array for writing. If an operation has saved this tensor for backward, pal_backward
 * fails and names that operation. */
PAL_API pal_array pal_edit(pal_tensor t);
/* The contiguous data of an f32 tensor. If it is not contiguous or not f32, an error and NULL. */
PAL_API const float *pal_f32(pal_tensor t);
/* The same as pal_f32 for f64. */
PAL_API const double *pal_f64(pal_tensor t);
/* The same as pal_f32 for i64. */
PAL_API const int64_t *pal_i64(pal_tensor t);
/* The only element of a tensor as a double (NaN for a poison tensor). */
PAL_API double pal_item(pal_tensor t);
/* Its element type. */
PAL_API pal_dtype pal_dtype_of(pal_tensor t);
/* Its shape; [0] for a poison tensor. */
PAL_API pal_shape pal_shape_of(pal_tensor t);
/* The size of one axis; negative axes count from the end. */
PAL_API int64_t pal_dim(pal_tensor t, int axis);
/* How many elements it has. */
PAL_API int64_t pal_count(pal_tensor t);
PAL_API void pal_print(const char *name, pal_tensor t); /* to stdout */
/* Gives a tensor a name for messages, dumps and dot; the text is copied. Returns t. */
PAL_API pal_tensor pal_label(pal_tensor t, const char *name);

/* ---- Gradients ---- */

/*
 * Adds d loss / d x to the gradient of every parameter and every wanted tensor that loss depends
 * on. loss has one element and is f32 or f64. Gradients add up over calls: pal_params_zero_grad
 * clears those of parameters, pal_tape_reset those of others. Cost: the sum of the operations'
 * backward costs; the buffers of intermediate gradients are reused. All memory is reserved before
 * anything is computed, at the first pass also that of the parameters' gradients: if that fails
 * (PAL_ENOMEM), no value and no gradient has changed.
 */
PAL_API pal_status pal_backward(pal_tensor loss);
/* The same for several outputs with given cotangents: the gradients of sum_i <cotangent_i,
 * output_i>. A cotangent has the shape, dtype and tape of its output. */
PAL_API pal_status pal_backward_from(int n, const pal_tensor *outputs,
                                     const pal_tensor *cotangents);
/*
 * The gradient of a parameter or of a tensor that pal_want_grad has marked, as a tensor of the same
 * owner. For any other tensor the handler is told (PAL_EGRAD), and the result is PAL_NONE. PAL_NONE
 * also for a marked tensor that no backward pass has reached yet; zeros for a parameter, for which
 * the memory of all gradients is taken if no pass has done so (PAL_ENOMEM is told to the handler,
 * and the result is poisoned). Gradients are constants: there are no second derivatives.
 */
PAL_API pal_tensor pal_grad(pal_tensor t);
/* The same value as a constant without history. It shares the memory of t. */
PAL_API pal_tensor pal_detach(pal_tensor t);

/* The type of a segment: it computes out[] from in[]. */
typedef void pal_segment_fn(void *context, const pal_tensor *in, pal_tensor *out);
/*
 * Runs segment(context, in, out) without keeping the values inside it, and runs it again during
 * backward. So the tape holds only the outputs of the segment. The cost is one more forward pass of
 * the segment in backward; with gradients off there is none.
 *
 * The segment must compute out only from in, parameters and constants, and in the same way each
 * time (dropout repeats its mask). It is an error to use another tensor of the tape that wants a
 * gradient. Segments nest. context must live until backward.
 */
PAL_API void pal_recompute(pal_tape *tape, pal_segment_fn *segment, void *context, int nin,
                           const pal_tensor *in, int nout, pal_tensor *out);

/* ---- Checking gradients ---- */

/* The function to check: it computes out[] from in[] (f64 leaves that want gradients), in the same
 * way each time. */
typedef void pal_gradcheck_fn(void *context, const pal_tensor *in, pal_tensor *out);
/* Options and results of pal_gradcheck. */
typedef struct pal_gradcheck_opts {
    double tolerance; /* 0: 1e-7 */
    double step;      /* 0: 1e-3 times max(1, |x|) for single entries, 1e-3 along unit directions */
    int directions;   /* random directions per input; 0: 2 */
    int entries;      /* single entries per input, drawn at random; 0: 8 */
    uint64_t seed;    /* for drawing cotangents, directions and entries */
    double worst;     /* result: the largest ratio of an error to its scale */
    int64_t compared; /* result: the number of comparisons */
} pal_gradcheck_opts;
/*
 * Compares the tape's gradient of <cotangent, f(x)> with 4-point differences in f64. It does so for
 * random cotangents, along random directions and for single entries:
 * numeric - analytic| <= tolerance * max(|numeric|, |analytic|, rms of the gradient).
 *
 * f computes the outputs from the inputs (f64 leaves that want gradients) on the given tape, in the
 * same way each time. The inputs are f64 arrays that you provide; they are only read. Choose them
 * away from points where f has no derivative. opts may be NULL. Returns true if all comparisons
 * agree. Otherwise *error (may be NULL) names the input and the entry.
 */
PAL_API bool pal_gradcheck(pal_gradcheck_fn *f, void *context, int nin, const pal_array *inputs,
                           int nout, pal_gradcheck_opts *opts, pal_error *error);

#ifdef __cplusplus
}
#endif

#include "autograd/ops.h"
#include "autograd/params.h"

#endif
