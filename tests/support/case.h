/*
 * case.h - what a test case says about an operation or layer, and the driver that checks it.
 *
 * A case is a list of variants; each names shapes, how inputs are drawn, how the outputs are built
 * from the inputs, and a plain double-precision reference. From that alone the driver checks:
 *   forward   f64 and f32, against the reference
 *   gradient  by pal_gradcheck in f64; f32 gradients against f64's
 *   strides   inputs given as permuted and stepped views: the same results and gradients
 *   threads   1, 2, 3 and 16 threads: the same bits, forward and backward
 *   unread    inputs and outputs that backward is said not to read (pal_op) are filled with NaN
 *             between forward and backward: the same bits
 *   memory    every allocation fails in turn: an error each time, nothing leaks, gradients whole
 * on one instruction set of the machine, chosen by the names of case and variant, or with
 * PAL_TEST_ALL=1 on each of them.
 *
 * Inputs are drawn so that f32 holds them exactly: one reference serves both types. In tests,
 * shapes of 2^15 elements and more are divided over threads (team.c), so each case wants such a
 * one.
 */
#ifndef PAL_TESTS_CASE_H
#define PAL_TESTS_CASE_H

#include "autograd/autograd.h"

enum { PAL_CASE_INPUTS = 16, PAL_CASE_OUTPUTS = 5 };

/* PAL_SHAPE for tables of variants, which must be constant. A scalar has no shape at all. */
#define PAL_DIMS(...)                                                                             \
    {                                                                                             \
        .ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = { __VA_ARGS__ } \
    }

/* How one input is drawn: uniformly from [low, high), both 0 meaning [-1, 1). */
typedef struct pal_input {
    pal_shape shape;
    bool integer;  /* i64, from low to high - 1; no gradient */
    bool constant; /* real, but its gradient is not wanted */
    bool absent;   /* PAL_NONE */
    double low, high;
    double away;   /* at least this far from 0 (kinks), if > 0 */
    bool distinct; /* entries are evenly spaced over [low, high), shuffled: no ties (max, sort) */
    bool special;  /* NaN, infinities, zeros and huge numbers among the entries: no gradients, and
                      threads and forward are all that is checked */
} pal_input;

typedef struct pal_variant {
    const char *name; /* what is special about it: "broadcast", "T = 0", ... */
    int nin, nout;
    pal_input in[PAL_CASE_INPUTS];
    /* Makes the outputs. It runs in f64 and f32, and on tapes that run out of memory, so it must
     * pass poison on. */
    void (*build)(const struct pal_variant *v, const pal_tensor *in, pal_tensor *out);
    /*
     * The outputs in f64 from contiguous f64 (i64 for integer) inputs, in_[i].data == NULL for one
     * that is absent; out[i] has the shape that build gave it, which the reference should assert,
     * and contiguous f64 memory. NULL only where gradients and invariants are the whole test.
     */
    void (*reference)(const struct pal_variant *v, const pal_array *in, const pal_array *out);
    double option[8];    /* for build and reference: an axis, a scale, ... */
    const void *subject; /* for build and reference too: what is tested; may be NULL */
    bool no_gradient;    /* the operation is not differentiable */
    bool keep_strides;   /* do not try strided inputs (layers that take contiguous ones) */
    double f32;      /* tolerance in f32 (see pal_case_error); 0: 2e-6. Gradients get 10 times it,
                        and so does the f64 one below. */
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

/* ||x - ref|| / max(||ref||, 0.01 sqrt(n)); infinite if one has a NaN or an infinity that the other
 * lacks. */
double pal_case_error(int64_t n, const double *x, const double *ref);

/* ---- For references ---- */

/* Element i, in row-major order, of an array of any strides and dtype. */
double pal_ref_get(const pal_array *a, int64_t i);
/* The element of a that broadcasting pairs with element i of an array of this shape. */
double pal_ref_broadcast(const pal_array *a, const pal_array *shape, int64_t i);
/* Fails the test unless out has this shape. */
void pal_ref_shape(const pal_array *out, pal_shape shape);

#endif
