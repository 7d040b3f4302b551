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

typedef enum pal_bpe_form {
    PAL_BPE_NFC,  /* Unicode's normal forms: composed, */
    PAL_BPE_NFD,  /* decomposed, */
    PAL_BPE_NFKC, /* and both for characters that are compatible */
    PAL_BPE_NFKD
} pal_bpe_form;

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

/* ---- regex.c: patterns, all of one tokenizer ---- */

typedef enum pal_bpe_syntax {
    PAL_BPE_ONIGURUMA, /* a pattern of tokenizer.json, translated (pattern.c) */
    PAL_BPE_OWN,       /* a pattern of ours, in PCRE2's syntax */
    PAL_BPE_PLAIN      /* a text that is looked for as it is */
} pal_bpe_syntax;

/* Compiles a pattern. */
PAL_CHECKED pal_status pal_bpe_compile(pal_tokenizer *b, const char *pattern, pal_bpe_syntax syntax,
                                       pcre2_code **code, pal_error *error);

/* Where a search stands. Like Oniguruma's, it leaves out an empty match where the last one ended.
 */
typedef struct pal_bpe_search {
    int64_t from, last;     /* last: the end of the last match; -1: none */
    int64_t begin, end;     /* the match that was found */
    const pcre2_code *code; /* what is looked for */
    const char *where;      /* whose pattern that is, and which one, for errors */
    int number;
} pal_bpe_search;
/* The next match in a text, which has to be UTF-8; *found false: there is none. PAL_EFORMAT if the
 * pattern gives up. */
PAL_CHECKED pal_status pal_bpe_next(pal_tokenizer *b, pal_bpe_search *s, const char *text,
                                    int64_t size, bool *found, pal_error *error);
/* The steps that matches in a text of so many bytes may take. */
void pal_bpe_limit(pal_tokenizer *b, int64_t size);
void pal_bpe_regex_free(pal_tokenizer *b);

/* ---- The tokenizer ---- */

enum {
    PAL_BPE_STAGES = 16,      /* pre_tokenizers, one after the other */
    PAL_BPE_STEPS = 16,       /* normalizers, likewise */
    PAL_BPE_FRAME = 16,       /* tokens before and after a text */
    PAL_BPE_CACHE = 1 << 16,  /* pretokens remembered */
    PAL_BPE_CACHED_SIZE = 30, /* their bytes at most */
    PAL_BPE_CACHED_IDS = 8    /* and their tokens */
};

typedef struct pal_bpe_cached {
    uint8_t size, ids; /* ids 0: free */
    char byte[PAL_BPE_CACHED_SIZE];
    int32_t id[PAL_BPE_CACHED_IDS];
} pal_bpe_cached;

/* Bytes that grow; {0} is none. */
typedef struct pal_bpe_buffer {
    char *byte;
    int64_t size, room;
} pal_bpe_buffer;
bool pal_bpe_buffer_add(pal_bpe_buffer *to, const char *byte, int64_t size);

typedef struct pal_bpe_added {
    const char *text; /* the content: in pal_tokenizer.text, or in the JSON while it is loaded */
    int64_t size;
    int32_t id;
    bool normalized; /* is looked for in the normalized text, after those that are not */
    bool special, single_word, lstrip, rstrip;
} pal_bpe_added;

/* Added tokens by what is looked for: string i of `name` stands for added token `of[i]`. Lengths
 * that begin with the same byte are a list, the longest first. */
typedef struct pal_bpe_finder {
    pal_bpe_names name;
    int32_t *of;
    int64_t of_room;
    struct pal_bpe_length {
        int64_t size;
        int32_t next; /* -1: the last */
    } * length;
    int64_t lengths, length_room;
    int32_t first[256]; /* of a byte; -1: none */
} pal_bpe_finder;

typedef struct pal_bpe_symbol {
    int32_t id, before, after; /* neighbours; -1: none. id -1: joined to the one before */
} pal_bpe_symbol;

typedef struct pal_bpe_joint {
    int32_t rank, at;
} pal_bpe_joint;

/* What becomes of a match, and of what lies between matches. */
typedef enum pal_bpe_behavior {
    PAL_BPE_ISOLATED,   /* both are pieces */
    PAL_BPE_REMOVED,    /* a match is left out */
    PAL_BPE_PREVIOUS,   /* a match belongs to what stands before it */
    PAL_BPE_NEXT,       /* to what stands after it */
    PAL_BPE_CONTIGUOUS, /* matches without a gap are one piece */
    PAL_BPE_WHOLE       /* nothing is cut */
} pal_bpe_behavior;

