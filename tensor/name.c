/*
 * name.c - which names can stand in a file: of datasets, attributes and columns.
 *
 * HDF5 takes a name for a path: it ignores empty parts and ".", so that two names would be one, or
 * a dataset could not be found again. Such names are refused where something gets its name, not
 * when it is saved.
 */
#include "tensor/internal.h"

#include <string.h>

int pal_utf8(const char *byte, int64_t left)
{
    const unsigned char *s = (const unsigned char *)byte;
    if (left <= 0) return 0;
    if (s[0] < 0x80) return 1;
    int n = s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF5 ? 4 : 0;
    if (n > left) return 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    /* Spelled longer than needed, a surrogate, above U+10FFFF. */
    if (n == 3 && ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F))) return 0;
    if (n == 4 && ((s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))) return 0;
    return n;
}

const char *pal_text_trouble(const char *text)
{
    const int64_t size = (int64_t)strlen(text);
    if (size == 0) return "is empty";
    if (size > PAL_NAME_MOST) return "has more than 400 bytes";
    for (int64_t i = 0, n; i < size; i += n) {
        n = pal_utf8(text + i, size - i);
        if (n == 0) return "is not UTF-8";
        if ((unsigned char)text[i] < 32 || text[i] == 127) return "has a control character";
    }
    return NULL;
}

const char *pal_name_trouble(const char *name)
{
    const char *trouble = pal_text_trouble(name);
    if (trouble) return trouble;
    for (const char *part = name;; part++) {
        const size_t n = strcspn(part, "/");
        if (n == 0) return "has an empty part (before, after or between slashes)";
        if (strncmp(part, "..", n) == 0 && n <= 2) return "has a part that is . or ..";
        part += n;
        if (!*part) return NULL;
    }
}

bool pal_name_within(const char *outer, const char *inner)
{
    const size_t n = strlen(outer);
    return strncmp(outer, inner, n) == 0 && inner[n] == '/';
}
