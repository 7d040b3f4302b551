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
 * Every rank holds the whole model and works on its part of each batch. docs/distributed.md says
 * how ranks are started and what is promised. A program that was not started by mpirun or srun is
 * one rank, and nothing here then calls MPI. In a library that was built without MPI,
 * pal_dist_start gives PAL_EVALUE to a process that is one of several.
 *
 * Functions marked "together" are called by all ranks, in the same order; so is every other call
 * that leads to one. All are called from the thread that called pal_dist_start.
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

/* How ranks share the work; zero is one batch divided by rows. */
typedef struct pal_dist_opts {
    int sequence_parallel; /* ranks that share each sequence; 0: 1; has to divide the number of
                              ranks. World rank = data_index * sequence_parallel + sequence_index */
    int64_t bucket;        /* bytes of gradient reduced at once; 0: 1 MiB */
    bool blocking;         /* reduce after backward, nothing overlapped (to compare with) */
    bool shard; /* ZeRO stage 1: each rank keeps the optimiser's state of a part of the parameters
                 */
} pal_dist_opts;

/*
 * Together. Starts MPI, unless it is up or nothing says that there are other ranks (the environment
 * has none of OMPI_COMM_WORLD_SIZE, PMIX_RANK, PMI_RANK): then this process is rank 0 of 1. Unless
 * the user has, it sets OMPI_MCA_coll_libnbc_iallreduce_algorithm; who starts MPI does so too. From
 * here to pal_dist_end the default error handler ends all ranks, with its message once, by
 * pal_dist_abort. One pal_dist at a time. Errors, which all ranks have alike: PAL_EVALUE,
 * PAL_ENOMEM; pal_dist_abort(NULL, message) then tells them once.
 */
PAL_API PAL_CHECKED pal_status pal_dist_start(pal_dist **dist, pal_dist_opts opts,
                                              pal_error *error);
/* Together. Ends MPI if pal_dist_start started it; it cannot be started again. NULL is allowed. */
PAL_API void pal_dist_end(pal_dist *dist);

/* NULL is allowed as `dist` in these: a process alone. */
PAL_API int pal_dist_rank(const pal_dist *dist);
/* The number of ranks. */
PAL_API int pal_dist_size(const pal_dist *dist);
PAL_API int pal_dist_data_index(const pal_dist *dist); /* which part of the rows of a batch */
/* Into how many parts rows are divided. */
PAL_API int pal_dist_data_count(const pal_dist *dist);
PAL_API int pal_dist_sequence_index(const pal_dist *dist); /* which stretch of each sequence */
/* Into how many stretches each sequence is. */
PAL_API int pal_dist_sequence_count(const pal_dist *dist);
/* The ranks that share sequences with this one, for pal_run_opts; NULL when sequences are whole. */
PAL_API const pal_comm *pal_dist_sequence(const pal_dist *dist);

/* ---- All ranks ---- */

/* Together. x[i] becomes the sum of x[i] over all ranks, added in the order of ranks: all have the
 * same bits. For few numbers: every rank reads those of all. */
PAL_API void pal_dist_sum(pal_dist *dist, int n, double *x);
/* The same for integers. */
PAL_API void pal_dist_sum_i64(pal_dist *dist, int n, int64_t *x);
PAL_API void pal_dist_barrier(pal_dist *dist); /* Together. */
/* Together. The bytes of rank 0. */
PAL_API void pal_dist_broadcast(pal_dist *dist, void *data, size_t size);

/*
 * Together. All ranks have the outcome of all: PAL_OK if each of them gives PAL_OK, else status and
 * message of the first rank that does not, which is named. *error is read where status is not
 * PAL_OK.
 */
PAL_API pal_status pal_dist_agree(pal_dist *dist, pal_status status, pal_error *error);
/* Together. PAL_EVALUE on all ranks alike unless the text is the same on all: names the first line
 * that differs, the rank and both lines. `what` says in the sentence what the text is. */
PAL_API PAL_CHECKED pal_status pal_dist_same_text(pal_dist *dist, const char *what,
                                                  const char *text, pal_error *error);
/* Together. The same of parameters: name, type, shape, whether it is frozen and value, by CRC-32C;
 * names the first that differs, and the rank. Cost: a pass over all values. */
PAL_API PAL_CHECKED pal_status pal_dist_same_params(pal_dist *dist, const pal_params *params,
                                                    pal_error *error);

/* ---- Gradients ---- */

