/* checkpoint.c - the whole state of a run in one file. */
#include "autograd/internal.h"
#include "optim/optimisers/internal.h"
#include "optim/ranks/ranks.h"
#include "optim/train/run_folder.h"
#include "tensor/number.h"
#include "tensor/files/checkpoint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DATA_BYTES = 256 };

/* ---- Texts ---- */

enum { KERNELS = 128 };

/* The kernels that decide the bits: pal_kernels_in_use without the threads, and who multiplies in
 * bf16 where that is done. */
static void kernel_family(const pal_checkpoint *c, char text[KERNELS])
{
    snprintf(text, KERNELS, "%s", pal_kernels_in_use());
    char *comma = strrchr(text, ',');
    if (comma) *comma = '\0';
    const size_t n = strlen(text);
    if (c->precision == PAL_BF16)
        snprintf(text + n, KERNELS - n, ", bf16 by %s", pal_product_library(PAL_BF16));
}

/* ---- Writing ---- */

static pal_status put_states(const pal_checkpoint *c, pal_h5 *file, pal_error *error)
{
    pal_status s = pal_params_put(c->params, file, PAL_CHECKPOINT_PARAMS, error);
    if (s == PAL_OK && c->optim) s = pal_optim_put(c->optim, file, "/optim", error);
    if (s == PAL_OK && c->average) s = pal_average_put(c->average, file, "/average", error);
    return s;
}

static pal_status put_numbers(const pal_checkpoint *c, pal_h5 *file, pal_error *error)
{
    const struct {
        const char *name;
        double value;
    } number[] = {
        {PAL_CHECKPOINT_MARK, PAL_CHECKPOINT_VERSION}, {"step", (double)c->step},
        {"epoch", (double)c->position.epoch},          {"index", (double)c->position.index},
        {"best-step", (double)c->best_step},           {"best", c->best_step ? c->best : 0},
    };
    for (size_t i = 0; i < sizeof number / sizeof number[0]; i++) {
        pal_status s = pal_h5_put_number(file, "/", number[i].name, number[i].value, error);
        if (s != PAL_OK) return s;
    }
    if (c->noise_trace == 0 && c->noise_square == 0) return PAL_OK;
    pal_status s = pal_h5_put_number(file, "/", "noise-trace", c->noise_trace, error);
    if (s == PAL_OK) s = pal_h5_put_number(file, "/", "noise-square", c->noise_square, error);
    return s;
}

static pal_status put_texts(const pal_checkpoint *c, pal_h5 *file, pal_error *error)
{
    char kernels[KERNELS], schedule[PAL_SCHEDULE_TEXT] = "";
    kernel_family(c, kernels);
    if (c->schedule) pal_schedule_text(c->schedule, schedule);
    /* A longer text could not be read again. */
    if ((c->data && strlen(c->data) >= DATA_BYTES) || (c->logs && strlen(c->logs) >= DATA_BYTES) ||
        (c->metric && strlen(c->metric) >= DATA_BYTES) ||
        (c->config && strlen(c->config) >= PAL_CHECKPOINT_CONFIG_BYTES))
        return pal_error_set(error, PAL_EVALUE,
                             "a checkpoint holds data, metric and logs of less than %d bytes and "
                             "config of less than %d",
                             DATA_BYTES, PAL_CHECKPOINT_CONFIG_BYTES);
    const char *const text[][2] = {{"code", pal_code_version()},
                                   {"kernels", kernels},
                                   {"schedule", c->schedule ? schedule : NULL},
                                   {"data", c->data},
                                   {"metric", c->metric},
                                   {"precision", c->precision == PAL_BF16 ? "bf16" : NULL},
                                   {"tokenizer", c->tokenizer ? c->tokenizer_name : NULL},
                                   {"logs", c->logs},
                                   {PAL_CHECKPOINT_CONFIG, c->config}};
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
        if (!text[i][1]) continue;
        pal_status s = pal_h5_put_text(file, "/", text[i][0], text[i][1], error);
        if (s != PAL_OK) return s;
    }
    return PAL_OK;
}

