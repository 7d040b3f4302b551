/*
 * short_conv.c - causal depthwise convolution over a few tokens.
 *
 * With W this small, W shifted views of the input times a weight each are the whole computation.
 */
#include "layers/internal.h"

pal_tensor pal_short_conv(pal_tensor x, pal_tensor weight, pal_tensor bias, bool silu,
                          pal_tensor *tail)
{
    pal_frame f;
    pal_arg a[] = {
        {"x", "BTC", x, false},
        {"weight", "C1W", weight, false},
        {"bias", "C", bias, true},
        {"tail", "BLC", tail ? *tail : PAL_NONE, true},
    };
    pal_frame_init(&f, "short_conv");
    f.size['1'] = 1;
    if (!pal_frame_add(&f, 3, a)) return pal_frame_poison(&f);
    int64_t T = f.size['T'], W = f.size['W'];
    if (W < 1) {
        pal_frame_fail(&f, PAL_ESHAPE, "the weight has no taps");
        return pal_frame_poison(&f);
    }
    f.size['L'] = W - 1;
    if (!pal_frame_add(&f, 1, a + 3)) return pal_frame_poison(&f);

    pal_tensor before = a[3].t;
    if (pal_is_none(before))
        before = pal_zeros(f.tape, f.dtype, PAL_SHAPE(f.size['B'], W - 1, f.size['C']));
    pal_tensor padded = pal_concat(2, (const pal_tensor[]){before, a[0].t}, 1); /* [B,W-1+T,C] */
    pal_tensor taps = pal_squeeze(a[1].t, 1);                                   /* [C,W] */
    pal_tensor y = a[2].t;
    for (int64_t j = 0; j < W; j++) {
        pal_tensor term = pal_mul(pal_slice(padded, 1, j, j + T, 1), pal_select(taps, 1, j));
        y = pal_is_none(y) ? term : pal_add(y, term);
    }
    /* T may be shorter than the tail: the last W-1 rows of the padded input are it either way. */
    if (tail) *tail = pal_slice(padded, 1, T, T + W - 1, 1);
    return silu ? pal_silu(y) : y;
}
