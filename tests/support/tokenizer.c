/*
 * tokenizer.c - tokenizer.json files. The alphabet is spelled here by its definition, apart from
 * the code that is tested.
 */
#include "tests/support/tokenizer.h"

#include <stdio.h>
#include <string.h>

const char *const five_merges[2] = {
    "\"b c\",\"a b\",\"ab c\",\"a a\",\"abc d\"",
    "[\"b\",\"c\"],[\"a\",\"b\"],[\"ab\",\"c\"],[\"a\",\"a\"],[\"abc\",\"d\"]"};

const char tokenizer_prose[] =
    "The eraser takes what the writer wrote, and the writer writes again: it's what they'd do, "
    "wouldn't they? 1234 pages, 56 of them new.\n\n    An indented line; the pages of the writer, "
    "the pages of the eraser.\n\tTabs \xe2\x80\x94 na\xc3\xafve, "
    "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e "
    "\xf0\x9f\x98\x80  and the writer writes the pages again.\n";

static const char *given(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

const char *tokenizer_file(tokenizer_parts p)
{
    static char text[1 << 15];
    char vocab[1 << 13];
    int n = 0, other = 256;
    for (int b = 0; b < 256; b++) {
        const bool itself = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        const int c = itself ? b : other++;
        char key[3] = {(char)c};
        if (c >= 128) memcpy(key, (char[]){(char)(0xc0 + c / 64), (char)(0x80 + c % 64)}, 2);
        n += sprintf(vocab + n, "%s\"%s%s\":%d", b ? "," : "",
                     key[0] == '"' || key[0] == '\\' ? "\\" : "", key, b);
    }
    snprintf(text, sizeof text,
             "{\"version\":\"1.0\",\"truncation\":null,%s\"added_tokens\":[%s],"
             "\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":%s,\"decoder\":%s,"
             "\"model\":{\"type\":\"BPE\",%s\"dropout\":null,\"vocab\":{%s%s},\"merges\":[%s]}}",
             given(p.root, ""), given(p.added, ""), given(p.normalizer, "null"),
             given(p.pre, BYTE_LEVEL("false", "true")), given(p.post, "null"),
             given(p.decoder, BYTE_LEVEL("true", "true")), given(p.model, ""), vocab,
             given(p.vocab, ""), given(p.merges, ""));
    return text;
}
