/*
 * measure.h - what the benchmarks share: a clock, runs in pairs, and the matrix product that
 * everything is compared with.
 */
#ifndef PAL_BENCH_MEASURE_H
#define PAL_BENCH_MEASURE_H

#include "layers/layers.h"

#include <stdio.h>

enum { MAX_RUNS = 999 };

double seconds(void);

/* One run: its seconds, or a negative number if it failed. */
typedef double timed_fn(void *context);

typedef struct quartiles {
    double low, median, high;
} quartiles;

/* Times runs of two things in turn. */
typedef struct pairs {
    quartiles seconds; /* of the first */
    double ratio;      /* median over the pairs of (seconds of the second / seconds of the first) */
} pairs;
bool measure_pairs(timed_fn *run, void *context, timed_fn *reference, void *its_context, int runs,
                   pairs *out);
/* Median seconds of one thing, which must not fail. */
double measure(timed_fn *run, void *context, int runs);

/* The product of two SGEMM_SIZE x SGEMM_SIZE matrices, by whichever library multiplies their type;
 * that of bf16 is f32. */
enum { SGEMM_SIZE = 2048 };
#define SGEMM_FLOPS (2.0 * SGEMM_SIZE * SGEMM_SIZE * SGEMM_SIZE)
typedef struct sgemm {
    pal_tensor a, b, c;
    int threads;
} sgemm;
sgemm sgemm_new(pal_tape *data);
sgemm sgemm_in(pal_tape *data, pal_dtype dtype);
timed_fn sgemm_run;

/* A line that starts with # on the screen and, if it is not NULL, in csv. */
PAL_PRINTF(2, 3) void note(FILE *csv, const char *format, ...);
/* Such lines on machine, kernels in use and commit. */
void note_machine(FILE *csv);
/* The same on its rate, which is returned: flops a second. */
double note_sgemm(FILE *csv, sgemm *g, int runs);
/* The same on the product in bf16 of that size, with matrices of its own. */
double note_bf16(FILE *csv, int threads, int runs);
/* Lines on who multiplies in f32 and, if `bf16`, in bf16. */
void note_products(FILE *csv, bool bf16);
/* A share of the bf16 product's rate as text: "-" (in a table) or "" where that was not measured.
 */
const char *share_text(char text[16], double share, bool table);

#endif
