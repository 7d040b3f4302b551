/*
 * json.c - reading JSON that is not trusted: every key has to be known, every value of its type.
 */
#include "tensor/text/internal.h"

#include <stdarg.h>
#include <string.h>

pal_status pal_bpe_bad(pal_error *error, const char *format, ...)
{
    char what[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return pal_error_set(error, PAL_EFORMAT, "tokenizer.json: %s", what);
}

/* cJSON ends a string at \u0000; texts that mean different things would become one. */
static bool has_escaped_nul(const char *json, int64_t size)
{
    for (int64_t i = 0; i + 5 < size; i++) {
        if (json[i] != '\\') continue;
        if (memcmp(json + i + 1, "u0000", 5) == 0) return true;
        i++; /* what is escaped, be it a backslash */
    }
    return false;
}

pal_status pal_bpe_parse(cJSON **root, const char *json, int64_t size, pal_error *error)
{
    if (!pal_bpe_utf8_all(json, size))
        return pal_bpe_bad(error, "it is not UTF-8, or has a NUL in it");
    if (has_escaped_nul(json, size)) return pal_bpe_bad(error, "it has a NUL in a string");
    const char *end = json;
    *root = cJSON_ParseWithLengthOpts(json, (size_t)size, &end, 0);
    if (!*root)
        return pal_bpe_bad(error, "it is not JSON, or nested too deep, at byte %lld of %lld",
                           (long long)(end - json), (long long)size);
    while (end < json + size && strchr(" \t\r\n", *end)) end++;
    if (end == json + size) return PAL_OK;
    cJSON_Delete(*root);
    *root = NULL;
    return pal_bpe_bad(error, "something follows the JSON at byte %lld", (long long)(end - json));
}

pal_status pal_bpe_object(const cJSON *o, const char *where, const char *const *known,
                          pal_error *error)
{
    uint64_t seen = 0;
    if (!cJSON_IsObject(o)) return pal_bpe_bad(error, "%s is missing or no object", where);
    for (const cJSON *item = o->child; item; item = item->next) {
        int i = 0;
        while (known[i] && strcmp(known[i], item->string) != 0) i++;
        if (!known[i]) return pal_bpe_bad(error, "%s.%.60s is not known", where, item->string);
        if (seen >> i & 1) return pal_bpe_bad(error, "%s.%s stands twice", where, known[i]);
        seen |= (uint64_t)1 << i;
    }
    return PAL_OK;
}

pal_status pal_bpe_off(const cJSON *o, const char *where, const char *key, pal_error *error)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
    if (!item || cJSON_IsNull(item) || cJSON_IsFalse(item) ||
        (cJSON_IsNumber(item) && item->valuedouble == 0) ||
        (cJSON_IsString(item) && item->valuestring[0] == 0) ||
        (cJSON_IsArray(item) && !item->child))
        return PAL_OK;
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(item, "type");
    if (cJSON_IsString(type))
        return pal_bpe_bad(error, "%s.%s of type %.60s is not supported", where, key,
                           type->valuestring);
    return pal_bpe_bad(error, "%s.%s is not supported", where, key);
}

const char *pal_bpe_type(const cJSON *o)
{
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(o, "type");
    return cJSON_IsString(type) ? type->valuestring : "";
}

pal_status pal_bpe_bool(const cJSON *o, const char *where, const char *key, int absent, bool *value,
                        pal_error *error)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
    if (item ? !cJSON_IsBool(item) : absent < 0)
        return pal_bpe_bad(error, "%s.%s is missing or neither true nor false", where, key);
    *value = item ? cJSON_IsTrue(item) : absent;
    return PAL_OK;
}

pal_status pal_bpe_string(const cJSON *o, const char *where, const char *key, const char **value,
                          pal_error *error)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
    if (!cJSON_IsString(item))
        return pal_bpe_bad(error, "%s.%s is missing or no string", where, key);
    *value = item->valuestring;
    return PAL_OK;
}

bool pal_bpe_whole(const cJSON *item, int32_t *value)
{
    if (!cJSON_IsNumber(item)) return false;
    const double x = item->valuedouble;
    if (!(x >= 0 && x <= INT32_MAX && x == (double)(int32_t)x)) return false;
    *value = (int32_t)x;
    return true;
}

pal_status pal_bpe_places(const cJSON *o, const char *where, pal_error *error)
{
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                        NULL};
    bool unused;
    pal_status s = pal_bpe_object(o, where, known, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, where, "add_prefix_space", -1, &unused, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, where, "trim_offsets", true, &unused, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, where, "use_regex", true, &unused, error);
    return s;
}
