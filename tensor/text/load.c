/*
 * load.c - a tokenizer from the text of its tokenizer.json, or of the bytes.
 */
#include "tensor/text/internal.h"

#include <stdlib.h>
#include <string.h>

#define get cJSON_GetObjectItemCaseSensitive

/* ---- What cuts a text into pretokens ---- */

static const char *type_of(const cJSON *o)
{
    const cJSON *type = get(o, "type");
    return cJSON_IsString(type) ? type->valuestring : "";
}

/* The options of a ByteLevel, which stands in three places of the file. */
static pal_status byte_level(const cJSON *o, const char *where, bool *prefix_space, bool *use_regex,
                             pal_error *error)
{
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                        NULL};
    bool trim;
    if (cJSON_IsObject(o) && strcmp(type_of(o), "ByteLevel") != 0)
        return pal_bpe_bad(error, "%s of type '%.60s' is not supported", where, type_of(o));
    pal_status s = pal_bpe_object(o, where, known, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, where, "add_prefix_space", -1, prefix_space, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, where, "trim_offsets", true, &trim, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, where, "use_regex", true, use_regex, error);
    return s;
}

static pal_status digits(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    static const char *const known[] = {"type", "individual_digits", NULL};
    bool each;
    pal_status s = pal_bpe_object(o, "pre_tokenizer Digits", known, error);
    if (s == PAL_OK)
        s = pal_bpe_bool(o, "pre_tokenizer Digits", "individual_digits", false, &each, error);
    return s == PAL_OK ? pal_bpe_stage_add(b, each ? "\\p{N}" : "\\p{N}+", false, error) : s;
}

static pal_status split(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    static const char where[] = "pre_tokenizer Split";
    static const char *const known[] = {"type", "pattern", "behavior", "invert", NULL};
    static const char *const kinds[] = {"Regex", "String", NULL};
    const char *behavior, *text;
    bool invert;
    const cJSON *pattern = get(o, "pattern");
    pal_status s = pal_bpe_object(o, where, known, error);
    if (s == PAL_OK) s = pal_bpe_string(o, where, "behavior", &behavior, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, where, "invert", false, &invert, error);
    if (s == PAL_OK) s = pal_bpe_object(pattern, "pre_tokenizer Split.pattern", kinds, error);
    if (s != PAL_OK) return s;
    if (strcmp(behavior, "Isolated") != 0)
        return pal_bpe_bad(error, "%s.behavior '%.60s' is not supported; Isolated is", where,
                           behavior);
    if (cJSON_GetArraySize(pattern) != 1) return pal_bpe_bad(error, "%s.pattern is not one", where);
    /* Matches and what lies between them are kept alike, so that invert changes nothing. */
    s = pal_bpe_string(pattern, where, pattern->child->string, &text, error);
    if (s == PAL_OK && text[0] == 0) return pal_bpe_bad(error, "%s.pattern is empty", where);
    if (s != PAL_OK) return s;
    return pal_bpe_stage_add(b, text, strcmp(pattern->child->string, "String") == 0, error);
}

static pal_status sequence(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    static const char *const known[] = {"type", "pretokenizers", NULL};
    pal_status s = pal_bpe_object(o, "pre_tokenizer", known, error);
    const cJSON *list = get(o, "pretokenizers");
    if (s != PAL_OK) return s;
    if (!cJSON_IsArray(list) || !list->child)
        return pal_bpe_bad(error, "pre_tokenizer.pretokenizers is no list, or empty");
    for (const cJSON *p = list->child; p && s == PAL_OK; p = p->next) {
        bool use_regex;
        if (p->next && strcmp(type_of(p), "Split") == 0) {
            s = split(b, p, error);
        } else if (p->next && strcmp(type_of(p), "Digits") == 0) {
            s = digits(b, p, error);
        } else if (p->next) {
            s = pal_bpe_bad(error,
                            "pre_tokenizer of type '%.60s' in a Sequence is not supported there",
                            type_of(p));
        } else {
            s = byte_level(p, "pre_tokenizer", &b->prefix_space, &use_regex, error);
            if (s == PAL_OK && b->prefix_space && b->stages)
                s = pal_bpe_bad(error, "pre_tokenizer.add_prefix_space after a Split or Digits is "
                                       "not supported");
            if (s == PAL_OK && use_regex)
                s = pal_bpe_stage_add(b, pal_bpe_gpt2_pattern, false, error);
        }
    }
    return s;
}

pal_status pal_bpe_load_pretokenizer(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    if (cJSON_IsObject(o) && strcmp(type_of(o), "Sequence") == 0) return sequence(b, o, error);
    bool use_regex;
    pal_status s = byte_level(o, "pre_tokenizer", &b->prefix_space, &use_regex, error);
    if (s == PAL_OK && use_regex) s = pal_bpe_stage_add(b, pal_bpe_gpt2_pattern, false, error);
    return s;
}

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
        for (int i = 2; i <= 4 && s == PAL_OK; i++) s = pal_bpe_off(a, where, known[i], error);
        for (int i = 5; i <= 6 && s == PAL_OK; i++)
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
    bool unused, unused2;
    const cJSON *post = get(root, "post_processor"), *added = get(root, "added_tokens");
    const cJSON *normalizer = get(root, "normalizer"), *list = get(normalizer, "normalizers");
    const bool no_normalizer =
        strcmp(type_of(normalizer), "Sequence") == 0 && cJSON_IsArray(list) && !list->child;
    pal_status s = pal_bpe_object(root, "the file", known, error);
    if (s == PAL_OK) s = pal_bpe_string(root, "the file", "version", &version, error);
    if (s == PAL_OK && strcmp(version, "1.0") != 0)
        s = pal_bpe_bad(error, "version '%.60s' is not supported; 1.0 is", version);
    if (s == PAL_OK) s = pal_bpe_off(root, "the file", "truncation", error);
    if (s == PAL_OK) s = pal_bpe_off(root, "the file", "padding", error);
    if (s == PAL_OK && !no_normalizer) s = pal_bpe_off(root, "the file", "normalizer", error);
    if (s == PAL_OK && post && !cJSON_IsNull(post))
        s = byte_level(post, "post_processor", &unused, &unused2, error);
    if (s == PAL_OK) s = byte_level(get(root, "decoder"), "decoder", &unused, &unused2, error);
    if (s == PAL_OK) s = pal_bpe_load_pretokenizer(b, get(root, "pre_tokenizer"), error);
    if (s == PAL_OK) s = check_added(added, error);
    if (s == PAL_OK) s = pal_bpe_load_model(b, get(root, "model"), added, error);
    return s;
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
        b->first[i] = -1;
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
    for (int i = 0; i < b->stages; i++) pcre2_code_free(b->stage[i]);
    pcre2_match_data_free(b->match);
    pcre2_match_context_free(b->limits);
    pcre2_jit_stack_free(b->stack);
    void *memory[] = {b->json,  b->key_id, b->text,   b->text_at, b->merge,
                      b->added, b->cache,  b->symbol, b->heap,    b->spelled};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) free(memory[i]);
    free(b);
}
