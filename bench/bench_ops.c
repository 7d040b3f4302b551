/*
 * bench_ops.c - what the generic operations reach on this machine.
 *
 *     build/bench/bench_ops [--threads N] [--dtype f32|f64] [--elements N] [--csv FILE]
 *
 * Each line is one operation, forward and then forward + backward: ns an element, GB/s by the bytes
 * that a perfect implementation moves (every operand read and every result written once), and that
 * rate as a share of the library's own copy, measured in the same process, because a machine's
 * clock is not the same from one minute to the next. Products are given in GFLOP/s (2 n^3 flops
 * forward, 6 n^3 with backward). The last line is what recording costs an operation on one element.
 * Results are validated before they are timed. Medians of 15 runs after a warm-up; the spread is
 * (90th - 10th percentile) / median.
 */
#include "autograd/autograd.h"
#include "examples/flags/flags.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS = 15, WIDTH = 512 };

/* ---- Options ---- */

typedef struct options {
    int threads;
    pal_dtype dtype;
    int64_t elements;
    const char *csv;
} options;

static const pal_key rows[] = {
    {"threads", PAL_KEY_WHOLE, PAL_AT(options, threads), .high = 4096, .letter = 't',
     .help = "OpenMP threads (default: all)"},
    {"dtype", PAL_KEY_CHOICE, PAL_AT(options, dtype), .letter = 'd', .words = "f32|f64",
     .help = "element type (default f32)"},
    {"elements", PAL_KEY_WHOLE, PAL_AT(options, elements), .low = WIDTH, .high = 1 << 30,
     .letter = 'n', .help = "elements of the elementwise operands (default 4194304)"},
    {"csv", PAL_KEY_STRING, PAL_AT(options, csv), .letter = 'c', .argument = "FILE",
     .help = "also write the table to FILE"},
};
static const pal_keys keys = PAL_KEYS(rows);
static const flags_section section = {NULL, &keys, 0};

/* ---- Operations ---- */

typedef struct operands {
    pal_tensor x, y, row; /* [N / WIDTH, WIDTH] twice, and [WIDTH] */
} operands;

typedef struct subject {
    const char *name;
    pal_tensor (*build)(operands o);
    double (*exact)(double x, double y); /* of one element; NULL: not checked element by element */
    int reads, gradients;                /* operands of full size, and how many get a gradient */
} subject;

static pal_tensor copy_op(operands o) { return pal_expand(o.x, pal_shape_of(o.x)); }
static pal_tensor add_op(operands o) { return pal_add(o.x, o.y); }
static pal_tensor mul_op(operands o) { return pal_mul(o.x, o.y); }
static pal_tensor bias_op(operands o) { return pal_add(o.x, o.row); }
static pal_tensor exp_op(operands o) { return pal_exp(o.x); }
static pal_tensor log_op(operands o) { return pal_log(o.x); }
static pal_tensor tanh_op(operands o) { return pal_tanh(o.x); }
static pal_tensor sigmoid_op(operands o) { return pal_sigmoid(o.x); }
static pal_tensor softplus_op(operands o) { return pal_softplus(o.x); }
static pal_tensor silu_op(operands o) { return pal_silu(o.x); }
static pal_tensor sum_op(operands o) { return pal_sum(o.x, -1, false); }
static pal_tensor softmax_op(operands o) { return pal_softmax(o.x, -1); }
static pal_tensor rms_op(operands o) { return pal_rms_norm(o.x, o.row, 1e-5); }
static pal_tensor dropout_op(operands o) { return pal_dropout(o.x, 0.1); }
static pal_tensor transposed_op(operands o) { return pal_contiguous(pal_transpose(o.x, 0, 1)); }

static double copy_exact(double x, double y) { return (void)y, x; }
static double add_exact(double x, double y) { return x + y; }
static double mul_exact(double x, double y) { return x * y; }
static double exp_exact(double x, double y) { return (void)y, exp(x); }
static double log_exact(double x, double y) { return (void)y, log(x); }
static double tanh_exact(double x, double y) { return (void)y, tanh(x); }
static double sigmoid_exact(double x, double y) { return (void)y, 1 / (1 + exp(-x)); }
static double softplus_exact(double x, double y) { return (void)y, log1p(exp(x)); }
static double silu_exact(double x, double y) { return (void)y, x / (1 + exp(-x)); }

