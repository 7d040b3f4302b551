/*
 * team.h - teams of threads: how many threads work has, what memory they need, and how they wait
 * beside other programs.
 */
#ifndef PAL_TEAM_H
#define PAL_TEAM_H

#include "tensor/internal.h"

/* pal_team(work), with at most this number of threads instead of pal_threads(); below 1: those. */
int pal_team_of(int64_t work, int threads); /* (team.c) */
/* The most that pal_team_of can return: whether there is memory for the threads, and whether other
 * programs need the processors, is not asked. */
int pal_team_most(int64_t work, int threads);
/* For how many of `n` threads of libgomp there is memory. (stacks.c) */
int pal_stacks_left(int n);
/* Fills memory with zeros by a team, and returns it. The system gives a page when it is first
 * touched, which is most of the time that opening a large model takes. (arena.c) */
void *pal_zero(void *memory, size_t size);

/* ---- Beside other programs (share.c) ---- */

/* Called before the region of a team of this many threads: looks from time to time whether other
 * programs need the processors, lets threads that wait sleep while that is so, and returns it. */
bool pal_share_processors(int threads);

/* What is known of the other programs. All zero to begin with. */
typedef struct pal_sharing {
    double last;   /* seconds of the clock when it was looked at */
    double recent; /* processors taken away within about 0.1 s */
    long taken;    /* processors taken away since the process began */
    double until;  /* when it is looked whether the others have gone */
    double hold;   /* seconds till then */
    double ended;  /* when they had last gone */
    bool on;       /* threads that wait sleep */
} pal_sharing;

/* Whether threads that wait should sleep from now (seconds) on. `taken` processors have been taken
 * away from the process till now, whose team has `threads`; `crowded` says whether the machine has
 * more threads to run than processors. */
bool pal_sharing_next(pal_sharing *s, double now, long taken, int threads, bool (*crowded)(void));
/* Begins, and ends, that threads of libgomp that wait sleep at once, beside a team of so many.
 * False: there is no memory for it, or it is another runtime. */
bool pal_sleep_begin(int threads);
void pal_sleep_end(void);

#endif
