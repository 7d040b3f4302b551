/*
 * mixer.c - mixers by name and options text, `name[:key=value...]`.
 *
 * The file of each mixer has a table of its keys (tensor/keys.h).
 */
#include "layers/mixers/internal.h"
#include "tensor/number.h"

#include <math.h>
#include <string.h>

static const pal_mixer_kind *const kinds[] = {
#define PAL_LAYER(name, test) &pal_mixer_kind_##name,
#include "layers/layers.def"
    &pal_mixer_kind_none,
};
enum { KINDS = sizeof kinds / sizeof *kinds };

const char *pal_mixers_name(int i) { return i >= 0 && i < KINDS ? kinds[i]->name : NULL; }
const char *pal_mixer_name(const pal_mixer *mixer) { return mixer->name; }

pal_tensor pal_mixer_forward(const pal_mixer *mixer, pal_tensor x, pal_mixer_state *state,
                             pal_run_opts opts)
{
    const pal_mixer_call call = {state, opts};
    pal_frame f;
    pal_arg a = {"x", "BTd", x, false};
    pal_frame_init(&f, mixer->name);
    if (!pal_frame_add(&f, 1, &a)) return pal_frame_poison(&f);
    if (!pal_mixer_show(&call, "x", &a.t)) return a.t;
    pal_tensor y = mixer->forward(mixer, a.t, &call);
    pal_mixer_show(&call, "y", &y);
    return y;
}

/* ---- Text ---- */

/* Reads the text of one mixer, up to a comma or the end: its kind, and its options, which drop
 * frees. *end is where it stops. */
static pal_status parse(const char *text, const pal_mixer_kind **kind, void **opts,
                        const char **end, pal_error *error)
{
    const size_t n = strcspn(text, ":,"), whole = strcspn(text, ",");
    const int i = pal_kind_find((const void *const *)kinds, KINDS, "mixer", text, n, error);
    char prefix[64];
    *opts = NULL;
    *end = text + whole;
    if (i < 0) return PAL_EVALUE;
    *kind = kinds[i];
    snprintf(prefix, sizeof prefix, "mixer %s: ", (*kind)->name);
    *opts = pal_malloc((*kind)->opts_size);
    if (!*opts) return pal_error_set(error, PAL_ENOMEM, "%sout of memory", prefix);
    memset(*opts, 0, (*kind)->opts_size);
    return pal_keys_read(&(*kind)->keys, *opts, prefix, text + n, whole - n, false, error);
}

static void drop(const pal_mixer_kind *kind, void *opts)
{
    if (opts) pal_free(opts, kind->opts_size);
}

pal_status pal_mixer_check(const char *text, pal_error *error)
{
    const pal_mixer_kind *kind;
    void *opts;
    const char *end;
    pal_status status = parse(text, &kind, &opts, &end, error);
    drop(kind, opts);
    if (status != PAL_OK || *end == '\0') return status;
    return pal_error_set(error, PAL_EVALUE, "mixer \"%s\" is a list; one mixer is wanted", text);
}

pal_mixer *pal_mixer_new(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const char *text, pal_rng *rng)
{
    const pal_mixer_kind *kind;
    void *opts;
    pal_error error = {PAL_OK, ""};
    pal_mixer *mixer = NULL;
    const char *end;
    if (parse(text, &kind, &opts, &end, &error) == PAL_OK) {
        if (*end == '\0')
            mixer = kind->create(params, prefix, width, dtype, opts, rng);
        else
            pal_error_set(&error, PAL_EVALUE, "mixer \"%s\" is a list; one mixer is wanted", text);
    }
    drop(kind, opts);
    if (error.status != PAL_OK) pal_raise(&error);
    return mixer;
}