/* The three numbers of the generator, bit by bit. */
static pal_array rng_array(int64_t words[3]) { return pal_array_of(PAL_I64, PAL_SHAPE(3), words); }

static pal_status check_values(const pal_checkpoint *c, pal_error *error)
{
    const char *bad = pal_bad_parameter(c->params);
    pal_status s = PAL_OK;
    if (bad)
        return pal_error_set(error, PAL_ENUMERIC, "parameter %s holds a number that is not finite",
                             bad);
    /* Such a file could not be read again, and older ones would be removed for it. */
    if (c->optim) s = pal_state_check(&c->optim->state, "optim_put", error);
    if (s == PAL_OK && c->optim)
        s = pal_state_finite(&c->optim->state, "the optimiser's moment", error);
    return s == PAL_OK && c->average ? pal_average_finite(c->average, error) : s;
}

static pal_status put_all(const pal_checkpoint *c, pal_h5 *file, pal_error *error)
{
    pal_status s = put_states(c, file, error);
    if (s == PAL_OK && c->rng) {
        int64_t words[3];
        memcpy(words, (uint64_t[]){c->rng->seed, c->rng->stream, c->rng->counter}, sizeof words);
        pal_array a = rng_array(words);
        s = pal_h5_put(file, "/rng", &a, error);
    }
    if (s == PAL_OK && c->tokenizer)
        s = pal_h5_put_uints(file, PAL_CHECKPOINT_TOKENIZER, 1, (int64_t)strlen(c->tokenizer),
                             c->tokenizer, error);
    if (s == PAL_OK) s = put_numbers(c, file, error);
    return s == PAL_OK ? put_texts(c, file, error) : s;
}

pal_status pal_checkpoint_put(const pal_checkpoint *c, pal_h5 *file, pal_error *error)
{
    pal_status s = check_values(c, error);
    return s == PAL_OK ? put_all(c, file, error) : s;
}

pal_status pal_checkpoint_save(const pal_checkpoint *c, const char *path, pal_error *error)
{
    pal_h5 *file;
    const bool together = pal_dist_shards(c->dist, c->optim);
    pal_status s = check_values(c, error);
    if (together) s = pal_dist_agree(c->dist, s, error);
    if (s == PAL_OK)
        s = together ? pal_dist_create(c->dist, &file, path, error)
                     : pal_h5_create(&file, path, error);
    if (s != PAL_OK) return s;
    s = put_all(c, file, error);
    if (s == PAL_OK) return pal_h5_commit(file, error);
    pal_h5_close(file);
    return s;
}

/* ---- Reading ---- */

/* A whole number from 0 on that a double holds exactly. */
static pal_status get_count(pal_h5 *file, const char *name, int64_t *value, pal_error *error)
{
    double x;
    pal_status s = pal_h5_get_number(file, "/", name, &x, error);
    if (s != PAL_OK) return s;
    if (!(x >= 0 && x <= 0x1p53 && x == floor(x)))
        return pal_error_set(error, PAL_EFORMAT,
                             "its %s is %g, which is not a whole number from 0 on", name, x);
    *value = (int64_t)x;
    return PAL_OK;
}

static pal_status get_numbers(pal_checkpoint *c, pal_h5 *file, pal_error *error)
{
    pal_status s = get_count(file, "step", &c->step, error);
    if (s == PAL_OK) s = get_count(file, "epoch", &c->position.epoch, error);
    if (s == PAL_OK) s = get_count(file, "index", &c->position.index, error);
    if (s == PAL_OK) s = get_count(file, "best-step", &c->best_step, error);
    if (s == PAL_OK) s = pal_h5_get_number(file, "/", "best", &c->best, error);
    if (s != PAL_OK) return s;
    /* Runs without a noise scale do not have these. */
    if (pal_h5_get_number(file, "/", "noise-trace", &c->noise_trace, NULL) != PAL_OK ||
        pal_h5_get_number(file, "/", "noise-square", &c->noise_square, NULL) != PAL_OK ||
        !isfinite(c->noise_trace) || !isfinite(c->noise_square))
        c->noise_trace = c->noise_square = 0;
    if (!isfinite(c->best) || c->best_step > c->step)
        return pal_error_set(error, PAL_EFORMAT, "its best evaluation, %g at step %lld, cannot be",
                             c->best, (long long)c->best_step);
    if (c->optim && c->step < 1)
        return pal_error_set(error, PAL_EFORMAT, "its step is 0, where nothing is saved yet");
    return PAL_OK;
}

