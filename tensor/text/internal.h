/*
 * internal.h - what the files of this folder share: two hash tables, UTF-8, the alphabet, and the
 * tokenizer itself.
 */
#ifndef PAL_TENSOR_TEXT_INTERNAL_H
#define PAL_TENSOR_TEXT_INTERNAL_H

#include "tensor/text.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <cjson/cJSON.h>
#include <pcre2.h>

/* ---- table.c ---- */

/* realloc to at least `least` elements, by doubling; false, and nothing changed, without memory. */
bool pal_bpe_grow(void **memory, int64_t *room, int64_t least, size_t element);

/* Different strings of bytes, numbered from 0 in the order in which they came; {0} is none. */
typedef struct pal_bpe_names {
    char *pool;
    int64_t *end; /* string i is pool[end[i - 1]..end[i]) */
    int32_t *slot;
    int64_t count, room, slots, pool_room;
} pal_bpe_names;
/* The number of a string, which is added if it is new; -1 without memory. */
int32_t pal_bpe_names_add(pal_bpe_names *n, const char *byte, int64_t size);
/* Its number, or -1 if it is not there. */
int32_t pal_bpe_names_find(const pal_bpe_names *n, const char *byte, int64_t size);
const char *pal_bpe_names_get(const pal_bpe_names *n, int64_t i, int64_t *size);
void pal_bpe_names_free(pal_bpe_names *n);

/* Numbers of pairs of tokens; {0} is empty. */
typedef struct pal_bpe_pairs {
    struct pal_bpe_pair_slot {
        int32_t left, right, value; /* value + 1; 0: free */
    } * slot;
    int64_t count, slots;
} pal_bpe_pairs;
/* The number of a pair, -1 if there is none. */
int32_t pal_bpe_pairs_find(const pal_bpe_pairs *p, int32_t left, int32_t right);
/* Gives a number >= 0 to a pair that has none; false without memory. */
bool pal_bpe_pairs_put(pal_bpe_pairs *p, int32_t left, int32_t right, int32_t value);
void pal_bpe_pairs_free(pal_bpe_pairs *p);

uint64_t pal_bpe_hash(const char *byte, int64_t size);

/* ---- alphabet.c ---- */

/* Whether all of a text is UTF-8 without NUL. */
bool pal_bpe_utf8_all(const char *byte, int64_t size);
/* GPT-2's alphabet: a character for every byte, of 1 or 2 bytes in UTF-8. Returns its length. */
int pal_bpe_spell(unsigned char byte, char to[2]);
/* The bytes that characters of the alphabet stand for; -1 if one is not of it. `to` has room for
 * `size`. */
int64_t pal_bpe_unspell(const char *spelled, int64_t size, char *to);
/* The byte whose character comes i-th in the alphabet, which is ordered by code points. */
unsigned char pal_bpe_alphabet(int i);

/* ---- The tokenizer ---- */

enum {
    PAL_BPE_STAGES = 16,      /* regular expressions, one after the other */
    PAL_BPE_CACHE = 1 << 16,  /* pretokens remembered */
    PAL_BPE_CACHED_SIZE = 30, /* their bytes at most */
    PAL_BPE_CACHED_IDS = 8    /* and their tokens */
};

typedef struct pal_bpe_cached {
    uint8_t size, ids; /* ids 0: free */
    char byte[PAL_BPE_CACHED_SIZE];
    int32_t id[PAL_BPE_CACHED_IDS];
} pal_bpe_cached;

typedef struct pal_bpe_added {
    const char *text; /* in pal_tokenizer.text, once that is made */
    int64_t size;
    int32_t id, next; /* next: of those that begin with the same byte, the next shorter; -1: none */
    bool normalized;  /* is looked for after those that are not */
} pal_bpe_added;

typedef struct pal_bpe_symbol {
    int32_t id, before, after; /* neighbours; -1: none. id -1: joined to the one before */
} pal_bpe_symbol;

typedef struct pal_bpe_joint {
    int32_t rank, at;
} pal_bpe_joint;

struct pal_tokenizer {
    char *json;
    int64_t json_size;

