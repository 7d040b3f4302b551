/*
 * normalize.c - the normalizers of a tokenizer.json, one after the other.
 */
#include "tensor/text/internal.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

/* A file may ask for much more text than there is, again and again. */
enum { GROWTH = 64, GROWTH_LEAST = 1 << 20 };

bool pal_bpe_buffer_add(pal_bpe_buffer *to, const char *byte, int64_t size)
{
    if (!pal_bpe_grow((void **)&to->byte, &to->room, to->size + size, 1)) return false;
    if (size) memcpy(to->byte + to->size, byte, (size_t)size);
    to->size += size;
    return true;
}

static pal_status add(pal_bpe_buffer *to, const char *byte, int64_t size, pal_error *error)
{
    if (pal_bpe_buffer_add(to, byte, size)) return PAL_OK;
    return pal_error_set(error, PAL_ENOMEM, "pal_tokenizer_encode: out of memory");
}

/* ---- White space: the 25 characters of White_Space ---- */

/* The length of the character of white space that begins here; 0: it is none. */
static int space(const char *text, int64_t left)
{
    const unsigned char *s = (const unsigned char *)text;
    const int n = pal_utf8(text, left);
    if (n == 1) return s[0] == ' ' || (s[0] >= '\t' && s[0] <= '\r');
    if (n == 2) return s[0] == 0xC2 && (s[1] == 0x85 || s[1] == 0xA0) ? 2 : 0;
    if (n != 3) return 0;
    const int c = (s[0] & 0x0F) << 12 | (s[1] & 0x3F) << 6 | (s[2] & 0x3F);
    return c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
                   c == 0x202F || c == 0x205F || c == 0x3000
               ? 3
               : 0;
}

int pal_bpe_utf8_before(const char *text, int64_t size)
{
    for (int n = 1; n <= 4 && n <= size; n++)
        if (pal_utf8(text + size - n, n) == n) return n;
    return 1;
}

int64_t pal_bpe_space_at_start(const char *text, int64_t size)
{
    int64_t at = 0;
    for (int n; (n = space(text + at, size - at)) > 0;) at += n;
    return at;
}

int64_t pal_bpe_space_at_end(const char *text, int64_t size)
{
    int64_t at = size;
    while (at > 0) {
        const int n = pal_bpe_utf8_before(text, at);
        if (space(text + at - n, n) != n) break;
        at -= n;
    }
    return size - at;
}

/* ---- The normalizers ---- */

static pal_status replace(pal_tokenizer *b, const pal_bpe_step *step, const char *text,
                          int64_t size, pal_bpe_buffer *to, pal_error *error)
{
    pal_bpe_search search = {
        .last = -1, .code = step->code, .where = "normalizer", .number = (int)(step - b->step)};
    int64_t done = 0;
    for (bool found;;) {
        pal_status s = pal_bpe_next(b, &search, text, size, &found, error);
        if (s != PAL_OK || !found)
            return s == PAL_OK ? add(to, text + done, size - done, error) : s;
        s = add(to, text + done, search.begin - done, error);
        if (s == PAL_OK) s = add(to, step->content, step->size, error);
        if (s != PAL_OK) return s;
        done = search.end;
        /* What takes the place of several characters counts as the last of them. */
        if (search.begin == 0 && done > 0)
            b->lost_start |= step->size == 0 || pal_utf8(text, size) < done;
    }
}

/* A step over a text that is UTF-8. */
static pal_status run(pal_tokenizer *b, const pal_bpe_step *step, const char *text, int64_t size,
                      pal_bpe_buffer *to, pal_error *error)
{
    if (step->kind == PAL_BPE_UNICODE) return pal_bpe_unicode(step->form, text, size, to, error);
    return replace(b, step, text, size, to, error);
}

/* The spans of the text that are UTF-8, and what lies between them as it is. */
static pal_status over_spans(pal_tokenizer *b, const pal_bpe_step *step, const char *text,
                             int64_t size, pal_bpe_buffer *to, pal_error *error)
{
    pal_status s = PAL_OK;
    for (int64_t at = 0; at < size && s == PAL_OK;) {
        const int64_t begin = at;
        for (int n; at < size && (n = pal_utf8(text + at, size - at)) > 0;) at += n;
        if (at > begin) s = run(b, step, text + begin, at - begin, to, error);
        const int64_t bad = at;
        while (at < size && pal_utf8(text + at, size - at) == 0) at++;
        if (s == PAL_OK) s = add(to, text + bad, at - bad, error);
    }
    return s;
}

static pal_status take_step(pal_tokenizer *b, const pal_bpe_step *step, const char *text,
                            int64_t size, pal_bpe_buffer *to, pal_error *error)
{
    if (step->kind == PAL_BPE_PREPEND) {
        const pal_status s = size ? add(to, step->content, step->size, error) : PAL_OK;
        return s == PAL_OK ? add(to, text, size, error) : s;
    }
    if (step->kind != PAL_BPE_STRIP) return over_spans(b, step, text, size, to, error);
    const int64_t left = step->left ? pal_bpe_space_at_start(text, size) : 0;
    b->lost_start |= left > 0;
    const int64_t right = step->right ? pal_bpe_space_at_end(text + left, size - left) : 0;
    return add(to, text + left, size - left - right, error);
}

pal_status pal_bpe_normalize(pal_tokenizer *b, const char *text, int64_t size, pal_bpe_buffer *to,
                             pal_error *error)
{
    pal_bpe_buffer other = {0};
    pal_status s = PAL_OK;
    to->size = 0;
    b->lost_start = false;
    if (b->steps == 0) return add(to, text, size, error);
    for (int i = 0; i < b->steps && s == PAL_OK; i++) {
        const pal_bpe_buffer from = *to;
        *to = other;
        other = from;
        to->size = 0;
        s = take_step(b, &b->step[i], i ? other.byte : text, i ? other.size : size, to, error);
        if (s == PAL_OK && to->size > GROWTH * size + GROWTH_LEAST)
            s = pal_bpe_bad(error, "its normalizer makes %lld bytes of %lld, which is too many",
                            (long long)to->size, (long long)size);
    }
    free(other.byte);
    return s;
}
