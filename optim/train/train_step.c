/*
 * train_step.c - one step of training, and the search for the operation that made a number that is
 * not finite.
 */
#include "autograd/internal.h"
#include "optim/optimisers/internal.h"
#include "optim/ranks/ranks.h"
#include "optim/train/run_folder.h"
#include "optim/train/train_step.h"

#include <math.h>
#include <string.h>

/* Copies the tape's own message, for callers that read errors rather than handle them. */
static pal_status tape_error(const pal_tape *tape, pal_error *error)
{
    pal_status s = pal_tape_status(tape);
    if (s == PAL_OK)
        return pal_error_set(error, PAL_EVALUE, "train_step: the callback gave no loss");
    return pal_error_set(error, s, "%s", pal_tape_message(tape));
}

/* The sums over the micro-batches of a step. */
typedef struct sums {
    double loss;            /* sum over all targets */
    int64_t counted, first; /* number of targets; that of the first micro-batch that has any */
    int64_t bytes;
} sums;

/* Makes the next micro-batch and computes its loss. */
static pal_status forward(const pal_train_opts *o, int64_t number, pal_batch *batch,
                          pal_tensor *loss, pal_error *error)
{
    *batch = (pal_batch){.counted = 1};
    if (o->batches) {
        pal_status s = pal_batches_next(o->batches, o->tape, batch, error);
        if (s != PAL_OK) return s;
        if (batch->end)
            return pal_error_set(
                error, PAL_EVALUE,
                "train_step: the batches are those of validation, which end; training "
                "needs batches that do not end");
    }
    *loss = o->loss(o->user, o->tape, number, batch);
    if (pal_is_none(*loss) || pal_tape_status(o->tape) != PAL_OK) return tape_error(o->tape, error);
    /* The update would be refused. All ranks learn of it here, before they wait for each other. */
    return pal_state_check(&o->optim->state, "optim_step", error);
}

/*
 * Adds the gradient of one micro-batch. Its weight is the number of its targets divided by that of
 * the first one, so the weight is 1 if all numbers are equal.
 */
static pal_status micro_batch(const pal_train_opts *o, int64_t number, bool alone, sums *sum,
                              pal_error *error)
{
    pal_batch batch;
    pal_tensor loss;
    pal_status s = forward(o, number, &batch, &loss, error);
    if (s != PAL_OK) return s;
    double value = pal_item(loss);
    const int64_t counted = batch.counted;
    if (sum->first == 0) sum->first = counted;
    if (alone || counted > 0) {
        if (counted != sum->first) loss = pal_affine(loss, (double)counted / (double)sum->first, 0);
        pal_backward(loss);
    }
    if (pal_tape_status(o->tape) != PAL_OK) return tape_error(o->tape, error);
    sum->loss += alone ? value : counted > 0 ? value * (double)counted : 0;
    sum->counted += counted;
    sum->bytes += batch.bytes;
    pal_tape_reset(o->tape);
    return PAL_OK;
}

/*
 * Notes the gradient of the first micro-batch that has targets, while there is nothing else in the
 * gradients. It is that of the mean over `counted` targets, times `weight`.
 */
static void note_small(pal_accord *accord, pal_squares square, int64_t counted, double weight)
{
    if (counted == 0 || accord->small_count > 0) return;
    accord->small_square = pal_squares_value(square) / (weight * weight);
    accord->small_inverse = 1 / (double)counted;
    accord->small_count = 1;
}

/* Loss and gradients of the mean over all targets of a step, in a single process. */
static pal_status gradients_alone(const pal_train_opts *o, int64_t step, pal_step *out,
                                  pal_accord *accord, pal_error *error)
{
    const int64_t n = o->accumulate > 1 ? o->accumulate : 1;
    sums sum = {0};
    for (int64_t i = 0; i < n; i++) {
        pal_status s = micro_batch(o, step * n + i, n == 1, &sum, error);
        if (s != PAL_OK) {
            pal_tape_reset(o->tape);
            return s;
        }
        if (o->noise && accord->small_count == 0)
            note_small(accord, pal_gradient_squares(o->params, NULL), sum.counted, 1);
    }
    out->loss = n > 1 && sum.counted > 0 ? sum.loss / (double)sum.counted : sum.loss;
    out->counted = sum.counted;
    out->bytes = sum.bytes;
    if (n > 1 && sum.counted > 0)
        pal_scale_gradients(o->params, (double)sum.first / (double)sum.counted);
    return PAL_OK;
}

