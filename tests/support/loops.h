/*
 * loops.h - for tests that assert something of each of very many values.
 *
 * Check writes a record of every assertion that holds, which takes two microseconds: a loop over a
 * million values would spend its time there. After this header only assertions that fail are
 * recorded. After a crash, Check then names the begin of the test and not the last assertion before
 * the crash.
 */
#ifndef PAL_TESTS_LOOPS_H
#define PAL_TESTS_LOOPS_H

#include <check.h>

/* All of Check's assertions are made of this one. */
#undef ck_assert_msg
#define ck_assert_msg(expr, ...) \
    ((expr) ? (void)0            \
            : _ck_assert_failed(__FILE__, __LINE__, "Assertion '" #expr "' failed", __VA_ARGS__))

#endif
