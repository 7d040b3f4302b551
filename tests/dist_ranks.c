/*
 * dist_ranks.c - what ranks tell each other: the grid, sums, bytes, outcomes, texts, parameters,
 * and messages between those that share sequences. Run by mpirun from tests/test_dist_ranks.sh.
 */
#include "tests/support/ranks.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

static void check_grid(pal_dist *d, int share)
{
    const int rank = pal_dist_rank(d), size = pal_dist_size(d);
    expect(pal_dist_sequence_count(d) == share, "sequence_count %d", pal_dist_sequence_count(d));
    expect(pal_dist_data_count(d) * share == size, "data_count %d", pal_dist_data_count(d));
    expect(pal_dist_data_index(d) * share + pal_dist_sequence_index(d) == rank, "rank %d", rank);
    expect(pal_dist_sequence_index(d) < share, "sequence_index %d", pal_dist_sequence_index(d));
    expect((pal_dist_sequence(d) == NULL) == (share == 1), "parts");
}

/* The sum that adds in the order of ranks, and no other: the numbers are far apart. */
static void check_sums(pal_dist *d)
{
    enum { N = 100 };
    const int rank = pal_dist_rank(d), size = pal_dist_size(d);
    double x[N], first[N];
    int64_t k[3] = {rank, 1, -1};
    for (int i = 0; i < N; i++) x[i] = pow(10, (i + 7 * rank) % 20) / 3;
    pal_dist_sum(d, N, x);
    for (int i = 0; i < N; i++) {
        double sum = pow(10, i % 20) / 3;
        for (int r = 1; r < size; r++) sum += pow(10, (i + 7 * r) % 20) / 3;
        expect(x[i] == sum, "sum %d is %.17g, not %.17g", i, x[i], sum);
    }
    memcpy(first, x, sizeof x);
    pal_dist_broadcast(d, first, sizeof first);
    expect(memcmp(first, x, sizeof x) == 0, "other bits than on rank 0");
    pal_dist_sum_i64(d, 3, k);
    expect(k[0] == size * (size - 1) / 2 && k[1] == size && k[2] == -size, "integers");
    pal_dist_barrier(d);
}

static void check_agree(pal_dist *d)
{
    pal_error error = {0};
    const int rank = pal_dist_rank(d), last = pal_dist_size(d) - 1;
    expect(pal_dist_agree(d, PAL_OK, &error) == PAL_OK, "agree on ok");
    pal_status s = PAL_OK;
    if (rank == last) s = pal_error_set(&error, PAL_EIO, "no such disk");
    s = pal_dist_agree(d, s, &error);
    expect(s == PAL_EIO && strstr(error.message, "no such disk"), "agree: %s", error.message);
    char name[32];
    snprintf(name, sizeof name, "rank %d: ", last);
    expect(last == 0 || strncmp(error.message, name, strlen(name)) == 0, "%s", error.message);
    char before[1024];
    strcpy(before, error.message);
    expect(pal_dist_agree(d, s, &error) == PAL_EIO, "agree again");
    expect(strcmp(before, error.message) == 0, "told twice: %s", error.message);
}

static void check_text(pal_dist *d)
{
    pal_error error = {0};
    const int last = pal_dist_size(d) - 1;
    expect(pal_dist_same_text(d, "flags", "width = 2\nlen = 3\n", &error) == PAL_OK, "same text");
    expect(pal_dist_same_text(d, "flags", "", &error) == PAL_OK, "no text");
    if (last == 0) return;
    const bool other = pal_dist_rank(d) == last;
    const char *text = other ? "width = 2\nlen = 4\n" : "width = 2\nlen = 3\n";
    char wanted[128];
    snprintf(wanted, sizeof wanted,
             "flags: line 2 is \"len = 3\" on rank 0 and \"len = 4\" on rank %d", last);
    expect(pal_dist_same_text(d, "flags", text, &error) == PAL_EVALUE, "other text");
    expect(strcmp(error.message, wanted) == 0, "%s", error.message);
    /* One that ends before the other. */
    expect(pal_dist_same_text(d, "flags", other ? "a\nb" : "a", &error) == PAL_EVALUE, "longer");
    expect(strstr(error.message, "line 1 is \"a\"") || strstr(error.message, "line 2 is \"\""),
           "%s", error.message);
}

