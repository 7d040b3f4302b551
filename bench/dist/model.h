/*
 * model.h - predicts how long a step of data-parallel or sequence-parallel training takes on many
 * nodes, from measurements on a few.
 */
#ifndef PAL_BENCH_DIST_MODEL_H
#define PAL_BENCH_DIST_MODEL_H

#include <stdint.h>

/* A link between two ranks. */
typedef struct link {
    const char *name;
    double latency;   /* seconds, of the shortest message */
    double bandwidth; /* bytes a second, of the longest */
} link_t;

/* One step of one rank, without others. */
typedef struct step_times {
    double seconds;      /* all of it */
    int buckets;         /* of gradients, in the order they are sent in */
    const double *ready; /* seconds after the step's start at which each is complete */
    const double *bytes;
} step_times;

/* Seconds of the step on so many ranks: a bucket is sent when it is complete and those before it
 * are there. blocking: none before the step's arithmetic is over. */
double data_parallel_seconds(const step_times *step, link_t link, int ranks, int blocking);

/* Seconds that one layer's state takes to come in, forward: ceil(log2(ranks)) rounds of a map M, N
 * and one of a state. */
double sequence_seconds(link_t link, int ranks, double map_bytes, double state_bytes);

#endif
