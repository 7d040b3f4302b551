/*
 * pattern.c - a regular expression of tokenizer.json, written for PCRE2.
 *
 * Hugging Face's `tokenizers` reads such a pattern by Oniguruma, in its own syntax. Where PCRE2
 * takes the same text for something else, it is written in another way here; what has no such way
 * is refused. So a pattern either cuts as Oniguruma would, or is an error:
 *
 *     \s \S [[:space:]]   the 25 characters of White_Space; PCRE2's have U+180E too
 *     \w \W \b \B         letters, marks, decimal digits, letter-like numbers, connectors, and what
 *                         Oniguruma counts beside them; PCRE2's have no marks and all numbers
 *     \h \H \v \uHHHH     hexadecimal digits, U+000B, a character
 *     \p{Han}             the script; PCRE2's has the script extensions too
 *
 * Under (?i) Oniguruma also takes one character for two, such as U+00DF for ss. What could do so is
 * refused there. Letters and numbers that are newer than the library's Unicode remain different.
 *
 * Sources: doc/RE of Oniguruma; pcre2pattern(3).
 */
#include "tensor/text/internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Contents of brackets. Which characters White_Space has will not change (Unicode's stability). */
#define SPACE                                                                             \
    "\\t-\\r\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}" \
    "\\x{205f}\\x{3000}"
#define NO_SPACE                                                                            \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-"  \
    "\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}" \
    "\\x{3001}-\\x{10ffff}"
#define WORD_IN                                                                            \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-" \
    "\\x{1f169}\\x{1f170}-\\x{1f189}"
/* Outside of brackets Oniguruma's \w has six numbers of Latin-1 too. */
#define WORD   WORD_IN "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define HEX    "0-9A-Fa-f"
#define BORDER "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))"
#define INSIDE "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))"

#if PCRE2_MAJOR > 10 || PCRE2_MINOR >= 40
#define SCRIPT "sc:"
#else
#define SCRIPT "" /* there \p{Han} is the script */
#endif

enum { DEPTH = 100 };

typedef struct reader {
    const char *pattern, *at;
    char *to;
    int64_t size, room;
    bool fold[DEPTH]; /* whether (?i) holds at each depth of parentheses */
    int depth;
    char before; /* the letter that stands before, under (?i) */
    pal_error *error;
} reader;

static pal_status refuse(const reader *r, const char *what)
{
    return pal_bpe_bad(r->error, "the pattern '%.200s' at byte %lld: %s", r->pattern,
                       (long long)(r->at - r->pattern), what);
}

static pal_status put(reader *r, const char *text, int64_t size)
{
    if (!pal_bpe_grow((void **)&r->to, &r->room, r->size + size + 1, 1))
        return pal_error_set(r->error, PAL_ENOMEM, "tokenizer.json: out of memory");
    memcpy(r->to + r->size, text, (size_t)size);
    r->size += size;
    r->to[r->size] = 0;
    return PAL_OK;
}

static pal_status put_text(reader *r, const char *text)
{
    return put(r, text, (int64_t)strlen(text));
}

/* Copies what stands there. */
static pal_status copy(reader *r, int64_t size)
{
    pal_status s = put(r, r->at, size);
    r->at += size;
    return s;
}

/* Takes `size` bytes for another text; with `inside` brackets stand around it already. */
static pal_status replace(reader *r, int64_t size, const char *open, const char *set, bool inside)
{
    r->at += size;
    pal_status s = inside ? PAL_OK : put_text(r, open);
    if (s == PAL_OK) s = put_text(r, set);
    return s == PAL_OK && !inside ? put_text(r, "]") : s;
}

static bool folds(const reader *r) { return r->fold[r->depth]; }

/* ---- Escapes ---- */

static bool is_category(const char *name, size_t size)
{
    static const char all[] = " C Cc Cf Cn Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe "
                              "Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs ";
    char word[5] = " ";
    if (size < 1 || size > 2) return false;
    memcpy(word + 1, name, size);
    strcat(word, " ");
    return strstr(all, word) != NULL;
}

