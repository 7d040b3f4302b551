/*
 * widen.c - products of bf16 operands by BLIS in f32, for processors that have no better way.
 *
 * A product of two bf16 numbers is exact in f32, so only the sums round. Blocks of A and B are
 * widened into a buffer and multiplied there. The buffers belong to no thread: a call takes one and
 * gives it back. Another is made when all are taken and there is memory; if there is none, the call
 * waits. The results are the same.
 */
#include "tensor/blis.h"
#include "tensor/products.h"

#include <pthread.h>
#include <stdlib.h>

/* Elements of a block. The sums are cut at multiples of DEPTH, whatever m and n are. */
enum { ROWS = 256, COLUMNS = 512, DEPTH = 512 };
#define BUFFER ((size_t)(ROWS * DEPTH + DEPTH * COLUMNS) * sizeof(float))

/* ---- Buffers ---- */

enum { MOST = 4096 }; /* no more threads than that run at once */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t returned = PTHREAD_COND_INITIALIZER;
static float *idle[MOST];
static int count, made;

static float *take(bool wait)
{
    float *buffer = NULL;
    pthread_mutex_lock(&gate);
    for (;;) {
        if (count > 0) {
            buffer = idle[--count];
            break;
        }
        if (made < MOST && pal_memory_left(BUFFER)) buffer = aligned_alloc(PAL_ALIGN, BUFFER);
        if (buffer) made++;
        if (buffer || made == 0 || !wait) break;
        pthread_cond_wait(&returned, &gate);
    }
    pthread_mutex_unlock(&gate);
    return buffer;
}

static void give(float *buffer)
{
    pthread_mutex_lock(&gate);
    idle[count++] = buffer;
    pthread_cond_signal(&returned);
    pthread_mutex_unlock(&gate);
}

bool pal_widen_ready(void)
{
    float *buffer = take(true);
    if (buffer) give(buffer);
    return buffer != NULL;
}

/* ---- Products ---- */

/* A matrix of bf16 as f32, row-major. */
static void widen(const uint16_t *x, int64_t rows, int64_t columns, int64_t rs, int64_t cs,
                  float *to)
{
    const pal_kernels *k = pal_kernels_for(PAL_F32);
    for (int64_t i = 0; i < rows; i++) {
        if (cs == 1)
            k->from_bf16(columns, x + i * rs, to + i * columns);
        else
            for (int64_t j = 0; j < columns; j++)
                to[i * columns + j] = pal_bf16_to_f32(x[i * rs + j * cs]);
    }
}

/* The block in f32, and its strides there: the order of the axes in memory stays. */
static void widen_block(const uint16_t *x, int64_t rows, int64_t columns, int64_t rs, int64_t cs,
                        float *to, int64_t *to_rs, int64_t *to_cs)
{
    if (rs < cs) {
        widen(x, columns, rows, cs, rs, to);
        *to_rs = 1, *to_cs = rows;
    } else {
        widen(x, rows, columns, rs, cs, to);
        *to_rs = columns, *to_cs = 1;
    }
}

/* BLIS rounds beta C differently at the edge of a tile, and blocks have edges of their own. So C is
 * scaled before, where there is anything to round. */
static void scale(const pal_product *p, float *c)
{
    const float beta = (float)p->beta;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) c[i * p->rsc + j * p->csc] *= beta;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

void pal_widen_product(pal_dtype dtype, const pal_product *p, const void *va, const void *vb,
                       void *vc)
{
    float *buffer = take(true);
    if (!buffer) { /* pal_widen_ready has not been asked */
        pal_kernels_for(PAL_F32)->product_bf16(p, va, vb, vc);
        return;
    }
    const uint16_t *a = va, *b = vb;
    float *c = vc, *right = buffer + ROWS * DEPTH;
    (void)dtype;
    const bool scales = p->beta != 0 && p->beta != 1;
    if (scales) scale(p, c);
    for (int64_t q = 0; q < p->k; q += DEPTH)
        for (int64_t j = 0; j < p->n; j += COLUMNS) {
            pal_product part = *p;
            part.k = least(p->k - q, DEPTH);
            part.n = least(p->n - j, COLUMNS);
            if (q > 0 || scales) part.beta = 1;
            widen_block(b + q * p->rsb + j * p->csb, part.k, part.n, p->rsb, p->csb, right,
                        &part.rsb, &part.csb);
            for (int64_t i = 0; i < p->m; i += ROWS) {
                part.m = least(p->m - i, ROWS);
                widen_block(a + i * p->rsa + q * p->csa, part.m, part.k, p->rsa, p->csa, buffer,
                            &part.rsa, &part.csa);
                pal_blis_product(PAL_F32, &part, buffer, right, c + i * p->rsc + j * p->csc);
            }
        }
    give(buffer);
}
