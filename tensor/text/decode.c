/*
 * decode.c - tokens to bytes, and to text as it comes.
 *
 * A stream keeps back what may still change: a character of which some bytes are missing, and with
 * a decoder ByteFallback the whole run of tokens that are bytes, since all of it becomes U+FFFD if
 * a part of it is no UTF-8. That is what `tokenizers` makes of the tokens together.
 */
#include "tensor/text/internal.h"
#include "tensor/text/lossy.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

const char *pal_tokenizer_token(const pal_tokenizer *b, int64_t id, int64_t *size)
{
    *size = 0;
    if (id < 0 || id >= b->vocab) return NULL;
    *size = b->text_at[id + 1] - b->text_at[id];
    return b->text + b->text_at[id];
}

int64_t pal_tokenizer_vocab_size(const pal_tokenizer *b) { return b->vocab; }

int64_t pal_tokenizer_special(const pal_tokenizer *b, const char *text)
{
    const int64_t size = (int64_t)strlen(text);
    for (int64_t i = 0; i < b->addeds; i++)
        if (b->added[i].size == size && memcmp(b->added[i].text, text, (size_t)size) == 0)
            return b->added[i].id;
    return -1;
}

bool pal_tokenizer_is_special(const pal_tokenizer *b, int64_t id)
{
    return b->is_special && id >= 0 && id < b->vocab && b->is_special[id];
}

const char *pal_tokenizer_json(const pal_tokenizer *b, int64_t *size)
{
    *size = b->json_size;
    return b->json;
}

bool pal_tokenizer_is_exact(const pal_tokenizer *b)
{
    if (b->json_size == 0) return true;
    bool exact = b->bytes && b->steps == 0;
    for (int i = 0; i < 256; i++) exact &= b->byte_id[i] >= 0;
    for (int i = 0; i < b->stages; i++) {
        const char *space = b->stage[i].space;
        exact &= b->stage[i].behavior != PAL_BPE_REMOVED && (!space[0] || strcmp(space, " ") == 0);
    }
    for (int64_t i = 0; i < b->addeds; i++) exact &= !b->added[i].lstrip && !b->added[i].rstrip;
    return exact;
}

/* ---- What the place of a token changes ---- */

/* The text of the first token of a text, in memory for free() if it is another; NULL and *size as
 * it was if it is not. */
static char *drop_in_first(const pal_tokenizer *b, int64_t id, int64_t *size)
{
    const int64_t n = (int64_t)strlen(b->first_drops);
    int64_t length, to = 0;
    if (b->is_byte && b->is_byte[id]) return NULL;
    const char *key = pal_bpe_names_get(&b->key, b->key_of[id], &length);
    char *copy = malloc((size_t)length + 1);
    for (int64_t i = 0; copy && i < length;) {
        if (length - i >= n && memcmp(key + i, b->first_drops, (size_t)n) == 0)
            i += n;
        else
            copy[to++] = key[i++];
    }
    if (copy) *size = to;
    return copy;
}

/* How many bytes a text loses at its beginning; *left: how often it may still do so. */
static int64_t strip_start(const pal_tokenizer *b, const char *text, int64_t size, int64_t *left)
{
    const int64_t n = (int64_t)strlen(b->strip);
    int64_t at = 0;
    while (*left > 0 && at < size) {
        if (size - at < n || memcmp(text + at, b->strip, (size_t)n) != 0) {
            *left = 0;
            break;
        }
        at += n;
        --*left;
    }
    return at;
}

int64_t pal_tokenizer_decode(const pal_tokenizer *b, const int64_t *id, int64_t count, void *to,
                             int64_t room)
{
    int64_t n = 0, strips = b->strip_most;
    for (int64_t i = 0; i < count; i++) {
        int64_t size;
        const char *text = pal_tokenizer_token(b, id[i], &size);
        if (!text) return -1;
        char *own = i == 0 && b->first_drops[0] ? drop_in_first(b, id[i], &size) : NULL;
        if (own) text = own;
        const int64_t skip = strip_start(b, text, size, &strips);
        size -= skip;
        const int64_t fits = room - n < size ? room - n : size;
        if (fits > 0) memcpy((char *)to + n, text + skip, (size_t)fits);
        n += size;
        free(own);
    }
    return n;
}

/* ---- Streams ---- */

struct pal_tokenizer_stream {
    const pal_tokenizer *b;
    bool specials, raw;
    bool begun;           /* a token came before */
    int64_t strips;       /* characters that may still be left out at the beginning */
    pal_bpe_buffer held;  /* bytes that are no text yet */
    pal_bpe_buffer ready; /* what the last call returned */
};

pal_tokenizer_stream *pal_tokenizer_stream_new(const pal_tokenizer *b, pal_stream_opts opts)
{
    pal_tokenizer_stream *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->b = b;
    s->specials = opts.specials;
    s->raw = opts.raw;
    s->begun = opts.inside;
    s->strips = opts.inside ? 0 : b->strip_most;
    return s;
}

