/*
 * keys.c - options by name: rows of a table, and texts that set several options.
 */
#include "tensor/keys.h"
#include "tensor/number.h"

#include <stdio.h>
#include <string.h>

enum { MOST_TEXT = 2048 };

/* ---- Lines of a file ---- */

char *pal_trim(char *text)
{
    text += strspn(text, " \t");
    size_t n = strlen(text);
    while (n && strchr(" \t\r", text[n - 1])) text[--n] = '\0';
    return text;
}

pal_status pal_key_line(char *line, int number, char **name, char **value, pal_error *error)
{
    line = pal_trim(line);
    *name = *value = NULL;
    if (!*line || *line == '#') return PAL_OK;
    char *equals = strchr(line, '=');
    if (!equals)
        return pal_error_set(error, PAL_EFORMAT, "line %d: '%.100s' is not 'name = value'", number,
                             line);
    *equals = '\0';
    *name = pal_trim(line), *value = pal_trim(equals + 1);
    return PAL_OK;
}

/* ---- A table ---- */

int pal_keys_find(const pal_keys *keys, const char *name)
{
    for (int i = 0; i < keys->count; i++)
        if (strcmp(keys->key[i].name, name) == 0) return i;
    return -1;
}

static pal_status unknown(const pal_keys *keys, const char *prefix, const char *name,
                          pal_error *error)
{
    char names[1024] = "";
    size_t n = 0;
    for (int i = 0; i < keys->count && n < sizeof names; i++)
        n +=
            (size_t)snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "", keys->key[i].name);
    return pal_error_set(error, PAL_EVALUE, "%sthere is no key \"%.100s\"; its keys are %s", prefix,
                         name, names);
}

static pal_status not_a_value(const pal_key *key, const char *prefix, const char *value,
                              pal_error *error)
{
    char wanted[PAL_KEY_WANTED];
    pal_key_wanted(key, wanted);
    return pal_error_set(error, PAL_EVALUE, "%s%s=%.200s should be %s", prefix, key->name, value,
                         wanted);
}

pal_status pal_keys_set(const pal_keys *keys, void *to, const char *prefix, const char *name,
                        const char *value, pal_error *error)
{
    const int i = pal_keys_find(keys, name);
    if (i < 0) return unknown(keys, prefix, name, error);
    const pal_key *key = &keys->key[i];
    pal_error own = {PAL_OK, ""};
    if (key->check && key->check(value, &own) != PAL_OK)
        return pal_error_set(error, own.status == PAL_ENOMEM ? PAL_ENOMEM : PAL_EVALUE,
                             "%s%s=%.200s: %s", prefix, name, value, own.message);
    if (pal_key_read(key, to, value)) return PAL_OK;
    return not_a_value(key, prefix, value, error);
}

pal_status pal_keys_read(const pal_keys *keys, void *to, const char *prefix, const char *text,
                         size_t n, bool once, pal_error *error)
{
    const char *end = text + n;
    for (const char *at = text; at < end;) {
        char item[MOST_TEXT], *value = item;
        const char *next = memchr(at + 1, ':', (size_t)(end - at - 1));
        if (!next) next = end;
        const size_t length = (size_t)(next - at) - 1;
        if (*at != ':' || length >= sizeof item)
            return pal_error_set(error, PAL_EVALUE,
                                 "%s\"%.60s\" is no text of at most %d bytes "
                                 "after a colon",
                                 prefix, at, MOST_TEXT - 1);
        memcpy(item, at + 1, length);
        item[length] = '\0';
        strsep(&value, "=");
        const size_t name_length = strlen(item);
        for (const char *before = text; once && before < at; before += 1 + strcspn(before + 1, ":"))
            if (strncmp(before + 1, item, name_length) == 0 &&
                strchr("=:", before[1 + name_length]))
                return pal_error_set(error, PAL_EVALUE, "%s%s is there twice", prefix, item);
        pal_status s = pal_keys_set(keys, to, prefix, item, value ? value : "", error);
        if (s != PAL_OK) return s;
        at = next;
    }
    return PAL_OK;
}

size_t pal_keys_print(const pal_keys *keys, const void *from, char *text, size_t size)
{
    size_t used = 0;
    if (size) text[0] = '\0';
    for (int i = 0; i < keys->count; i++) {
        const pal_key *key = &keys->key[i];
        char value[MOST_TEXT];
        pal_key_print(key, from, value, sizeof value);
        used += (size_t)snprintf(used < size ? text + used : NULL, used < size ? size - used : 0,
                                 ":%s=%s", key->name, value);
    }
    return used;
}

pal_status pal_keys_check(const pal_keys *keys, const void *from, const char *prefix,
                          pal_error *error)
{
    for (int i = 0; i < keys->count; i++) {
        const pal_key *key = &keys->key[i];
        char number[PAL_NUMBER_TEXT];
        if (key->kind != PAL_KEY_REAL || pal_key_within(key, pal_key_number(key, from))) continue;
        return not_a_value(key, prefix, pal_number_print(pal_key_number(key, from), number), error);
    }
    return PAL_OK;
}

int pal_kind_find(const void *const *kinds, int count, const char *what, const char *text, size_t n,
                  pal_error *error)
{
    char names[512] = "";
    size_t used = 0;
    for (int i = 0; i < count; i++) {
        const char *name = *(const char *const *)kinds[i];
        if (strlen(name) == n && strncmp(name, text, n) == 0) return i;
        if (used < sizeof names)
            used +=
                (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", name);
    }
    pal_error_set(error, PAL_EVALUE, "there is no %s \"%.*s\"; there are %s", what,
                  (int)(n < 60 ? n : 60), text, names);
    return -1;
}
