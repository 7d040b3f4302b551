/*
 * alphabet.c - the characters by which tokenizer.json spells bytes.
 *
 * GPT-2's alphabet: a byte that is a printable character of Latin-1 (not a space) is spelled as
 * that character; the 68 others, in their order, as the characters from U+0100 on.
 */
#include "tensor/text/internal.h"
#include "tensor/internal.h"

#include <string.h>

bool pal_bpe_utf8_all(const char *byte, int64_t size)
{
    for (int64_t i = 0; i < size;) {
        int n = pal_utf8(byte + i, size - i);
        if (n == 0 || byte[i] == 0) return false;
        i += n;
    }
    return true;
}

int pal_bpe_utf8_before(const char *text, int64_t size)
{
    for (int n = 1; n <= 4 && n <= size; n++)
        if (pal_utf8(text + size - n, n) == n) return n;
    return 1;
}

static bool printable(int c) { return (c > ' ' && c < 127) || (c > 160 && c != 173); }

enum { LOW = 33, HIGH = 34, OTHERS = LOW + HIGH + 1 }; /* 0..32, 127..160, and 173 */

static int code_point(int byte)
{
    if (printable(byte)) return byte;
    return 256 + (byte < LOW ? byte : byte < 173 ? byte - 127 + LOW : LOW + HIGH);
}

static unsigned char of_other(int i)
{
    return (unsigned char)(i < LOW ? i : i < LOW + HIGH ? i - LOW + 127 : 173);
}

int pal_bpe_spell(unsigned char byte, char to[2])
{
    int c = code_point(byte);
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    to[0] = (char)(0xC0 | c >> 6);
    to[1] = (char)(0x80 | (c & 0x3F));
    return 2;
}

int64_t pal_bpe_unspell(const char *spelled, int64_t size, char *to)
{
    int64_t n = 0;
    for (int64_t i = 0; i < size;) {
        int length = pal_utf8(spelled + i, size - i);
        if (length != 1 && length != 2) return -1;
        int c = (unsigned char)spelled[i];
        if (length == 2) c = (c & 0x1F) << 6 | (spelled[i + 1] & 0x3F);
        if (c < 256 ? !printable(c) : c >= 256 + OTHERS) return -1;
        to[n++] = (char)(c < 256 ? (unsigned char)c : of_other(c - 256));
        i += length;
    }
    return n;
}

unsigned char pal_bpe_alphabet(int i)
{
    if (i >= 256 - OTHERS) return of_other(i - (256 - OTHERS));
    int byte = -1;
    for (int left = i; left >= 0; left--) do
            byte++;
        while (!printable(byte));
    return (unsigned char)byte;
}
