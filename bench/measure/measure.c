/*
 * measure.c - the clock, runs in pairs, and the matrix product that everything is compared with.
 *
 * A machine's clock is not the same from one minute to the next, and a neighbour may take a part of
 * it for a while. So a rate is never compared with one that was measured at another time: what is
 * timed and its reference take turns, each pair gives a ratio, and the median of these is reported.
 */
#include "bench/measure/measure.h"
#include "optim/train.h"
#include "tensor/internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double seconds(void)
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

/* The value below which a share of n sorted ones lie, between neighbours on a straight line. */
static double quantile(const double *sorted, int n, double share)
{
    double place = share * (n - 1);
    int i = (int)place, next = i + 1 < n ? i + 1 : i;
    return sorted[i] + (place - i) * (sorted[next] - sorted[i]);
}

static quartiles summary(double *t, int n)
{
    qsort(t, (size_t)n, sizeof *t, by_value);
    return (quartiles){quantile(t, n, 0.25), quantile(t, n, 0.5), quantile(t, n, 0.75)};
}

double measure(timed_fn *run, void *context, int runs)
{
    double t[MAX_RUNS];
    run(context);
    for (int i = 0; i < runs; i++) t[i] = run(context);
    return summary(t, runs).median;
}

bool measure_pairs(timed_fn *run, void *context, timed_fn *reference, void *its_context, int runs,
                   pairs *out)
{
    double t[MAX_RUNS], ratio[MAX_RUNS];
    if (run(context) < 0) return false;
    reference(its_context);
    double before = reference(its_context);
    for (int i = 0; i < runs; i++) {
        t[i] = run(context);
        if (t[i] < 0) return false;
        double after = reference(its_context);
        ratio[i] = (before + after) / 2 / t[i]; /* the run lies between these two */
        before = after;
    }
    *out = (pairs){summary(t, runs), summary(ratio, runs).median};
    return true;
}

sgemm sgemm_new(pal_tape *data) { return sgemm_in(data, PAL_F32); }

sgemm sgemm_in(pal_tape *data, pal_dtype dtype)
{
    pal_rng rng = pal_rng_new(2, 0);
    pal_shape square = PAL_SHAPE(SGEMM_SIZE, SGEMM_SIZE);
    return (sgemm){.a = pal_cast(pal_uniform(data, PAL_F32, square, -1, 1, &rng), dtype),
                   .b = pal_cast(pal_uniform(data, PAL_F32, square, -1, 1, &rng), dtype),
                   .c = pal_zeros(data, PAL_F32, square)};
}

double sgemm_run(void *context)
{
    const sgemm *g = context;
    const void *a = pal_value(g->a).data, *b = pal_value(g->b).data;
    void *c = pal_edit(g->c).data;
    double start = seconds();
    pal_gemm(pal_dtype_of(g->a), SGEMM_SIZE, SGEMM_SIZE, SGEMM_SIZE, 1, a, SGEMM_SIZE, 1, b,
             SGEMM_SIZE, 1, 0, c, SGEMM_SIZE, 1, g->threads);
    return seconds() - start;
}

/* ---- Lines about the run ---- */

void note(FILE *csv, const char *format, ...)
{
    va_list args;
    for (int i = 0; i < (csv ? 2 : 1); i++) {
        FILE *file = i ? csv : stdout;
        va_start(args, format);
        fprintf(file, "# ");
        vfprintf(file, format, args);
        fprintf(file, "\n");
        va_end(args);
    }
}

/* The first line that starts so, without that, or "unknown". */
static void find_line(FILE *file, const char *start, char *text, size_t size)
{
    snprintf(text, size, "unknown");
    for (char line[256]; file && fgets(line, sizeof line, file);) {
        if (strncmp(line, start, strlen(start))) continue;
        const char *value = line + strlen(start) + strspn(line + strlen(start), "\t :");
        snprintf(text, size, "%.*s", (int)strcspn(value, "\n"), value);
        break;
    }
}

void note_machine(FILE *csv)
{
    char model[128];
    FILE *info = fopen("/proc/cpuinfo", "r");
    find_line(info, "model name", model, sizeof model);
    if (info) fclose(info);
    note(csv, "machine: %s, %ld cpus", model, sysconf(_SC_NPROCESSORS_ONLN));
    note(csv, "kernels: %s", pal_kernels_in_use());
    note(csv, "code: %s", pal_code_version());
}

double note_sgemm(FILE *csv, sgemm *g, int runs)
{
    const double rate = SGEMM_FLOPS / measure(sgemm_run, g, runs);
    const pal_dtype dtype = pal_dtype_of(g->a);
    note(csv, "%s threads=%d gflops=%.1f library=%s family=%s",
         dtype == PAL_F32 ? "sgemm" : pal_dtype_name(dtype), g->threads, 1e-9 * rate,
         pal_product_library(dtype), pal_blas_family());
    return rate;
}

double note_bf16(FILE *csv, int threads, int runs)
{
    pal_tape *squares = pal_tape_new();
    sgemm g = sgemm_in(squares, PAL_BF16);
    g.threads = threads;
    const double rate = note_sgemm(csv, &g, runs);
    pal_tape_free(squares);
    return rate;
}

void note_products(FILE *csv, bool bf16)
{
    note(csv, "%s", pal_precision_in_use(PAL_F32));
    if (bf16) note(csv, "%s", pal_precision_in_use(PAL_BF16));
}

const char *share_text(char text[16], double share, bool table)
{
    if (share > 0)
        snprintf(text, 16, table ? "%.3f" : "%.4g", share);
    else
        strcpy(text, table ? "-" : "");
    return text;
}
