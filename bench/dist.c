/*
 * dist.c - training by several ranks: what summing gradients costs, how much of it is hidden behind
 * backward, and what that says about more nodes.
 *
 *     mpirun -n 2 --bind-to none build/bench/dist [--mixers LIST] [--width N] [--layers N]
 *            [--batch N] [--len N] [--bucket BYTES] [--rounds N] [--nodes]
 *            [--latency SECONDS] [--bandwidth BYTES]
 *
 * One thread a rank. Three kinds of step take turns, a few of each a round: `alone` does not sum at
 * all, `blocking` sums after backward, `overlapped` while backward runs. A step is loss, backward,
 * sum; without optimiser. Of each the slowest rank counts. waited is what the rank waits that is
 * last to end its backward: the others wait for it too; longer is what the step takes beyond
 * `alone`, which counts the work of moving and adding numbers too, for there is no other thread to
 * do it. Medians over all rounds. Then how the first bucket lies in backward, and the link between
 * ranks 0 and 1: half a round trip of 8 bytes, and the rate of 4 MiB.
 *
 * --nodes puts these into the model of dist/model.c, for 2 to 1024 nodes of one rank each, on
 * the link measured here, on one of --latency and --bandwidth, and on two that are assumed.
 */
#include "bench/dist/model.h"
#include "bench/measure/measure.h"
#include "examples/flags/flags.h"
#include "optim/dist.h"
#include "tensor/number.h"

#include <mpi.h>
#include <stdlib.h>

enum { A_ROUND = 4, MOST_STEPS = 4000, MOST_BUCKETS = 4096 };

typedef struct options {
    const char *mixers;
    int64_t width, layers, batch, len, bucket;
    int rounds;
    bool nodes;
    link_t given;
} options;

/* ---- The command line ---- */

static const pal_key rows[] = {
    {"mixers", PAL_KEY_STRING, PAL_AT(options, mixers), .letter = 'm', .argument = "LIST",
     .help = "layers (gdn2:num_heads=4:head_dim=64)"},
    {"width", PAL_KEY_WHOLE, PAL_AT(options, width), .low = 1, .high = 1 << 16, .letter = 'd',
     .help = "model width (256)"},
    {"layers", PAL_KEY_WHOLE, PAL_AT(options, layers), .low = 1, .high = 1 << 10, .letter = 'l',
     .help = "blocks (6)"},
    {"batch", PAL_KEY_WHOLE, PAL_AT(options, batch), .low = 1, .high = 1 << 16, .letter = 'b',
     .help = "sequences of a rank (1)"},
    {"len", PAL_KEY_WHOLE, PAL_AT(options, len), .low = 1, .high = 1 << 20, .letter = 'n',
     .help = "tokens of a sequence (128)"},
    {"bucket", PAL_KEY_WHOLE, PAL_AT(options, bucket), .high = 1 << 30, .letter = 'k',
     .argument = "BYTES", .help = "of a bucket; 0: the library's choice (0)"},
    {"rounds", PAL_KEY_WHOLE, PAL_AT(options, rounds), .low = 1, .high = MOST_STEPS / A_ROUND,
     .letter = 'r', .help = "of four steps of each kind (15)"},
    {"nodes", PAL_KEY_FLAG, PAL_AT(options, nodes), .letter = 'N',
     .help = "predict 2 to 1024 nodes"},
    {"latency", PAL_KEY_REAL, PAL_AT(options, given.latency), .high = 1, .letter = 'L',
     .argument = "SECONDS", .help = "of another link to predict for"},
    {"bandwidth", PAL_KEY_REAL, PAL_AT(options, given.bandwidth), .low = 1, .high = 1e15,
     .letter = 'B', .argument = "BYTES", .help = "a second, of that link"},
};
static const pal_keys keys = PAL_KEYS(rows);
static const flags_section section = {NULL, &keys, 0};

/* ---- A model in training ---- */

typedef struct training {
    const options *o;
    pal_params *params;
    pal_tape *tape;
    pal_lm *lm;
    int64_t *text; /* batch x (len + 1) bytes, others on each rank */
} training;

static training training_new(const options *o, int rank)
{
    pal_rng rng = pal_rng_new(1, 0), bytes = pal_rng_new(2, (uint64_t)rank);
    training t = {.o = o, .params = pal_params_new(), .tape = pal_tape_new()};
    const pal_lm_opts opts = {.width = o->width, .layers = o->layers, .mixers = o->mixers};
    t.lm = pal_lm_new(t.params, opts, &rng);
    const int64_t n = o->batch * (o->len + 1);
    t.text = malloc((size_t)n * sizeof *t.text);
    for (int64_t i = 0; t.text && i < n; i++) t.text[i] = pal_rng_below(&bytes, 256);
    return t;
}

static void training_free(training *t)
{
    free(t->text);
    pal_tape_free(t->tape);
    pal_params_free(t->params);
}

/* What a step takes on the slowest rank; waited is the least of all ranks. */
typedef struct taken {
    double step, forward, waited;
} taken;

