/* team.h - teams of threads for what is no call of an operation, or says how many it may have. */
#ifndef PAL_TEAM_H
#define PAL_TEAM_H

#include "tensor/internal.h"

/* pal_team(work), with at most this number of threads instead of pal_threads(); below 1: those. */
int pal_team_of(int64_t work, int threads); /* (cpu.c) */
/* Fills memory with zeros by a team, and returns it. The system gives a page when it is first
 * touched, which is most of the time that opening a large model takes. (arena.c) */
void *pal_zero(void *memory, size_t size);

#endif