/* A pre_tokenizer. */
typedef struct pal_bpe_stage {
    pcre2_code *code;
    pal_bpe_behavior behavior;
    bool invert;   /* what lies between matches counts as match */
    bool spells;   /* pieces are spelled in the alphabet of bytes from here on */
    bool prefix;   /* a piece that does not begin with `replacement` gets it */
    bool first;    /* prefix only for the piece at the beginning of the text */
    char space[8]; /* Metaspace: what takes the place of a space; ByteLevel: a space; "": nothing */
} pal_bpe_stage;

typedef enum pal_bpe_step_kind {
    PAL_BPE_UNICODE, /* a form of Unicode */
    PAL_BPE_PREPEND, /* content before a text that is not empty */
    PAL_BPE_REPLACE, /* matches become content */
    PAL_BPE_STRIP    /* white space at the ends goes */
} pal_bpe_step_kind;

/* A normalizer. */
typedef struct pal_bpe_step {
    pal_bpe_step_kind kind;
    pal_bpe_form form;
    pcre2_code *code;
    char *content;
    int64_t size;     /* of content */
    bool left, right; /* STRIP */
} pal_bpe_step;

/* How the bytes of tokens become text. */
typedef enum pal_bpe_reading {
    PAL_BPE_LOSSY, /* all tokens together are bytes; what is no UTF-8 becomes U+FFFD, piece by piece
                    */
    PAL_BPE_RUNS,  /* tokens of bytes that stand side by side are UTF-8, or each is a U+FFFD */
    PAL_BPE_TEXTS  /* every token is a text */
} pal_bpe_reading;

struct pal_tokenizer {
    char *json;
    int64_t json_size;

    int64_t vocab;
    pal_bpe_names key;    /* tokens as tokenizer.json spells them, those of the model first */
    int64_t model_keys;   /* how many are the model's */
    int32_t *key_id;      /* of each key */
    int32_t *key_of;      /* the key of each id */
    char *text;           /* bytes of all tokens, in the order of ids */
    int64_t *text_at;     /* token i is text[text_at[i]..text_at[i + 1]) */
    bool bytes;           /* pieces are bytes (ByteLevel), not characters */
    int32_t byte_id[256]; /* the token of a byte: of its character, or <0xHH>; -1: none */
    bool byte_fallback, ignore_merges, fuse_unk;
    int32_t unk; /* -1: none */

    pal_bpe_pairs rank; /* of a pair: its place in the list of merges */
    struct pal_bpe_merge {
        int32_t left, right, id;
    } * merge;
    int64_t merges;

    pal_bpe_added *added;
    int64_t addeds;
    bool *is_special;         /* of each id */
    pal_bpe_finder finder[2]; /* of those that are not normalized, and of those that are */
    pcre2_code *word;         /* a character of a word, if a token is single_word */

    pal_bpe_step step[PAL_BPE_STEPS];
    int steps;
    pal_bpe_stage stage[PAL_BPE_STAGES];
    int stages;
    bool spelled_pieces;                                 /* one of the stages spells */
    int32_t before[PAL_BPE_FRAME], after[PAL_BPE_FRAME]; /* what the post_processor adds */
    int befores, afters;

    pal_bpe_reading reading;
    bool *is_byte;       /* of each id, for PAL_BPE_RUNS */
    char strip[8];       /* a character that is left out at the beginning of a text, */
    int64_t strip_most;  /* at most so many times */
    char first_drops[8]; /* a character that the first token loses everywhere */

    pcre2_match_data *match;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack;

    bool lost_start; /* pal_bpe_normalize has left out what its text began with */

    /* Of the call of pal_tokenizer_encode that is under way, kept for the next. */
    pal_bpe_cached *cache;
    pal_bpe_symbol *symbol;
    pal_bpe_joint *heap;
    int64_t symbol_room, heap_room;
    char *spelled;
    int64_t spelled_room;
};

/* ---- unicode.c; unicode_none.c without utf8proc ---- */

/* Appends a text, which has to be UTF-8, in a form of Unicode. */
PAL_CHECKED pal_status pal_bpe_unicode(pal_bpe_form form, const char *text, int64_t size,
                                       pal_bpe_buffer *to, pal_error *error);
/* Whether this build has them; PAL_EFORMAT names what is missing. */
PAL_CHECKED pal_status pal_bpe_unicode_check(const char *name, pal_error *error);

/* ---- normalize.c ---- */

