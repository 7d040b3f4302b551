/*
 * optim.c - the code around every kind of optimiser: groups, memory, steps, files.
 */
#include "optim/optimisers/internal.h"
#include "autograd/internal.h"
#include "tensor/team.h"

#include <fnmatch.h>
#include <math.h>
#include <string.h>

/* ---- Groups ---- */

static bool matches(const pal_group *group, const pal_params *params, int i)
{
    return fnmatch(group->pattern, pal_params_name(params, i), 0) == 0;
}

static bool not_negative(const pal_update_kind *kind, const char *option, double value)
{
    if (value >= 0 && isfinite(value)) return true;
    pal_fail_nowhere(PAL_EVALUE, "%s_new: %s %g must be finite and >= 0", kind->name, option,
                     value);
    return false;
}

/* A pattern that matches nothing is a misspelt one. */
static bool check_group(const pal_update_kind *kind, const pal_group *g, int number,
                        const pal_params *params)
{
    const char *pattern = g->pattern ? g->pattern : "";
    int i = 0, n = pal_params_count(params);
    while (g->pattern && i < n && !matches(g, params, i)) i++;
    if (!g->pattern || i == n) {
        pal_fail_nowhere(PAL_EVALUE, "%s_new: no parameter's name matches \"%s\" of group %d",
                         kind->name, pattern, number);
        return false;
    }
    if (g->no_decay && g->decay != 0) {
        pal_fail_nowhere(PAL_EVALUE, "%s_new: group \"%s\" has both a decay and no_decay",
                         kind->name, pattern);
        return false;
    }
    pal_error error;
    if (g->schedule && pal_schedule_check(g->schedule, &error) != PAL_OK) {
        pal_fail_nowhere(PAL_EVALUE, "%s_new: group \"%s\": %s", kind->name, pattern,
                         error.message);
        return false;
    }
    return not_negative(kind, "the rate of a group", g->rate) &&
           not_negative(kind, "the decay of a group", g->decay);
}

static void settle(pal_optim *o, const pal_group *groups, int group_count, double decay)
{
    for (int i = 0; i < pal_params_count(o->params); i++) {
        pal_setting *s = &o->setting[i];
        *s = (pal_setting){.rate = 1, .decay = decay};
        o->kind->classify(o->opts, o->params, i, s);
        int g = 0;
        while (g < group_count && !matches(&groups[g], o->params, i)) g++;
        if (g == group_count) continue;
        if (groups[g].rate != 0) s->rate *= groups[g].rate;
        if (groups[g].schedule) s->schedule = &o->schedule[g];
        if (groups[g].decay != 0 || groups[g].no_decay) s->decay = groups[g].decay;
    }
}

/* ---- Life ---- */

static size_t setting_bytes(int count) { return (size_t)(count + 1) * sizeof(pal_setting); }

/* Moments and workspace for the settings as they are; false: out of memory, and there are none. */
static bool allocate_state(pal_optim *o)
{
    if (!pal_state_new(&o->state, o->params, "mv", o->setting)) return false;
    o->work_size = o->kind->work ? o->kind->work(o) : 0;
    if (!o->work_size) return true;
    o->work = pal_blas_ready() ? pal_malloc(o->work_size) : NULL; /* work is for products */
    if (o->work) return true;
    pal_state_free(&o->state);
    return false;
}

/* Memory for everything; false: there is not enough, and what there is belongs to *o. */
static bool allocate(pal_optim *o, const pal_group *groups, int group_count, double decay,
                     const void *opts)
{
    o->opts = pal_malloc(o->kind->opts_size);
    o->setting = pal_malloc(setting_bytes(o->count));
    if (!o->opts || !o->setting) return false;
    memcpy(o->opts, opts, o->kind->opts_size);
    if (group_count > 0) {
        o->schedule = pal_malloc((size_t)group_count * sizeof *o->schedule);
        if (!o->schedule) return false;
        o->groups = group_count;
        for (int g = 0; g < group_count; g++)
            if (groups[g].schedule) o->schedule[g] = *groups[g].schedule;
    }
    settle(o, groups, group_count, decay);
    return allocate_state(o);
}

