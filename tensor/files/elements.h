/*
 * elements.h - the element types of files of other programs, and their numbers as f32, f64 or bf16.
 */
#ifndef PAL_TENSOR_FILES_ELEMENTS_H
#define PAL_TENSOR_FILES_ELEMENTS_H

#include "tensor/tensor.h"

/* Types whose numbers are read and written. bf16 is the upper half of an f32. */
typedef enum pal_element {
    PAL_EL_OTHER, /* any other type, of which only the size is known */
    PAL_EL_BF16,
    PAL_EL_F16, /* IEEE 754 binary16 */
    PAL_EL_F32,
    PAL_EL_F64
} pal_element;

/* "bf16"; for messages. */
const char *pal_element_name(pal_element type);
/* Bytes of a number; 0 of another type. */
size_t pal_element_size(pal_element type);

/*
 * Converts n numbers. Reading is exact, but to a narrower type, which is rounded to the nearest, as
 * writing is (ties to even; what is too large becomes infinite, and NaN stays NaN). A number that
 * was read is written as the same bits, if dtype holds it, except for a signalling NaN of f16. The
 * bytes of the file may lie at any address. dtype is PAL_F32, PAL_F64 or PAL_BF16, type is not
 * PAL_EL_OTHER. A large array is shared among the threads.
 */
void pal_elements_read(pal_element type, const void *from, pal_dtype dtype, void *to, int64_t n);
void pal_elements_write(pal_dtype dtype, const void *from, pal_element type, void *to, int64_t n);

#endif
