/*
 * text.c - tasks as text, `name[:key=value...]`: one table of keys serves reading and writing.
 */
#include "examples/tasks/internal.h"
#include "tensor/number.h"

#include <string.h>

enum { VALUE = 256 };

/* ---- Reading ---- */

bool task_read_whole(const char *text, double low, double high, int64_t *out)
{
    int64_t n;
    if (*text < '0' || *text > '9' || !pal_integer_read(text, &n)) return false;
    if ((double)n < low || (double)n > high) return false;
    *out = n;
    return true;
}

bool task_read_real(const char *text, double low, double high, double *out)
{
    double x;
    if (!pal_number_read(text, &x) || !(x >= low && x <= high)) return false;
    *out = x;
    return true;
}

int task_read_choice(const char *text, const char *words)
{
    const size_t n = strlen(text);
    int i = 0;
    for (const char *w = words; *w; w += strcspn(w, "|"), w += *w == '|', i++)
        if (strcspn(w, "|") == n && strncmp(w, text, n) == 0) return i;
    return -1;
}

static bool read_list(const task_key *key, const char *text, task_list *out)
{
    char item[VALUE];
    out->count = 0;
    if (!*text) return !*key->standard;
    for (;; text++) {
        const size_t n = strcspn(text, ",");
        if (out->count == TASK_POINTS || n >= sizeof item) return false;
        memcpy(item, text, n);
        item[n] = '\0';
        if (!task_read_whole(item, key->low, key->high, &out->of[out->count++])) return false;
        text += n;
        if (!*text) return true;
    }
}

static bool read_value(task *t, const task_key *key, const char *text)
{
    void *to = (char *)t + key->offset;
    switch (key->type) {
    case TASK_COUNT:
        return task_read_whole(text, key->low, key->high, to);
    case TASK_COUNTS:
        return read_list(key, text, to);
    case TASK_REAL:
        return task_read_real(text, key->low, key->high, to);
    case TASK_FLAG:
        *(bool *)to = strcmp(text, "true") == 0;
        return *(bool *)to || strcmp(text, "false") == 0;
    case TASK_CHOICE:
        *(int *)to = task_read_choice(text, key->words);
        return *(int *)to >= 0;
    }
    return false;
}

/* What a value of the key can be. */
static const char *wanted(const task_key *key, char text[VALUE])
{
    PAL_C_LOCALE;
    switch (key->type) {
    case TASK_COUNT:
        snprintf(text, VALUE, "a whole number from %.0f to %.0f", key->low, key->high);
        break;
    case TASK_COUNTS:
        snprintf(text, VALUE, "at most %d whole numbers from %.0f to %.0f, with commas between",
                 TASK_POINTS, key->low, key->high);
        break;
    case TASK_REAL:
        snprintf(text, VALUE, "a number from %g to %g", key->low, key->high);
        break;
    case TASK_FLAG:
        return "true or false";
    case TASK_CHOICE:
        return key->words;
    }
    return text;
}

static const task_key *find(const task_kind *kind, const char *name)
{
    for (int i = 0; i < kind->keys; i++)
        if (strcmp(kind->key[i].name, name) == 0) return &kind->key[i];
    return NULL;
}

static pal_status read_key(task *t, char *text, uint64_t *seen, pal_error *error)
{
    char *equals = strchr(text, '='), names[VALUE] = "", range[VALUE];
    if (equals) *equals = '\0';
    const task_key *key = find(t->kind, text);
    if (!key) {
        for (int i = 0; i < t->kind->keys; i++) {
            const size_t used = strlen(names);
            snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                     t->kind->key[i].name);
        }
        return task_wrong(error, t, "there is no key \"%.60s\"; its keys are %s", text, names);
    }
    const uint64_t bit = UINT64_C(1) << (key - t->kind->key);
    if (*seen & bit) return task_wrong(error, t, "%s is there twice", key->name);
    *seen |= bit;
    if (equals && read_value(t, key, equals + 1)) return PAL_OK;
    return task_wrong(error, t, "%s=%.60s should be %s", key->name, equals ? equals + 1 : "",
                      wanted(key, range));
}

pal_status task_read_keys(task *t, const char *text, pal_error *error)
{
    char part[TASK_TEXT];
    uint64_t seen = 0;
    for (int i = 0; i < t->kind->keys; i++) {
        const task_key *key = &t->kind->key[i];
        if (!read_value(t, key, key->standard))
            return task_wrong(error, t, "the default of %s is wrong", key->name);
    }
    while (*text == ':') {
        const size_t n = strcspn(++text, ":");
        if (n >= sizeof part) return task_wrong(error, t, "the text is too long");
        memcpy(part, text, n);
        part[n] = '\0';
        const pal_status s = read_key(t, part, &seen, error);
        if (s != PAL_OK) return s;
        text += n;
    }
    return PAL_OK;
}

/* ---- Writing ---- */

static void write_value(const task *t, const task_key *key, char text[VALUE])
{
    const void *from = (const char *)t + key->offset;
    size_t used = 0;
    text[0] = '\0';
    switch (key->type) {
    case TASK_COUNT:
        snprintf(text, VALUE, "%lld", (long long)*(const int64_t *)from);
        break;
    case TASK_COUNTS:
        for (int i = 0; i < ((const task_list *)from)->count; i++)
            used += (size_t)snprintf(text + used, VALUE - used, "%s%lld", i ? "," : "",
                                     (long long)((const task_list *)from)->of[i]);
        break;
    case TASK_REAL:
        pal_number_print(*(const double *)from, text);
        break;
    case TASK_FLAG:
        snprintf(text, VALUE, "%s", *(const bool *)from ? "true" : "false");
        break;
    case TASK_CHOICE: {
        const char *w = key->words;
        for (int i = *(const int *)from; i > 0; i--) w += strcspn(w, "|") + 1;
        snprintf(text, VALUE, "%.*s", (int)strcspn(w, "|"), w);
        break;
    }
    }
}

pal_status task_write_text(task *t, pal_error *error)
{
    size_t used = (size_t)snprintf(t->text, sizeof t->text, "%s", t->kind->name);
    for (int i = 0; i < t->kind->keys && used < sizeof t->text; i++) {
        char value[VALUE];
        write_value(t, &t->kind->key[i], value);
        used += (size_t)snprintf(t->text + used, sizeof t->text - used, ":%s=%s",
                                 t->kind->key[i].name, value);
    }
    if (used < sizeof t->text) return PAL_OK;
    return task_wrong(error, t, "its text has more than %d characters", TASK_TEXT - 1);
}
