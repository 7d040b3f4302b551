/*
 * case.h - what a test case says about an operation or layer, and the driver that checks it.
 *
 * A case is a list of variants; each names shapes, how inputs are drawn, how the outputs are built
 * from the inputs, and a plain double-precision reference. From that alone the driver checks:
 *   forward   f64 and f32, on every instruction set of the machine, against the reference
 *   gradient  by pal_gradcheck in f64; f32 gradients against f64's
 *   strides   inputs given as permuted and stepped views: the same results and gradients
 *   threads   1, 2, 3 and 16 threads: the same bits, forward and backward
 *   memory    every allocation fails in turn: an error each time, nothing leaks, gradients whole
 */
#ifndef PAL_TESTS_CASE_H
#define PAL_TESTS_CASE_H

#include "autograd/autograd.h"

enum { PAL_CASE_INPUTS = 8, PAL_CASE_OUTPUTS = 4 };

/* How one input is drawn: uniformly from [low, high), both 0 meaning [-1, 1). */
typedef struct pal_input {
    pal_shape shape;
    bool integer;  /* i64, from low to high - 1; no gradient */
    bool constant; /* real, but its gradient is not wanted */
    bool absent;   /* PAL_NONE */
    double low, high;
    double away; /* at least this far from 0 (kinks), if > 0 */
} pal_input;

typedef struct pal_variant {
    const char *name; /* what is special about it: "broadcast", "T = 0", ... */
    int nin, nout;
    pal_input in[PAL_CASE_INPUTS];
    void (*build)(const struct pal_variant *v, const pal_tensor *in, pal_tensor *out);
    /*
     * The outputs in f64 from contiguous f64 (i64 for integer) inputs; out[i] has the shape and
     * memory already. NULL only where gradients and invariants are the whole test.
     */
    void (*reference)(const struct pal_variant *v, const pal_array *in, const pal_array *out);
    double option[4];  /* for build and reference: an axis, a scale, ... */
    bool no_gradient;  /* the operation is not differentiable */
    bool keep_strides; /* do not try strided inputs (layers that take contiguous ones) */
    double f32;      /* tolerance of ||x - ref|| / max(||ref||, 0.01 sqrt(count)) in f32; 0: 2e-6 */
    double f64;      /* 0: 1e-13 */
    double gradient; /* gradcheck's tolerance; 0: 1e-7 */
    double step;     /* gradcheck's step; 0: its default */
} pal_variant;

typedef struct pal_case {
    const char *name;
    int count;
    const pal_variant *variants;
} pal_case;

/* Runs everything on one variant and fails the running Check test with a sentence if something is
 * wrong. */
void pal_case_run(const pal_case *c, const pal_variant *v);

#endif
