/*
 * keys.h - options by name: one table says which options a struct has, what values they can have,
 * and which field each of them sets. It serves mixers ("gdn2:num_heads=4"), optimisers, tasks,
 * command lines, configuration files and studies.
 *
 * The header is not installed. Programs of examples/ and bench/ include it too. Numbers are read
 * and written with a decimal point whatever locale the program has set (tensor/number.h). Defaults
 * are not in the table; the code that makes the struct fills them in.
 *
 *     typedef struct opts { int64_t heads; double eps; } opts;
 *     static const pal_key rows[] = {
 *         {"heads", PAL_KEY_WHOLE, PAL_AT(opts, heads), .low = 1, .high = 64},
 *         {"eps", PAL_KEY_REAL, PAL_AT(opts, eps), .high = 1, .open = PAL_OPEN_LOW},
 *     };
 *     static const pal_keys keys = PAL_KEYS(rows);
 *
 *     pal_keys_set(&keys, &o, "", "heads", "65", &error);
 *         "heads=65 should be a whole number from 1 to 64"
 */
#ifndef PAL_TENSOR_KEYS_H
#define PAL_TENSOR_KEYS_H

#include "tensor/tensor.h"

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
    PAL_OPEN_NONE = 0,
    PAL_OPEN_LOW = 1,
    PAL_OPEN_HIGH = 2,
    PAL_OPEN_BOTH = 3
} pal_key_open;

typedef struct pal_key {
    const char *name;
    pal_key_kind kind;
    size_t offset, size; /* of the field: PAL_AT(struct, field) */
    double low, high;    /* bounds of a number, or of each number in a list; both 0: no bounds */
    pal_key_open open;
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
    const char *help;
} pal_key;
#define PAL_AT(type, field_) .offset = offsetof(type, field_), .size = sizeof(((type *)0)->field_)

typedef struct pal_keys {
    int count;
    const pal_key *key;
} pal_keys;
#define PAL_KEYS(rows)                             \
    {                                              \
        (int)(sizeof(rows) / sizeof *(rows)), rows \
    }

/* ---- A value (key_value.c) ---- */

/* Sets the field of the key in the struct `to`. false: the key cannot have this value, and the
 * field is unchanged. */
bool pal_key_read(const pal_key *key, void *to, const char *text);
/*
 * Writes the value as text that pal_key_read reads back. A number has the fewest digits that are
 * read as the same number. A choice without a word is "". Returns the length as snprintf does: if
 * it is `size` or more, the text was cut off.
 */
size_t pal_key_print(const pal_key *key, const void *from, char *text, size_t size);
/* Whether the value is the same in two structs. */
bool pal_key_same(const pal_key *key, const void *a, const void *b);
/* The value as a number: of a whole or real number, of a choice, and of a flag (0 or 1, as its text
 * says). */
double pal_key_number(const pal_key *key, const void *from);
/* Whether a number is finite and within the bounds. */
bool pal_key_within(const pal_key *key, double x);
/* Writes what values are allowed: "a whole number from 1 to 64". */
enum { PAL_KEY_WANTED = 512 };
void pal_key_wanted(const pal_key *key, char text[PAL_KEY_WANTED]);

/* ---- Lines of a file (keys.c) ---- */

/* Removes blanks at both ends of a text, in place. Returns its new beginning. */
char *pal_trim(char *text);
/* Cuts a line `name = value` in place. *name is NULL for an empty line and for a comment, which
 * begins with #. PAL_EFORMAT if there is no "="; the error has the `number` of the line. */
PAL_CHECKED pal_status pal_key_line(char *line, int number, char **name, char **value,
                                    pal_error *error);

/* ---- A table (keys.c) ---- */

/* The index of the row of that name; -1: there is none. */
int pal_keys_find(const pal_keys *keys, const char *name);
/*
 * Sets the field of `name` in the struct `to` from text. PAL_EVALUE if there is no such key (the
 * error lists the keys) or if the key cannot have this value (the error names key, value and
 * bounds). The message begins with `prefix` ("mixer gdn2: "), and the field is unchanged.
 */
PAL_CHECKED pal_status pal_keys_set(const pal_keys *keys, void *to, const char *prefix,
                                    const char *name, const char *value, pal_error *error);
/* The same for the n bytes of a text `:name=value:name=value...`, which may be empty. With `once` a
 * key must not appear twice; otherwise its last value counts. */
PAL_CHECKED pal_status pal_keys_read(const pal_keys *keys, void *to, const char *prefix,
                                     const char *text, size_t n, bool once, pal_error *error);
/* Writes all values as such a text; returns its length as snprintf does. */
size_t pal_keys_print(const pal_keys *keys, const void *from, char *text, size_t size);
/* For structs that were not set from text: PAL_EVALUE as of pal_keys_set, for the first real number
 * that is not within its bounds. */
PAL_CHECKED pal_status pal_keys_check(const pal_keys *keys, const void *from, const char *prefix,
                                      pal_error *error);

/* The index of the kind whose name is the n bytes of text; a kind is a struct that begins with its
 * name. If there is none, it returns -1 and *error lists all: `there is no mixer "x"; there are
 * gdn, kda`. */
int pal_kind_find(const void *const *kinds, int count, const char *what, const char *text, size_t n,
                  pal_error *error);

#endif
