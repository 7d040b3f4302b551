/*
 * state_io.c - what a language model remembers, to and from HDF5.
 *
 * A group has, for each layer I, I/seen with the mixer's name as an attribute, and a dataset for
 * each part of its state. Attributes of the group are the number of layers, and a checksum of the
 * parameters that the state belongs to. Reading builds a new state, and replaces the old one when
 * nothing can fail any more.
 */
#include "layers/models/lm.h"
#include "tensor/number.h"

#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 512 };
static const int64_t MOST_SEEN = INT64_C(1) << 53; /* positions are doubles on their way */

static const char *path_of(char path[PATH_BYTES], const char *group, int64_t layer,
                           const char *what)
{
    snprintf(path, PATH_BYTES, "%s/%lld/%s", group, (long long)layer, what);
    return path;
}

static pal_status check_group(const char *group, pal_error *error)
{
    if (strlen(group) + 64 < PATH_BYTES) return PAL_OK;
    return pal_error_set(error, PAL_EVALUE, "lm_state: the name of the group is too long");
}

/* ---- Whose it is ---- */

enum { SUM_BYTES = 32 };
static const char sum_name[] = "params";

/* Whether a parameter is the trunk's, or its language model's. */
static bool is_own(const pal_trunk *t, const char *name)
{
    static const char head[] = "lm_head.";
    const size_t n = strlen(t->prefix);
    if (n == 0 || (strncmp(name, t->prefix, n) == 0 && name[n] == '.')) return true;
    return t->tokens_only && strncmp(name, head, strlen(head)) == 0;
}

/* A checksum of the model's parameters, by names and values. A state belongs to these: other ones
 * would go on from it without a word, and wrongly. */
static void params_sum(const pal_trunk *t, char text[SUM_BYTES])
{
    const pal_params *params = t->params;
    uint32_t sum = 0;
    for (int i = 0; i < pal_params_count(params); i++) {
        const pal_array a = pal_params_array(params, i);
        const char *name = pal_params_name(params, i);
        if (!is_own(t, name)) continue;
        sum = pal_crc32c(sum, name, strlen(name) + 1);
        sum = pal_crc32c(sum, a.data, pal_shape_bytes(a.dtype, pal_array_shape(&a)));
    }
    snprintf(text, SUM_BYTES, "crc32c %08lx", (unsigned long)sum);
}

/* Files of earlier versions do not say whose state they hold, and are taken. */
static pal_status check_params(const pal_trunk *t, pal_h5 *file, const char *group,
                               pal_error *error)
{
    char is[SUM_BYTES], saved[SUM_BYTES];
    if (pal_h5_get_text(file, group, sum_name, saved, sizeof saved, NULL) != PAL_OK) return PAL_OK;
    params_sum(t, is);
    if (strcmp(is, saved) == 0) return PAL_OK;
    return pal_error_set(error, PAL_EFORMAT,
                         "lm_state: the state %.200s is of another model: its parameters have the "
                         "checksum %s, and those of this model %s",
                         group, saved, is);
}

/* ---- Writing ---- */

static pal_status put_layer(const pal_lm_state *state, int64_t i, pal_h5 *file, const char *group,
                            pal_error *error)
{
    char path[PATH_BYTES];
    const pal_mixer *mixer = state->trunk->blocks[i].mixer;
    const pal_mixer_state *s = &state->layer[i];
    const pal_array seen = pal_array_of(PAL_I64, (pal_shape){0}, (void *)(uintptr_t)&s->seen);
    pal_status status = pal_h5_put(file, path_of(path, group, i, "seen"), &seen, error);
    if (status == PAL_OK) status = pal_h5_put_text(file, path, "mixer", mixer->name, error);
    const pal_remembered m = pal_mixer_remembers(mixer, 1, s->seen);
    for (int j = 0; j < m.parts && status == PAL_OK; j++) {
        const pal_tensor t = pal_mixer_state_get(s, m.part[j].name);
        if (pal_is_none(t)) continue;
        status = pal_h5_put(file, path_of(path, group, i, m.part[j].name), &t.node->a, error);
    }
    return status;
}

pal_status pal_trunk_state_put(const pal_trunk_state *state, pal_h5 *file, const char *group,
                               pal_error *error)
{
    pal_status s = check_group(group, error);
    for (int64_t i = 0; i < state->layers && s == PAL_OK; i++)
        s = put_layer(state, i, file, group, error);
    if (s == PAL_OK) s = pal_h5_put_number(file, group, "layers", (double)state->layers, error);
    if (s == PAL_OK) {
        char sum[SUM_BYTES];
        params_sum(state->trunk, sum);
        s = pal_h5_put_text(file, group, sum_name, sum, error);
    }
    return s;
}

/* ---- Reading ---- */

typedef struct reader {
    const pal_trunk *trunk;
    pal_h5 *file;
    const char *group;
    pal_error *error;
    int wrong;           /* complaints in *error */
    bool no_memory;      /* one of them is about that */
    int64_t B;           /* sequences, 0 while no tensor has said how many */
    pal_tape *tape;      /* tensors on their way */
    pal_params *store;   /* what is built */
    pal_mixer_state *to; /* of each layer */
} reader;

