/* isa.c - which instruction set a test takes. */
#include "tests/support/isa.h"
#include "tensor/internal.h"

#include <stdlib.h>

_Static_assert((int)ISAS >= (int)PAL_ISAS, "all instruction sets, counted from 0");

bool isa_select(int i) { return pal_kernels_select((pal_isa)i); }
void isa_select_best(void) { pal_kernels_select(pal_isa_best()); }
const char *isa_name(void) { return pal_isa_name(pal_isa_selected()); }

bool test_all(void)
{
    const char *all = getenv("PAL_TEST_ALL");
    return all && all[0] == '1';
}

bool test_isa(int i, const char *text)
{
    int best = (int)pal_isa_best();
    uint32_t hash = 0x811c9dc5u; /* FNV-1a */
    for (const char *s = text; *s; s++) hash = (hash ^ (unsigned char)*s) * 0x01000193u;
    hash ^= hash >> 16;
    bool chosen = test_all() || (uint32_t)i == hash % (uint32_t)(best + 1);
    return i <= best && chosen && isa_select(i);
}
