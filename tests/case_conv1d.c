/*
 * case_conv1d.c - convolution with channels. Inputs are x, weight and bias.
 */
#include "tests/support/case.h"

/* option = {stride, padding, dilation, groups}; 0: the default */
static pal_conv1d_opts opts_of(const pal_variant *v)
{
    return (pal_conv1d_opts){.stride = (int64_t)v->option[0],
                             .padding = (int64_t)v->option[1],
                             .dilation = (int64_t)v->option[2],
                             .groups = (int64_t)v->option[3]};
}

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_conv1d(in[0], in[1], in[2], opts_of(v));
}

static int64_t or_one(int64_t n) { return n ? n : 1; }

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    const pal_conv1d_opts o = opts_of(v);
    const pal_array *x = &in[0], *w = &in[1];
    const int64_t channels = x->shape[1], t = x->shape[2], outputs = w->shape[0];
    const int64_t own = w->shape[1], width = w->shape[2], reach = or_one(o.dilation) * (width - 1);
    const int64_t length = (t + 2 * o.padding - reach - 1) / or_one(o.stride) + 1;
    pal_ref_shape(out, PAL_SHAPE(x->shape[0], outputs, length));
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        const int64_t b = i / length / outputs, to = i / length % outputs, at = i % length;
        const int64_t group = to / (outputs / or_one(o.groups));
        double sum = in[2].data ? pal_ref_get(&in[2], to) : 0;
        for (int64_t c = 0; c < own; c++)
            for (int64_t k = 0; k < width; k++) {
                int64_t from = at * or_one(o.stride) + k * or_one(o.dilation) - o.padding;
                if (from < 0 || from >= t) continue;
                sum += pal_ref_get(w, (to * own + c) * width + k) *
                       pal_ref_get(x, (b * channels + group * own + c) * t + from);
            }
        ((double *)out->data)[i] = sum;
    }
}

#define S(...) .shape = PAL_DIMS(__VA_ARGS__)
#define V(n, ...) \
    .name = n, .nin = 3, .nout = 1, .build = build, .reference = reference, .option = {__VA_ARGS__}
#define NONE                 \
    {                        \
        S(1), .absent = true \
    }

static const pal_variant variants[] = {
    {V("plain", 0), .in = {{S(2, 3, 8)}, {S(4, 3, 3)}, {S(4)}}},
    {V("no bias", 0), .in = {{S(2, 3, 8)}, {S(4, 3, 3)}, NONE}},
    {V("width 1", 0), .in = {{S(2, 3, 5)}, {S(4, 3, 1)}, {S(4)}}},
    {V("stride", 3), .in = {{S(2, 2, 11)}, {S(3, 2, 2)}, {S(3)}}},
    {V("padding", 1, 2), .in = {{S(2, 2, 5)}, {S(3, 2, 3)}, {S(3)}}},
    {V("dilation", 1, 0, 3), .in = {{S(1, 2, 9)}, {S(3, 2, 3)}, {S(3)}}},
    {V("groups", 0, 0, 0, 2), .in = {{S(2, 4, 6)}, {S(6, 2, 3)}, {S(6)}}},
    {V("each channel alone", 0, 1, 0, 3), .in = {{S(2, 3, 6)}, {S(3, 1, 3)}, {S(3)}}},
    {V("all options", 2, 3, 2, 2), .in = {{S(2, 4, 9)}, {S(2, 2, 3)}, {S(2)}}},
    {V("only padding", 1, 2), .in = {{S(2, 2, 0)}, {S(3, 2, 3)}, {S(3)}}},
    {V("empty batch", 0), .in = {{S(0, 2, 5)}, {S(3, 2, 3)}, {S(3)}}},
    {V("no channels", 0), .in = {{S(2, 0, 5)}, {S(3, 0, 3)}, {S(3)}}},
    {V("no outputs", 0), .in = {{S(2, 2, 5)}, {S(0, 2, 3)}, {S(0)}}},
    {V("large", 1, 1), .in = {{S(3, 5, 500)}, {S(23, 5, 3)}, {S(23)}}},
};

const pal_case pal_case_conv1d = {
    .name = "conv1d", .count = sizeof variants / sizeof variants[0], .variants = variants};
