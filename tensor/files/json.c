/*
 * json.c - JSON of files that are not trusted.
 *
 * The check reads the text once: brackets, strings and numbers. What it cannot tell, such as a
 * comma that is missing, cJSON tells.
 */
#include "tensor/files/json.h"
#include "tensor/internal.h"
#include "tensor/number.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

/* ---- The check ---- */

typedef struct scan {
    char *text;
    size_t size, at;
    int depth;
    int64_t values;
    pal_error *error;
} scan;

static pal_status wrong(const scan *s, const char *what)
{
    return pal_error_set(s->error, PAL_EFORMAT, "%s at byte %zu of %zu", what, s->at, s->size);
}

/* The character there, NUL at the end. */
static char now(const scan *s) { return s->at < s->size ? s->text[s->at] : '\0'; }

static pal_status string(scan *s)
{
    for (s->at++; s->at < s->size && s->text[s->at] != '"';) {
        const unsigned char c = (unsigned char)s->text[s->at];
        if (c < 0x20) return wrong(s, "a control character is in a string");
        if (c == '\\') {
            /* cJSON ends a string there; texts that mean different things would become one. */
            if (s->size - s->at >= 6 && memcmp(s->text + s->at, "\\u0000", 6) == 0)
                return wrong(s, "a NUL is in a string");
            s->at += 2;
            continue;
        }
        const int length = pal_utf8(s->text + s->at, (int64_t)(s->size - s->at));
        if (length == 0) return wrong(s, "it is not UTF-8");
        s->at += (size_t)length;
    }
    if (now(s) != '"') return wrong(s, "a string does not end");
    s->at++;
    return PAL_OK;
}

static size_t digits(scan *s)
{
    const size_t begin = s->at;
    while (now(s) >= '0' && now(s) <= '9') s->at++;
    return s->at - begin;
}

/* Python writes Infinity; 1e999 is as long with blanks behind it, and becomes the same number. */
static bool infinity(scan *s)
{
    static const char name[] = "Infinity", same[] = "1e999   ";
    const size_t n = sizeof name - 1;
    if (s->size - s->at < n || memcmp(s->text + s->at, name, n) != 0) return false;
    memcpy(s->text + s->at, same, n);
    s->at += n;
    return true;
}

static pal_status number(scan *s)
{
    if (now(s) == '-') s->at++;
    if (infinity(s)) return PAL_OK;
    const bool zero = now(s) == '0';
    const size_t whole = digits(s);
    bool good = whole == 1 || (whole > 1 && !zero);
    if (good && now(s) == '.') {
        s->at++;
        good = digits(s) > 0;
    }
    if (good && (now(s) == 'e' || now(s) == 'E')) {
        s->at++;
        if (now(s) == '-' || now(s) == '+') s->at++;
        good = digits(s) > 0;
    }
    return good ? PAL_OK : wrong(s, "a number is not well formed");
}

/* One string, number, name or bracket, or a blank, comma or colon. */
static pal_status piece(scan *s)
{
    const char c = now(s);
    if (strchr(" \t\r\n,:", c) && c) {
        s->at++;
        return PAL_OK;
    }
    if (c == ']' || c == '}') {
        s->depth--;
        s->at++;
        return PAL_OK;
    }
    if (++s->values > 2 * PAL_JSON_VALUES) /* keys count too */
        return wrong(s, "it has more values than are read");
    if (c == '[' || c == '{') {
        s->at++;
        return ++s->depth > PAL_JSON_DEPTH ? wrong(s, "it is nested too deep") : PAL_OK;
    }
    if (c == '"') return string(s);
    if (c == '-' || (c >= '0' && c <= '9') || c == 'I') {
        const size_t begin = s->at;
        if (c == 'I') return infinity(s) ? PAL_OK : wrong(s, "it is not JSON");
        const pal_status status = number(s);
        return status == PAL_OK && s->at == begin ? wrong(s, "it is not JSON") : status;
    }
    const size_t begin = s->at;
    while (now(s) >= 'a' && now(s) <= 'z') s->at++; /* true, false, null */
    return s->at > begin ? PAL_OK : wrong(s, "it is not JSON");
}

static pal_status check(char *text, size_t size, pal_error *error)
{
    scan s = {.text = text, .size = size, .error = error};
    pal_status status = PAL_OK;
    while (status == PAL_OK && s.at < size) status = piece(&s);
    return status;
}