static const subject subjects[] = {
    {"copy", copy_op, copy_exact, 1, 1},
    {"add", add_op, add_exact, 2, 2},
    {"add a row", bias_op, NULL, 1, 1},
    {"mul", mul_op, mul_exact, 2, 2},
    {"exp", exp_op, exp_exact, 1, 1},
    {"log", log_op, log_exact, 1, 1},
    {"tanh", tanh_op, tanh_exact, 1, 1},
    {"sigmoid", sigmoid_op, sigmoid_exact, 1, 1},
    {"softplus", softplus_op, softplus_exact, 1, 1},
    {"silu", silu_op, silu_exact, 1, 1},
    {"copy of a transpose", transposed_op, NULL, 1, 1},
    {"sum of rows", sum_op, NULL, 1, 1},
    {"softmax of rows", softmax_op, NULL, 1, 1},
    {"rms_norm of rows", rms_op, NULL, 1, 1},
    {"dropout", dropout_op, NULL, 1, 1},
};

/* ---- Timing ---- */

typedef struct timing {
    double median, spread; /* seconds, and a share of the median */
} timing;

typedef struct bench {
    options o;
    pal_tape *tape;
    pal_params *data;
    pal_tensor x, y, row;
    FILE *csv;
    double copy_rate[2]; /* bytes a second, forward and with backward */
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static timing summary(double t[RUNS])
{
    qsort(t, RUNS, sizeof *t, by_value);
    return (timing){t[RUNS / 2], (t[RUNS * 9 / 10] - t[RUNS / 10]) / t[RUNS / 2]};
}

/* Runs a subject once; with backward, from a cotangent that is the second operand where it fits. */
static pal_tensor run(bench *b, const subject *s, bool backward)
{
    pal_tape_reset(b->tape);
    pal_set_grad(b->tape, backward);
    operands o = {pal_on(b->tape, b->x), pal_on(b->tape, b->y), pal_on(b->tape, b->row)};
    pal_tensor y = s->build(o);
    if (backward) {
        pal_tensor seed = pal_shape_equal(pal_shape_of(y), pal_shape_of(o.y))
                              ? o.y
                              : pal_full(b->tape, b->o.dtype, pal_shape_of(y), 1);
        pal_backward_from(1, &y, &seed);
    }
    return y;
}

static timing time_subject(bench *b, const subject *s, bool backward)
{
    double t[RUNS];
    run(b, s, backward);
    for (int i = 0; i < RUNS; i++) {
        double start = now();
        run(b, s, backward);
        t[i] = now() - start;
    }
    return summary(t);
}

static void validate(bench *b, const subject *s)
{
    pal_array y = pal_value(run(b, s, false));
    pal_array x0 = pal_value(b->x), y0 = pal_value(b->y);
    double tolerance = b->o.dtype == PAL_F64 ? 1e-14 : 5e-7;
    for (int64_t i = 0; s->exact && i < 1000; i++) {
        int64_t at[2] = {i * 37 % x0.shape[0], i * 101 % WIDTH};
        double want = s->exact(pal_array_get(&x0, at), pal_array_get(&y0, at));
        double have = pal_array_get(&y, at);
        if (fabs(have - want) <= tolerance * fmax(1, fabs(want))) continue;
        fprintf(stderr, "bench_ops: %s gives %.9g where %.9g is right\n", s->name, have, want);
        exit(EXIT_FAILURE);
    }
}

static void report(bench *b, const char *name, const char *direction, double ns, double rate,
                   const char *unit, double share, double spread)
{
    printf("%-22s %-20s %10.3f %10.1f %-8s %7.2f %7.0f%%\n", name, direction, ns, rate, unit, share,
           100 * spread);
    if (b->csv)
        fprintf(b->csv, "%s,%s,%.6g,%.6g,%s,%.4g,%.4g\n", name, direction, ns, rate, unit, share,
                spread);
}

static void bench_subject(bench *b, const subject *s)
{
    double bytes = (double)b->o.elements * (double)pal_dtype_size(b->o.dtype);
    validate(b, s);
    for (int backward = 0; backward < 2; backward++) {
        timing t = time_subject(b, s, backward);
        /* Backward reads dy and, to be fair to all, no values; it writes each gradient. */
        double moved = bytes * (s->reads + 1 + (backward ? 1 + s->gradients : 0));
        double rate = moved / t.median;
        if (s == subjects) b->copy_rate[backward] = rate;
        report(b, s->name, backward ? "forward + backward" : "forward",
               1e9 * t.median / (double)b->o.elements, 1e-9 * rate, "GB/s",
               rate / b->copy_rate[backward], t.spread);
    }
}

static void bench_matmul(bench *b, int64_t n)
{
    /* BLIS makes its blocks as more threads need them at once, which short products seldom do: on
     * 16 threads about 30 products of a process are slower. */
    const int warm = n < 1024 ? 60 : 1;
    pal_params *p = pal_params_new();
    pal_rng rng = pal_rng_new(1, 0);
    pal_tensor w[2];
    for (int i = 0; i < 2; i++)
        w[i] =
            pal_fill_uniform(pal_param(p, i ? "b" : "a", b->o.dtype, PAL_SHAPE(n, n)), -1, 1, &rng);
    for (int backward = 0; backward < 2; backward++) {
        double t[RUNS];
        for (int i = -warm; i < RUNS; i++) {
            pal_tape_reset(b->tape);
            pal_set_grad(b->tape, backward);
            double start = now();
            pal_tensor y = pal_matmul(pal_on(b->tape, w[0]), w[1]);
            if (backward) pal_backward_from(1, &y, &y);
            if (i >= 0) t[i] = now() - start;
        }
        timing s = summary(t);
        double flops = (backward ? 6.0 : 2.0) * (double)n * (double)n * (double)n;
        char name[32];
        snprintf(name, sizeof name, "matmul %lld", (long long)n);
        report(b, name, backward ? "forward + backward" : "forward",
               1e9 * s.median / (double)(n * n), 1e-9 * flops / s.median, "GFLOP/s", NAN, s.spread);
    }
    pal_params_free(p);
}

/* A chain of additions on one element: nothing but the tape's own cost. */
static void bench_overhead(bench *b)
{
    enum { OPS = 1000 };
    for (int backward = 0; backward < 2; backward++) {
        double t[RUNS];
        for (int i = -1; i < RUNS; i++) {
            pal_tape_reset(b->tape);
            pal_tensor x = pal_want_grad(pal_scalar(b->tape, b->o.dtype, 1)), y = x;
            double start = now();
            for (int j = 0; j < OPS; j++) y = pal_add(y, x);
            if (backward) pal_backward(y);
            if (i >= 0) t[i] = now() - start;
        }
        timing s = summary(t);
        report(b, "tape, one operation", backward ? "forward + backward" : "forward",
               1e9 * s.median / OPS, 1e-6 * OPS / s.median, "Mop/s", NAN, s.spread);
    }
}

int main(int argc, char **argv)
{
    bench b = {.o = {.elements = 1 << 22}};
    flags f;
    flags_begin(&f, &section, 1, &b.o);
    f.argp.doc = "Times the generic operations.";
    flags_parse(&f.argp, argc, argv, &f);
    b.o.elements = b.o.elements / WIDTH * WIDTH;
    pal_set_threads(b.o.threads);
    b.tape = pal_tape_new();
    b.data = pal_params_new();
    pal_rng rng = pal_rng_new(1, 0);
    pal_shape shape = PAL_SHAPE(b.o.elements / WIDTH, WIDTH);
    b.x = pal_fill_uniform(pal_param(b.data, "x", b.o.dtype, shape), 0.1, 2, &rng);
    b.y = pal_fill_uniform(pal_param(b.data, "y", b.o.dtype, shape), -1, 1, &rng);
    b.row = pal_fill_uniform(pal_param(b.data, "row", b.o.dtype, PAL_SHAPE(WIDTH)), -1, 1, &rng);
    if (b.o.csv && !(b.csv = fopen(b.o.csv, "w"))) {
        perror(b.o.csv);
        return EXIT_FAILURE;
    }
    printf("# %s; %s, %lld elements\n", pal_kernels_in_use(), pal_dtype_name(b.o.dtype),
           (long long)b.o.elements);
    if (b.csv)
        fprintf(b.csv, "# %s\noperation,direction,ns,rate,unit,share,spread\n",
                pal_kernels_in_use());
    printf("%-22s %-20s %10s %10s %-8s %7s %8s\n", "operation", "direction", "ns/element", "rate",
           "", "of copy", "spread");
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) bench_subject(&b, &subjects[i]);
    bench_matmul(&b, 256);
    bench_matmul(&b, 1024);
    bench_overhead(&b);
    if (b.csv) fclose(b.csv);
    pal_params_free(b.data);
    pal_tape_free(b.tape);
    return EXIT_SUCCESS;
}
