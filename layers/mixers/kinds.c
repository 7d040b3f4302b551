/*
 * kinds.c - the kinds of mixers by name: those of this library, and those that a program registers.
 */
#include "layers/mixers/internal.h"

#include <stdarg.h>
#include <string.h>

enum { OWN = 64, LONGEST = 31 };

#define PAL_LAYER(name, test) +1
enum {
    OURS = 1
#include "layers/layers.def"
};

static const pal_mixer_kind *kinds[OURS + OWN] = {
#define PAL_LAYER(name, test) &pal_mixer_kind_##name,
#include "layers/layers.def"
    &pal_mixer_kind_none,
};
static int count = OURS;

const pal_mixer_kind *pal_mixer_kind_at(int i) { return i >= 0 && i < count ? kinds[i] : NULL; }

/* Mixers of this library read x by products alone. */
bool pal_mixer_takes_bf16(const pal_mixer *mixer)
{
    for (int i = 0; i < OURS; i++)
        if (strcmp(kinds[i]->name, mixer->name) == 0) return true;
    return false;
}

const pal_mixer_kind *pal_mixer_kind_find(const char *text, size_t n, pal_error *error)
{
    const int i = pal_kind_find((const void *const *)kinds, count, "mixer", text, n, error);
    return i < 0 ? NULL : kinds[i];
}

/* A name as lists of mixers, command lines and files can hold it. */
static bool is_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    static const char others[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    const size_t n = name ? strlen(name) : 0;
    return n > 0 && n <= LONGEST && strchr(letters, name[0]) && strspn(name, others) == n;
}

/* The first key that text cannot name, or which has no place in the options; NULL: all are well. */
static const char *wrong_key(const pal_mixer_kind *kind)
{
    for (int i = 0; i < kind->keys.count; i++) {
        const pal_key *k = &kind->keys.key[i];
        if (!is_name(k->name)) return k->name ? k->name : "NULL";
        if (k->size == 0 || k->offset + k->size > kind->opts_size) return k->name;
        if (k->kind == PAL_KEY_STRING) return k->name; /* the text does not live so long */
        for (int j = 0; j < i; j++)
            if (strcmp(kind->keys.key[j].name, k->name) == 0) return k->name;
    }
    return NULL;
}

pal_status pal_mixer_register(const pal_mixer_kind *kind, pal_error *error)
{
    pal_error none;
    if (!kind || !is_name(kind->name))
        return pal_error_set(error, PAL_EVALUE,
                             "mixer_register: the name \"%.60s\" has to be of 1 to %d letters a-z, "
                             "digits and _, and begin with a letter",
                             kind && kind->name ? kind->name : "", LONGEST);
    if (!kind->create)
        return pal_error_set(error, PAL_EVALUE, "mixer_register: %s has no create", kind->name);
    const char *key = wrong_key(kind);
    if (key)
        return pal_error_set(error, PAL_EVALUE,
                             "mixer_register: the key %.60s of %s is malformed, twice there, "
                             "outside of the options, or a PAL_KEY_STRING",
                             key, kind->name);
    const pal_mixer_kind *old = pal_mixer_kind_find(kind->name, strlen(kind->name), &none);
    if (old == kind) return PAL_OK;
    if (old)
        return pal_error_set(error, PAL_EVALUE, "mixer_register: there is a mixer %s already",
                             kind->name);
    if (count == OURS + OWN)
        return pal_error_set(error, PAL_EVALUE, "mixer_register: no room for %s after %d others",
                             kind->name, OWN);
    kinds[count++] = kind;
    return PAL_OK;
}

/* ---- What a kind made ---- */

/* A name that a part of a state can have in a file, where `seen` is the number of tokens. */
static bool is_part(const char *name)
{
    static const char of[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
    const size_t n = name ? strlen(name) : 0;
    return n > 0 && n <= LONGEST && name[0] != '.' && strspn(name, of) == n &&
           strcmp(name, "seen") != 0;
}

pal_status pal_mixer_kind_check(const pal_mixer_kind *kind, const pal_mixer *mixer,
                                pal_error *error)
{
    if (!mixer->name || strcmp(mixer->name, kind->name) != 0)
        return pal_error_set(error, PAL_EVALUE, "mixer %s: create made a mixer named \"%.60s\"",
                             kind->name, mixer->name ? mixer->name : "");
    if (!mixer->forward)
        return pal_error_set(error, PAL_EVALUE, "mixer %s: it has no forward", kind->name);
    const pal_remembered m = pal_mixer_remembers(mixer, 1, 1);
    for (int i = 0; i < m.parts; i++) {
        bool good = is_part(m.part[i].name);
        for (int j = 0; good && j < i; j++) good = strcmp(m.part[i].name, m.part[j].name) != 0;
        if (!good)
            return pal_error_set(error, PAL_EVALUE,
                                 "mixer %s: its state has a part \"%.60s\", which is no name for a "
                                 "file, or is there twice",
                                 kind->name, m.part[i].name ? m.part[i].name : "");
    }
    return PAL_OK;
}

/* ---- For constructors ---- */

pal_remembered pal_mixer_remembers(const pal_mixer *mixer, int64_t B, int64_t seen)
{
    if (mixer->remembers) return mixer->remembers(mixer, B, seen);
    pal_remembered m = {0};
    pal_shape all = mixer->state;
    if (all.ndim == 0 || all.ndim >= PAL_MAX_DIMS) return m;
    memmove(all.dim + 1, all.dim, (size_t)all.ndim * sizeof *all.dim);
    all.dim[0] = B, all.ndim++;
    pal_remember(&m, "state", all);
    return m;
}

const char *pal_mixer_param(char text[PAL_MIXER_NAME], const char *prefix, const char *name)
{
    const bool some = prefix && *prefix;
    snprintf(text, PAL_MIXER_NAME, "%s%s%s", some ? prefix : "", some ? "." : "", name);
    return text;
}

pal_tensor pal_mixer_linear(pal_params *params, const char *prefix, const char *name, int64_t out,
                            int64_t in, pal_dtype dtype, pal_rng *rng)
{
    char whole[PAL_MIXER_NAME], weight[PAL_MIXER_NAME];
    snprintf(weight, sizeof weight, "%s.weight", name);
    return pal_linear_weight(params, pal_mixer_param(whole, prefix, weight), out, in, dtype, rng);
}

pal_mixer *pal_mixer_wrong(const char *name, const char *format, ...)
{
    char text[PAL_MIXER_NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pal_fail_nowhere(PAL_EVALUE, "%s: %s", name, text);
    return NULL;
}
