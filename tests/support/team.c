/*
 * team.c - in tests, operations of 2^15 elements and more run on several threads already.
 */
#include "tensor/internal.h"

__attribute__((constructor)) static void small_teams(void) { pal_team_from(1 << 15); }
