/*
 * probe.h - statistics of what mixers compute, head by head, while a model runs or trains.
 *
 *     pal_probe *probe = pal_probe_new("b,w,g,state");
 *     pal_run_opts run = {.hook = pal_probe_hook, .user = probe};
 *     pal_tensor loss = pal_lm_loss(lm, tokens, targets, run);
 *     pal_backward(loss);
 *     int n = pal_probe_fields(probe, &fields);
 *     ... pal_tape_reset(tape) ...
 */
#ifndef PAL_LAYERS_PROBE_H
#define PAL_LAYERS_PROBE_H

#include "layers/mixers.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Remembers which tensors to look at, and what was seen of them last. */
typedef struct pal_probe pal_probe;
/* A probe of tensors by their names (pal_hook_fn), with commas between. NULL after telling the
 * handler: PAL_EVALUE for an empty list or name, or more than 32; PAL_ENOMEM. */
PAL_API pal_probe *pal_probe_new(const char *names);
PAL_API void pal_probe_free(pal_probe *probe); /* NULL is allowed */
/*
 * A hook (pal_hook_fn) whose user is the probe. A hook of one's own may call it, after it has
 * replaced *t perhaps; in steps that nobody looks at it is not called, and nothing is computed. It
 * changes nothing and returns true. It marks the tensors, so that backward keeps their gradients
 * (pal_want_grad), where gradients are on; with `recompute` this is an error, PAL_EGRAD.
 */
PAL_API bool pal_probe_hook(void *probe, int64_t layer, const char *name, pal_tensor *t);
/* Adds a number of one's own, such as the loss, to the next fields, before all that is seen. The
 * name is cut at 95 bytes; at most 16 are taken until the next look. */
PAL_API void pal_probe_note(pal_probe *probe, const char *name, double value);
/*
 * Points *fields at what was seen since the last call, and returns how many there are: for each
 * layer, tensor and head
 *
 *     NAME.LAYER.HEAD.mean   .dev   .grad
 *
 * the mean and the standard deviation of its numbers, over all sequences and tokens, and the root
 * mean square of their gradients, which is 0 without a backward pass. The head is the axis that
 * pal_hook_fn says; what has none (x, y) is one head, 0. Call it after the backward pass and before
 * the tape is reset. The fields stay where they are until the next call; the same model gives the
 * same names in the same order, so that the first call can name the columns of a log. Cost: three
 * passes over the tensors. A failure to get memory is told to the handler, and the result is 0.
 */
PAL_API int pal_probe_fields(pal_probe *probe, const pal_field **fields);
/* The names of these fields with commas between, for pal_journal_open; "" before the first call. */
PAL_API const char *pal_probe_columns(const pal_probe *probe);

#ifdef __cplusplus
}
#endif
#endif
