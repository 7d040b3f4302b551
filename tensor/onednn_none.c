/* onednn_none.c - takes the place of onednn.c where oneDNN is not there. */
#include "tensor/products.h"

const char *pal_onednn_name(void) { return NULL; }
bool pal_onednn_has_bf16(void) { return false; }
bool pal_onednn_fast_bf16(void) { return false; }
int64_t pal_onednn_made(void) { return 0; }

bool pal_onednn_takes(const pal_product *p)
{
    (void)p;
    return false;
}

bool pal_onednn_product(pal_dtype dtype, const pal_product *p, const void *a, const void *b,
                        void *c)
{
    (void)dtype, (void)p, (void)a, (void)b, (void)c;
    return false;
}
