/*
 * train_step.c - one step of training, and the search for what made a number that is not finite.
 */
#include "autograd/internal.h"
#include "optim/internal.h"
#include "optim/train.h"

#include <math.h>
#include <string.h>

/* The tape's own message, for who reads errors instead of hearing them. */
static pal_status tape_error(const pal_tape *tape, pal_error *error)
{
    pal_status s = pal_tape_status(tape);
    if (s == PAL_OK)
        return pal_error_set(error, PAL_EVALUE, "train_step: the callback gave no loss");
    return pal_error_set(error, s, "%s", pal_tape_message(tape));
}

/* What the micro-batches of a step add up to. */
typedef struct sums {
    double loss;            /* of all targets */
    int64_t counted, first; /* targets; and those of the first micro-batch that has any */
    int64_t bytes;
} sums;

/*
 * Adds the gradient of one micro-batch, weighted by its targets against those of the first one:
 * where all have the same number the weight is 1.
 */
static pal_status micro_batch(const pal_train_opts *o, int64_t number, bool alone, sums *sum,
                              pal_error *error)
{
    pal_batch batch = {.counted = 1};
    if (o->batches) {
        pal_status s = pal_batches_next(o->batches, o->tape, &batch, error);
        if (s != PAL_OK) return s;
        if (batch.end)
            return pal_error_set(error, PAL_EVALUE,
                                 "train_step: batches of validation end, and "
                                 "training takes those that do not");
    }
    pal_tensor loss = o->loss(o->user, o->tape, number, &batch);
    if (pal_is_none(loss) || pal_tape_status(o->tape) != PAL_OK) return tape_error(o->tape, error);
    double value = pal_item(loss);
    const int64_t counted = batch.counted;
    if (sum->first == 0) sum->first = counted;
    if (alone || counted > 0) {
        if (counted != sum->first) loss = pal_affine(loss, (double)counted / (double)sum->first, 0);
        pal_backward(loss);
    }
    pal_status s = pal_tape_status(o->tape);
    if (s != PAL_OK) return tape_error(o->tape, error);
    sum->loss += alone ? value : counted > 0 ? value * (double)counted : 0;
    sum->counted += counted;
    sum->bytes += batch.bytes;
    pal_tape_reset(o->tape);
    return PAL_OK;
}

/* Loss and gradients of the mean over all targets of a step. */
static pal_status gradients(const pal_train_opts *o, int64_t step, pal_step *out, pal_error *error)
{
    const int64_t n = o->accumulate > 1 ? o->accumulate : 1;
    sums sum = {0};
    for (int64_t i = 0; i < n; i++) {
        pal_status s = micro_batch(o, step * n + i, n == 1, &sum, error);
        if (s != PAL_OK) {
            pal_tape_reset(o->tape);
            return s;
        }
    }
    out->loss = n > 1 && sum.counted > 0 ? sum.loss / (double)sum.counted : sum.loss;
    out->counted = sum.counted;
    out->bytes = sum.bytes;
    if (n > 1 && sum.counted > 0)
        pal_scale_gradients(o->params, (double)sum.first / (double)sum.counted);
    return PAL_OK;
}

/* ---- A number that is not finite ---- */

/* Hears what the operations say while they are checked. */
static void hear(const pal_error *error, void *user)
{
    pal_error *first = user;
    if (first->status == PAL_OK) *first = *error;
}

const char *pal_bad_parameter(const pal_params *params)
{
    for (int i = 0; i < pal_params_count(params); i++) {
        pal_array a = pal_params_array(params, i);
        if (!pal_array_finite(&a)) return pal_params_name(params, i);
    }
    return NULL;
}

/* Runs the gradients once more with PAL_CHECK=numerics in force. */
static pal_error search(const pal_train_opts *o, int64_t step)
{
    pal_error found = {0}, ignored;
    pal_step again = {0};
    void *user;
    pal_error_fn *handler = pal_error_handler(&user);
    bool before = o->tape->check_numerics;
    pal_set_error_handler(hear, &found);
    o->tape->check_numerics = true;
    pal_status s = gradients(o, step, &again, &ignored);
    o->tape->check_numerics = before;
    pal_set_error_handler(handler, user);
    if (found.status == PAL_OK && s != PAL_OK) found = ignored;
    return found;
}

/* The sentence for a step whose loss or gradient is not finite. */
static pal_status explain(const pal_train_opts *o, int64_t step, const pal_step *bad,
                          pal_error *error)
{
    char what[64], why[640];
    if (isfinite(bad->loss))
        snprintf(what, sizeof what, "the norm of the gradients is %g", bad->norm);
    else
        snprintf(what, sizeof what, "the loss is %g", bad->loss);
    const char *parameter = pal_bad_parameter(o->params);
    if (parameter) {
        snprintf(why, sizeof why, "parameter %s holds a number that is not finite", parameter);
    } else {
        pal_error found = search(o, step);
        if (found.status != PAL_OK)
            snprintf(why, sizeof why, "%.600s", found.message);
        else
            snprintf(why, sizeof why,
                     "no operation made it alone; the sum of finite numbers is too large");
    }
    return pal_error_set(error, PAL_ENUMERIC, "step %lld: %s; %s", (long long)step + 1, what, why);
}

/* ---- A step ---- */

pal_status pal_train_step(const pal_train_opts *o, int64_t step, pal_step *out, pal_error *error)
{
    const pal_rng rng = *pal_tape_rng(o->tape);
    pal_position position = {0};
    if (o->batches) position = pal_batches_position(o->batches);
    *out = (pal_step){.lr = pal_schedule_lr(&o->schedule, step)};
    pal_status s = gradients(o, step, out, error);
    if (s == PAL_OK) {
        out->norm = pal_clip_grad_norm(o->params, o->clip);
        if (isfinite(out->loss) && isfinite(out->norm))
            s = pal_optim_step(o->optim, out->lr);
        else {
            pal_params_zero_grad(o->params);
            *pal_tape_rng(o->tape) = rng;
            if (o->batches) s = pal_batches_seek(o->batches, position, error);
            if (s == PAL_OK) s = explain(o, step, out, error);
        }
    }
    pal_params_zero_grad(o->params);
    if (s == PAL_OK) {
        if (o->average) pal_average_update(o->average);
        return PAL_OK;
    }
    *pal_tape_rng(o->tape) = rng;
    if (o->batches && pal_batches_seek(o->batches, position, NULL) != PAL_OK) return s;
    return s;
}
