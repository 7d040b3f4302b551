/*
 * load.c - a tokenizer from the text of its tokenizer.json, or of the bytes.
 */
#include "tensor/text/internal.h"

#include <stdlib.h>
#include <string.h>

#define get cJSON_GetObjectItemCaseSensitive

/* ---- The file ---- */

static pal_status check_added(const cJSON *added, pal_error *error)
{
    static const char where[] = "added_tokens[]";
    static const char *const known[] = {"id",     "content",    "single_word", "lstrip",
                                        "rstrip", "normalized", "special",     NULL};
    pal_status s = PAL_OK;
    if (added && !cJSON_IsNull(added) && !cJSON_IsArray(added))
        return pal_bpe_bad(error, "added_tokens is no list");
    for (const cJSON *a = added ? added->child : NULL; a && s == PAL_OK; a = a->next) {
        const char *text;
        bool flag;
        s = pal_bpe_object(a, where, known, error);
        if (s == PAL_OK) s = pal_bpe_string(a, where, "content", &text, error);
        if (s == PAL_OK && text[0] == 0) s = pal_bpe_bad(error, "%s.content is empty", where);
        for (int i = 2; i <= 6 && s == PAL_OK; i++)
            s = pal_bpe_bool(a, where, known[i], false, &flag, error);
    }
    return s;
}

static pal_status read_root(pal_tokenizer *b, const cJSON *root, pal_error *error)
{
    static const char *const known[] = {
        "version",       "truncation",     "padding", "added_tokens", "normalizer",
        "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    const char *version;
    const cJSON *added = get(root, "added_tokens");
    pal_status s = pal_bpe_object(root, "the file", known, error);
    if (s == PAL_OK) s = pal_bpe_string(root, "the file", "version", &version, error);
    if (s == PAL_OK && strcmp(version, "1.0") != 0)
        s = pal_bpe_bad(error, "version '%.60s' is not supported; 1.0 is", version);
    if (s == PAL_OK) s = pal_bpe_off(root, "the file", "truncation", error);
    if (s == PAL_OK) s = pal_bpe_off(root, "the file", "padding", error);
    if (s == PAL_OK) s = pal_bpe_load_normalizer(b, get(root, "normalizer"), error);
    if (s == PAL_OK) s = pal_bpe_load_pretokenizer(b, get(root, "pre_tokenizer"), error);
    if (s == PAL_OK) s = check_added(added, error);
    if (s == PAL_OK) s = pal_bpe_load_model(b, get(root, "model"), added, error);
    if (s == PAL_OK) s = pal_bpe_load_decoder(b, get(root, "decoder"), error);
    if (s == PAL_OK) s = pal_bpe_load_post_processor(b, get(root, "post_processor"), error);
    return s == PAL_OK ? pal_bpe_make_finders(b, error) : s;
}

static pal_status make_bytes(pal_tokenizer *b, pal_error *error)
{
    b->vocab = 256;
    b->text = malloc(256);
    b->text_at = malloc(257 * sizeof *b->text_at);
    if (!b->text || !b->text_at)
        return pal_error_set(error, PAL_ENOMEM, "pal_tokenizer_load: out of memory");
    for (int i = 0; i < 256; i++) {
        b->text[i] = (char)(unsigned char)i;
        b->byte_id[i] = i;
    }
    for (int i = 0; i <= 256; i++) b->text_at[i] = i;
    return PAL_OK;
}

pal_status pal_tokenizer_load(pal_tokenizer **out, const char *json, int64_t size, pal_error *error)
{
    pal_error own;
    if (!error) error = &own;
    *out = NULL;
    if (size > 3 && memcmp(json, "\xef\xbb\xbf", 3) == 0)
        json += 3, size -= 3; /* byte order mark */
    if (size < 0 || size > INT32_MAX / 2)
        return pal_bpe_bad(error, "%lld bytes are more than 1 GiB", (long long)size);
    pal_tokenizer *b = calloc(1, sizeof *b);
    if (b) b->json = malloc((size_t)size + 1);
    if (!b || !b->json) {
        pal_tokenizer_free(b);
        return pal_error_set(error, PAL_ENOMEM, "pal_tokenizer_load: out of memory");
    }
    if (size) memcpy(b->json, json, (size_t)size);
    b->json[size] = 0;
    b->json_size = size;
    cJSON *root = NULL;
    pal_status s = size ? pal_bpe_parse(&root, b->json, size, error) : make_bytes(b, error);
    if (s == PAL_OK && size) s = read_root(b, root, error);
    cJSON_Delete(root);
    if (s == PAL_OK)
        *out = b;
    else
        pal_tokenizer_free(b);
    return s;
}

void pal_tokenizer_free(pal_tokenizer *b)
{
    if (!b) return;
    pal_bpe_names_free(&b->key);
    pal_bpe_pairs_free(&b->rank);
    pal_bpe_finders_free(b);
    pal_bpe_regex_free(b);
    for (int i = 0; i < b->steps; i++) free(b->step[i].content);
    void *memory[] = {b->json,   b->key_id, b->key_of,     b->text,    b->text_at,
                      b->merge,  b->added,  b->is_special, b->is_byte, b->cache,
                      b->symbol, b->heap,   b->spelled};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) free(memory[i]);
    free(b);
}
