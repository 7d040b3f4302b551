/*
 * empty.c - a model without values, whose description and size come from a file.
 */
#include "layers/models/lm.h"

static void keep_first(const pal_error *error, void *user)
{
    pal_error *first = user;
    if (first->status == PAL_OK) *first = *error;
}

pal_status pal_lm_make_empty(pal_lm_file *f, pal_lm_opts o, int64_t elements, pal_error *error)
{
    pal_error first = {PAL_OK, ""};
    const pal_listener before = pal_listen((pal_listener){keep_first, &first});
    f->params = pal_params_new();
    if (f->params) {
        /* Somewhat more, so that a parameter that is missing is named. */
        pal_params_limit(f->params, 2 * elements + (1 << 16));
        if (o.dtype == PAL_BF16) { /* of weights; all else is f32 */
            pal_params_store(f->params, PAL_BF16);
            o.dtype = PAL_F32;
        }
        f->lm = pal_lm_new(f->params, o, NULL);
        pal_params_limit(f->params, INT64_MAX);
    }
    pal_listen(before);
    if (f->lm) return PAL_OK;
    return pal_error_set(error, first.status, "its configuration: %s", first.message);
}
