/*
 * golden_layer.c - files of one layer: options as JSON, parameters by name, input x, output y and
 * final state ht.
 */
#include "tests/support/golden.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Whether the mixer has this key; no key takes the value "?". */
static bool has_key(const char *name, const char *key)
{
    char text[128];
    pal_error error;
    snprintf(text, sizeof text, "%s:%s=?", name, key);
    return pal_mixers_check(text, &error) != PAL_OK && !strstr(error.message, "there is no key");
}

/* Appends ":key=value" to the mixer's text. false if the value is of no kind that options have. */
static bool append(char *text, size_t room, const char *name, const cJSON *item)
{
    size_t n = strlen(text);
    char *at = text + n;
    room -= n;
    if (cJSON_IsNull(item)) return has_key(name, item->string); /* as if absent */
    if (cJSON_IsBool(item))
        snprintf(at, room, ":%s=%s", item->string, cJSON_IsTrue(item) ? "true" : "false");
    else if (cJSON_IsNumber(item))
        snprintf(at, room, ":%s=%.17g", item->string, item->valuedouble);
    else if (cJSON_IsString(item))
        snprintf(at, room, ":%s=%s", item->string, item->valuestring);
    else
        return false;
    return strlen(at) < room - 1;
}

/* The reference's own defaults do not depend on the width. */
static bool append_defaults(char *text, size_t room, const char *layer, const cJSON *json)
{
    size_t n = strlen(text);
    bool gdn = strcmp(layer, "gdn") == 0;
    if (strncmp(layer, "mamba", 5) == 0 || strcmp(layer, "attn") == 0 || strcmp(layer, "none") == 0)
        return true;
    if (!cJSON_HasObjectItem(json, "num_heads"))
        snprintf(text + n, room - n, ":num_heads=%d", gdn ? 6 : 16);
    n = strlen(text);
    if (!cJSON_HasObjectItem(json, "head_dim"))
        snprintf(text + n, room - n, ":head_dim=%d", gdn ? 256 : 128);
    return strlen(text) < room - 1;
}

/* What the options say besides keys of the mixer agrees with what is known of it. */
static bool agrees(golden *g, const cJSON *item, const char *name, int64_t width)
{
    bool good;
    if (strcmp(item->string, "mixer") == 0)
        good = cJSON_IsString(item) && strcmp(item->valuestring, name) == 0;
    else
        good = cJSON_IsNumber(item) && item->valuedouble == (double)width;
    if (!good)
        golden_fail(g, "option %s contradicts %s of width %d", item->string, name, (int)width);
    return good;
}

bool golden_mixer_text(golden *g, const cJSON *options, const char *name, int64_t width, char *text,
                       size_t room)
{
    bool good = cJSON_IsObject(options);
    snprintf(text, room, "%s", name);
    for (const cJSON *item = good ? options->child : NULL; item && good; item = item->next) {
        bool extra = strcmp(item->string, "hidden_size") == 0 || strcmp(item->string, "mixer") == 0;
        good = extra ? agrees(g, item, name, width) : append(text, room, name, item);
    }
    good = good && append_defaults(text, room, name, options);
    if (!good) golden_fail(g, "the options of the mixer %s cannot be read", name);
    return good;
}

bool golden_mixer_known(const char *name)
{
    for (int i = 0; pal_mixers_name(i); i++)
        if (strcmp(pal_mixers_name(i), name) == 0) return true;
    return false;
}

/* The layer's text from the file's options; the width, or 0 after reporting. */
static int64_t layer_text(golden *g, const char *layer, const char *options, char *text,
                          size_t room)
{
    cJSON *json = cJSON_Parse(options);
    const cJSON *size = cJSON_GetObjectItem(json, "hidden_size");
    int64_t width = cJSON_IsNumber(size) ? (int64_t)size->valuedouble : 0;
    if (width <= 0) golden_fail(g, "no hidden_size in the options: %s", options);
    bool good = width > 0 && golden_mixer_text(g, json, layer, width, text, room);
    cJSON_Delete(json);
    return good ? width : 0;
}

static void compare_gradients(golden *g, pal_params *params, pal_tensor x)
{
    int n = 1 + pal_params_count(params);
    golden_result *results = calloc((size_t)n, sizeof *results);
    results[0] = golden_result_of("x", golden_gradient(g, x));
    golden_param_results(g, params, "params/", true, results + 1);
    golden_compare(g, "grad", n, results);
    free(results);
}

static void run(golden *g, const pal_mixer *mixer, pal_params *params)
{
    static const char *const parts[] = {"state", "th", "k", "x"};
    const char *const names[] = {"y", "ht", "tht", "kt", "xt"}, *const input[1] = {"x"};
    golden_expect_only(g, "in", 1, input);
    pal_tensor x = golden_leaf(g, "in/x", true);
    if (pal_is_none(x)) {
        golden_fail(g, "in/x is missing");
        return;
    }
    pal_mixer_state state = {.seen = 0};
    pal_tensor y = pal_mixer_forward(mixer, x, &state, (pal_run_opts){.mode = g->mode});
    /* The file has the state of Mamba-2 and Mamba-3 as [B,nh,P,N]. */
    bool transposed = strncmp(pal_mixer_name(mixer), "mamba", 5) == 0;
    pal_tensor out[5] = {y};
    int n = 1; /* attention keeps no state of this kind */
    for (; n < 5 && !pal_is_none(pal_mixer_state_get(&state, parts[n - 1])); n++)
        out[n] = pal_mixer_state_get(&state, parts[n - 1]);
    if (transposed) out[1] = pal_transpose(out[1], -1, -2);
    golden_backward(g, n, names, out);
    golden_result results[5];
    for (int i = 0; i < n; i++) results[i] = golden_result_of(names[i], pal_value(out[i]));
    golden_compare(g, "out", n, results);
    compare_gradients(g, params, x);
}

golden_verdict golden_layer(golden *g)
{
    char layer[64] = "", options[2048] = "", text[2048];
    golden_text(g, "layer", layer, sizeof layer);
    if (!golden_mixer_known(layer)) {
        printf("  there is no layer \"%s\"\n", layer);
        return GOLDEN_CANNOT;
    }
    if (!golden_text(g, "json", options, sizeof options)) {
        printf("  the file has no attribute json\n");
        return GOLDEN_CANNOT;
    }
    int64_t width = layer_text(g, layer, options, text, sizeof text);
    if (!width) return GOLDEN_FAIL;
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(1, 0);
    pal_mixer *mixer = pal_mixer_new(params, "", width, g->dtype, text, &rng);
    pal_error error;
    if (!mixer)
        golden_fail(g, "the layer \"%s\" was not made", text);
    else if (pal_params_get(params, g->file, "params", &error) != PAL_OK)
        golden_fail(g, "%s", error.message);
    else
        run(g, mixer, params);
    pal_params_free(params);
    return g->failed ? GOLDEN_FAIL : GOLDEN_PASS;
}
