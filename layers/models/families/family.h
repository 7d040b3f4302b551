/*
 * family.h - models that others have released: what their config.json says, and how their tensors
 * are named. A family is one small file with tables; config.c, names.c and folder.c obey them.
 */
#ifndef PAL_MODELS_FAMILY_H
#define PAL_MODELS_FAMILY_H

#include "layers/model.h"
#include "tensor/files/json.h"
#include "tensor/keys.h"

/* ---- What a family says of config.json ---- */

/* A key that is not obeyed: it may only have one of these values, as JSON or without quotation
 * marks ("silu|swish", "false"), be null or be missing. */
typedef struct pal_fixed {
    const char *key, *values;
} pal_fixed;

enum { PAL_CONFIG_NEEDED = 1 }; /* the tag of a key that has to be there */

/*
 * One object of the file, by its path "text_config.rope_parameters" below the object that
 * describes the model. Any key that is not in one of the lists is told in a warning. The lists of
 * names have blanks between them.
 */
typedef struct pal_section {
    const char *path;       /* "": that object itself */
    const pal_keys *keys;   /* that are read into the family's struct; NULL: none */
    const pal_fixed *fixed; /* ends with {NULL, NULL}; NULL: none */
    const char *own;        /* that `describe` reads, and objects that have a section; NULL: none */
    const char *free;       /* that do not matter; NULL: none */
} pal_section;

/* ---- What a family says of its tensors ---- */

/*
 * Parameters of ours, and the tensors that hold their numbers, each with blanks between several:
 * end to end along the first axis, both are the same matrix. A name that begins with a dot goes on
 * behind "model.layers.I" (ours) or "^layers.I" (theirs) for block I; ^ is the family's prefix. At
 * the end of a single name * stands for whatever ours has there. Where several rows have the same
 * parameter, it is the first one whose tensors are there.
 */
typedef struct pal_spelling {
    const char *mixer; /* only in blocks whose mixer has this name; NULL: in all */
    const char *ours, *theirs;
} pal_spelling;

/* ---- A family ---- */

enum { PAL_BLOCK_KINDS = 4, PAL_BLOCK_TEXT = 1024, PAL_FOLDER_LAYERS = 4096 };

/* What config.json says, in our terms. */
typedef struct pal_described {
    pal_lm_opts opts; /* mixers is made of what follows */
    unsigned char kind[PAL_FOLDER_LAYERS];
    char text[PAL_BLOCK_KINDS][PAL_BLOCK_TEXT]; /* the entry in the list of mixers of each kind */
} pal_described;

/* The file while it is read. */
typedef struct pal_config {
    const pal_json *root;  /* all of it */
    const pal_json *model; /* the object that describes the model */
    FILE *notes;           /* warnings go there, a line each */
} pal_config;

typedef struct pal_family {
    const char *name;  /* in messages: "Qwen3.5" */
    const char *types; /* values of model_type, "a|b"; "": it is missing */
    const char *sign; /* a key by path, or "key=text", that tells it from others of that type; NULL:
                         none */
    const char *inside; /* the key of the model's object, where it is not the file's; NULL: none */
    const pal_section *outside; /* of the file, where the model has an object of its own */
    const pal_section *sections;
    int section_count;
    size_t size;          /* of the struct of its keys */
    const void *defaults; /* what a key that is missing or null means */
    const pal_spelling *spellings;
    int spelling_count;
    const char *prefixes; /* what ^ may be, "a|b"; the first that begins a tensor's name is taken */
    const char *left_out; /* beginnings of names of tensors that are no part of the model, "a|b" */
    /* Fills *d, which has the layers of d->opts.layers and is zero otherwise. */
    pal_status (*describe)(const pal_config *c, const void *values, pal_described *d,
                           pal_error *error);
} pal_family;

#define PAL_FAMILY(name) extern const pal_family pal_family_##name;
#include "layers/models/families/families.def"

extern const pal_family pal_family_plain; /* of files that have no config.json */

/* ---- For `describe` (describe.c) ---- */

/* The number of a word in "a|b", or with another character between them; -1: it is none. */
int pal_word_of(const char *words, char between, const char *text);

/* PAL_EFORMAT with a message that begins "config.json: ". */
pal_status pal_config_bad(pal_error *error, const char *format, ...) PAL_PRINTF(2, 3);
/* The value of a key of the model's object by path; NULL: it is missing or null. */
const pal_json *pal_config_get(const pal_config *c, const char *path);
/*
 * Sets d->kind by a list of words, one for each of d->opts.layers: word i of "a|b|c|d" means kind i
 * modulo `kinds`. Where the key is missing or null, it leaves d->kind as it is. PAL_EFORMAT names a
 * word that is another.
 */
PAL_CHECKED pal_status pal_config_layers(const pal_config *c, const char *key, const char *words,
                                         int kinds, pal_described *d, pal_error *error);
/* The bounds [low, high] of a key, as they stand or as {"__float__": "Infinity"}; unchanged where
 * it is missing or null. */
PAL_CHECKED pal_status pal_config_bounds(const pal_config *c, const char *key, double *low,
                                         double *high, pal_error *error);
/* The `count` numbers above 0 of a list; unchanged where it is missing or null. */
PAL_CHECKED pal_status pal_config_reals(const pal_config *c, const char *key, int count, double *to,
                                        pal_error *error);
/* Adds to the text of a kind of block: the mixer's name, that of another one whose output is added
 * (the keys that follow are its own), and keys with values. */
void pal_entry_begin(pal_described *d, int kind, const char *mixer);
void pal_entry_more(pal_described *d, int kind, const char *mixer);
void pal_entry_word(pal_described *d, int kind, const char *key, const char *value);
void pal_entry_whole(pal_described *d, int kind, const char *key, int64_t value);
void pal_entry_real(pal_described *d, int kind, const char *key, double value);
void pal_entry_flag(pal_described *d, int kind, const char *key, bool value);

/* ---- All of it (config.c) ---- */

/*
 * Reads a config.json: its family, and what that makes of it. Every warning is a line of *notes.
 * *mixers is the list of mixers, for free(), and d->opts.mixers points at it. PAL_EFORMAT,
 * PAL_ENOMEM.
 */
PAL_CHECKED pal_status pal_config_read(const pal_json *root, FILE *notes, const pal_family **family,
                                       pal_described *d, char **mixers, pal_error *error);

#endif
