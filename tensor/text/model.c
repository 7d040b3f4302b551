/*
 * model.c - vocabulary, merges and added tokens of a tokenizer.json.
 *
 * Ids are dense from 0, over the vocabulary and the added tokens that are not in it. A merge joins
 * two tokens into the one that is spelled as both; with ByteLevel its bytes are the bytes of both.
 */
#include "tensor/text/internal.h"

#include <stdlib.h>
#include <string.h>

#define get cJSON_GetObjectItemCaseSensitive

static pal_status no_memory(pal_error *error)
{
    return pal_error_set(error, PAL_ENOMEM, "tokenizer.json: out of memory");
}

/* The id of a token of the model, which added tokens that stand beside it are not. */
static int32_t id_of(const pal_tokenizer *b, const char *key, int64_t size)
{
    const int32_t i = pal_bpe_names_find(&b->key, key, size);
    return i < 0 || i >= b->model_keys ? -1 : b->key_id[i];
}

/* ---- Keys and ids ---- */

static pal_status add_key(pal_tokenizer *b, const char *key, const cJSON *item, pal_error *error)
{
    int32_t id;
    const int64_t known = b->key.count;
    if (!pal_bpe_whole(item, &id)) return pal_bpe_bad(error, "the id of '%.60s' is no id", key);
    if (key[0] == 0) return pal_bpe_bad(error, "a token is the empty string");
    int32_t i = pal_bpe_names_add(&b->key, key, (int64_t)strlen(key));
    if (i < 0) return no_memory(error);
    if (i < known) return pal_bpe_bad(error, "the token '%.60s' stands twice", key);
    b->key_id[i] = id;
    return PAL_OK;
}

static pal_status add_added(pal_tokenizer *b, const cJSON *item, pal_error *error)
{
    const char *text = get(item, "content")->valuestring;
    const int64_t size = (int64_t)strlen(text);
    const int32_t known = pal_bpe_names_find(&b->key, text, size);
    int32_t own;
    pal_status s = PAL_OK;
    const bool fits = pal_bpe_whole(get(item, "id"), &own);
    if (known >= 0 && (!fits || own != b->key_id[known]))
        return pal_bpe_bad(error, "added token '%.60s' has another id in the vocabulary", text);
    if (known < 0) s = add_key(b, text, get(item, "id"), error);
    if (s != PAL_OK) return s;
    b->added[b->addeds++] = (pal_bpe_added){.text = text,
                                            .size = size,
                                            .id = own,
                                            .normalized = cJSON_IsTrue(get(item, "normalized")),
                                            .special = cJSON_IsTrue(get(item, "special")),
                                            .single_word = cJSON_IsTrue(get(item, "single_word")),
                                            .lstrip = cJSON_IsTrue(get(item, "lstrip")),
                                            .rstrip = cJSON_IsTrue(get(item, "rstrip"))};
    return PAL_OK;
}

static pal_status add_keys(pal_tokenizer *b, const cJSON *vocab, const cJSON *added,
                           pal_error *error)
{
    pal_status s = PAL_OK;
    if (!cJSON_IsObject(vocab)) return pal_bpe_bad(error, "model.vocab is missing or no object");
    int64_t most = (int64_t)cJSON_GetArraySize(vocab) + cJSON_GetArraySize(added);
    b->key_id = calloc((size_t)most + 1, sizeof *b->key_id);
    b->added = calloc((size_t)most + 1, sizeof *b->added);
    if (!b->key_id || !b->added) return no_memory(error);
    for (const cJSON *v = vocab->child; v && s == PAL_OK; v = v->next)
        s = add_key(b, v->string, v, error);
    b->model_keys = b->key.count;
    for (const cJSON *a = added ? added->child : NULL; a && s == PAL_OK; a = a->next)
        s = add_added(b, a, error);
    b->vocab = b->key.count;
    return s;
}

/* Which key has an id: id -> key. */
static pal_status keys_by_id(const pal_tokenizer *b, pal_error *error)
{
    int32_t *key_of = b->key_of;
    for (int64_t i = 0; i < b->vocab; i++) key_of[i] = -1;
    for (int32_t k = 0; k < b->vocab; k++) {
        int64_t size;
        const char *key = pal_bpe_names_get(&b->key, k, &size);
        const int32_t id = b->key_id[k];
        if (id >= b->vocab || key_of[id] >= 0)
            return pal_bpe_bad(
                error, "the id %d of '%.*s' is %s; ids are wanted from 0 to %lld, each once", id,
                (int)(size > 60 ? 60 : size), key,
                id < b->vocab ? "another token's too" : "too large", (long long)b->vocab - 1);
        key_of[id] = k;
    }
    return PAL_OK;
}

/* ---- Bytes ---- */

