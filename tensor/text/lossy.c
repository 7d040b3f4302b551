/* lossy.c - bytes that may be UTF-8, as text. */
#include "tensor/text/lossy.h"
#include "tensor/internal.h"

/* The length of what begins here and is no UTF-8; 0 if it may become a character. */
static int64_t subpart(const char *byte, int64_t left)
{
    const unsigned char *s = (const unsigned char *)byte;
    const int wanted = s[0] < 0xC2 ? 1 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF5 ? 4 : 1;
    for (int n = 1; n < wanted; n++) {
        if (n == left) return 0;
        unsigned char low = 0x80, high = 0xBF;
        if (n == 1 && s[0] == 0xE0) low = 0xA0;
        if (n == 1 && s[0] == 0xED) high = 0x9F;
        if (n == 1 && s[0] == 0xF0) low = 0x90;
        if (n == 1 && s[0] == 0xF4) high = 0x8F;
        if (s[n] < low || s[n] > high) return n;
    }
    return 1;
}

int64_t pal_lossy(const char *byte, int64_t left, bool all, bool raw, const char **text,
                  int64_t *size)
{
    int64_t n = pal_utf8(byte, left);
    *text = byte;
    *size = n;
    if (n > 0) return n;
    n = subpart(byte, left);
    if (n == 0 && !all) return 0;
    if (n == 0) n = left;
    *size = n;
    if (raw) return n;
    *text = PAL_REPLACEMENT;
    *size = 3;
    return n;
}
