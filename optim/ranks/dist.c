/*
 * dist.c - ranks: the grid they form, and the numbers they tell each other.
 *
 * Layers and the loop wait only for small data. Each rank gathers the numbers and adds them in the
 * order of ranks, so that all get the same bits. MPI's own errors end the job.
 */
#include "optim/ranks/dist_private.h"

#include <string.h>

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
    if (d->size == 1) {
        memcpy(all, x, (size_t)n * sizeof *x);
    } else {
        MPI_Request request;
        MPI_Iallgather(x, n, MPI_DOUBLE, all, n, MPI_DOUBLE, d->world, &request);
        pal_dist_wait(d, 1, &request);
    }
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
    MPI_Request request; /* exact in every order */
    MPI_Iallreduce(MPI_IN_PLACE, x, n, MPI_INT64_T, MPI_SUM, d->world, &request);
    pal_dist_wait(d, 1, &request);
}

void pal_dist_barrier(pal_dist *d)
{
    if (pal_dist_size(d) == 1) return;
    MPI_Request request;
    MPI_Ibarrier(d->world, &request);
    pal_dist_wait(d, 1, &request);
}

void pal_dist_bytes_of(pal_dist *d, int rank, void *data, int size)
{
    MPI_Request request;
    MPI_Ibcast(data, size, MPI_BYTE, rank, d->world, &request);
    pal_dist_wait(d, 1, &request);
}

void pal_dist_broadcast(pal_dist *d, void *data, size_t size)
{
    if (pal_dist_size(d) == 1) return;
    for (char *at = data; size > 0;) {
        const size_t n = size < PAL_MOST_AT_ONCE ? size : PAL_MOST_AT_ONCE;
        pal_dist_bytes_of(d, 0, at, (int)n);
        at += n, size -= n;
    }
}
