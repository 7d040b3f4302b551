/*
 * dist.c - ranks: starting and ending them, the grid they form, and how they exchange small data.
 *
 * Layers and the loop wait only for small data. Each rank gathers the numbers and adds them in the
 * order of ranks, so that all get the same bits. MPI's own errors end the job.
 */
#include "optim/ranks/dist_private.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_AT_ONCE = 1 << 30 }; /* bytes of a message: counts of MPI are int */

static pal_dist *current; /* the ranks that the default error handler ends */

/* After a start that failed: the rank that this process had, and the message that all ranks
 * have. */
static struct {
    int rank;
    char message[sizeof(pal_error)];
} failed;

/* ---- Ending all ranks ---- */

static void wait_seconds(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    while (nanosleep(&t, &t) != 0) continue;
}

/*
 * Seconds to wait before this rank prints its message. Rank 0 prints first and ends the others
 * while they wait. It surely does so if all ranks have this message; otherwise it may still have
 * the same problem.
 */
static double patience(const pal_dist *dist, const char *message)
{
    if (dist->rank == 0) return 0;
    if (*dist->agreed && strstr(message, dist->agreed)) return 30;
    return 2 + (dist->rank < 4 ? 0.5 * dist->rank : 2);
}

void pal_dist_abort(pal_dist *dist, const char *message)
{
    fflush(stdout);
    if (!dist && failed.rank > 0 && strstr(message, failed.message)) {
        wait_seconds(
            5); /* the first rank to exit ends the others, and rank 0 may not have printed yet */
        exit(EXIT_FAILURE);
    }
    if (dist) wait_seconds(patience(dist, message));
    fprintf(stderr, "%s\n", message);
    fflush(stderr);
    if (dist && dist->parallel) MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    exit(EXIT_FAILURE);
}

/* Replaces the default error handler. */
static void end_all(const char *message)
{
    char text[sizeof(pal_error) + 64];
    snprintf(text, sizeof text, "palimpsest: rank %d: %s", current->rank, message);
    pal_dist_abort(current, text);
}

/* ---- Layers ---- */

static void exchange(const pal_comm *comm, int to, const void *send, size_t sent, int from,
                     void *receive, size_t received)
{
    const pal_dist *dist = comm->user;
    const char *out = send;
    char *in = receive;
    bool sending = to >= 0, receiving = from >= 0;
    while (sending || receiving) {
        const size_t n = sent < MOST_AT_ONCE ? sent : MOST_AT_ONCE;
        const size_t m = received < MOST_AT_ONCE ? received : MOST_AT_ONCE;
        MPI_Sendrecv(out, sending ? (int)n : 0, MPI_BYTE, sending ? to : MPI_PROC_NULL, 0, in,
                     receiving ? (int)m : 0, MPI_BYTE, receiving ? from : MPI_PROC_NULL, 0,
                     dist->sequence, MPI_STATUS_IGNORE);
        if (sending) out += n, sent -= n;
        if (receiving) in += m, received -= m;
        sending = sending && sent > 0;
        receiving = receiving && received > 0;
    }
}

/* ---- Life ---- */

/* Whether mpirun or srun started this process. */
static bool has_others(void)
{
    int up;
    MPI_Initialized(&up);
    return up || getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK") || getenv("PMI_RANK");
}

static pal_status check(const pal_dist *d, pal_error *error)
{
    const int s = d->opts.sequence_parallel;
    if (s < 1 || d->size % s)
        return pal_error_set(error, PAL_EVALUE,
                             "dist_start: sequence_parallel is %d, which does not divide the "
                             "number of ranks, %d",
                             s, d->size);
    if (d->opts.bucket < 1)
        return pal_error_set(error, PAL_EVALUE, "dist_start: bucket is %lld bytes",
                             (long long)d->opts.bucket);
    return PAL_OK;
}

static void split(pal_dist *d)
{
    const int s = d->opts.sequence_parallel;
    MPI_Comm_dup(MPI_COMM_WORLD, &d->gradients);
    MPI_Comm_split(MPI_COMM_WORLD, d->rank / s, d->rank % s, &d->sequence);
    d->parts = (pal_comm){.rank = d->rank % s, .size = s, .exchange = exchange, .user = d};
}

/*
 * Chooses how MPI sums a bucket in the background: by halving it repeatedly (Rabenseifner). With
 * the default of Open MPI 4.1 a step of two ranks took longer than with blocking sums; with this it
 * takes about as long (bench/dist). A choice of the user is kept.
 */
static void choose_sum(void)
{
    const char *const rabenseifner = "3";
    setenv("OMPI_MCA_coll_libnbc_iallreduce_algorithm", rabenseifner, 0);
}

static void start_mpi(pal_dist *d)
{
    int up, level;
    MPI_Initialized(&up);
    choose_sum();
    if (!up) MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level);
    d->started = !up;
    d->parallel = true;
    MPI_Comm_rank(MPI_COMM_WORLD, &d->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &d->size);
    MPI_Comm_dup(MPI_COMM_WORLD, &d->world);
}

/* Frees d, which may be incomplete, and notes the failure for pal_dist_abort. */
static pal_status give_up(pal_dist *d, pal_status status, const pal_error *error)
{
    failed.rank = d->rank;
    if (error) snprintf(failed.message, sizeof failed.message, "%s", error->message);
    pal_dist_end(d);
    return status;
}

