/*
 * state.c - numbers kept beside the parameters: where they lie, and how they are written to and
 * read from files.
 */
#include "autograd/internal.h"
#include "optim/optimisers/internal.h"

#include <math.h>
#include <string.h>

/* ---- Memory ---- */

typedef struct pal_state_block pal_state_block;

static size_t table_bytes(int blocks) { return (size_t)(blocks + 1) * sizeof(pal_state_block); }
static size_t places_bytes(int count) { return (size_t)(count + 1) * sizeof(int64_t[PAL_MOMENTS]); }

static void free_blocks(pal_state_block *block, int blocks)
{
    if (!block) return;
    for (int b = 0; b < blocks; b++)
        for (int k = 0; k < PAL_MOMENTS; k++)
            if (block[b].memory[k]) pal_free(block[b].memory[k], block[b].size[k]);
    pal_free(block, table_bytes(blocks));
}

/* Zeros of the sizes that are in *like (memory of its own, NULL: no sizes yet). NULL: out of
 * memory. */
static pal_state_block *new_blocks(const pal_state_block *like, int blocks)
{
    pal_state_block *block = pal_malloc(table_bytes(blocks));
    if (!block) return NULL;
    memset(block, 0, table_bytes(blocks));
    for (int b = 0; like && b < blocks; b++)
        for (int k = 0; k < PAL_MOMENTS; k++) {
            size_t size = block[b].size[k] = like[b].size[k];
            if (!size) continue;
            if (!(block[b].memory[k] = pal_malloc(size))) {
                free_blocks(block, blocks);
                return NULL;
            }
            memset(block[b].memory[k], 0, size);
        }
    return block;
}

/* Gives every moment its place, spaced as pal_params spaces values, and each block its size. */
static void place(const pal_state *s, const pal_setting *setting, pal_state_block *sizes)
{
    for (int i = 0; i < s->count; i++) {
        pal_span span = pal_params_span(s->params, i);
        pal_param_block b = pal_params_block_as_is(s->params, span.block);
        size_t element = pal_dtype_size(b.dtype);
        size_t bytes = pal_round_up(span.count ? (size_t)span.count * element : 1, PAL_ALIGN);
        for (int k = 0; k < PAL_MOMENTS; k++) {
            size_t *size = &sizes[span.block].size[k];
            bool has = !b.kept && k < (setting ? setting[i].moments : 1);
            s->at[i][k] = has ? (int64_t)(*size / element) : -1;
            if (has && setting && setting[i].elsewhere)
                s->at[i][k] = -2 - setting[i].owner;
            else if (has)
                *size += bytes;
        }
    }
}

bool pal_state_new(pal_state *s, pal_params *params, const char *letters,
                   const pal_setting *setting)
{
    *s = (pal_state){.params = params,
                     .letters = letters,
                     .count = pal_params_count(params),
                     .blocks = pal_params_blocks(params)};
    s->at = pal_malloc(places_bytes(s->count));
    pal_state_block *sizes = s->at ? new_blocks(NULL, s->blocks) : NULL;
    if (sizes) {
        place(s, setting, sizes);
        s->block = new_blocks(sizes, s->blocks);
        pal_free(sizes, table_bytes(s->blocks));
    }
    if (!s->block) pal_state_free(s);
    return s->block != NULL;
}

void pal_state_free(pal_state *s)
{
    free_blocks(s->block, s->blocks);
    if (s->at) pal_free(s->at, places_bytes(s->count));
    s->block = NULL;
    s->at = NULL;
}

void *pal_state_at(const pal_state *s, int i, int k)
{
    if (s->at[i][k] < 0) return NULL;
    pal_span span = pal_params_span(s->params, i);
    pal_dtype dtype = pal_params_block_as_is(s->params, span.block).dtype;
    return pal_element(dtype, s->block[span.block].memory[k], s->at[i][k]);
}

int pal_state_owner(const pal_state *s, int i, int k)
{
    const int64_t at = s->at[i][k];
    return at >= 0 ? s->rank : (int)(-2 - at);
}

pal_status pal_state_check(const pal_state *s, const char *op, pal_error *error)
{
    int now = pal_params_count(s->params);
    if (now == s->count) return PAL_OK;
    return pal_error_set(error, PAL_EVALUE,
                         "%s: it was made for %d parameters, and now there are %d", op, s->count,
                         now);
}

pal_status pal_state_finite(const pal_state *s, const char *what, pal_error *error)
{
    for (int k = 0; s->letters[k]; k++)
        for (int i = 0; i < s->count; i++) {
            void *memory = pal_state_at(s, i, k);
            const pal_span span = pal_params_span(s->params, i);
            const pal_dtype dtype = pal_params_block_as_is(s->params, span.block).dtype;
            if (memory && !pal_all_finite(dtype, span.count, memory))
                return pal_error_set(error, PAL_ENUMERIC,
                                     "%s of parameter %s (%c) holds a number that is not finite",
                                     what, pal_params_name(s->params, i), s->letters[k]);
        }
    return PAL_OK;
}