static pal_status same_text(pal_h5 *file, const char *name, const char *wanted, pal_error *error)
{
    char found[DATA_BYTES];
    pal_status s = pal_h5_get_text(file, "/", name, found, sizeof found, error);
    if (s != PAL_OK || strcmp(found, wanted) == 0) return s;
    return pal_error_set(error, PAL_EVALUE, "its %s is %s, and %s here", name, found, wanted);
}

static pal_status get_texts(pal_checkpoint *c, pal_h5 *file, pal_error *error)
{
    char schedule[PAL_SCHEDULE_TEXT], kernels[KERNELS], precision[16] = "f32";
    pal_status s = pal_h5_get_text(file, "/", "code", c->code, sizeof c->code, error);
    if (s == PAL_OK)
        s = pal_h5_get_text(file, "/", "kernels", c->kernels, sizeof c->kernels, error);
    if (s == PAL_OK && c->schedule) {
        pal_schedule_text(c->schedule, schedule);
        s = same_text(file, "schedule", schedule, error);
    }
    if (s == PAL_OK && c->data) s = same_text(file, "data", c->data, error);
    if (s == PAL_OK && c->metric) s = same_text(file, "metric", c->metric, error);
    /* A run in f32 does not say so. */
    if (pal_h5_get_text(file, "/", "precision", precision, sizeof precision, NULL) != PAL_OK)
        snprintf(precision, sizeof precision, "f32");
    if (s == PAL_OK && c->optim && strcmp(precision, pal_dtype_name(c->precision)) != 0)
        s = pal_error_set(error, PAL_EVALUE, "its products are in %s, and %s here", precision,
                          pal_dtype_name(c->precision));
    kernel_family(c, kernels);
    c->same_kernels = s == PAL_OK && strcmp(c->kernels, kernels) == 0;
    return s;
}

/* What has been read, before it is certain that it will be used. */
typedef struct reading {
    pal_undo optim, average;
    pal_pending params;
} reading;

static pal_status get_states(const pal_checkpoint *c, pal_h5 *file, reading *r, pal_error *error)
{
    pal_status s = PAL_OK;
    if (c->optim) s = pal_optim_load(c->optim, file, "/optim", &r->optim, error);
    if (s == PAL_OK && c->average)
        s = pal_average_load(c->average, file, "/average", &r->average, error);
    return s == PAL_OK ? pal_params_read(c->params, file, PAL_CHECKPOINT_PARAMS, &r->params, error)
                       : s;
}

/* Uses what was read, or drops it. It cannot fail. */
static void settle(reading *r, bool take)
{
    pal_undo_end(&r->optim, !take);
    pal_undo_end(&r->average, !take);
    pal_params_settle(&r->params, take);
}

static pal_status get_attributes(pal_checkpoint *c, pal_h5 *file, pal_error *error)
{
    pal_status s = pal_checkpoint_version(file, error);
    if (s == PAL_OK) s = get_numbers(c, file, error);
    return s == PAL_OK ? get_texts(c, file, error) : s;
}

/* Either all ranks load parameters, optimiser, average and the rest, or none does. */
pal_status pal_checkpoint_get(pal_checkpoint *c, pal_h5 *file, pal_error *error)
{
    pal_checkpoint fresh = *c;
    reading r = {0};
    int64_t words[3];
    pal_status s = get_attributes(&fresh, file, error);
    if (s == PAL_OK && c->rng) {
        pal_array a = rng_array(words);
        s = pal_h5_get(file, "/rng", &a, error);
    }
    if (s == PAL_OK) s = get_states(c, file, &r, error);
    s = pal_dist_agree(c->dist, s, error);
    settle(&r, s == PAL_OK);
    if (s != PAL_OK) return s;
    *c = fresh;
    if (!c->rng) return PAL_OK;
    *c->rng = (pal_rng){(uint64_t)words[0], (uint64_t)words[1], (uint64_t)words[2]};
    return PAL_OK;
}