/* ---- Several ranks ---- */

/* If a rank fails while others wait for its part of a sequence, it cannot tell them, so it ends all
 * ranks. */
static pal_status failed(const pal_train_opts *o, pal_status s, const pal_error *why,
                         pal_error *error)
{
    char text[sizeof(pal_error) + 32];
    snprintf(text, sizeof text, "rank %d: %s", pal_dist_rank(o->dist), why->message);
    if (pal_dist_sequence(o->dist)) pal_dist_abort(o->dist, text);
    return pal_error_set(error, s, "%s", why->message);
}

/* Called before the first backward pass. It exchanges the number of targets, whether a rank has
 * failed, and whether one was asked to stop. So all ranks reach the same outcome. */
static pal_status come_together(const pal_train_opts *o, pal_status s, int64_t *counted,
                                pal_accord *accord, pal_error *error)
{
    enum { FAILED, COUNTED, TIME, SIGNAL, N };
    const double own[N] = {s != PAL_OK, (double)*counted, accord->time_over, pal_stop_requested()};
    const double *all = pal_dist_gather(o->dist, N, own);
    bool any = false;
    *counted = 0;
    accord->time_over = all[TIME] > 0;
    for (int r = 0; r < pal_dist_size(o->dist); r++, all += N) {
        any = any || all[FAILED] > 0;
        *counted += (int64_t)all[COUNTED];
        if (accord->signal == 0) accord->signal = (int)all[SIGNAL];
    }
    return any ? pal_dist_agree(o->dist, s, error) : PAL_OK;
}

/* Runs backward for one micro-batch; for the last one, between pal_dist_reduce_begin and _end. */
static pal_status backward_of_rank(const pal_train_opts *o, pal_status s, pal_tensor loss,
                                   int64_t counted, int64_t first, bool last, pal_accord *accord,
                                   pal_error *error)
{
    const double weight = first > 0 ? (double)counted / (double)first : 0;
    pal_error why;
    pal_dist_measure(o->dist, last && o->noise);
    if (last) pal_dist_reduce_begin(o->dist);
    if (s == PAL_OK && (counted > 0 || pal_dist_sequence(o->dist))) {
        pal_backward(pal_affine(loss, weight, 0));
        s = pal_tape_status(o->tape);
        if (s != PAL_OK) s = failed(o, tape_error(o->tape, &why), &why, error);
    }
    if (last) pal_dist_reduce_end(o->dist);
    if (o->noise && s == PAL_OK && accord->small_count == 0)
        note_small(accord,
                   last ? pal_dist_own_square(o->dist) : pal_gradient_squares(o->params, NULL),
                   counted, weight);
    return s;
}

/*
 * The same over ranks. The weight of a rank's micro-batch is the number of its targets, divided by
 * that of all ranks in the first micro-batch that has any. After a failure a rank continues with
 * all calls that the others wait for.
 */
