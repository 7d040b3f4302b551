/* case_hook_grad.c - the identity that shows its gradient. What callbacks do is in
 * test_hook_grad.c. */
#include "tests/support/case.h"

static void look(void *user, pal_array *grad) { (void)user, (void)grad; }

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    out[0] = pal_hook_grad(in[0], look, NULL);
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < pal_array_count(out); i++)
        ((double *)out->data)[i] = pal_ref_get(&in[0], i);
}

#define V(n) .name = n, .nin = 1, .nout = 1, .build = build, .reference = reference

static const pal_variant variants[] = {
    {V("hook_grad"), .in = {{.shape = PAL_DIMS(3, 4, 5)}}},
    {V("hook_grad scalar"), .in = {{.low = 1, .high = 2}}},
    {V("hook_grad empty"), .in = {{.shape = PAL_DIMS(3, 0)}}},
    {V("hook_grad special"), .in = {{.shape = PAL_DIMS(13, 9), .special = true}}},
    {V("hook_grad large"), .in = {{.shape = PAL_DIMS(3, 150, 170)}}},
};

const pal_case pal_case_hook_grad = {
    .name = "hook_grad", .count = sizeof variants / sizeof variants[0], .variants = variants};
