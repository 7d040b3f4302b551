/*
 * check.h - Check, for tests that assert something of each element.
 *
 * Check writes each assertion that holds to a pipe, so that after a crash it can say where the test
 * was. That is a system call, and for an element it takes longer than the test itself. Here the
 * places that were reached before are not written again: after a crash Check names the last place
 * that was new.
 */
#ifndef PAL_TESTS_CHECK_H
#define PAL_TESTS_CHECK_H

#include <check.h>

/* The last line written of those that leave the same remainder. Files are not told apart. */
enum { PAL_CHECK_LINES = 64 };
static _Thread_local int pal_check_lines[PAL_CHECK_LINES] __attribute__((unused));

#define _mark_point(file, line)                          \
    (pal_check_lines[(line) % PAL_CHECK_LINES] == (line) \
         ? (void)0                                       \
         : (pal_check_lines[(line) % PAL_CHECK_LINES] = (line), (_mark_point)(file, line)))

#endif
