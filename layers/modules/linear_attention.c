/*
 * linear_attention.c - linear attention with a decay, as the case of GDN-2 that erases nothing and
 * writes everything.
 */
#include "layers/check.h"
#include "layers/modules.h"

pal_rule_out pal_linear_attention(pal_tensor q, pal_tensor k, pal_tensor v, pal_tensor g,
                                  pal_rule_opts opts)
{
    pal_frame f;
    const bool decays = !pal_is_none(g), by_head = decays && pal_shape_of(g).ndim == 3;
    pal_arg a[] = {{"q", "BTHK", q, false},
                   {"k", "BTHK", k, false},
                   {"v", "BTJV", v, false},
                   {"g", by_head ? "BTE" : "BTEK", g, true}};
    pal_frame_init(&f, "linear_attention");
    if (!pal_frame_add(&f, 4, a)) {
        pal_rule_out poison = {.o = pal_frame_poison(&f), .state = pal_frame_poison(&f)};
        return poison;
    }
    pal_tape *tape = pal_tape_of(a[0].t.node);
    const pal_dtype dtype = pal_dtype_of(a[0].t);
    if (by_head) {
        pal_shape wide = pal_shape_of(a[3].t);
        wide.dim[wide.ndim++] = pal_dim(a[1].t, 3);
        a[3].t = pal_expand(pal_unsqueeze(a[3].t, 3), wide);
    }
    pal_tensor none = pal_zeros(tape, dtype, pal_shape_of(a[1].t));
    pal_tensor all = pal_full(tape, dtype, pal_shape_of(a[2].t), 1);
    return pal_gdn2(a[0].t, a[1].t, a[2].t, a[3].t, none, all, opts);
}