/*
 * From here on pal_dist_reduce_begin and _end sum the gradients of these parameters over
 * all ranks. The gradients' memory is cut into buckets in reverse order of creation, the order in
 * which backward completes most of them: neighbours of one block of up to opts.bucket bytes, larger
 * parameters alone, frozen ones left out at the ends of a bucket. While the tape's backward pass
 * runs, a bucket that is complete is given to MPI, always in the same order, and MPI is asked to
 * go on between operations. All memory of ours is asked for here. Again for others: these take the
 * place of those before. The outcome is this rank's alone. PAL_EVALUE for a parameter of 2^31
 * elements or more; PAL_ENOMEM.
 */
PAL_API PAL_CHECKED pal_status pal_dist_attach(pal_dist *dist, pal_params *params, pal_tape *tape,
                                               pal_error *error);
/*
 * Together. Before the backward pass that adds the last to the gradients of a step, and after it:
 * then all gradients are the sums over ranks, with the same bits on all of them (after
 * pal_dist_shard: each on its owner, and elsewhere what the rank had). One backward pass
 * (a step that has micro-batches: that of the last) or none lies between the two. In between the
 * callbacks of pal_params_on_grad and pal_tape_between are ours; those of the program, set before,
 * are called by ours, and put back at the end. A program that sets them in between takes the
 * overlap away and nothing else. Without attached parameters, or on one rank, nothing happens.
 */
PAL_API void pal_dist_reduce_begin(pal_dist *dist);
/* Waits until all sums are there. */
PAL_API void pal_dist_reduce_end(pal_dist *dist);

/* Of the last reduction, in seconds. */
struct pal_dist_times {
    double exposed;     /* waited after backward */
    double span;        /* from the start of the first bucket to the end of the last */
    double backward;    /* from pal_dist_reduce_begin to _end */
    int64_t bytes;      /* of gradients */
    int buckets;        /* in how many pieces */
    int64_t operations; /* of the backward pass */
};
/* The times; zeros before the first reduction. */
PAL_API struct pal_dist_times pal_dist_times(const pal_dist *dist);

/* A bucket of it. PAL_TRACE=dist in the environment prints these on stderr after each step. */
typedef struct pal_dist_bucket {
    int first;          /* its first parameter */
    int last;           /* its last parameter, >= first */
    int64_t bytes;      /* of gradients */
    double started;     /* seconds after pal_dist_reduce_begin */
    double finished;    /* the same, when the end was noticed */
    int64_t operations; /* of the backward pass that had run when it was started */
} pal_dist_bucket;
/* Returns how many there are, and where they lie until the next reduction. */
PAL_API int pal_dist_trace(const pal_dist *dist, const pal_dist_bucket **buckets);

/* ---- The optimiser's state over ranks ---- */

/*
 * Together, before the optimiser's first step and before a state is loaded into it. With opts.shard
 * and several ranks, each rank from here on owns a part of the parameters: it alone keeps their
 * moments and updates them. The parts are of whole parameters (Muon needs whole matrices): in each
 * block of pal_params a stretch of neighbours a rank, the first to who has least so far, so that no
 * rank has more than the mean and about the largest parameter's moments. The buckets of gradients
 * end where owners change. Otherwise nothing happens, here and in what the next two do beyond their
 * namesakes of optim.h. One optimiser at a time, which is freed before pal_dist_end.
 *
 * Memory: moments of about a rank-th of the parameters; the constructor has asked for all of them,
 * and the rest is given back. All ranks have the same outcome: PAL_EVALUE; PAL_ENOMEM, after which
 * the optimiser is of no more use.
 * Source: stage 1 of Rajbhandari et al. 2020 (arXiv 1910.02054).
 */
PAL_API PAL_CHECKED pal_status pal_dist_shard(pal_dist *dist, pal_optim *optim, pal_error *error);
/* Together. pal_clip_grad_norm after pal_dist_reduce_end: the squares of each rank's own gradients,
 * added in the order of ranks; all have the same bits. */
PAL_API double pal_dist_clip_grad_norm(pal_dist *dist, pal_params *params, double max_norm);
/* Together. pal_optim_step, after which all ranks have all values. */
PAL_API pal_status pal_dist_step(pal_dist *dist, pal_optim *optim, double lr);
/* The rank that owns a parameter of the optimiser given to pal_dist_shard; -1: all have it. */
PAL_API int pal_dist_owner(const pal_dist *dist, int param);

/*
 * Prints the message on stderr and ends all ranks with status 1; does not return. Ranks other than
 * 0 wait a moment before they print, so that of ranks that fail alike one tells.
 */
PAL_API void pal_dist_abort(pal_dist *dist, const char *message);

#ifdef __cplusplus
}
#endif
#endif