    int64_t vocab;
    pal_bpe_names key; /* tokens as tokenizer.json spells them */
    int32_t *key_id;   /* of each key */
    char *text;        /* bytes of all tokens, in the order of ids */
    int64_t *text_at;  /* token i is text[text_at[i]..text_at[i + 1]) */
    int32_t byte_id[256];
    bool ignore_merges;

    pal_bpe_pairs rank; /* of a pair: its place in the list of merges */
    struct pal_bpe_merge {
        int32_t left, right, id;
    } * merge;
    int64_t merges;

    pal_bpe_added *added;
    int64_t addeds;
    int32_t first[256]; /* the longest added token that begins with a byte; -1: none */

    bool prefix_space;
    pcre2_code *stage[PAL_BPE_STAGES];
    int stages;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack;

    /* Of the call of pal_tokenizer_encode that is under way, kept for the next. */
    pal_bpe_cached *cache;
    pal_bpe_symbol *symbol;
    pal_bpe_joint *heap;
    int64_t symbol_room, heap_room;
    char *spelled;
    int64_t spelled_room;
};

/* ---- split.c ---- */

/* A pretoken, or with id >= 0 an added token. */
typedef pal_status pal_bpe_piece_fn(void *user, const char *byte, int64_t size, int32_t id,
                                    pal_error *error);
/* Cuts a text into pieces, in order. */
PAL_CHECKED pal_status pal_bpe_split(pal_tokenizer *b, const char *text, int64_t size,
                                     pal_bpe_piece_fn *fn, void *user, pal_error *error);
/* Adds a regular expression, or a plain text, by which pretokens are cut. */
PAL_CHECKED pal_status pal_bpe_stage_add(pal_tokenizer *b, const char *pattern, bool plain,
                                         pal_error *error);
extern const char pal_bpe_gpt2_pattern[];

/* ---- pattern.c ---- */

/* A regular expression in Oniguruma's syntax as PCRE2's; freed by free(). PAL_EFORMAT for one that
 * PCRE2 cannot take for the same. */
PAL_CHECKED pal_status pal_bpe_pattern(const char *pattern, char **to, pal_error *error);

/* ---- json.c: tokenizer.json is not trusted; `where` names an object in errors ---- */

PAL_CHECKED pal_status pal_bpe_bad(pal_error *error, const char *format, ...) PAL_PRINTF(2, 3);
/* An object whose keys are among `known` (ended by NULL), each once at most. */
PAL_CHECKED pal_status pal_bpe_object(const cJSON *o, const char *where, const char *const *known,
                                      pal_error *error);
/* Absent, null, false, 0, "" or an empty list: what has no effect. */
PAL_CHECKED pal_status pal_bpe_off(const cJSON *o, const char *where, const char *key,
                                   pal_error *error);
/* A boolean; `absent` is what it is if it is not there, -1: it has to be. */
PAL_CHECKED pal_status pal_bpe_bool(const cJSON *o, const char *where, const char *key, int absent,
                                    bool *value, pal_error *error);
/* A string that has to be there. */
PAL_CHECKED pal_status pal_bpe_string(const cJSON *o, const char *where, const char *key,
                                      const char **value, pal_error *error);
/* A whole number from 0 to INT32_MAX. */
bool pal_bpe_whole(const cJSON *item, int32_t *value);
/* The text as JSON, with nothing after it. */
PAL_CHECKED pal_status pal_bpe_parse(cJSON **root, const char *json, int64_t size,
                                     pal_error *error);

/* ---- model.c, load.c, write.c ---- */

/* Vocabulary and merges; the contents of added tokens are raw text. */
PAL_CHECKED pal_status pal_bpe_load_model(pal_tokenizer *b, const cJSON *model, const cJSON *added,
                                          pal_error *error);
PAL_CHECKED pal_status pal_bpe_load_pretokenizer(pal_tokenizer *b, const cJSON *o,
                                                 pal_error *error);

/*
 * A tokenizer.json of the 256 bytes, specials, and merges[n] = (left, right, result): a result that
 * is not yet a token has the id 256 + specials + the number of those before it. Freed by free().
 */
PAL_CHECKED pal_status pal_bpe_write(char **json, const char *const *special, int64_t specials,
                                     const struct pal_bpe_merge *merge, int64_t merges,
                                     pal_error *error);

#endif
