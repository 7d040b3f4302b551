/*
 * narrow.c - the bf16 copies of parameters that products read (pal_tape_precision).
 *
 * A parameter has at most one copy, which is made when a product first asks for it. It is rounded
 * again when the parameter was written to since, which is once a step in training. Tapes of several
 * threads may read the same parameters, so one of them makes the copy and the others wait.
 */
#include "autograd/internal.h"
#include "autograd/ops/narrow.h"

#include <pthread.h>

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

uint16_t *pal_params_narrow(pal_node *n)
{
    const pal_shape shape = pal_array_shape(&n->a);
    pthread_mutex_lock(&gate);
    bool stale = n->narrow_version != n->version;
    if (!n->narrow) {
        n->narrow = pal_malloc(pal_shape_bytes(PAL_BF16, shape));
        stale = true;
    }
    if (n->narrow && stale) {
        const pal_array copy = pal_array_of(PAL_BF16, shape, n->narrow);
        const pal_status same_shape = pal_array_copy(&copy, &n->a, NULL);
        (void)same_shape; /* cannot fail */
        n->narrow_version = n->version;
    }
    pthread_mutex_unlock(&gate);
    return n->narrow;
}

void pal_params_drop_narrow(pal_node *n)
{
    if (n->narrow) pal_free(n->narrow, pal_shape_bytes(PAL_BF16, pal_array_shape(&n->a)));
    n->narrow = NULL;
}

pal_dtype pal_tape_precision(pal_tape *tape, pal_dtype products)
{
    const pal_dtype before = tape->products;
    if (products == PAL_F32 || products == PAL_BF16)
        tape->products = products;
    else
        pal_fail(&tape->owner, PAL_EDTYPE,
                 "tape_precision: products of f32 are in f32 or bf16, not %s",
                 pal_dtype_name(products));
    return before;
}

pal_dtype pal_narrow_dtype(pal_tensor x)
{
    const pal_tape *tape = pal_tape_at(x);
    if (!tape) return PAL_F32;
    const pal_dtype dtype = x.node->a.dtype;
    return tape->products == PAL_BF16 && dtype == PAL_F32 ? PAL_BF16 : dtype;
}
