/*
 * sweep.h - every allocation fails in turn.
 */
#ifndef PAL_TESTS_SWEEP_H
#define PAL_TESTS_SWEEP_H

#include "tests/support/case.h"

/* Runs backward from the outputs; returns its status. */
typedef pal_status pal_sweep_backward(pal_tape *tape, const pal_variant *v, uint64_t seed,
                                      const pal_tensor *out);

/*
 * Builds the variant on a fresh tape, from parameters where a gradient is wanted, and runs backward
 * (NULL: none), refusing the first allocation, then the second, until all succeed: only that one,
 * and then that one and all later ones. Failure must be reported as out of memory and leave neither
 * a byte behind nor a gradient changed.
 */
void pal_case_sweep(const pal_case *c, const pal_variant *v, const pal_array *x,
                    pal_sweep_backward *backward);

/* An allocator for pal_set_allocator whose memory is NaN at first, to see what is read unwritten.
 */
void *pal_dirty_allocate(void *block, size_t old_size, size_t size, void *user);

#endif
