/* ends.c - which tokens end a text. */
#include "tensor/text/ends.h"
#include "tensor/text/internal.h"

#include <string.h>

#define get cJSON_GetObjectItemCaseSensitive

static pal_status add(pal_token_ids *to, int64_t id, pal_error *error)
{
    for (int64_t i = 0; i < to->count; i++)
        if (to->id[i] == id) return PAL_OK;
    if (!pal_bpe_grow((void **)&to->id, &to->room, to->count + 1, sizeof *to->id))
        return pal_error_set(error, PAL_ENOMEM, "out of memory for tokens");
    to->id[to->count++] = id;
    return PAL_OK;
}

static pal_status add_item(pal_token_ids *to, const cJSON *item, pal_error *error)
{
    int32_t id;
    pal_status s = PAL_OK;
    if (!item || cJSON_IsNull(item)) return PAL_OK;
    if (cJSON_IsArray(item)) {
        for (const cJSON *i = item->child; i && s == PAL_OK; i = i->next)
            s = pal_bpe_whole(i, &id)
                    ? add(to, id, error)
                    : pal_error_set(error, PAL_EFORMAT, "eos_token_id has something else than ids");
        return s;
    }
    if (!pal_bpe_whole(item, &id))
        return pal_error_set(error, PAL_EFORMAT, "eos_token_id is neither an id nor a list of ids");
    return add(to, id, error);
}

pal_status pal_ends_read(const char *json, int64_t size, pal_token_ids *to, pal_error *error)
{
    cJSON *root = size > 0 ? cJSON_ParseWithLength(json, (size_t)size) : NULL;
    if (!cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return pal_error_set(error, PAL_EFORMAT, "it is no JSON object");
    }
    pal_status s = add_item(to, get(root, "eos_token_id"), error);
    if (s == PAL_OK) s = add_item(to, get(get(root, "text_config"), "eos_token_id"), error);
    cJSON_Delete(root);
    return s;
}

pal_status pal_ends_named(const pal_tokenizer *b, pal_token_ids *to, pal_error *error)
{
    static const char *const names[] = {"</s>",          "<|endoftext|>", "<|end_of_text|>",
                                        "<|im_end|>",    "<eos>",         "<|eot_id|>",
                                        "<end_of_turn>", "<|end|>",       "<|eos|>",
                                        "<EOS>",         "[EOS]",         "<|end_of_turn|>"};
    pal_status s = PAL_OK;
    int64_t only = -1, specials = 0, found = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && s == PAL_OK; i++) {
        const int64_t id = pal_tokenizer_special(b, names[i]);
        if (id < 0) continue;
        found++;
        s = add(to, id, error);
    }
    for (int64_t i = 0; i < b->addeds; i++)
        if (b->added[i].special) {
            only = b->added[i].id;
            specials++;
        }
    return s == PAL_OK && found == 0 && specials == 1 ? add(to, only, error) : s;
}
