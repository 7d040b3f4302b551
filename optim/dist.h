/*
 * dist.h - one model trained by several processes (ranks) that MPI starts.
 *
 *     mpirun -n 4 program
 *
 *     pal_dist *dist;
 *     if (pal_dist_start(&dist, (pal_dist_opts){0}, &error) != PAL_OK) ...
 *     ...
 *     pal_dist_end(dist);
 *
 * Every rank holds the whole model and works on its part of each batch. docs/distributed.md
 * describes how ranks are started and what is promised. A program that was not started by mpirun or
 * srun is a single rank, and nothing here then calls MPI. In a library that was built
 * without MPI, pal_dist_start gives PAL_EVALUE to a process that is one of several.
 *
 * Functions marked "Together." must be called by all ranks, in the same order. The same holds for
 * every other call that calls one of them. All calls come from the thread that called
 * pal_dist_start.
 */
#ifndef PAL_DIST_H
#define PAL_DIST_H

#include "optim/optim.h"
#include "tensor/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The ranks of a job, as this one sees them. */
typedef struct pal_dist pal_dist;

/* How ranks share the work. Zero divides each batch by rows. */
typedef struct pal_dist_opts {
    int sequence_parallel; /* ranks that share each sequence; 0: 1. It must divide the number of
                              ranks. The rank is data_index * sequence_parallel + sequence_index */
    int64_t bucket;        /* bytes of gradients that are summed at a time; 0: 1 MiB */
    bool blocking;         /* sum only after backward, without overlap (for comparison) */
    bool shard; /* ZeRO stage 1: each rank keeps the optimiser's state of some parameters only */
} pal_dist_opts;

/*
 * Together. Starts MPI, unless it is already running or there are no other ranks: the environment
 * has none of OMPI_COMM_WORLD_SIZE, PMIX_RANK and PMI_RANK. Then this process is rank 0 of 1. It
 * sets OMPI_MCA_coll_libnbc_iallreduce_algorithm unless the user has set it; a program that starts
 * MPI itself should do the same.
 *
 * A rank that has to wait for another one for more than 30 s says which one on stderr, and goes on
 * waiting. PAL_PATIENCE in the environment sets the seconds; 0: it says nothing.
 *
 * Until pal_dist_end the default error handler calls pal_dist_abort: it ends all ranks and prints
 * the message once. Only one pal_dist may exist at a time. Errors are the same on all ranks:
 * PAL_EVALUE, PAL_ENOMEM. pal_dist_abort(NULL, message) then prints the message once.
 */
PAL_API PAL_CHECKED pal_status pal_dist_start(pal_dist **dist, pal_dist_opts opts,
                                              pal_error *error);
/* Together. Ends MPI if pal_dist_start started it; MPI cannot be started again. NULL is allowed. */
PAL_API void pal_dist_end(pal_dist *dist);

/* The number of this rank, from 0. In this and the next six functions `dist` may be NULL, which is
 * a single process. */
PAL_API int pal_dist_rank(const pal_dist *dist);
/* The number of ranks. */
PAL_API int pal_dist_size(const pal_dist *dist);
/* which part of the rows of a batch this rank has */
PAL_API int pal_dist_data_index(const pal_dist *dist);
/* The number of parts into which the rows of a batch are divided. */
PAL_API int pal_dist_data_count(const pal_dist *dist);
/* which part of each sequence this rank has */
PAL_API int pal_dist_sequence_index(const pal_dist *dist);
/* The number of parts into which each sequence is divided. */
PAL_API int pal_dist_sequence_count(const pal_dist *dist);
/* The ranks that share sequences with this one, for pal_run_opts. NULL if sequences are not
 * divided. */
PAL_API const pal_comm *pal_dist_sequence(const pal_dist *dist);

/* ---- All ranks ---- */

/* Together. x[i] becomes the sum of x[i] over all ranks. It is added in the order of ranks, so all
 * get the same bits. It is meant for few numbers: every rank receives those of all others. */
PAL_API void pal_dist_sum(pal_dist *dist, int n, double *x);
/* The same for integers. */
PAL_API void pal_dist_sum_i64(pal_dist *dist, int n, int64_t *x);
PAL_API void pal_dist_barrier(pal_dist *dist); /* Together. Waits until all ranks have called it. */
/* Together. All ranks get the `size` bytes that rank 0 has at data. */
PAL_API void pal_dist_broadcast(pal_dist *dist, void *data, size_t size);

/*
 * Together. All ranks get the same outcome: PAL_OK if every rank gives PAL_OK. Otherwise it is the
 * status and message of the first rank that does not; the message names that rank. *error is read
 * if status is not PAL_OK.
 */
PAL_API pal_status pal_dist_agree(pal_dist *dist, pal_status status, pal_error *error);
/*
 * Together. PAL_EVALUE on all ranks unless the text is the same on all of them. The message names
 * the first line that differs, the rank and both lines. `what` is the word for the text in the
 * message.
 */
PAL_API PAL_CHECKED pal_status pal_dist_same_text(pal_dist *dist, const char *what,
                                                  const char *text, pal_error *error);
/*
 * Together. The same for parameters. It compares name, type, shape, whether they are frozen, and
 * their values by CRC-32C. The message names the first parameter that differs, and the rank. Cost:
 * one pass over all values.
 */
PAL_API PAL_CHECKED pal_status pal_dist_same_params(pal_dist *dist, const pal_params *params,
                                                    pal_error *error);

