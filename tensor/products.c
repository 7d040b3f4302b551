/*
 * products.c - chooses who computes a large product.
 *
 * Measured, one thread, 2048 x 512 x 512, GFLOP/s: on a Xeon with AVX512-BF16 but without AMX, the
 * instruction vdpbf16ps does at most 86, half of what it does in f32 (176), so oneDNN reaches 80 in
 * bf16 where BLIS reaches 137 on widened operands. On a Zen 4 oneDNN's bf16 does 180 to 220 and
 * BLIS 85 to 95, and AMX does four times BLIS. So AMX and AMD's processors get oneDNN.
 */
#include "tensor/products.h"

#include "tensor/blis.h"

#include <stdlib.h>
#include <string.h>

typedef enum choice { UNKNOWN, DEFAULT, ALL_BLIS, ALL_ONEDNN } choice;

static choice asked_for(void)
{
    static _Atomic int known;
    if (known != UNKNOWN) return (choice)known;
    const char *text = getenv("PAL_PRODUCTS");
    choice c = DEFAULT;
    if (text && strcmp(text, "blis") == 0) c = ALL_BLIS;
    if (text && strcmp(text, "onednn") == 0) c = ALL_ONEDNN;
    known = c;
    return c;
}

/* ---- The makers ---- */

static int64_t widen_unit(pal_dtype dtype, double beta)
{
    (void)dtype, (void)beta;
    return pal_blis_unit(PAL_F32, 1);
}

static int64_t onednn_unit(pal_dtype dtype, double beta)
{
    (void)dtype, (void)beta;
    return 64;
}

static int64_t at_most(int64_t x, int64_t most) { return x < most ? x : most; }
static int64_t at_least(int64_t x, int64_t least) { return x > least ? x : least; }

/*
 * oneDNN 2.6.3 may sum in another order for a piece of another size, in f32 for instance where k is
 * 1025, and in bf16 where C is contiguous and the piece is not, for instance 64 of 128 columns and
 * k = 512. So the pieces depend on the shape only. There are 16, which is as many as it takes to be
 * faster than BLIS in f32, or fewer if C is small; in bf16 there are also fewer if there is little
 * to multiply, and more if the product is large.
 *
 * In bf16 pieces of whole rows are faster. Measured with AMX, 2048 rows by 16 threads, GFLOP/s by
 * rows only and by the best other cut: 4157 and 3966 (1024 to 2752), 4152 and 3540 (1024 to 512),
 * 3724 and 2468 (256 to 1024). Longer sums are slower so: 3323 and 3963 (2752 to 1024). If A is
 * transposed, the cut makes no difference.
 */
static pal_product_cut onednn_cut(pal_dtype dtype, const pal_product *p)
{
    enum { USUAL = 16, LEAST_ROWS = 128, MOST_ROWS = 256, LONGEST = 1024 };
    static const double SMALLEST = 1 << 22; /* multiplications of a piece: 30 us with AMX */
    static const int64_t LARGEST = 1 << 20; /* elements of C in a piece */
    if (dtype == PAL_F32) return (pal_product_cut){USUAL, false};
    const double most = (double)p->m * (double)p->n * (double)p->k / SMALLEST;
    if (most < 2) return (pal_product_cut){1, false};
    const int64_t fit = most < INT32_MAX ? (int64_t)most : INT32_MAX;
    /* A multiple of 16, so that sixteen threads have as much each. */
    const int64_t tall = p->m / MOST_ROWS / USUAL * USUAL;
    const int64_t by_rows = at_most(fit, at_least(USUAL, tall));
    if (p->csa == 1 && p->k <= LONGEST && p->m / by_rows >= LEAST_ROWS)
        return (pal_product_cut){by_rows, true};
    return (pal_product_cut){at_most(fit, at_least(USUAL, p->m * p->n / LARGEST)), false};
}

static void onednn_run(pal_dtype dtype, const pal_product *p, const void *a, const void *b, void *c)
{
    if (pal_onednn_product(dtype, p, a, b, c)) return;
    if (dtype == PAL_BF16)
        pal_widen_product(dtype, p, a, b, c);
    else
        pal_blis_product(dtype, p, a, b, c);
}

static const pal_product_maker blis = {"BLIS", pal_blis_product, pal_blis_unit, NULL};
static const pal_product_maker widen = {"BLIS on widened operands", pal_widen_product, widen_unit,
                                        NULL};
/* oneDNN treats a single row or column otherwise: 2.6.3 sums it in another order, and 3.7.2 takes
 * a column of C for contiguous. So there are only whole units. */
static const pal_product_maker onednn = {"oneDNN", onednn_run, onednn_unit, onednn_cut};

/* ---- The choice ---- */

static bool bf16_by_onednn(void)
{
    const choice c = asked_for();
    /* Kernels of a narrower set are asked for: no wider instruction then. */
    if (c == ALL_BLIS || (int)pal_isa_selected() != PAL_ISAS - 1) return false;
    return c == ALL_ONEDNN ? pal_onednn_has_bf16() : pal_onednn_fast_bf16();
}

const pal_product_maker *pal_product_maker_for(pal_dtype dtype, const pal_product *p)
{
    switch (dtype) {
    case PAL_F32:
        if (asked_for() != ALL_ONEDNN || !pal_onednn_name()) return &blis;
        return pal_onednn_takes(p) ? &onednn : &blis;
    case PAL_F64:
        return &blis;
    case PAL_BF16:
        return bf16_by_onednn() && pal_onednn_takes(p) ? &onednn : &widen;
    case PAL_I64:
        break;
    }
    pal_dtype_unknown(dtype, __func__);
}

bool pal_bf16_is_fast(void) { return bf16_by_onednn() && pal_onednn_fast_bf16(); }

const char *pal_product_library(pal_dtype dtype)
{
    const pal_product usual = {64, 64, 64, 1, 0, 64, 1, 64, 1, 64, 1};
    const pal_product_maker *m = pal_product_maker_for(dtype, &usual);
    return m == &onednn ? pal_onednn_name() : m->name;
}
