/*
 * unicode.c - Unicode's normal forms, by utf8proc.
 *
 * The library decomposes one character and composes a text. What lies between, the order of marks,
 * is sorted here: the library's own sort takes the square of the length of a run of marks, and a
 * text may be one run. Source: Unicode Standard Annex 15; Unicode, section 3.11.
 */
#include "tensor/text/internal.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { CLASSES = 256, SHORT = 32, MOST = 64 /* characters of a decomposition; Unicode has 18 */ };

typedef struct letters {
    utf8proc_int32_t *c;
    int64_t n, room;
} letters;

static int class_of(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

/* A run of marks by their classes, of equal ones as they stood. */
static void sort_short(utf8proc_int32_t *c, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        const utf8proc_int32_t x = c[i];
        int64_t at = i;
        for (; at > 0 && class_of(c[at - 1]) > class_of(x); at--) c[at] = c[at - 1];
        c[at] = x;
    }
}

static bool sort_long(utf8proc_int32_t *c, int64_t n)
{
    int64_t at[CLASSES + 1] = {0};
    utf8proc_int32_t *copy = malloc((size_t)n * sizeof *copy);
    if (!copy) return false;
    memcpy(copy, c, (size_t)n * sizeof *copy);
    for (int64_t i = 0; i < n; i++) at[class_of(c[i]) + 1]++;
    for (int i = 0; i < CLASSES; i++) at[i + 1] += at[i];
    for (int64_t i = 0; i < n; i++) c[at[class_of(copy[i])]++] = copy[i];
    free(copy);
    return true;
}

static bool sort_marks(letters *l)
{
    for (int64_t i = 0; i < l->n; i++) {
        const int64_t begin = i;
        while (i < l->n && class_of(l->c[i]) != 0) i++;
        if (i - begin > SHORT) {
            if (!sort_long(l->c + begin, i - begin)) return false;
        } else if (i - begin > 1) {
            sort_short(l->c + begin, i - begin);
        }
    }
    return true;
}

static bool decompose(letters *l, const char *text, int64_t size, bool compatible)
{
    const utf8proc_option_t how =
        compatible ? UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT : UTF8PROC_DECOMPOSE;
    for (int64_t i = 0; i < size;) {
        utf8proc_int32_t c;
        i += utf8proc_iterate((const utf8proc_uint8_t *)text + i, size - i, &c);
        if (!pal_bpe_grow((void **)&l->c, &l->room, l->n + MOST, sizeof *l->c)) return false;
        const utf8proc_ssize_t n = utf8proc_decompose_char(c, l->c + l->n, MOST, how, NULL);
        if (n < 0 || n > MOST) return false;
        l->n += n;
    }
    return true;
}

/* Letters as UTF-8. */
static bool append(pal_bpe_buffer *to, const letters *l)
{
    for (int64_t i = 0; i < l->n; i++) {
        utf8proc_uint8_t byte[4];
        const utf8proc_ssize_t n = utf8proc_encode_char(l->c[i], byte);
        if (!pal_bpe_buffer_add(to, (const char *)byte, n)) return false;
    }
    return true;
}

/* From here on a character may change, or what stands before it. */
static bool may_change(unsigned char byte, pal_bpe_form form)
{
    /* U+0300 is the first that NFC changes, U+00A0 the first of the others. */
    return byte >= (form == PAL_BPE_NFC ? 0xCC : 0xC2);
}

pal_status pal_bpe_unicode(pal_bpe_form form, const char *text, int64_t size, pal_bpe_buffer *to,
                           pal_error *error)
{
    const bool compatible = form == PAL_BPE_NFKC || form == PAL_BPE_NFKD;
    const bool composed = form == PAL_BPE_NFC || form == PAL_BPE_NFKC;
    letters l = {NULL, 0, 0};
    bool room = true;
    for (int64_t i = 0; i < size && room;) {
        /* Text that stays as it is, up to the last character before one that may change. */
        const int64_t begin = i;
        while (i < size && !may_change((unsigned char)text[i], form)) i++;
        if (i < size && i > begin) i -= pal_bpe_utf8_before(text + begin, i - begin);
        room = pal_bpe_buffer_add(to, text + begin, i - begin);
        if (i == size) break;
        /* Up to the next character of ASCII, which never changes what stands before it. */
        const int64_t change = i++;
        while (i < size && (text[i] & 0x80)) i++;
        l.n = 0;
        room = room && decompose(&l, text + change, i - change, compatible) && sort_marks(&l);
        if (room && composed)
            l.n = utf8proc_normalize_utf32(l.c, l.n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        room = room && l.n >= 0 && append(to, &l);
    }
    free(l.c);
    return room ? PAL_OK : pal_error_set(error, PAL_ENOMEM, "pal_tokenizer_encode: out of memory");
}

pal_status pal_bpe_unicode_check(const char *name, pal_error *error)
{
    (void)name, (void)error;
    return PAL_OK;
}
