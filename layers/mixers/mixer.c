/*
 * mixer.c - mixers by name and options text, `name[:key=value...]`.
 *
 * Each layer file has a table of its keys and the fields they set; here is the one parser. It reads
 * the text in place: a mixer's text ends at a comma or at the end.
 */
#include "layers/mixers/internal.h"

#include <stdlib.h>
#include <string.h>

static const pal_mixer_kind *const kinds[] = {
#define PAL_LAYER(name, test) &pal_mixer_kind_##name,
#include "layers/layers.def"
};
enum { KINDS = sizeof kinds / sizeof *kinds };

const char *pal_mixers_name(int i) { return i >= 0 && i < KINDS ? kinds[i]->name : NULL; }
const char *pal_mixer_name(const pal_mixer *mixer) { return mixer->name; }

pal_tensor pal_mixer_forward(const pal_mixer *mixer, pal_tensor x, pal_mixer_state *state,
                             pal_run_opts opts)
{
    const pal_run run = {state, opts};
    pal_frame f;
    pal_arg a = {"x", "BTd", x, false};
    pal_frame_init(&f, mixer->name);
    if (!pal_frame_add(&f, 1, &a)) return pal_frame_poison(&f);
    if (!pal_run_show(&run, "x", &a.t)) return a.t;
    pal_tensor y = mixer->forward(mixer, a.t, &run);
    pal_run_show(&run, "y", &y);
    return y;
}

/* ---- Text ---- */

static bool same(const char *word, size_t n, const char *name)
{
    return strlen(name) == n && strncmp(word, name, n) == 0;
}

/* All names, for messages. */
static void list_names(char *text, size_t room)
{
    size_t n = 0;
    for (int i = 0; i < KINDS && n < room; i++)
        n += (size_t)snprintf(text + n, room - n, "%s%s", i ? ", " : "", kinds[i]->name);
}

static void list_keys(const pal_mixer_kind *kind, char *text, size_t room)
{
    size_t n = 0;
    for (int i = 0; i < kind->keys && n < room; i++)
        n += (size_t)snprintf(text + n, room - n, "%s%s", i ? ", " : "", kind->key[i].name);
}

/* Sets a field from value; what was expected if it does not read as that, else NULL. */
static const char *set(const pal_key *key, const char *value, size_t n, void *opts)
{
    char word[64], *end;
    char *field = (char *)opts + key->offset;
    snprintf(word, sizeof word, "%.*s", (int)(n < 63 ? n : 63), value);
    bool yes = same(value, n, "true"), no = same(value, n, "false");
    switch (key->kind) {
    case PAL_KEY_INT: {
        int64_t i = strtoll(word, &end, 10);
        if (!n || *end || i < 1 || i > 1 << 30) return "a whole number above 0";
        memcpy(field, &i, sizeof i);
        return NULL;
    }
    case PAL_KEY_REAL: {
        double x = strtod(word, &end);
        if (!n || *end || !(x - x == 0)) return "a number";
        memcpy(field, &x, sizeof x);
        return NULL;
    }
    case PAL_KEY_FLAG:
    case PAL_KEY_NOT:
        if (!yes && !no) return "true or false";
        *(bool *)(void *)field = key->kind == PAL_KEY_FLAG ? yes : no;
        return NULL;
    case PAL_KEY_GATE: {
        pal_gate gate = same(value, n, "silu")      ? PAL_GATE_SILU
                        : same(value, n, "sigmoid") ? PAL_GATE_SIGMOID
                        : same(value, n, "none")    ? PAL_GATE_NONE
                                                    : PAL_GATE_DEFAULT;
        memcpy(field, &gate, sizeof gate);
        return gate == PAL_GATE_DEFAULT ? "silu, sigmoid or none" : NULL;
    }
    case PAL_KEY_SCOPE:
        *(bool *)(void *)field = same(value, n, "scalar");
        return same(value, n, "scalar") || same(value, n, "channel") ? NULL : "scalar or channel";
    }
    return "nothing";
}

static pal_status parse_key(const pal_mixer_kind *kind, const char *text, size_t n, void *opts,
                            pal_error *error)
{
    const char *equals = memchr(text, '=', n);
    size_t length = equals ? (size_t)(equals - text) : n;
    for (int i = 0; i < kind->keys; i++) {
        const pal_key *key = &kind->key[i];
        if (!same(text, length, key->name)) continue;
        const char *expected =
            set(key, equals ? equals + 1 : "", equals ? n - length - 1 : 0, opts);
        if (!expected) return PAL_OK;
        return pal_error_set(error, PAL_EVALUE, "mixer %s: \"%.*s\": %s should be %s", kind->name,
                             (int)n, text, key->name, expected);
    }
    char list[512];
    list_keys(kind, list, sizeof list);
    return pal_error_set(error, PAL_EVALUE, "mixer %s has no key \"%.*s\"; its keys are %s",
                         kind->name, (int)length, text, list);
}

/* One mixer's text: its kind and options. *end is where it stops. */
static pal_status parse(const char *text, const pal_mixer_kind **kind, pal_any_opts *opts,
                        const char **end, pal_error *error)
{
    size_t n = strcspn(text, ":,");
    *kind = NULL;
    memset(opts, 0, sizeof *opts);
    for (int i = 0; i < KINDS; i++)
        if (same(text, n, kinds[i]->name)) *kind = kinds[i];
    if (!*kind) {
        char list[256];
        list_names(list, sizeof list);
        return pal_error_set(error, PAL_EVALUE, "there is no mixer \"%.*s\"; there are %s", (int)n,
                             text, list);
    }
    const char *at = text + n;
    while (*at == ':') {
        size_t length = strcspn(at + 1, ":,");
        pal_status status = parse_key(*kind, at + 1, length, opts, error);
        if (status != PAL_OK) return status;
        at += 1 + length;
    }
    *end = at;
    return PAL_OK;
}

pal_status pal_mixer_check(const char *text, pal_error *error)
{
    const pal_mixer_kind *kind;
    pal_any_opts opts;
    const char *end;
    pal_status status = parse(text, &kind, &opts, &end, error);
    if (status != PAL_OK || *end == '\0') return status;
    return pal_error_set(error, PAL_EVALUE, "mixer \"%s\" is a list; one mixer is wanted", text);
}

pal_mixer *pal_mixer_new(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const char *text, pal_rng *rng)
{
    const pal_mixer_kind *kind;
    pal_any_opts opts;
    pal_error error = {PAL_OK, ""};
    const char *end;
    if (parse(text, &kind, &opts, &end, &error) == PAL_OK) {
        if (*end == '\0') return kind->create(params, prefix, width, dtype, &opts, rng);
        pal_error_set(&error, PAL_EVALUE, "mixer \"%s\" is a list; one mixer is wanted", text);
    }
    pal_raise(&error);
    return NULL;
}
