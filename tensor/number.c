/*
 * number.c - numbers as text in the C locale.
 */
#include "tensor/number.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static locale_t c_locale; /* 0 if there is no memory: then nothing is switched */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void make_c_locale(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

locale_t pal_c_locale_begin(void)
{
    pthread_once(&once, make_c_locale);
    return uselocale(c_locale);
}

void pal_c_locale_end(locale_t *before) { uselocale(*before); }

int pal_vsnprintf(char *text, size_t size, const char *format, va_list args)
{
    PAL_C_LOCALE;
    return vsnprintf(text, size, format, args);
}

bool pal_number_next(const char **text, double *x)
{
    PAL_C_LOCALE;
    char *end;
    errno = 0;
    const double number = strtod(*text, &end);
    if (end == *text) return false;
    *x = number;
    *text = end;
    return true;
}

bool pal_number_read(const char *text, double *x)
{
    double number;
    if (!pal_number_next(&text, &number) || *text) return false;
    *x = number;
    return true;
}

bool pal_integer_read(const char *text, int64_t *x)
{
    char *end;
    errno = 0;
    const long long number = strtoll(text, &end, 10);
    if (end == text || *end || errno) return false;
    *x = number;
    return true;
}

bool pal_unsigned_read(const char *text, uint64_t *x)
{
    char *end;
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    if (end == text || *end || errno || strchr(text, '-')) return false;
    *x = number;
    return true;
}

char *pal_number_print(double x, char text[PAL_NUMBER_TEXT])
{
    PAL_C_LOCALE;
    /* A text of at most 15 digits is found by %.15g, unless the number is subnormal. */
    for (int digits = fabs(x) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        snprintf(text, PAL_NUMBER_TEXT, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    return text;
}
