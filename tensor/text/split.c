/*
 * split.c - a text into pretokens: added tokens, then UTF-8 and what is not, then the patterns.
 *
 * Every stage cuts the pieces of the one before: matches of its pattern are pieces, and so is what
 * lies between them. A pattern sees no further than its piece.
 */
#include "tensor/text/internal.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    /* Steps of a match, which a hostile pattern could take without end. An ordinary one goes over a
     * long run a few times: \s*[\r\n]+ over blanks takes two steps for each. */
    MATCH_LIMIT = 20000000,
    MATCH_LIMIT_BYTE = 8, /* and so many more for each byte of the text */
    HEAP_LIMIT = 1 << 18, /* KiB */
    STACK_FIRST = 1 << 15,
    STACK_MOST = 1 << 25
};

/*
 * GPT-2's pattern: an English contraction; letters, digits or other characters, each with one space
 * before them; white space up to the last before a word; the rest of it.
 */
const char pal_bpe_gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?"
                                    "[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ---- Patterns ---- */

static bool make_match(pal_tokenizer *b)
{
    if (!b->match) b->match = pcre2_match_data_create(1, NULL);
    if (!b->limits) b->limits = pcre2_match_context_create(NULL);
    if (!b->stack) b->stack = pcre2_jit_stack_create(STACK_FIRST, STACK_MOST, NULL);
    if (!b->match || !b->limits) return false;
    pcre2_set_heap_limit(b->limits, HEAP_LIMIT);
    /* Without JIT in the library there is no stack, and none is needed. */
    if (b->stack) pcre2_jit_stack_assign(b->limits, NULL, b->stack);
    return true;
}

pal_status pal_bpe_stage_add(pal_tokenizer *b, const char *pattern, bool plain, pal_error *error)
{
    if (b->stages == PAL_BPE_STAGES)
        return pal_bpe_bad(error, "pre_tokenizer has more than %d patterns", PAL_BPE_STAGES);
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context || !make_match(b)) {
        pcre2_compile_context_free(context);
        return pal_error_set(error, PAL_ENOMEM, "tokenizer.json: out of memory");
    }
    /* As Oniguruma has it: ^ and $ at every line, which ends at \n. */
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    const uint32_t options =
        PCRE2_UTF | (plain ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
    int code;
    PCRE2_SIZE at;
    char *translated = NULL;
    const pal_status s = plain ? PAL_OK : pal_bpe_pattern(pattern, &translated, error);
    pcre2_code *regex = NULL;
    if (s == PAL_OK)
        regex = pcre2_compile((PCRE2_SPTR)(plain ? pattern : translated), PCRE2_ZERO_TERMINATED,
                              options, &code, &at, context);
    free(translated);
    pcre2_compile_context_free(context);
    if (s != PAL_OK) return s;
    if (!regex) {
        PCRE2_UCHAR why[120];
        pcre2_get_error_message(code, why, sizeof why);
        return pal_bpe_bad(error, "the pattern '%.200s' is no regular expression: %s", pattern,
                           (const char *)why);
    }
    (void)pcre2_jit_compile(regex, PCRE2_JIT_COMPLETE); /* slower without */
    b->stage[b->stages++] = regex;
    return PAL_OK;
}

typedef struct splitter {
    pal_tokenizer *b;
    pal_bpe_piece_fn *fn;
    void *user;
    pal_error *error;
} splitter;

static pal_status stage(const splitter *s, int number, const char *text, int64_t size);

static pal_status deeper(const splitter *s, int number, const char *text, int64_t size)
{
    return size == 0 ? PAL_OK : stage(s, number + 1, text, size);
}