/* ---- Gradients ---- */

/*
 * From now on pal_dist_reduce_begin and _end sum the gradients of these parameters over all ranks.
 * A second call replaces the parameters of the first.
 *
 * The memory of the gradients is cut into buckets in the reverse order of creation, because
 * backward completes most gradients in that order. A bucket holds neighbours in one block, up to
 * opts.bucket bytes. A larger parameter has a bucket of its own. Frozen parameters at the ends of a
 * bucket are left out. During the tape's backward pass each complete bucket is given to MPI, always
 * in the same order; between operations MPI is asked to make progress.
 *
 * All memory of this library for it is allocated here. The outcome is that of this rank only.
 * PAL_EVALUE for a parameter of 2^31 elements or more; PAL_ENOMEM.
 */
PAL_API PAL_CHECKED pal_status pal_dist_attach(pal_dist *dist, pal_params *params, pal_tape *tape,
                                               pal_error *error);
/*
 * Together. Call pal_dist_reduce_begin before the backward pass that completes the gradients of a
 * step, and pal_dist_reduce_end after it. With micro-batches it is the backward pass of the last
 * one. Between the two calls there is one backward pass or none. After the second call all
 * gradients are the sums over ranks, with the same bits on all of them. After pal_dist_shard only
 * the owner of a parameter has its sum; the other ranks have what they had.
 *
 * Between the two calls the library uses the callbacks of pal_params_on_grad and pal_tape_between.
 * It calls the program's callbacks that were set before, and restores them at the end. A program
 * that sets them in between only loses the overlap. Without attached parameters, or on one rank,
 * nothing happens.
 */
PAL_API void pal_dist_reduce_begin(pal_dist *dist);
/* Together. Waits until all sums are complete. */
PAL_API void pal_dist_reduce_end(pal_dist *dist);

/* Times and sizes of the last reduction; times are in seconds. */
struct pal_dist_times {
    double exposed;     /* waiting time after backward */
    double span;        /* from the start of the first bucket to the end of the last */
    double backward;    /* from pal_dist_reduce_begin to _end */
    int64_t bytes;      /* bytes of gradients */
    int buckets;        /* in how many pieces */
    int64_t operations; /* of the backward pass */
};
/* The times; zeros before the first reduction. */
PAL_API struct pal_dist_times pal_dist_times(const pal_dist *dist);

/* One bucket of the last reduction. With PAL_TRACE=dist in the environment they are printed on
 * stderr after each step. */
typedef struct pal_dist_bucket {
    int first;          /* index of its first parameter */
    int last;           /* index of its last parameter, >= first */
    int64_t bytes;      /* bytes of gradients */
    double started;     /* start, in seconds after pal_dist_reduce_begin */
    double finished;    /* when its end was noticed, likewise */
    int64_t operations; /* operations of the backward pass that had run at its start */
} pal_dist_bucket;
/* Points *buckets at them, until the next reduction, and returns their number. */
PAL_API int pal_dist_trace(const pal_dist *dist, const pal_dist_bucket **buckets);

/* ---- The optimiser's state over ranks ---- */

/*
 * Together. Divides the optimiser's state among the ranks, if opts.shard is set and there are
 * several ranks. Otherwise this function does nothing, and pal_dist_clip_grad_norm and
 * pal_dist_step do the same as pal_clip_grad_norm and pal_optim_step. Call it before the
 * optimiser's first step, and before a state is loaded into it.
 *
 * From then on each rank owns some of the parameters: only the owner keeps their moments and
 * updates them. Parameters are not cut, because Muon needs whole matrices. In each block of
 * pal_params a rank owns neighbouring parameters. The rank that owns the least so far gets the
 * first ones. So no rank has more moments than the mean plus about those of the largest parameter.
 * Buckets of gradients end where the owner changes. Only one optimiser can be divided at a time;
 * free it before pal_dist_end.
 *
 * Memory: the moments of a rank's parameters. The constructor has allocated all moments, and this
 * function frees the others. All ranks have the same outcome: PAL_EVALUE, or PAL_ENOMEM, after
 * which the optimiser cannot be used. Source: stage 1 of Rajbhandari et al. 2020 (arXiv
 * 1910.02054).
 */
PAL_API PAL_CHECKED pal_status pal_dist_shard(pal_dist *dist, pal_optim *optim, pal_error *error);
/* Together. pal_clip_grad_norm after pal_dist_reduce_end. Each rank sums the squares of the
 * gradients that it owns, and the sums are added in the order of ranks; all get the same bits. */
PAL_API double pal_dist_clip_grad_norm(pal_dist *dist, pal_params *params, double max_norm);
/* Together. pal_optim_step; afterwards all ranks have all values. */
PAL_API pal_status pal_dist_step(pal_dist *dist, pal_optim *optim, double lr);
/*
 * The rank that owns a parameter of the optimiser given to pal_dist_shard; -1: every rank has its
 * state.
 *
 *     bool mine = pal_dist_owner(dist, i) == pal_dist_rank(dist);
 */
PAL_API int pal_dist_owner(const pal_dist *dist, int param);

/*
 * Prints the message on stderr and ends all ranks with status 1; it does not return. Ranks other
 * than 0 wait a moment before they print, so that only one rank prints a failure that all have.
 */
PAL_API void pal_dist_abort(pal_dist *dist, const char *message);

#ifdef __cplusplus
}
#endif
#endif
