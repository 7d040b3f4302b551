/*
 * dtype.c - the element types: their sizes and names, and where each stands in tables.
 */
#include "tensor/dtype.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pal_dtype_unknown(pal_dtype dtype, const char *function)
{
    fprintf(stderr, "palimpsest: %s: element type %d (%s) has no meaning here\n", function,
            (int)dtype, pal_dtype_name(dtype));
    abort();
}

bool pal_dtype_known(pal_dtype dtype)
{
    switch (dtype) {
    case PAL_F32:
    case PAL_F64:
    case PAL_I64:
    case PAL_BF16:
        return true;
    }
    return false;
}

bool pal_dtype_real(pal_dtype dtype)
{
    switch (dtype) {
    case PAL_F32:
    case PAL_F64:
        return true;
    case PAL_I64:
    case PAL_BF16:
        return false;
    }
    return false;
}

bool pal_dtype_carries(pal_dtype dtype) { return pal_dtype_real(dtype) || dtype == PAL_BF16; }

pal_dtype pal_gradient_dtype(pal_dtype dtype) { return dtype == PAL_BF16 ? PAL_F32 : dtype; }

int pal_real_index(pal_dtype dtype)
{
    switch (dtype) {
    case PAL_F32:
        return 0;
    case PAL_F64:
        return 1;
    case PAL_I64:
    case PAL_BF16:
        break;
    }
    pal_dtype_unknown(dtype, __func__);
}

static void gather2(int64_t n, const uint16_t *x, int64_t stride, uint16_t *restrict y)
{
    if (stride == 1)
        memcpy(y, x, (size_t)n * sizeof *y);
    else if (stride == 0)
        for (int64_t i = 0; i < n; i++) y[i] = *x;
    else
        for (int64_t i = 0; i < n; i++) y[i] = x[i * stride];
}

static void gather4(int64_t n, const uint32_t *x, int64_t stride, uint32_t *restrict y)
{
    if (stride == 1)
        memcpy(y, x, (size_t)n * sizeof *y);
    else if (stride == 0)
        for (int64_t i = 0; i < n; i++) y[i] = *x;
    else
        for (int64_t i = 0; i < n; i++) y[i] = x[i * stride];
}

static void gather8(int64_t n, const uint64_t *x, int64_t stride, uint64_t *restrict y)
{
    if (stride == 1)
        memcpy(y, x, (size_t)n * sizeof *y);
    else if (stride == 0)
        for (int64_t i = 0; i < n; i++) y[i] = *x;
    else
        for (int64_t i = 0; i < n; i++) y[i] = x[i * stride];
}

void pal_run_gather(pal_dtype dtype, int64_t n, const void *x, int64_t stride, void *y)
{
    switch (dtype) {
    case PAL_F32:
        gather4(n, x, stride, y);
        return;
    case PAL_F64:
    case PAL_I64:
        gather8(n, x, stride, y);
        return;
    case PAL_BF16:
        gather2(n, x, stride, y);
        return;
    }
    pal_dtype_unknown(dtype, __func__);
}

void pal_run_scatter(pal_dtype dtype, int64_t n, const void *x, void *y, int64_t stride)
{
    switch (dtype) {
    case PAL_F32:
        for (int64_t i = 0; i < n; i++) ((uint32_t *)y)[i * stride] = ((const uint32_t *)x)[i];
        return;
    case PAL_F64:
    case PAL_I64:
        for (int64_t i = 0; i < n; i++) ((uint64_t *)y)[i * stride] = ((const uint64_t *)x)[i];
        return;
    case PAL_BF16:
        for (int64_t i = 0; i < n; i++) ((uint16_t *)y)[i * stride] = ((const uint16_t *)x)[i];
        return;
    }
    pal_dtype_unknown(dtype, __func__);
}

void pal_run_add(pal_dtype dtype, int64_t n, const void *x, void *y, int64_t stride)
{
    switch (dtype) {
    case PAL_F32:
        for (int64_t i = 0; i < n; i++) ((float *)y)[i * stride] += ((const float *)x)[i];
        return;
    case PAL_F64:
        for (int64_t i = 0; i < n; i++) ((double *)y)[i * stride] += ((const double *)x)[i];
        return;
    case PAL_I64:
    case PAL_BF16:
        break;
    }
    pal_dtype_unknown(dtype, __func__);
}

size_t pal_dtype_size(pal_dtype dtype)
{
    switch (dtype) {
    case PAL_F32:
        return sizeof(float);
    case PAL_F64:
        return sizeof(double);
    case PAL_I64:
        return sizeof(int64_t);
    case PAL_BF16:
        return sizeof(uint16_t);
    }
    pal_dtype_unknown(dtype, __func__);
}

const char *pal_dtype_name(pal_dtype dtype)
{
    switch (dtype) {
    case PAL_F32:
        return "f32";
    case PAL_F64:
        return "f64";
    case PAL_I64:
        return "i64";
    case PAL_BF16:
        return "bf16";
    }
    return "unknown";
}