static taken step(training *t, pal_dist *dist)
{
    const options *o = t->o;
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = seconds();
    pal_tensor all = pal_from(t->tape, PAL_I64, PAL_SHAPE(o->batch, o->len + 1), t->text);
    pal_tensor loss = pal_lm_loss(t->lm, pal_slice(all, 1, 0, o->len, 1),
                                  pal_slice(all, 1, 1, o->len + 1, 1), (pal_run_opts){0});
    const double forward = seconds() - start;
    if (dist) pal_dist_reduce_begin(dist);
    pal_backward(loss);
    if (dist) pal_dist_reduce_end(dist);
    taken mine = {.step = seconds() - start,
                  .forward = forward,
                  .waited = dist ? pal_dist_times(dist).exposed : 0},
          most;
    pal_params_zero_grad(t->params);
    pal_tape_reset(t->tape);
    MPI_Allreduce(&mine, &most, 2, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    MPI_Allreduce(&mine.waited, &most.waited, 1, MPI_DOUBLE, MPI_MIN, MPI_COMM_WORLD);
    return most;
}

/* ---- Steps of three kinds ---- */

enum { ALONE, BLOCKING, OVERLAPPED, KINDS };
static const char *const kind_name[KINDS] = {"alone", "blocking", "overlapped"};

typedef struct results {
    taken taken[KINDS][MOST_STEPS];
    int count;
    /* Of the last overlapped step on this rank: */
    int buckets;
    double length; /* to the end of backward */
    double ready[MOST_BUCKETS], bytes[MOST_BUCKETS];
    struct pal_dist_times times;
    int64_t first_operation;
} results;

static void keep_trace(results *r, const pal_dist *dist, double forward)
{
    const pal_dist_bucket *b;
    const int n = pal_dist_trace(dist, &b);
    r->buckets = n < MOST_BUCKETS ? n : MOST_BUCKETS;
    for (int i = 0; i < r->buckets; i++) {
        r->ready[i] = forward + b[i].started;
        r->bytes[i] = (double)b[i].bytes;
    }
    r->times = pal_dist_times(dist);
    r->length = forward + r->times.backward;
    r->first_operation = n ? b[0].operations : 0;
}

static void round_of(results *r, training *t, int kind)
{
    pal_error error;
    pal_dist *dist;
    const pal_dist_opts opts = {.bucket = t->o->bucket, .blocking = kind == BLOCKING};
    if (pal_dist_start(&dist, opts, &error) != PAL_OK ||
        pal_dist_attach(dist, t->params, t->tape, &error) != PAL_OK) {
        fprintf(stderr, "dist: %s\n", error.message);
        MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    }
    step(t, kind == ALONE ? NULL : dist); /* warm-up */
    for (int i = 0; i < A_ROUND; i++) {
        const taken got = step(t, kind == ALONE ? NULL : dist);
        r->taken[kind][r->count + i] = got;
        if (kind == OVERLAPPED) keep_trace(r, dist, got.forward);
    }
    pal_dist_end(dist);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

static taken median_of(const results *r, int kind)
{
    static double step[MOST_STEPS], forward[MOST_STEPS], waited[MOST_STEPS];
    for (int i = 0; i < r->count; i++) {
        step[i] = r->taken[kind][i].step;
        forward[i] = r->taken[kind][i].forward;
        waited[i] = r->taken[kind][i].waited;
    }
    return (taken){median(step, r->count), median(forward, r->count), median(waited, r->count)};
}

/* ---- The link ---- */

static double half_round_trip(void *memory, int bytes, int times)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = seconds();
    for (int i = 0; i < times && rank < 2; i++) {
        if (rank == 0) MPI_Send(memory, bytes, MPI_BYTE, 1, 0, MPI_COMM_WORLD);
        MPI_Recv(memory, bytes, MPI_BYTE, 1 - rank, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        if (rank == 1) MPI_Send(memory, bytes, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
    }
    return (seconds() - start) / (2 * times);
}

static link_t measure_link(void)
{
    enum { LARGE = 4 << 20, TIMES = 15 };
    double small[TIMES], large[TIMES];
    char *memory = calloc(LARGE, 1);
    if (!memory) MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    half_round_trip(memory, LARGE, 3);
    for (int i = 0; i < TIMES; i++) {
        small[i] = half_round_trip(memory, 8, 200);
        large[i] = half_round_trip(memory, LARGE, 4);
    }
    free(memory);
    const double latency = median(small, TIMES);
    return (link_t){"measured", latency, LARGE / (median(large, TIMES) - latency)};
}

/* ---- Reports ---- */

static void print_steps(const results *r, const options *o, int ranks)
{
    const taken alone = median_of(r, ALONE);
    printf("# %s, %lld layers of width %lld, %lld x %lld tokens a rank, %d ranks, %.1f MB of "
           "gradients in %d buckets; medians of %d steps, ms\n",
           o->mixers, (long long)o->layers, (long long)o->width, (long long)o->batch,
           (long long)o->len, ranks, 1e-6 * (double)r->times.bytes, r->buckets, r->count);
    printf("%-12s %9s %9s %9s\n", "step", "ms", "waited", "longer");
    for (int k = 0; k < KINDS; k++) {
        const taken m = median_of(r, k);
        printf("%-12s %9.2f %9.2f %9.2f\n", kind_name[k], 1e3 * m.step, 1e3 * m.waited,
               1e3 * (m.step - alone.step));
    }
    printf("# the first bucket started after %lld of %lld operations of backward\n",
           (long long)r->first_operation, (long long)r->times.operations);
}

/* The buckets as they would be complete in a step that does nothing else. */
static void print_nodes(results *r, link_t here, const options *o, int ranks)
{
    const taken alone = median_of(r, ALONE);
    for (int i = 0; i < r->buckets; i++) r->ready[i] *= alone.step / r->length;
    const step_times s = {alone.step, r->buckets, r->ready, r->bytes};
    const link_t links[] = {
        here, o->given, {"10 Gbit/s, 30 us", 30e-6, 1.25e9}, {"100 Gbit/s, 3 us", 3e-6, 12.5e9}};
    printf("# predicted for %d ranks on the link measured here: %.2f ms blocking, %.2f "
           "overlapped\n",
           ranks, 1e3 * data_parallel_seconds(&s, here, ranks, 1),
           1e3 * data_parallel_seconds(&s, here, ranks, 0));
    for (int i = 0; i < 4; i++) {
        if (links[i].bandwidth <= 0) continue;
        printf("# share of the time of a step that is arithmetic, %s (%.1f us, %.2f GB/s)\n",
               links[i].name, 1e6 * links[i].latency, 1e-9 * links[i].bandwidth);
        printf("%-12s", "nodes");
        for (int n = 2; n <= 1024; n *= 2) printf(" %6d", n);
        for (int blocking = 1; blocking >= 0; blocking--) {
            printf("\n%-12s", kind_name[blocking ? BLOCKING : OVERLAPPED]);
            for (int n = 2; n <= 1024; n *= 2)
                printf(" %6.2f", alone.step / data_parallel_seconds(&s, links[i], n, blocking));
        }
        printf("\n");
    }
}

/* What a layer's scan over ranks takes: heads of K x V as the model's first layer has them. */
static void print_sequences(training *t, link_t here, const options *o)
{
    pal_mixer_state state = {.seen = 0};
    pal_set_grad(t->tape, false);
    pal_tensor x = pal_zeros(t->tape, PAL_F32, PAL_SHAPE(1, 1, o->width));
    pal_mixer_forward(pal_lm_mixer(t->lm, 0), x, &state, (pal_run_opts){0});
    const pal_tensor S = pal_mixer_state_get(&state, "state");
    if (pal_is_none(S)) return; /* attention */
    const double heads = (double)pal_dim(S, 1), K = (double)pal_dim(S, 2);
    const double V = (double)pal_dim(S, 3), map = 4 * heads * K * (K + V);
    const link_t links[] = {
        here, o->given, {"10 Gbit/s, 30 us", 30e-6, 1.25e9}, {"100 Gbit/s, 3 us", 3e-6, 12.5e9}};
    printf("# ms that the state of one layer and sequence needs to come in, by nodes that share "
           "it; %.0f heads of %.0f x %.0f, a map of %.0f bytes\n",
           heads, K, V, map);
    for (int i = 0; i < 4; i++) {
        if (links[i].bandwidth <= 0) continue;
        printf("%-18s", links[i].name);
        for (int n = 2; n <= 1024; n *= 2)
            printf(" %6.3f", 1e3 * sequence_seconds(links[i], n, map, 4 * heads * K * V));
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    int level, rank, ranks;
    static results r;
    options o = {.mixers = "gdn2:num_heads=4:head_dim=64",
                 .width = 256,
                 .layers = 6,
                 .batch = 1,
                 .len = 128,
                 .rounds = 15,
                 .given = {.name = "given"}};
    flags f;
    flags_begin(&f, &section, 1, &o);
    f.argp.doc = "Times training steps of several ranks.";
    flags_parse(&f.argp, argc, argv, &f);
    /* Here rather than in pal_dist_start, for it is started again and again; with its choice. */
    setenv("OMPI_MCA_coll_libnbc_iallreduce_algorithm", "3", 0);
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (ranks < 2) {
        fprintf(stderr, "dist: one rank has nothing to sum; mpirun -n 2 %s\n", argv[0]);
        MPI_Finalize();
        return EXIT_FAILURE;
    }
    pal_set_threads(1);
    training t = training_new(&o, rank);
    for (int i = 0; i < o.rounds; i++, r.count += A_ROUND)
        for (int kind = 0; kind < KINDS; kind++) round_of(&r, &t, kind);
    const link_t here = measure_link();
    if (rank == 0) {
        note_machine(NULL);
        print_steps(&r, &o, ranks);
        printf("# link between ranks 0 and 1: %.2f us, %.2f GB/s\n", 1e6 * here.latency,
               1e-9 * here.bandwidth);
        if (o.nodes) {
            print_nodes(&r, here, &o, ranks);
            print_sequences(&t, here, &o);
        }
    }
    training_free(&t);
    MPI_Finalize();
    return EXIT_SUCCESS;
}
