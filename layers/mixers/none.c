/*
 * none.c - the mixer of a block that has none, only an MLP. It gives zeros and remembers nothing.
 */
#include "layers/mixers/internal.h"

#include <string.h>

static pal_tensor forward(const pal_mixer *mixer, pal_tensor x, const pal_mixer_call *call)
{
    (void)mixer, (void)call;
    return pal_zeros(pal_tape_of(x.node), pal_dtype_of(x), pal_shape_of(x));
}

static pal_remembered remembers(const pal_mixer *mixer, int64_t B, int64_t seen)
{
    (void)mixer, (void)B, (void)seen;
    return (pal_remembered){0};
}

static pal_mixer *create(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const void *opts, pal_rng *rng)
{
    (void)prefix, (void)width, (void)dtype, (void)opts, (void)rng;
    pal_mixer *m = pal_params_alloc(params, sizeof *m);
    if (m) *m = (pal_mixer){"none", forward, remembers};
    return m;
}

bool pal_mixer_is_none(const char *text)
{
    return strcspn(text, ":") == 4 && strncmp(text, "none", 4) == 0;
}

const pal_mixer_kind pal_mixer_kind_none = {"none", {0, NULL}, 1, create};
