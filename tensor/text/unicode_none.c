/*
 * unicode_none.c - a build without utf8proc has no normal forms of Unicode. It takes the place of
 * unicode.c; a tokenizer.json that asks for one is refused.
 */
#include "tensor/text/internal.h"

pal_status pal_bpe_unicode_check(const char *name, pal_error *error)
{
    return pal_bpe_bad(error, "normalizer %s is not in this build, since utf8proc was missing",
                       name);
}

pal_status pal_bpe_unicode(pal_bpe_form form, const char *text, int64_t size, pal_bpe_buffer *to,
                           pal_error *error)
{
    (void)form, (void)text, (void)size, (void)to;
    return pal_bpe_unicode_check("of Unicode", error);
}
