/*
 * comm.h - processes that share one problem, as layers see them.
 *
 * A pal_comm is a rank among some and one way to move bytes between them. Who fills it decides how
 * they travel; layers know no more of it than this.
 */
#ifndef PAL_COMM_H
#define PAL_COMM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Some ranks and a way between them; see above. */
typedef struct pal_comm pal_comm;
struct pal_comm {
    int rank; /* of this process, 0 .. size - 1 */
    int size; /* how many there are */
    /*
     * Sends `sent` bytes to rank `to` and receives `received` bytes from rank `from`, both at once;
     * -1: neither. Returns when both are done. An error ends the job. Called from one thread, in
     * the same order on both sides.
     */
    void (*exchange)(const pal_comm *comm, int to, const void *send, size_t sent, int from,
                     void *receive, size_t received);
    void *user; /* of who fills it */
};

#ifdef __cplusplus
}
#endif
#endif
