/*
 * load_post.c - what a tokenizer.json puts around the tokens of a text: its post_processor.
 */
#include "tensor/text/internal.h"

#include <string.h>

#define get cJSON_GetObjectItemCaseSensitive

static const char POST[] = "post_processor";

/* A token before the others, outside of what is there already, or after them. */
static pal_status add_frame(pal_tokenizer *b, bool after, const int32_t *id, int count,
                            pal_error *error)
{
    int32_t *list = after ? b->after : b->before;
    int *n = after ? &b->afters : &b->befores;
    if (*n + count > PAL_BPE_FRAME)
        return pal_bpe_bad(error, "post_processor adds more than %d tokens", PAL_BPE_FRAME);
    for (int i = 0; i < count; i++)
        if (id[i] >= b->vocab)
            return pal_bpe_bad(error, "post_processor: there is no token %d", id[i]);
    if (!after) memmove(list + count, list, (size_t)*n * sizeof *list);
    memcpy(after ? list + *n : list, id, (size_t)count * sizeof *list);
    *n += count;
    return PAL_OK;
}

/* The ids that a template's special token stands for. */
static pal_status special(const cJSON *tokens, const char *name, int32_t *id, int *count,
                          pal_error *error)
{
    const cJSON *t = get(tokens, name), *ids = get(t, "ids");
    if (!cJSON_IsArray(ids))
        return pal_bpe_bad(error, "post_processor.special_tokens has no ids of '%.60s'", name);
    for (const cJSON *i = ids->child; i; i = i->next) {
        if (*count == PAL_BPE_FRAME)
            return pal_bpe_bad(error, "post_processor adds more than %d tokens", PAL_BPE_FRAME);
        if (!pal_bpe_whole(i, &id[*count]))
            return pal_bpe_bad(error, "post_processor: an id of '%.60s' is no id", name);
        ++*count;
    }
    return PAL_OK;
}

/* A part of a template: {"SpecialToken": {...}} or {"Sequence": {...}}. */
static pal_status part(const cJSON *item, const cJSON *tokens, bool *text, int32_t *id, int *count,
                       pal_error *error)
{
    static const char *const kinds[] = {"SpecialToken", "Sequence", NULL};
    static const char *const known[] = {"id", "type_id", NULL};
    const char *name;
    pal_status s = pal_bpe_object(item, "post_processor.single[]", kinds, error);
    if (s == PAL_OK && cJSON_GetArraySize(item) != 1)
        s = pal_bpe_bad(error, "post_processor.single[] is not one");
    if (s == PAL_OK) s = pal_bpe_object(item->child, "post_processor.single[]", known, error);
    if (s == PAL_OK) s = pal_bpe_string(item->child, "post_processor.single[]", "id", &name, error);
    if (s != PAL_OK) return s;
    *text = strcmp(item->child->string, "Sequence") == 0;
    if (!*text) return special(tokens, name, id, count, error);
    if (strcmp(name, "A") == 0) return PAL_OK;
    return pal_bpe_bad(error, "post_processor.single has a text '%.60s'; A is supported", name);
}

static pal_status template(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    static const char *const known[] = {"type", "single", "pair", "special_tokens", NULL};
    int32_t id[2][PAL_BPE_FRAME];
    int count[2] = {0, 0}, texts = 0;
    pal_status s = pal_bpe_object(o, POST, known, error);
    const cJSON *single = get(o, "single");
    if (s == PAL_OK && !cJSON_IsArray(single))
        s = pal_bpe_bad(error, "post_processor.single is no list");
    for (const cJSON *p = s == PAL_OK ? single->child : NULL; p && s == PAL_OK; p = p->next) {
        bool text;
        s = part(p, get(o, "special_tokens"), &text, id[texts > 0], &count[texts > 0], error);
        texts += s == PAL_OK && text;
    }
    if (s == PAL_OK && texts != 1)
        s = pal_bpe_bad(error, "post_processor.single has the text %d times; once is supported",
                        texts);
    for (int k = 0; k < 2 && s == PAL_OK; k++) s = add_frame(b, k == 1, id[k], count[k], error);
    return s;
}

/* RobertaProcessing, BertProcessing: cls before the text, sep after it, each ["<s>", 0]. */
static pal_status classic(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    static const char *const known[] = {"type", "sep", "cls", "trim_offsets", "add_prefix_space",
                                        NULL};
    pal_status s = pal_bpe_object(o, POST, known, error);
    for (int k = 0; k < 2 && s == PAL_OK; k++) {
        int32_t id;
        const cJSON *pair = get(o, k ? "sep" : "cls");
        if (!cJSON_IsArray(pair) || cJSON_GetArraySize(pair) != 2 || !cJSON_IsString(pair->child) ||
            !pal_bpe_whole(pair->child->next, &id))
            return pal_bpe_bad(error, "post_processor.%s is no token and its id",
                               k ? "sep" : "cls");
        s = add_frame(b, k == 1, &id, 1, error);
    }
    return s;
}

static pal_status processor(pal_tokenizer *b, const cJSON *o, int depth, pal_error *error)
{
    static const char *const known[] = {"type", "processors", NULL};
    const char *type = pal_bpe_type(o);
    if (strcmp(type, "ByteLevel") == 0) return pal_bpe_places(o, POST, error);
    if (strcmp(type, "TemplateProcessing") == 0) return template(b, o, error);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        return classic(b, o, error);
    if (strcmp(type, "Sequence") != 0 || depth > 4)
        return cJSON_IsObject(o)
                   ? pal_bpe_bad(error, "post_processor of type '%.60s' is not supported", type)
                   : pal_bpe_bad(error, "post_processor is no object");
    pal_status s = pal_bpe_object(o, POST, known, error);
    const cJSON *list = get(o, "processors");
    if (s == PAL_OK && !cJSON_IsArray(list))
        s = pal_bpe_bad(error, "post_processor.processors is no list");
    for (const cJSON *p = s == PAL_OK ? list->child : NULL; p && s == PAL_OK; p = p->next)
        s = processor(b, p, depth + 1, error);
    return s;
}

pal_status pal_bpe_load_post_processor(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    return !o || cJSON_IsNull(o) ? PAL_OK : processor(b, o, 0, error);
}
