/*
 * text.h - text to tokens and back: bytes as they are, or BPE (byte pair encoding).
 *
 * Byte-level BPE begins with the 256 bytes as tokens. A text is cut into pretokens (about: words
 * with the space before them) by regular expressions; within a pretoken the pair of neighbours
 * that stands first in the list of merges is joined until none is in it. Any bytes can be encoded,
 * and decoding gives them back. Special tokens stand for a text of their own, such as
 * <|endoftext|>, and are looked for before all that.
 *
 * Other BPE begins with characters, as SentencePiece does. A character that is no token becomes the
 * tokens of its bytes (byte_fallback) or a token for what is unknown. Such tokenizers, and those
 * with a normalizer, may change a text (pal_tokenizer_is_exact).
 *
 * A tokenizer is its tokenizer.json, the format of Hugging Face's `tokenizers`: that text is what
 * pal_tokenizer_train makes, what a store of tokens and a checkpoint carry and what
 * pal_tokenizer_load reads. No text stands for the bytes, so that callers do not tell the two
 * apart.
 *
 * Sources: Sennrich, Haddow, Birch 2016 (BPE); Radford et al. 2019 (GPT-2: bytes, the pattern, the
 * alphabet in which tokenizer.json spells them); Kudo, Richardson 2018 (SentencePiece).
 */
#ifndef PAL_TENSOR_TEXT_H
#define PAL_TENSOR_TEXT_H

#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A way to cut text into tokens and to put it together again. */
typedef struct pal_tokenizer pal_tokenizer;

/* Tokens that grow; {0} is none. id is freed by pal_token_ids_free. */
typedef struct pal_token_ids {
    int64_t *id;   /* the tokens */
    int64_t count; /* how many there are */
    int64_t room;  /* for how many there is memory */
} pal_token_ids;
/* Frees the tokens; {0} is what is left. */
PAL_API void pal_token_ids_free(pal_token_ids *ids);

/*
 * A tokenizer of the text of a tokenizer.json, which is copied. size 0: every byte is a token, 256
 * in all. Its tokens are those of `tokenizers`, or the file is PAL_EFORMAT by what it has.
 *
 * Taken, each with all of its options unless it says otherwise:
 *
 *     normalizer      NFC NFD NFKC NFKD (if utf8proc was there), Prepend, Replace (content without
 *                     $ where the pattern is a Regex), Strip, Sequence
 *     pre_tokenizer   ByteLevel (one), Split, Digits, Punctuation, Metaspace, Sequence
 *     model           BPE: byte_fallback, unk_token, fuse_unk, ignore_merges. Ids dense from 0;
 *                     merges as "a b" or ["a", "b"]. Every text has tokens: all 256 bytes are in
 *                     the vocabulary, spelled or as <0xHH>, or there is an unk_token
 *     added_tokens    special, normalized, single_word, lstrip, rstrip
 *     post_processor  TemplateProcessing (single, with the text once), BertProcessing,
 *                     RobertaProcessing, ByteLevel, Sequence
 *     decoder         ByteLevel after a pre_tokenizer ByteLevel; else Replace (String), Strip,
 *                     Metaspace, ByteFallback, Fuse, Strip (start), Sequence, in this order
 *
 * Everything else (dropout, truncation, unknown keys...) is PAL_EFORMAT by name, and so is a file
 * that contradicts itself. A byte order mark before the JSON is left out. A pattern cuts as
 * Oniguruma does, by which `tokenizers` reads it, or is PAL_EFORMAT by what it has. Only characters
 * that are newer than the Unicode of these libraries may differ (docs/data.md).
 */
PAL_API PAL_CHECKED pal_status pal_tokenizer_load(pal_tokenizer **out, const char *json,
                                                  int64_t size, pal_error *error);
/* NULL is allowed. */
PAL_API void pal_tokenizer_free(pal_tokenizer *b);

/* A text to learn from. */
typedef struct pal_tokenizer_text {
    const void *byte; /* any bytes; they need not end in NUL */
    int64_t size;     /* how many */
} pal_tokenizer_text;

/* How merges are learned; zero is the default of every field. */
typedef struct pal_tokenizer_train_opts {
    int64_t vocab;              /* tokens wanted, at least 256 + specials; 0: 4096 */
    int64_t least;              /* a pair that occurs less often is not joined; 0: 2 */
    const char *const *special; /* texts of special tokens */
    int64_t specials;           /* how many */
    /* Called now and then; `what` is "counting" (bytes) or "merging" (tokens). */
    void (*progress)(void *user, const char *what, int64_t done, int64_t all);
    void *user; /* of progress */
} pal_tokenizer_train_opts;

/*
 * Learns merges from texts: the pair of neighbouring tokens that occurs most often within
 * pretokens, of equal ones that of the smaller ids (left, then right), becomes a token, until there
 * are `vocab`. There are fewer if no pair occurs `least` times. Ids: the bytes in the order of
 * GPT-2's alphabet, then specials, then merges. Pretokens by GPT-2's pattern, of any length; a
 * token has at most 1024 bytes. A function of the texts and options alone. Cost: reading each text
 * once, and about the places where a pair is joined, so that a text without spaces is no slower.
 * Memory: about 40 bytes for each byte of the different pretokens, of which 2 GiB may be there.
 */
