/*
 * optim.c - what a step of each optimiser costs, beside a plain sweep over memory.
 *
 *     build/bench/optim [--numbers N] [--threads LIST] [--runs N]
 *
 * The parameters are square f32 matrices of side 1024, at least --numbers elements of them together
 * (2^24). An optimiser that makes one pass over memory is held against a loop that reads four
 * arrays and writes three of as many elements, which takes turns with it (measure.c): GB/s is
 * counted from what an optimiser has to read and write, and share is its rate over that of the
 * loop. Muon's step is products of matrices: its GFLOP/s and its share of sgemm (2048^3) are given
 * instead. Updates of the moving average and clipping are there too.
 */
#include "bench/measure/measure.h"
#include "examples/flags/flags.h"
#include "optim/optim.h"
#include "tensor/number.h"

#include <stdlib.h>
#include <string.h>

enum { SIDE = 1024, MOST_THREADS = 8 };

typedef struct options {
    int64_t numbers;
    struct {
        int64_t count, of[MOST_THREADS];
    } threads;
    int runs;
} options;

static const pal_key rows[] = {
    {"numbers", PAL_KEY_WHOLE, PAL_AT(options, numbers), .low = 1, .high = 1 << 30, .letter = 'n',
     .help = "elements of all parameters (2^24)"},
    {"threads", PAL_KEY_WHOLES, PAL_AT(options, threads), .low = 1, .high = 1024, .required = true,
     .letter = 't', .argument = "LIST", .help = "OpenMP threads, separated by commas (1,2)"},
    {"runs", PAL_KEY_WHOLE, PAL_AT(options, runs), .low = 1, .high = MAX_RUNS, .letter = 'r',
     .help = "pairs of runs (11)"},
};
static const pal_keys keys = PAL_KEYS(rows);
static const flags_section section = {NULL, &keys, 0};

/* ---- The reference ---- */

typedef struct sweep {
    int64_t n;
    int threads;
    float *g, *x, *m, *v, *memory;
} sweep;

/* The arrays do not begin at the same place of a page: a load waits for an earlier store whose
 * address has the same low 12 bits. */
enum { STAGGER = 272 };

static sweep sweep_new(int64_t n)
{
    const int64_t apart = n + STAGGER;
    sweep s = {.n = n, .memory = aligned_alloc(64, (size_t)(4 * apart) * sizeof(float))};
    if (!s.memory) exit(EXIT_FAILURE);
    for (int64_t i = 0; i < 4 * apart; i++) s.memory[i] = 1;
    s.g = s.memory, s.x = s.g + apart, s.m = s.x + apart, s.v = s.m + apart;
    return s;
}

static double sweep_run(void *context)
{
    const sweep *s = context;
    const float *restrict g = s->g;
    float *restrict x = s->x, *restrict m = s->m, *restrict v = s->v;
    double start = seconds();
#pragma omp parallel for simd num_threads(s->threads) schedule(static)
    for (int64_t i = 0; i < s->n; i++) {
        float a = 0.25f * g[i];
        x[i] = 0.5f * x[i] + a;
        m[i] = 0.5f * m[i] + a;
        v[i] = 0.5f * v[i] + a;
    }
    return seconds() - start;
}

/* ---- What is timed ---- */

typedef struct subject {
    pal_params *params;
    pal_optim *optim;
    pal_average *average; /* neither: clipping */
    double norm; /* clipped to, less each time, so that there is always something to scale */
} subject;

static double step(void *context)
{
    subject *s = context;
    double start = seconds();
    bool good;
    if (s->optim)
        good = pal_optim_step(s->optim, 1e-4) == PAL_OK;
    else if (s->average)
        good = pal_average_update(s->average) == PAL_OK;
    else
        good = pal_clip_grad_norm(s->params, s->norm) > s->norm;
    s->norm *= 0.99;
    return good ? seconds() - start : -1;
}

static pal_params *params_new(int64_t numbers)
{
    pal_params *p = pal_params_new();
    pal_rng rng = pal_rng_new(1, 0);
    for (int64_t i = 0; i * SIDE * SIDE < numbers; i++) {
        char name[32];
        snprintf(name, sizeof name, "w%lld", (long long)i);
        pal_tensor t = pal_param(p, name, PAL_F32, PAL_SHAPE(SIDE, SIDE));
        pal_fill_normal(t, 0, 1, &rng);
        pal_array g = pal_edit(pal_grad(t));
        pal_rng_normal(&rng, &g, 0, 1);
    }
    return p;
}

