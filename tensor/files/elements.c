/*
 * elements.c - numbers of bf16, f16, f32 and f64 in files, by their bits.
 *
 * The narrow types go through f32, which holds all of their numbers. f64 is brought to f32 by
 * rounding to odd (pal_f64_to_odd), so that rounding twice is rounding once.
 */
#include "tensor/files/elements.h"
#include "tensor/internal.h"

#include <omp.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian");

const char *pal_element_name(pal_element type)
{
    static const char *const name[] = {"another type", "bf16", "f16", "f32", "f64"};
    return name[type];
}

size_t pal_element_size(pal_element type)
{
    static const size_t size[] = {0, 2, 2, 4, 8};
    return size[type];
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* ---- One number ---- */

static uint32_t f16_to_f32(uint32_t h)
{
    const uint32_t sign = (h & 0x8000) << 16, rest = h & 0x7fff;
    if (rest < 0x400) return sign | bits_of((float)rest * 0x1p-24f); /* subnormal, or zero */
    return sign | ((rest << 13) + (rest < 0x7c00 ? 0x38000000u : 0x70000000u));
}

static uint16_t f32_to_f16(uint32_t bits)
{
    const uint32_t sign = bits >> 16 & 0x8000, x = bits & 0x7fffffff;
    uint32_t h;
    if (x > 0x7f800000) { /* NaN, which may not become infinite */
        h = 0x7c00 | (x >> 13 & 0x3ff);
        h |= h == 0x7c00 ? 0x200 : 0;
    } else if (x >= 0x477ff000) { /* 65520 is as near to 65536 as to the largest number */
        h = 0x7c00;
    } else if (x < 0x38800000) { /* the spacing of floats at 1/2 is that of subnormal numbers */
        h = bits_of(from_bits(x) + 0.5f) - 0x3f000000;
    } else {
        h = (x + 0xfff + (x >> 13 & 1) - 0x38000000) >> 13;
    }
    return (uint16_t)(sign | h);
}

/* ---- Many ---- */

enum { RUN = 1024, PIECE = 1 << 16 };

/* At most RUN numbers of the narrow types or f32. */
static void read_run(pal_element type, const unsigned char *from, float *to, int64_t n)
{
    uint16_t half[RUN];
    if (type == PAL_EL_F32) {
        memcpy(to, from, (size_t)n * sizeof *to);
        return;
    }
    memcpy(half, from, (size_t)n * sizeof *half);
    if (type == PAL_EL_BF16) {
        for (int64_t i = 0; i < n; i++) to[i] = pal_bf16_to_f32(half[i]);
    } else {
        for (int64_t i = 0; i < n; i++) to[i] = from_bits(f16_to_f32(half[i]));
    }
}

static void write_run(const float *from, pal_element type, unsigned char *to, int64_t n)
{
    uint16_t half[RUN];
    if (type == PAL_EL_F32) {
        memcpy(to, from, (size_t)n * sizeof *from);
        return;
    }
    if (type == PAL_EL_BF16) {
        for (int64_t i = 0; i < n; i++) half[i] = pal_bf16_from_f32(from[i]);
    } else {
        for (int64_t i = 0; i < n; i++) half[i] = f32_to_f16(bits_of(from[i]));
    }
    memcpy(to, half, (size_t)n * sizeof *half);
}

static void read_f64(const unsigned char *from, pal_dtype dtype, void *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double x;
        memcpy(&x, from + 8 * i, sizeof x);
        pal_element_set(dtype, to, i, x);
    }
}

static void read_piece(pal_element type, const unsigned char *from, pal_dtype dtype, void *to,
                       int64_t n)
{
    const int64_t size = (int64_t)pal_element_size(type);
    float run[RUN];
    if (type == PAL_EL_F64) {
        read_f64(from, dtype, to, n);
        return;
    }
    if (type == PAL_EL_BF16 && dtype == PAL_BF16) {
        memcpy(to, from, (size_t)(n * size));
        return;
    }
    for (int64_t i = 0; i < n; i += RUN) {
        const int64_t m = n - i < RUN ? n - i : RUN;
        if (dtype == PAL_F32) {
            read_run(type, from + i * size, (float *)to + i, m);
            continue;
        }
        read_run(type, from + i * size, run, m);
        for (int64_t j = 0; j < m; j++) pal_element_set(dtype, to, i + j, (double)run[j]);
    }
}

static void write_piece(pal_dtype dtype, const void *from, pal_element type, unsigned char *to,
                        int64_t n)
{
    const int64_t size = (int64_t)pal_element_size(type);
    float run[RUN];
    if (type == PAL_EL_F64) {
        for (int64_t i = 0; i < n; i++) {
            const double x = pal_element_get(dtype, from, i);
            memcpy(to + 8 * i, &x, sizeof x);
        }
        return;
    }
    if (type == PAL_EL_BF16 && dtype == PAL_BF16) {
        memcpy(to, from, (size_t)(n * size));
        return;
    }
    for (int64_t i = 0; i < n; i += RUN) {
        const int64_t m = n - i < RUN ? n - i : RUN;
        const float *at = dtype == PAL_F32 ? (const float *)from + i : run;
        for (int64_t j = 0; j < m && dtype != PAL_F32; j++) {
            const double x = pal_element_get(dtype, from, i + j);
            run[j] = type == PAL_EL_F32 ? (float)x : pal_f64_to_odd(x);
        }
        write_run(at, type, to + i * size, m);
    }
}

static int64_t piece_at(int64_t i, int64_t n) { return n - i < PIECE ? n - i : PIECE; }

void pal_elements_read(pal_element type, const void *from, pal_dtype dtype, void *to, int64_t n)
{
    const int64_t size = (int64_t)pal_element_size(type), wide = (int64_t)pal_dtype_size(dtype);
#pragma omp parallel for num_threads(pal_team(n)) schedule(static)
    for (int64_t i = 0; i < n; i += PIECE)
        read_piece(type, (const unsigned char *)from + i * size, dtype, (char *)to + i * wide,
                   piece_at(i, n));
}

void pal_elements_write(pal_dtype dtype, const void *from, pal_element type, void *to, int64_t n)
{
    const int64_t size = (int64_t)pal_element_size(type), wide = (int64_t)pal_dtype_size(dtype);
#pragma omp parallel for num_threads(pal_team(n)) schedule(static)
    for (int64_t i = 0; i < n; i += PIECE)
        write_piece(dtype, (const char *)from + i * wide, type, (unsigned char *)to + i * size,
                    piece_at(i, n));
}
