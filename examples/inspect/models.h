/*
 * models.h - the models that inspect looks at, one after the other (source.c).
 */
#ifndef INSPECT_MODELS_H
#define INSPECT_MODELS_H

#include "examples/inspect/look.h"
#include "examples/lm/open.h"

/* A model that is there, with what it knows of its tokens. */
typedef struct source_model {
    lm_options o;
    const char *checkpoint; /* NULL: it is a fresh one */
    pal_lm_file file;       /* of a fresh one too, without description */
} source_model;

/* Something that is done with each model; `name` is the shortest that tells it from the others. */
typedef pal_status source_fn(void *user, const source_opts *o, source_model *m, const char *name,
                             pal_error *error);
/* Opens or makes the models that the options ask for, each after the one before was closed. */
PAL_CHECKED pal_status source_each(const source_opts *o, source_fn *fn, void *user,
                                   pal_error *error);
/* The tokens of the options for a model; rows_free frees them. */
PAL_CHECKED pal_status source_rows(rows *r, const source_opts *o, const source_model *m,
                                   pal_error *error);

#endif
