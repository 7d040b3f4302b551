/* team.h - the number of threads of a call that says how many it may have (cpu.c). */
#ifndef PAL_TEAM_H
#define PAL_TEAM_H

#include "tensor/internal.h"

/* pal_team(work), with at most this number of threads instead of pal_threads(); below 1: those. */
int pal_team_of(int64_t work, int threads);

#endif
