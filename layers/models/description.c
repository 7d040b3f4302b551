/*
 * description.c - what a model is made of, from the text of a configuration.
 *
 * The text has lines `name = value` and comments, which begin with #. It is that of all flags of a
 * run; here are those of the model.
 */
#include "layers/models/lm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { TEXT, COUNT, REAL, SWITCH, DTYPE } kind;

static const struct key {
    const char *name;
    kind kind;
    size_t offset;
} keys[] = {
    {"mixers", TEXT, offsetof(pal_lm_opts, mixers)},
    {"layers", COUNT, offsetof(pal_lm_opts, layers)},
    {"width", COUNT, offsetof(pal_lm_opts, width)},
    {"mlp-width", COUNT, offsetof(pal_lm_opts, mlp_width)},
    {"no-mlp", SWITCH, offsetof(pal_lm_opts, no_mlp)},
    {"vocab", COUNT, offsetof(pal_lm_opts, vocab)},
    {"tie", SWITCH, offsetof(pal_lm_opts, tie)},
    {"norm-eps", REAL, offsetof(pal_lm_opts, norm_eps)},
    {"dtype", DTYPE, offsetof(pal_lm_opts, dtype)},
    {"recompute", SWITCH, offsetof(pal_lm_opts, recompute)},
};
enum { KEYS = sizeof keys / sizeof *keys };

/* false: the text is no such value. */
static bool set(pal_lm_opts *o, const struct key *key, const char *text)
{
    char *to = (char *)o + key->offset, *end;
    const bool yes = strcmp(text, "true") == 0, f64 = strcmp(text, "f64") == 0;
    const pal_dtype dtype = f64 ? PAL_F64 : PAL_F32;
    int64_t n;
    double x;
    switch (key->kind) {
    case TEXT:
        memcpy(to, &text, sizeof text);
        return *text != '\0';
    case COUNT:
        n = strtoll(text, &end, 10);
        memcpy(to, &n, sizeof n);
        return end != text && !*end && n >= 0 && n <= INT32_MAX;
    case REAL:
        x = strtod(text, &end);
        memcpy(to, &x, sizeof x);
        return end != text && !*end && isfinite(x) && x >= 0;
    case SWITCH:
        memcpy(to, &yes, sizeof yes);
        return yes || strcmp(text, "false") == 0;
    case DTYPE:
        memcpy(to, &dtype, sizeof dtype);
        return f64 || strcmp(text, "f32") == 0;
    }
    return false;
}

/* Removes blanks at both ends, in place; returns where the text begins then. */
static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t n = strlen(text);
    while (n && strchr(" \t\r", text[n - 1])) text[--n] = '\0';
    return text;
}

/* One line, which is cut in place; *seen has the keys of the lines before. */
static pal_status read_line(pal_lm_opts *o, char *line, int number, unsigned *seen,
                            pal_error *error)
{
    line = trim(line);
    char *equals = strchr(line, '=');
    if (!*line || *line == '#') return PAL_OK;
    if (!equals)
        return pal_error_set(error, PAL_EFORMAT, "line %d: '%.100s' is not 'name = value'", number,
                             line);
    *equals = '\0';
    const char *name = trim(line), *value = trim(equals + 1);
    int i = 0;
    while (i < KEYS && strcmp(keys[i].name, name) != 0) i++;
    if (i == KEYS) return PAL_OK; /* not of the model */
    if (*seen >> i & 1)
        return pal_error_set(error, PAL_EFORMAT, "line %d: %s is there twice", number, name);
    if (!set(o, &keys[i], value))
        return pal_error_set(error, PAL_EFORMAT, "line %d: %s = %.200s: not a value it can have",
                             number, name, value);
    *seen |= 1u << i;
    return PAL_OK;
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
