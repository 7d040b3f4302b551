/*
 * golden_layer.c - files of one layer: options as JSON, parameters by name, input x, output y and
 * final state ht.
 */
#include "tests/support/golden.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Appends ":key=value" to the mixer's text. false if the value is of no kind that options have. */
static bool append(char *text, size_t room, const cJSON *item)
{
    size_t n = strlen(text);
    char *at = text + n;
    room -= n;
    if (cJSON_IsNull(item)) return true; /* as if absent */
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
    if (strcmp(layer, "mamba2") == 0) return true;
    if (!cJSON_HasObjectItem(json, "num_heads"))
        snprintf(text + n, room - n, ":num_heads=%d", gdn ? 6 : 16);
    n = strlen(text);
    if (!cJSON_HasObjectItem(json, "head_dim"))
        snprintf(text + n, room - n, ":head_dim=%d", gdn ? 256 : 128);
    return strlen(text) < room - 1;
}

bool golden_mixer_text(const cJSON *options, const char *name, char *text, size_t room)
{
    bool good = cJSON_IsObject(options);
    snprintf(text, room, "%s", name);
    for (const cJSON *item = good ? options->child : NULL; item && good; item = item->next)
        if (strcmp(item->string, "hidden_size") != 0 && strcmp(item->string, "mixer") != 0)
            good = append(text, room, item);
    return good && append_defaults(text, room, name, options);
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
    bool good = golden_mixer_text(json, layer, text, room);
    cJSON_Delete(json);
    if (good && width > 0) return width;
    golden_fail(g, "the options cannot be read: %s", options);
    return 0;
}

static void compare_gradients(golden *g, pal_params *params, pal_tensor x)
{
    enum { MOST = 64 };
    golden_result results[MOST];
    char names[MOST][96];
    int n = 0;
    results[n++] = (golden_result){"x", golden_gradient(g, x)};
    for (int i = 0; i < pal_params_count(params) && n < MOST; i++, n++) {
        snprintf(names[n], sizeof names[n], "params/%s", pal_params_name(params, i));
        results[n] = (golden_result){names[n], golden_gradient(g, pal_params_at(params, i))};
    }
    golden_compare(g, "grad", n, results);
}

static void run(golden *g, const pal_mixer *mixer, pal_params *params)
{
    const char *const names[2] = {"y", "ht"}, *const input[1] = {"x"};
    golden_expect_only(g, "in", 1, input);
    pal_tensor x = golden_leaf(g, "in/x", true);
    if (pal_is_none(x)) {
        golden_fail(g, "in/x is missing");
        return;
    }
    pal_mixer_state state = {{0}, {{0}}};
    pal_tensor y = pal_mixer_forward(mixer, x, &state);
    /* The file has Mamba-2's state as [B,nh,P,N]. */
    bool transposed = strcmp(pal_mixer_name(mixer), "mamba2") == 0;
    const pal_tensor out[2] = {y, transposed ? pal_transpose(state.state, -1, -2) : state.state};
    golden_backward(g, 2, names, out);
    const golden_result results[2] = {{"y", pal_value(out[0])}, {"ht", pal_value(out[1])}};
    golden_compare(g, "out", 2, results);
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
