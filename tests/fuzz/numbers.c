/* numbers.c - numbers as text: what is read is printed, and read as the same again. */
#include "tests/fuzz/frame/fuzz.h"
#include "tensor/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = fuzz_text(data, size), *at = text;
    char print[PAL_NUMBER_TEXT];
    double x, y;
    int64_t n;
    uint64_t u;
    if (pal_number_read(text, &x)) {
        fuzz_must(strlen(pal_number_print(x, print)) < sizeof print, "a number has its room");
        fuzz_must(pal_number_read(print, &y), "what is printed is a number");
        fuzz_must(x == y || (isnan(x) && isnan(y)), "it is the same number");
    }
    if (pal_integer_read(text, &n)) {
        fuzz_must(pal_number_read(text, &x) && (double)n == x, "an integer is a number");
        fuzz_must(strchr(text, '-') || (pal_unsigned_read(text, &u) && u == (uint64_t)n),
                  "and unsigned");
    }
    if (pal_unsigned_read(text, &u)) fuzz_must(!strchr(text, '-'), "no minus sign");
    while (pal_number_next(&at, &x)) fuzz_must(at > text, "a number has digits"), text = at;
    fuzz_must(at <= text + strlen(text), "what is read is within the text");
    fuzz_forget();
    return 0;
}
