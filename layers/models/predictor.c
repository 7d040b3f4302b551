/* predictor.c - a trunk with a head. */
#include "layers/models/trunk.h"

struct pal_predictor {
    pal_trunk *trunk;
    pal_task_head head;
};

pal_predictor *pal_predictor_new(pal_params *params, const char *prefix, pal_trunk_opts trunk,
                                 int64_t n, pal_task_head_opts head, pal_rng *rng)
{
    char name[PAL_NAME_MAX];
    pal_predictor *p = pal_params_alloc(params, sizeof *p);
    if (!p) return NULL;
    const char *dot = prefix && *prefix ? "." : "";
    snprintf(name, sizeof name, "%s%strunk", prefix ? prefix : "", dot);
    p->trunk = pal_trunk_new(params, name, trunk, rng);
    if (!p->trunk) return NULL;
    const pal_trunk_opts *is = &p->trunk->opts;
    snprintf(name, sizeof name, "%s%shead", prefix ? prefix : "", dot);
    p->head = pal_task_head_new(params, name, is->width, n, head, is->dtype, rng);
    return pal_is_none(p->head.weight) || pal_params_status(params) != PAL_OK ? NULL : p;
}

pal_tensor pal_predictor_forward(const pal_predictor *p, pal_tensor x, pal_run_opts run)
{
    return pal_task_head_forward(&p->head, pal_trunk_forward(p->trunk, x, NULL, run), run);
}

const pal_trunk *pal_predictor_trunk(const pal_predictor *p) { return p->trunk; }
