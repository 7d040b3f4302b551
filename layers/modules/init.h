/*
 * init.h - helpers of constructors: names of parameters, and how their values are drawn.
 */
#ifndef PAL_LAYERS_INIT_H
#define PAL_LAYERS_INIT_H

#include "autograd/internal.h"
#include "layers/modules.h"

enum { PAL_NAME_MAX = 256 };

/* A layer under construction: where its parameters go and how they are drawn. */
typedef struct pal_build {
    pal_params *params;
    const char *prefix;
    pal_dtype dtype;
    pal_rng *rng;
    char name[PAL_NAME_MAX];
} pal_build;

/* "prefix.suffix"; valid until the next call. */
const char *pal_build_name(pal_build *b, const char *suffix);
/* Reports a wrong option of the layer; returns false. */
bool pal_build_fail(const pal_build *b, const char *layer, const char *format, ...)
    PAL_PRINTF(3, 4);
pal_tensor pal_build_linear(pal_build *b, const char *suffix, int64_t out, int64_t in);

#endif
