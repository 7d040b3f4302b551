/*
 * init.h - helpers of constructors: names of parameters, and how their values are drawn.
 */
#ifndef PAL_LAYERS_INIT_H
#define PAL_LAYERS_INIT_H

#include "autograd/internal.h"
#include "autograd/ops/narrow.h"
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
/* x times a scale, or x itself for 0 and 1. bf16 becomes f32 where it is scaled. */
pal_tensor pal_scaled(pal_tensor x, double scale);
/* The weight of a norm, [n]: ones, or zeros if it is applied as 1 + w. */
pal_tensor pal_build_norm(pal_build *b, const char *suffix, int64_t n, bool plus_one);
/* What pal_rms_norm of x takes as weight: w, or 1 + w. */
pal_tensor pal_norm_gain(pal_tensor x, pal_tensor weight, bool plus_one);
/* pal_gated_rms_norm where only products read the result, which is bf16 if these are in bf16. */
pal_tensor pal_gated_norm_read(pal_tensor x, pal_tensor gate, pal_tensor weight,
                               pal_gated_norm_opts opts);
pal_tensor pal_build_linear(pal_build *b, const char *suffix, int64_t out, int64_t in);

#endif
