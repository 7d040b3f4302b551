/*
 * adamw.c - AdamW over the blocks of a set of parameters.
 *
 * The moments lie in blocks like those of the parameters, so that one kernel call serves a run of
 * many parameters. A block of constants (pal_keep) has none.
 */
#include "autograd/internal.h"
#include "optim/internal.h"
#include "optim/kernels.h"

#include <math.h>
#include <string.h>

typedef struct moments {
    void *m, *v;
    size_t size; /* bytes of each */
} moments;

struct pal_optim {
    pal_params *params;
    pal_adamw_opts opts;
    int64_t steps;
    int count, blocks; /* of the parameters when it was made */
    moments *block;
};

/* ---- Life ---- */

static pal_status check_options(pal_adamw_opts *o)
{
    if (o->beta1 == 0) o->beta1 = 0.9;
    if (o->beta2 == 0) o->beta2 = 0.999;
    if (o->eps == 0) o->eps = 1e-8;
    if (!(o->beta1 > 0 && o->beta1 < 1) || !(o->beta2 > 0 && o->beta2 < 1))
        return pal_fail_nowhere(PAL_EVALUE, "adamw_new: beta1 %g and beta2 %g must be in (0, 1)",
                                o->beta1, o->beta2);
    if (!(o->eps > 0 && isfinite(o->eps)) || !(o->decay >= 0 && isfinite(o->decay)))
        return pal_fail_nowhere(PAL_EVALUE, "adamw_new: eps %g must be > 0 and decay %g >= 0",
                                o->eps, o->decay);
    return PAL_OK;
}

static size_t table_bytes(int blocks) { return (size_t)(blocks ? blocks : 1) * sizeof(moments); }

static void free_moments(moments *table, int blocks)
{
    if (!table) return;
    for (int i = 0; i < blocks; i++) {
        if (table[i].m) pal_free(table[i].m, table[i].size);
        if (table[i].v) pal_free(table[i].v, table[i].size);
    }
    pal_free(table, table_bytes(blocks));
}

/* Zero moments for every block that has gradients; NULL: out of memory. */
static moments *new_moments(const pal_params *params, int blocks)
{
    moments *table = pal_malloc(table_bytes(blocks));
    if (!table) return NULL;
    memset(table, 0, table_bytes(blocks));
    for (int i = 0; i < blocks; i++) {
        pal_block b = pal_params_block(params, i);
        moments *to = &table[i];
        if (!b.grad) continue;
        to->size = (size_t)b.count * pal_dtype_size(b.dtype);
        to->m = pal_malloc(to->size);
        to->v = pal_malloc(to->size);
        if (!to->m || !to->v) {
            free_moments(table, blocks);
            return NULL;
        }
        memset(to->m, 0, to->size);
        memset(to->v, 0, to->size);
    }
    return table;
}

pal_optim *pal_adamw_new(pal_params *params, pal_adamw_opts opts)
{
    if (!params) {
        pal_fail_nowhere(PAL_EVALUE, "adamw_new: there are no parameters (params is NULL)");
        return NULL;
    }
    if (check_options(&opts) != PAL_OK) return NULL;
    int blocks = pal_params_blocks(params);
    pal_optim *a = pal_malloc(sizeof *a);
    moments *table = a ? new_moments(params, blocks) : NULL;
    if (!table) {
        if (a) pal_free(a, sizeof *a);
        pal_fail_nowhere(PAL_ENOMEM, "adamw_new: out of memory for the moments of %lld numbers",
                         (long long)pal_params_size(params));
        return NULL;
    }
    *a = (pal_optim){.params = params,
                     .opts = opts,
                     .count = pal_params_count(params),
                     .blocks = blocks,
                     .block = table};
    return a;
}

void pal_optim_free(pal_optim *a)
{
    if (!a) return;
    free_moments(a->block, a->blocks);
    pal_free(a, sizeof *a);
}

int64_t pal_optim_steps(const pal_optim *a) { return a->steps; }
const char *pal_optim_name(const pal_optim *a)
{
    (void)a;
    return "adamw";
}

/* ---- A step ---- */

static void update_run(pal_optim *a, const pal_run *run, pal_adamw_numbers c)
{
    pal_block b = pal_params_block(a->params, run->block);
    moments to = a->block[run->block];
    const pal_optim_kernels *k = pal_optim_kernels_for(b.dtype);
    int team = pal_team(run->count);
    if (!run->decay) c.decay = 0;
#pragma omp parallel for num_threads(team) if (team > 1)
    for (int64_t i = 0; i < pal_pieces(run->count); i++) {
        int64_t at = run->offset + i * PAL_PIECE;
        k->adamw(pal_piece_size(run->count, i), &c, pal_element(b.dtype, b.grad, at),
                 pal_element(b.dtype, b.value, at), pal_element(b.dtype, to.m, at),
                 pal_element(b.dtype, to.v, at));
    }
}