void pal_tokenizer_stream_free(pal_tokenizer_stream *s)
{
    if (!s) return;
    free(s->held.byte);
    free(s->ready.byte);
    free(s);
}

/* Text that will not change. */
static bool emit(pal_tokenizer_stream *s, const char *text, int64_t size)
{
    const int64_t skip = s->strips ? strip_start(s->b, text, size, &s->strips) : 0;
    return pal_bpe_buffer_add(&s->ready, text + skip, size - skip);
}

/* The held bytes as far as they are whole characters, or all of them. */
static bool release(pal_tokenizer_stream *s, bool all)
{
    int64_t at = 0;
    bool room = true;
    while (at < s->held.size && room) {
        const char *text;
        int64_t size;
        const int64_t n =
            pal_lossy(s->held.byte + at, s->held.size - at, all, s->raw, &text, &size);
        if (n == 0) break;
        room = emit(s, text, size);
        at += n;
    }
    s->held.size -= at;
    memmove(s->held.byte, s->held.byte + at, (size_t)s->held.size);
    return room;
}

/* The end of a run of tokens that are bytes. */
static bool end_run(pal_tokenizer_stream *s)
{
    bool valid = true, room = true;
    for (int64_t at = 0, n; at < s->held.size && valid; at += n) {
        n = pal_utf8(s->held.byte + at, s->held.size - at);
        valid = n > 0;
    }
    valid |= s->raw;
    if (valid) room = emit(s, s->held.byte, s->held.size);
    for (int64_t i = 0; i < s->held.size && !valid && room; i++) room = emit(s, PAL_REPLACEMENT, 3);
    s->held.size = 0;
    return room;
}

int64_t pal_tokenizer_stream_held(const pal_tokenizer_stream *s) { return s->held.size; }

static pal_status finish(pal_tokenizer_stream *s, bool room, const char **text, int64_t *size,
                         pal_error *error)
{
    *text = room ? s->ready.byte : NULL;
    *size = room ? s->ready.size : 0;
    if (room && !*text) *text = "";
    return room ? PAL_OK
                : pal_error_set(error, PAL_ENOMEM, "pal_tokenizer_stream_put: out of memory");
}

pal_status pal_tokenizer_stream_put(pal_tokenizer_stream *s, int64_t id, const char **text,
                                    int64_t *size, pal_error *error)
{
    const pal_tokenizer *b = s->b;
    int64_t n;
    const char *token = pal_tokenizer_token(b, id, &n);
    s->ready.size = 0;
    *text = NULL;
    *size = 0;
    if (!token)
        return pal_error_set(error, PAL_EVALUE,
                             "pal_tokenizer_stream_put: %lld is no token of %lld", (long long)id,
                             (long long)b->vocab);
    if (!s->specials && pal_tokenizer_is_special(b, id)) return finish(s, true, text, size, error);
    char *own = !s->begun && b->first_drops[0] ? drop_in_first(b, id, &n) : NULL;
    bool room = true;
    if (own) token = own;
    s->begun = true;
    if (b->reading == PAL_BPE_LOSSY) {
        room = pal_bpe_buffer_add(&s->held, token, n) && release(s, false);
    } else if (b->is_byte && b->is_byte[id]) {
        room = pal_bpe_buffer_add(&s->held, token, n);
    } else {
        room = (s->held.size == 0 || end_run(s)) && emit(s, token, n);
    }
    free(own);
    return finish(s, room, text, size, error);
}

pal_status pal_tokenizer_stream_end(pal_tokenizer_stream *s, const char **text, int64_t *size,
                                    pal_error *error)
{
    s->ready.size = 0;
    const bool room =
        s->held.size == 0 || (s->b->reading == PAL_BPE_LOSSY ? release(s, true) : end_run(s));
    return finish(s, room, text, size, error);
}

pal_status pal_tokenizer_text_of(const pal_tokenizer *b, const int64_t *id, int64_t count,
                                 bool specials, char **text, int64_t *size, pal_error *error)
{
    pal_bpe_buffer all = {0};
    pal_tokenizer_stream *stream =
        pal_tokenizer_stream_new(b, (pal_stream_opts){.specials = specials});
    pal_status s = PAL_OK;
    bool room = stream != NULL;
    *text = NULL;
    *size = 0;
    for (int64_t i = 0; i <= count && room && s == PAL_OK; i++) {
        const char *part;
        int64_t n;
        s = i < count ? pal_tokenizer_stream_put(stream, id[i], &part, &n, error)
                      : pal_tokenizer_stream_end(stream, &part, &n, error);
        room = s != PAL_OK || pal_bpe_buffer_add(&all, part, n);
    }
    room = room && pal_bpe_buffer_add(&all, "", 1);
    pal_tokenizer_stream_free(stream);
    if (s == PAL_OK && !room)
        s = pal_error_set(error, PAL_ENOMEM, "pal_tokenizer_text_of: out of memory");
    if (s == PAL_OK) {
        *text = all.byte;
        *size = all.size - 1;
    } else {
        free(all.byte);
    }
    return s;
}
