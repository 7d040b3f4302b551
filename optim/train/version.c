/*
 * version.c - the version of this code. The Makefile writes the commit to a header that only this
 * file includes, so that a new commit recompiles nothing else.
 */
#include "optim/train.h"

#include "commit.h"

const char *pal_code_version(void) { return PAL_VERSION PAL_COMMIT; }
