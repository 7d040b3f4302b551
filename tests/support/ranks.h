/*
 * ranks.h - checks in programs of several processes, which Check does not run.
 */
#ifndef TESTS_RANKS_H
#define TESTS_RANKS_H

#include <palimpsest.h>

/* Prints what is wrong, and with report() makes the program fail. */
#define expect(holds, ...) expect_at(__FILE__, __LINE__, (holds), __VA_ARGS__)
void expect_at(const char *file, int line, bool holds, const char *format, ...) PAL_PRINTF(4, 5);
/* The status of the program: 0 if all held. */
int report(void);

#endif
