/*
 * golden_folder_train.c - gradients under the names of a folder's tensors, and some steps of AdamW.
 */
#include "optim/optim.h"
#include "tests/support/golden_folder.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Gradients ---- */

typedef struct gather {
    golden *g;
    pal_params *params;
    double *to;
} gather;

/* A piece of a parameter's gradient, at its place in the tensor. */
static void gather_piece(void *user, int param, int64_t at, int64_t of_tensor, int64_t count)
{
    const gather *x = user;
    const pal_array d = golden_gradient(x->g, pal_params_at(x->params, param));
    for (int64_t i = 0; i < count; i++)
        x->to[of_tensor + i] = d.dtype == PAL_F32 ? (double)((const float *)d.data)[at + i]
                                                  : ((const double *)d.data)[at + i];
}

static pal_tensor loss_of(golden_folder *f, int64_t step)
{
    pal_tensor x = golden_folder_tokens(f, step, f->B, 0, f->T),
               y = golden_folder_tokens(f, step, f->B, 1, f->T + 1);
    return pal_lm_loss(f->model.lm, x, y, (pal_run_opts){.mode = f->g->mode});
}

/* One for each tensor of the model. */
static int gradients_of(golden_folder *f, golden_result *results)
{
    const pal_weights *w = f->folder.weights;
    int n = 0;
    for (int64_t t = 0; t < pal_weights_count(w); t++) {
        const pal_stored *stored = pal_weights_at(w, t);
        if (pal_names_role(f->names, t) != PAL_ROLE_MODEL) continue;
        gather x = {f->g, f->model.params,
                    calloc((size_t)pal_shape_count(stored->shape) + 1, sizeof *x.to)};
        pal_names_pieces(f->names, t, gather_piece, &x);
        results[n] = golden_result_of("", pal_array_of(PAL_F64, stored->shape, x.to));
        snprintf(results[n].name, sizeof results[n].name, "params/%.140s", stored->name);
        n++;
    }
    return n;
}

void golden_folder_gradients(golden_folder *f)
{
    golden_result *results =
        calloc((size_t)pal_weights_count(f->folder.weights) + 1, sizeof *results);
    if (pal_backward(loss_of(f, 0)) != PAL_OK) golden_fail(f->g, "no backward pass");
    const int n = gradients_of(f, results);
    golden_folder_tolerance(f, 1e-6, 2e-5 + f->f32_train_error[1]);
    golden_compare(f->g, "grad", n, results);
    for (int i = 0; i < n; i++) free(results[i].value.data);
    free(results);
    pal_params_zero_grad(f->model.params);
    pal_tape_reset(f->g->tape);
}

/* ---- Training ---- */

typedef struct recipe {
    pal_schedule schedule;
    pal_adamw_opts adamw;
    double clip;
} recipe;

