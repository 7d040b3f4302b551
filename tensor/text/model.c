/*
 * model.c - vocabulary, merges and added tokens of a tokenizer.json.
 *
 * Ids are dense from 0, over the vocabulary and the added tokens that are not in it. A merge joins
 * two tokens into the one that is spelled as both, and its bytes are the bytes of both.
 */
#include "tensor/text/internal.h"

#include <stdlib.h>
#include <string.h>

#define get cJSON_GetObjectItemCaseSensitive

static pal_status no_memory(pal_error *error)
{
    return pal_error_set(error, PAL_ENOMEM, "tokenizer.json: out of memory");
}

static int32_t id_of(const pal_tokenizer *b, const char *key, int64_t size)
{
    int32_t i = pal_bpe_names_find(&b->key, key, size);
    return i < 0 ? -1 : b->key_id[i];
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
    for (const cJSON *a = added ? added->child : NULL; a && s == PAL_OK; a = a->next) {
        const char *text = get(a, "content")->valuestring;
        int32_t id = id_of(b, text, (int64_t)strlen(text)), own;
        bool fits = pal_bpe_whole(get(a, "id"), &own);
        if (id >= 0 && (!fits || own != id))
            return pal_bpe_bad(error, "added token '%.60s' has another id in the vocabulary", text);
        if (id < 0) s = add_key(b, text, get(a, "id"), error);
        if (s == PAL_OK)
            b->added[b->addeds++] =
                (pal_bpe_added){.text = text,
                                .size = (int64_t)strlen(text),
                                .id = own,
                                .normalized = cJSON_IsTrue(get(a, "normalized"))};
    }
    b->vocab = b->key.count;
    return s;
}

/* Which key has an id: id -> key. */
static pal_status keys_by_id(const pal_tokenizer *b, int32_t *key_of, pal_error *error)
{
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

static pal_status fill_text(pal_tokenizer *b, const int32_t *key_of, const int32_t *added_of,
                            pal_error *error)
{
    int64_t at = 0;
    for (int64_t id = 0; id < b->vocab; id++) {
        int64_t size, length;
        const char *key = pal_bpe_names_get(&b->key, key_of[id], &size);
        b->text_at[id] = at;
        if (added_of[id] >= 0) {
            pal_bpe_added *a = &b->added[added_of[id]];
            memcpy(b->text + at, a->text, (size_t)a->size);
            a->text = b->text + at;
            length = a->size;
        } else {
            length = pal_bpe_unspell(key, size, b->text + at);
            if (length < 0)
                return pal_bpe_bad(error, "the token '%.*s' has characters that stand for no byte",
                                   (int)(size > 60 ? 60 : size), key);
        }
        at += length;
    }
    b->text_at[b->vocab] = at;
    for (int byte = 0; byte < 256; byte++) {
        char spelled[2];
        int length = pal_bpe_spell((unsigned char)byte, spelled);
        int32_t id = id_of(b, spelled, length);
        if (id < 0 || b->text_at[id + 1] - b->text_at[id] != 1)
            return pal_bpe_bad(error, "the vocabulary has no token of byte %d, '%.*s'", byte,
                               length, spelled);
        b->byte_id[byte] = id;
    }
    return PAL_OK;
}

static pal_status bytes_of_tokens(pal_tokenizer *b, pal_error *error)
{
    const int64_t all = b->vocab ? b->key.end[b->vocab - 1] : 0;
    int32_t *key_of = malloc((size_t)(b->vocab + 1) * sizeof *key_of);
    int32_t *added_of = malloc((size_t)(b->vocab + 1) * sizeof *added_of);
    b->text = malloc((size_t)all + 1);
    b->text_at = malloc((size_t)(b->vocab + 1) * sizeof *b->text_at);
    const bool room = key_of && added_of && b->text && b->text_at;
    pal_status s = room ? keys_by_id(b, key_of, error) : no_memory(error);
    if (s == PAL_OK) {
        for (int64_t i = 0; i < b->vocab; i++) added_of[i] = -1;
        for (int32_t i = 0; i < b->addeds; i++) added_of[b->added[i].id] = i;
        s = fill_text(b, key_of, added_of, error);
    }
    free(key_of);
    free(added_of);
    return s;
}

/* Added tokens by their first byte, longer ones first; of equal length they differ. */
static pal_status chain_added(pal_tokenizer *b, pal_error *error)
{
    for (int i = 0; i < 256; i++) b->first[i] = -1;
    for (int32_t i = 0; i < b->addeds; i++) {
        pal_bpe_added *a = &b->added[i];
        int32_t *link = &b->first[(unsigned char)a->text[0]];
        for (; *link >= 0 && b->added[*link].size >= a->size; link = &b->added[*link].next)
            if (b->added[*link].id == a->id)
                return pal_bpe_bad(error, "the added token '%.*s' stands twice",
                                   (int)(a->size > 60 ? 60 : a->size), a->text);
        a->next = *link;
        *link = i;
    }
    return PAL_OK;
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
    int64_t length[3];
    const char *text[3];
    for (int i = 0; i < 3; i++) text[i] = pal_tokenizer_token(b, id[i], &length[i]);
    if (!text[2] || length[2] != length[0] + length[1] ||
        memcmp(text[2], text[0], (size_t)length[0]) != 0 ||
        memcmp(text[2] + length[0], text[1], (size_t)length[1]) != 0)
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
    static const char *const off[] = {"dropout", "unk_token", "continuing_subword_prefix",
                                      "end_of_word_suffix", "byte_fallback"};
    bool fuse;
    const cJSON *type = get(model, "type"); /* files before 2020 have none */
    if (cJSON_IsObject(model) && type &&
        !(cJSON_IsString(type) && strcmp(type->valuestring, "BPE") == 0))
        return pal_bpe_bad(error, "model.type is '%.60s'; BPE is supported",
                           cJSON_IsString(type) ? type->valuestring : "no string");
    pal_status s = pal_bpe_object(model, "model", known, error);
    for (size_t i = 0; s == PAL_OK && i < sizeof off / sizeof *off; i++)
        s = pal_bpe_off(model, "model", off[i], error);
    if (s == PAL_OK) s = pal_bpe_bool(model, "model", "fuse_unk", false, &fuse, error);
    if (s == PAL_OK)
        s = pal_bpe_bool(model, "model", "ignore_merges", false, &b->ignore_merges, error);
    if (s == PAL_OK) s = add_keys(b, get(model, "vocab"), added, error);
    if (s == PAL_OK) s = bytes_of_tokens(b, error);
    if (s == PAL_OK) s = chain_added(b, error);
    if (s == PAL_OK) s = add_merges(b, get(model, "merges"), error);
    return s;
}
