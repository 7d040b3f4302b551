/*
 * params.h - parameters: named tensors that outlive a step, their gradients, and their files.
 */
#ifndef PAL_PARAMS_H
#define PAL_PARAMS_H

#include "autograd/autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Parameters ---- */

/* An empty set. NULL, after telling the handler, when there is no memory. */
PAL_API pal_params *pal_params_new(void);
/* Frees parameters, gradients and the layers on them. NULL is allowed. */
PAL_API void pal_params_free(pal_params *params);
/*
 * A new parameter, zero until filled through pal_edit, pal_fill, pal_fill_uniform or
 * pal_fill_normal. The name is a path with dots and unique in `params`. It becomes the name of a
 * dataset, so it is UTF-8 of at most 400 bytes without control characters, and if it has slashes,
 * no part between them is empty, "." or "..", and no other name goes on behind it with a slash.
 * Parameters lie one after another in blocks (see pal_params_block) in the order of their creation,
 * each 64-byte aligned with zero padding, and never move. One of bf16 has no gradient and cannot
 * train. On failure the handler is told and the tensor is poisoned.
 */
PAL_API pal_tensor pal_param(pal_params *params, const char *name, pal_dtype dtype,
                             pal_shape shape);
/* Fills a parameter (or leaf) in place and returns it. */
PAL_API pal_tensor pal_fill(pal_tensor t, double value);
/* The same with draws from [low, high). */
PAL_API pal_tensor pal_fill_uniform(pal_tensor t, double low, double high, pal_rng *rng);
/* The same with draws from the normal distribution. */
PAL_API pal_tensor pal_fill_normal(pal_tensor t, double mean, double deviation, pal_rng *rng);
/* Copies src (it broadcasts, dtype converts) into t in place and returns t. */
PAL_API pal_tensor pal_assign(pal_tensor t, const pal_array *src);
/* Excludes this parameter (A_log, dt_bias, D, norms, biases) from weight decay. Returns it. */
PAL_API pal_tensor pal_no_decay(pal_tensor param);
/* Freezes a parameter, or ends that. From then on a frozen parameter is a constant: it gets no
 * gradient, optimisers and clipping do not touch it, and its moments do not change. An operation
 * that has read a frozen parameter gives it no gradient later, whatever has changed since; a
 * segment of pal_recompute goes by what is frozen when it is run again. Returns it. */
PAL_API pal_tensor pal_freeze(pal_tensor param, bool frozen);
/*
 * The same for every parameter whose whole name matches a shell pattern (fnmatch: * ? [..], where *
 * crosses dots): "model.layers.*.attn.*". Returns how many matched; if none did, the handler is
 * told (PAL_EVALUE) and nothing has changed. Calls add up: freeze "*", then free "lm_head.*".
 */
PAL_API int pal_params_freeze(pal_params *params, const char *pattern, bool frozen);
PAL_API pal_tensor pal_params_find(pal_params *params,
                                   const char *name); /* PAL_NONE if there is none */
/* How many parameters there are. */
PAL_API int pal_params_count(const pal_params *params);
PAL_API pal_tensor pal_params_at(pal_params *params, int i); /* in order of creation */
/* The name of parameter i. */
PAL_API const char *pal_params_name(const pal_params *params, int i);
PAL_API pal_array pal_params_array(const pal_params *params, int i); /* its value */
/* Whether weight decay applies to it (not after pal_no_decay). */
PAL_API bool pal_params_decays(const pal_params *params, int i);
/* Whether it is frozen. */
PAL_API bool pal_params_frozen(const pal_params *params, int i);
PAL_API int64_t
pal_params_size(const pal_params *params); /* elements of all parameters, without padding */
/* Sets all gradients to zero. */
PAL_API void pal_params_zero_grad(pal_params *params);
/* Prints a table of names, shapes and counts, with the total. */
PAL_API void pal_params_print(const pal_params *params, FILE *file);

/* The status of the first failed pal_param or pal_keep (PAL_OK if there was none). */
PAL_API pal_status pal_params_status(const pal_params *params);