static double number(golden *g, const cJSON *json, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(json, name);
    if (!cJSON_IsNumber(item)) golden_fail(g, "the recipe has no number %s", name);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static bool read_recipe(golden *g, recipe *r)
{
    char text[1024];
    cJSON *json = golden_text(g, "recipe", text, sizeof text) ? cJSON_Parse(text) : NULL;
    *r = (recipe){.schedule = {.kind = PAL_COSINE,
                               .lr = number(g, json, "lr"),
                               .min_lr = number(g, json, "min_lr"),
                               .warmup = (int64_t)number(g, json, "warmup"),
                               .steps = (int64_t)number(g, json, "steps")},
                  .adamw = {.beta1 = number(g, json, "beta1"),
                            .beta2 = number(g, json, "beta2"),
                            .eps = number(g, json, "eps"),
                            .decay = number(g, json, "weight_decay")},
                  .clip = number(g, json, "clip")};
    const bool good = cJSON_GetArraySize(json) == 9;
    if (!good) golden_fail(g, "the recipe does not have the nine numbers that are read");
    cJSON_Delete(json);
    return good;
}

/* Clips to a norm. The reference divides by the norm alone, and pal_clip_grad_norm by 1e-6 more. */
static double clip(pal_params *params, double most)
{
    const double norm = pal_clip_grad_norm(params, 0);
    return norm > most ? pal_clip_grad_norm(params, most * (norm + 1e-6) / norm) : norm;
}

/* Losses, norms before clipping and rates of the steps, one after the other in `numbers`. */
static void train(golden_folder *f, const recipe *r, double *numbers)
{
    golden *g = f->g;
    const int64_t n = f->steps;
    pal_optim *adamw = pal_adamw_new(f->model.params, r->adamw);
    for (int64_t i = 0; i < n && adamw; i++) {
        pal_tensor loss = loss_of(f, i);
        if (pal_backward(loss) != PAL_OK) golden_fail(g, "no backward pass");
        numbers[i] = pal_item(loss);
        numbers[n + i] = clip(f->model.params, r->clip);
        numbers[2 * n + i] = pal_schedule_lr(&r->schedule, i);
        if (pal_optim_step(adamw, numbers[2 * n + i]) != PAL_OK) golden_fail(g, "no step");
        pal_params_zero_grad(f->model.params);
        pal_tape_reset(g->tape);
    }
    pal_optim_free(adamw);
}

/* ---- What f32 cannot tell ---- */

/*
 * AdamW's first step moves a weight by the sign of its gradient. Where a gradient is zero but for
 * rounding, the sign is chance, and the norms of later steps tell. So f32 is held to the reference
 * as far as training from weights that differ in their last bit agrees with itself.
 */
enum { DRAWS = 8 };

static pal_array weights_at(const golden_folder *f, int i)
{
    return pal_edit(pal_params_at(f->model.params, i));
}

/* All weights, for free(); NULL in f64. */
static float *copy_weights(const golden_folder *f)
{
    int64_t count = 0, at = 0;
    const int n = pal_params_count(f->model.params);
    if (f->g->dtype != PAL_F32) return NULL;
    for (int i = 0; i < n; i++) count += pal_count(pal_params_at(f->model.params, i));
    float *copy = malloc((size_t)count * sizeof *copy);
    for (int i = 0; i < n && copy; i++) {
        const pal_array w = weights_at(f, i);
        memcpy(copy + at, w.data, (size_t)pal_array_count(&w) * sizeof *copy);
        at += pal_array_count(&w);
    }
    return copy;
}

/* Each weight as it was, or one of its two neighbours. */
static void change_last_bits(const golden_folder *f, const float *start, uint64_t seed)
{
    pal_rng rng = pal_rng_new(seed, 0);
    for (int i = 0; i < pal_params_count(f->model.params); i++) {
        const pal_array w = weights_at(f, i);
        float *x = w.data;
        pal_rng_uniform(&rng, &w, -3, 3);
        for (int64_t j = 0; j < pal_array_count(&w); j++, start++)
            x[j] = x[j] < -1  ? nextafterf(*start, -1e30f)
                   : x[j] < 1 ? *start
                              : nextafterf(*start, 1e30f);
    }
}

/* Of n numbers, in the measure of golden_compare_one for numbers that are not small. */
static double apart(int64_t n, const double *x, const double *y)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += (x[i] - y[i]) * (x[i] - y[i]);
        norm += y[i] * y[i];
    }
    return sqrt(difference / norm);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Twice the median distance of losses and of norms from `numbers`. */
static void measure_chance(golden_folder *f, const recipe *r, const float *start,
                           const double *numbers, double chance[2])
{
    const int64_t n = f->steps;
    double *others = calloc(3 * (size_t)n, sizeof *others), far[2][DRAWS];
    for (int draw = 0; draw < DRAWS; draw++) {
        change_last_bits(f, start, (uint64_t)draw + 1);
        train(f, r, others);
        for (int i = 0; i < 2; i++) far[i][draw] = apart(n, others + i * n, numbers + i * n);
    }
    for (int i = 0; i < 2; i++) {
        qsort(far[i], DRAWS, sizeof far[i][0], ascending);
        chance[i] = 2 * far[i][DRAWS / 2];
    }
    printf("  note  weights changed in their last bit: losses move by %.3g, norms by %.3g\n",
           chance[0] / 2, chance[1] / 2);
    free(others);
}

static bool differs(golden_folder *f, const char *name, const double *x, double tolerance)
{
    const pal_array want = golden_folder_read(f, name);
    const bool yes = want.data && pal_array_count(&want) == f->steps &&
                     !(apart(f->steps, x, want.data) <= tolerance);
    free(want.data);
    return yes;
}

void golden_folder_train(golden_folder *f)
{
    golden *g = f->g;
    recipe r;
    if (!read_recipe(g, &r)) return;
    const int64_t n = f->steps;
    double *numbers = calloc(3 * (size_t)n, sizeof *numbers), chance[2] = {0};
    float *start = copy_weights(f);
    train(f, &r, numbers);
    if (start && (differs(f, "out/losses", numbers, 5 * f->f32_train_error[0]) ||
                  differs(f, "out/grad_norms", numbers + n, 5 * f->f32_train_error[1])))
        measure_chance(f, &r, start, numbers, chance);
    static const char *const names[] = {"losses", "grad_norms", "lrs"};
    for (int i = 0; i < 3; i++) {
        const golden_result result =
            golden_result_of(names[i], pal_array_of(PAL_F64, PAL_SHAPE(n), numbers + i * n));
        golden_folder_tolerance(f, 1e-9, i < 2 ? fmax(f->f32_train_error[i], chance[i] / 5) : 0);
        golden_compare_one(g, "out", &result);
    }
    free(start);
    free(numbers);
}
