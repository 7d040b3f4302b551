/*
 * describe.c - what the families share: values of a config.json, and the entries of blocks.
 */
#include "layers/models/families/family.h"
#include "tensor/internal.h"
#include "tensor/number.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

pal_status pal_config_bad(pal_error *error, const char *format, ...)
{
    char what[700];
    va_list args;
    va_start(args, format);
    pal_vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return pal_error_set(error, PAL_EFORMAT, "config.json: %s", what);
}

int pal_word_of(const char *words, char between, const char *text)
{
    const size_t n = strlen(text);
    int i = 0;
    for (const char *w = words ? words : ""; *w; i++) {
        const char *end = strchr(w, between);
        const size_t length = end ? (size_t)(end - w) : strlen(w);
        if (length == n && memcmp(w, text, n) == 0) return i;
        w += length + (end != NULL);
    }
    return -1;
}

const pal_json *pal_config_get(const pal_config *c, const char *path)
{
    const pal_json *at = c->model;
    while (at && *path) {
        char key[128];
        const size_t n = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        at = pal_json_get(at, key);
        path += n + (path[n] == '.');
    }
    return pal_json_is_null(at) ? NULL : at;
}

pal_status pal_config_layers(const pal_config *c, const char *key, const char *words, int kinds,
                             pal_described *d, pal_error *error)
{
    const pal_json *list = pal_config_get(c, key);
    char shown[PAL_JSON_SHOWN];
    int64_t n = 0;
    if (!list) return PAL_OK;
    if (!pal_json_is_list(list)) return pal_config_bad(error, "%s is no list", key);
    for (const pal_json *v = pal_json_first(list); v; v = pal_json_next(v), n++) {
        const char *text = pal_json_text(v);
        const int word = text ? pal_word_of(words, '|', text) : -1;
        if (n < d->opts.layers && word >= 0) d->kind[n] = (unsigned char)(word % kinds);
        if (word < 0)
            return pal_config_bad(error, "%s has a layer \"%s\"; there are %s", key,
                                  pal_json_show(text ? text : "", shown), words);
    }
    if (n == d->opts.layers) return PAL_OK;
    return pal_config_bad(error, "%s has %lld entries, and the model %lld layers", key,
                          (long long)n, (long long)d->opts.layers);
}

/* A number, or what transformers writes for one that JSON lacks. */
static bool bound(const pal_json *v, double *x)
{
    const char *name = pal_json_text(pal_json_get(v, "__float__"));
    if (!name) name = pal_json_text(v);
    if (!name) return pal_json_number(v, x);
    if (strcmp(name, "Infinity") != 0 && strcmp(name, "inf") != 0) return false;
    *x = HUGE_VAL;
    return true;
}

pal_status pal_config_bounds(const pal_config *c, const char *key, double *low, double *high,
                             pal_error *error)
{
    const pal_json *list = pal_config_get(c, key);
    if (!list) return PAL_OK;
    const pal_json *a = pal_json_is_list(list) ? pal_json_first(list) : NULL;
    const pal_json *b = a ? pal_json_next(a) : NULL;
    if (b && !pal_json_next(b) && bound(a, low) && bound(b, high) && *low <= *high) return PAL_OK;
    return pal_config_bad(error, "%s is no list of two bounds", key);
}

pal_status pal_config_reals(const pal_config *c, const char *key, int count, double *to,
                            pal_error *error)
{
    const pal_json *list = pal_config_get(c, key);
    double x[8];
    int n = 0;
    if (!list) return PAL_OK;
    for (const pal_json *v = pal_json_is_list(list) ? pal_json_first(list) : NULL; v;
         v = pal_json_next(v), n++)
        if (n >= count || n >= 8 || !pal_json_number(v, &x[n]) || !(x[n] > 0 && x[n] < HUGE_VAL)) {
            n = -1;
            break;
        }
    if (n != count) return pal_config_bad(error, "%s is no list of %d numbers above 0", key, count);
    memcpy(to, x, (size_t)count * sizeof *to);
    return PAL_OK;
}

/* ---- Entries ---- */

static void add(pal_described *d, int kind, const char *before, const char *key, const char *value)
{
    char *text = d->text[kind];
    const size_t n = strlen(text);
    const int more =
        snprintf(text + n, PAL_BLOCK_TEXT - n, "%s%s%s%s", before, key, *value ? "=" : "", value);
    if (n + (size_t)more >= PAL_BLOCK_TEXT) strcpy(text, ":"); /* which is no mixer */
}

void pal_entry_begin(pal_described *d, int kind, const char *mixer) { add(d, kind, "", mixer, ""); }

void pal_entry_more(pal_described *d, int kind, const char *mixer) { add(d, kind, "+", mixer, ""); }

void pal_entry_word(pal_described *d, int kind, const char *key, const char *value)
{
    add(d, kind, ":", key, value);
}

void pal_entry_whole(pal_described *d, int kind, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    add(d, kind, ":", key, text);
}

void pal_entry_real(pal_described *d, int kind, const char *key, double value)
{
    char text[PAL_NUMBER_TEXT];
    add(d, kind, ":", key, pal_number_print(value, text));
}

void pal_entry_flag(pal_described *d, int kind, const char *key, bool value)
{
    add(d, kind, ":", key, value ? "true" : "false");
}
