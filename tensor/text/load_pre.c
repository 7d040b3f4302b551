/*
 * load_pre.c - what a tokenizer.json does to a text before the model reads it: normalizer and
 * pre_tokenizer.
 */
#include "tensor/text/internal.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

#define get cJSON_GetObjectItemCaseSensitive

static const char PRE[] = "pre_tokenizer", NORM[] = "normalizer";

/* ---- What several of them have ---- */

/* `pattern`, an object with one key that says of which kind it is. */
static pal_status pattern(pal_tokenizer *b, const cJSON *o, const char *where, pcre2_code **code,
                          bool *plain, pal_error *error)
{
    static const char *const kinds[] = {"Regex", "String", NULL};
    char name[80];
    const char *text;
    const cJSON *p = get(o, "pattern");
    snprintf(name, sizeof name, "%s.pattern", where);
    pal_status s = pal_bpe_object(p, name, kinds, error);
    if (s != PAL_OK) return s;
    if (cJSON_GetArraySize(p) != 1) return pal_bpe_bad(error, "%s is not one", name);
    s = pal_bpe_string(p, name, p->child->string, &text, error);
    if (s == PAL_OK && text[0] == 0) s = pal_bpe_bad(error, "%s is empty", name);
    if (s != PAL_OK) return s;
    *plain = strcmp(p->child->string, "String") == 0;
    return pal_bpe_compile(b, text, *plain ? PAL_BPE_PLAIN : PAL_BPE_ONIGURUMA, code, error);
}

static pal_status behavior(const cJSON *o, const char *where, bool needed, pal_bpe_behavior *is,
                           pal_error *error)
{
    static const char *const names[] = {"Isolated",       "Removed",    "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous", NULL};
    const char *text;
    *is = PAL_BPE_ISOLATED;
    if (!needed && !get(o, "behavior")) return PAL_OK;
    pal_status s = pal_bpe_string(o, where, "behavior", &text, error);
    if (s != PAL_OK) return s;
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], text) == 0) {
            *is = (pal_bpe_behavior)i;
            return PAL_OK;
        }
    return pal_bpe_bad(error, "%s.behavior '%.60s' is not known", where, text);
}

/* ---- Pre_tokenizers ---- */

static pal_status add_stage(pal_tokenizer *b, pal_bpe_stage stage, pal_error *error)
{
    if (b->stages < PAL_BPE_STAGES) {
        b->stage[b->stages++] = stage;
        return PAL_OK;
    }
    pcre2_code_free(stage.code);
    return pal_bpe_bad(error, "pre_tokenizer has more than %d parts", PAL_BPE_STAGES);
}

static pal_status add_cut(pal_tokenizer *b, const char *own, pal_bpe_behavior how, pal_error *error)
{
    pal_bpe_stage stage = {.behavior = how};
    const pal_status s = pal_bpe_compile(b, own, PAL_BPE_OWN, &stage.code, error);
    return s == PAL_OK ? add_stage(b, stage, error) : s;
}

/* After a ByteLevel that is not the last, pieces are spelled in its alphabet. */
static pal_status byte_level(pal_tokenizer *b, const cJSON *o, bool is_last, pal_error *error)
{
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                        NULL};
    bool trim, prefix, use_regex;
    if (b->bytes) return pal_bpe_bad(error, "pre_tokenizer has two ByteLevel");
    pal_bpe_stage stage = {.behavior = PAL_BPE_WHOLE};
    pal_status s = pal_bpe_object(o, PRE, known, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, PRE, "add_prefix_space", -1, &prefix, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, PRE, "trim_offsets", true, &trim, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, PRE, "use_regex", true, &use_regex, error);
    if (s != PAL_OK) return s;
    b->bytes = true;
    if (prefix) {
        stage.prefix = true;
        strcpy(stage.space, " ");
    }
    if (use_regex) {
        stage.behavior = PAL_BPE_ISOLATED;
        s = pal_bpe_compile(b, pal_bpe_gpt2_pattern, PAL_BPE_ONIGURUMA, &stage.code, error);
    }
    if (s == PAL_OK && (prefix || use_regex)) s = add_stage(b, stage, error);
    if (s != PAL_OK || is_last) return s;
    b->spelled_pieces = true;
    return add_stage(b, (pal_bpe_stage){.spells = true, .behavior = PAL_BPE_WHOLE}, error);
}

static pal_status digits(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    static const char *const known[] = {"type", "individual_digits", NULL};
    bool each;
    pal_status s = pal_bpe_object(o, "pre_tokenizer Digits", known, error);
    if (s == PAL_OK)
        s = pal_bpe_bool(o, "pre_tokenizer Digits", "individual_digits", false, &each, error);
    if (s != PAL_OK) return s;
    return add_cut(b, "\\p{N}", each ? PAL_BPE_ISOLATED : PAL_BPE_CONTIGUOUS, error);
}