static pal_status stage(const splitter *s, int number, const char *text, int64_t size)
{
    pal_tokenizer *b = s->b;
    if (number == b->stages) return s->fn(s->user, text, size, -1, s->error);
    int64_t done = 0, from = 0;
    while (from < size) {
        int found = pcre2_match(b->stage[number], (PCRE2_SPTR)text, (PCRE2_SIZE)size,
                                (PCRE2_SIZE)from, PCRE2_NO_UTF_CHECK, b->match, b->limits);
        if (found == PCRE2_ERROR_NOMATCH) break;
        PCRE2_SIZE *span = pcre2_get_ovector_pointer(b->match);
        const int64_t begin = found < 0 ? 0 : (int64_t)span[0];
        const int64_t end = found < 0 ? 0 : (int64_t)span[1];
        if (found < 0 || begin < from || end < begin) {
            PCRE2_UCHAR why[120] = "its match ends before it begins";
            if (found < 0) pcre2_get_error_message(found, why, sizeof why);
            return pal_bpe_bad(s->error, "pattern %d of pre_tokenizer gives up on the text: %s",
                               number, (const char *)why);
        }
        pal_status status = deeper(s, number, text + done, begin - done);
        if (status == PAL_OK) status = deeper(s, number, text + begin, end - begin);
        if (status != PAL_OK) return status;
        done = from = end;
        if (begin == end && from < size)
            from += pal_utf8(text + from, size - from);
        else if (begin == end)
            break;
    }
    return deeper(s, number, text + done, size - done);
}

/* ---- UTF-8 ---- */

static pal_status spans(const splitter *s, const char *text, int64_t size)
{
    pal_status status = PAL_OK;
    for (int64_t at = 0; at < size && status == PAL_OK;) {
        const int64_t begin = at;
        for (int n; at < size && (n = pal_utf8(text + at, size - at)) > 0;) at += n;
        if (at > begin) status = stage(s, 0, text + begin, at - begin);
        const int64_t bad = at;
        while (at < size && pal_utf8(text + at, size - at) == 0) at++;
        if (at > bad && status == PAL_OK)
            status = s->fn(s->user, text + bad, at - bad, -1, s->error);
    }
    return status;
}

static pal_status segment(const splitter *s, const char *text, int64_t size)
{
    if (size == 0) return PAL_OK;
    if (!s->b->prefix_space || text[0] == ' ') return spans(s, text, size);
    char *copy = malloc((size_t)size + 1);
    if (!copy) return pal_error_set(s->error, PAL_ENOMEM, "pal_tokenizer_encode: out of memory");
    copy[0] = ' ';
    memcpy(copy + 1, text, (size_t)size);
    pal_status status = spans(s, copy, size + 1);
    free(copy);
    return status;
}

/* ---- Added tokens ---- */

/* The longest added token that the text begins with, of those that are `normalized` or not. */
static const pal_bpe_added *added_at(const pal_tokenizer *b, const char *text, int64_t size,
                                     bool normalized)
{
    for (int32_t i = b->first[(unsigned char)text[0]]; i >= 0; i = b->added[i].next) {
        const pal_bpe_added *a = &b->added[i];
        if (a->normalized == normalized && a->size <= size &&
            memcmp(a->text, text, (size_t)a->size) == 0)
            return a;
    }
    return NULL;
}

/* Those that are not normalized come first; the others are looked for between them. */
static pal_status added(const splitter *s, const char *text, int64_t size, bool normalized)
{
    int64_t begin = 0;
    pal_status status = PAL_OK;
    for (int64_t at = 0; at <= size && status == PAL_OK;) {
        const pal_bpe_added *a =
            at < size ? added_at(s->b, text + at, size - at, normalized) : NULL;
        if (at < size && !a) {
            at++;
            continue;
        }
        if (normalized)
            status = segment(s, text + begin, at - begin);
        else
            status = added(s, text + begin, at - begin, true);
        if (a && status == PAL_OK) status = s->fn(s->user, text + at, a->size, a->id, s->error);
        at += a ? a->size : 1;
        begin = at;
    }
    return status;
}

pal_status pal_bpe_split(pal_tokenizer *b, const char *text, int64_t size, pal_bpe_piece_fn *fn,
                         void *user, pal_error *error)
{
    const splitter s = {b, fn, user, error};
    if (b->limits) {
        const int64_t steps = size < UINT32_MAX / MATCH_LIMIT_BYTE - MATCH_LIMIT / MATCH_LIMIT_BYTE
                                  ? MATCH_LIMIT + MATCH_LIMIT_BYTE * size
                                  : UINT32_MAX;
        pcre2_set_match_limit(b->limits, (uint32_t)steps);
    }
    return b->addeds ? added(&s, text, size, false) : segment(&s, text, size);
}
