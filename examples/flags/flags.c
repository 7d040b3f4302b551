/*
 * flags.c - rows of argp for rows of tables.
 */
#include "examples/flags/flags.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST = 1000 }; /* argp's key of row 0, where it has no letter */

const pal_key *flags_row(const flags_section *section, int sections, int i, size_t *offset)
{
    for (int s = 0; s < sections; s++) {
        *offset = section[s].offset;
        if (i < section[s].keys->count) return &section[s].keys->key[i];
        i -= section[s].keys->count;
    }
    return NULL;
}

int flags_find(const flags_section *section, int sections, const char *name)
{
    size_t offset;
    const pal_key *key;
    for (int i = 0; (key = flags_row(section, sections, i, &offset)); i++)
        if (strcmp(key->name, name) == 0) return i;
    return -1;
}

pal_status flags_set(const flags_section *section, int sections, int i, void *to,
                     const char *prefix, const char *value, pal_error *error)
{
    size_t offset;
    const pal_key *row = flags_row(section, sections, i, &offset);
    const pal_keys one = {1, row};
    return pal_keys_set(&one, (char *)to + offset, prefix, row->name, value, error);
}

pal_status flags_unknown(const flags_section *section, int sections, const char *prefix,
                         const char *name, pal_error *error)
{
    char names[1024];
    size_t offset, n = 0;
    const pal_key *key;
    for (int i = 0; (key = flags_row(section, sections, i, &offset)) && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", key->name);
    return pal_error_set(error, PAL_EVALUE, "%sthere is no flag '%.100s'; there are %s", prefix,
                         name, names);
}

bool flags_given(const flags *f, const char *name)
{
    const int i = flags_find(f->section, f->sections, name);
    return i >= 0 && f->given >> i & 1;
}

/* What a flag cannot have is wrong use, with argp's status; no memory is not. */
static void refuse(struct argp_state *state, const pal_error *error)
{
    if (error->status != PAL_ENOMEM) argp_error(state, "%s", error->message);
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, error->message);
    exit(EXIT_FAILURE);
}

/* What the field has, and more of it, for free(). */
static char *join(const pal_key *row, const void *to, size_t offset, const char *more)
{
    const char *has = (const char *)to + offset + row->offset;
    char *joined;
    if (asprintf(&joined, "%s,%s", has, more) >= 0) return joined;
    fprintf(stderr, "%s: out of memory\n", program_invocation_short_name);
    exit(EXIT_FAILURE);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    flags *f = state->input;
    pal_error error;
    size_t offset = 0;
    const pal_key *row = NULL;
    int i = 0;
    while ((row = flags_row(f->section, f->sections, i, &offset)) &&
           key != (row->letter ? row->letter : FIRST + i))
        i++;
    if (!row) return ARGP_ERR_UNKNOWN;
    char *joined = row->joins && f->given >> i & 1 ? join(row, f->to, offset, text) : NULL;
    const char *value = joined ? joined : text ? text : "true";
    if (flags_set(f->section, f->sections, i, f->to, "--", value, &error) != PAL_OK)
        refuse(state, &error);
    free(joined);
    f->given |= (flags_mask)1 << i;
    return 0;
}

/* The help of a row; that of a row with names is written at *text, which moves on behind it. */
static const char *help_of(const pal_key *row, char **text, const char *end)
{
    if (!row->names) return row->help;
    char *help = *text, *at = help;
    at += snprintf(at, (size_t)(end - at), "%s. Names: ", row->help);
    for (int i = 0; at < end && row->names(i); i++)
        at += snprintf(at, (size_t)(end - at), "%s%s", i ? ", " : "", row->names(i));
    if (at >= end) abort(); /* FLAGS_TEXT is too small */
    *text = at + 1;
    return help;
}

void flags_begin(flags *f, const flags_section *section, int sections, void *to)
{
    struct argp_option *option = f->option;
    int i = 0, group = 0;
    char *text = f->text;
    *f = (flags){.section = section, .sections = sections, .to = to};
    for (int s = 0; s < sections; s++) {
        if (section[s].title)
            *option++ = (struct argp_option){.doc = section[s].title, .group = ++group};
        for (int k = 0; k < section[s].keys->count; k++, i++) {
            const pal_key *row = &section[s].keys->key[k];
            const bool is_switch = row->kind == PAL_KEY_FLAG || row->kind == PAL_KEY_NOT;
            const bool words = row->kind == PAL_KEY_CHOICE || row->kind == PAL_KEY_TEXT;
            if (i >= FLAGS_MOST) abort(); /* more room is needed above */
            *option++ = (struct argp_option){.name = row->name,
                                             .key = row->letter ? row->letter : FIRST + i,
                                             .arg = row->argument         ? row->argument
                                                    : is_switch           ? "BOOL"
                                                    : words && row->words ? row->words
                                                                          : "N",
                                             .flags = is_switch ? OPTION_ARG_OPTIONAL : 0,
                                             .doc = help_of(row, &text, f->text + FLAGS_TEXT),
                                             .group = group};
        }
    }
    f->argp = (struct argp){.options = f->option, .parser = parse};
}

void flags_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    const error_t why = argp_parse(argp, argc, argv, 0, NULL, input);
    if (why == 0) return;
    fprintf(stderr, "%s: the command line cannot be read: %s\n", program_invocation_short_name,
            strerror(why));
    exit(EXIT_FAILURE);
}
