/*
 * layer_case.h - a mixer's test case: texts of options, each checked by tests/test_layers.c for
 * gradients of the input and every parameter, both dtypes, threads and carried states.
 */
#ifndef PAL_TESTS_LAYER_CASE_H
#define PAL_TESTS_LAYER_CASE_H

#include "layers/layers.h"

typedef struct pal_layer_case {
    const char *name;
    int count;
    const char *const *texts; /* mixers by text, for a width of 12 */
} pal_layer_case;

#endif
