/*
 * same.c - what a comparison of rules keeps equal: options of mixers that the study names under
 * `same`. Where output_gate differs and the study does not name it under `differ`, a note says so:
 * it changes more than the rules do.
 *
 * An option is what the text of a mixer says, or else the mixer's default. A mixer that has no such
 * option has nothing to differ in (Mamba-2's gate is part of its norm).
 */
#include "examples/ablate/ablate.h"

#include <stdlib.h>
#include <string.h>

enum { WORD = 64 };

/* Whether the list "a, b, c" has the word. */
static bool lists(const char *list, const char *name)
{
    for (const char *at = list; *at;) {
        at += strspn(at, ", ");
        const size_t n = strcspn(at, ", ");
        if (n && strlen(name) == n && strncmp(at, name, n) == 0) return true;
        at += n;
    }
    return false;
}

/* Whether a mixer has the option, whatever its values are. */
static bool knows(const char *mixer, const char *option)
{
    char text[4 * WORD];
    pal_error error = {PAL_OK, ""};
    snprintf(text, sizeof text, "%.60s:%.60s=", mixer, option);
    return pal_mixers_check(text, &error) == PAL_OK || !strstr(error.message, "there is no key");
}

/* What an option is where the text does not say: the word for it, if it is one that differs between
 * mixers. */
static const char *standard(const char *mixer, const char *option)
{
    if (strcmp(option, "output_gate")) return "the default";
    return strcmp(mixer, "kda") ? "silu" : "sigmoid";
}

/* The value in an entry of n bytes; false: its mixer has no such option. */
static bool value_in(const char *entry, size_t n, const char *option, char value[WORD])
{
    char mixer[WORD], key[WORD + 4];
    snprintf(mixer, sizeof mixer, "%.*s", (int)strcspn(entry, ":,)"), entry);
    if (!knows(mixer, option)) return false;
    snprintf(value, WORD, "%s", standard(mixer, option));
    const int length = snprintf(key, sizeof key, ":%s=", option);
    for (size_t i = 0; i + (size_t)length <= n; i++)
        if (strncmp(entry + i, key, (size_t)length) == 0)
            snprintf(value, WORD, "%.*s", (int)strcspn(entry + i + length, ":,)"),
                     entry + i + length);
    return true;
}

/* Compares all entries of a variant with the value that was seen first; if they differ, `says`
 * becomes a sentence about it. */
static int check_variant(const study *s, int v, const char *option, char first[WORD], int *whose,
                         char says[sizeof s->unequal])
{
    const char *mixers = s->variant[v].mixers;
    for (int64_t i = 0; i < pal_mixers_count(mixers); i++) {
        size_t n;
        char value[WORD];
        const char *entry = pal_mixers_at(mixers, i, &n);
        if (!entry || !value_in(entry, n, option, value)) continue;
        if (*whose < 0) {
            *whose = v;
            memcpy(first, value, WORD);
        } else if (strcmp(first, value)) {
            snprintf(says, sizeof s->unequal,
                     "variant %.40s has %.20s=%.20s, and %.40s has %.20s=%.20s", s->variant[v].name,
                     option, value, s->variant[*whose].name, option, first);
            return s->variant[v].line;
        }
    }
    return 0;
}

/* The first difference between variants in an option: its line, and a sentence; 0: there is none.
 */
static int difference_in(const study *s, const char *option, char says[sizeof s->unequal],
                         bool *known)
{
    char first[WORD] = "";
    int whose = -1, line = 0;
    for (int v = 0; v < s->variants && !line; v++)
        line = check_variant(s, v, option, first, &whose, says);
    *known = whose >= 0;
    return line;
}

void same_check(study *s)
{
    static const char gate[] = "output_gate";
    char option[WORD], says[sizeof s->unequal];
    bool known;
    for (const char *at = s->same; *at;) {
        at += strspn(at, ", ");
        const size_t n = strcspn(at, ", ");
        snprintf(option, sizeof option, "%.*s", (int)n, at);
        at += n;
        if (!n || lists(s->differ, option)) continue;
        const int line = difference_in(s, option, says, &known);
        if (line) stop("%s: line %d: %s, which same = %s keeps equal", s->path, line, says, option);
        if (!known)
            stop("%s: line %d: same: no mixer of this study has an option %s", s->path,
                 s->same_line, option);
    }
    if (!lists(s->same, gate) && !lists(s->differ, gate) && difference_in(s, gate, says, &known))
        snprintf(s->unequal, sizeof s->unequal,
                 "%.150s: not the rules alone are compared (same, differ)", says);
}
