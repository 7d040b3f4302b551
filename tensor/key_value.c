/*
 * key_value.c - the value of an option: reads, writes and compares it.
 */
#include "tensor/keys.h"
#include "tensor/number.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_TEXT = 2048 };

/* What PAL_KEY_WHOLES and PAL_KEY_REALS point at. */
typedef struct list {
    int64_t count;
    union {
        int64_t whole;
        double real;
    } of[];
} list;
static int64_t room(const pal_key *key) { return (int64_t)(key->size / sizeof(int64_t)) - 1; }

static const void *field_of(const pal_key *key, const void *from)
{
    return (const char *)from + key->offset;
}

/* ---- Words ---- */

/* The number of a word; -1: it is none of them. */
static int word_number(const char *words, const char *text)
{
    const size_t n = strlen(text);
    int i = 0;
    for (const char *w = words ? words : ""; *w; w += strcspn(w, "|"), w += *w == '|', i++)
        if (strcspn(w, "|") == n && strncmp(w, text, n) == 0) return i;
    return -1;
}

/* Word i and its length; "" if there are not so many. */
static const char *word_at(const char *words, int64_t i, int *length)
{
    const char *w = words ? words : "";
    for (; i > 0 && *w; i--) w += strcspn(w, "|"), w += *w == '|';
    *length = i < 0 ? 0 : (int)strcspn(w, "|");
    return w;
}

/* ---- What is wanted ---- */

static bool bounded(const pal_key *key) { return key->low != 0 || key->high != 0; }

bool pal_key_within(const pal_key *key, double x)
{
    if (!isfinite(x)) return false;
    if (!bounded(key)) return true;
    return (key->open & PAL_OPEN_LOW ? x > key->low : x >= key->low) &&
           (key->open & PAL_OPEN_HIGH ? x < key->high : x <= key->high);
}

/* " from 1 to 8", " above 0, below 1", " from 0 on". */
static void print_bounds(const pal_key *key, char text[128])
{
    char low[PAL_NUMBER_TEXT], high[PAL_NUMBER_TEXT];
    const bool open_low = key->open & PAL_OPEN_LOW, open_high = key->open & PAL_OPEN_HIGH;
    const bool has_low = isfinite(key->low), has_high = isfinite(key->high);
    size_t n = 0;
    text[0] = '\0';
    if (!bounded(key)) return;
    pal_number_print(key->low, low);
    pal_number_print(key->high, high);
    if (has_low) n = (size_t)snprintf(text, 128, " %s %s", open_low ? "above" : "from", low);
    if (has_low && !has_high && !open_low) snprintf(text + n, 128 - n, " on");
    if (!has_high) return;
    if (has_low && !open_low)
        snprintf(text + n, 128 - n, " to %s%s", open_high ? "below " : "", high);
    else
        snprintf(text + n, 128 - n, "%s %s %s", has_low ? "," : "", open_high ? "below" : "up to",
                 high);
}

void pal_key_wanted(const pal_key *key, char text[PAL_KEY_WANTED])
{
    char bounds[128];
    const char *words = key->words ? key->words : "";
    print_bounds(key, bounds);
    switch (key->kind) {
    case PAL_KEY_UNSIGNED:
        snprintf(text, PAL_KEY_WANTED, "a whole number from 0 to %llu",
                 (unsigned long long)UINT64_MAX);
        return;
    case PAL_KEY_WHOLE:
        snprintf(text, PAL_KEY_WANTED, "%s%sa whole number%s", words, *words ? " or " : "", bounds);
        return;
    case PAL_KEY_REAL:
        snprintf(text, PAL_KEY_WANTED, "a number%s", bounds);
        return;
    case PAL_KEY_FLAG:
    case PAL_KEY_NOT:
        snprintf(text, PAL_KEY_WANTED, "true or false");
        return;
    case PAL_KEY_CHOICE:
        snprintf(text, PAL_KEY_WANTED, "%s", words);
        return;
    case PAL_KEY_SET:
        snprintf(text, PAL_KEY_WANTED, "a list of %s, with commas between", words);
        return;
    case PAL_KEY_WHOLES:
    case PAL_KEY_REALS:
        snprintf(text, PAL_KEY_WANTED, "at most %lld %snumbers%s, with commas between",
                 (long long)room(key), key->kind == PAL_KEY_WHOLES ? "whole " : "", bounds);
        return;
    case PAL_KEY_TEXT:
        if (key->words)
            snprintf(text, PAL_KEY_WANTED, "%s", words);
        else
            snprintf(text, PAL_KEY_WANTED,
                     "a text of %sat most %zu bytes, of one line and without blanks at its ends",
                     key->required ? "at least one byte and " : "", key->size - 1);
        return;
    case PAL_KEY_STRING:
        snprintf(text, PAL_KEY_WANTED, "%s", key->words ? words : "a text that is not empty");
        return;
    }
    text[0] = '\0';
}