pal_optim *pal_optim_make(const pal_update_kind *kind, pal_params *params, const void *opts,
                          const pal_group *groups, int group_count, double decay)
{
    char prefix[64];
    pal_error error;
    snprintf(prefix, sizeof prefix, "%s_new: ", kind->name);
    if (pal_keys_check(&kind->keys, opts, prefix, &error) != PAL_OK) {
        pal_fail_nowhere(error.status, "%s", error.message);
        return NULL;
    }
    if (!params) {
        pal_fail_nowhere(PAL_EVALUE, "%s_new: there are no parameters (params is NULL)",
                         kind->name);
        return NULL;
    }
    if (group_count < 0 || (group_count > 0 && !groups)) {
        pal_fail_nowhere(PAL_EVALUE, "%s_new: group_count is %d and groups is %s", kind->name,
                         group_count, groups ? "there" : "NULL");
        return NULL;
    }
    for (int g = 0; g < group_count; g++)
        if (!check_group(kind, &groups[g], g, params)) return NULL;
    for (int i = 0; i < pal_params_count(params); i++)
        if (pal_params_array(params, i).dtype == PAL_BF16) {
            pal_fail_nowhere(PAL_EDTYPE, "%s_new: %s is stored in bf16, which does not train",
                             kind->name, pal_params_name(params, i));
            return NULL;
        }
    pal_optim *o = pal_malloc(sizeof *o);
    if (o) {
        *o = (pal_optim){.kind = kind, .params = params, .count = pal_params_count(params)};
        if (allocate(o, groups, group_count, decay, opts)) return o;
        pal_optim_free(o);
    }
    pal_fail_nowhere(PAL_ENOMEM, "%s_new: out of memory for the moments of %lld numbers",
                     kind->name, (long long)pal_params_size(params));
    return NULL;
}

void pal_optim_free(pal_optim *o)
{
    if (!o) return;
    if (o->on_free) o->on_free(o->on_free_user);
    pal_state_free(&o->state);
    if (o->work) pal_free(o->work, o->work_size);
    if (o->setting) pal_free(o->setting, setting_bytes(o->count));
    if (o->schedule) pal_free(o->schedule, (size_t)o->groups * sizeof *o->schedule);
    if (o->opts) pal_free(o->opts, o->kind->opts_size);
    pal_free(o, sizeof *o);
}

static void leave_to(pal_optim *o, const int *owner, int rank)
{
    for (int i = 0; i < o->count; i++) {
        o->setting[i].owner = owner ? owner[i] : 0;
        o->setting[i].elsewhere = owner && owner[i] != rank;
    }
}

pal_status pal_optim_shard(pal_optim *o, const int *owner, int rank, pal_error *error)
{
    const pal_optim old = *o;
    pal_status s = pal_state_check(&o->state, "dist_shard", error);
    if (s != PAL_OK) return s;
    if (o->steps > 0)
        return pal_error_set(error, PAL_EVALUE,
                             "dist_shard: the optimiser has made %lld steps, and its state is "
                             "divided before the first",
                             (long long)o->steps);
    leave_to(o, owner, rank);
    if (!allocate_state(o)) {
        *o = old;
        leave_to(o, NULL, 0);
        return pal_error_set(error, PAL_ENOMEM, "dist_shard: out of memory for the moments");
    }
    o->state.rank = rank;
    pal_state old_state = old.state;
    pal_state_free(&old_state);
    if (old.work) pal_free(old.work, old.work_size);
    return PAL_OK;
}

int64_t pal_optim_steps(const pal_optim *o) { return o->steps; }
const char *pal_optim_name(const pal_optim *o) { return o->kind->name; }

/* ---- A step ---- */

void pal_update_extent(const pal_optim *o, const pal_extent *extent, pal_update *kernel,
                       const void *numbers)
{
    pal_param_block b = pal_params_block(o->params, extent->block);
    pal_update_all(
        b.dtype, extent->count, kernel, numbers, extent->use,
        pal_element(b.dtype, b.grad, extent->offset), pal_element(b.dtype, b.value, extent->offset),
        pal_state_at(&o->state, extent->first, 0), pal_state_at(&o->state, extent->first, 1));
}

typedef bool bad_fn(const pal_optim *o, int i, pal_dtype dtype, int64_t count, void *gradient);

static bool not_finite(const pal_optim *o, int i, pal_dtype dtype, int64_t count, void *g)
{
    (void)o, (void)i;
    return !pal_all_finite(dtype, count, g);
}

/* The largest gradient for which a parameter's moments stay in range: its square does, or a sum of
 * 256 such gradients, which is that of a momentum up to 0.99. An average is never larger. */
static double limit(const pal_optim *o, int i, pal_dtype dtype)
{
    static const double of_square[PAL_REALS] = {PAL_LARGE_GRADIENT, 0x1p511};
    static const double of_sum[PAL_REALS] = {0x1p120, 0x1p1016};
    const int moments = o->setting[i].moments;
    if (moments == PAL_MOMENTS) return of_square[pal_real_index(dtype)];
    if (moments == 0 || o->kind->averages) return INFINITY;
    return of_sum[pal_real_index(dtype)];
}

