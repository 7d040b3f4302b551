/*
 * key.h - tables of options: which options a struct has, what values they can have, and which field
 * each of them sets. Mixers of one's own (layers/own.h) have such a table.
 *
 *     typedef struct opts { int64_t heads; double eps; } opts;
 *     static const pal_key rows[] = {
 *         {"heads", PAL_KEY_WHOLE, PAL_AT(opts, heads), .low = 1, .high = 64},
 *         {"eps", PAL_KEY_REAL, PAL_AT(opts, eps), .high = 1, .open = PAL_OPEN_LOW},
 *     };
 *     static const pal_keys keys = PAL_KEYS(rows);
 *
 * Numbers are read and written with a decimal point whatever locale the program has set. Defaults
 * are not in the table; the code that makes the struct fills them in.
 */
#ifndef PAL_TENSOR_KEY_H
#define PAL_TENSOR_KEY_H

#include "tensor/tensor.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a value is, and the type of its field. */
typedef enum pal_key_kind {
    PAL_KEY_WHOLE,    /* int64_t or int; with `words`, these are -1, -2, ... beside the numbers */
    PAL_KEY_UNSIGNED, /* uint64_t, without bounds */
    PAL_KEY_REAL,     /* double, finite */
    PAL_KEY_FLAG,     /* bool: true or false */
    PAL_KEY_NOT,      /* bool that holds the opposite of what the text says */
    PAL_KEY_CHOICE,   /* int, enum or bool: the number of a word, counted from `low` */
    PAL_KEY_SET,      /* unsigned: bit i is word i; the text is a list of words, without repeats */
    PAL_KEY_TEXT,     /* char[]; with `words`, it is one of them */
    PAL_KEY_STRING,   /* const char *, which is left pointing at the text that was set: not for
                         pal_keys_read, whose texts are gone afterwards; `words` as of a text */
    PAL_KEY_WHOLES,   /* struct { int64_t count; int64_t of[N]; }: a list with commas between */
    PAL_KEY_REALS     /* struct { int64_t count; double of[N]; } */
} pal_key_kind;

/* Which bounds are excluded: a number must be above `low` or below `high`. */
typedef enum pal_key_open {
    PAL_OPEN_NONE = 0, /* none: low and high are allowed */
    PAL_OPEN_LOW = 1,  /* low */
    PAL_OPEN_HIGH = 2, /* high */
    PAL_OPEN_BOTH = 3  /* both */
} pal_key_open;

/* One option. Only the first three fields are always needed. */
typedef struct pal_key {
    const char *name;  /* how text calls it */
    pal_key_kind kind; /* what its value is */
    size_t offset;     /* of the field: PAL_AT(struct, field) gives both */
    size_t size;       /* its bytes */
    double low;        /* bounds of a number, or of each number in a list; both 0: no bounds */
    double high;       /* the upper one */
    pal_key_open open; /* which bounds are excluded */
    bool required;     /* a text or a list is not empty */
    bool sparse;       /* a number, flag or text that files do not name while it is 0, false or
                          empty */
    bool joins;        /* a text that a command line has again is added, after a comma */
    const char *words; /* "silu|sigmoid|none" */
    /* An extra check of a text: PAL_OK, or an error that says what is wrong with it. */
    pal_status (*check)(const char *text, pal_error *error);
    /* What such a text can begin with, i from 0, NULL at the end: a command line's help lists it.
     */
    const char *(*names)(int i);
    int tag;              /* for the owner of the table */
    char letter;          /* the short name on a command line; 0: none */
    const char *argument; /* how a command line calls the value: "N" */
    const char *help;     /* how a command line explains it */
} pal_key;
/* The field of a struct that a key sets. */
#define PAL_AT(type, field_) .offset = offsetof(type, field_), .size = sizeof(((type *)0)->field_)

/* A table of options. */
typedef struct pal_keys {
    int count;          /* of rows */
    const pal_key *key; /* the rows */
} pal_keys;
/* The table of an array of keys. */
#define PAL_KEYS(rows)                             \
    {                                              \
        (int)(sizeof(rows) / sizeof *(rows)), rows \
    }

#ifdef __cplusplus
}
#endif
#endif