/* The tokens of the single bytes: their characters, or <0xHH>. Every byte has one, or there is a
 * token for what is unknown. */
static pal_status bytes_of_one(pal_tokenizer *b, const char *unk, pal_error *error)
{
    int missing = -1;
    for (int byte = 0; byte < 256; byte++) {
        char spelled[8];
        int length = 6;
        if (b->bytes)
            length = pal_bpe_spell((unsigned char)byte, spelled);
        else
            snprintf(spelled, sizeof spelled, "<0x%02X>", (unsigned)byte);
        b->byte_id[byte] = b->bytes || b->byte_fallback ? id_of(b, spelled, length) : -1;
        const int32_t id = b->byte_id[byte];
        if (id < 0 || (b->bytes && b->text_at[id + 1] - b->text_at[id] != 1)) missing = byte;
    }
    b->unk = unk ? id_of(b, unk, (int64_t)strlen(unk)) : -1;
    if (missing < 0 || b->unk >= 0) return PAL_OK;
    if (unk) return pal_bpe_bad(error, "model.unk_token '%.60s' is not in the vocabulary", unk);
    if (!b->bytes && !b->byte_fallback)
        return pal_bpe_bad(error, "a text could have no tokens: there is neither a pre_tokenizer "
                                  "ByteLevel, nor model.byte_fallback, nor model.unk_token");
    return pal_bpe_bad(error, "the vocabulary has no token of byte %d", missing);
}

/* With ByteLevel a key spells bytes, unless it is an added token. Otherwise the decoder says what
 * it stands for (load_decode.c). */
static pal_status fill_text(pal_tokenizer *b, const bool *is_added, pal_error *error)
{
    int64_t at = 0;
    for (int64_t id = 0; id < b->vocab; id++) {
        int64_t size, length;
        const char *key = pal_bpe_names_get(&b->key, b->key_of[id], &size);
        b->text_at[id] = at;
        if (is_added[id] || !b->bytes) {
            memcpy(b->text + at, key, (size_t)size);
            length = size;
        } else {
            length = pal_bpe_unspell(key, size, b->text + at);
            if (length < 0)
                return pal_bpe_bad(error, "the token '%.*s' has characters that stand for no byte",
                                   (int)(size > 60 ? 60 : size), key);
        }
        at += length;
    }
    b->text_at[b->vocab] = at;
    return PAL_OK;
}

static pal_status texts_of_tokens(pal_tokenizer *b, pal_error *error)
{
    const int64_t all = b->vocab ? b->key.end[b->vocab - 1] : 0;
    bool *is_added = calloc((size_t)b->vocab + 1, sizeof *is_added);
    b->is_special = calloc((size_t)b->vocab + 1, sizeof *b->is_special);
    b->key_of = malloc((size_t)(b->vocab + 1) * sizeof *b->key_of);
    b->text = malloc((size_t)all + 1);
    b->text_at = malloc((size_t)(b->vocab + 1) * sizeof *b->text_at);
    const bool room = is_added && b->is_special && b->key_of && b->text && b->text_at;
    pal_status s = room ? keys_by_id(b, error) : no_memory(error);
    for (int64_t i = 0; i < b->addeds && s == PAL_OK; i++) {
        pal_bpe_added *a = &b->added[i];
        a->text = pal_bpe_names_get(&b->key, b->key_of[a->id], &a->size);
        b->is_special[a->id] |= a->special;
        if (is_added[a->id])
            s = pal_bpe_bad(error, "the added token '%.*s' stands twice",
                            (int)(a->size > 60 ? 60 : a->size), a->text);
        is_added[a->id] = true;
    }
    if (s == PAL_OK) s = fill_text(b, is_added, error);
    free(is_added);
    return s;
}

/* ---- Merges ---- */

/* The two parts of a merge, of either form; false if it is neither. */
static bool parts(const cJSON *item, const char *part[2], int64_t size[2])
{
    if (cJSON_IsString(item)) {
        part[0] = item->valuestring;
        const char *space = strchr(part[0], ' ');
        if (!space || strchr(space + 1, ' ')) return false;
        part[1] = space + 1;
        size[0] = space - part[0];
        size[1] = (int64_t)strlen(part[1]);
        return true;
    }
    if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != 2 || !cJSON_IsString(item->child) ||
        !cJSON_IsString(item->child->next))
        return false;
    part[0] = item->child->valuestring;
    part[1] = item->child->next->valuestring;
    for (int i = 0; i < 2; i++) size[i] = (int64_t)strlen(part[i]);
    return true;
}