static bool too_large(const pal_optim *o, int i, pal_dtype dtype, int64_t count, void *g)
{
    const double most = limit(o, i, dtype);
    return most < INFINITY && pal_largest(dtype, count, g) > most;
}

/* The first parameter that the optimiser changes and that has a bad gradient; -1: none. */
static int first(const pal_optim *o, bad_fn *bad)
{
    for (int i = 0; i < o->count; i++) {
        const pal_span span = pal_params_span(o->params, i);
        const pal_param_block b = pal_params_block_as_is(o->params, span.block);
        if (!b.grad || pal_params_frozen(o->params, i) || o->setting[i].elsewhere) continue;
        if (bad(o, i, b.dtype, span.count, pal_element(b.dtype, b.grad, span.offset))) return i;
    }
    return -1;
}

pal_status pal_optim_check_gradients(const pal_optim *o, pal_error *error)
{
    bool finite = true;
    const pal_status s = pal_state_check(&o->state, "optim_step", error); /* settings are as many */
    if (s != PAL_OK) return s;
    for (pal_extent extent = {0}; finite && pal_extent_next(o->params, o->setting, &extent);) {
        const pal_param_block b = pal_params_block_as_is(o->params, extent.block);
        finite = !b.grad ||
                 pal_all_finite(b.dtype, extent.count, pal_element(b.dtype, b.grad, extent.offset));
    }
    if (finite) return PAL_OK;
    return pal_error_set(error, PAL_ENUMERIC,
                         "optim_step: the gradient of parameter %s holds a number that is not "
                         "finite; nothing has changed",
                         pal_params_name(o->params, first(o, not_finite)));
}

pal_status pal_optim_check_moments(const pal_optim *o, double most, pal_error *error)
{
    const int i = most > PAL_LARGE_GRADIENT ? first(o, too_large) : -1;
    if (i < 0) return PAL_OK;
    const pal_dtype dtype = pal_params_array(o->params, i).dtype;
    return pal_error_set(error, PAL_ENUMERIC,
                         "the gradient of parameter %s is larger than %.3g, and %s cannot keep %s "
                         "in %s",
                         pal_params_name(o->params, i), limit(o, i, dtype), o->kind->name,
                         o->setting[i].moments == PAL_MOMENTS ? "its square" : "its momentum",
                         pal_dtype_name(dtype));
}

static pal_status make_step(pal_optim *o, double lr, pal_use use, pal_error *error)
{
    if (!o) return pal_error_set(error, PAL_EVALUE, "optim_step: there is no optimiser (NULL)");
    const bool known_finite = o->known_finite; /* it holds for this step, even for a refused one */
    o->known_finite = false;
    pal_status s = pal_state_check(&o->state, "optim_step", error);
    if (s != PAL_OK) return s;
    if (!isfinite(lr))
        return pal_error_set(error, PAL_EVALUE, "optim_step: the learning rate is %g", lr);
    if (!pal_params_make_gradients(o->params)) /* zeros, if there was no backward pass */
        return pal_error_set(error, PAL_ENOMEM, "optim_step: out of memory for the gradients");
    if (!known_finite) s = pal_optim_check_gradients(o, error);
    if (s != PAL_OK) return s;
    o->steps++;
    for (pal_extent extent = {0}; pal_extent_next(o->params, o->setting, &extent);) {
        const double its = extent.schedule ? pal_schedule_lr(extent.schedule, o->steps - 1) : lr;
        extent.use = use;
        o->kind->update(o, &extent, its * extent.rate);
    }
    pal_params_touch(o->params);
    return PAL_OK;
}

pal_status pal_optim_try_step(pal_optim *o, double lr, pal_error *error)
{
    return make_step(o, lr, (pal_use){0}, error);
}

/* Zeros for the gradients that no update has read. */
static void clear_others(const pal_optim *o)
{
    for (int i = 0; i < o->count; i++) {
        const pal_span span = pal_params_span(o->params, i);
        const pal_param_block b = pal_params_block_as_is(o->params, span.block);
        if (b.grad && (pal_params_frozen(o->params, i) || o->setting[i].elsewhere))
            pal_zero(pal_element(b.dtype, b.grad, span.offset),
                     (size_t)span.count * pal_dtype_size(b.dtype));
    }
}

pal_status pal_optim_spend(pal_optim *o, double factor, double lr, pal_error *error)
{
    const pal_status s = make_step(o, lr, (pal_use){.spend = true, .factor = factor}, error);
    if (s == PAL_OK)
        clear_others(o);
    else
        pal_params_zero_grad(o->params);
    return s;
}

pal_status pal_optim_step(pal_optim *o, double lr)
{
    pal_error error;
    const pal_status s = pal_optim_try_step(o, lr, &error);
    return s == PAL_OK ? s : pal_fail_nowhere(s, "%s", error.message);
}

