/*
 * load_decode.c - the decoder of a tokenizer.json: what each token stands for.
 *
 * A decoder changes the texts of tokens, which is done once for all of them while the file is
 * loaded. What depends on the tokens beside one is left to decode.c: bytes that make a character
 * together, and what is left out at the beginning of a text.
 */
#include "tensor/text/internal.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

#define get cJSON_GetObjectItemCaseSensitive

static const char DECODER[] = "decoder";

/* The texts of all tokens while decoders change them; the last of a chain of tables is the
 * tokenizer's. */
typedef struct texts {
    pal_tokenizer *b;
    pal_bpe_buffer text;
    int64_t *at;
    int64_t most;      /* bytes that there may be */
    bool bytes, fused; /* after a ByteFallback, after a Fuse */
} texts;

static pal_status no_memory(pal_error *error)
{
    return pal_error_set(error, PAL_ENOMEM, "tokenizer.json: out of memory");
}

typedef struct edit {
    const char *find, *put; /* Replace */
    int64_t find_size, put_size;
    char strip[8]; /* Strip, at both ends at most so many times */
    int64_t start, stop;
} edit;

/* The text of a token as one edit leaves it. */
static bool apply(const edit *r, const char *text, int64_t size, pal_bpe_buffer *to)
{
    const int64_t n = (int64_t)strlen(r->strip);
    for (int64_t i = 0;
         r->strip[0] && i < r->start && size >= n && !memcmp(text, r->strip, (size_t)n); i++)
        text += n, size -= n;
    for (int64_t i = 0;
         r->strip[0] && i < r->stop && size >= n && !memcmp(text + size - n, r->strip, (size_t)n);
         i++)
        size -= n;
    if (!r->find) return pal_bpe_buffer_add(to, text, size);
    bool room = true;
    for (int64_t i = 0; i < size && room;) {
        if (size - i >= r->find_size && memcmp(text + i, r->find, (size_t)r->find_size) == 0) {
            room = pal_bpe_buffer_add(to, r->put, r->put_size);
            i += r->find_size;
        } else {
            room = pal_bpe_buffer_add(to, text + i++, 1);
        }
    }
    return room;
}

/* Changes every text by an edit. A file may ask for much more text than there is. */
static pal_status change(texts *t, const edit *r, pal_error *error)
{
    pal_bpe_buffer to = {0};
    const int64_t vocab = t->b->vocab, most = t->most;
    int64_t *at = malloc((size_t)(vocab + 1) * sizeof *at);
    bool room = at && pal_bpe_grow((void **)&to.byte, &to.room, 1, 1);
    for (int64_t i = 0; i < vocab && room && to.size <= most; i++) {
        at[i] = to.size;
        room = apply(r, t->text.byte + t->at[i], t->at[i + 1] - t->at[i], &to);
    }
    if (!room || to.size > most) {
        free(at);
        free(to.byte);
        return room ? pal_bpe_bad(error, "decoder makes too much text of the vocabulary")
                    : no_memory(error);
    }
    at[vocab] = to.size;
    free(t->at);
    free(t->text.byte);
    t->at = at;
    t->text = to;
    return PAL_OK;
}

static pal_status replace(texts *t, const cJSON *o, pal_error *error)
{
    static const char *const known[] = {"type", "pattern", "content", NULL};
    static const char *const kinds[] = {"String", "Regex", NULL};
    edit r = {.find = NULL};
    const cJSON *p = get(o, "pattern");
    pal_status s = pal_bpe_object(o, "decoder Replace", known, error);
    if (s == PAL_OK) s = pal_bpe_object(p, "decoder Replace.pattern", kinds, error);
    if (s == PAL_OK && !get(p, "String"))
        s = pal_bpe_bad(error, "decoder Replace.pattern of another kind than String is not "
                               "supported");
    if (s == PAL_OK) s = pal_bpe_string(p, "decoder Replace.pattern", "String", &r.find, error);
    if (s == PAL_OK) s = pal_bpe_string(o, "decoder Replace", "content", &r.put, error);
    if (s == PAL_OK && (t->bytes || t->fused))
        s = pal_bpe_bad(error, "decoder Replace after a ByteFallback or Fuse is not supported");
    if (s == PAL_OK && !r.find[0]) s = pal_bpe_bad(error, "decoder Replace.pattern is empty");
    if (s != PAL_OK) return s;
    r.find_size = (int64_t)strlen(r.find);
    r.put_size = (int64_t)strlen(r.put);
    return change(t, &r, error);
}

static pal_status strip(texts *t, const cJSON *o, pal_error *error)
{
    static const char *const known[] = {"type", "content", "start", "stop", NULL};
    pal_tokenizer *b = t->b;
    edit r = {.find = NULL};
    int32_t start = 0, stop = 0;
    const char *text;
    pal_status s = pal_bpe_object(o, "decoder Strip", known, error);
    if (s == PAL_OK) s = pal_bpe_string(o, "decoder Strip", "content", &text, error);
    if (s != PAL_OK) return s;
    const size_t size = strlen(text);
    if (size == 0 || (size_t)pal_utf8(text, (int64_t)size) != size)
        return pal_bpe_bad(error, "decoder Strip.content is not one character");
    if (!pal_bpe_whole(get(o, "start"), &start) || !pal_bpe_whole(get(o, "stop"), &stop))
        return pal_bpe_bad(error, "decoder Strip.start or stop is missing or no whole number");
    if (t->bytes && !t->fused)
        return pal_bpe_bad(error, "decoder Strip between ByteFallback and Fuse is not supported");
    if (t->fused && (stop > 0 || b->strip[0]))
        return pal_bpe_bad(error, b->strip[0]
                                      ? "decoder has two Strip after a Fuse, which is not supported"
                                      : "decoder Strip.stop after a Fuse is not supported");
    if (t->fused) {
        if (start) strcpy(b->strip, text);
        b->strip_most = start;
        return PAL_OK;
    }
    strcpy(r.strip, text);
    r.start = start;
    r.stop = stop;
    return change(t, &r, error);
}