/* Runs all normalizers over a text; what is no UTF-8 stays. *to is emptied first. */
PAL_CHECKED pal_status pal_bpe_normalize(pal_tokenizer *b, const char *text, int64_t size,
                                         pal_bpe_buffer *to, pal_error *error);
/* The length of the white space that begins or ends a text. */
int64_t pal_bpe_space_at_start(const char *text, int64_t size);
int64_t pal_bpe_space_at_end(const char *text, int64_t size);
/* The length of the character before the end of a text; 1 if it is no UTF-8. */
int pal_bpe_utf8_before(const char *text, int64_t size);

/* ---- added.c ---- */

/* A part of a text: between added tokens with token NULL, or an added token with the white space
 * that it takes. */
typedef pal_status pal_bpe_part_fn(void *user, const char *text, int64_t size,
                                   const pal_bpe_added *token, pal_error *error);
/* Cuts a text at added tokens that are normalized, or not; `plain`: special ones are no tokens. */
PAL_CHECKED pal_status pal_bpe_find_added(pal_tokenizer *b, bool normalized, bool plain,
                                          const char *text, int64_t size, pal_bpe_part_fn *fn,
                                          void *user, pal_error *error);
/* Makes b->finder of b->added. */
PAL_CHECKED pal_status pal_bpe_make_finders(pal_tokenizer *b, pal_error *error);
void pal_bpe_finders_free(pal_tokenizer *b);

/* ---- split.c ---- */

/* A pretoken, or with id >= 0 an added token. */
typedef pal_status pal_bpe_piece_fn(void *user, const char *byte, int64_t size, int32_t id,
                                    pal_error *error);
/* Cuts a text into pieces, in order. `plain`: special tokens are text. */
PAL_CHECKED pal_status pal_bpe_split(pal_tokenizer *b, const char *text, int64_t size, bool plain,
                                     pal_bpe_piece_fn *fn, void *user, pal_error *error);
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
/* The value of "type"; "" if it is no string. */
const char *pal_bpe_type(const cJSON *o);
/* A boolean; `absent` is what it is if it is not there, -1: it has to be. */
PAL_CHECKED pal_status pal_bpe_bool(const cJSON *o, const char *where, const char *key, int absent,
                                    bool *value, pal_error *error);
/* A string that has to be there. */
PAL_CHECKED pal_status pal_bpe_string(const cJSON *o, const char *where, const char *key,
                                      const char **value, pal_error *error);
/* A ByteLevel among post_processors or decoders changes no token and no text: its options are about
 * places in the text. */
PAL_CHECKED pal_status pal_bpe_places(const cJSON *o, const char *where, pal_error *error);
/* A whole number from 0 to INT32_MAX. */
bool pal_bpe_whole(const cJSON *item, int32_t *value);
/* The text as JSON, with nothing after it. */
PAL_CHECKED pal_status pal_bpe_parse(cJSON **root, const char *json, int64_t size,
                                     pal_error *error);

/* ---- What loads a part of the file; the name of each is its key there ---- */

/* In load_pre.c. A Metaspace stands among the decoders, too. */
enum { PAL_BPE_NEVER, PAL_BPE_FIRST, PAL_BPE_ALWAYS };
PAL_CHECKED pal_status pal_bpe_metaspace(const cJSON *o, const char *where, char to[8], int *scheme,
                                         bool *cuts, pal_error *error);
PAL_CHECKED pal_status pal_bpe_load_pretokenizer(pal_tokenizer *b, const cJSON *o,
                                                 pal_error *error);
PAL_CHECKED pal_status pal_bpe_load_normalizer(pal_tokenizer *b, const cJSON *o, pal_error *error);
/* In load_decode.c and load_post.c, after pre_tokenizer, vocabulary and merges. */
PAL_CHECKED pal_status pal_bpe_load_decoder(pal_tokenizer *b, const cJSON *o, pal_error *error);
PAL_CHECKED pal_status pal_bpe_load_post_processor(pal_tokenizer *b, const cJSON *o,
                                                   pal_error *error);
/* In model.c: vocabulary, added tokens and merges. */
PAL_CHECKED pal_status pal_bpe_load_model(pal_tokenizer *b, const cJSON *model, const cJSON *added,
                                          pal_error *error);

/* ---- write.c ---- */

/*
 * A tokenizer.json of the 256 bytes, specials, and merges[n] = (left, right, result): a result that
 * is not yet a token has the id 256 + specials + the number of those before it. Freed by free().
 */
PAL_CHECKED pal_status pal_bpe_write(char **json, const char *const *special, int64_t specials,
                                     const struct pal_bpe_merge *merge, int64_t merges,
                                     pal_error *error);

#endif