/* Whether the third token is there, and stands for the bytes of the first two. */
static bool joins(const pal_tokenizer *b, const int32_t id[3])
{
    int64_t size[3];
    const char *text[3];
    if (id[2] < 0 || !b->bytes) return id[2] >= 0;
    for (int i = 0; i < 3; i++) text[i] = pal_tokenizer_token(b, id[i], &size[i]);
    return size[2] == size[0] + size[1] && memcmp(text[2], text[0], (size_t)size[0]) == 0 &&
           memcmp(text[2] + size[0], text[1], (size_t)size[1]) == 0;
}

static pal_status add_merge(pal_tokenizer *b, const cJSON *item, pal_error *error)
{
    const char *part[2];
    int64_t size[2];
    const int64_t number = b->merges;
    if (!parts(item, part, size))
        return pal_bpe_bad(error, "merge %lld is neither \"a b\" nor [\"a\", \"b\"]",
                           (long long)number);
    int32_t id[3];
    for (int i = 0; i < 2; i++) {
        id[i] = id_of(b, part[i], size[i]);
        if (id[i] < 0)
            return pal_bpe_bad(error, "merge %lld: '%.*s' is not in the vocabulary",
                               (long long)number, (int)(size[i] > 60 ? 60 : size[i]), part[i]);
    }
    if (!pal_bpe_grow((void **)&b->spelled, &b->spelled_room, size[0] + size[1], 1))
        return no_memory(error);
    memcpy(b->spelled, part[0], (size_t)size[0]);
    memcpy(b->spelled + size[0], part[1], (size_t)size[1]);
    id[2] = id_of(b, b->spelled, size[0] + size[1]);
    if (!joins(b, id))
        return pal_bpe_bad(error, "merge %lld: its result '%.*s' is no such token",
                           (long long)number,
                           (int)(size[0] + size[1] > 60 ? 60 : size[0] + size[1]), b->spelled);
    if (pal_bpe_pairs_find(&b->rank, id[0], id[1]) >= 0)
        return pal_bpe_bad(error, "merge %lld has the parts of an earlier one", (long long)number);
    if (!pal_bpe_pairs_put(&b->rank, id[0], id[1], (int32_t)number)) return no_memory(error);
    b->merge[b->merges++] = (struct pal_bpe_merge){id[0], id[1], id[2]};
    return PAL_OK;
}

static pal_status add_merges(pal_tokenizer *b, const cJSON *merges, pal_error *error)
{
    pal_status s = PAL_OK;
    if (!cJSON_IsArray(merges)) return pal_bpe_bad(error, "model.merges is missing or no list");
    b->merge = malloc(((size_t)cJSON_GetArraySize(merges) + 1) * sizeof *b->merge);
    if (!b->merge) return no_memory(error);
    for (const cJSON *m = merges->child; m && s == PAL_OK; m = m->next) s = add_merge(b, m, error);
    return s;
}

pal_status pal_bpe_load_model(pal_tokenizer *b, const cJSON *model, const cJSON *added,
                              pal_error *error)
{
    static const char *const known[] = {"type",
                                        "dropout",
                                        "unk_token",
                                        "continuing_subword_prefix",
                                        "end_of_word_suffix",
                                        "fuse_unk",
                                        "byte_fallback",
                                        "ignore_merges",
                                        "vocab",
                                        "merges",
                                        NULL};
    static const char *const off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    const cJSON *type = get(model, "type"); /* files before 2020 have none */
    const char *unk = NULL;
    if (cJSON_IsObject(model) && type &&
        !(cJSON_IsString(type) && strcmp(type->valuestring, "BPE") == 0))
        return pal_bpe_bad(error, "model.type is '%.60s'; BPE is supported",
                           cJSON_IsString(type) ? type->valuestring : "no string");
    pal_status s = pal_bpe_object(model, "model", known, error);
    for (size_t i = 0; s == PAL_OK && i < sizeof off / sizeof *off; i++)
        s = pal_bpe_off(model, "model", off[i], error);
    const cJSON *no_unk = get(model, "unk_token");
    if (s == PAL_OK && no_unk && !cJSON_IsNull(no_unk))
        s = pal_bpe_string(model, "model", "unk_token", &unk, error);
    if (s == PAL_OK) s = pal_bpe_bool(model, "model", "fuse_unk", false, &b->fuse_unk, error);
    if (s == PAL_OK)
        s = pal_bpe_bool(model, "model", "byte_fallback", false, &b->byte_fallback, error);
    if (s == PAL_OK)
        s = pal_bpe_bool(model, "model", "ignore_merges", false, &b->ignore_merges, error);
    if (s == PAL_OK) s = add_keys(b, get(model, "vocab"), added, error);
    if (s == PAL_OK) s = texts_of_tokens(b, error);
    if (s == PAL_OK) s = bytes_of_one(b, unk, error);
    if (s == PAL_OK) s = add_merges(b, get(model, "merges"), error);
    return s;
}
