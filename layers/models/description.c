/*
 * description.c - what a model is made of, from the text of a configuration.
 *
 * The text has lines `name = value` and comments, which begin with #. It has all options of a
 * run; those of the model are read here.
 */
#include "layers/models/description.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = INT32_MAX };
static const pal_key rows[] = {
    {"mixers", PAL_KEY_STRING, PAL_AT(pal_lm_opts, mixers), .required = true,
     .check = pal_mixers_check, .argument = "LIST",
     .help = "layers' mixers: name[:key=value...], comma-separated, cycled over the layers; "
             "N*(LIST) repeats (gdn2)"},
    {"layers", PAL_KEY_WHOLE, PAL_AT(pal_lm_opts, layers), .high = MOST,
     .help = "number of blocks; 0: one for each entry of --mixers (2)"},
    {"width", PAL_KEY_WHOLE, PAL_AT(pal_lm_opts, width), .low = 1, .high = MOST,
     .help = "model width (64)"},
    {"mlp-width", PAL_KEY_WHOLE, PAL_AT(pal_lm_opts, mlp_width), .high = MOST,
     .help = "inner width of the MLPs (0: 8/3 of --width, up to a multiple of 32)"},
    {"no-mlp", PAL_KEY_FLAG, PAL_AT(pal_lm_opts, no_mlp),
     .help = "blocks of a mixer only, without an MLP"},
    {"vocab", PAL_KEY_WHOLE, PAL_AT(pal_lm_opts, vocab), .high = MOST,
     .help = "tokens that the model knows (0: those of the data)"},
    {"tie", PAL_KEY_FLAG, PAL_AT(pal_lm_opts, tie), .help = "the head is the embedding table"},
    {"norm-eps", PAL_KEY_REAL, PAL_AT(pal_lm_opts, norm_eps), .high = 1, .argument = "EPS",
     .help = "of the blocks' norms (0: 1e-5)"},
    {"dtype", PAL_KEY_CHOICE, PAL_AT(pal_lm_opts, dtype), .words = "f32|f64",
     .help = "of parameters and sums (f32)"},
    {"recompute", PAL_KEY_FLAG, PAL_AT(pal_lm_opts, recompute), .tag = PAL_LM_FREE,
     .help = "blocks are computed twice, and need less memory"},
};
const pal_keys pal_lm_keys = PAL_KEYS(rows);

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
