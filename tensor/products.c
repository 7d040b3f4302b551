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

/* oneDNN 2.6.3 sums f32 in another order for another m or n, for instance where k is 1025. 16 is as
 * many as it takes to be faster than BLIS; on one thread they cost a tenth to a third. */
static int64_t onednn_pieces(pal_dtype dtype) { return dtype == PAL_F32 ? 16 : 0; }

static void onednn_run(pal_dtype dtype, const pal_product *p, const void *a, const void *b, void *c)
{
    if (pal_onednn_product(dtype, p, a, b, c)) return;
    if (dtype == PAL_BF16)
        pal_widen_product(dtype, p, a, b, c);
    else
        pal_blis_product(dtype, p, a, b, c);
}

static const pal_product_maker blis = {"BLIS", pal_blis_product, pal_blis_unit, false, NULL};
static const pal_product_maker widen = {"BLIS on widened operands", pal_widen_product, widen_unit,
                                        false, NULL};
/* oneDNN treats a single row or column otherwise: 2.6.3 sums it in another order, and 3.7.2 takes
 * a column of C for contiguous. So there are only whole units. */
static const pal_product_maker onednn = {"oneDNN", onednn_run, onednn_unit, true, onednn_pieces};

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
