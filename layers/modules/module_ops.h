/* module_ops.h - the operations behind pal_short_conv and pal_gated_rms_norm. */
#ifndef PAL_MODULE_OPS_H
#define PAL_MODULE_OPS_H

#include "autograd/ops/map.h"
#include "layers/modules.h"

/* On x, weight, bias, tail and offsets, which are checked; x and tail have their channels next to
 * each other. The option is a bool, whether SiLU follows. It has the second output, the tail after
 * x, if the call asks for two. */
enum {
    PAL_CONV_X,
    PAL_CONV_WEIGHT,
    PAL_CONV_BIAS,
    PAL_CONV_TAIL,
    PAL_CONV_OFFSETS,
    PAL_CONV_INPUTS
};
extern const pal_op pal_short_conv_op;

typedef struct pal_gated_norm_call {
    double eps;
    int64_t groups;
    pal_act act;
    bool gated, gate_first;
    bool narrow; /* the result is bf16 */
} pal_gated_norm_call;

/* On x, gate and weight; it checks them. */
extern const pal_op pal_gated_norm_op;
/* The options of the operation, defaults filled in. */
pal_gated_norm_call pal_gated_norm_options(pal_gated_norm_opts opts);

#endif