pal_status pal_optim_step(pal_optim *a, double lr)
{
    if (!a) return pal_fail_nowhere(PAL_EVALUE, "optim_step: there is no optimiser (NULL)");
    if (pal_params_count(a->params) != a->count)
        return pal_fail_nowhere(PAL_EVALUE,
                                "optim_step: the optimiser was made for %d parameters, and now "
                                "there are %d",
                                a->count, pal_params_count(a->params));
    const pal_adamw_opts *o = &a->opts;
    double t = (double)++a->steps;
    pal_adamw_numbers c = {.beta1 = o->beta1,
                           .one_beta1 = 1 - o->beta1,
                           .beta2 = o->beta2,
                           .one_beta2 = 1 - o->beta2,
                           .rate = lr / (1 - pow(o->beta1, t)),
                           .correct = 1 / sqrt(1 - pow(o->beta2, t)),
                           .eps = o->eps,
                           .decay = lr * o->decay};
    for (pal_run run = {0}; pal_run_next(a->params, &run);) update_run(a, &run, c);
    pal_params_touch(a->params);
    return PAL_OK;
}

/* ---- State in a file ---- */

enum { PATH_BYTES = 1024 };

/* The moment ('m' or 'v') of parameter i as an array over its memory, and its path in a file.
 * false: it has none (a constant). */
static bool moment(const pal_optim *a, int i, char which, const char *group, pal_array *array,
                   char path[PATH_BYTES])
{
    pal_span span = pal_params_span(a->params, i);
    const moments *of = &a->block[span.block];
    if (!of->m) return false;
    *array = pal_params_array(a->params, i);
    array->data = pal_element(array->dtype, which == 'm' ? of->m : of->v, span.offset);
    snprintf(path, PATH_BYTES, "%s/%c/%s", group, which, pal_params_name(a->params, i));
    return true;
}

static pal_array step_array(int64_t *step)
{
    return pal_array_of(PAL_I64, (pal_shape){.ndim = 0}, step);
}

pal_status pal_optim_put(const pal_optim *a, pal_h5 *file, const char *group, pal_error *error)
{
    char path[PATH_BYTES];
    pal_array array;
    for (int i = 0; i < a->count; i++)
        for (int k = 0; k < 2; k++) {
            if (!moment(a, i, "mv"[k], group, &array, path)) continue;
            pal_status s = pal_h5_put(file, path, &array, error);
            if (s != PAL_OK) return s;
        }
    int64_t steps = a->steps;
    array = step_array(&steps);
    snprintf(path, sizeof path, "%s/step", group);
    return pal_h5_put(file, path, &array, error);
}

static pal_status check_moment(pal_h5 *file, const char *path, const pal_array *have,
                               pal_error *error)
{
    pal_dtype dtype;
    pal_shape shape;
    pal_status s = pal_h5_info(file, path, &dtype, &shape, error);
    if (s != PAL_OK) return s;
    if (dtype == have->dtype && pal_shape_equal(shape, pal_array_shape(have))) return PAL_OK;
    char a[128], b[128];
    pal_array found = pal_array_of(dtype, shape, NULL);
    return pal_error_set(error, PAL_EFORMAT, "optim_get: %.400s is %s where %s is wanted", path,
                         pal_array_describe(&found, a, sizeof a),
                         pal_array_describe(have, b, sizeof b));
}

/* Reads every moment into fresh memory that then takes the place of the old. */
static pal_status read_moments(pal_optim *fresh, pal_h5 *file, const char *group, pal_error *error)
{
    char path[PATH_BYTES];
    pal_array array;
    for (int i = 0; i < fresh->count; i++)
        for (int k = 0; k < 2; k++) {
            if (!moment(fresh, i, "mv"[k], group, &array, path)) continue;
            pal_status s = check_moment(file, path, &array, error);
            if (s == PAL_OK) s = pal_h5_get(file, path, &array, error);
            if (s != PAL_OK) return s;
        }
    array = step_array(&fresh->steps);
    snprintf(path, sizeof path, "%s/step", group);
    pal_status s = pal_h5_get(file, path, &array, error);
    if (s == PAL_OK && fresh->steps < 0)
        s = pal_error_set(error, PAL_EFORMAT, "optim_get: %s is negative", path);
    return s;
}

pal_status pal_optim_get(pal_optim *a, pal_h5 *file, const char *group, pal_error *error)
{
    pal_optim fresh = *a;
    if (pal_params_count(a->params) != a->count)
        return pal_error_set(error, PAL_EVALUE,
                             "optim_get: parameters were created after the optimiser");
    fresh.block = new_moments(a->params, a->blocks);
    if (!fresh.block)
        return pal_error_set(error, PAL_ENOMEM, "optim_get: out of memory for the moments");
    pal_status s = read_moments(&fresh, file, group, error);
    free_moments(s == PAL_OK ? a->block : fresh.block, a->blocks);
    if (s == PAL_OK) *a = fresh;
    return s;
}
