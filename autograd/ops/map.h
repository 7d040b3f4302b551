/*
 * map.h - the one loop behind every elementwise operation, forward and backward.
 *
 * An operation gives a kernel that works on contiguous runs; the loop broadcasts, gathers what is
 * strided, divides the work over the team, and sums the gradient of operands that broadcast.
 */
#ifndef PAL_OPS_MAP_H
#define PAL_OPS_MAP_H

#include "autograd/internal.h"
#include "tensor/kernels.h"

/* A kernel of nin operands, with two numbers or without; f.one == NULL with nin = 1 copies. */
typedef struct pal_map_fn {
    int nin;
    bool numbers; /* the kernel takes p */
    union {
        pal_map1 *one;
        pal_map2 *two;
        pal_map3 *three;
        pal_map1p *one_p;
        pal_map2p *two_p;
    } f;
    double p[2];
    uint32_t conditions; /* bit i: x[i] has any dtype, and the kernel sees 1 where it is not 0 */
} pal_map_fn;

/*
 * out = f(x[0], ...). The x broadcast to out, which is contiguous; those of another real dtype are
 * converted.
 */
void pal_map_forward(const pal_map_fn *fn, const pal_array *const *x, const pal_array *out,
                     int team);

/*
 * Adds f(x[0], ...), which has the shape of call->out[0], to din[i], summed over the axes along
 * which in[i] broadcasts, in an order fixed by the shapes. It overwrites din[i] if that is fresh,
 * so the operation names it in `overwrites`. It does nothing if the gradient is not wanted.
 */
void pal_map_backward(const pal_call *call, int i, const pal_map_fn *fn, const pal_array *const *x);

/* For infer of operations that only copy: input i is there; its dtype may be any. */
pal_status pal_map_given(pal_call *call, int i);

/* For infer, once out[0] is set: the scratch that pal_map_backward takes for the sums. */
pal_status pal_map_scratch(pal_call *call);

/* The kernel of (condition, a, b): a where condition != 0, else b. The condition has any dtype. */
pal_map_fn pal_map_select(pal_dtype dtype);

/* ---- Operations that are nothing but a kernel ---- */

#define PAL_AT(name) offsetof(pal_kernels, name)

/* What a kernel of a gradient reads: a, b the inputs, y the result, g its gradient. */
enum { PAL_READS_NONE, PAL_READS_A = 1, PAL_READS_B = 2, PAL_READS_Y = 4, PAL_READS_G = 8 };

/* Up to three of them in order, as PAL_BY(A, Y, G): four bits each. */
#define PAL_BY(...) PAL_BY_3(__VA_ARGS__, NONE, NONE, NONE)
#define PAL_BY_3(x, y, z, ...) \
    ((unsigned)PAL_READS_##x | (unsigned)PAL_READS_##y << 4 | (unsigned)PAL_READS_##z << 8)
/* All that are read by an operation with gradients of these operands. */
#define PAL_READ(da, db) (((da) | (da) >> 4 | (da) >> 8 | (db) | (db) >> 4 | (db) >> 8) & 15u)

/* A gradient: the kernel's place in pal_kernels and its operands. PAL_AT(copy) passes g on. */
typedef struct pal_map_rule {
    size_t kernel;
    unsigned operands;
} pal_map_rule;

/* An operation of one or two operands; `op` comes first, so that a call's op leads back here. */
typedef struct pal_map_op {
    pal_op op;
    int nin;
    bool reals;    /* it takes f32 and f64 */
    size_t kernel; /* for them */
    pal_map_rule d[2];
    union {
        pal_map1 *one;
        pal_map2 *two;
    } integer; /* the kernel for i64; NULL: it does not take them */
} pal_map_op;

/*
 * The `op` of one: what backward reads again follows from the operands of its gradients da and db,
 * and where there are none there is no backward.
 */
#define PAL_MAP_OP(op_name, op_args, n, da, db)                                                   \
    {                                                                                             \
        .name = op_name, .args = op_args, .infer = pal_map_op_infer,                              \
        .forward = pal_map_op_forward, .backward = PAL_READ(da, db) ? pal_map_op_backward : NULL, \
        .unread_in = ~PAL_READ(da, db) & ((1u << (n)) - 1),                                       \
        .unread_out = !(PAL_READ(da, db) & PAL_READS_Y), .overwrites = (1u << (n)) - 1,           \
    }

/* The three functions of such an operation. */
pal_status pal_map_op_infer(pal_call *call);
void pal_map_op_forward(const pal_call *call);
void pal_map_op_backward(const pal_call *call);

pal_tensor pal_map_op_apply1(const pal_map_op *op, pal_tensor x);
pal_tensor pal_map_op_apply2(const pal_map_op *op, pal_tensor a, pal_tensor b);

/* For infer: PAL_OK, or an error if an operand is left out or is none of the dtypes in force. */
pal_status pal_map_need(pal_call *call, int i, bool reals, bool integers);
/* Out 0 has in[0]'s dtype and the shape that the first n operands broadcast to. */
pal_status pal_map_broadcast(pal_call *call, int n);

#endif
