/*
 * product.h - products of matrices whose batch axes broadcast, and their sums over those axes.
 */
#ifndef PAL_OPS_PRODUCT_H
#define PAL_OPS_PRODUCT_H

#include "autograd/internal.h"

/* For infer functions, after all other checks: PAL_ENOMEM if there is no memory for products of
 * more than a few thousand multiplications. */
pal_status pal_product_ready(pal_call *call, double multiplications);

/* ---- Products in bf16: operands are rounded, sums and results are f32 ---- */

/* Whether the tape of the call asks for them (pal_tape_precision). */
bool pal_call_narrow(const pal_call *call);
/* For infer: in[i] can be an operand, f32 or bf16. */
pal_status pal_narrow_need(pal_call *call, int i);
/* The same as pal_product_ready, for these products. */
pal_status pal_narrow_ready(pal_call *call, double multiplications);
/*
 * A as an operand: itself if it is bf16, else a rounded copy in memory from the carver, or in none
 * if that only counts.
 */
pal_array pal_narrow(const pal_array *a, pal_carver *c);
/*
 * in[i] as an operand. A parameter is rounded once for all its readers, until it is written to; its
 * copy belongs to the parameters. Others are as with pal_narrow. infer calls the first, which
 * makes the copy or reports PAL_ENOMEM.
 */
pal_status pal_narrow_weight_ready(pal_call *call, int i);
pal_array pal_narrow_weight(const pal_call *call, int i, pal_carver *c);
/* For infer: at least this much scratch. */
void pal_call_scratch_at_least(pal_call *call, size_t forward_bytes, size_t backward_bytes);

/* Exchanges the last two axes. */
pal_array pal_array_transposed(const pal_array *a);

/*
 * c = a b, or with `add` c += a b, over batches: the last two axes are matrices. Leading axes that
 * c does not have, or has with size 1, are summed in a fixed order.
 */
void pal_product_sum(const pal_array *a, const pal_array *b, bool add, const pal_array *c);

#endif
