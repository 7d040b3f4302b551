/* heads.c - from hidden states to heads, and back. */
#include "autograd/internal.h"
#include "layers/modules.h"

pal_tensor pal_linear_heads(pal_tensor x, pal_tensor weight, int64_t H)
{
    const pal_tensor y = pal_linear(x, weight, PAL_NONE);
    const pal_node *n = pal_node_of(y, "linear_heads", "x");
    pal_tape *tape = n ? pal_tape_of(n) : NULL;
    if (!tape) return y;
    if (n->a.ndim == 3 && H >= 1 && n->a.shape[2] % H == 0)
        return pal_reshape(y, PAL_SHAPE(n->a.shape[0], n->a.shape[1], H, n->a.shape[2] / H));
    char text[128];
    pal_fail(&tape->owner, PAL_ESHAPE, "linear_heads: %lld heads of %s, which should be [B,T,H K]",
             (long long)H, pal_array_describe(&n->a, text, sizeof text));
    return pal_poison(&tape->owner);
}

pal_tensor pal_merge_heads(pal_tensor x)
{
    const pal_node *n = pal_node_of(x, "merge_heads", "x");
    if (!n) return x.node ? pal_poison(x.node->owner) : pal_poison_nowhere();
    if (n->a.ndim == 4)
        return pal_reshape(x,
                           PAL_SHAPE(n->a.shape[0], n->a.shape[1], n->a.shape[2] * n->a.shape[3]));
    char text[128];
    pal_fail(n->owner, PAL_ESHAPE, "merge_heads: argument x is %s and should be [B,T,H,V]",
             pal_array_describe(&n->a, text, sizeof text));
    return pal_poison(n->owner);
}
