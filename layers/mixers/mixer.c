/*
 * mixer.c - mixers by name and options text, `name[:key=value...]`.
 *
 * The file of each mixer has a table of its keys (tensor/keys.h).
 */
#include "layers/mixers/internal.h"
#include "tensor/number.h"

#include <math.h>
#include <string.h>

const char *pal_mixers_name(int i)
{
    const pal_mixer_kind *kind = pal_mixer_kind_at(i);
    return kind ? kind->name : NULL;
}

const char *pal_mixer_name(const pal_mixer *mixer) { return mixer->name; }

/* Whether the mixer does not take such a call, which is then reported. */
static bool refuses(const pal_mixer *mixer, bool state, const pal_run_opts *opts, pal_frame *f)
{
    const bool packed = !pal_is_none(opts->offsets), split = opts->parts && opts->parts->size > 1;
    const char *what = packed ? "packed sequences" : "sequences over processes";
    if (packed && (mixer->refuses & PAL_NO_PACKED))
        pal_frame_fail(f, PAL_EVALUE, "packed sequences are not for this mixer");
    else if (split && (mixer->refuses & PAL_NO_PARTS))
        pal_frame_fail(f, PAL_EVALUE, "sequences over processes are not for this mixer");
    else if (state && (mixer->refuses & PAL_NO_STATE))
        pal_frame_fail(f, PAL_EVALUE, "this mixer has no state to go on from");
    else if (state && (packed || split) && (mixer->refuses & PAL_NO_PACKED_STATE))
        pal_frame_fail(f, PAL_EVALUE, "%s leave no state to go on from", what);
    else
        return false;
    return true;
}

pal_tensor pal_mixer_forward(const pal_mixer *mixer, pal_tensor x, pal_mixer_state *state,
                             pal_run_opts opts)
{
    const pal_mixer_call call = {state, opts};
    pal_frame f;
    pal_arg a = {"x", "BTd", x, false};
    pal_frame_init(&f, mixer->name);
    f.narrow = pal_mixer_takes_bf16(mixer);
    if (!pal_frame_add(&f, 1, &a)) return pal_frame_poison(&f);
    if (refuses(mixer, state != NULL, &opts, &f)) return pal_frame_poison(&f);
    if (!pal_mixer_show(&call, "x", &a.t)) return a.t;
    pal_tensor y = mixer->forward(mixer, a.t, &call);
    pal_mixer_show(&call, "y", &y);
    return y;
}

/* ---- Text ---- */

/* Reads the text of one mixer, up to a comma, the next one of a sum or the end: its kind, and its
 * options, which drop frees. *end is where it stops. */
static pal_status parse(const char *text, const pal_mixer_kind **kind, void **opts,
                        const char **end, pal_error *error)
{
    const size_t most = pal_mixer_sum_length(text), comma = strcspn(text, ",");
    const size_t whole = comma < most ? comma : most, colon = strcspn(text, ":");
    const size_t n = colon < whole ? colon : whole;
    char prefix[64];
    *opts = NULL;
    *end = text + whole;
    *kind = pal_mixer_kind_find(text, n, error);
    if (!*kind) return PAL_EVALUE;
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
    int count = 1;
    for (const char *at = text;; at++, count++) {
        const pal_mixer_kind *kind;
        void *opts;
        const pal_status status = parse(at, &kind, &opts, &at, error);
        drop(kind, opts);
        if (status != PAL_OK) return status;
        if (*at == ',')
            return pal_error_set(error, PAL_EVALUE, "mixer \"%s\" is a list; one mixer is wanted",
                                 text);
        if (*at == '\0') break;
    }
    if (count <= PAL_SUM_MOST) return PAL_OK;
    return pal_error_set(error, PAL_EVALUE, "\"%.300s\" is a sum of %d mixers; %d are possible",
                         text, count, PAL_SUM_MOST);
}

/* The mixer at *at in a text that was checked; *at moves behind it. Of a sum, its parameters have
 * its name. */
static pal_mixer *create(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const char **at, bool sum, pal_rng *rng)
{
    char own[PAL_NAME_MAX];
    const pal_mixer_kind *kind;
    void *opts;
    pal_error error = {PAL_OK, ""};
    pal_mixer *mixer = NULL;
    if (parse(*at, &kind, &opts, at, &error) == PAL_OK) {
        snprintf(own, sizeof own, "%s%s%s", prefix, *prefix ? "." : "", kind->name);
        mixer = kind->create(params, sum ? own : prefix, width, dtype, opts, rng);
        if (mixer && pal_mixer_kind_check(kind, mixer, &error) != PAL_OK) mixer = NULL;
    }
    drop(kind, opts);
    if (error.status != PAL_OK) pal_raise(&error);
    return mixer;
}

pal_mixer *pal_mixer_new(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const char *text, pal_rng *rng)
{
    pal_error error = {PAL_OK, ""};
    pal_mixer *part[PAL_SUM_MOST];
    int count = 0;
    if (pal_mixer_check(text, &error) != PAL_OK) {
        pal_raise(&error);
        return NULL;
    }
    const bool sum = text[pal_mixer_sum_length(text)] == '+';
    for (const char *at = text; count == 0 || *at++; count++) {
        part[count] = create(params, prefix ? prefix : "", width, dtype, &at, sum, rng);
        if (!part[count]) return NULL;
    }
    return sum ? pal_mixer_sum(params, prefix, count, part) : part[0];
}
