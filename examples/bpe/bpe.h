/*
 * bpe.h - text to tokens and back: bytes as they are, or byte-level BPE (byte pair encoding).
 *
 * Byte-level BPE begins with the 256 bytes as tokens. A text is cut into pretokens (about: words
 * with the space before them) by regular expressions; within a pretoken the pair of neighbours
 * that stands first in the list of merges is joined until none is in it. Any bytes can be encoded,
 * and decoding gives them back. Special tokens stand for a text of their own, such as
 * <|endoftext|>, and are looked for before all that.
 *
 * A tokenizer is its tokenizer.json, the format of Hugging Face's `tokenizers`: that text is what
 * bpe_train makes, what a store of tokens carries and what bpe_load reads. No text stands for the
 * bytes, so that callers do not tell the two apart.
 *
 * Sources: Sennrich, Haddow, Birch 2016 (BPE); Radford et al. 2019 (GPT-2: bytes, the pattern, the
 * alphabet in which tokenizer.json spells them).
 */
#ifndef BPE_H
#define BPE_H

#include <palimpsest.h>

typedef struct bpe bpe;

/* Tokens that grow; {0} is none. id is freed by bpe_ids_free. */
typedef struct bpe_ids {
    int64_t *id;
    int64_t count, room;
} bpe_ids;
void bpe_ids_free(bpe_ids *ids);

/*
 * A tokenizer of the text of a tokenizer.json, which is copied. size 0: every byte is a token, 256
 * in all.
 *
 * Taken: model BPE with all 256 bytes in its vocabulary, ids dense from 0, merges as "a b" or
 * ["a", "b"], ignore_merges; pre_tokenizer ByteLevel (add_prefix_space, use_regex) or a Sequence of
 * Split (isolated) and Digits that ends in ByteLevel; decoder ByteLevel; post_processor ByteLevel,
 * which changes no token; added tokens with none of single_word, lstrip, rstrip. Everything else
 * (normalizers, templates, byte_fallback, dropout, unknown keys...) is PAL_EFORMAT by name, and so
 * is a file that contradicts itself. The patterns are PCRE2's: \s and case folding may differ from
 * Oniguruma's, which `tokenizers` uses, in single characters such as U+180E.
 */
PAL_CHECKED pal_status bpe_load(bpe **out, const char *json, int64_t size, pal_error *error);
void bpe_free(bpe *b);

typedef struct bpe_text {
    const void *byte;
    int64_t size;
} bpe_text;

typedef struct bpe_train_opts {
    int64_t vocab;              /* tokens wanted, at least 256 + specials; 0: 4096 */
    int64_t least;              /* a pair that occurs less often is not joined; 0: 2 */
    const char *const *special; /* texts of special tokens */
    int64_t specials;
    /* Called now and then; `what` is "counting" (bytes) or "merging" (tokens). */
    void (*progress)(void *user, const char *what, int64_t done, int64_t all);
    void *user;
} bpe_train_opts;

/*
 * Learns merges from texts: the pair of neighbouring tokens that occurs most often within
 * pretokens, of equal ones that of the smaller ids (left, then right), becomes a token, until there
 * are `vocab`. There are fewer if no pair occurs `least` times. Ids: the bytes in the order of
 * GPT-2's alphabet, then specials, then merges. Pretokens by GPT-2's pattern; those above 1024
 * bytes are not counted. A function of the texts and options alone. Cost: the counting is that of
 * reading each text once; memory goes with the number of different pretokens.
 */
PAL_CHECKED pal_status bpe_train(bpe **out, const bpe_text *text, int64_t texts,
                                 bpe_train_opts opts, pal_error *error);

/*
 * Appends the tokens of a text, of 512 MiB at most. The text need not be UTF-8: each run of bytes
 * that are not is a pretoken of its own. PAL_EFORMAT if a pattern of the file gives up on the text.
 * Encodes from one thread at a time, since it remembers pretokens that it has seen.
 */
PAL_CHECKED pal_status bpe_encode(bpe *b, const void *text, int64_t size, bpe_ids *to,
                                  pal_error *error);

/* The bytes of a token; NULL and size 0 if there is no such token. */
const char *bpe_token(const bpe *b, int64_t id, int64_t *size);
/*
 * The bytes of tokens, written to `to` as far as `room` reaches; returns how many there are, or -1
 * if an id is no token. They are those that were encoded, but for the space that add_prefix_space
 * may have put in front.
 */
int64_t bpe_decode(const bpe *b, const int64_t *id, int64_t count, void *to, int64_t room);

int64_t bpe_vocab_size(const bpe *b);
/* The id of the special (or other added) token of that text; -1 if there is none. */
int64_t bpe_special(const bpe *b, const char *text);
/* The tokenizer.json, ended by NUL, and its size; "" and 0 of the bytes. */
const char *bpe_json(const bpe *b, int64_t *size);

#endif