static pal_params *make_params(void)
{
    pal_params *p = pal_params_new();
    pal_rng rng = pal_rng_new(1, 0);
    for (int i = 0; i < 70; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        pal_fill_normal(pal_param(p, name, PAL_F32, PAL_SHAPE(3, i % 5)), 0, 1, &rng);
    }
    return p;
}

static void check_params(pal_dist *d)
{
    pal_error error = {0};
    pal_params *p = make_params();
    const int last = pal_dist_size(d) - 1;
    char wanted[128];
    expect(pal_dist_same_params(d, p, &error) == PAL_OK, "same: %s", error.message);
    if (last > 0) {
        const bool other = pal_dist_rank(d) == last;
        float *x = pal_edit(pal_params_find(p, "w69")).data;
        if (other) x[11] += 1e-6F;
        expect(pal_dist_same_params(d, p, &error) == PAL_EVALUE, "a value differs");
        snprintf(wanted, sizeof wanted, "parameter w69 f32[3,4] has other values on rank %d", last);
        expect(strstr(error.message, wanted) != NULL, "%s", error.message);
        if (other) pal_freeze(pal_params_find(p, "w3"), true);
        expect(pal_dist_same_params(d, p, &error) == PAL_EVALUE, "a flag differs");
        snprintf(wanted, sizeof wanted, "w3 f32[3,3], frozen on rank %d", last);
        expect(strstr(error.message, wanted) != NULL, "%s", error.message);
        if (other) pal_freeze(pal_params_find(p, "w3"), false), x[11] -= 1e-6F;
        pal_fill(pal_params_find(p, "w69"), 1);
        if (other) pal_param(p, "more", PAL_F32, PAL_SHAPE(2));
        expect(pal_dist_same_params(d, p, &error) == PAL_EVALUE, "one more");
        expect(strstr(error.message, "parameter 70 is none on rank 0 and more f32[2]") != NULL,
               "%s", error.message);
    }
    pal_params_free(p);
}

/* Bytes go round, of lengths that differ, with ends that send or receive nothing. */
static void check_exchange(pal_dist *d)
{
    const pal_comm *c = pal_dist_sequence(d);
    if (!c) return;
    unsigned char out[64], in[64] = {0};
    memset(out, c->rank + 1, sizeof out);
    const int next = (c->rank + 1) % c->size, before = (c->rank + c->size - 1) % c->size;
    c->exchange(c, next, out, (size_t)(c->rank + 3), before, in, (size_t)(before + 3));
    expect(in[before + 2] == before + 1 && in[before + 3] == 0, "ring: %d", in[0]);
    memset(in, 0, sizeof in);
    const bool end = c->rank == c->size - 1, begin = c->rank == 0;
    c->exchange(c, end ? -1 : next, out, 5, begin ? -1 : before, in, 5);
    expect(in[4] == (begin ? 0 : before + 1), "line: %d", in[4]);
    c->exchange(c, end ? -1 : next, NULL, 0, begin ? -1 : before, NULL, 0);
    c->exchange(c, -1, NULL, 0, -1, NULL, 0);
}

/* An error of one rank that the default handler hears. */
static void fail_alone(pal_dist *d)
{
    pal_error error;
    pal_error_set(&error, PAL_EVALUE, "the data of rank %d are gone", pal_dist_rank(d));
    if (pal_dist_rank(d) == pal_dist_size(d) - 1) pal_raise(&error);
    for (double x = 1;;) pal_dist_sum(d, 1, &x);
}

/* Longer than PAL_PATIENCE, after which a rank is named, and not as long as twice that, when it
 * would be named again. */
