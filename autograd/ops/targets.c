/* targets.c - the targets of a classifier: the class of each row, some of which may be ignored. */
#include "autograd/ops/targets.h"
#include "autograd/ops/map.h"

/* The target of a row, which may be an ignored one. */
static int64_t target_at(const pal_lines *lines, int64_t row)
{
    const char *line = pal_line(lines, row / lines->n);
    return ((const int64_t *)(const void *)line)[row % lines->n * lines->step];
}

static bool ignored(const pal_cross_entropy_opts *o, int64_t target)
{
    return o->has_ignore && target == o->ignore;
}

pal_status pal_targets_check(pal_call *call, const pal_cross_entropy_opts *o, int i, int64_t n)
{
    const pal_array *x = call->in[0], *t = call->in[i];
    pal_status status = pal_map_need(call, i, false, true);
    if (status != PAL_OK) return status;
    if (!(o->label_smoothing >= 0 && o->label_smoothing < 1))
        return pal_call_error(call, PAL_EVALUE, "label_smoothing %g is not in [0, 1)",
                              o->label_smoothing);
    pal_shape rows = pal_array_shape(x);
    rows.ndim--;
    char name[32];
    pal_arg_name(call->op->args, 0, name);
    if (x->ndim == 0 || !pal_shape_equal(rows, pal_array_shape(t)))
        return pal_call_error(call, PAL_ESHAPE,
                              "targets do not have the shape of %s without the last axis", name);
    pal_lines lines = pal_lines_of(t, PAL_ALL);
    int64_t count = pal_array_count(t);
    for (int64_t r = 0; r < count; r++) {
        int64_t target = target_at(&lines, r);
        if (!ignored(o, target) && (target < 0 || target >= n))
            return pal_call_error(call, PAL_EVALUE,
                                  "target %lld of row %lld is not between 0 and %lld",
                                  (long long)target, (long long)r, (long long)n - 1);
    }
    return PAL_OK;
}

pal_targets pal_targets_of(const pal_cross_entropy_opts *o, const pal_array *targets)
{
    pal_targets t = {
        .o = o, .lines = pal_lines_of(targets, PAL_ALL), .rows = pal_array_count(targets)};
    for (int64_t r = 0; r < t.rows; r++) t.counted += pal_target(&t, r) >= 0;
    return t;
}

int64_t pal_target(const pal_targets *t, int64_t row)
{
    int64_t target = target_at(&t->lines, row);
    return ignored(t->o, target) ? -1 : target;
}

double pal_targets_share(const pal_targets *t)
{
    return t->o->sum || t->counted == 0 ? 1 : 1 / (double)t->counted;
}
