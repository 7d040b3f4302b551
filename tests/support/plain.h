/*
 * plain.h - a kernel on memory of the caller (layers/kernel.h) and the operation on a tape, called
 * with the same numbers.
 */
#ifndef PAL_TESTS_PLAIN_H
#define PAL_TESTS_PLAIN_H

#include "layers/layers.h"

/* ---- A problem: a kernel, sizes and options ---- */

typedef struct plain_problem {
    const char *name;
    int64_t size['Z' + 1]; /* of the letters B T H J K V R A N C W D S, N sequences if packed */
    bool packed, state, gate_heads, optional; /* optional: everything that may be left out */
    pal_kernel_opts opts;
} plain_problem;

typedef struct plain_arrays {
    const pal_kernel *kernel;
    pal_array in[PAL_KERNEL_IN]; /* contiguous */
    bool given[PAL_KERNEL_IN];
    pal_array out[PAL_KERNEL_OUT], dout[PAL_KERNEL_OUT], din[PAL_KERNEL_IN];
    int nin, nout;
} plain_arrays;

enum { PLAIN_PROBLEMS = 17 };
extern const plain_problem plain_problems[PLAIN_PROBLEMS];

/* The rule of a problem; NULL: it is not one. The axes of an input; NULL: the offsets. */
const pal_rule *plain_rule(const plain_problem *p);
const char *plain_axes(const plain_problem *p, int i);
pal_array plain_new_array(pal_dtype dtype, pal_shape shape);
pal_array plain_copy(const pal_array *x);

/* Draws the inputs. plain_on_tape fills in results, and gradients under a random loss. */
plain_arrays plain_draw(const plain_problem *p, pal_dtype dtype);
void plain_on_tape(const plain_problem *p, plain_arrays *a);
void plain_free(plain_arrays *a);

/* ---- On plain memory ---- */

typedef struct plain_run {
    pal_kernel_call call;
    pal_kernel_sizes sizes;
    pal_array in[PAL_KERNEL_IN], out[PAL_KERNEL_OUT], din[PAL_KERNEL_IN];
    void *memory[4 * PAL_KERNEL_IN];
    int blocks;
} plain_run;

/* A call of all inputs, results and gradients; its sizes are measured. `strided`: axes lie in the
 * opposite order in memory, with NaN between elements. */
void plain_begin(const plain_problem *p, const plain_arrays *a, bool strided, int threads,
                 plain_run *r);
/* Gives it scratch, and memory to keep. */
void plain_give_memory(plain_run *r, bool keep);
void plain_end(plain_run *r);

typedef pal_status kernel_fn(const pal_kernel *kernel, const pal_kernel_call *call,
                             pal_error *error);

/* Calls it, and fails the test with its sentence. */
void plain_must(kernel_fn *fn, const plain_arrays *a, const plain_run *r);
/* Fails the test unless results, and gradients if asked for, have the same bits; -0 is 0. */
void plain_compare(const plain_arrays *a, const plain_run *r, bool gradients, const char *how);

#endif
