/*
 * keep.h - texts of any length that live as long as the program, so that options can be copied.
 */
#ifndef LM_KEEP_H
#define LM_KEEP_H

#include <stddef.h>

/* A copy of the first n bytes of a text, with a NUL at the end. Equal texts get the same copy. If
 * there is no memory, the program ends. */
const char *lm_keep(const char *text, size_t n);

#endif
