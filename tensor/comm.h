/*
 * comm.h - processes that share one problem, as layers see them.
 */
#ifndef PAL_COMM_H
#define PAL_COMM_H

#include <stddef.h>

/* Processes that share one problem, as layers see them; optim/dist.c fills it from MPI. */
typedef struct pal_comm pal_comm;
struct pal_comm {
    int rank, size;
    /* Sends `sent` bytes to rank `to` and receives `received` bytes from rank `from`, both at once;
     * -1: neither. An error ends the job. Called from one thread. */
    void (*exchange)(const pal_comm *comm, int to, const void *send, size_t sent, int from,
                     void *receive, size_t received);
    void *user;
};

#endif
