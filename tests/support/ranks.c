/*
 * ranks.c - checks in programs of several processes.
 */
#include "tests/support/ranks.h"

#include <stdarg.h>
#include <stdlib.h>

static int wrong;

void expect_at(const char *file, int line, bool holds, const char *format, ...)
{
    if (holds) return;
    char text[1200];
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "%s:%d: rank %s: %s\n", file, line, rank ? rank : "0", text);
    wrong++;
}

int report(void) { return wrong ? EXIT_FAILURE : EXIT_SUCCESS; }
