/*
 * json.h - JSON of files that are not trusted: tensor headers, indices and configurations.
 *
 * cJSON reads the text after a check of its own, so that neither the depth nor the number of values
 * of a file decides how much stack or memory is taken. A key that stands twice in an object is an
 * error, because readers would disagree about its value.
 */
#ifndef PAL_TENSOR_FILES_JSON_H
#define PAL_TENSOR_FILES_JSON_H

#include "tensor/tensor.h"

/* One value; a value of a list or an object leads to the next one. */
typedef struct cJSON pal_json;

enum {
    PAL_JSON_DEPTH = 32,       /* of lists and objects in each other */
    PAL_JSON_VALUES = 1 << 20, /* of a text */
    PAL_JSON_SHOWN = 80        /* room for a text that a message shows */
};

/*
 * Reads size bytes as one value; the text is changed. It is JSON (RFC 8259) in UTF-8 without NUL,
 * and Infinity, which Python writes, is a number too. PAL_EFORMAT says where it is not well formed;
 * PAL_ENOMEM. *root is for pal_json_free; NULL after an error.
 */
PAL_CHECKED pal_status pal_json_parse(pal_json **root, char *text, size_t size, pal_error *error);
/* NULL is allowed. */
void pal_json_free(pal_json *root);

/* The first value of a list or an object, and the one after a value; NULL: there is none. */
const pal_json *pal_json_first(const pal_json *o);
const pal_json *pal_json_next(const pal_json *value);
/* The name of a value in an object; NULL in a list. */
const char *pal_json_key(const pal_json *value);
/* The value of this name; NULL if o is no object or has none. It looks at all of them in turn. */
const pal_json *pal_json_get(const pal_json *o, const char *key);

bool pal_json_is_object(const pal_json *o);
bool pal_json_is_list(const pal_json *o);
/* null, or no value at all */
bool pal_json_is_null(const pal_json *o);
/* The text of a string; NULL if it is none. */
const char *pal_json_text(const pal_json *o);
/* false: the value is no such thing. A whole number is at most 2^53. */
bool pal_json_flag(const pal_json *o, bool *value);
bool pal_json_number(const pal_json *o, double *value);
bool pal_json_whole(const pal_json *o, int64_t *value);

/* The value as JSON without blanks, for free(); NULL: out of memory. */
char *pal_json_print(const pal_json *o);

/* A text of a file as a message may show it: not long, and without control characters. Returns
 * `to`. */
const char *pal_json_show(const char *text, char to[PAL_JSON_SHOWN]);

#endif