/*
 * The storage behind the parameters: value and gradient of `count` elements laid out alike, padding
 * zero in both, so that an optimiser, a norm, an all-reduce or a checkpoint is one loop over
 * blocks. pal_params_span says where each parameter lies. A model that is only run has no memory
 * for gradients: the first backward pass through one of the parameters takes that of all of them,
 * in one piece. So do pal_grad, pal_params_block and the constructor of an optimiser where there
 * was no such pass; gradients are zeros then.
 */
typedef struct pal_param_block {
    pal_dtype dtype; /* of all parameters in it */
    int64_t count;   /* elements in use, padding included */
    void *value;     /* the first element */
    void *grad;      /* the first element of the gradients, laid out alike; NULL if kept */
    bool kept;       /* it holds tensors of pal_keep, which never have gradients */
} pal_param_block;
/* The place of one parameter in the blocks. */
typedef struct pal_span {
    int block;      /* 0 .. pal_params_blocks - 1 */
    int64_t offset; /* of its first element in the block */
    int64_t count;  /* its elements, without padding */
} pal_span;
/* How many blocks there are. */
PAL_API int pal_params_blocks(const pal_params *params);
/* Block b, with memory for its gradients: where there is none, `grad` is NULL and the handler is
 * told (PAL_ENOMEM). Addresses stay valid as long as the parameters. */
PAL_API pal_param_block pal_params_block(const pal_params *params, int b);
/* Where parameter i lies. */
PAL_API pal_span pal_params_span(const pal_params *params, int i);
/* Says that the values of all parameters have been written (by an optimiser, through
 * pal_params_block). */
PAL_API void pal_params_touch(pal_params *params);

/* Called during backward as soon as the gradient of parameter i is complete, in the order in which
 * that happens. */
typedef void pal_grad_fn(pal_params *params, int i, void *user);
/* Sets the callback; fn = NULL takes it away. */
PAL_API void pal_params_on_grad(pal_params *params, pal_grad_fn *fn, void *user);

/*
 * Called between the operations of a backward pass, after each of them (those of recomputed
 * segments too): for communication that advances only when it is asked to. It may look at times and
 * flags, not at tensors. fn = NULL: nothing.
 */
typedef void pal_between_fn(void *user);
/* Sets the callback of a tape. */
PAL_API void pal_tape_between(pal_tape *tape, pal_between_fn *fn, void *user);

/* Zeroed memory that lives as long as the parameters (for layers). NULL after telling the handler.
 */
PAL_API void *pal_params_alloc(pal_params *params, size_t size);

/*
 * Copies a tensor out of its tape under a name in `store` (a pal_params of its own: states,
 * statistics), so that it survives the reset; the copy is a constant. The same name, shape and
 * dtype again writes into the same memory, so a loop runs in constant memory. Sizes may change, but
 * not the number of axes; a tensor that has outgrown its memory moves to one of twice its size, and
 * what it leaves is given back with the store. Returns the copy.
 */
PAL_API pal_tensor pal_keep(pal_params *store, const char *name, pal_tensor t);

/*
 * Parameters as datasets group/NAME of an HDF5 file (docs/files.md). Loading is strict: one message
 * counts and names the parameters that are missing, the datasets that the model does not have, and
 * those of another shape or type or that cannot be read (the first of each kind, and how many
 * more); nothing is changed unless all fit. Floats of another width convert: f32 to f64 exactly,
 * f64 to f32 rounded to the nearest; integers do not. PAL_EFORMAT, PAL_ENOMEM.
 */
PAL_API PAL_CHECKED pal_status pal_params_put(const pal_params *params, pal_h5 *file,
                                              const char *group, pal_error *error);
/* Reads all parameters from such datasets. */
PAL_API PAL_CHECKED pal_status pal_params_get(pal_params *params, pal_h5 *file, const char *group,
                                              pal_error *error);

#ifdef __cplusplus
}
#endif
#endif