/* \p{NAME}, \P{NAME}, \p{^NAME} */
static pal_status property(reader *r, bool inside)
{
    const char *name = r->at + 3;
    bool negated = r->at[1] == 'P';
    if (r->at[2] != '{') return refuse(r, "\\p wants a name in braces");
    if (folds(r)) return refuse(r, "a property under (?i) is not supported");
    if (*name == '^') negated = !negated, name++;
    const size_t size = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_");
    if (size == 0 || name[size] != '}') return refuse(r, "this property is not supported");
    const int64_t all = name + size + 1 - r->at;
    if (strncmp(name, "White_Space}", 12) == 0)
        return replace(r, all, "[", negated ? NO_SPACE : SPACE, inside);
    pal_status s = put_text(r, negated ? "\\P{" : "\\p{");
    if (s == PAL_OK && !is_category(name, size)) s = put_text(r, SCRIPT);
    if (s == PAL_OK) s = put(r, name, (int64_t)size);
    r->at += all;
    return s == PAL_OK ? put_text(r, "}") : s;
}

/* \xHH, \x{H...}, \uHHHH */
static pal_status number(reader *r)
{
    static const char hex[] = "0123456789abcdefABCDEF";
    const bool braces = r->at[1] == 'x' && r->at[2] == '{';
    const char *digits = r->at + 2 + braces;
    const size_t size = strspn(digits, hex), most = r->at[1] == 'u' ? 4 : 2;
    char text[16] = "";
    if (braces ? size < 1 || size > 6 || digits[size] != '}' : size < most)
        return refuse(r, "this number of a character is not supported");
    const size_t used = braces ? size : most;
    memcpy(text, digits, used);
    const long code = strtol(text, NULL, 16);
    if (code >= 128 && folds(r)) return refuse(r, "such a character under (?i) is not supported");
    snprintf(text, sizeof text, "\\x{%lx}", code);
    r->at = digits + used + braces;
    return put_text(r, text);
}

static pal_status escape(reader *r, bool inside)
{
    const char c = r->at[1];
    if (ispunct((unsigned char)c) || c == ' ' || (c && strchr("dtnrfae", c))) return copy(r, 2);
    if (!inside && c && strchr("AzZ", c)) return copy(r, 2);
    switch (inside && folds(r) && isupper((unsigned char)c) ? 0 : c) {
    case 'D':
        return copy(r, 2);
    case 's':
        return replace(r, 2, "[", SPACE, inside);
    case 'S':
        return replace(r, 2, "[", NO_SPACE, inside);
    case 'h':
        return replace(r, 2, "[", HEX, inside);
    case 'v':
        return replace(r, 2, "[", "\\x{b}", inside);
    case 'b':
        return replace(r, 2, "", inside ? "\\x{8}" : BORDER, true);
    case 'p':
    case 'P':
        return property(r, inside);
    case 'x':
    case 'u':
        return number(r);
    case 'w':
        if (folds(r)) break;
        return replace(r, 2, "[", inside ? WORD_IN : WORD, inside);
    case 'W':
        if (inside || folds(r)) break;
        return replace(r, 2, "[^", WORD, false);
    case 'H':
        if (inside) break;
        return replace(r, 2, "[^", HEX, false);
    case 'B':
        if (inside) break;
        return replace(r, 2, "", INSIDE, true);
    }
    char what[64];
    snprintf(what, sizeof what, "\\%c is not supported %s", c > ' ' ? c : '?',
             folds(r) ? "under (?i)"
             : inside ? "between brackets"
                      : "");
    return refuse(r, what);
}

/* A character that stands for itself. */
static pal_status literal(reader *r, bool inside)
{
    static const char pairs[] = "ss ff fi fl st";
    const char pair[3] = {r->before, (char)tolower((unsigned char)*r->at), 0};
    if (folds(r) && (*r->at & 0x80))
        return refuse(r, "a character beyond ASCII under (?i) is not supported");
    if (folds(r) && !inside && pair[0] && strstr(pairs, pair))
        return refuse(r, "two letters under (?i) that are one character elsewhere (ss, ff, fi, fl, "
                         "st) are not supported");
    r->before = isalpha((unsigned char)*r->at) && !inside ? pair[1] : 0;
    return copy(r, 1);
}

