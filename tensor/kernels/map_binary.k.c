/* map_binary.k.c - elementwise arithmetic of two operands. Memory-bound: 3 accesses an element. */
#include "tensor/kernels/kernels.k.h"

void K(add)(int64_t n, const void *a, const void *b, void *y)
{
    for (int64_t i = 0; i < n; i += VL) st(y, i, n, ld(a, i, n) + ld(b, i, n));
}
