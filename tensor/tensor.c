/*
 * tensor.c - the one loop that fills, copies and converts arrays.
 *
 * Every copy becomes a plan. Its axes are sorted by the stride of the destination, and merged
 * wherever both sides step evenly through memory. So a copy between contiguous arrays needs only
 * memcpy, however many axes they have. A fill is a copy from a scalar with strides of 0.
 */
#include "tensor/kernels.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* ---- Rows: n elements of dst and src, ds and ss elements apart ---- */

typedef void row_fn(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n);

static void row_copy4(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    uint32_t *restrict d = dst;
    const uint32_t *restrict s = src;
    if (ds == 1 && ss == 1) {
        memcpy(d, s, (size_t)n * sizeof *d);
    } else if (ds == 1 && ss == 0) {
        uint32_t x = *s;
        for (int64_t i = 0; i < n; i++) d[i] = x;
    } else {
        for (int64_t i = 0; i < n; i++) d[i * ds] = s[i * ss];
    }
}

static void row_copy8(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    uint64_t *restrict d = dst;
    const uint64_t *restrict s = src;
    if (ds == 1 && ss == 1) {
        memcpy(d, s, (size_t)n * sizeof *d);
    } else if (ds == 1 && ss == 0) {
        uint64_t x = *s;
        for (int64_t i = 0; i < n; i++) d[i] = x;
    } else {
        for (int64_t i = 0; i < n; i++) d[i * ds] = s[i * ss];
    }
}

static void row_f32_to_f64(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    double *restrict d = dst;
    const float *restrict s = src;
    for (int64_t i = 0; i < n; i++) d[i * ds] = (double)s[i * ss];
}

static void row_f64_to_f32(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    float *restrict d = dst;
    const double *restrict s = src;
    for (int64_t i = 0; i < n; i++) d[i * ds] = (float)s[i * ss];
}

static void row_f32_to_i64(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    int64_t *restrict d = dst;
    const float *restrict s = src;
    for (int64_t i = 0; i < n; i++) d[i * ds] = pal_to_i64((double)s[i * ss]);
}

static void row_f64_to_i64(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    int64_t *restrict d = dst;
    const double *restrict s = src;
    for (int64_t i = 0; i < n; i++) d[i * ds] = pal_to_i64(s[i * ss]);
}

static void row_i64_to_f32(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    float *restrict d = dst;
    const int64_t *restrict s = src;
    for (int64_t i = 0; i < n; i++) d[i * ds] = (float)s[i * ss];
}

static void row_i64_to_f64(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    double *restrict d = dst;
    const int64_t *restrict s = src;
    for (int64_t i = 0; i < n; i++) d[i * ds] = (double)s[i * ss];
}

static void row_copy2(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    uint16_t *restrict d = dst;
    const uint16_t *restrict s = src;
    if (ds == 1)
        pal_run_gather(PAL_BF16, n, s, ss, d);
    else
        for (int64_t i = 0; i < n; i++) d[i * ds] = s[i * ss];
}

/* One loop for what is strided or rare, and a kernel for runs of reals. */
static void convert_each(pal_dtype to, void *dst, int64_t ds, pal_dtype from, const void *src,
                         int64_t ss, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        pal_element_set(to, dst, i * ds, pal_element_get(from, src, i * ss));
}

static void row_f32_to_bf16(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    if (ds == 1 && ss == 1)
        pal_kernels_for(PAL_F32)->to_bf16(n, src, dst);
    else
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)dst)[i * ds] = pal_bf16_from_f32(((const float *)src)[i * ss]);
}

static void row_f64_to_bf16(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    convert_each(PAL_BF16, dst, ds, PAL_F64, src, ss, n);
}

static void row_i64_to_bf16(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    const int64_t *s = src; /* through the nearest double, an integer would be rounded twice */
    for (int64_t i = 0; i < n; i++)
        ((uint16_t *)dst)[i * ds] = pal_bf16_from_f32(pal_i64_to_odd(s[i * ss]));
}

