/*
 * axes.h - the lines of a study, and what axes make of them.
 */
#ifndef ABLATE_AXES_H
#define ABLATE_AXES_H

#include "examples/ablate/ablate.h"

enum { AXES_LINES = 1024 };

typedef struct axes_line {
    int number;
    char *name, *value;
    bool taken;  /* by a variant, as something of its own */
    size_t base; /* of variant.NAME: how long NAME was before the axes; 0: all of it */
} axes_line;

typedef struct axes_lines {
    const char *path;
    int n;
    axes_line line[AXES_LINES];
} axes_lines;

/* Replaces lines axis.NAME by the variants that they make. What a name has after `base` letters is
 * its place on the axes. */
void axes_expand(axes_lines *l);

#endif