/* ---- From text ---- */

static bool begins_with_blank(const char *text) { return *text && strchr(" \t\n\v\f\r", *text); }

static bool read_whole(const pal_key *key, const char *text, int64_t *out)
{
    const int word = word_number(key->words, text);
    if (word >= 0) {
        *out = -1 - word;
        return true;
    }
    return !begins_with_blank(text) && pal_integer_read(text, out) &&
           pal_key_within(key, (double)*out);
}

static bool read_real(const pal_key *key, const char *text, double *out)
{
    return !begins_with_blank(text) && pal_number_read(text, out) && pal_key_within(key, *out);
}

/* Writes a whole number to a field of any size; false: the field is too small for it. */
static bool store_whole(void *to, size_t size, int64_t n)
{
    if (size == sizeof(int64_t)) memcpy(to, &n, sizeof n);
    if (size == sizeof(int64_t)) return true;
    if (n < INT_MIN || n > INT_MAX) return false;
    const int small = (int)n;
    memcpy(to, &small, sizeof small);
    return true;
}

/* The next word of a list with commas between; *text becomes NULL after the last. */
static bool next_word(const char **text, char word[MOST_TEXT])
{
    const char *at = *text;
    at += strspn(at, " \t");
    size_t n = strcspn(at, ",");
    *text = at[n] ? at + n + 1 : NULL;
    while (n && strchr(" \t", at[n - 1])) n--;
    if (n >= MOST_TEXT) return false;
    memcpy(word, at, n);
    word[n] = '\0';
    return true;
}

/* It reads twice, so that a wrong list leaves the field unchanged. */
static bool read_list(const pal_key *key, const char *text, list *out)
{
    for (int pass = 0; pass < 2; pass++) {
        int64_t n = 0;
        for (const char *at = *text ? text : NULL; at; n++) {
            char word[MOST_TEXT];
            int64_t whole;
            double real;
            if (n == room(key) || !next_word(&at, word)) return false;
            if (key->kind == PAL_KEY_WHOLES ? !read_whole(key, word, &whole)
                                            : !read_real(key, word, &real))
                return false;
            if (pass && key->kind == PAL_KEY_WHOLES) out->of[n].whole = whole;
            if (pass && key->kind == PAL_KEY_REALS) out->of[n].real = real;
        }
        if (n == 0 && key->required) return false;
        if (pass) out->count = n;
    }
    return true;
}

static bool read_set(const pal_key *key, const char *text, unsigned *out)
{
    unsigned bits = 0;
    for (const char *at = *text ? text : NULL; at;) {
        char word[MOST_TEXT];
        const int i = next_word(&at, word) ? word_number(key->words, word) : -1;
        if (i < 0 || bits >> i & 1) return false;
        bits |= 1u << i;
    }
    if (!bits && key->required) return false;
    *out = bits;
    return true;
}

/* A line of a file keeps neither line ends nor blanks around a value. */
static bool read_text(const pal_key *key, const char *text, char *out)
{
    const size_t n = strlen(text);
    if (n >= key->size || strpbrk(text, "\n\r") || (key->required && !n)) return false;
    if (n && (strchr(" \t", text[0]) || strchr(" \t", text[n - 1]))) return false;
    if (key->words && word_number(key->words, text) < 0) return false;
    memmove(out, text, n + 1);
    return true;
}

static bool read_flag(const pal_key *key, const char *text, bool *out)
{
    const bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false")) return false;
    *out = yes == (key->kind == PAL_KEY_FLAG);
    return true;
}

static bool read_choice(const pal_key *key, const char *text, void *out)
{
    const int word = word_number(key->words, text), number = word + (int)key->low;
    if (word < 0) return false;
    if (key->size == sizeof(bool))
        *(bool *)out = number != 0;
    else
        memcpy(out, &number, sizeof number);
    return true;
}

bool pal_key_read(const pal_key *key, void *to, const char *text)
{
    void *out = (char *)to + key->offset;
    int64_t whole;
    uint64_t big;
    double real;
    switch (key->kind) {
    case PAL_KEY_WHOLE:
        return read_whole(key, text, &whole) && store_whole(out, key->size, whole);
    case PAL_KEY_UNSIGNED:
        if (begins_with_blank(text) || !pal_unsigned_read(text, &big)) return false;
        memcpy(out, &big, sizeof big);
        return true;
    case PAL_KEY_REAL:
        if (!read_real(key, text, &real)) return false;
        memcpy(out, &real, sizeof real);
        return true;
    case PAL_KEY_FLAG:
    case PAL_KEY_NOT:
        return read_flag(key, text, out);
    case PAL_KEY_CHOICE:
        return read_choice(key, text, out);
    case PAL_KEY_SET:
        return read_set(key, text, out);
    case PAL_KEY_TEXT:
        return read_text(key, text, out);
    case PAL_KEY_STRING:
        if (!*text && key->required) return false;
        if (key->words && word_number(key->words, text) < 0) return false;
        memcpy(out, &text, sizeof text);
        return true;
    case PAL_KEY_WHOLES:
    case PAL_KEY_REALS:
        return read_list(key, text, out);
    }
    return false;
}

