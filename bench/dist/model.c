/*
 * model.c - the cost model of docs/distributed.md.
 */
#include "bench/dist/model.h"

static int rounds(int ranks)
{
    int n = 0;
    while (1 << n < ranks) n++;
    return n;
}

/* Seconds in which `ranks` sum n bytes: recursive halving and doubling (Rabenseifner 2004), 2
 * log2(ranks) messages that carry 2 n (1 - 1 / ranks) bytes altogether. */
static double all_reduce_seconds(link_t link, int ranks, double bytes)
{
    return 2 * rounds(ranks) * link.latency + 2 * bytes * (1 - 1.0 / ranks) / link.bandwidth;
}

double data_parallel_seconds(const step_times *step, link_t link, int ranks, int blocking)
{
    double free_at = 0; /* the link */
    for (int b = 0; b < step->buckets; b++) {
        const double ready = blocking ? step->seconds : step->ready[b];
        free_at =
            (ready > free_at ? ready : free_at) + all_reduce_seconds(link, ranks, step->bytes[b]);
    }
    return free_at > step->seconds ? free_at : step->seconds;
}

double sequence_seconds(link_t link, int ranks, double map_bytes, double state_bytes)
{
    return rounds(ranks) * (link.latency + map_bytes / link.bandwidth) + link.latency +
           state_bytes / link.bandwidth;
}
