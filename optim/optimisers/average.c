/*
 * average.c - the exponential moving average of the parameters.
 */
#include "autograd/internal.h"
#include "optim/optimisers/internal.h"

#include <string.h>

struct pal_average {
    pal_params *params;
    pal_average_opts opts;
    pal_state
        state; /* one number an element: the average, or the parameter while they are swapped */
    int64_t updates;
    bool swapped;
};

/* Calls `work` on every block of parameters and the same block of averages: they are laid out
 * alike, and a block of parameters may have grown since. */
typedef void block_fn(const pal_average *average, pal_param_block of, void *mean);
static void each_block(const pal_average *s, block_fn *work)
{
    for (int b = 0; b < s->state.blocks; b++) {
        pal_param_block of = pal_params_block_as_is(s->params, b);
        if (!s->state.block[b].memory[0]) continue;
        of.count = (int64_t)(s->state.block[b].size[0] / pal_dtype_size(of.dtype));
        work(s, of, s->state.block[b].memory[0]);
    }
}

static void start(const pal_average *s, pal_param_block of, void *mean)
{
    (void)s;
    memcpy(mean, of.value, (size_t)of.count * pal_dtype_size(of.dtype));
}

static void move(const pal_average *s, pal_param_block of, void *mean)
{
    double t = (double)s->updates, decay = s->opts.decay, early = (1 + t) / (10 + t);
    double share = 1 - (s->opts.warm_up && early < decay ? early : decay);
    pal_update_all(of.dtype, of.count, pal_optim_kernels_for(of.dtype)->average, &share,
                   (pal_use){0}, of.value, mean, NULL, NULL);
}

static void exchange(const pal_average *s, pal_param_block of, void *mean)
{
    (void)s;
    enum { BYTES = 4096 };
    int64_t bytes = of.count * (int64_t)pal_dtype_size(of.dtype);
    int team = pal_team(of.count);
#pragma omp parallel for num_threads(team) if (team > 1)
    for (int64_t at = 0; at < bytes; at += BYTES) {
        char keep[BYTES], *x = (char *)of.value + at, *y = (char *)mean + at;
        size_t n = bytes - at < BYTES ? (size_t)(bytes - at) : BYTES;
        memcpy(keep, x, n);
        memcpy(x, y, n);
        memcpy(y, keep, n);
    }
}

/* ---- Life ---- */

static const pal_key rows[] = {
    {"decay", PAL_KEY_REAL, PAL_AT(pal_average_opts, decay), .high = 1, .open = PAL_OPEN_BOTH},
    {"warm-up", PAL_KEY_FLAG, PAL_AT(pal_average_opts, warm_up)},
};
static const pal_keys keys = PAL_KEYS(rows);

pal_average *pal_average_new(pal_params *params, pal_average_opts opts)
{
    if (opts.decay == 0) opts.decay = 0.999;
    if (!params) {
        pal_fail_nowhere(PAL_EVALUE, "average_new: there are no parameters (params is NULL)");
        return NULL;
    }
    pal_error error;
    if (pal_keys_check(&keys, &opts, "average_new: ", &error) != PAL_OK) {
        pal_fail_nowhere(error.status, "%s", error.message);
        return NULL;
    }
    pal_average *s = pal_malloc(sizeof *s);
    if (s) {
        *s = (pal_average){.params = params, .opts = opts};
        if (pal_state_new(&s->state, params, "a", NULL)) {
            each_block(s, start);
            return s;
        }
        pal_free(s, sizeof *s);
    }
    pal_fail_nowhere(PAL_ENOMEM, "average_new: out of memory for the average of %lld numbers",
                     (long long)pal_params_size(params));
    return NULL;
}

void pal_average_free(pal_average *s)
{
    if (!s) return;
    pal_state_free(&s->state);
    pal_free(s, sizeof *s);
}

/* ---- Use ---- */

/* PAL_EVALUE if there is none, or parameters were created since, or it is swapped. */
static pal_status check(const pal_average *s, const char *op, pal_error *error)
{
    if (!s) return pal_error_set(error, PAL_EVALUE, "%s: there is no average (NULL)", op);
    if (s->swapped)
        return pal_error_set(error, PAL_EVALUE,
                             "%s: the parameters hold the average; swap them back first", op);
    return pal_state_check(&s->state, op, error);
}

static pal_status check_aloud(const pal_average *s, const char *op)
{
    pal_error error;
    if (check(s, op, &error) == PAL_OK) return PAL_OK;
    return pal_fail_nowhere(error.status, "%s", error.message);
}

pal_status pal_average_update(pal_average *s)
{
    pal_status status = check_aloud(s, "average_update");
    if (status != PAL_OK) return status;
    s->updates++;
    each_block(s, move);
    return PAL_OK;
}

pal_status pal_average_swap(pal_average *s)
{
    /* Swapping back is always possible: the parameters must not go on holding the average. */
    if (!(s && s->swapped)) {
        const pal_status status = check_aloud(s, "average_swap");
        if (status != PAL_OK) return status;
    }
    each_block(s, exchange);
    s->swapped = !s->swapped;
    pal_params_touch(s->params);
    return PAL_OK;
}

pal_status pal_average_finite(const pal_average *s, pal_error *error)
{
    return pal_state_finite(&s->state, "the average", error);
}

int64_t pal_average_updates(const pal_average *s) { return s->updates; }

/* ---- Files ---- */

pal_status pal_average_put(const pal_average *s, pal_h5 *file, const char *group, pal_error *error)
{
    pal_status status = check(s, "average_put", error);
    if (status != PAL_OK) return status;
    status = pal_state_put(&s->state, "average_put", "average", s->updates, file, group, error);
    return status == PAL_OK ? pal_numbers_put(&keys, &s->opts, file, group, error) : status;
}

pal_status pal_average_load(pal_average *s, pal_h5 *file, const char *group, pal_undo *undo,
                            pal_error *error)
{
    pal_status status = check(s, "average_get", error);
    if (status != PAL_OK) return status;
    pal_undo mine = {0};
    status =
        pal_state_get(&s->state, "average_get", "average", &s->updates, file, group, &mine, error);
    if (status == PAL_OK)
        status = pal_numbers_check(&keys, &s->opts, "average_get", file, group, error);
    if (status == PAL_OK && undo)
        *undo = mine;
    else
        pal_undo_end(&mine, status != PAL_OK);
    return status;
}

pal_status pal_average_get(pal_average *s, pal_h5 *file, const char *group, pal_error *error)
{
    return pal_average_load(s, file, group, NULL, error);
}
