/*
 * comma.h - a locale whose numbers have a decimal comma, for the tests.
 */
#ifndef TESTS_COMMA_H
#define TESTS_COMMA_H

#include <stdbool.h>

/* Sets such a locale for this process; the first test that asks makes it in the build folder. false
 * with a line "note: ...": it cannot be had here. */
bool comma_locale(void);
/* Whether printf of this thread writes a comma. */
bool comma_in_force(void);

#endif