pal_status pal_dist_start(pal_dist **out, pal_dist_opts opts, pal_error *error)
{
    *out = NULL;
    if (current) return pal_error_set(error, PAL_EVALUE, "dist_start: it has been called already");
    pal_dist *d = pal_malloc(sizeof *d);
    if (!d) return pal_error_set(error, PAL_ENOMEM, "dist_start: out of memory");
    if (opts.sequence_parallel == 0) opts.sequence_parallel = 1;
    if (opts.bucket == 0) opts.bucket = INT64_C(1) << 20;
    *d = (pal_dist){.opts = opts,
                    .size = 1,
                    .world = MPI_COMM_NULL,
                    .gradients = MPI_COMM_NULL,
                    .sequence = MPI_COMM_NULL};
    if (has_others()) start_mpi(d);
    pal_status s = check(d, error);
    d->gathered = pal_malloc((size_t)d->size * PAL_DIST_NUMBERS * sizeof(double));
    if (s == PAL_OK && !d->gathered)
        s = pal_error_set(error, PAL_ENOMEM, "dist_start: out of memory");
    if (d->parallel) s = pal_mpi_agree(&d->world, s, error);
    if (s != PAL_OK) return give_up(d, s, error);
    /* Ranks whose options differ would wait for each other forever. */
    char text[160];
    snprintf(text, sizeof text, "sequence_parallel: %d\nbucket: %lld\nblocking: %d\nshard: %d\n",
             d->opts.sequence_parallel, (long long)d->opts.bucket, d->opts.blocking, d->opts.shard);
    s = pal_dist_same_text(d, "dist_start: the options", text, error);
    if (s != PAL_OK) return give_up(d, s, error);
    if (d->parallel) split(d);
    current = d;
    pal_set_exit(end_all);
    *out = d;
    return s;
}

static void drop(MPI_Comm *comm)
{
    if (*comm != MPI_COMM_NULL) MPI_Comm_free(comm);
}

void pal_dist_end(pal_dist *d)
{
    if (!d) return;
    if (current == d) pal_set_exit(NULL), current = NULL;
    pal_dist_reduce_end(d); /* waits for sums that MPI is still computing */
    pal_reduction_free(d->reduction);
    pal_dist_forget(d);
    if (d->parallel) {
        drop(&d->world);
        drop(&d->gradients);
        drop(&d->sequence);
    }
    if (d->started) MPI_Finalize();
    pal_free(d->gathered, (size_t)d->size * PAL_DIST_NUMBERS * sizeof(double));
    pal_free(d, sizeof *d);
}

/* ---- The grid ---- */

int pal_dist_rank(const pal_dist *d) { return d ? d->rank : 0; }
int pal_dist_size(const pal_dist *d) { return d ? d->size : 1; }
int pal_dist_sequence_count(const pal_dist *d) { return d ? d->opts.sequence_parallel : 1; }
int pal_dist_sequence_index(const pal_dist *d)
{
    return d ? d->rank % d->opts.sequence_parallel : 0;
}
int pal_dist_data_index(const pal_dist *d) { return d ? d->rank / d->opts.sequence_parallel : 0; }
int pal_dist_data_count(const pal_dist *d) { return d ? d->size / d->opts.sequence_parallel : 1; }
const pal_comm *pal_dist_sequence(const pal_dist *d)
{
    return d && d->opts.sequence_parallel > 1 ? &d->parts : NULL;
}

/* ---- Numbers of all ranks ---- */

const double *pal_dist_gather(pal_dist *d, int n, const double *x)
{
    double *all = (double *)(void *)d->gathered;
    if (d->size == 1)
        memcpy(all, x, (size_t)n * sizeof *x);
    else
        MPI_Allgather(x, n, MPI_DOUBLE, all, n, MPI_DOUBLE, d->world);
    return all;
}

void pal_dist_sum(pal_dist *d, int n, double *x)
{
    if (pal_dist_size(d) == 1) return;
    for (int at = 0; at < n; at += PAL_DIST_NUMBERS) {
        const int k = n - at < PAL_DIST_NUMBERS ? n - at : PAL_DIST_NUMBERS;
        const double *all = pal_dist_gather(d, k, x + at);
        for (int i = 0; i < k; i++) x[at + i] = all[i];
        for (int r = 1; r < d->size; r++)
            for (int i = 0; i < k; i++) x[at + i] += all[r * k + i];
    }
}

void pal_dist_sum_i64(pal_dist *d, int n, int64_t *x)
{
    if (pal_dist_size(d) == 1) return;
    MPI_Allreduce(MPI_IN_PLACE, x, n, MPI_INT64_T, MPI_SUM, d->world); /* exact in every order */
}

void pal_dist_barrier(pal_dist *d)
{
    if (pal_dist_size(d) > 1) MPI_Barrier(d->world);
}

void pal_dist_broadcast(pal_dist *d, void *data, size_t size)
{
    if (pal_dist_size(d) == 1) return;
    for (char *at = data; size > 0;) {
        const size_t n = size < MOST_AT_ONCE ? size : MOST_AT_ONCE;
        MPI_Bcast(at, (int)n, MPI_BYTE, 0, d->world);
        at += n, size -= n;
    }
}
