/*
 * start.c - the life of a rank: its start, its end, and the end of all ranks after an error.
 */
#include "optim/ranks/dist_private.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static pal_dist *current; /* whose ranks the default error handler ends */

/* A start that failed: the rank it would have been, and what all of them have been told. */
static struct {
    int rank;
    char message[sizeof(pal_error)];
} failed;

/* ---- The end of all ranks ---- */

static void wait_seconds(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    while (nanosleep(&t, &t) != 0) continue;
}

/* Rank 0 speaks first, and ends the others while they wait: surely if all have been told the same,
 * and if not so, it may have the same trouble. */
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
        wait_seconds(5); /* the first to end takes the others with it: rank 0 has not spoken yet */
        exit(EXIT_FAILURE);
    }
    if (dist) wait_seconds(patience(dist, message));
    fprintf(stderr, "%s\n", message);
    fflush(stderr);
    if (dist && dist->parallel) MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    exit(EXIT_FAILURE);
}

/* Stands in for the default error handler. */
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
    pal_dist *dist = comm->user;
    const char *out = send;
    char *in = receive;
    bool sending = to >= 0, receiving = from >= 0;
    while (sending || receiving) {
        const size_t n = sent < PAL_MOST_AT_ONCE ? sent : PAL_MOST_AT_ONCE;
        const size_t m = received < PAL_MOST_AT_ONCE ? received : PAL_MOST_AT_ONCE;
        MPI_Request request[2];
        MPI_Irecv(in, receiving ? (int)m : 0, MPI_BYTE, receiving ? from : MPI_PROC_NULL, 0,
                  dist->sequence, &request[0]);
        MPI_Isend(out, sending ? (int)n : 0, MPI_BYTE, sending ? to : MPI_PROC_NULL, 0,
                  dist->sequence, &request[1]);
        pal_dist_wait(dist, 2, request);
        if (sending) out += n, sent -= n;
        if (receiving) in += m, received -= m;
        sending = sending && sent > 0;
        receiving = receiving && received > 0;
    }
}

/* ---- Life ---- */

/* Whether mpirun or srun has started this process. */
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
 * The sum of a bucket that is on its way, by halves of it that are halved again. What Open MPI 4.1
 * takes by default made a step of two ranks longer than sums that are waited for do; with this it
 * is about as long (bench/dist). Not where the user has said something else.
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
    if (!up) pal_h5_begin();
    if (!up) MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level);
    d->started = !up;
    d->parallel = true;
    MPI_Comm_rank(MPI_COMM_WORLD, &d->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &d->size);
    MPI_Comm_dup(MPI_COMM_WORLD, &d->world);
    MPI_Comm_dup(MPI_COMM_WORLD, &d->watch);
}

/* Frees d, which may be half made, and says so to pal_dist_abort. */
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
                    .sequence = MPI_COMM_NULL,
                    .watch = MPI_COMM_NULL};
    if (has_others()) start_mpi(d);
    pal_status s = pal_watch_start(d, error);
    if (s == PAL_OK) s = check(d, error);
    d->gathered = pal_malloc((size_t)d->size * PAL_DIST_NUMBERS * sizeof(double));
    if (s == PAL_OK && !d->gathered)
        s = pal_error_set(error, PAL_ENOMEM, "dist_start: out of memory");
    if (d->parallel) s = pal_mpi_agree(&d->world, s, error);
    if (s != PAL_OK) return give_up(d, s, error);
    /* Ranks that differ in these would wait for each other for ever. */
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
    pal_dist_reduce_end(d); /* of sums that are still on their way */
    pal_reduction_free(d->reduction);
    pal_shard_free(d);
    pal_watch_end(d);
    if (d->parallel) {
        drop(&d->world);
        drop(&d->gradients);
        drop(&d->sequence);
    }
    if (d->started) MPI_Finalize();
    pal_free(d->gathered, (size_t)d->size * PAL_DIST_NUMBERS * sizeof(double));
    pal_free(d, sizeof *d);
}
