/* progress.h - a line on a terminal that says how far something is. */
#ifndef LM_PROGRESS_H
#define LM_PROGRESS_H

#include <palimpsest.h>

/*
 * For a pal_progress in bytes: writes "what: 1.2 of 3.4 GB" over itself on standard error, where
 * that is a terminal, once it has taken half a second. The last call, with `done` = `all`, takes
 * the line away. lm_progress_begin is called before.
 */
typedef struct lm_progress {
    const char *what;
    double began;
    bool shown;
} lm_progress;
lm_progress lm_progress_begin(const char *what);
/* `user` is a lm_progress. */
void lm_progress_show(void *user, int64_t done, int64_t all);

#endif
