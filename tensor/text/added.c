/*
 * added.c - finding added tokens in a text.
 *
 * Of those that begin at a place the longest counts, and what follows it is looked at next. As in
 * `tokenizers`, a token that has to be a word of its own and is none there is passed over whole,
 * and a token may take the white space beside it.
 */
#include "tensor/text/internal.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

static pal_status no_memory(pal_error *error)
{
    return pal_error_set(error, PAL_ENOMEM, "tokenizer.json: out of memory");
}

/* ---- The finders ---- */

/* Adds a length to the list of a first byte, unless it is there. */
static bool add_length(pal_bpe_finder *f, unsigned char byte, int64_t size)
{
    int32_t *link = &f->first[byte];
    while (*link >= 0 && f->length[*link].size > size) link = &f->length[*link].next;
    if (*link >= 0 && f->length[*link].size == size) return true;
    const int32_t next = *link;
    *link = (int32_t)f->lengths; /* before the memory moves, in which the link may be */
    if (!pal_bpe_grow((void **)&f->length, &f->length_room, f->lengths + 1, sizeof *f->length))
        return false;
    f->length[f->lengths++] = (struct pal_bpe_length){size, next};
    return true;
}

/* Adds what is looked for. */
static pal_status add_name(const pal_tokenizer *b, pal_bpe_finder *f, const char *text,
                           int64_t size, int32_t of, pal_error *error)
{
    if (size == 0) return PAL_OK; /* nothing is left of it by the normalizers */
    const int64_t known = f->name.count;
    const int32_t i = pal_bpe_names_add(&f->name, text, size);
    if (i < 0 || !pal_bpe_grow((void **)&f->of, &f->of_room, i + 1, sizeof *f->of))
        return no_memory(error);
    if (i < known)
        return pal_bpe_bad(error,
                           "the added tokens %d and %d are one text after the normalizer, so that "
                           "nothing says which is meant",
                           b->added[f->of[i]].id, b->added[of].id);
    f->of[i] = of;
    return add_length(f, (unsigned char)text[0], size) ? PAL_OK : no_memory(error);
}

pal_status pal_bpe_make_finders(pal_tokenizer *b, pal_error *error)
{
    pal_bpe_buffer text = {0};
    pal_status s = PAL_OK;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 256; i++) b->finder[k].first[i] = -1;
    for (int32_t i = 0; i < b->addeds && s == PAL_OK; i++) {
        const pal_bpe_added *a = &b->added[i];
        if (a->normalized) s = pal_bpe_normalize(b, a->text, a->size, &text, error);
        if (s == PAL_OK && a->single_word && !b->word)
            s = pal_bpe_compile(b,
                                "^[\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-"
                                "\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}\\x{200c}"
                                "\\x{200d}]",
                                PAL_BPE_OWN, &b->word, error);
        if (s == PAL_OK)
            s = add_name(b, &b->finder[a->normalized], a->normalized ? text.byte : a->text,
                         a->normalized ? text.size : a->size, i, error);
    }
    free(text.byte);
    return s;
}

void pal_bpe_finders_free(pal_tokenizer *b)
{
    for (int k = 0; k < 2; k++) {
        pal_bpe_names_free(&b->finder[k].name);
        free(b->finder[k].of);
        free(b->finder[k].length);
    }
}

/* ---- Finding ---- */

/* The longest that begins at a place: its length, 0 for none. */
static int64_t longest(const pal_bpe_finder *f, const char *text, int64_t left, int32_t *of)
{
    for (int32_t i = f->first[(unsigned char)text[0]]; i >= 0; i = f->length[i].next) {
        const int64_t size = f->length[i].size;
        const int32_t name = size <= left ? pal_bpe_names_find(&f->name, text, size) : -1;
        if (name < 0) continue;
        *of = f->of[name];
        return size;
    }
    return 0;
}

static pal_status is_word(pal_tokenizer *b, const char *text, int64_t size, bool *word,
                          pal_error *error)
{
    *word = false;
    const int n = pal_utf8(text, size);
    pal_bpe_search search = {.last = -1, .code = b->word, .where = "added_tokens"};
    return n ? pal_bpe_next(b, &search, text, n, word, error) : PAL_OK;
}

/* Whether letters stand before or after it. */
static pal_status within_word(pal_tokenizer *b, const char *text, int64_t size, int64_t begin,
                              int64_t end, bool *within, pal_error *error)
{
    *within = false;
    pal_status s = PAL_OK;
    if (begin > 0) {
        const int n = pal_bpe_utf8_before(text, begin);
        s = is_word(b, text + begin - n, n, within, error);
    }
    if (s == PAL_OK && !*within && end < size)
        s = is_word(b, text + end, size - end, within, error);
    return s;
}

pal_status pal_bpe_find_added(pal_tokenizer *b, bool normalized, bool plain, const char *text,
                              int64_t size, pal_bpe_part_fn *fn, void *user, pal_error *error)
{
    const pal_bpe_finder *f = &b->finder[normalized];
    int64_t done = 0;
    pal_status s = PAL_OK;
    for (int64_t at = 0; f->name.count && at < size && s == PAL_OK;) {
        int32_t of = 0;
        const int64_t length = longest(f, text + at, size - at, &of);
        if (length == 0) {
            at++;
            continue;
        }
        const pal_bpe_added *a = &b->added[of];
        int64_t begin = at, end = at + length;
        bool skip = plain && a->special;
        if (!skip && a->single_word) s = within_word(b, text, size, begin, end, &skip, error);
        at = end;
        if (skip || s != PAL_OK) continue;
        if (a->lstrip) {
            begin -= pal_bpe_space_at_end(text, begin);
            if (begin < done) begin = done;
        }
        if (a->rstrip) end += pal_bpe_space_at_start(text + end, size - end);
        if (done < begin) s = fn(user, text + done, begin - done, NULL, error);
        if (s == PAL_OK) s = fn(user, text + begin, end - begin, a, error);
        done = end;
    }
    if (s == PAL_OK && done < size) s = fn(user, text + done, size - done, NULL, error);
    return s;
}