typedef pal_status get_fn(pal_checkpoint *c, pal_h5 *file, pal_error *error);

static pal_status get_from(pal_checkpoint *c, const char *path, get_fn *get, pal_error *error)
{
    pal_error why = {0};
    pal_h5 *file;
    pal_status s = pal_h5_open(&file, path, &why);
    if (s == PAL_OK) {
        s = get(c, file, &why);
        pal_h5_close(file);
    }
    return s == PAL_OK ? s : pal_checkpoint_failed(path, s, &why, error);
}

pal_status pal_checkpoint_load(pal_checkpoint *c, const char *path, pal_error *error)
{
    pal_error why = {0};
    pal_h5 *file;
    pal_status s = pal_h5_open(&file, path, &why);
    if (s == PAL_OK) {
        s = pal_checkpoint_get(c, file, &why);
        pal_h5_close(file);
    } else {
        s = pal_dist_agree(c->dist, s, &why); /* the other ranks do this in pal_checkpoint_get */
    }
    return s == PAL_OK ? s : pal_checkpoint_failed(path, s, &why, error);
}

pal_status pal_checkpoint_peek(pal_checkpoint *c, const char *path, pal_error *error)
{
    pal_checkpoint found = *c;
    pal_status s = get_from(&found, path, get_attributes, error);
    if (s == PAL_OK) *c = found;
    return s;
}

void pal_checkpoint_logs(const char *path, char text[PAL_LOGS])
{
    pal_h5 *file;
    text[0] = '\0';
    if (pal_h5_open(&file, path, NULL) != PAL_OK) return;
    if (pal_h5_get_text(file, "/", "logs", text, PAL_LOGS, NULL) != PAL_OK) text[0] = '\0';
    pal_h5_close(file);
}

pal_status pal_checkpoint_config(const char *path, char *text, size_t size, pal_error *error)
{
    pal_error why = {0};
    pal_h5 *file;
    pal_status s = pal_h5_open(&file, path, &why);
    if (s == PAL_OK) {
        s = pal_checkpoint_version(file, &why);
        if (s == PAL_OK) s = pal_h5_get_text(file, "/", "config", text, size, &why);
        pal_h5_close(file);
    }
    return s == PAL_OK ? s : pal_checkpoint_failed(path, s, &why, error);
}

/* ---- The tokenizer ---- */

/* A copy of it, if there is room; text NULL: only its length. */
static pal_status get_tokenizer(pal_h5 *file, char *text, size_t size, int64_t *length,
                                pal_error *error)
{
    char *all = NULL;
    *length = 0;
    if (text && size) text[0] = '\0';
    pal_status s = pal_checkpoint_version(file, error);
    if (s == PAL_OK) s = pal_checkpoint_read_tokenizer(file, &all, length, error);
    if (s != PAL_OK || !all) return s;
    if (text && (uint64_t)*length >= size)
        s = pal_error_set(error, PAL_EVALUE, "%s has %lld bytes, and there is room for %zu",
                          PAL_CHECKPOINT_TOKENIZER, (long long)*length, size);
    else if (text)
        memcpy(text, all, (size_t)*length + 1);
    free(all);
    return s;
}

pal_status pal_checkpoint_tokenizer(const char *path, char *text, size_t size, int64_t *length,
                                    pal_error *error)
{
    pal_error why = {0};
    pal_h5 *file;
    pal_status s = pal_h5_open(&file, path, &why);
    if (s == PAL_OK) {
        s = get_tokenizer(file, text, size, length, &why);
        pal_h5_close(file);
    }
    return s == PAL_OK ? s : pal_checkpoint_failed(path, s, &why, error);
}
