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
    pal_schedule schedule;
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

static cJSON_bool is_count(const cJSON *item)
{
    return cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble < 1e15 &&
           item->valuedouble == (double)(int64_t)item->valuedouble;
}

static cJSON_bool is_pair(const cJSON *item)
{
    return cJSON_GetArraySize(item) == 2 && cJSON_IsNumber(cJSON_GetArrayItem(item, 0)) &&
           cJSON_IsNumber(cJSON_GetArrayItem(item, 1));
}

/* Every key is one that is read below, and of its kind. */
static bool keys_are_known(golden *g, const cJSON *json)
{
    static const struct {
        const char *name;
        cJSON_bool (*fits)(const cJSON *item);
    } keys[] = {{"vocab_size", is_count},
                {"hidden_size", is_count},
                {"intermediate_size", is_count},
                {"norm_eps", cJSON_IsNumber},
                {"tie_word_embeddings", cJSON_IsBool},
                {"mixers", cJSON_IsArray},
                {"lr", cJSON_IsNumber},
                {"min_lr", cJSON_IsNumber},
                {"warmup_steps", is_count},
                {"steps", is_count},
                {"weight_decay", cJSON_IsNumber},
                {"betas", is_pair},
                {"eps", cJSON_IsNumber},
                {"clip", cJSON_IsNumber}};
    enum { KEYS = sizeof keys / sizeof *keys };
    const cJSON *item;
    int before = g->failed;
    cJSON_ArrayForEach(item, json)
    {
        int i = 0;
        while (i < KEYS && strcmp(keys[i].name, item->string ? item->string : "") != 0) i++;
        if (i == KEYS)
            golden_fail(g, "unknown key %s in json", item->string ? item->string : "");
        else if (!keys[i].fits(item) || cJSON_GetObjectItem(json, item->string) != item)
            golden_fail(g, "%s in json is not what it should be, or is there twice", item->string);
    }
    return g->failed == before;
}

/* The list of mixers; CANNOT if the library lacks one of them. */
static golden_verdict mixers(golden *g, const cJSON *json, char *text, size_t room)
{
    const cJSON *list = cJSON_GetObjectItem(json, "mixers"), *item;
    int64_t width = (int64_t)number(json, "hidden_size");
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
        if (!golden_mixer_text(g, item, name->valuestring, width, one, sizeof one)) n = room;
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
        .schedule = {.kind = PAL_COSINE,
                     .lr = number(json, "lr"),
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

static void compare_parameters(golden *g, const char *group, const char *prefix, pal_params *params,
                               bool gradients)
{
    int n = pal_params_count(params);
    golden_result *results = calloc((size_t)n, sizeof *results);
    golden_param_results(g, params, prefix, gradients, results);
    golden_compare(g, group, n, results);
    free(results);
}

/* One step of training on tokens [B,T+1]. */
static void step(golden *g, const pal_lm *lm, pal_params *params, pal_optim *adamw, const recipe *r,
                 int64_t i, history *h)
{
    pal_tensor tokens = pal_select(golden_leaf(g, "in/tokens", false), 0, i);
    int64_t T = pal_dim(tokens, 1) - 1;
    pal_tensor given = pal_slice(tokens, 1, 0, T, 1);
    pal_tensor loss =
        pal_lm_loss(lm, given, pal_slice(tokens, 1, 1, T + 1, 1), (pal_run_opts){.mode = g->mode});
    pal_tensor logits =
        i == 0 ? pal_lm_logits(lm, given, (pal_run_opts){.mode = g->mode}) : PAL_NONE;
    if (pal_backward(loss) != PAL_OK) return;
    if (i == 0) {
        pal_array value = pal_value(logits);
        h->logits_shape = pal_array_shape(&value);
        h->logits = malloc((size_t)pal_array_count(&value) * sizeof *h->logits);
        pal_array copy = pal_array_of(PAL_F64, h->logits_shape, h->logits);
        if (pal_array_copy(&copy, &value, NULL) != PAL_OK) golden_fail(g, "no logits");
        compare_parameters(g, "grad", "params/", params, true);
    }
    h->losses[i] = pal_item(loss);
    h->norms[i] = pal_clip_grad_norm(params, r->clip);
    h->rates[i] = pal_schedule_lr(&r->schedule, i);
    if (pal_optim_step(adamw, h->rates[i]) != PAL_OK) golden_fail(g, "no step");
    pal_params_zero_grad(params);
    pal_tape_reset(g->tape);
}

static void train(golden *g, const pal_lm *lm, pal_params *params, const recipe *r)
{
    int64_t steps = r->schedule.steps;
    double *numbers = calloc(3 * (size_t)steps, sizeof *numbers);
    history h = {.losses = numbers, .norms = numbers + steps, .rates = numbers + 2 * steps};
    pal_optim *adamw = pal_adamw_new(params, r->adamw);
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
        compare_parameters(g, "final", "", params, false);
    }
    pal_optim_free(adamw);
    free(h.logits);
    free(numbers);
}

static void run(golden *g, const cJSON *json, const char *list)
{
    recipe r = read_recipe(json);
    static const char *const inputs[] = {"tokens"};
    pal_shape shape = {0};
    pal_dtype stored;
    pal_error error = {PAL_OK, ""};
    golden_expect_only(g, "in", 1, inputs);
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
    if (!golden_text(g, "json", options, sizeof options)) {
        printf("  the file has no attribute json\n");
        return GOLDEN_CANNOT;
    }
    cJSON *json = cJSON_Parse(options);
    golden_verdict verdict = mixers(g, json, list, sizeof list);
    if (verdict == GOLDEN_PASS && !keys_are_known(g, json)) verdict = GOLDEN_FAIL;
    if (verdict == GOLDEN_PASS) {
        run(g, json, list);
        verdict = g->failed ? GOLDEN_FAIL : GOLDEN_PASS;
    }
    cJSON_Delete(json);
    return verdict;
}