/* ---- Brackets ---- */

static pal_status brackets(reader *r)
{
    const char *begin = r->at;
    pal_status s = copy(r, r->at[1] == '^' ? 2 : 1);
    if (*r->at == ']') return refuse(r, "write \\] between brackets");
    while (s == PAL_OK && *r->at != ']') {
        if (*r->at == 0) {
            r->at = begin;
            return refuse(r, "this bracket is not closed");
        }
        if (strncmp(r->at, "[:space:]", 9) == 0)
            s = replace(r, 9, "", SPACE, true);
        else if (strncmp(r->at, "[:digit:]", 9) == 0)
            s = replace(r, 9, "", "\\d", true);
        else if (*r->at == '[')
            s = refuse(r, "a set inside of brackets is not supported; a bracket is \\[");
        else if (strncmp(r->at, "&&", 2) == 0)
            s = refuse(r, "&& between brackets is not supported");
        else
            s = *r->at == '\\' ? escape(r, true) : literal(r, true);
    }
    return s == PAL_OK ? copy(r, 1) : s;
}

/* ---- Groups and repeats ---- */

static pal_status open_group(reader *r)
{
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", NULL};
    static const char *const cases[] = {"(?i:", "(?-i:", NULL};
    bool fold = folds(r);
    int64_t size = r->at[1] == '?' || r->at[1] == '*' ? 0 : 1;
    if (r->at == r->pattern && strncmp(r->at, "(?i)", 4) == 0) {
        r->fold[0] = true;
        return copy(r, 4);
    }
    for (int i = 0; known[i] && !size; i++)
        if (strncmp(r->at, known[i], strlen(known[i])) == 0) size = (int64_t)strlen(known[i]);
    for (int i = 0; cases[i] && !size; i++)
        if (strncmp(r->at, cases[i], strlen(cases[i])) == 0) {
            size = (int64_t)strlen(cases[i]);
            fold = i == 0;
        }
    if (!size) return refuse(r, "this kind of group is not supported");
    if (r->depth + 1 == DEPTH) return refuse(r, "it is nested too deep");
    r->fold[++r->depth] = fold;
    return copy(r, size);
}

/* {n}, {n,} and {n,m}; what follows means something else in Oniguruma. */
static pal_status repeat(reader *r)
{
    const size_t n = strspn(r->at + 1, "0123456789");
    const bool range = r->at[1 + n] == ',';
    const size_t m = range ? strspn(r->at + 2 + n, "0123456789") : 0;
    const char *end = r->at + 1 + n + range + m;
    if (n == 0 || *end != '}') return refuse(r, "this repeat is not supported; a brace is \\{");
    if (end[1] == '+' || (end[1] == '?' && !range))
        return refuse(r, "+ after a repeat in braces, or ? after {n}, is not supported");
    return copy(r, end + 1 - r->at);
}

static pal_status next(reader *r)
{
    const char before = r->before;
    r->before = 0;
    switch (*r->at) {
    case '\\':
        return escape(r, false);
    case '[':
        return brackets(r);
    case '(':
        return open_group(r);
    case ')':
        if (r->depth == 0) return refuse(r, "no parenthesis is open");
        r->depth--;
        return copy(r, 1);
    case '{':
        return repeat(r);
    }
    if (strchr(".^$|*+?", *r->at)) return copy(r, 1);
    r->before = before;
    return literal(r, false);
}

pal_status pal_bpe_pattern(const char *pattern, char **to, pal_error *error)
{
    reader r = {.pattern = pattern, .at = pattern, .error = error};
    pal_status s = put(&r, "", 0);
    while (s == PAL_OK && *r.at) s = next(&r);
    if (s != PAL_OK) {
        free(r.to);
        r.to = NULL;
    }
    *to = r.to;
    return s;
}