static pal_status punctuation(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    static const char where[] = "pre_tokenizer Punctuation";
    static const char *const known[] = {"type", "behavior", NULL};
    pal_bpe_behavior how;
    pal_status s = pal_bpe_object(o, where, known, error);
    if (s == PAL_OK) s = behavior(o, where, false, &how, error);
    return s == PAL_OK ? add_cut(b, "[\\p{P}$+<=>^`|~]", how, error) : s;
}

static pal_status split(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    static const char where[] = "pre_tokenizer Split";
    static const char *const known[] = {"type", "pattern", "behavior", "invert", NULL};
    pal_bpe_stage stage = {.code = NULL};
    bool plain;
    pal_status s = pal_bpe_object(o, where, known, error);
    if (s == PAL_OK) s = behavior(o, where, true, &stage.behavior, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, where, "invert", false, &stage.invert, error);
    if (s == PAL_OK) s = pattern(b, o, where, &stage.code, &plain, error);
    return s == PAL_OK ? add_stage(b, stage, error) : s;
}

/* One character, which takes the place of a space. */
static pal_status replacement(const cJSON *o, const char *where, char to[8], pal_error *error)
{
    const char *text;
    pal_status s = pal_bpe_string(o, where, "replacement", &text, error);
    if (s != PAL_OK) return s;
    const size_t size = strlen(text);
    if (size == 0 || (size_t)pal_utf8(text, (int64_t)size) != size)
        return pal_bpe_bad(error, "%s.replacement is not one character", where);
    strcpy(to, text);
    return PAL_OK;
}

pal_status pal_bpe_metaspace(const cJSON *o, const char *where, char to[8], int *scheme, bool *cuts,
                             pal_error *error)
{
    static const char *const known[] = {
        "type", "replacement", "prepend_scheme", "add_prefix_space", "split", "str_rep", NULL};
    static const char *const schemes[] = {"never", "first", "always"};
    const char *text;
    bool prefix = true;
    *scheme = PAL_BPE_ALWAYS;
    pal_status s = pal_bpe_object(o, where, known, error);
    if (s == PAL_OK) s = replacement(o, where, to, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, where, "split", true, cuts, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, where, "add_prefix_space", true, &prefix, error);
    if (s == PAL_OK && !prefix) *scheme = PAL_BPE_NEVER;
    if (s != PAL_OK || !get(o, "prepend_scheme")) return s;
    s = pal_bpe_string(o, where, "prepend_scheme", &text, error);
    if (s != PAL_OK) return s;
    for (int i = 0; i < 3; i++)
        if (strcmp(schemes[i], text) == 0) {
            *scheme = i;
            if (!prefix && i != PAL_BPE_NEVER)
                return pal_bpe_bad(error, "%s: add_prefix_space is false and prepend_scheme '%s'",
                                   where, text);
            return PAL_OK;
        }
    return pal_bpe_bad(error, "%s.prepend_scheme '%.60s' is not known", where, text);
}

static pal_status metaspace(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    int scheme;
    bool cuts;
    pal_bpe_stage stage = {.behavior = PAL_BPE_WHOLE};
    pal_status s =
        pal_bpe_metaspace(o, "pre_tokenizer Metaspace", stage.space, &scheme, &cuts, error);
    if (s == PAL_OK && b->bytes)
        s = pal_bpe_bad(error, "pre_tokenizer Metaspace after ByteLevel is not supported");
    if (s != PAL_OK) return s;
    stage.prefix = scheme != PAL_BPE_NEVER;
    stage.first = scheme == PAL_BPE_FIRST;
    if (cuts) {
        stage.behavior = PAL_BPE_NEXT;
        s = pal_bpe_compile(b, stage.space, PAL_BPE_PLAIN, &stage.code, error);
    }
    return s == PAL_OK ? add_stage(b, stage, error) : s;
}

static pal_status one_stage(pal_tokenizer *b, const cJSON *o, bool is_last, pal_error *error)
{
    const char *type = pal_bpe_type(o);
    if (strcmp(type, "ByteLevel") == 0) return byte_level(b, o, is_last, error);
    if (strcmp(type, "Split") == 0) return split(b, o, error);
    if (strcmp(type, "Digits") == 0) return digits(b, o, error);
    if (strcmp(type, "Punctuation") == 0) return punctuation(b, o, error);
    if (strcmp(type, "Metaspace") == 0) return metaspace(b, o, error);
    if (!cJSON_IsObject(o)) return pal_bpe_bad(error, "pre_tokenizer is no object");
    return pal_bpe_bad(error, "pre_tokenizer of type '%.60s' is not supported", type);
}

pal_status pal_bpe_load_pretokenizer(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    static const char *const known[] = {"type", "pretokenizers", NULL};
    if (!o || cJSON_IsNull(o)) return PAL_OK;
    if (strcmp(pal_bpe_type(o), "Sequence") != 0) return one_stage(b, o, true, error);
    pal_status s = pal_bpe_object(o, PRE, known, error);
    const cJSON *list = get(o, "pretokenizers");
    if (s == PAL_OK && !cJSON_IsArray(list))
        s = pal_bpe_bad(error, "pre_tokenizer.pretokenizers is no list");
    for (const cJSON *p = s == PAL_OK ? list->child : NULL; p && s == PAL_OK; p = p->next)
        s = one_stage(b, p, !p->next, error);
    return s;
}

