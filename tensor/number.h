/*
 * number.h - numbers as text, with a decimal point whatever locale the program has set.
 *
 * The header is not installed. The library and the programs of this repository read and write
 * numbers through it: options, logs, descriptions, scripts.
 */
#ifndef PAL_TENSOR_NUMBER_H
#define PAL_TENSOR_NUMBER_H

#include <locale.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- One number ---- */

/*
 * Reads a text that is one number and nothing else, as strtod and strtoll (base 10) do: blanks
 * before it are skipped; "1e3", "0x1p-3", "inf" and "nan" are real numbers. The caller checks
 * bounds, and whether the number is finite. A real number that is too large becomes
 * HUGE_VAL, and one that is too small a number near 0; then errno is ERANGE, otherwise 0. Integers
 * that do not fit, and unsigned ones with a minus sign, are refused. false: *x is unchanged.
 */
bool pal_number_read(const char *text, double *x);
bool pal_integer_read(const char *text, int64_t *x);
bool pal_unsigned_read(const char *text, uint64_t *x);

/* Reads the number that *text begins with and moves *text to what follows it. false: there is none.
 */
bool pal_number_next(const char **text, double *x);

/* Writes a number with the fewest digits that are read as the same number. Returns text. */
enum { PAL_NUMBER_TEXT = 32 };
char *pal_number_print(double x, char text[PAL_NUMBER_TEXT]);

/* ---- printf and scanf ---- */

/*
 * pal_vsnprintf is vsnprintf with a decimal point.
 *
 * pal_c_locale_begin switches the calling thread to the C locale, and pal_c_locale_end switches
 * back. Between the two, printf writes and scanf reads a decimal point. Other threads and the
 * locale of the program are not touched. Such regions may be nested. PAL_C_LOCALE is a declaration
 * that does this for the rest of a block, also if the block is left by return. Call no function of
 * a user there.
 */
int pal_vsnprintf(char *text, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
locale_t pal_c_locale_begin(void);
void pal_c_locale_end(locale_t *before);
#define PAL_C_LOCALE                                                                \
    __attribute__((cleanup(pal_c_locale_end), unused)) locale_t pal_locale_before = \
        pal_c_locale_begin()

#endif
