/* most.h - how many flags a program can have, for sets of flags beside argp's header. */
#ifndef FLAGS_MOST_H
#define FLAGS_MOST_H

enum { FLAGS_MOST = 256 }; /* rows of all sections */

#endif
