/* mask.h - a set of flags, by the numbers of their rows. */
#ifndef FLAGS_MASK_H
#define FLAGS_MASK_H

enum { FLAGS_MOST = 128 };            /* rows of all sections of a program */
typedef unsigned __int128 flags_mask; /* bit i: row i */

#endif
