/*
 * golden_folder_text.c - what a folder's tokenizer makes of the texts of its encodings.json.
 */
#include "tests/support/golden_folder.h"
#include "tensor/files/mapped.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool same(const cJSON *list, const pal_token_ids *ids)
{
    int64_t i = 0;
    for (const cJSON *v = list ? list->child : NULL; v; v = v->next, i++)
        if (i >= ids->count || v->valuedouble != (double)ids->id[i]) return false;
    return cJSON_IsArray(list) && i == ids->count;
}

/* One of the two lists of an entry. */
static void compare_list(golden *g, pal_tokenizer *t, const cJSON *item, const char *list,
                         pal_encode_opts opts, int number)
{
    pal_token_ids ids = {0};
    pal_error error;
    const char *text = cJSON_GetObjectItem(item, "text")->valuestring;
    const pal_status s =
        pal_tokenizer_encode_with(t, text, (int64_t)strlen(text), opts, &ids, &error);
    if (s != PAL_OK)
        golden_fail(g, "encodings.json: entry %d: %s", number, error.message);
    else if (!same(cJSON_GetObjectItem(item, list), &ids))
        golden_fail(g, "encodings.json: %s of entry %d are other tokens", list, number);
    pal_token_ids_free(&ids);
}

static void compare(golden *g, pal_tokenizer *t, const cJSON *item, int number)
{
    if (!cJSON_IsString(cJSON_GetObjectItem(item, "text"))) {
        golden_fail(g, "encodings.json: entry %d has no text", number);
        return;
    }
    compare_list(g, t, item, "ids", (pal_encode_opts){0}, number);
    compare_list(g, t, item, "with_special", (pal_encode_opts){.begin = true, .end = true}, number);
}

static void compare_all(golden *g, pal_tokenizer *t, const char *folder)
{
    char path[4096], *text;
    size_t size;
    pal_error error;
    const int failed = g->failed;
    int n = 0;
    snprintf(path, sizeof path, "%s/encodings.json", folder);
    if (pal_file_text(path, 1 << 24, &text, &size, &error) != PAL_OK) {
        golden_fail(g, "%s", error.message);
        return;
    }
    cJSON *all = cJSON_Parse(text);
    if (!cJSON_IsArray(all) || !all->child) golden_fail(g, "encodings.json is no list");
    for (const cJSON *item = all ? all->child : NULL; item; item = item->next)
        compare(g, t, item, n++);
    if (failed == g->failed) printf("  ok    encodings.json               %d texts\n", n);
    g->compared++;
    cJSON_Delete(all);
    free(text);
}

void golden_folder_encodings(golden *g, const char *folder)
{
    char path[4096], *text;
    size_t size;
    pal_error error;
    pal_tokenizer *t = NULL;
    snprintf(path, sizeof path, "%s/encodings.json", folder);
    if (access(path, F_OK) != 0) {
        printf("  note  %s is not there: no encodings are compared\n", path);
        return;
    }
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    pal_status s = pal_file_text(path, 1 << 28, &text, &size, &error);
    if (s == PAL_OK) s = pal_tokenizer_load(&t, text, (int64_t)size, &error);
    if (s == PAL_OK)
        compare_all(g, t, folder);
    else
        golden_fail(g, "%s", error.message);
    pal_tokenizer_free(t);
    free(text);
}
