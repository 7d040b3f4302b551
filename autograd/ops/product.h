/*
 * product.h - products of matrices whose batch axes broadcast, and their sums over those axes.
 */
#ifndef PAL_OPS_PRODUCT_H
#define PAL_OPS_PRODUCT_H

#include "autograd/internal.h"

/* For infer functions, after all other checks: PAL_ENOMEM if there is no memory for products of
 * more than a few thousand multiplications. */
pal_status pal_product_ready(pal_call *call, double multiplications);

/* Exchanges the last two axes. */
pal_array pal_array_transposed(const pal_array *a);

/*
 * c = a b, or with `add` c += a b, over batches: the last two axes are matrices. Leading axes that
 * c does not have, or has with size 1, are summed in a fixed order.
 */
void pal_product_sum(const pal_array *a, const pal_array *b, bool add, const pal_array *c);

#endif
