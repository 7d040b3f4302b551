/*
 * flags.h - tables of options (tensor/keys.h) as flags of a command line, through argp.
 *
 *     flags f;
 *     flags_begin(&f, sections, count, &options);
 *     flags_parse(&f.argp, argc, argv, &f);
 *
 * A program with flags that are no options (actions, names of files in order) has an argp of its
 * own with f.argp as a child, whose input is &f.
 */
#ifndef FLAGS_H
#define FLAGS_H

#include "examples/flags/most.h"
#include "tensor/keys.h"

#include <argp.h>

enum { FLAGS_TEXT = 2048 }; /* room for help with names */

/* Some options that belong together. */
typedef struct flags_section {
    const char *title; /* their heading in --help; NULL: they belong to the section before */
    const pal_keys *keys;
    size_t offset; /* of the struct of the keys in the struct of all options */
} flags_section;

typedef struct flags {
    const flags_section *section;
    int sections;
    void *to;               /* the struct of all options */
    bool given[FLAGS_MOST]; /* which rows were given, counted over all sections */
    struct argp argp;
    struct argp_option option[2 * FLAGS_MOST + 1];
    char text[FLAGS_TEXT]; /* the help of rows with names */
} flags;

/* Row i over all sections, and where its struct lies in `to`; NULL: there are not so many. */
const pal_key *flags_row(const flags_section *section, int sections, int i, size_t *offset);
/* The number of the row of that name; -1: there is none. */
int flags_find(const flags_section *section, int sections, const char *name);
/* Sets row i from text. PAL_EVALUE, as pal_keys_set. */
PAL_CHECKED pal_status flags_set(const flags_section *section, int sections, int i, void *to,
                                 const char *prefix, const char *value, pal_error *error);
/* Sets the error for a name that no row has, which lists all names. Returns PAL_EVALUE. */
pal_status flags_unknown(const flags_section *section, int sections, const char *prefix,
                         const char *name, pal_error *error);
/* A value that a flag cannot have ends the program with a message of argp. */
void flags_begin(flags *f, const flags_section *section, int sections, void *to);
/* argp_parse; lack of memory ends the program with a sentence. */
void flags_parse(const struct argp *argp, int argc, char **argv, void *input);
/* Whether the flag of that name was given. */
bool flags_given(const flags *f, const char *name);

#endif
