/*
 * keys.c - numbers of a study, and the table of the keys that a variant may have of its own.
 */
#include "examples/ablate/ablate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool number_read(const char *text, double low, double high, double *out)
{
    return pal_number_read(text, out) && isfinite(*out) && *out >= low && *out <= high;
}

bool integer_read(const char *text, int64_t low, int64_t high, int64_t *out)
{
    return pal_integer_read(text, out) && *out >= low && *out <= high;
}

int list_read(const char *text, int most, double low, double high, double *out)
{
    int n = 0;
    for (;;) {
        char word[64];
        text += strspn(text, " \t");
        size_t length = strcspn(text, ", \t");
        if (n == most || length >= sizeof word) return 0;
        memcpy(word, text, length);
        word[length] = '\0';
        if (!number_read(word, low, high, &out[n++])) return 0;
        text += length;
        text += strspn(text, " \t");
        if (!*text) return n;
        if (*text++ != ',') return 0;
    }
}

/* ---- Settings ---- */

typedef enum kind { INTEGER, REAL, MLP } kind;
typedef struct key {
    const char *name;
    kind kind;
    size_t offset;
    double low, high;
    const char *should; /* be */
} key;

static const double ABOVE_0 = 1e-300;
#define FIELD(name) offsetof(settings, name)
static const key keys[] = {
    {"layers", INTEGER, FIELD(layers), 1, 1 << 10, "a whole number from 1 to 1024"},
    {"width", INTEGER, FIELD(width), 1, 1 << 16, "a whole number from 1 to 65536"},
    {"mlp", MLP, FIELD(mlp), 1, 1 << 20, "none, match or a width from 1 to 1048576"},
    {"steps", INTEGER, FIELD(steps), 1, INT32_MAX, "a whole number from 1"},
    {"batch", INTEGER, FIELD(batch), 1, 1 << 20, "a whole number from 1"},
    {"lr", REAL, FIELD(lr), 0, 10, "a number above 0, up to 10"},
    {"weight-decay", REAL, FIELD(weight_decay), 0, 10, "a number from 0 to 10"},
    {"warmup", INTEGER, FIELD(warmup), 1, INT32_MAX, "a whole number from 1"},
    {"clip", REAL, FIELD(clip), 0, 1e6, "a number above 0"},
    {"every", INTEGER, FIELD(every), 1, INT32_MAX, "a whole number from 1"},
    {"rows", INTEGER, FIELD(rows), 1, INT32_MAX, "a whole number from 1"},
    {"enough", REAL, FIELD(enough), 0, 1, "an accuracy from 0 to 1"},
};
enum { KEYS = sizeof keys / sizeof keys[0] };

static bool set(const key *k, void *field, const char *value)
{
    switch (k->kind) {
    case MLP:
        if (strcmp(value, "none") == 0 || strcmp(value, "match") == 0) {
            *(int64_t *)field = strcmp(value, "none") ? MLP_MATCH : MLP_NONE;
            return true;
        }
        /* fall through */
    case INTEGER:
        return integer_read(value, (int64_t)k->low, (int64_t)k->high, field);
    case REAL: {
        const bool above = strcmp(k->name, "lr") == 0 || strcmp(k->name, "clip") == 0;
        return number_read(value, above ? ABOVE_0 : k->low, k->high, field);
    }
    }
    return false;
}

const char *settings_set(settings *s, const char *name, const char *value, bool *known)
{
    *known = true;
    for (int i = 0; i < KEYS; i++)
        if (strcmp(keys[i].name, name) == 0)
            return set(&keys[i], (char *)s + keys[i].offset, value) ? NULL : keys[i].should;
    *known = false;
    return "a key";
}

static void print(FILE *to, const key *k, const void *field)
{
    char text[PAL_NUMBER_TEXT];
    int64_t n = 0;
    double x = 0;
    if (k->kind == REAL)
        memcpy(&x, field, sizeof x);
    else
        memcpy(&n, field, sizeof n);
    if (k->kind == REAL)
        fprintf(to, ", %s = %s", k->name, pal_number_print(x, text));
    else if (k->kind == MLP && n < 0)
        fprintf(to, ", %s = %s", k->name, n == MLP_NONE ? "none" : "match");
    else
        fprintf(to, ", %s = %lld", k->name, (long long)n);
}

void settings_print(FILE *to, const settings *s, const settings *common)
{
    for (int i = 0; i < KEYS; i++) {
        const char *own = (const char *)s + keys[i].offset;
        /* Every field is of 8 bytes. */
        if (memcmp(own, (const char *)common + keys[i].offset, sizeof(int64_t)))
            print(to, &keys[i], own);
    }
}