/* ---- Keys ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Whether no two of an object's keys are the same. */
static pal_status keys_differ(const cJSON *o, pal_error *error)
{
    char shown[PAL_JSON_SHOWN];
    const char *twice = NULL;
    size_t n = 0;
    for (const cJSON *c = o->child; c; c = c->next) n++;
    if (n < 2) return PAL_OK;
    const char **names = malloc(n * sizeof *names);
    if (!names) return pal_error_set(error, PAL_ENOMEM, "out of memory for JSON");
    n = 0;
    for (const cJSON *c = o->child; c; c = c->next) names[n++] = c->string;
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 1; i < n && !twice; i++)
        if (strcmp(names[i - 1], names[i]) == 0) twice = names[i];
    free(names);
    if (!twice) return PAL_OK;
    return pal_error_set(error, PAL_EFORMAT, "\"%s\" stands twice in one object",
                         pal_json_show(twice, shown));
}

/* Its depth is bounded, as the check has seen. */
static pal_status all_keys_differ(const cJSON *o, pal_error *error)
{
    pal_status s = cJSON_IsObject(o) ? keys_differ(o, error) : PAL_OK;
    for (const cJSON *c = o->child; c && s == PAL_OK; c = c->next)
        if (c->child) s = all_keys_differ(c, error);
    return s;
}

/* ---- Reading ---- */

pal_status pal_json_parse(pal_json **root, char *text, size_t size, pal_error *error)
{
    PAL_C_LOCALE; /* cJSON may have been built to read numbers as strtod does */
    const char *end = text;
    *root = NULL;
    pal_status s = check(text, size, error);
    if (s != PAL_OK) return s;
    cJSON *all = cJSON_ParseWithLengthOpts(text, size, &end, 0);
    if (!all)
        return pal_error_set(error, PAL_EFORMAT, "it is not JSON at byte %zu of %zu",
                             (size_t)(end - text), size);
    while (end < text + size && *end && strchr(" \t\r\n", *end)) end++;
    if (end < text + size)
        s = pal_error_set(error, PAL_EFORMAT, "something follows the JSON at byte %zu of %zu",
                          (size_t)(end - text), size);
    if (s == PAL_OK) s = all_keys_differ(all, error);
    if (s == PAL_OK)
        *root = all;
    else
        cJSON_Delete(all);
    return s;
}

void pal_json_free(pal_json *root) { cJSON_Delete(root); }

const pal_json *pal_json_first(const pal_json *o) { return o ? o->child : NULL; }
const pal_json *pal_json_next(const pal_json *value) { return value->next; }
const char *pal_json_key(const pal_json *value) { return value->string; }

const pal_json *pal_json_get(const pal_json *o, const char *key)
{
    return cJSON_IsObject(o) ? cJSON_GetObjectItemCaseSensitive(o, key) : NULL;
}

bool pal_json_is_object(const pal_json *o) { return cJSON_IsObject(o); }
bool pal_json_is_list(const pal_json *o) { return cJSON_IsArray(o); }
bool pal_json_is_null(const pal_json *o) { return !o || cJSON_IsNull(o); }
const char *pal_json_text(const pal_json *o) { return cJSON_IsString(o) ? o->valuestring : NULL; }

bool pal_json_flag(const pal_json *o, bool *value)
{
    if (!cJSON_IsBool(o)) return false;
    *value = cJSON_IsTrue(o);
    return true;
}

bool pal_json_number(const pal_json *o, double *value)
{
    if (!cJSON_IsNumber(o)) return false;
    *value = o->valuedouble;
    return true;
}

bool pal_json_whole(const pal_json *o, int64_t *value)
{
    double x;
    if (!pal_json_number(o, &x) || !(x >= -0x1p53 && x <= 0x1p53)) return false;
    if (x != (double)(int64_t)x) return false;
    *value = (int64_t)x;
    return true;
}

char *pal_json_print(const pal_json *o) { return cJSON_PrintUnformatted(o); }

const char *pal_json_show(const char *text, char to[PAL_JSON_SHOWN])
{
    const size_t n = strlen(text);
    size_t i = 0;
    for (; i < n && i < PAL_JSON_SHOWN - 4; i++) {
        const unsigned char c = (unsigned char)text[i];
        to[i] = c < 0x20 || c >= 0x7f ? '?' : text[i];
    }
    strcpy(to + i, i < n ? "..." : "");
    return to;
}
