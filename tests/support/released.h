/*
 * released.h - folders of released models for tests: copies with changes, and what they share. All
 * functions end the test where something fails.
 */
#ifndef PAL_TESTS_RELEASED_H
#define PAL_TESTS_RELEASED_H

#include "layers/layers.h"
#include "tensor/files/weights.h"

enum { RELEASED_TENSORS = 256 };

extern char released_scratch[]; /* a folder, between setup and teardown */
extern pal_error released_error;
extern const pal_lm_open_opts released_bare; /* without a tokenizer */

void released_setup(void);
void released_teardown(void);

/* FOLDER/NAME; valid for a few further calls. */
const char *released_at(const char *folder, const char *name);
/* The folder of a model in tests/data. */
const char *released_source(const char *model);
/* A file of less than 4 MiB, for free(). */
char *released_read(const char *path, size_t *size);
void released_write(const char *path, const char *text, size_t size);
void released_same_file(const char *a, const char *b);
void released_same_params(const pal_params *a, const pal_params *b);

/* What is other in a copy of a folder. */
typedef struct released_change {
    const char *old, *new;     /* of config.json */
    const char *drop, *rename; /* a tensor; its new name */
    const char *dtype;         /* of that tensor, whose bits stay */
    int64_t rows;              /* of that tensor: its first ones only */
    const char *twice;         /* a tensor that is there once more, as `rename` */
    bool spoil;                /* the first bit of that one is another */
} released_change;

/* The tensors of a folder, changed; returns their number. */
int64_t released_tensors(const pal_weights *w, released_change c, pal_stored all[RELEASED_TENSORS]);
/* Writes tensors; c NULL: as they are. */
void released_write_tensors(const char *path, int64_t n, const pal_stored *all,
                            const released_change *c);
/* Writes the changed config.json. */
void released_config(const char *from, const char *to, released_change c);
/* A changed copy in the scratch folder: config.json and model.safetensors. */
const char *released_changed(const char *model, released_change c);
/* Opens a folder without its tokenizer. */
pal_lm_file released_open(const char *path);
/* A changed copy is refused by a sentence with these words, and nothing is loaded. */
void released_refused(const char *model, released_change c, const char *words);

#endif
