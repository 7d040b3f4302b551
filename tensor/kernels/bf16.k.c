/*
 * bf16.k.c - numbers to bf16 and back, on integers. The compiler makes vector instructions of these
 * loops. The instruction of AVX512-BF16 is not used: it takes subnormal numbers for zero.
 */
#include "tensor/kernels/kernels.k.h"

void K(to_bf16)(int64_t n, const void *vx, uint16_t *restrict y)
{
    const R *restrict x = vx;
    for (int64_t i = 0; i < n; i++) {
        const float f = sizeof(R) == 4 ? (float)x[i] : pal_f64_to_odd((double)x[i]);
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
        const uint32_t quiet = bits | ((bits & 0x7f0000) == 0 ? 0x400000u : 0);
        y[i] = (uint16_t)(((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded) >> 16);
    }
}

void K(from_bf16)(int64_t n, const uint16_t *restrict x, void *vy)
{
    R *restrict y = vy;
    for (int64_t i = 0; i < n; i++) y[i] = (R)pal_bf16_to_f32(x[i]);
}
