/*
 * product.k.c - small products C = alpha A B + beta C of A [m,k] and B [k,n] with any strides. m or
 * n may be 1.
 *
 * The loops are plain C, and the compiler makes vector instructions of them. It may not change the
 * order of a sum, so a dot product is written as SUMS sums. Every instruction set adds these up in
 * the same way.
 */
#include "tensor/kernels/kernels.k.h"

enum { SUMS = PAL_PRODUCT_SUMS };

static R dot(const R *restrict x, const R *restrict y, int64_t k)
{
    R sums[SUMS] = {0}, sum = 0;
    int64_t q = 0;
    for (; q + SUMS <= k; q += SUMS)
        for (int l = 0; l < SUMS; l++) sums[l] += x[q + l] * y[q + l];
    for (; q < k; q++) sum += x[q] * y[q];
    for (int half = SUMS / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) sums[l] += sums[l + half];
    return sum + sums[0];
}

static void scale_row(const pal_product *p, R *row)
{
    const R beta = (R)p->beta;
    if (p->beta == 0.0)
        for (int64_t j = 0; j < p->n; j++) row[j * p->csc] = 0;
    else if (p->beta != 1.0)
        for (int64_t j = 0; j < p->n; j++) row[j * p->csc] *= beta;
}

/* The same for operands of bf16: widening is exact. */
static R dot_bf16(const uint16_t *restrict x, const uint16_t *restrict y, int64_t k)
{
    R sums[SUMS] = {0}, sum = 0;
    int64_t q = 0;
    for (; q + SUMS <= k; q += SUMS)
        for (int l = 0; l < SUMS; l++)
            sums[l] += (R)pal_bf16_to_f32(x[q + l]) * (R)pal_bf16_to_f32(y[q + l]);
    for (; q < k; q++) sum += (R)pal_bf16_to_f32(x[q]) * (R)pal_bf16_to_f32(y[q]);
    for (int half = SUMS / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) sums[l] += sums[l + half];
    return sum + sums[0];
}

/* row += x * y, where y is a row of B. */
static void add_row(const pal_product *p, R x, const R *y, R *restrict row)
{
    if (p->csb == 1 && p->csc == 1)
        for (int64_t j = 0; j < p->n; j++) row[j] += x * y[j];
    else
        for (int64_t j = 0; j < p->n; j++) row[j * p->csc] += x * y[j * p->csb];
}

void K(product)(const pal_product *p, const void *va, const void *vb, void *vc)
{
    const R *a = va, *b = vb, alpha = (R)p->alpha;
    R *c = vc;
    for (int64_t i = 0; i < p->m; i++) {
        R *row = c + i * p->rsc;
        scale_row(p, row);
        if (pal_product_along_k(p))
            for (int64_t j = 0; j < p->n; j++)
                row[j * p->csc] += alpha * dot(a + i * p->rsa, b + j * p->csb, p->k);
        else
            for (int64_t q = 0; q < p->k; q++)
                add_row(p, alpha * a[i * p->rsa + q * p->csa], b + q * p->rsb, row);
    }
}

static void add_row_bf16(const pal_product *p, R x, const uint16_t *y, R *restrict row)
{
    if (p->csb == 1 && p->csc == 1)
        for (int64_t j = 0; j < p->n; j++) row[j] += x * (R)pal_bf16_to_f32(y[j]);
    else
        for (int64_t j = 0; j < p->n; j++) row[j * p->csc] += x * (R)pal_bf16_to_f32(y[j * p->csb]);
}

void K(product_bf16)(const pal_product *p, const void *va, const void *vb, void *vc)
{
    const uint16_t *a = va, *b = vb;
    const R alpha = (R)p->alpha;
    R *c = vc;
    for (int64_t i = 0; i < p->m; i++) {
        R *row = c + i * p->rsc;
        scale_row(p, row);
        if (pal_product_along_k(p))
            for (int64_t j = 0; j < p->n; j++)
                row[j * p->csc] += alpha * dot_bf16(a + i * p->rsa, b + j * p->csb, p->k);
        else
            for (int64_t q = 0; q < p->k; q++)
                add_row_bf16(p, alpha * (R)pal_bf16_to_f32(a[i * p->rsa + q * p->csa]),
                             b + q * p->rsb, row);
    }
}
