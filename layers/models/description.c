/*
 * description.c - what a model is made of, from the text of a configuration.
 *
 * The text has lines `name = value` and comments, which begin with #. It has all options of a
 * run; those of the model are read here.
 */
#include "layers/models/description.h"

#include <stdlib.h>
#include <string.h>

/* One line, which is cut in place; *seen has the keys of the lines before. */
static pal_status read_line(pal_lm_opts *o, char *line, int number, unsigned *seen,
                            pal_error *error)
{
    char *name, *value, prefix[32];
    pal_status s = pal_key_line(line, number, &name, &value, error);
    const int i = s == PAL_OK && name ? pal_keys_find(&pal_lm_keys, name) : -1;
    if (i < 0) return s; /* not of the model */
    snprintf(prefix, sizeof prefix, "line %d: ", number);
    if (*seen >> i & 1)
        return pal_error_set(error, PAL_EFORMAT, "%s%s is there twice", prefix, name);
    *seen |= 1u << i;
    s = pal_keys_set(&pal_lm_keys, o, prefix, name, value, error);
    if (s != PAL_OK && error) error->status = PAL_EFORMAT;
    return s == PAL_OK ? PAL_OK : PAL_EFORMAT;
}

pal_status pal_description_read(const char *text, pal_lm_opts *opts, char **copy, pal_error *error)
{
    unsigned seen = 0;
    pal_status s = PAL_OK;
    *opts = (pal_lm_opts){0};
    *copy = strdup(text);
    if (!*copy) return pal_error_set(error, PAL_ENOMEM, "out of memory for the configuration");
    char *rest = *copy, *line;
    for (int number = 1; s == PAL_OK && (line = strsep(&rest, "\n")); number++)
        s = read_line(opts, line, number, &seen, error);
    if (s == PAL_OK) return s;
    free(*copy);
    *copy = NULL;
    return s;
}
