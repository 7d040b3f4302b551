/* lossy.h - bytes that may be UTF-8, as text. */
#ifndef PAL_TENSOR_TEXT_LOSSY_H
#define PAL_TENSOR_TEXT_LOSSY_H

#include "tensor/tensor.h"

#define PAL_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/*
 * The text of what begins here: a character, or U+FFFD for bytes that begin none. Returns how many
 * bytes that takes; 0 if bytes that are missing could make it a character, unless `all` says that
 * none will come; `raw`: such bytes stand for themselves. Of bytes that are no UTF-8, those that
 * could begin a character are one U+FFFD (maximal subparts: Unicode, section 3.9).
 */
int64_t pal_lossy(const char *byte, int64_t left, bool all, bool raw, const char **text,
                  int64_t *size);

#endif
