/*
 * version.c - which code this is. The Makefile writes the commit to a header that only this file
 * includes, so that a commit recompiles nothing else.
 */
#include "optim/train.h"

#include "commit.h"

const char *pal_code_version(void) { return PAL_VERSION PAL_COMMIT; }