static void PAL_PRINTF(2, 3) complain(reader *r, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    pal_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->wrong++;
    pal_error_add(r->error, "; %s", text);
}

/* Whether dataset `path` is what it should be; complains if it is not. */
static bool fits(reader *r, const char *path, pal_dtype dtype, pal_shape shape)
{
    char a[128], b[128];
    pal_dtype is;
    pal_shape has;
    pal_error why;
    if (pal_h5_info(r->file, path, &is, &has, &why) != PAL_OK) {
        complain(r, "%s", why.message);
        return false;
    }
    if (is == dtype && pal_shape_equal(has, shape)) return true;
    pal_array found = pal_array_of(is, has, NULL), wanted = pal_array_of(dtype, shape, NULL);
    complain(r, "%s is %s where %s is wanted", path, pal_array_describe(&found, a, sizeof a),
             pal_array_describe(&wanted, b, sizeof b));
    return false;
}

/* The number of sequences. The first tensor in the file decides it. */
static void find_batch(reader *r, const char *path)
{
    pal_dtype dtype;
    pal_shape shape;
    if (r->B == 0 && pal_h5_info(r->file, path, &dtype, &shape, NULL) == PAL_OK && shape.ndim > 0)
        r->B = shape.dim[0];
}

static bool read_seen(reader *r, int64_t i, int64_t *seen)
{
    char path[PATH_BYTES], name[64] = "";
    const pal_array to = pal_array_of(PAL_I64, (pal_shape){0}, seen);
    const char *mixer = pal_mixer_name(r->trunk->blocks[i].mixer);
    pal_error why;
    path_of(path, r->group, i, "seen");
    if (!fits(r, path, PAL_I64, (pal_shape){0})) return false;
    if (pal_h5_get_text(r->file, path, "mixer", name, sizeof name, &why) != PAL_OK ||
        pal_h5_get(r->file, path, &to, &why) != PAL_OK) {
        r->no_memory = r->no_memory || why.status == PAL_ENOMEM;
        complain(r, "%s", why.message);
    } else if (strcmp(name, mixer))
        complain(r, "layer %lld is %s where %s is wanted", (long long)i, name, mixer);
    else if (*seen < 0 || *seen > MOST_SEEN)
        complain(r, "%s is %lld, no number of tokens", path, (long long)*seen);
    else
        return true;
    return false;
}

/* What layer i remembers of r->B sequences after what it has seen. */
static pal_remembered memory_of(const reader *r, int64_t i)
{
    const pal_mixer *mixer = r->trunk->blocks[i].mixer;
    return pal_mixer_remembers(mixer, r->B, r->to[i].seen);
}

/* Checks a layer; have[] says which of its parts there are: all that the mixer has, or none. */
static void check_layer(reader *r, int64_t i, bool have[PAL_MIXER_PARTS])
{
    char path[PATH_BYTES];
    int64_t *seen = &r->to[i].seen;
    bool any = false;
    if (!read_seen(r, i, seen)) return;
    pal_remembered m = memory_of(r, i);
    for (int j = 0; j < m.parts; j++) {
        have[j] = pal_h5_has(r->file, path_of(path, r->group, i, m.part[j].name));
        if (have[j]) find_batch(r, path);
        any = any || have[j];
    }
    m = memory_of(r, i); /* of so many sequences */
    if (any && r->B < 1)
        complain(r, "layer %lld is of no sequence", (long long)i);
    else if (m.counts ? any != (*seen > 0) : *seen != 0)
        complain(r, "layer %lld has seen %lld tokens, which its tensors have not", (long long)i,
                 (long long)*seen);
    for (int j = 0; j < m.parts && any && r->B > 0; j++) {
        path_of(path, r->group, i, m.part[j].name);
        if (!have[j])
            complain(r, "%s is missing", path);
        else
            fits(r, path, r->trunk->opts.dtype, m.part[j].shape);
    }
}

/* Reads a tensor of a size that has been checked into the store. */
static pal_status read_part(reader *r, int64_t i, const char *part)
{
    char path[PATH_BYTES];
    pal_dtype dtype;
    pal_shape shape;
    path_of(path, r->group, i, part);
    pal_status s = pal_h5_info(r->file, path, &dtype, &shape, r->error);
    if (s != PAL_OK) return s;
    pal_tensor t = pal_zeros(r->tape, dtype, shape);
    const pal_array a = pal_edit(t);
    if (pal_tape_status(r->tape) == PAL_OK) s = pal_h5_get(r->file, path, &a, r->error);
    if (s != PAL_OK) return s;
    pal_mixer_state_set(&r->to[i], part, pal_state_keep(r->store, i, part, t));
    if (pal_tape_status(r->tape) != PAL_OK || pal_params_status(r->store) != PAL_OK)
        return pal_error_set(r->error, PAL_ENOMEM, "lm_state: out of memory");
    pal_tape_reset(r->tape);
    return PAL_OK;
}