/* ---- Files ---- */

enum { KIND_BYTES = 64 };

/* path = group/LETTER/NAME of moment k, or group/LETTER without a name. */
pal_status pal_state_path(const pal_state *s, const char *op, const char *group, int k,
                          const char *name, char path[PAL_STATE_PATH], pal_error *error)
{
    int n = snprintf(path, PAL_STATE_PATH, "%s/%c%s%s", group, s->letters[k], name ? "/" : "",
                     name ? name : "");
    if (n > 0 && n < PAL_STATE_PATH) return PAL_OK;
    return pal_error_set(error, PAL_EVALUE, "%s: the name %.400s of %.400s is too long", op,
                         name ? name : "", group);
}

/* Moment k of parameter i as an array over its memory; data NULL if another rank has it. */
static pal_array moment(const pal_state *s, int i, int k)
{
    pal_array array = pal_params_array(s->params, i);
    array.data = pal_state_at(s, i, k);
    return array;
}

static pal_array number(int64_t *n) { return pal_array_of(PAL_I64, (pal_shape){.ndim = 0}, n); }

static pal_status step_path(const char *op, const char *group, char path[PAL_STATE_PATH],
                            pal_error *error)
{
    int n = snprintf(path, PAL_STATE_PATH, "%s/step", group);
    if (n > 0 && n < PAL_STATE_PATH) return PAL_OK;
    return pal_error_set(error, PAL_EVALUE, "%s: the name %.400s is too long", op, group);
}

static pal_status put_moment(const pal_state *s, const char *op, int owner, pal_h5 *file,
                             const char *path, const pal_array *array, pal_error *error)
{
    if (owner != s->rank && !pal_h5_is_shared(file))
        return pal_error_set(error, PAL_EVALUE,
                             "%s: %.400s is on rank %d, and this rank writes alone", op, path,
                             owner);
    pal_h5_owner(file, owner);
    pal_status status = pal_h5_put(file, path, array, error);
    pal_h5_owner(file, 0);
    return status;
}

pal_status pal_state_put(const pal_state *s, const char *op, const char *kind, int64_t steps,
                         pal_h5 *file, const char *group, pal_error *error)
{
    char path[PAL_STATE_PATH];
    for (int k = 0; s->letters[k]; k++)
        for (int i = 0; i < s->count; i++) {
            const int owner = pal_state_owner(s, i, k);
            if (owner < 0) continue;
            pal_array array = moment(s, i, k);
            pal_status status =
                pal_state_path(s, op, group, k, pal_params_name(s->params, i), path, error);
            if (status == PAL_OK) status = put_moment(s, op, owner, file, path, &array, error);
            if (status != PAL_OK) return status;
        }
    pal_array step = number(&steps);
    pal_status status = step_path(op, group, path, error);
    if (status == PAL_OK) status = pal_h5_put(file, path, &step, error);
    if (status == PAL_OK) status = pal_h5_put_text(file, group, "kind", kind, error);
    return status;
}

static pal_status check_kind(const char *op, const char *kind, pal_h5 *file, const char *group,
                             pal_error *error)
{
    char found[KIND_BYTES];
    pal_status status = pal_h5_get_text(file, group, "kind", found, sizeof found, error);
    if (status != PAL_OK || !strcmp(found, kind)) return status;
    return pal_error_set(error, PAL_EFORMAT,
                         "%s: %.400s is the state of %s where that of %s is wanted", op, group,
                         found, kind);
}

static bool count_one(const char *name, void *user)
{
    (void)name;
    ++*(int *)user;
    return true;
}

/* The file has no moments beside those that are wanted. */
static pal_status check_count(const pal_state *s, const char *op, int k, pal_h5 *file,
                              const char *group, pal_error *error)
{
    char path[PAL_STATE_PATH];
    int wanted = 0, found = 0;
    for (int i = 0; i < s->count; i++) wanted += pal_state_owner(s, i, k) >= 0;
    pal_status status = pal_state_path(s, op, group, k, NULL, path, error);
    if (status == PAL_OK && pal_h5_has(file, path))
        status = pal_h5_each(file, path, count_one, &found, error);
    if (status != PAL_OK || found <= wanted) return status;
    return pal_error_set(error, PAL_EFORMAT, "%s: %.400s has %d arrays where %d are wanted", op,
                         path, found, wanted);
}

