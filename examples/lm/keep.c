/*
 * keep.c - texts that live as long as the program.
 */
#include "examples/lm/keep.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct kept {
    struct kept *next;
    char text[];
} kept;

const char *lm_keep(const char *text, size_t n)
{
    static kept *all;
    for (const kept *k = all; k; k = k->next)
        if (strlen(k->text) == n && memcmp(k->text, text, n) == 0) return k->text;
    kept *k = malloc(sizeof *k + n + 1);
    if (!k) {
        fprintf(stderr, "%s: out of memory for a text of %zu bytes\n",
                program_invocation_short_name, n);
        exit(EXIT_FAILURE);
    }
    memcpy(k->text, text, n);
    k->text[n] = '\0';
    k->next = all;
    all = k;
    return k->text;
}
