/*
 * tokenizer.h - tokenizer.json files for the tests of tensor/text, and what these ask of all.
 */
#ifndef SUPPORT_TOKENIZER_H
#define SUPPORT_TOKENIZER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A tokenizer.json by its parts; NULL: byte-level BPE with GPT-2's pattern, without merges. The
 * token of a byte has its number for an id. root and model are more keys of these objects, each
 * with a comma behind it; vocab is more tokens, each with a comma before it; added and merges are
 * the contents of the lists.
 */
typedef struct tokenizer_parts {
    const char *root, *added, *normalizer, *pre, *post, *decoder, *model, *vocab, *merges;
} tokenizer_parts;

#define BYTE_LEVEL(prefix, regex) \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":" prefix ",\"use_regex\":" regex "}"
#define SPLIT(pattern)                                               \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern "\"},\"" \
    "behavior\":\"Isolated\",\"invert\":false}"
#define SEQUENCE(list) "{\"type\":\"Sequence\",\"pretokenizers\":[" list "]}"

#define ADDED(id, text, more) "{\"id\":" id ",\"content\":\"" text "\"" more "}"

#define FIVE_TOKENS ",\"bc\":256,\"ab\":257,\"abc\":258,\"aa\":259,\"abcd\":260"
extern const char *const five_merges[2]; /* in both forms */

/* Prose of several scripts, with white space of every kind. */
extern const char tokenizer_prose[];

/* The file, in memory that the next call uses again. */
const char *tokenizer_file(tokenizer_parts p);

#endif
