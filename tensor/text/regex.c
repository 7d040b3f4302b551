/*
 * regex.c - regular expressions, by PCRE2, with limits that a hostile pattern cannot pass.
 */
#include "tensor/text/internal.h"
#include "tensor/internal.h"

#include <stdlib.h>

enum {
    /* Steps of a match, which a hostile pattern could take without end. An ordinary one goes over a
     * long run a few times: \s*[\r\n]+ over blanks takes two steps for each. */
    MATCH_LIMIT = 20000000,
    MATCH_LIMIT_BYTE = 8, /* and so many more for each byte of the text */
    HEAP_LIMIT = 1 << 18, /* KiB */
    STACK_FIRST = 1 << 15,
    STACK_MOST = 1 << 25
};

static bool make_match(pal_tokenizer *b)
{
    if (!b->match) b->match = pcre2_match_data_create(1, NULL);
    if (!b->limits) b->limits = pcre2_match_context_create(NULL);
    if (!b->stack) b->stack = pcre2_jit_stack_create(STACK_FIRST, STACK_MOST, NULL);
    if (!b->match || !b->limits) return false;
    pcre2_set_heap_limit(b->limits, HEAP_LIMIT);
    pcre2_set_match_limit(b->limits, MATCH_LIMIT);
    /* Without JIT in the library there is no stack, and none is needed. */
    if (b->stack) pcre2_jit_stack_assign(b->limits, NULL, b->stack);
    return true;
}

pal_status pal_bpe_compile(pal_tokenizer *b, const char *pattern, pal_bpe_syntax syntax,
                           pcre2_code **code, pal_error *error)
{
    *code = NULL;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context || !make_match(b)) {
        pcre2_compile_context_free(context);
        return pal_error_set(error, PAL_ENOMEM, "tokenizer.json: out of memory");
    }
    /* As Oniguruma has it: ^ and $ at every line, which ends at \n. */
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    const uint32_t options = PCRE2_UTF | (syntax == PAL_BPE_PLAIN ? PCRE2_LITERAL
                                                                  : PCRE2_UCP | PCRE2_MULTILINE |
                                                                        PCRE2_NEVER_BACKSLASH_C);
    int why;
    PCRE2_SIZE at;
    char *translated = NULL;
    pal_status s = PAL_OK;
    if (syntax == PAL_BPE_ONIGURUMA) s = pal_bpe_pattern(pattern, &translated, error);
    if (s == PAL_OK)
        *code = pcre2_compile((PCRE2_SPTR)(translated ? translated : pattern),
                              PCRE2_ZERO_TERMINATED, options, &why, &at, context);
    free(translated);
    pcre2_compile_context_free(context);
    if (s != PAL_OK) return s;
    if (!*code) {
        PCRE2_UCHAR text[120];
        pcre2_get_error_message(why, text, sizeof text);
        return pal_bpe_bad(error, "the pattern '%.200s' is no regular expression: %s", pattern,
                           (const char *)text);
    }
    (void)pcre2_jit_compile(*code, PCRE2_JIT_COMPLETE); /* slower without */
    return PAL_OK;
}

pal_status pal_bpe_next(pal_tokenizer *b, pal_bpe_search *s, const char *text, int64_t size,
                        bool *found, pal_error *error)
{
    *found = false;
    while (s->from <= size) {
        const int n = pcre2_match(s->code, (PCRE2_SPTR)text, (PCRE2_SIZE)size, (PCRE2_SIZE)s->from,
                                  PCRE2_NO_UTF_CHECK, b->match, b->limits);
        if (n == PCRE2_ERROR_NOMATCH) return PAL_OK;
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(b->match);
        if (n < 0 || span[1] < span[0] || (int64_t)span[0] < s->from) {
            PCRE2_UCHAR why[120] = "its match ends before it begins";
            if (n < 0) pcre2_get_error_message(n, why, sizeof why);
            return pal_bpe_bad(error, "pattern %d of %s gives up on the text: %s", s->number,
                               s->where, (const char *)why);
        }
        s->begin = (int64_t)span[0];
        s->end = (int64_t)span[1];
        if (s->begin != s->end || s->last != s->end) {
            s->from = s->last = s->end;
            *found = true;
            return PAL_OK;
        }
        s->from += s->from < size ? pal_utf8(text + s->from, size - s->from) : 1;
    }
    return PAL_OK;
}

void pal_bpe_limit(pal_tokenizer *b, int64_t size)
{
    if (!b->limits) return;
    const int64_t steps = size < UINT32_MAX / MATCH_LIMIT_BYTE - MATCH_LIMIT / MATCH_LIMIT_BYTE
                              ? MATCH_LIMIT + MATCH_LIMIT_BYTE * size
                              : UINT32_MAX;
    pcre2_set_match_limit(b->limits, (uint32_t)steps);
}

void pal_bpe_regex_free(pal_tokenizer *b)
{
    for (int i = 0; i < b->stages; i++) pcre2_code_free(b->stage[i].code);
    for (int i = 0; i < b->steps; i++) pcre2_code_free(b->step[i].code);
    pcre2_code_free(b->word);
    pcre2_match_data_free(b->match);
    pcre2_match_context_free(b->limits);
    pcre2_jit_stack_free(b->stack);
}
