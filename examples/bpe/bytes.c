/*
 * bytes.c - the tokenizer of a build without cJSON or PCRE2: every byte is a token. It takes the
 * place of the other files of this folder; byte-level BPE, which needs both, is an error here.
 */
#include "examples/bpe/bpe.h"

#include <stdlib.h>
#include <string.h>

struct bpe {
    char byte[256];
};

static pal_status no_bpe(const char *what, pal_error *error)
{
    return pal_error_set(error, PAL_EFORMAT,
                         "%s: byte-level BPE is not in this build, since cJSON or PCRE2 was "
                         "missing; bytes are",
                         what);
}

pal_status bpe_load(bpe **out, const char *json, int64_t size, pal_error *error)
{
    (void)json;
    *out = NULL;
    if (size != 0) return no_bpe("tokenizer.json", error);
    bpe *b = malloc(sizeof *b);
    if (!b) return pal_error_set(error, PAL_ENOMEM, "bpe_load: out of memory");
    for (int i = 0; i < 256; i++) b->byte[i] = (char)(unsigned char)i;
    *out = b;
    return PAL_OK;
}

void bpe_free(bpe *b) { free(b); }

pal_status bpe_train(bpe **out, const bpe_text *text, int64_t texts, bpe_train_opts opts,
                     pal_error *error)
{
    (void)text, (void)texts, (void)opts;
    *out = NULL;
    return no_bpe("bpe_train", error);
}

void bpe_ids_free(bpe_ids *ids)
{
    free(ids->id);
    *ids = (bpe_ids){.id = NULL};
}

pal_status bpe_encode(bpe *b, const void *text, int64_t size, bpe_ids *to, pal_error *error)
{
    const unsigned char *byte = text;
    (void)b;
    if (size > to->room - to->count) {
        const int64_t room = to->count + size;
        int64_t *more = realloc(to->id, (size_t)room * sizeof *more);
        if (!more) return pal_error_set(error, PAL_ENOMEM, "bpe_encode: out of memory");
        to->id = more;
        to->room = room;
    }
    for (int64_t i = 0; i < size; i++) to->id[to->count++] = byte[i];
    return PAL_OK;
}

const char *bpe_token(const bpe *b, int64_t id, int64_t *size)
{
    *size = id >= 0 && id < 256;
    return *size ? b->byte + id : NULL;
}

int64_t bpe_decode(const bpe *b, const int64_t *id, int64_t count, void *to, int64_t room)
{
    (void)b;
    char *byte = to;
    for (int64_t i = 0; i < count; i++) {
        if (id[i] < 0 || id[i] >= 256) return -1;
        if (i < room) byte[i] = (char)(unsigned char)id[i];
    }
    return count;
}

int64_t bpe_vocab_size(const bpe *b) { return (void)b, 256; }
int64_t bpe_special(const bpe *b, const char *text) { return (void)b, (void)text, -1; }

const char *bpe_json(const bpe *b, int64_t *size)
{
    *size = 0;
    return (void)b, "";
}
