/*
 * kernel.h - the kernels on memory of the caller: the rules of linear attention, short convolution,
 * gated norm and softmax attention, for programs and languages that have tensors of their own.
 *
 * There is no tape here. A call is one struct: arrays (address, shape, strides in elements),
 * options and a number of threads. It allocates nothing, ends no program, and returns a status and
 * a sentence. The operations of rules.h and modules.h are the same code, and give the same bits.
 *
 *     const pal_kernel *gdn = pal_kernel_find("gdn");
 *     pal_kernel_call c = {.in = {&q, &k, &v, &g, &beta}, .threads = 4};
 *     pal_kernel_sizes n;
 *     if (pal_kernel_measure(gdn, &c, &n, &error) != PAL_OK) ...       shapes and bytes
 *     c.out[0] = &o, c.out[1] = &state;
 *     c.scratch = aligned_alloc(64, n.forward), c.scratch_bytes = n.forward;
 *     if (pal_kernel_forward(gdn, &c, &error) != PAL_OK) ...
 *
 * With c.keep, forward keeps there what backward reads. Several threads may call at once, each with
 * memory of its own. What a call reads and what it writes must not overlap, except that a state may
 * be replaced in place.
 */
#ifndef PAL_LAYERS_KERNEL_H
#define PAL_LAYERS_KERNEL_H

#include "layers/modules.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The most inputs and results that a kernel has. */
enum { PAL_KERNEL_IN = 20, PAL_KERNEL_OUT = 5 };

/*
 * One kernel: forward, backward and a step of decoding. Shapes, equations and costs are those of
 * the function of that name (rules.h, modules.h). Letters as in layers.h.
 *
 *     name            inputs, in order                                       results
 *     gdn2            q k v g b w state offsets A_log dt_bias                o state
 *     kda, gdn        q k v g beta state offsets A_log dt_bias               o state
 *     deltanet        q k v beta state offsets                               o state
 *     mamba2          x dt A Bm Cm D state offsets                           o state
 *     mamba3          x dt g lam om Bm Cm B_bias C_bias D mimo_x
 *                     state th k x offsets                                   o state th k x
 *     short_conv      x weight bias tail offsets                             y tail
 *     gated_rms_norm  x gate weight                                          y
 *     attention       q k v offsets                                          o
 *
 * o of mamba3 is [B,T,R,nh,P] here. Inputs may have any strides, except that the channels of x and
 * tail of short_conv lie next to each other, and that dt_bias and offsets are contiguous. All
 * numbers of a call are f32, or all are f64; bf16 is PAL_EDTYPE, and the caller converts it.
 */
typedef struct pal_kernel pal_kernel;

/* Kernel i, from 0; NULL after the last. */
PAL_API const pal_kernel *pal_kernel_at(int i);
/* The kernel of this name; NULL if there is none. */
PAL_API const pal_kernel *pal_kernel_find(const char *name);
/* Its name. */
PAL_API const char *pal_kernel_name(const pal_kernel *kernel);
/* The name of input i, from 0; NULL after the last. */
PAL_API const char *pal_kernel_input(const pal_kernel *kernel, int i);
/* The name of result i, from 0; NULL after the last. */
PAL_API const char *pal_kernel_output(const pal_kernel *kernel, int i);

/* Options. Zero is the default of each; one that the kernel does not take is an error (PAL_EVALUE).
 */
typedef struct pal_kernel_opts {
    double scale;       /* rules, attention: as in pal_rule_opts and pal_attention_opts */
    double lower_bound; /* rules with A_log: as in pal_log_decay */
    double eps;         /* gated_rms_norm; 0: 1e-5 */
    int64_t chunk;      /* rules: tokens of a chunk; 0: 16 */
    int64_t keep_every; /* rules: backward keeps the state before every keep_every-th chunk; 0: 2 */
    int64_t window;     /* attention: as in pal_attention_opts */
    int64_t groups;     /* gated_rms_norm; 0: 1 */
    pal_rule_mode mode; /* rules: auto, recurrent or chunk */
    pal_pair pair;      /* mamba3 */
    pal_gate gate;      /* gated_rms_norm */
    bool normalize;     /* delta rules: as in pal_rule_opts */
    bool silu;          /* short_conv */
    bool gate_first;    /* gated_rms_norm */
} pal_kernel_opts;

/* One call. All zero, it has no inputs, default options and the library's number of threads. */
typedef struct pal_kernel_call {
    const pal_array *in[PAL_KERNEL_IN];   /* NULL: an optional input is left out */
    const pal_array *out[PAL_KERNEL_OUT]; /* contiguous results; NULL: not wanted, not for out[0] */
    const pal_array *dout[PAL_KERNEL_OUT]; /* backward: contiguous gradients of the results; NULL: 0
                                            */
    const pal_array *din[PAL_KERNEL_IN]; /* backward: where the gradient of an input goes, with any
                                            strides but 0; NULL: not wanted */
    pal_kernel_opts opts;                /* of this kernel */
    int threads;                         /* the most that work on the call; 0: pal_threads() */
    void *keep;           /* what forward keeps for backward; NULL: no backward will follow */
    size_t keep_bytes;    /* at least those of pal_kernel_sizes */
    void *scratch;        /* memory that is used during the call only */
    size_t scratch_bytes; /* at least those of pal_kernel_sizes */
} pal_kernel_call;

/* What a call needs. keep and scratch are aligned to 64 bytes, of which all sizes are multiples. */
typedef struct pal_kernel_sizes {
    pal_shape out[PAL_KERNEL_OUT]; /* of the results; their dtype is that of the inputs */
    size_t keep;                   /* bytes of keep */
    size_t forward;                /* bytes of scratch for forward, with keep or without */
    size_t backward;               /* bytes of scratch for backward */
} pal_kernel_sizes;

/*
 * Checks inputs and options, and says what the call needs. The numbers in the arrays are not looked
 * at, except the offsets. Scratch depends on the number of threads, and has room for each result
 * whose out[i] is NULL. A few microseconds. Errors are those of the function of that name, and
 * PAL_EVALUE for options of other kernels, for arrays without memory and for states without
 * elements; heads wider than 512 are PAL_ESHAPE. *error, which may be NULL, has a sentence if the
 * result is not PAL_OK. All of this is true of the next two functions, too.
 */
PAL_API PAL_CHECKED pal_status pal_kernel_measure(const pal_kernel *kernel,
                                                  const pal_kernel_call *call,
                                                  pal_kernel_sizes *sizes, pal_error *error);
/*
 * Computes the results. Without keep, a state (or tail) among the results may be the memory of the
 * input of that name, which is then replaced: a step of decoding is a call with T = 1. Nothing was
 * written if an error is returned. Also PAL_EVALUE for memory that is missing, too small or not
 * aligned. Results do not depend on the number of threads.
 */
PAL_API PAL_CHECKED pal_status pal_kernel_forward(const pal_kernel *kernel,
                                                  const pal_kernel_call *call, pal_error *error);
/*
 * Overwrites the arrays din with gradients. The inputs, options and keep are those of forward. out
 * is read for attention and mamba3 and must be given there; for others it may be NULL. The state
 * that was given is not read again, except by mamba3. There are no second derivatives.
 */
PAL_API PAL_CHECKED pal_status pal_kernel_backward(const pal_kernel *kernel,
                                                   const pal_kernel_call *call, pal_error *error);

#ifdef __cplusplus
}
#endif
#endif