static bool note_extra(const char *name, void *user)
{
    reader *r = user;
    char *end;
    const long long layer = strtoll(name, &end, 10);
    bool known = end != name && *end == '/' && layer >= 0 && layer < r->trunk->opts.layers;
    if (known && !strcmp(end + 1, "seen")) return true;
    const pal_remembered m = known ? memory_of(r, layer) : (pal_remembered){0};
    for (int j = 0; j < m.parts; j++)
        if (!strcmp(end + 1, m.part[j].name)) return true;
    if (known)
        complain(r, "a %s remembers no %s/%s", r->trunk->blocks[layer].mixer->name, r->group, name);
    else
        complain(r, "%s/%s belongs to no layer", r->group, name);
    return true;
}

static pal_status read_all(reader *r)
{
    double layers;
    pal_error *error = r->error;
    pal_status s = pal_h5_get_number(r->file, r->group, "layers", &layers, error);
    if (s != PAL_OK) return s;
    pal_error_set(error, PAL_EFORMAT, "lm_state: the state %.200s does not fit the model",
                  r->group);
    if (layers != (double)r->trunk->opts.layers)
        complain(r, "it is of %.17g layers where %lld are wanted", layers,
                 (long long)r->trunk->opts.layers);
    bool(*have)[PAL_MIXER_PARTS] =
        pal_params_alloc(r->store, (size_t)r->trunk->opts.layers * sizeof *have);
    if (!have) return pal_error_set(error, PAL_ENOMEM, "lm_state: out of memory");
    for (int64_t i = 0; i < r->trunk->opts.layers; i++) check_layer(r, i, have[i]);
    pal_error why;
    if (pal_h5_each(r->file, r->group, note_extra, r, &why) != PAL_OK)
        complain(r, "%s", why.message);
    if (r->no_memory) return pal_error_set(error, PAL_ENOMEM, "lm_state: out of memory");
    if (r->wrong) return PAL_EFORMAT;
    s = check_params(r->trunk, r->file, r->group, error);
    if (s != PAL_OK) return s;
    for (int64_t i = 0; i < r->trunk->opts.layers; i++)
        for (int j = 0; j < PAL_MIXER_PARTS; j++)
            if (have[i][j] && (s = read_part(r, i, memory_of(r, i).part[j].name)) != PAL_OK)
                return s;
    return PAL_OK;
}

pal_status pal_trunk_state_get(const pal_trunk *trunk, pal_trunk_state *state, pal_h5 *file,
                               const char *group, pal_error *error)
{
    pal_status s = check_group(group, error);
    if (s != PAL_OK) return s;
    if (state->layers != trunk->opts.layers)
        return pal_error_set(error, PAL_EVALUE, "lm_state: the state is of another model");
    pal_trunk_state *fresh = pal_trunk_state_new(trunk);
    reader r = {
        .trunk = trunk, .file = file, .group = group, .error = error, .tape = pal_tape_new()};
    if (fresh && r.tape) {
        r.store = fresh->store, r.to = fresh->layer;
        s = read_all(&r);
    } else {
        s = pal_error_set(error, PAL_ENOMEM, "lm_state: out of memory");
    }
    if (s == PAL_OK) {
        pal_params *old = state->store;
        memcpy(state->layer, fresh->layer, (size_t)state->layers * sizeof *state->layer);
        state->trunk = trunk, state->store = fresh->store, fresh->store = old;
    }
    pal_trunk_state_free(fresh);
    pal_tape_free(r.tape);
    return s;
}

/* ---- Files of a state alone ---- */

static const char alone[] = "/state";

pal_status pal_trunk_state_save(const pal_trunk_state *state, const char *path, pal_error *error)
{
    pal_h5 *file = NULL;
    pal_status s = pal_h5_create(&file, path, error);
    if (s != PAL_OK) return s;
    s = pal_trunk_state_put(state, file, alone, error);
    if (s == PAL_OK) return pal_h5_commit(file, error);
    pal_h5_close(file);
    return s;
}

pal_status pal_trunk_state_load(const pal_trunk *trunk, pal_trunk_state *state, const char *path,
                                pal_error *error)
{
    pal_h5 *file = NULL;
    pal_status s = pal_h5_open(&file, path, error);
    if (s != PAL_OK) return s;
    s = pal_trunk_state_get(trunk, state, file, alone, error);
    pal_h5_close(file);
    return s;
}

/* ---- The states of a language model, which are those of its trunk ---- */

pal_status pal_lm_state_put(const pal_lm_state *state, pal_h5 *file, const char *group,
                            pal_error *error)
{
    return pal_trunk_state_put(state, file, group, error);
}

pal_status pal_lm_state_get(const pal_lm *lm, pal_lm_state *state, pal_h5 *file, const char *group,
                            pal_error *error)
{
    return pal_trunk_state_get(lm->trunk, state, file, group, error);
}

pal_status pal_lm_state_save(const pal_lm_state *state, const char *path, pal_error *error)
{
    return pal_trunk_state_save(state, path, error);
}

pal_status pal_lm_state_load(const pal_lm *lm, pal_lm_state *state, const char *path,
                             pal_error *error)
{
    return pal_trunk_state_load(lm->trunk, state, path, error);
}