/* ---- Normalizers ---- */

static pal_status add_step(pal_tokenizer *b, pal_bpe_step step, pal_error *error)
{
    if (b->steps < PAL_BPE_STEPS) {
        b->step[b->steps++] = step;
        return PAL_OK;
    }
    pcre2_code_free(step.code);
    free(step.content);
    return pal_bpe_bad(error, "normalizer has more than %d parts", PAL_BPE_STEPS);
}

static pal_status content(pal_bpe_step *step, const char *text, pal_error *error)
{
    step->content = strdup(text);
    step->size = (int64_t)strlen(text);
    return step->content ? PAL_OK
                         : pal_error_set(error, PAL_ENOMEM, "tokenizer.json: out of memory");
}

static pal_status prepend(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    static const char *const known[] = {"type", "prepend", NULL};
    const char *text;
    pal_bpe_step step = {.kind = PAL_BPE_PREPEND};
    pal_status s = pal_bpe_object(o, "normalizer Prepend", known, error);
    if (s == PAL_OK) s = pal_bpe_string(o, "normalizer Prepend", "prepend", &text, error);
    if (s == PAL_OK) s = content(&step, text, error);
    return s == PAL_OK ? add_step(b, step, error) : s;
}

static pal_status replace(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    static const char where[] = "normalizer Replace";
    static const char *const known[] = {"type", "pattern", "content", NULL};
    const char *text;
    bool plain;
    pal_bpe_step step = {.kind = PAL_BPE_REPLACE};
    pal_status s = pal_bpe_object(o, where, known, error);
    if (s == PAL_OK) s = pal_bpe_string(o, where, "content", &text, error);
    if (s == PAL_OK) s = pattern(b, o, where, &step.code, &plain, error);
    if (s == PAL_OK && !plain && strchr(text, '$'))
        s = pal_bpe_bad(error, "%s.content with a $ beside a pattern is not supported", where);
    if (s == PAL_OK) s = content(&step, text, error);
    if (s == PAL_OK) return add_step(b, step, error);
    pcre2_code_free(step.code);
    return s;
}

static pal_status strip(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    static const char where[] = "normalizer Strip";
    static const char *const known[] = {"type", "strip_left", "strip_right", NULL};
    pal_bpe_step step = {.kind = PAL_BPE_STRIP};
    pal_status s = pal_bpe_object(o, where, known, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, where, "strip_left", -1, &step.left, error);
    if (s == PAL_OK) s = pal_bpe_bool(o, where, "strip_right", -1, &step.right, error);
    return s == PAL_OK ? add_step(b, step, error) : s;
}

static pal_status unicode(pal_tokenizer *b, const cJSON *o, int form, pal_error *error)
{
    static const char *const known[] = {"type", NULL};
    pal_status s = pal_bpe_object(o, NORM, known, error);
    if (s == PAL_OK) s = pal_bpe_unicode_check(pal_bpe_type(o), error);
    if (s != PAL_OK) return s;
    return add_step(b, (pal_bpe_step){.kind = PAL_BPE_UNICODE, .form = (pal_bpe_form)form}, error);
}

static pal_status steps(pal_tokenizer *b, const cJSON *o, int depth, pal_error *error)
{
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    static const char *const known[] = {"type", "normalizers", NULL};
    const char *type = pal_bpe_type(o);
    for (int i = 0; i < 4; i++)
        if (strcmp(type, forms[i]) == 0) return unicode(b, o, i, error);
    if (strcmp(type, "Prepend") == 0) return prepend(b, o, error);
    if (strcmp(type, "Replace") == 0) return replace(b, o, error);
    if (strcmp(type, "Strip") == 0) return strip(b, o, error);
    if (strcmp(type, "Sequence") != 0 || depth > 4)
        return cJSON_IsObject(o)
                   ? pal_bpe_bad(error, "normalizer of type '%.60s' is not supported", type)
                   : pal_bpe_bad(error, "normalizer is no object");
    pal_status s = pal_bpe_object(o, NORM, known, error);
    const cJSON *list = get(o, "normalizers");
    if (s == PAL_OK && !cJSON_IsArray(list))
        s = pal_bpe_bad(error, "normalizer.normalizers is no list");
    for (const cJSON *n = s == PAL_OK ? list->child : NULL; n && s == PAL_OK; n = n->next)
        s = steps(b, n, depth + 1, error);
    return s;
}

pal_status pal_bpe_load_normalizer(pal_tokenizer *b, const cJSON *o, pal_error *error)
{
    return !o || cJSON_IsNull(o) ? PAL_OK : steps(b, o, 0, error);
}
