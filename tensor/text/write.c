/*
 * write.c - the tokenizer.json of a trained tokenizer, in the form that `tokenizers` 0.10 and later
 * load.
 */
#include "tensor/text/internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct writer {
    pal_bpe_names key;
    cJSON *vocab, *merges;
    bool failed; /* out of memory, once for all */
} writer;

static cJSON *put(writer *w, cJSON *to, const char *key, cJSON *item)
{
    if (cJSON_AddItemToObject(to, key, item)) return item;
    cJSON_Delete(item);
    w->failed = true;
    return NULL;
}

/* The next token, unless it is one already. The key is ended by NUL. */
static void put_token(writer *w, const char *key)
{
    const int64_t count = w->key.count;
    int32_t i = pal_bpe_names_add(&w->key, key, (int64_t)strlen(key));
    if (i < 0) w->failed = true;
    if (i == count) put(w, w->vocab, key, cJSON_CreateNumber(i));
}

/* left, `between` (or nothing) and right, ended by NUL; NULL without memory. */
static char *spell_pair(writer *w, const struct pal_bpe_merge *m, const char *between)
{
    int64_t size[2];
    const char *left = pal_bpe_names_get(&w->key, m->left, &size[0]);
    const char *right = pal_bpe_names_get(&w->key, m->right, &size[1]);
    char *text = malloc((size_t)(size[0] + size[1]) + 2);
    if (text)
        sprintf(text, "%.*s%s%.*s", (int)size[0], left, between, (int)size[1], right);
    else
        w->failed = true;
    return text;
}

static void put_merge(writer *w, const struct pal_bpe_merge *m)
{
    char *pair = spell_pair(w, m, " "), *result = spell_pair(w, m, "");
    cJSON *item = pair ? cJSON_CreateString(pair) : NULL;
    if (!cJSON_AddItemToArray(w->merges, item)) {
        cJSON_Delete(item);
        w->failed = true;
    }
    if (result) put_token(w, result);
    free(pair);
    free(result);
}

static void put_byte_level(writer *w, cJSON *root, const char *name)
{
    cJSON *o = put(w, root, name, cJSON_CreateObject());
    put(w, o, "type", cJSON_CreateString("ByteLevel"));
    put(w, o, "add_prefix_space", cJSON_CreateFalse());
    put(w, o, "trim_offsets", cJSON_CreateTrue());
    put(w, o, "use_regex", cJSON_CreateTrue());
}

static void put_special(writer *w, cJSON *list, const char *text, int64_t id)
{
    cJSON *o = cJSON_CreateObject();
    if (!cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        w->failed = true;
        return;
    }
    put(w, o, "id", cJSON_CreateNumber((double)id));
    put(w, o, "content", cJSON_CreateString(text));
    put(w, o, "single_word", cJSON_CreateFalse());
    put(w, o, "lstrip", cJSON_CreateFalse());
    put(w, o, "rstrip", cJSON_CreateFalse());
    put(w, o, "normalized", cJSON_CreateFalse());
    put(w, o, "special", cJSON_CreateTrue());
}

static void put_model(writer *w, cJSON *root)
{
    cJSON *model = put(w, root, "model", cJSON_CreateObject());
    put(w, model, "type", cJSON_CreateString("BPE"));
    put(w, model, "dropout", cJSON_CreateNull());
    put(w, model, "unk_token", cJSON_CreateNull());
    put(w, model, "continuing_subword_prefix", cJSON_CreateNull());
    put(w, model, "end_of_word_suffix", cJSON_CreateNull());
    put(w, model, "fuse_unk", cJSON_CreateFalse());
    put(w, model, "byte_fallback", cJSON_CreateFalse());
    w->vocab = put(w, model, "vocab", cJSON_CreateObject());
    w->merges = put(w, model, "merges", cJSON_CreateArray());
}

pal_status pal_bpe_write(char **json, const char *const *special, int64_t specials,
                         const struct pal_bpe_merge *merge, int64_t merges, pal_error *error)
{
    writer w = {0};
    cJSON *root = cJSON_CreateObject();
    put(&w, root, "version", cJSON_CreateString("1.0"));
    put(&w, root, "truncation", cJSON_CreateNull());
    put(&w, root, "padding", cJSON_CreateNull());
    cJSON *added = put(&w, root, "added_tokens", cJSON_CreateArray());
    put(&w, root, "normalizer", cJSON_CreateNull());
    put_byte_level(&w, root, "pre_tokenizer");
    put(&w, root, "post_processor", cJSON_CreateNull());
    put_byte_level(&w, root, "decoder");
    put_model(&w, root);
    for (int i = 0; i < 256; i++) {
        char key[3] = {0};
        pal_bpe_spell(pal_bpe_alphabet(i), key);
        put_token(&w, key);
    }
    for (int64_t i = 0; i < specials; i++) {
        put_special(&w, added, special[i], 256 + i);
        put_token(&w, special[i]);
    }
    for (int64_t i = 0; i < merges && !w.failed; i++) put_merge(&w, &merge[i]);
    *json = w.failed ? NULL : cJSON_Print(root);
    cJSON_Delete(root);
    pal_bpe_names_free(&w.key);
    return *json ? PAL_OK : pal_error_set(error, PAL_ENOMEM, "pal_tokenizer_train: out of memory");
}
