/*
 * bytes.c - tokenizers for the fuzzers. The tokens of the 256 bytes, which nearly every
 * tokenizer.json has to have, are written as $BYTES (their characters) or $FALLBACK (<0xHH>), so
 * that mutations reach the rest of the file.
 */
#include "tests/fuzz/frame/fuzz.h"

#include <stdlib.h>
#include <string.h>

static const char BYTES[] = "$BYTES", FALLBACK[] = "$FALLBACK";

static const char *bytes(void)
{
    static char vocab[1 << 13];
    int n = 0, other = 256;
    for (int b = 0; b < 256 && !(n && b == 0); b++) {
        const bool itself = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        const int c = itself ? b : other++;
        char key[3] = {(char)c};
        if (c >= 128) memcpy(key, (char[]){(char)(0xc0 + c / 64), (char)(0x80 + c % 64)}, 2);
        n += sprintf(vocab + n, "%s\"%s%s\":%d", b ? "," : "",
                     key[0] == '"' || key[0] == '\\' ? "\\" : "", key, b);
    }
    return vocab;
}

static const char *fallback(void)
{
    static char vocab[1 << 13];
    int n = 0;
    for (int b = 0; b < 256 && !(n && b == 0); b++)
        n += sprintf(vocab + n, "%s\"<0x%02X>\":%d", b ? "," : "", (unsigned)b, b);
    return vocab;
}

pal_status fuzz_tokenizer(pal_tokenizer **out, const char *json, pal_error *error)
{
    const char *at = strstr(json, BYTES), *mark = BYTES, *vocab = bytes();
    if (!at) at = strstr(json, FALLBACK), mark = FALLBACK, vocab = fallback();
    const size_t head = at ? (size_t)(at - json) : strlen(json);
    const char *tail = at ? at + strlen(mark) : "";
    const size_t size = head + (at ? strlen(vocab) : 0) + strlen(tail);
    char *text = malloc(size + 1);
    if (!text) abort();
    sprintf(text, "%.*s%s%s", (int)head, json, at ? vocab : "", tail);
    /* Without the NUL, so that a sanitizer sees who reads it. */
    char *exact = malloc(size);
    if (size && !exact) abort();
    if (size) memcpy(exact, text, size);
    const pal_status s = pal_tokenizer_load(out, exact, (int64_t)size, error);
    free(exact);
    free(text);
    return s;
}

/* Whether `back` is the text, with more spaces in it if these are allowed. */
static bool same(const char *text, int64_t size, const char *back, int64_t n, bool spaces)
{
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        if (at < size && text[at] == back[i])
            at++;
        else if (!spaces || back[i] != ' ')
            return false;
    }
    return at == size;
}

/* Whether a text is whole characters. What begins one and is none is refused here by its own rule:
 * the bytes after the first have the bits 10, and as many as the first says. */
static bool whole(const char *text, int64_t size)
{
    for (int64_t i = 0; i < size;) {
        const unsigned char c = (unsigned char)text[i++];
        int more = c < 0x80 ? 0 : c < 0xC2 ? -1 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : c < 0xF5 ? 3 : -1;
        if (more < 0) return false;
        for (; more > 0; more--, i++)
            if (i >= size || ((unsigned char)text[i] & 0xC0) != 0x80) return false;
    }
    return true;
}

/* The text of tokens comes in whole characters, and is the same at once. */
static void stream(const pal_tokenizer *b, const pal_token_ids *ids, bool specials)
{
    char *all;
    int64_t size, at = 0;
    pal_error error = {0};
    fuzz_must(pal_tokenizer_text_of(b, ids->id, ids->count, specials, &all, &size, &error) ==
                  PAL_OK,
              "tokens have a text");
    pal_tokenizer_stream *s = pal_tokenizer_stream_new(b, (pal_stream_opts){.specials = specials});
    if (!s) abort();
    for (int64_t i = 0; i <= ids->count; i++) {
        const char *part;
        int64_t n;
        const pal_status status = i < ids->count
                                      ? pal_tokenizer_stream_put(s, ids->id[i], &part, &n, &error)
                                      : pal_tokenizer_stream_end(s, &part, &n, &error);
        fuzz_must(status == PAL_OK, "every token is taken by a stream");
        fuzz_must(whole(part, n), "a part of a stream is whole characters");
        fuzz_must(n <= size - at && memcmp(all + at, part, (size_t)n) == 0,
                  "a stream says what the text is");
        at += n;
    }
    fuzz_must(at == size, "and all of it");
    pal_tokenizer_stream_free(s);
    free(all);
}

void fuzz_round_trip(pal_tokenizer *b, const void *text, int64_t size, fuzz_trip trip)
{
    pal_token_ids ids = {0};
    pal_error error = {0};
    const bool exact = pal_tokenizer_is_exact(b);
    const pal_encode_opts how = {.begin = size % 2, .end = size % 3 == 0, .plain = size % 5 == 0};
    pal_status s = pal_tokenizer_encode(b, text, size, &ids, &error);
    fuzz_refused(s, &error);
    fuzz_must(s == PAL_OK || trip == FUZZ_ANY, "every text is encoded");
    if (s == PAL_OK) {
        const int64_t vocab = pal_tokenizer_vocab_size(b);
        for (int64_t i = 0; i < ids.count; i++)
            fuzz_must(ids.id[i] >= 0 && ids.id[i] < vocab, "ids are in the vocabulary");
        const int64_t n = pal_tokenizer_decode(b, ids.id, ids.count, NULL, 0);
        fuzz_must(n >= size || !exact, "nothing is lost");
        char *back = malloc((size_t)n + 1);
        if (!back) abort();
        fuzz_must(pal_tokenizer_decode(b, ids.id, ids.count, back, n) == n, "decoding repeats");
        fuzz_must(!exact || same(text, size, back, n, trip != FUZZ_EXACT), "the bytes come back");
        free(back);
        stream(b, &ids, size % 2);
        ids.count = 0;
        s = pal_tokenizer_encode_with(b, text, size, how, &ids, &error);
        fuzz_must(s == PAL_OK || trip == FUZZ_ANY, "every text is encoded in every way");
        for (int64_t i = 0; i < ids.count; i++)
            fuzz_must(ids.id[i] >= 0 && ids.id[i] < vocab, "ids around it are in the vocabulary");
    }
    pal_token_ids_free(&ids);
}
