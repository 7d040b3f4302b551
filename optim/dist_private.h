/*
 * dist_private.h - what the files of ranks share, with MPI's types in it: dist*.c only.
 */
#ifndef PAL_OPTIM_DIST_PRIVATE_H
#define PAL_OPTIM_DIST_PRIVATE_H

#include "optim/dist.h"
#include "tensor/internal.h"

#include <mpi.h>

enum { PAL_DIST_NUMBERS = 64 }; /* gathered from each rank at once */

struct pal_dist {
    pal_dist_opts opts;      /* with defaults filled in */
    int rank, size;          /* of the world */
    bool parallel;           /* MPI is up; else size is 1 and no communicator is there */
    bool started;            /* MPI_Init_thread was called here */
    MPI_Comm world;          /* all ranks: sums, texts, files */
    MPI_Comm gradients;      /* all ranks: the buckets, which may be under way meanwhile */
    MPI_Comm sequence;       /* those of this data_index */
    pal_comm parts;          /* the last, for layers */
    unsigned char *gathered; /* room for PAL_DIST_NUMBERS numbers of 8 bytes from each rank */
};

/* Together. n <= PAL_DIST_NUMBERS numbers of each rank: those of rank r at result + r * n, which
 * lies in dist->gathered. */
const double *pal_dist_gather(pal_dist *dist, int n, const double *x);

#endif