static pal_optim *adamw(pal_params *p) { return pal_adamw_new(p, (pal_adamw_opts){.decay = 0.1}); }
static pal_optim *adam(pal_params *p) { return pal_adam_new(p, (pal_adamw_opts){.decay = 0.1}); }
static pal_optim *sgd(pal_params *p) { return pal_sgd_new(p, (pal_sgd_opts){0}); }
static pal_optim *momentum(pal_params *p)
{
    return pal_sgd_new(p, (pal_sgd_opts){.momentum = 0.9, .nesterov = true});
}
static pal_optim *lion(pal_params *p) { return pal_lion_new(p, (pal_lion_opts){.decay = 0.1}); }
static pal_optim *muon(pal_params *p) { return pal_muon_new(p, (pal_muon_opts){.decay = 0.1}); }

static const struct {
    const char *name;
    int reads, writes; /* numbers an element; 0: not bound by memory */
    pal_optim *(*make)(pal_params *p);
} subjects[] = {{"adamw", 4, 3, adamw}, {"adam", 4, 3, adam},
                {"sgd", 2, 1, sgd},     {"sgd, nesterov", 3, 2, momentum},
                {"lion", 3, 2, lion},   {"average", 2, 1, NULL},
                {"clip", 2, 1, NULL},   {"muon", 0, 0, muon}};
enum { SUBJECTS = sizeof subjects / sizeof *subjects, AVERAGE = 5 };

static bool run_subject(const options *o, int k, int threads, sweep *loop, sgemm *gemm)
{
    subject s = {.params = params_new(o->numbers), .norm = SIDE / 2};
    if (subjects[k].make) s.optim = subjects[k].make(s.params);
    if (k == AVERAGE) s.average = pal_average_new(s.params, (pal_average_opts){0});
    const double n = (double)pal_params_size(s.params);
    const int moved = subjects[k].reads + subjects[k].writes;
    pairs p;
    bool good = measure_pairs(step, &s, moved ? sweep_run : sgemm_run,
                              moved ? (void *)loop : (void *)gemm, o->runs, &p);
    if (good) {
        /* Muon: five times three products of SIDE^3 a matrix. */
        const double work = moved ? 4.0 * moved * n : 30.0 * SIDE * n;
        const double whole = moved ? 28.0 * n : SGEMM_FLOPS;
        printf("%-14s %3d %10.3f %10.3f %10.3f %9.2f %s %6.3f of %s\n", subjects[k].name, threads,
               1e3 * p.seconds.median, 1e3 * p.seconds.low, 1e3 * p.seconds.high,
               1e-9 * work / p.seconds.median, moved ? "GB/s   " : "GFLOP/s",
               work / whole * p.ratio, moved ? "the sweep" : "sgemm");
    }
    pal_average_free(s.average);
    pal_optim_free(s.optim);
    pal_params_free(s.params);
    return good;
}

int main(int argc, char **argv)
{
    options o = {.runs = 11, .numbers = 1 << 24};
    flags f;
    flags_begin(&f, &section, 1, &o);
    f.argp.doc = "Times a step of each optimiser.";
    flags_parse(&f.argp, argc, argv, &f);
    if (!o.threads.count) o.threads.count = 2, o.threads.of[0] = 1, o.threads.of[1] = 2;
    const int64_t matrix = SIDE * SIDE;
    pal_tape *squares = pal_tape_new();
    sgemm gemm = sgemm_new(squares);
    sweep loop = sweep_new((o.numbers + matrix - 1) / matrix * matrix);
    setvbuf(stdout, NULL, _IOLBF, 0);
    note_machine(NULL);
    note(NULL, "%lld elements; the sweep reads 4 numbers an element and writes 3",
         (long long)loop.n);
    printf("%-14s %3s %10s %10s %10s %17s %6s\n", "step", "thr", "ms", "quartile", "quartile",
           "rate", "share");
    bool good = true;
    for (int i = 0; i < o.threads.count; i++) {
        pal_set_threads((int)o.threads.of[i]);
        loop.threads = gemm.threads = (int)o.threads.of[i];
        note_sgemm(NULL, &gemm, o.runs);
        note(NULL, "sweep on %d threads: %.2f GB/s", (int)o.threads.of[i],
             28e-9 * (double)loop.n / measure(sweep_run, &loop, o.runs));
        for (int k = 0; k < SUBJECTS; k++)
            good = run_subject(&o, k, (int)o.threads.of[i], &loop, &gemm) && good;
    }
    free(loop.memory);
    pal_tape_free(squares);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
