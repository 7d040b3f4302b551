/*
 * bytes.c - the tokenizer of a build without cJSON or PCRE2: every byte is a token. It takes the
 * place of the other files of this folder but lossy.c; BPE, which needs both, is an error here.
 */
#include "tensor/text.h"
#include "tensor/text/ends.h"
#include "tensor/text/lossy.h"

#include <stdlib.h>
#include <string.h>

struct pal_tokenizer {
    char byte[256];
};

static pal_status no_bpe(const char *what, pal_error *error)
{
    return pal_error_set(error, PAL_EFORMAT,
                         "%s: BPE is not in this build, since cJSON or PCRE2 was "
                         "missing; bytes are",
                         what);
}

pal_status pal_tokenizer_load(pal_tokenizer **out, const char *json, int64_t size, pal_error *error)
{
    (void)json;
    *out = NULL;
    if (size != 0) return no_bpe("tokenizer.json", error);
    pal_tokenizer *b = malloc(sizeof *b);
    if (!b) return pal_error_set(error, PAL_ENOMEM, "pal_tokenizer_load: out of memory");
    for (int i = 0; i < 256; i++) b->byte[i] = (char)(unsigned char)i;
    *out = b;
    return PAL_OK;
}

void pal_tokenizer_free(pal_tokenizer *b) { free(b); }

pal_status pal_tokenizer_train(pal_tokenizer **out, const pal_tokenizer_text *text, int64_t texts,
                               pal_tokenizer_train_opts opts, pal_error *error)
{
    (void)text, (void)texts, (void)opts;
    *out = NULL;
    return no_bpe("pal_tokenizer_train", error);
}

void pal_token_ids_free(pal_token_ids *ids)
{
    free(ids->id);
    *ids = (pal_token_ids){.id = NULL};
}

pal_status pal_tokenizer_encode(pal_tokenizer *b, const void *text, int64_t size, pal_token_ids *to,
                                pal_error *error)
{
    const unsigned char *byte = text;
    (void)b;
    if (size > to->room - to->count) {
        const int64_t room = to->count + size;
        int64_t *more = realloc(to->id, (size_t)room * sizeof *more);
        if (!more) return pal_error_set(error, PAL_ENOMEM, "pal_tokenizer_encode: out of memory");
        to->id = more;
        to->room = room;
    }
    for (int64_t i = 0; i < size; i++) to->id[to->count++] = byte[i];
    return PAL_OK;
}

pal_status pal_tokenizer_encode_with(pal_tokenizer *b, const void *text, int64_t size,
                                     pal_encode_opts opts, pal_token_ids *to, pal_error *error)
{
    (void)opts;
    return pal_tokenizer_encode(b, text, size, to, error);
}

const char *pal_tokenizer_token(const pal_tokenizer *b, int64_t id, int64_t *size)
{
    *size = id >= 0 && id < 256;
    return *size ? b->byte + id : NULL;
}

int64_t pal_tokenizer_decode(const pal_tokenizer *b, const int64_t *id, int64_t count, void *to,
                             int64_t room)
{
    (void)b;
    char *byte = to;
    for (int64_t i = 0; i < count; i++) {
        if (id[i] < 0 || id[i] >= 256) return -1;
        if (i < room) byte[i] = (char)(unsigned char)id[i];
    }
    return count;
}

int64_t pal_tokenizer_vocab_size(const pal_tokenizer *b) { return (void)b, 256; }
int64_t pal_tokenizer_special(const pal_tokenizer *b, const char *text)
{
    return (void)b, (void)text, -1;
}

const char *pal_tokenizer_json(const pal_tokenizer *b, int64_t *size)
{
    *size = 0;
    return (void)b, "";
}

bool pal_tokenizer_is_exact(const pal_tokenizer *b) { return (void)b, true; }
bool pal_tokenizer_is_special(const pal_tokenizer *b, int64_t id)
{
    return (void)b, (void)id, false;
}

/* ---- Text, as it comes ---- */

struct pal_tokenizer_stream {
    char held[8], ready[32];
    int64_t helds;
    bool raw;
};

pal_tokenizer_stream *pal_tokenizer_stream_new(const pal_tokenizer *b, pal_stream_opts opts)
{
    (void)b;
    pal_tokenizer_stream *s = calloc(1, sizeof *s);
    if (s) s->raw = opts.raw;
    return s;
}

void pal_tokenizer_stream_free(pal_tokenizer_stream *s) { free(s); }

int64_t pal_tokenizer_stream_held(const pal_tokenizer_stream *s) { return s->helds; }

static void release(pal_tokenizer_stream *s, bool all, const char **text, int64_t *size)
{
    int64_t at = 0, n;
    *text = s->ready;
    *size = 0;
    while (at < s->helds) {
        const char *part;
        int64_t length;
        n = pal_lossy(s->held + at, s->helds - at, all, s->raw, &part, &length);
        if (n == 0) break;
        memcpy(s->ready + *size, part, (size_t)length);
        *size += length;
        at += n;
    }
    s->helds -= at;
    memmove(s->held, s->held + at, (size_t)s->helds);
}

pal_status pal_tokenizer_stream_put(pal_tokenizer_stream *s, int64_t id, const char **text,
                                    int64_t *size, pal_error *error)
{
    *text = NULL;
    *size = 0;
    if (id < 0 || id >= 256)
        return pal_error_set(error, PAL_EVALUE, "pal_tokenizer_stream_put: %lld is no token of 256",
                             (long long)id);
    s->held[s->helds++] = (char)(unsigned char)id;
    release(s, false, text, size);
    return PAL_OK;
}

pal_status pal_tokenizer_stream_end(pal_tokenizer_stream *s, const char **text, int64_t *size,
                                    pal_error *error)
{
    (void)error;
    release(s, true, text, size);
    return PAL_OK;
}

pal_status pal_tokenizer_text_of(const pal_tokenizer *b, const int64_t *id, int64_t count,
                                 bool specials, char **text, int64_t *size, pal_error *error)
{
    pal_tokenizer_stream stream = {.helds = 0};
    char *all = malloc(3 * (size_t)count + 4);
    (void)b, (void)specials;
    *text = NULL;
    *size = 0;
    if (!all) return pal_error_set(error, PAL_ENOMEM, "pal_tokenizer_text_of: out of memory");
    int64_t to = 0;
    for (int64_t i = 0; i <= count; i++) {
        const char *part;
        int64_t n;
        const pal_status s = i < count ? pal_tokenizer_stream_put(&stream, id[i], &part, &n, error)
                                       : pal_tokenizer_stream_end(&stream, &part, &n, error);
        if (s != PAL_OK) {
            free(all);
            return s;
        }
        memcpy(all + to, part, (size_t)n);
        to += n;
    }
    all[to] = 0;
    *text = all;
    *size = to;
    return PAL_OK;
}

/* ---- The end of a text, which no byte is ---- */

pal_status pal_ends_read(const char *json, int64_t size, pal_token_ids *to, pal_error *error)
{
    (void)json, (void)size, (void)to, (void)error;
    return PAL_OK;
}

pal_status pal_ends_named(const pal_tokenizer *b, pal_token_ids *to, pal_error *error)
{
    (void)b, (void)to, (void)error;
    return PAL_OK;
}
