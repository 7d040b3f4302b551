/*
 * rows.c - divides the rows of a matrix in bf16 among the threads.
 */
#include "tensor/rows.h"

PAL_KERNEL_TABLES(pal_rows_table, rows);

static size_t row_bytes(int64_t k)
{
    return pal_round_up((size_t)(k + PAL_ROWS_BLOCK) * sizeof(float), PAL_ALIGN);
}

/* In order, and before that, where x is strided, as a run. */
size_t pal_rows_bytes(int64_t rows, int64_t k) { return (size_t)(rows + 1) * row_bytes(k); }

typedef struct problem {
    const pal_rows_table *table;
    const char *x;
    const uint16_t *w;
    float *y;
    int64_t rows, n, k, step, ldy;
    size_t row;
    bool add;
} problem;

static void run(const problem *p, int64_t from, int64_t to)
{
    for (int64_t j = from; j < to; j++)
        for (int64_t i = 0; i < p->rows; i++) {
            const float *x = (const float *)(const void *)(p->x + (size_t)i * p->row);
            const float sum = p->table->dot(p->k, x, p->w + j * p->step);
            float *y = p->y + i * p->ldy + j;
            *y = p->add ? *y + sum : sum;
        }
}

void pal_rows_product(int64_t rows, int64_t n, int64_t k, const float *x, int64_t rsx, int64_t csx,
                      const uint16_t *w, int64_t step, bool add, float *y, int64_t ldy,
                      void *memory, int team)
{
    enum { PART = 16 }; /* rows of w, so that threads write to lines of their own */
    const problem p = {
        PAL_KERNEL_TABLE(rows, PAL_F32), memory, w, y, rows, n, k, step, ldy, row_bytes(k), add};
    float *dense = (float *)(void *)((char *)memory + (size_t)rows * p.row);
    for (int64_t i = 0; i < rows; i++) {
        const float *from = x + i * rsx;
        if (csx != 1) {
            pal_run_gather(PAL_F32, k, from, csx, dense);
            from = dense;
        }
        p.table->order(k, from, (float *)(void *)((char *)memory + (size_t)i * p.row));
    }
    const int64_t parts = (n + PART - 1) / PART;
#pragma omp parallel for num_threads(team) schedule(static) if (team > 1)
    for (int64_t i = 0; i < parts; i++) run(&p, i * PART, (i + 1) * PART < n ? (i + 1) * PART : n);
}