static pal_status metaspace(texts *t, const cJSON *o, pal_error *error)
{
    char space[8];
    int scheme;
    bool cuts;
    pal_status s = pal_bpe_metaspace(o, "decoder Metaspace", space, &scheme, &cuts, error);
    if (s == PAL_OK && (t->bytes || t->fused || t->b->first_drops[0]))
        s = pal_bpe_bad(error, "decoder Metaspace after another decoder is not supported");
    if (s != PAL_OK) return s;
    if (scheme != PAL_BPE_NEVER) strcpy(t->b->first_drops, space);
    const edit r = {.find = space, .find_size = (int64_t)strlen(space), .put = " ", .put_size = 1};
    return change(t, &r, error);
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* Texts <0xHH> become bytes. */
static pal_status byte_fallback(texts *t, const cJSON *o, pal_error *error)
{
    static const char *const known[] = {"type", NULL};
    pal_tokenizer *b = t->b;
    pal_status s = pal_bpe_object(o, "decoder ByteFallback", known, error);
    if (s == PAL_OK && (t->bytes || t->fused))
        s = pal_bpe_bad(error, "decoder ByteFallback after another or after Fuse is not supported");
    if (s != PAL_OK) return s;
    b->is_byte = calloc((size_t)b->vocab + 1, sizeof *b->is_byte);
    if (!b->is_byte) return no_memory(error);
    t->bytes = true;
    b->reading = PAL_BPE_RUNS;
    int64_t to = 0;
    for (int64_t i = 0; i < b->vocab; i++) {
        char *text = t->text.byte + t->at[i];
        const int64_t size = t->at[i + 1] - t->at[i];
        t->at[i] = to;
        b->is_byte[i] = size == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>' &&
                        digit(text[3]) >= 0 && digit(text[4]) >= 0;
        if (b->is_byte[i]) {
            t->text.byte[to++] = (char)(unsigned char)(digit(text[3]) * 16 + digit(text[4]));
        } else {
            memmove(t->text.byte + to, text, (size_t)size);
            to += size;
        }
    }
    t->at[b->vocab] = t->text.size = to;
    return PAL_OK;
}

static pal_status decoders(texts *t, const cJSON *o, int depth, pal_error *error)
{
    static const char *const known[] = {"type", "decoders", NULL}, *const fuse[] = {"type", NULL};
    const char *type = pal_bpe_type(o);
    if (strcmp(type, "Replace") == 0) return replace(t, o, error);
    if (strcmp(type, "ByteFallback") == 0) return byte_fallback(t, o, error);
    if (strcmp(type, "Strip") == 0) return strip(t, o, error);
    if (strcmp(type, "Metaspace") == 0) return metaspace(t, o, error);
    if (strcmp(type, "Fuse") == 0) {
        t->fused = true;
        return pal_bpe_object(o, "decoder Fuse", fuse, error);
    }
    if (strcmp(type, "Sequence") != 0 || depth > 4)
        return pal_bpe_bad(error, "decoder of type '%.60s' is not supported%s", type,
                           strcmp(type, "ByteLevel") ? "" : " without a pre_tokenizer ByteLevel");
    pal_status s = pal_bpe_object(o, DECODER, known, error);
    const cJSON *list = get(o, "decoders");
    if (s == PAL_OK && !cJSON_IsArray(list)) s = pal_bpe_bad(error, "decoder.decoders is no list");
    for (const cJSON *d = s == PAL_OK ? list->child : NULL; d && s == PAL_OK; d = d->next)
        s = decoders(t, d, depth + 1, error);
    return s;
}

pal_status pal_bpe_load_decoder(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    if (!cJSON_IsObject(o)) return pal_bpe_bad(error, "decoder is missing or no object");
    if (b->bytes) {
        const cJSON *list = get(o, "decoders");
        if (strcmp(pal_bpe_type(o), "Sequence") == 0 && cJSON_GetArraySize(list) == 1)
            o = list->child;
        if (strcmp(pal_bpe_type(o), "ByteLevel") == 0) return pal_bpe_places(o, DECODER, error);
        return pal_bpe_bad(error,
                           "decoder of type '%.60s' is not supported after a pre_tokenizer "
                           "ByteLevel",
                           pal_bpe_type(o));
    }
    texts t = {
        .b = b, .text = {b->text, b->text_at[b->vocab], b->text_at[b->vocab]}, .at = b->text_at};
    b->reading = PAL_BPE_TEXTS;
    t.most = 64 * t.text.size + (1 << 20);
    const pal_status s = decoders(&t, o, 0, error);
    b->text = t.text.byte;
    b->text_at = t.at;
    if (s == PAL_OK && b->byte_fallback && !t.bytes)
        return pal_bpe_bad(error, "model.byte_fallback without a decoder ByteFallback is not "
                                  "supported");
    return s;
}