double pal_optim_update(pal_optim *o, double max_norm, double lr)
{
    if (!o) return pal_fail_nowhere(PAL_EVALUE, "optim_update: there is no optimiser (NULL)"), 0;
    const double norm = pal_squares_root(pal_gradient_squares(o->params, NULL));
    pal_error error;
    o->known_finite = isfinite(norm);
    const pal_status s = pal_optim_spend(o, pal_clip_factor(norm, max_norm), lr, &error);
    if (s != PAL_OK) pal_fail_nowhere(s, "%s", error.message);
    return norm;
}

/* ---- State in a file ---- */

/* Options are attributes of the group; rate and decay of a parameter those of its first moment. */
typedef struct own {
    double rate, decay;
} own;
static const pal_key own_rows[] = {{"rate", PAL_KEY_REAL, PAL_AT(own, rate)},
                                   {"decay", PAL_KEY_REAL, PAL_AT(own, decay)}};
static const pal_keys own_keys = PAL_KEYS(own_rows);

/* The schedule of a group is an attribute of the first moments of its parameters. */
static pal_status put_schedule(const pal_setting *set, pal_h5 *file, const char *path,
                               pal_error *error)
{
    char text[PAL_SCHEDULE_TEXT];
    if (!set->schedule) return PAL_OK;
    return pal_h5_put_text(file, path, "schedule", pal_schedule_text(set->schedule, text), error);
}

static pal_status check_schedule(const pal_setting *set, pal_h5 *file, const char *path,
                                 pal_error *error)
{
    char found[PAL_SCHEDULE_TEXT], here[PAL_SCHEDULE_TEXT] = "";
    if (set->schedule) pal_schedule_text(set->schedule, here);
    if (pal_h5_get_text(file, path, "schedule", found, sizeof found, NULL) != PAL_OK) *found = '\0';
    if (strcmp(found, here) == 0) return PAL_OK;
    return pal_error_set(error, PAL_EVALUE, "optim_get: the schedule of %.300s is %s, and %s here",
                         path, *found ? found : "that of the run",
                         *here ? here : "that of the run");
}

typedef pal_status schedule_fn(const pal_setting *set, pal_h5 *file, const char *path,
                               pal_error *error);
typedef pal_status numbers_fn(const pal_keys *keys, const void *opts, pal_h5 *file,
                              const char *object, pal_error *error);

static pal_status check_numbers(const pal_keys *keys, const void *opts, pal_h5 *file,
                                const char *object, pal_error *error)
{
    return pal_numbers_check(keys, opts, "optim_get", file, object, error);
}

static pal_status each_numbers(const pal_optim *o, const char *op, numbers_fn *work,
                               schedule_fn *schedule, pal_h5 *file, const char *group,
                               pal_error *error)
{
    char path[PAL_STATE_PATH];
    pal_status s = work(&o->kind->keys, o->opts, file, group, error);
    for (int i = 0; s == PAL_OK && i < o->count; i++) {
        const pal_setting *set = &o->setting[i];
        const own its = {set->rate, pal_params_decays(o->params, i) ? set->decay : 0};
        if (pal_state_owner(&o->state, i, 0) < 0) continue;
        s = pal_state_path(&o->state, op, group, 0, pal_params_name(o->params, i), path, error);
        if (s == PAL_OK) s = work(&own_keys, &its, file, path, error);
        if (s == PAL_OK) s = schedule(set, file, path, error);
    }
    return s;
}

pal_status pal_optim_put(const pal_optim *o, pal_h5 *file, const char *group, pal_error *error)
{
    pal_status s =
        pal_state_put(&o->state, "optim_put", o->kind->name, o->steps, file, group, error);
    return s == PAL_OK
               ? each_numbers(o, "optim_put", pal_numbers_put, put_schedule, file, group, error)
               : s;
}

pal_status pal_optim_load(pal_optim *o, pal_h5 *file, const char *group, pal_undo *undo,
                          pal_error *error)
{
    pal_undo mine = {0};
    pal_status s =
        pal_state_get(&o->state, "optim_get", o->kind->name, &o->steps, file, group, &mine, error);
    if (s == PAL_OK)
        s = each_numbers(o, "optim_get", check_numbers, check_schedule, file, group, error);
    if (s == PAL_OK && undo)
        *undo = mine;
    else
        pal_undo_end(&mine, s != PAL_OK);
    return s;
}

pal_status pal_optim_get(pal_optim *o, pal_h5 *file, const char *group, pal_error *error)
{
    return pal_optim_load(o, file, group, NULL, error);
}