static void row_bf16_to_f32(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    if (ds == 1 && ss == 1)
        pal_kernels_for(PAL_F32)->from_bf16(n, src, dst);
    else
        for (int64_t i = 0; i < n; i++)
            ((float *)dst)[i * ds] = pal_bf16_to_f32(((const uint16_t *)src)[i * ss]);
}

static void row_bf16_to_f64(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    convert_each(PAL_F64, dst, ds, PAL_BF16, src, ss, n);
}

static void row_bf16_to_i64(void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    convert_each(PAL_I64, dst, ds, PAL_BF16, src, ss, n);
}

static row_fn *row_for(pal_dtype to, pal_dtype from)
{
    enum { TYPES = 4 };
    static row_fn *const table[TYPES][TYPES] = {
        [PAL_F32] = {[PAL_F32] = row_copy4,
                     [PAL_F64] = row_f64_to_f32,
                     [PAL_I64] = row_i64_to_f32,
                     [PAL_BF16] = row_bf16_to_f32},
        [PAL_F64] = {[PAL_F32] = row_f32_to_f64,
                     [PAL_F64] = row_copy8,
                     [PAL_I64] = row_i64_to_f64,
                     [PAL_BF16] = row_bf16_to_f64},
        [PAL_I64] = {[PAL_F32] = row_f32_to_i64,
                     [PAL_F64] = row_f64_to_i64,
                     [PAL_I64] = row_copy8,
                     [PAL_BF16] = row_bf16_to_i64},
        [PAL_BF16] = {[PAL_F32] = row_f32_to_bf16,
                      [PAL_F64] = row_f64_to_bf16,
                      [PAL_I64] = row_i64_to_bf16,
                      [PAL_BF16] = row_copy2},
    };
    if (!pal_dtype_known(to)) pal_dtype_unknown(to, __func__);
    if (!pal_dtype_known(from)) pal_dtype_unknown(from, __func__);
    return table[to][from];
}

/* ---- Plans ---- */

enum { ROW_BLOCK = 8192 }; /* elements: a long row is divided at multiples of this */

typedef struct copy_plan {
    row_fn *row;
    int ndim; /* of the outer axes; the innermost axis is the row */
    int64_t dim[PAL_MAX_DIMS], ds[PAL_MAX_DIMS], ss[PAL_MAX_DIMS];
    int64_t row_n, row_ds, row_ss;
    int64_t blocks, items; /* blocks in a row; blocks in all rows */
    size_t dsize, ssize;
    char *dst;
    const char *src;
} copy_plan;

/* The axes longer than 1, in descending order of the destination's strides. */
static int sorted_axes(const pal_array *dst, int *axes)
{
    int n = 0;
    for (int i = 0; i < dst->ndim; i++) {
        if (dst->shape[i] == 1) continue;
        int j = n++;
        for (; j > 0 && dst->stride[axes[j - 1]] < dst->stride[i]; j--) axes[j] = axes[j - 1];
        axes[j] = i;
    }
    return n;
}

/* src has the shape of dst, and there is at least one element. */
static copy_plan plan_copy(const pal_array *dst, const pal_array *src)
{
    copy_plan p = {.row = row_for(dst->dtype, src->dtype),
                   .row_n = 1,
                   .row_ds = 1,
                   .row_ss = 1,
                   .dsize = pal_dtype_size(dst->dtype),
                   .ssize = pal_dtype_size(src->dtype),
                   .dst = dst->data,
                   .src = src->data};
    int axes[PAL_MAX_DIMS], n = sorted_axes(dst, axes), m = 0;
    for (int k = 0; k < n; k++) {
        int i = axes[k];
        int64_t d = dst->shape[i], ds = dst->stride[i], ss = src->stride[i];
        if (m > 0 && p.ds[m - 1] == ds * d && p.ss[m - 1] == ss * d) {
            d *= p.dim[--m]; /* the axis before steps over exactly this one, so both are one longer
                                axis */
        }
        p.dim[m] = d;
        p.ds[m] = ds;
        p.ss[m++] = ss;
    }
    if (m > 0) {
        m--;
        p.row_n = p.dim[m];
        p.row_ds = p.ds[m];
        p.row_ss = p.ss[m];
    }
    p.ndim = m;
    p.blocks = (p.row_n + ROW_BLOCK - 1) / ROW_BLOCK;
    p.items = p.blocks;
    for (int i = 0; i < m; i++) p.items *= p.dim[i];
    return p;
}