static pal_status gradients_of_ranks(const pal_train_opts *o, int64_t step, pal_step *out,
                                     pal_accord *accord, pal_error *error)
{
    const int64_t n = o->accumulate > 1 ? o->accumulate : 1;
    sums sum = {0};
    pal_error why;
    pal_status s = pal_dist_attach(o->dist, o->params, o->tape, &why);
    if (s != PAL_OK) failed(o, s, &why, error);
    for (int64_t i = 0; i < n; i++) {
        pal_batch batch = {0};
        pal_tensor loss = PAL_NONE;
        if (s == PAL_OK) {
            s = forward(o, step * n + i, &batch, &loss, &why);
            if (s != PAL_OK) failed(o, s, &why, error);
        }
        const double value = s == PAL_OK && batch.counted > 0 ? pal_item(loss) : 0;
        const int64_t counted = s == PAL_OK ? batch.counted : 0;
        if (sum.first == 0) {
            sum.first = counted;
            pal_status all = come_together(o, s, &sum.first, accord, error);
            if (all != PAL_OK) {
                pal_tape_reset(o->tape);
                return all;
            }
        }
        s = backward_of_rank(o, s, loss, counted, sum.first, i == n - 1, accord, error);
        sum.loss += value * (double)counted;
        sum.counted += counted;
        sum.bytes += batch.bytes;
        pal_tape_reset(o->tape);
    }
    double x[7] = {s != PAL_OK,          sum.loss,
                   (double)sum.counted,  (double)sum.bytes,
                   accord->small_square, accord->small_inverse,
                   accord->small_count};
    pal_dist_sum(o->dist, 7, x);
    accord->small_square = x[4], accord->small_inverse = x[5], accord->small_count = x[6];
    if (x[0] > 0) return pal_dist_agree(o->dist, s, error);
    out->loss = x[2] > 0 ? x[1] / x[2] : 0;
    out->counted = (int64_t)x[2];
    out->bytes = (int64_t)x[3];
    if (n > 1 && out->counted > 0)
        pal_scale_gradients(o->params, (double)sum.first / (double)out->counted);
    return PAL_OK;
}

static pal_status gradients(const pal_train_opts *o, int64_t step, pal_step *out,
                            pal_accord *accord, pal_error *error)
{
    if (pal_dist_size(o->dist) > 1) return gradients_of_ranks(o, step, out, accord, error);
    accord->signal = pal_stop_requested();
    return gradients_alone(o, step, out, accord, error);
}

/* The two estimates of a step (train.h). */
static void estimate_noise(const pal_accord *a, pal_step *out)
{
    const double large = out->norm * out->norm, inverse = 1 / (double)out->counted;
    const double small = a->small_square / a->small_count,
                 small_inverse = a->small_inverse / a->small_count;
    if (!(a->small_count > 0) || !(small_inverse > inverse)) return;
    out->noise_trace = (small - large) / (small_inverse - inverse);
    out->noise_square = large - out->noise_trace * inverse;
}

/* ---- A number that is not finite ---- */

/* An error handler that notes the first error of the operations while they are checked. */
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

/* Computes the gradients once more, with PAL_CHECK=numerics switched on. */
static pal_error search(const pal_train_opts *o, int64_t step)
{
    pal_error found = {0}, ignored;
    pal_step again = {0};
    pal_accord accord = {0};
    bool before = o->tape->check_numerics;
    const pal_listener listener = pal_listen((pal_listener){hear, &found});
    o->tape->check_numerics = true;
    pal_status s = gradients(o, step, &again, &accord, &ignored);
    o->tape->check_numerics = before;
    pal_listen(listener);
    if (found.status == PAL_OK && s != PAL_OK) found = ignored;
    return found;
}

/* Writes the message for a step whose loss or gradient is not finite. */
static pal_status explain(const pal_train_opts *o, int64_t step, const pal_step *bad,
                          pal_error *error)
{
    char what[64], why[640];
    if (isfinite(bad->loss))
        snprintf(what, sizeof what, "the norm of the gradients is %g", bad->norm);
    else
        snprintf(what, sizeof what, "the loss is %g", bad->loss);
    pal_error found = {0};
    const char *parameter = pal_bad_parameter(o->params);
    if (parameter)
        pal_error_set(&found, PAL_ENUMERIC, "parameter %s holds a number that is not finite",
                      parameter);
    pal_status s = pal_dist_agree(o->dist, found.status, &found);
    if (s == PAL_OK && !pal_dist_sequence(o->dist)) {
        found = search(o, step);
        s = pal_dist_agree(o->dist, found.status, &found);
    }
    if (s != PAL_OK)
        snprintf(why, sizeof why, "%.600s", found.message);
    else
        snprintf(
            why, sizeof why, "%s",
            pal_dist_sequence(o->dist)
                ? "the operation that made it is searched for only if each rank has whole sequences"
                : "no single operation made it; a sum of finite numbers is too large");
    return pal_error_set(error, PAL_ENUMERIC, "step %lld: %s; %s", (long long)step + 1, what, why);
}