static const double LATE = 1.6;

static double slower = 1; /* all times of a hang, where a machine has other work */

static void pause_for(double seconds)
{
    seconds *= slower;
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    while (nanosleep(&t, &t) != 0) continue;
}

/* A handler takes as long as a process that was stopped while it waited. */
static void stand_still(int number)
{
    (void)number;
    pause_for(1.75);
}

/*
 * Waits that are named with PAL_PATIENCE=1, when ranks tell of theirs after 0.25 s; `slower` scales
 * all of it. "backward":
 * rank 2 waits for rank 1 before it does not come to the sum of gradients. "parts": rank 3 waits
 * for rank 2 where the others do not. "all": rank 2 is stopped while it waits, from 0.45 s to 2.2
 * s. Rank 1 comes after 0.7 s, and then rank 0 leaves the barrier, for rank 2 had come to it
 * before. So rank 0 waits in the next call from 0.7 s on, and says so after 1.7 s.
 */
static void hang(pal_dist *d, const char *how)
{
    pal_error error;
    const int rank = pal_dist_rank(d);
    pal_params *p = make_params();
    pal_tape *tape = pal_tape_new();
    if (pal_dist_attach(d, p, tape, &error) != PAL_OK) pal_dist_abort(d, error.message);
    pal_dist_barrier(d);
    if (strcmp(how, "backward") == 0) {
        if (rank == 1) pause_for(0.6);
        pal_dist_barrier(d);
        pal_dist_reduce_begin(d);
        if (rank == 2) pause_for(LATE);
        pal_dist_reduce_end(d);
    } else if (strcmp(how, "parts") == 0) {
        if (rank == 2) pause_for(LATE);
        check_exchange(d);
    } else if (rank == 2) {
        signal(SIGALRM, stand_still);
        const double after = 0.45 * slower;
        const struct timeval at = {(time_t)after, (suseconds_t)(1e6 * (after - floor(after)))};
        setitimer(ITIMER_REAL, &(struct itimerval){.it_value = at}, NULL);
    } else if (rank == 1) {
        pause_for(0.7);
    }
    pal_dist_barrier(d);
    pal_tape_free(tape);
    pal_params_free(p);
}

int main(int argc, char **argv)
{
    const int share = argc > 1 ? atoi(argv[1]) : 1;
    pal_dist *d;
    pal_error error;
    pal_dist_opts opts = {.sequence_parallel = share};
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (argc > 2 && strcmp(argv[2], "unlike") == 0 && rank) opts.bucket = 1000 + atoi(rank);
    if (argc > 2 && strcmp(argv[2], "wrong") == 0 && rank) opts.bucket = -atoi(rank);
    if (pal_dist_start(&d, opts, &error) != PAL_OK) pal_dist_abort(NULL, error.message);
    if (argc > 2 && strcmp(argv[2], "alone") == 0) fail_alone(d);
    if (argc > 2 && strcmp(argv[2], "alike") == 0)
        pal_raise(&(pal_error){.status = PAL_EVALUE, .message = "all have the same trouble"});
    if (argc > 3 && strcmp(argv[2], "hang") == 0) {
        if (argc > 4) slower = atof(argv[4]);
        hang(d, argv[3]);
        pal_dist_end(d);
        return report();
    }
    expect(pal_dist_start(&(pal_dist *){NULL}, (pal_dist_opts){0}, &error) == PAL_EVALUE, "twice");
    check_grid(d, share);
    check_sums(d);
    check_agree(d);
    check_text(d);
    check_params(d);
    check_exchange(d);
    pal_h5 *file; /* which the end of MPI does not take away */
    expect(pal_h5_create(&file, "/dev/null/none.h5", &error) == PAL_OK, "create");
    pal_dist_end(d);
    expect(pal_h5_put_text(file, "/", "t", "x", &error) == PAL_OK, "HDF5 ended: %s", error.message);
    pal_h5_close(file);
    return report();
}
