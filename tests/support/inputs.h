/*
 * inputs.h - the inputs of a variant: drawn, and brought onto a tape.
 */
#ifndef PAL_TESTS_INPUTS_H
#define PAL_TESTS_INPUTS_H

#include "tests/support/case.h"

/* A number that depends on the names alone. */
uint64_t pal_case_hash(const pal_case *c, const pal_variant *v);
/* Draws contiguous inputs (f64 or i64), all exact in f32. data == NULL: absent. */
void pal_inputs_draw(const pal_variant *v, uint64_t seed, pal_array *x);
void pal_inputs_free(const pal_variant *v, pal_array *x);
/* Numbers of any scale about 1, exact in f32. */
void pal_draw_cotangent(uint64_t seed, int64_t n, double *x);

bool pal_input_wants_grad(const pal_variant *v, int i);
/* x (f64 or i64) as a leaf: reals in the given dtype, through views with other strides if strided.
 */
pal_tensor pal_input_leaf(pal_tape *tape, const pal_array *x, pal_dtype dtype, bool strided,
                          bool grad);

#endif
