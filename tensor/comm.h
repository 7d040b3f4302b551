/*
 * comm.h - processes that work on one problem, as layers see them.
 *
 * A pal_comm describes one rank in a group and a way to exchange bytes between the ranks. The code
 * that fills it decides how the bytes travel; layers know nothing else about it.
 */
#ifndef PAL_COMM_H
#define PAL_COMM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A group of ranks and a way to exchange bytes between them. */
typedef struct pal_comm pal_comm;
struct pal_comm {
    int rank; /* of this process, 0 .. size - 1 */
    int size; /* the number of ranks */
    /*
     * Sends `sent` bytes to rank `to` and at the same time receives `received` bytes from rank
     * `from`. A rank of -1 leaves out that half. Returns when both are done. An error ends the job.
     * It is called from one thread, in the same order on both sides.
     */
    void (*exchange)(const pal_comm *comm, int to, const void *send, size_t sent, int from,
                     void *receive, size_t received);
    void *user; /* for the code that fills it */
};

#ifdef __cplusplus
}
#endif
#endif
