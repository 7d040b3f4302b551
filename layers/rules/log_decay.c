/*
 * log_decay.c - the log-decay of the delta rules from a projection, A_log and dt_bias.
 */
#include "layers/rules/scan.h"
#include "layers/rules/kernels.h"

#include <math.h>

pal_tensor pal_log_decay(pal_tensor f, pal_tensor A_log, pal_tensor dt_bias, double lower_bound)
{
    pal_frame frame;
    bool channels = f.node && f.node->a.ndim == 4; /* [B,T,H,K] rather than [B,T,H] */
    pal_arg a[] = {
        {"f", channels ? "BTHK" : "BTH", f, false},
        {"A_log", "H", A_log, false},
        {"dt_bias", "D", dt_bias, false},
    };
    pal_frame_init(&frame, "log_decay");
    if (!pal_frame_add(&frame, 2, a)) return pal_frame_poison(&frame);
    int64_t H = frame.size['H'], K = channels ? frame.size['K'] : 1;
    frame.size['D'] = H * K;
    if (!pal_frame_add(&frame, 1, a + 2)) return pal_frame_poison(&frame);
    if (!(lower_bound <= 0)) {
        pal_frame_fail(&frame, PAL_EVALUE, "lower_bound is %g and should be below 0 (0: none)",
                       lower_bound);
        return pal_frame_poison(&frame);
    }

    pal_tensor rate = pal_exp(pal_clamp(a[1].t, -HUGE_VAL, PAL_LARGEST_A_LOG)); /* [H] */
    pal_tensor bias = a[2].t;                                                   /* [H*K] */
    if (channels) {
        rate = pal_unsqueeze(rate, -1);            /* [H,1] */
        bias = pal_reshape(bias, PAL_SHAPE(H, K)); /* [H,K] */
    }
    pal_tensor x = pal_add(a[0].t, bias);
    if (lower_bound < 0) return pal_affine(pal_sigmoid(pal_mul(rate, x)), lower_bound, 0);
    return pal_neg(pal_mul(rate, pal_softplus(x)));
}