static pal_status get_moment(pal_state *s, const char *op, int i, int k, pal_h5 *file,
                             const char *group, pal_error *error)
{
    char path[PAL_STATE_PATH], a[128], b[128];
    pal_array have = moment(s, i, k);
    pal_dtype dtype;
    pal_shape shape;
    pal_status status = pal_state_path(s, op, group, k, pal_params_name(s->params, i), path, error);
    if (status == PAL_OK) status = pal_h5_info(file, path, &dtype, &shape, error);
    if (status != PAL_OK) return status;
    if (dtype == have.dtype && pal_shape_equal(shape, pal_array_shape(&have))) {
        status = have.data ? pal_h5_get(file, path, &have, error) : PAL_OK;
        if (status != PAL_OK || !have.data ||
            pal_all_finite(dtype, pal_shape_count(shape), have.data))
            return status;
        return pal_error_set(error, PAL_ENUMERIC, "%s: %.400s holds a number that is not finite",
                             op, path);
    }
    pal_array found = pal_array_of(dtype, shape, NULL);
    return pal_error_set(error, PAL_EFORMAT, "%s: %.400s is %s where %s is wanted", op, path,
                         pal_array_describe(&found, a, sizeof a),
                         pal_array_describe(&have, b, sizeof b));
}

static pal_status read_all(pal_state *fresh, const char *op, const char *kind, int64_t *steps,
                           pal_h5 *file, const char *group, pal_error *error)
{
    char path[PAL_STATE_PATH];
    pal_status status = check_kind(op, kind, file, group, error);
    for (int k = 0; status == PAL_OK && fresh->letters[k]; k++) {
        for (int i = 0; status == PAL_OK && i < fresh->count; i++)
            if (pal_state_owner(fresh, i, k) >= 0)
                status = get_moment(fresh, op, i, k, file, group, error);
        if (status == PAL_OK) status = check_count(fresh, op, k, file, group, error);
    }
    pal_array step = number(steps);
    if (status == PAL_OK) status = step_path(op, group, path, error);
    if (status == PAL_OK) status = pal_h5_get(file, path, &step, error);
    if (status == PAL_OK && *steps < 0)
        status = pal_error_set(error, PAL_EFORMAT, "%s: %.400s is negative", op, path);
    return status;
}

/* Everything is read into fresh memory, which then takes the place of the old. */
pal_status pal_state_get(pal_state *s, const char *op, const char *kind, int64_t *steps,
                         pal_h5 *file, const char *group, pal_undo *undo, pal_error *error)
{
    pal_state fresh = *s;
    int64_t found = 0;
    pal_status status = pal_state_check(s, op, error);
    if (status != PAL_OK) return status;
    fresh.block = new_blocks(s->block, s->blocks);
    if (!fresh.block)
        return pal_error_set(error, PAL_ENOMEM, "%s: out of memory for what is read", op);
    status = read_all(&fresh, op, kind, &found, file, group, error);
    if (status != PAL_OK) {
        free_blocks(fresh.block, s->blocks);
        return status;
    }
    pal_undo old = {.state = s, .block = s->block, .steps = steps, .old_steps = *steps};
    s->block = fresh.block;
    *steps = found;
    if (undo)
        *undo = old;
    else
        pal_undo_end(&old, false);
    return PAL_OK;
}

pal_status pal_numbers_put(const pal_keys *keys, const void *opts, pal_h5 *file, const char *object,
                           pal_error *error)
{
    pal_status s = PAL_OK;
    for (int i = 0; s == PAL_OK && i < keys->count; i++)
        if (keys->key[i].tag != PAL_IN_SETTING)
            s = pal_h5_put_number(file, object, keys->key[i].name,
                                  pal_key_number(&keys->key[i], opts), error);
    return s;
}

pal_status pal_numbers_check(const pal_keys *keys, const void *opts, const char *op, pal_h5 *file,
                             const char *object, pal_error *error)
{
    for (int i = 0; i < keys->count; i++) {
        const pal_key *key = &keys->key[i];
        const double here = pal_key_number(key, opts);
        double found;
        if (key->tag == PAL_IN_SETTING) continue;
        pal_status s = pal_h5_get_number(file, object, key->name, &found, error);
        if (s != PAL_OK) return s;
        if (found != here)
            return pal_error_set(error, PAL_EVALUE, "%s: the %s of %.400s is %.9g, and %.9g here",
                                 op, key->name, object, found, here);
    }
    return PAL_OK;
}

void pal_undo_end(pal_undo *u, bool back)
{
    if (!u->state) return;
    free_blocks(back ? u->state->block : u->block, u->state->blocks);
    if (back) {
        u->state->block = u->block;
        *u->steps = u->old_steps;
    }
    *u = (pal_undo){0};
}