/* ---- A step ---- */

/* The update of gradients whose norm is finite, and which are not used again. It is refused if a
 * moment would be clamped: with AdamW the element would hardly move for many thousands of steps.
 * All ranks decide alike. */
static pal_status update(const pal_train_opts *o, int64_t step, const pal_step *made,
                         pal_error *error)
{
    pal_error why;
    const double factor = pal_clip_factor(made->norm, o->clip);
    const double most = factor != 1 ? o->clip : made->norm;
    if (most <= PAL_LARGE_GRADIENT && !pal_dist_shards(o->dist, o->optim)) {
        o->optim->known_finite = true; /* the norm says so */
        return pal_optim_spend(o->optim, factor, made->lr, error);
    }
    pal_clip_to(o->params, made->norm, o->clip);
    pal_status s = pal_optim_check_moments(o->optim, most, &why);
    if (most > PAL_LARGE_GRADIENT) s = pal_dist_agree(o->dist, s, &why);
    if (s != PAL_OK) {
        s = pal_error_set(error, s, "step %lld: %s; clip the gradients", (long long)step + 1,
                          why.message);
    } else {
        o->optim->known_finite = true;
        s = pal_dist_try_step(o->dist, o->optim, made->lr, error);
    }
    pal_params_zero_grad(o->params);
    return s;
}

pal_status pal_train_step(const pal_train_opts *opts, int64_t step, pal_step *out, pal_error *error)
{
    const pal_train_opts own = *opts; /* callbacks may change *opts */
    pal_accord accord = {0};
    return pal_train_step_together(&own, step, out, &accord, error);
}

pal_status pal_train_step_together(const pal_train_opts *o, int64_t step, pal_step *out,
                                   pal_accord *accord, pal_error *error)
{
    const pal_rng rng = *pal_tape_rng(o->tape);
    pal_position position = {0};
    if (o->batches) position = pal_batches_position(o->batches);
    *out = (pal_step){
        .lr = pal_schedule_lr(&o->schedule, step), .noise_trace = NAN, .noise_square = NAN};
    accord->small_count = accord->small_square = accord->small_inverse = 0;
    if (o->rate) out->lr = o->rate(o->user, step, out->lr);
    if (!(out->lr >= 0 && isfinite(out->lr)))
        return pal_error_set(error, PAL_EVALUE, "step %lld: the rate is %g", (long long)step + 1,
                             out->lr);
    pal_status s = gradients(o, step, out, accord, error);
    if (s == PAL_OK) {
        if (pal_train_watched(o, step + 1)) pal_watch_gradients(o->watch);
        out->norm = pal_dist_grad_norm(o->dist, o->params);
        if (o->noise) estimate_noise(accord, out);
        if (isfinite(out->loss) && isfinite(out->norm)) {
            s = update(o, step, out, error);
        } else {
            pal_params_zero_grad(o->params);
            *pal_tape_rng(o->tape) = rng;
            if (o->batches) s = pal_batches_seek(o->batches, position, error);
            if (s == PAL_OK) s = explain(o, step, out, error);
        }
    }
    if (s == PAL_OK) {
        if (pal_train_watched(o, step + 1)) pal_watch_updates(o->watch);
        if (o->average) pal_average_update(o->average);
        return PAL_OK;
    }
    pal_params_zero_grad(o->params);
    *pal_tape_rng(o->tape) = rng;
    if (o->batches && pal_batches_seek(o->batches, position, NULL) != PAL_OK) return s;
    return s;
}