/* ---- To text ---- */

static size_t print_list(const pal_key *key, const list *l, char *text, size_t size)
{
    size_t used = 0;
    if (size) text[0] = '\0';
    for (int64_t i = 0; i < l->count; i++) {
        char number[PAL_NUMBER_TEXT];
        if (key->kind == PAL_KEY_REALS)
            pal_number_print(l->of[i].real, number);
        else
            snprintf(number, sizeof number, "%lld", (long long)l->of[i].whole);
        used += (size_t)snprintf(used < size ? text + used : NULL, used < size ? size - used : 0,
                                 "%s%s", i ? "," : "", number);
    }
    return used;
}

static size_t print_set(const pal_key *key, unsigned bits, char *text, size_t size)
{
    size_t used = 0;
    if (size) text[0] = '\0';
    for (int i = 0; i < (int)(CHAR_BIT * sizeof bits); i++) {
        int n;
        const char *word = word_at(key->words, i, &n);
        if (!(bits >> i & 1)) continue;
        used += (size_t)snprintf(used < size ? text + used : NULL, used < size ? size - used : 0,
                                 "%s%.*s", used ? "," : "", n, word);
    }
    return used;
}

static int64_t load_whole(const pal_key *key, const void *from)
{
    int64_t n = 0;
    int small;
    if (key->size == sizeof n) {
        memcpy(&n, from, sizeof n);
        return n;
    }
    if (key->size == sizeof(bool)) return *(const bool *)from;
    memcpy(&small, from, sizeof small);
    return small;
}

size_t pal_key_print(const pal_key *key, const void *object, char *text, size_t size)
{
    const void *from = field_of(key, object);
    char number[PAL_NUMBER_TEXT];
    const char *word = "";
    int n;
    switch (key->kind) {
    case PAL_KEY_WHOLE:
    case PAL_KEY_CHOICE: {
        const int64_t value = load_whole(key, from);
        const bool choice = key->kind == PAL_KEY_CHOICE;
        word = word_at(key->words, choice ? value - (int64_t)key->low : -1 - value, &n);
        if (n || choice) return (size_t)snprintf(text, size, "%.*s", n, word);
        return (size_t)snprintf(text, size, "%lld", (long long)value);
    }
    case PAL_KEY_UNSIGNED:
        return (size_t)snprintf(text, size, "%llu", (unsigned long long)*(const uint64_t *)from);
    case PAL_KEY_REAL:
        return (size_t)snprintf(text, size, "%s", pal_number_print(*(const double *)from, number));
    case PAL_KEY_FLAG:
    case PAL_KEY_NOT:
        return (size_t)snprintf(text, size, "%s",
                                pal_key_number(key, object) != 0 ? "true" : "false");
    case PAL_KEY_SET:
        return print_set(key, *(const unsigned *)from, text, size);
    case PAL_KEY_TEXT:
        word = from;
        break;
    case PAL_KEY_STRING:
        memcpy(&word, from, sizeof word);
        break;
    case PAL_KEY_WHOLES:
    case PAL_KEY_REALS:
        return print_list(key, from, text, size);
    }
    return (size_t)snprintf(text, size, "%s", word ? word : "");
}

double pal_key_number(const pal_key *key, const void *object)
{
    const void *from = field_of(key, object);
    switch (key->kind) {
    case PAL_KEY_WHOLE:
    case PAL_KEY_CHOICE:
        return (double)load_whole(key, from);
    case PAL_KEY_UNSIGNED:
        return (double)*(const uint64_t *)from;
    case PAL_KEY_REAL:
        return *(const double *)from;
    case PAL_KEY_FLAG:
    case PAL_KEY_NOT:
        return *(const bool *)from == (key->kind == PAL_KEY_FLAG);
    default:
        return NAN;
    }
}

/* ---- Compared ---- */

bool pal_key_same(const pal_key *key, const void *a, const void *b)
{
    const void *x = field_of(key, a), *y = field_of(key, b);
    switch (key->kind) {
    case PAL_KEY_TEXT:
        return strcmp(x, y) == 0;
    case PAL_KEY_STRING: {
        const char *s, *t;
        memcpy(&s, x, sizeof s);
        memcpy(&t, y, sizeof t);
        return s && t ? strcmp(s, t) == 0 : s == t;
    }
    case PAL_KEY_WHOLES:
    case PAL_KEY_REALS: {
        const list *l = x, *m = y;
        return l->count == m->count && memcmp(l->of, m->of, (size_t)l->count * sizeof *l->of) == 0;
    }
    default:
        return memcmp(x, y, key->size) == 0;
    }
}
