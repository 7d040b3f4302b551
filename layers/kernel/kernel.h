/*
 * kernel.h - a call of a kernel: how its arguments become those of an operation.
 */
#ifndef PAL_KERNEL_KERNEL_H
#define PAL_KERNEL_KERNEL_H

#include "layers/attention/attention_op.h"
#include "layers/kernel.h"
#include "layers/modules/module_ops.h"
#include "layers/rules/fused/fused.h"

/* The operation of a call, and its options. */
typedef struct pal_kernel_plan {
    const pal_op *op;
    union {
        pal_fused_opts rule;
        pal_gated_norm_call norm;
        pal_attention_call attention;
        bool silu;
    } opts;
    int64_t rows; /* of a token, where results are divided by them; 0: they are not */
} pal_kernel_plan;

/* Bits of the options that a kernel takes, in the order of pal_kernel_opts. */
enum {
    PAL_TAKES_SCALE = 1 << 0,
    PAL_TAKES_BOUND = 1 << 1,
    PAL_TAKES_EPS = 1 << 2,
    PAL_TAKES_CHUNK = 1 << 3,
    PAL_TAKES_EVERY = 1 << 4,
    PAL_TAKES_WINDOW = 1 << 5,
    PAL_TAKES_GROUPS = 1 << 6,
    PAL_TAKES_MODE = 1 << 7,
    PAL_TAKES_PAIR = 1 << 8,
    PAL_TAKES_GATE = 1 << 9,
    PAL_TAKES_NORMALIZE = 1 << 10,
    PAL_TAKES_SILU = 1 << 11,
    PAL_TAKES_GATE_FIRST = 1 << 12
};

struct pal_kernel {
    const char *name;
    const pal_rule *rule;       /* NULL: not a rule */
    const char *in[6], *out[3]; /* names, of what is not a rule */
    unsigned takes;
    /* Checks the arguments by a frame on no tape, and makes the plan. `records`: backward follows.
     */
    bool (*plan)(pal_frame *f, const pal_kernel *kernel, const pal_kernel_call *call, bool records,
                 pal_kernel_plan *plan);
};

int pal_kernel_inputs(const pal_kernel *kernel);
int pal_kernel_outputs(const pal_kernel *kernel);

bool pal_kernel_plan_rule(pal_frame *f, const pal_kernel *kernel, const pal_kernel_call *call,
                          bool records, pal_kernel_plan *plan);
bool pal_kernel_plan_conv(pal_frame *f, const pal_kernel *kernel, const pal_kernel_call *call,
                          bool records, pal_kernel_plan *plan);
bool pal_kernel_plan_norm(pal_frame *f, const pal_kernel *kernel, const pal_kernel_call *call,
                          bool records, pal_kernel_plan *plan);
bool pal_kernel_plan_attention(pal_frame *f, const pal_kernel *kernel, const pal_kernel_call *call,
                               bool records, pal_kernel_plan *plan);

#endif