/* Copies items begin .. end - 1. It computes the index of the first item and counts up from
 * there. */
static void run_items(const copy_plan *p, int64_t begin, int64_t end)
{
    if (begin >= end) return;
    int64_t index[PAL_MAX_DIMS], block = begin % p->blocks, rest = begin / p->blocks;
    int64_t d = 0, s = 0; /* offsets of the row, in elements */
    for (int i = p->ndim - 1; i >= 0; i--) {
        index[i] = rest % p->dim[i];
        rest /= p->dim[i];
        d += index[i] * p->ds[i];
        s += index[i] * p->ss[i];
    }
    for (int64_t item = begin; item < end; item++) {
        int64_t first = block * ROW_BLOCK, left = p->row_n - first;
        p->row(p->dst + (d + first * p->row_ds) * (int64_t)p->dsize, p->row_ds,
               p->src + (s + first * p->row_ss) * (int64_t)p->ssize, p->row_ss,
               left < ROW_BLOCK ? left : ROW_BLOCK);
        if (++block < p->blocks) continue;
        block = 0;
        for (int i = p->ndim - 1; i >= 0; i--) {
            d += p->ds[i];
            s += p->ss[i];
            if (++index[i] < p->dim[i]) break;
            d -= index[i] * p->ds[i];
            s -= index[i] * p->ss[i];
            index[i] = 0;
        }
    }
}

static void run_plan(const copy_plan *p, int64_t count)
{
    int team = p->items > 1 ? pal_team(count) : 1;
    if (team <= 1) {
        run_items(p, 0, p->items);
        return;
    }
#pragma omp parallel num_threads(team)
    {
        int64_t threads = omp_get_num_threads(), id = omp_get_thread_num();
        run_items(p, p->items / threads * id + (p->items % threads) * id / threads,
                  p->items / threads * (id + 1) + (p->items % threads) * (id + 1) / threads);
    }
}

/* ---- Public ---- */

pal_status pal_array_copy(const pal_array *dst, const pal_array *src, pal_error *error)
{
    pal_array from;
    pal_status status = pal_array_broadcast(src, pal_array_shape(dst), &from, error);
    if (status != PAL_OK) return status;
    int64_t count = pal_array_count(dst);
    if (count == 0) return PAL_OK;
    if (dst->data == from.data && dst->dtype == from.dtype &&
        memcmp(dst->stride, from.stride, (size_t)dst->ndim * sizeof dst->stride[0]) == 0)
        return PAL_OK;
    copy_plan plan = plan_copy(dst, &from);
    run_plan(&plan, count);
    return PAL_OK;
}

void pal_array_fill(const pal_array *a, double value)
{
    double element;
    pal_array scalar = {.dtype = a->dtype, .data = &element};
    pal_array_set(&scalar, NULL, value);
    int64_t count = pal_array_count(a);
    if (count == 0) return;
    /* The source has strides of 0 in every axis, since a scalar broadcasts to any shape. */
    pal_array from = scalar;
    from.ndim = a->ndim;
    memcpy(from.shape, a->shape, sizeof from.shape);
    copy_plan plan = plan_copy(a, &from);
    run_plan(&plan, count);
}

static int64_t offset_of(const pal_array *a, const int64_t *index)
{
    int64_t offset = 0;
    for (int i = 0; i < a->ndim; i++) offset += index[i] * a->stride[i];
    return offset;
}

double pal_array_get(const pal_array *a, const int64_t *index)
{
    return pal_element_get(a->dtype, a->data, offset_of(a, index));
}

void pal_array_set(const pal_array *a, const int64_t *index, double value)
{
    pal_element_set(a->dtype, a->data, offset_of(a, index), value);
}
