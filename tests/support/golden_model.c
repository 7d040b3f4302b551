/*
 * golden_model.c - files of a small language model: logits and gradients of the first step, then
 * losses, gradient norms, learning rates and final parameters of a short training run.
 */
#include "optim/optim.h"
#include "tests/support/golden.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

typedef struct recipe {
    pal_cosine schedule;
    pal_adamw_opts adamw;
    double clip;
} recipe;

typedef struct history {
    double *losses, *norms, *rates; /* [steps] */
    double *logits;                 /* of step 0 */
    pal_shape logits_shape;
} history;

static double number(const cJSON *json, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(json, name);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

/* The list of mixers; CANNOT if the library lacks one of them. */
static golden_verdict mixers(golden *g, const cJSON *json, char *text, size_t room)
{
    const cJSON *list = cJSON_GetObjectItem(json, "mixers"), *item;
    size_t n = 0;
    text[0] = '\0';
    cJSON_ArrayForEach(item, list)
    {
        const cJSON *name = cJSON_GetObjectItem(item, "mixer");
        char one[512];
        if (!cJSON_IsString(name) || !golden_mixer_known(name->valuestring)) {
            printf("  there is no mixer \"%s\"\n", cJSON_IsString(name) ? name->valuestring : "");
            return GOLDEN_CANNOT;
        }
        if (!golden_mixer_text(item, name->valuestring, one, sizeof one)) n = room;
        if (n < room) n += (size_t)snprintf(text + n, room - n, "%s%s", n ? "," : "", one);
    }
    if (n && n < room) return GOLDEN_PASS;
    golden_fail(g, "the mixers cannot be read");
    return GOLDEN_FAIL;
}

static recipe read_recipe(const cJSON *json)
{
    const cJSON *betas = cJSON_GetObjectItem(json, "betas");
    const cJSON *beta1 = cJSON_GetArrayItem(betas, 0), *beta2 = cJSON_GetArrayItem(betas, 1);
    return (recipe){
        .schedule = {.lr = number(json, "lr"),
                     .min_lr = number(json, "min_lr"),
                     .warmup = (int64_t)number(json, "warmup_steps"),
                     .steps = (int64_t)number(json, "steps")},
        .adamw = {.beta1 = beta1 ? beta1->valuedouble : 0,
                  .beta2 = beta2 ? beta2->valuedouble : 0,
                  .eps = number(json, "eps"),
                  .decay = number(json, "weight_decay")},
        .clip = number(json, "clip"),
    };
}

/* Values, or with `gradients` the gradients, of all parameters against the datasets of a group. */
static void compare_parameters(golden *g, const char *group, pal_params *params, bool gradients)
{
    int n = pal_params_count(params);
    golden_result *results = calloc((size_t)n, sizeof *results);
    for (int i = 0; i < n; i++) {
        pal_tensor p = pal_params_at(params, i);
        results[i].name = pal_params_name(params, i);
        results[i].value = gradients ? golden_gradient(g, p) : pal_value(p);
    }
    golden_compare(g, group, n, results);
    free(results);
}

/* One step of training on tokens [B,T+1]. */
static void step(golden *g, const pal_lm *lm, pal_params *params, pal_adamw *adamw, const recipe *r,
                 int64_t i, history *h)
{
    pal_tensor tokens = pal_select(golden_leaf(g, "in/tokens", false), 0, i);
    int64_t T = pal_dim(tokens, 1) - 1;
    pal_tensor logits = pal_lm_logits(lm, pal_slice(tokens, 1, 0, T, 1));
    pal_tensor loss =
        pal_cross_entropy(logits, pal_slice(tokens, 1, 1, T + 1, 1), (pal_cross_entropy_opts){0});
    if (pal_backward(loss) != PAL_OK) return;
    if (i == 0) {
        pal_array value = pal_value(logits);
        h->logits_shape = pal_array_shape(&value);
        h->logits = malloc((size_t)pal_array_count(&value) * sizeof *h->logits);
        pal_array copy = pal_array_of(PAL_F64, h->logits_shape, h->logits);
        if (pal_array_copy(&copy, &value, NULL) != PAL_OK) golden_fail(g, "no logits");
        compare_parameters(g, "grad/params", params, true);
    }
    h->losses[i] = pal_item(loss);
    h->norms[i] = pal_clip_grad_norm(params, r->clip);
    h->rates[i] = pal_cosine_lr(&r->schedule, i);
    if (pal_adamw_step(adamw, h->rates[i]) != PAL_OK) golden_fail(g, "no step");
    pal_params_zero_grad(params);
    pal_tape_reset(g->tape);
}

static void train(golden *g, const pal_lm *lm, pal_params *params, const recipe *r)
{
    int64_t steps = r->schedule.steps;
    double *numbers = calloc(3 * (size_t)steps, sizeof *numbers);
    history h = {.losses = numbers, .norms = numbers + steps, .rates = numbers + 2 * steps};
    pal_adamw *adamw = pal_adamw_new(params, r->adamw);
    for (int64_t i = 0; i < steps && adamw && pal_tape_status(g->tape) == PAL_OK; i++)
        step(g, lm, params, adamw, r, i, &h);
    if (!h.logits) golden_fail(g, "the first step failed");
    const golden_result results[] = {
        {"losses", pal_array_of(PAL_F64, PAL_SHAPE(steps), h.losses)},
        {"grad_norms", pal_array_of(PAL_F64, PAL_SHAPE(steps), h.norms)},
        {"lrs", pal_array_of(PAL_F64, PAL_SHAPE(steps), h.rates)},
        {"logits", pal_array_of(PAL_F64, h.logits_shape, h.logits)},
    };
    if (h.logits) {
        golden_compare(g, "out", 4, results);
        compare_parameters(g, "final", params, false);
    }
    pal_adamw_free(adamw);
    free(h.logits);
    free(numbers);
}

static void run(golden *g, const cJSON *json, const char *list)
{
    recipe r = read_recipe(json);
    pal_shape shape = {0};
    pal_dtype stored;
    pal_error error = {PAL_OK, ""};
    if (pal_h5_info(g->file, "in/tokens", &stored, &shape, &error) != PAL_OK || shape.ndim != 3 ||
        r.schedule.steps < 1 || shape.dim[0] != r.schedule.steps) {
        golden_fail(g, "in/tokens does not fit the recipe: %s", error.message);
        return;
    }
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(1, 0);
    pal_lm_opts opts = {
        .vocab = (int64_t)number(json, "vocab_size"),
        .width = (int64_t)number(json, "hidden_size"),
        .mlp_width = (int64_t)number(json, "intermediate_size"),
        .norm_eps = number(json, "norm_eps"),
        .tie = cJSON_IsTrue(cJSON_GetObjectItem(json, "tie_word_embeddings")),
        .mixers = list,
        .dtype = g->dtype,
    };
    pal_lm *lm = pal_lm_new(params, opts, &rng);
    if (!lm)
        golden_fail(g, "the model was not made");
    else if (pal_params_get(params, g->file, "params", &error) != PAL_OK)
        golden_fail(g, "%s", error.message);
    else
        train(g, lm, params, &r);
    pal_params_free(params);
}

golden_verdict golden_model(golden *g)
{
    char options[8192] = "", list[4096];
    golden_text(g, "json", options, sizeof options);
    cJSON *json = cJSON_Parse(options);
    golden_verdict verdict = mixers(g, json, list, sizeof list);
    if (verdict == GOLDEN_PASS) {
        run(g, json, list);
        verdict = g->failed ? GOLDEN_FAIL : GOLDEN_PASS;
    }
    cJSON_Delete(json);
    return verdict;
}
