/*
 * bpe.h - what the tests of tensor/text share. Functions in a header, since other tests are linked
 * with tests/support and without the tokenizer.
 */
#ifndef SUPPORT_BPE_H
#define SUPPORT_BPE_H

#include "tensor/text/internal.h"
#include "tests/support/check.h"
#include "tests/support/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static inline pal_tokenizer *load(const char *json)
{
    pal_tokenizer *b;
    pal_error e = {0};
    if (pal_tokenizer_load(&b, json, (int64_t)strlen(json), &e) != PAL_OK)
        ck_abort_msg("%s", e.message);
    return b;
}

static inline void check_ids(pal_tokenizer *b, const char *text, int64_t size, const int64_t *id,
                             int64_t count)
{
    pal_error e = {0};
    pal_token_ids got = {0};
    if (pal_tokenizer_encode(b, text, size, &got, &e) != PAL_OK) ck_abort_msg("%s", e.message);
    ck_assert_int_eq(got.count, count);
    for (int64_t i = 0; i < count; i++) ck_assert_int_eq(got.id[i], id[i]);
    pal_token_ids_free(&got);
}
#define IDS(b, text, ...)                                                     \
    check_ids(b, text, (int64_t)strlen(text), (const int64_t[]){__VA_ARGS__}, \
              (int64_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))

/* The text comes back, also into a buffer that is too small, as far as that reaches. */
static inline void check_round_trip(pal_tokenizer *b, const char *text, int64_t size)
{
    pal_error e = {0};
    pal_token_ids ids = {0};
    char *back = malloc((size_t)size + 1);
    if (pal_tokenizer_encode(b, text, size, &ids, &e) != PAL_OK) ck_abort_msg("%s", e.message);
    back[size] = 'x';
    ck_assert_int_eq(pal_tokenizer_decode(b, ids.id, ids.count, back, size), size);
    ck_assert_int_eq(memcmp(back, text, (size_t)size), 0);
    const int64_t half = size / 2;
    memset(back, 'x', (size_t)size);
    ck_assert_int_eq(pal_tokenizer_decode(b, ids.id, ids.count, back, half), size);
    ck_assert_int_eq(memcmp(back, text, (size_t)half), 0);
    for (int64_t i = half; i <= size; i++) ck_assert_int_eq(back[i], 'x');
    free(back);
    pal_token_ids_free(&ids);
}

/* The pretokens of a text, each with | behind it, and # behind an added token. */
typedef struct pieces {
    char text[512];
} pieces;

static inline pal_status note_piece(void *user, const char *byte, int64_t size, int32_t id,
                                    pal_error *error)
{
    pieces *p = user;
    (void)error;
    strncat(p->text, byte, (size_t)size);
    strcat(p->text, id >= 0 ? "#|" : "|");
    return PAL_OK;
}

static inline void check_pieces(pal_tokenizer *b, const char *text, const char *expected)
{
    pieces p = {""};
    pal_error e = {0};
    ck_assert_int_eq(pal_bpe_split(b, text, (int64_t)strlen(text), false, note_piece, &p, &e),
                     PAL_OK);
    ck_assert_str_eq(p.text, expected);
}

static inline pal_tokenizer *train(const char *text, pal_tokenizer_train_opts opts)
{
    pal_tokenizer *b;
    pal_error e = {0};
    const pal_tokenizer_text t = {text, (int64_t)strlen(text)};
    if (pal_tokenizer_train(&b, &t, 1, opts, &e) != PAL_OK) ck_abort_msg("%s", e.message);
    return b;
}

#endif
