/* dist_private.h - what the files dist*.c share; it uses types of MPI. */
#ifndef PAL_OPTIM_DIST_PRIVATE_H
#define PAL_OPTIM_DIST_PRIVATE_H

#include "optim/optimisers/internal.h"
#include "optim/ranks/ranks.h"
#include "tensor/internal.h"

#include <mpi.h>

enum { PAL_TALKERS = 2 };            /* the ranks that say which ones are missing */
enum { PAL_MOST_AT_ONCE = 1 << 30 }; /* bytes of a message: MPI counts in int */

struct pal_reduction; /* dist_reduce.c */
struct pal_shard;     /* dist_shard.c */

struct pal_dist {
    pal_dist_opts opts;      /* with defaults filled in */
    int rank, size;          /* in MPI_COMM_WORLD */
    bool parallel;           /* MPI is running; otherwise size is 1 and there is no communicator */
    bool started;            /* MPI_Init_thread was called by pal_dist_start */
    MPI_Comm world;          /* all ranks: sums, texts, files */
    MPI_Comm gradients;      /* all ranks: for the buckets, while `world` is used for other data */
    MPI_Comm sequence;       /* the ranks with this data_index */
    pal_comm parts;          /* the same ranks, for layers */
    unsigned char *gathered; /* room for PAL_DIST_NUMBERS numbers of 8 bytes from each rank */
    char agreed[sizeof(pal_error)];  /* the last message that all ranks have; "": none */
    struct pal_reduction *reduction; /* NULL: no parameters are attached */
    struct pal_shard *shard;         /* NULL: every rank has the optimiser's whole state */
    /* dist_wait.c */
    MPI_Comm watch;    /* all ranks: for what they tell of their waiting */
    double patience;   /* seconds before missing ranks are named; 0: they are not */
    double naps_after; /* seconds; a rank that has waited longer leaves the processor to others */
    uint64_t count;    /* number of waits so far */
    int *heard;        /* of each rank: its last word, 1: it waits, 0: it goes on */
    double let_go;     /* when a rank was last heard to go on */
    int waits;         /* the word of this rank */
    const char *place; /* with place_step, what this rank does: "the save of step"; NULL: unknown */
    int64_t place_step;
    int telling[PAL_TALKERS]; /* the last words that were sent, and their requests */
    MPI_Request told[PAL_TALKERS];
};

/* MPI_Waitall; after `patience` seconds it says which ranks are missing. */
void pal_dist_wait(pal_dist *dist, int n, MPI_Request *request);

/* Whether ranks that wait sleep, because of OMP_WAIT_POLICY=passive. */
bool pal_dist_naps(const pal_dist *d);
/* Together. All ranks get the `size` bytes of that rank. */
void pal_dist_bytes_of(pal_dist *dist, int rank, void *data, int size);
/* The outcome is that of this rank only. */
PAL_CHECKED pal_status pal_watch_start(pal_dist *dist, pal_error *error);
void pal_watch_end(pal_dist *dist);

/* What MPI calls a real type. */
static inline MPI_Datatype pal_dist_type(pal_dtype dtype)
{
    switch (dtype) {
    case PAL_F32:
        return MPI_FLOAT;
    case PAL_F64:
        return MPI_DOUBLE;
    case PAL_I64:
    case PAL_BF16:
        break;
    }
    pal_dtype_unknown(dtype, __func__);
}

/* Frees what pal_dist_attach made. NULL is allowed. */
void pal_reduction_free(struct pal_reduction *reduction);
/* Ends the division of an optimiser's state, if there is one. */
void pal_shard_free(pal_dist *dist);
/* The owner of each of these parameters; NULL: they have none. */
const int *pal_shard_owners(const pal_dist *dist, const pal_params *params);

#endif
