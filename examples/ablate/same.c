/*
 * same.c - what a comparison of rules keeps equal: options of mixers that the study names under
 * `same`, and output_gate in any case, unless `differ` allows a difference.
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

/* Compares all entries of a variant with the value that was seen first. */
static void check_variant(const study *s, int v, const char *option, char first[WORD], int *whose)
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
            stop("%s: line %d: variant %s has %s=%s, and %s has %s=%s: a comparison of rules keeps "
                 "it equal, unless the study says differ = %s",
                 s->path, s->variant[v].line, s->variant[v].name, option, value,
                 s->variant[*whose].name, option, first, option);
        }
    }
}

void same_check(const study *s)
{
    char all[2 * sizeof s->same], option[WORD];
    snprintf(all, sizeof all, "output_gate, %s", s->same);
    for (const char *at = all; *at;) {
        at += strspn(at, ", ");
        const size_t n = strcspn(at, ", ");
        char first[WORD] = "";
        int whose = -1;
        snprintf(option, sizeof option, "%.*s", (int)n, at);
        at += n;
        if (!n || lists(s->differ, option)) continue;
        for (int v = 0; v < s->variants; v++) check_variant(s, v, option, first, &whose);
        if (whose < 0 && lists(s->same, option))
            stop("%s: line %d: same: no mixer of this study has an option %s", s->path,
                 s->same_line, option);
    }
}
