/*
 * gated_norm.c - RMS norm with a gate, in the two orders that the layers use.
 *
 * The delta layers normalise each head and then gate it; Mamba-2 gates and then normalises, in
 * groups if its B and C come in groups.
 */
#include "layers/internal.h"

static pal_tensor activate(pal_tensor gate, pal_gate kind)
{
    return kind == PAL_GATE_SIGMOID ? pal_sigmoid(gate) : pal_silu(gate);
}

/* rms_norm of each of G equal parts of the last axis, times weight over all of it. */
static pal_tensor norm_in_groups(pal_tensor x, pal_tensor weight, double eps, int64_t G)
{
    if (G == 1) return pal_rms_norm(x, weight, eps);
    pal_shape whole = pal_shape_of(x), parts = whole;
    parts.dim[whole.ndim - 1] = G;
    parts.dim[parts.ndim++] = whole.dim[whole.ndim - 1] / G;
    pal_tensor y = pal_reshape(pal_rms_norm(pal_reshape(x, parts), PAL_NONE, eps), whole);
    return pal_is_none(weight) ? y : pal_mul(y, weight);
}

pal_tensor pal_gated_rms_norm(pal_tensor x, pal_tensor gate, pal_tensor weight,
                              pal_gated_norm_opts opts)
{
    double eps = opts.eps > 0 ? opts.eps : 1e-5;
    int64_t G = opts.groups > 0 ? opts.groups : 1;
    pal_frame f;
    pal_frame_init(&f, "gated_rms_norm");
    /* Any shape: one axis to the checker, the last. */
    pal_node *n = pal_node_of(x, f.op, "x");
    f.tape = n ? pal_tape_of(n) : NULL;
    if (!f.tape || pal_tape_status(f.tape) != PAL_OK) {
        if (n && !f.tape) pal_frame_fail(&f, PAL_EVALUE, "argument x is on no tape; use pal_on");
        return pal_frame_poison(&f);
    }
    int64_t width = n->a.ndim ? n->a.shape[n->a.ndim - 1] : 0;
    if (n->a.ndim < 1 || n->a.ndim == PAL_MAX_DIMS || width % G) {
        char text[128];
        pal_frame_fail(&f, PAL_ESHAPE, "argument x is %s, which has no last axis for %lld groups",
                       pal_array_describe(&n->a, text, sizeof text), (long long)G);
        return pal_frame_poison(&f);
    }
    if (opts.gate == PAL_GATE_NONE) return norm_in_groups(x, weight, eps, G);
    if (opts.gate_first)
        return norm_in_groups(pal_mul(x, activate(gate, opts.gate)), weight, eps, G);
    return pal_mul(norm_in_groups(x, weight, eps, G), activate(gate, opts.gate));
}
