/*
 * dist_one.c - ranks in a build without MPI: this process is rank 0 of 1. It takes the place of
 * the other dist*.c files, which do the same on one rank and need MPI's header to be compiled.
 */
#include "optim/ranks/ranks.h"
#include "optim/optimisers/internal.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

struct pal_dist {
    pal_dist_opts opts;
    double gathered[PAL_DIST_NUMBERS];
};

static pal_dist *current; /* whose message the default error handler prints */

/* ---- Life ---- */

void pal_dist_abort(pal_dist *dist, const char *message)
{
    (void)dist;
    fflush(stdout);
    fprintf(stderr, "%s\n", message);
    exit(EXIT_FAILURE);
}

/* Stands in for the default error handler, with the words that several ranks use. */
static void end_all(const char *message)
{
    char text[sizeof(pal_error) + 64];
    snprintf(text, sizeof text, "palimpsest: rank 0: %s", message);
    pal_dist_abort(current, text);
}

/* Whether mpirun or srun has started other processes beside this one: each would train alone and
 * write the files of all. */
static bool has_others(void)
{
    static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};
    static const char *const ranks[] = {"PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};
    for (int i = 0; i < 3; i++) {
        const char *size = getenv(sizes[i]), *rank = getenv(ranks[i]);
        if ((size && strcmp(size, "1") != 0) || (rank && strcmp(rank, "0") != 0)) return true;
    }
    return false;
}

pal_status pal_dist_start(pal_dist **out, pal_dist_opts opts, pal_error *error)
{
    *out = NULL;
    if (current) return pal_error_set(error, PAL_EVALUE, "dist_start: it has been called already");
    if (has_others())
        return pal_error_set(error, PAL_EVALUE,
                             "dist_start: several processes were started, and this library was "
                             "built without MPI");
    if (opts.sequence_parallel == 0) opts.sequence_parallel = 1;
    if (opts.bucket == 0) opts.bucket = INT64_C(1) << 20;
    if (opts.sequence_parallel != 1)
        return pal_error_set(error, PAL_EVALUE,
                             "dist_start: sequence_parallel is %d, which does not divide the "
                             "number of ranks, 1",
                             opts.sequence_parallel);
    if (opts.bucket < 1)
        return pal_error_set(error, PAL_EVALUE, "dist_start: bucket is %lld bytes",
                             (long long)opts.bucket);
    pal_dist *d = pal_malloc(sizeof *d);
    if (!d) return pal_error_set(error, PAL_ENOMEM, "dist_start: out of memory");
    *d = (pal_dist){.opts = opts};
    current = d;
    pal_set_exit(end_all);
    *out = d;
    return PAL_OK;
}

void pal_dist_end(pal_dist *d)
{
    if (!d) return;
    pal_set_exit(NULL);
    current = NULL;
    pal_free(d, sizeof *d);
}

/* ---- The grid of one rank ---- */

int pal_dist_rank(const pal_dist *d) { return (void)d, 0; }
int pal_dist_size(const pal_dist *d) { return (void)d, 1; }
int pal_dist_sequence_count(const pal_dist *d) { return (void)d, 1; }
int pal_dist_sequence_index(const pal_dist *d) { return (void)d, 0; }
int pal_dist_data_index(const pal_dist *d) { return (void)d, 0; }
int pal_dist_data_count(const pal_dist *d) { return (void)d, 1; }
const pal_comm *pal_dist_sequence(const pal_dist *d) { return (void)d, NULL; }

/* ---- Sums and comparisons: those of one rank are what it has ---- */

const double *pal_dist_gather(pal_dist *d, int n, const double *x)
{
    return memcpy(d->gathered, x, (size_t)n * sizeof *x);
}

void pal_dist_sum(pal_dist *d, int n, double *x) { (void)d, (void)n, (void)x; }
void pal_dist_sum_i64(pal_dist *d, int n, int64_t *x) { (void)d, (void)n, (void)x; }
void pal_dist_barrier(pal_dist *d) { (void)d; }
void pal_dist_broadcast(pal_dist *d, void *data, size_t size) { (void)d, (void)data, (void)size; }

pal_status pal_dist_agree(pal_dist *d, pal_status status, pal_error *error)
{
    return (void)d, (void)error, status;
}

pal_status pal_dist_same_text(pal_dist *d, const char *what, const char *text, pal_error *error)
{
    return (void)d, (void)what, (void)text, (void)error, PAL_OK;
}

pal_status pal_dist_same_params(pal_dist *d, const pal_params *params, pal_error *error)
{
    return (void)d, (void)params, (void)error, PAL_OK;
}

/* ---- Gradients and the optimiser's state: nothing is divided ---- */

pal_status pal_dist_attach(pal_dist *d, pal_params *params, pal_tape *tape, pal_error *error)
{
    return (void)d, (void)params, (void)tape, (void)error, PAL_OK;
}

void pal_dist_reduce_begin(pal_dist *d) { (void)d; }
void pal_dist_reduce_end(pal_dist *d) { (void)d; }
struct pal_dist_times pal_dist_times(const pal_dist *d)
{
    return (void)d, (struct pal_dist_times){0};
}

void pal_dist_measure(pal_dist *d, bool on) { (void)d, (void)on; }
pal_squares pal_dist_own_square(const pal_dist *d) { return (void)d, (pal_squares){0}; }

int pal_dist_trace(const pal_dist *d, const pal_dist_bucket **buckets)
{
    *buckets = NULL;
    return (void)d, 0;
}

pal_status pal_dist_shard(pal_dist *d, pal_optim *optim, pal_error *error)
{
    return (void)d, (void)optim, (void)error, PAL_OK;
}

bool pal_dist_shards(const pal_dist *d, const pal_optim *optim)
{
    return (void)d, (void)optim, false;
}

int pal_dist_owner(const pal_dist *d, int param) { return (void)d, (void)param, -1; }

double pal_dist_grad_norm(pal_dist *d, const pal_params *params)
{
    return (void)d, pal_squares_root(pal_gradient_squares(params, NULL));
}

double pal_dist_clip_grad_norm(pal_dist *d, pal_params *params, double max_norm)
{
    return (void)d, pal_clip_grad_norm(params, max_norm);
}

pal_status pal_dist_try_step(pal_dist *d, pal_optim *optim, double lr, pal_error *error)
{
    return (void)d, pal_optim_try_step(optim, lr, error);
}

pal_status pal_dist_step(pal_dist *d, pal_optim *optim, double lr)
{
    return (void)d, pal_optim_step(optim, lr);
}

pal_status pal_dist_create(pal_dist *d, pal_h5 **file, const char *path, pal_error *error)
{
    return (void)d, pal_h5_create(file, path, error);
}

void pal_dist_place(pal_dist *d, const char *place, int64_t step)
{
    (void)d, (void)place, (void)step;
}
