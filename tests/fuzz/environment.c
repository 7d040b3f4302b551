/* environment.c - lists in environment variables, such as PAL_CHECK=numerics,ranks:10. */
#include "tests/fuzz/frame/fuzz.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

/* The number that a text is, digit by digit; numbers beyond the range are its ends. */
static bool is_number(const char *at, size_t size, int64_t *number)
{
    const char *const end = at + size;
    while (at < end && strchr(" \t\n\v\f\r", *at)) at++;
    const int sign = at < end && *at == '-' ? -1 : 1;
    if (at < end && (*at == '-' || *at == '+')) at++;
    if (at == end) return false;
    *number = 0;
    for (; at < end; at++) {
        const int digit = *at - '0';
        if (digit < 0 || digit > 9) return false;
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, sign * digit, number))
            return *number = sign < 0 ? INT64_MIN : INT64_MAX,
                   strspn(at, "0123456789") >= (size_t)(end - at);
    }
    return true;
}

/* Whether the list has the word by itself or with a number, word by word. */
static bool is_listed(const char *list, const char *word, int64_t *number)
{
    const size_t length = strlen(word);
    while (true) {
        const char *comma = strchrnul(list, ',');
        const size_t size = (size_t)(comma - list);
        int64_t found = 0;
        if (size == length && memcmp(list, word, length) == 0) return true;
        if (size > length && memcmp(list, word, length) == 0 && list[length] == ':' &&
            is_number(list + length + 1, size - length - 1, &found)) {
            *number = found;
            return true;
        }
        if (!*comma) return false;
        list = comma + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t number = 0, wanted = 0;
    const char *text = fuzz_text(data, size);
    setenv("PAL_FUZZ", text, 1);
    const bool has = pal_environment_has("PAL_FUZZ", "ranks", &number);
    fuzz_must(has == is_listed(text, "ranks", &wanted), "a word is found if it is listed");
    fuzz_must(number == wanted, "a number is the one of its word");
    fuzz_forget();
    return 0;
}
