/* targets.c - the targets of a classifier: the class of each row, some of which may be ignored. */
#include "autograd/ops/targets.h"
#include "autograd/ops/elements.h"
#include "autograd/ops/map.h"
#include "autograd/ops/shape.h"

#include <math.h>

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

pal_status pal_weights_check(pal_call *call, int i)
{
    enum { BLOCK = 512 };
    const pal_array *w = call->in[i];
    int64_t count = pal_array_count(w);
    pal_status status = pal_check_constant(call, i);
    char name[32];
    pal_arg_name(call->op->args, i, name);
    for (int64_t start = 0; start < count && status == PAL_OK; start += BLOCK) {
        double x[BLOCK];
        int64_t n = count - start < BLOCK ? count - start : BLOCK;
        pal_row_read(w, start, n, x);
        for (int64_t j = 0; j < n; j++)
            if (!(x[j] >= 0 && isfinite(x[j])))
                return pal_call_error(call, PAL_EVALUE,
                                      "element %lld of %s is %g, not a finite number from 0",
                                      (long long)(start + j), name, x[j]);
    }
    return status;
}

static pal_status check_weights(pal_call *call, int i)
{
    if (i >= call->nin) return PAL_OK;
    const pal_array *w = call->in[i];
    pal_status status = pal_map_need(call, i, true, false);
    if (status != PAL_OK) return status;
    if (w->dtype != call->in[0]->dtype)
        return pal_call_error(call, PAL_EDTYPE, "the dtypes differ; see pal_cast");
    if (!pal_shape_equal(pal_array_shape(w), pal_array_shape(call->in[i - 1])))
        return pal_call_error(call, PAL_ESHAPE, "weight and targets differ in shape");
    return pal_weights_check(call, i);
}

pal_status pal_targets_check(pal_call *call, const pal_cross_entropy_opts *o, int i, int64_t n)
{
    const pal_array *x = call->in[0], *t = call->in[i];
    pal_status status = pal_map_need(call, i, false, true);
    if (status != PAL_OK) return status;
    if (!(o->label_smoothing >= 0 && o->label_smoothing < 1))
        return pal_call_error(call, PAL_EVALUE, "label_smoothing %g is not in [0, 1)",
                              o->label_smoothing);
    if (o->reduction < PAL_REDUCE_MEAN || o->reduction > PAL_REDUCE_NONE ||
        (o->sum && o->reduction == PAL_REDUCE_NONE))
        return pal_call_error(call, PAL_EVALUE, "reduction %d%s is none that there is",
                              (int)o->reduction, o->sum ? " with sum" : "");
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
    return check_weights(call, i + 1);
}

pal_targets pal_targets_of(const pal_call *call, const pal_cross_entropy_opts *o, int i)
{
    const pal_array *targets = call->in[i];
    pal_targets t = {
        .o = o, .lines = pal_lines_of(targets, PAL_ALL), .rows = pal_array_count(targets)};
    if (i + 1 < call->nin) t.weights = pal_lines_of(call->in[i + 1], PAL_ALL);
    for (int64_t r = 0; r < t.rows; r++)
        if (pal_target(&t, r) >= 0) t.total += pal_target_weight(&t, r);
    return t;
}

int64_t pal_target(const pal_targets *t, int64_t row)
{
    int64_t target = target_at(&t->lines, row);
    return ignored(t->o, target) ? -1 : target;
}

double pal_target_weight(const pal_targets *t, int64_t row)
{
    const pal_lines *w = &t->weights;
    if (!w->data) return 1;
    return pal_element_get(w->dtype, pal_line(w, row / w->n), row % w->n * w->step);
}

double pal_targets_share(const pal_targets *t)
{
    bool mean = !t->o->sum && t->o->reduction == PAL_REDUCE_MEAN;
    return !mean || t->total == 0 ? 1 : 1 / t->total;
}