PAL_API PAL_CHECKED pal_status pal_tokenizer_train(pal_tokenizer **out,
                                                   const pal_tokenizer_text *text, int64_t texts,
                                                   pal_tokenizer_train_opts opts, pal_error *error);

/*
 * Appends the tokens of a text, of 512 MiB at most, without tokens around it. The text need not be
 * UTF-8: each run of bytes that are not is a pretoken of its own. PAL_EFORMAT if a pattern of the
 * file gives up on the text, or a normalizer makes more than 64 times as much of it. Encodes from
 * one thread at a time, since it remembers pretokens that it has seen.
 */
PAL_API PAL_CHECKED pal_status pal_tokenizer_encode(pal_tokenizer *b, const void *text,
                                                    int64_t size, pal_token_ids *to,
                                                    pal_error *error);

/* What pal_tokenizer_encode_with does beside; zero is nothing. */
typedef struct pal_encode_opts {
    bool begin; /* add what the post_processor puts before a text, such as a token for its begin */
    bool end;   /* add what it puts after */
    bool plain; /* a special token in the text is text like any other */
} pal_encode_opts;
/* Appends the tokens of a text. begin and end together are add_special_tokens of `tokenizers`. */
PAL_API PAL_CHECKED pal_status pal_tokenizer_encode_with(pal_tokenizer *b, const void *text,
                                                         int64_t size, pal_encode_opts opts,
                                                         pal_token_ids *to, pal_error *error);

/* The bytes of a token; NULL and size 0 if there is no such token. */
PAL_API const char *pal_tokenizer_token(const pal_tokenizer *b, int64_t id, int64_t *size);
/*
 * The bytes of tokens, written to `to` as far as `room` reaches; returns how many there are, or -1
 * if an id is no token. They are those that were encoded, but for the spaces that add_prefix_space
 * may have put in front and after added tokens, if the tokenizer is exact.
 */
PAL_API int64_t pal_tokenizer_decode(const pal_tokenizer *b, const int64_t *id, int64_t count,
                                     void *to, int64_t room);
/* Whether decoding gives back every text: there is no normalizer, and nothing is left out,
 * replaced or unknown. */
PAL_API bool pal_tokenizer_is_exact(const pal_tokenizer *b);
/*
 * The text of tokens, as `tokenizers` decodes them: UTF-8 ended by NUL, in memory for free(), and
 * its size. Bytes that are none become U+FFFD. Special tokens are left out unless `specials`.
 * PAL_EVALUE if an id is no token.
 */
PAL_API PAL_CHECKED pal_status pal_tokenizer_text_of(const pal_tokenizer *b, const int64_t *id,
                                                     int64_t count, bool specials, char **text,
                                                     int64_t *size, pal_error *error);

/*
 * The same, token by token: the parts that a stream returns are together the text of its tokens. A
 * part is whole characters of UTF-8 that no later token changes, so it may be empty. The tokenizer
 * must outlive the stream.
 */
typedef struct pal_tokenizer_stream pal_tokenizer_stream;
/* How a stream begins; zero is the default. */
typedef struct pal_stream_opts {
    bool specials; /* special tokens are text too */
    bool inside;   /* tokens came before: nothing is left out at the beginning */
    bool raw;      /* bytes that are no UTF-8 stay as they are */
} pal_stream_opts;
/* NULL without memory. */
PAL_API pal_tokenizer_stream *pal_tokenizer_stream_new(const pal_tokenizer *b,
                                                       pal_stream_opts opts);
/* NULL is allowed. */
PAL_API void pal_tokenizer_stream_free(pal_tokenizer_stream *stream);
/* The next token. *text, of *size bytes, is what it adds; the next call ends it. PAL_EVALUE if the
 * id is no token. */
PAL_API PAL_CHECKED pal_status pal_tokenizer_stream_put(pal_tokenizer_stream *stream, int64_t id,
                                                        const char **text, int64_t *size,
                                                        pal_error *error);
/* How many bytes of the tokens so far are kept back. */
PAL_API int64_t pal_tokenizer_stream_held(const pal_tokenizer_stream *stream);
/* The end of the text: what was kept back, with U+FFFD for bytes that remain no character. */
PAL_API PAL_CHECKED pal_status pal_tokenizer_stream_end(pal_tokenizer_stream *stream,
                                                        const char **text, int64_t *size,
                                                        pal_error *error);

/* How many tokens there are; ids are 0 to one less. */
PAL_API int64_t pal_tokenizer_vocab_size(const pal_tokenizer *b);
/* The id of the special (or other added) token of that text; -1 if there is none. */
PAL_API int64_t pal_tokenizer_special(const pal_tokenizer *b, const char *text);
/* Whether a token is special: decoding leaves it out of the text. */
PAL_API bool pal_tokenizer_is_special(const pal_tokenizer *b, int64_t id);
/* The tokenizer.json, ended by NUL, and its size; "" and 0 of the bytes. */
PAL_API const char *pal_tokenizer_json(const pal_tokenizer *b, int64_t *size);

#ifdef __cplusplus
}
#endif
#endif
