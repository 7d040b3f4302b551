/*
 * config.c - a config.json by the tables of its family: what is read, what has to be as it is
 * always, what does not matter, and a warning for any other key.
 */
#include "layers/models/families/family.h"
#include "tensor/internal.h"
#include "tensor/number.h"
#include "tensor/stream.h"

#include <stdlib.h>
#include <string.h>

static bool has_word(const char *words, char between, const char *text)
{
    return pal_word_of(words, between, text) >= 0;
}

/* ---- Values ---- */

/* A value as an option's table reads it; false: it is a list or an object. */
static bool value_text(const pal_json *value, char *text, size_t size)
{
    bool flag;
    double x;
    char number[PAL_NUMBER_TEXT];
    const char *is = pal_json_text(value);
    if (!is && pal_json_is_null(value)) is = "null";
    if (!is && pal_json_flag(value, &flag)) is = flag ? "true" : "false";
    if (!is && pal_json_number(value, &x)) is = pal_number_print(x, number);
    return is && (size_t)snprintf(text, size, "%s", is) < size;
}

/* ---- A section ---- */

/* Keys that any config.json may have, and that say nothing about what a model computes. */
static const char always_free[] =
    "architectures model_type transformers_version dtype torch_dtype use_cache bos_token_id "
    "eos_token_id pad_token_id sep_token_id decoder_start_token_id _name_or_path auto_map "
    "initializer_range id2label label2id problem_type return_dict output_attentions "
    "output_hidden_states torchscript chunk_size_feed_forward task_specific_params "
    "finetuning_task tokenizer_class prefix use_return_dict _attn_implementation "
    "_commit_hash attn_implementation unsloth_fixed unsloth_version";
static const pal_fixed always_fixed[] = {{"quantization_config", "null"},
                                         {"is_encoder_decoder", "false"},
                                         {"add_cross_attention", "false"},
                                         {"use_bfloat16", "false"},
                                         {NULL, NULL}};

static const pal_fixed *find_fixed(const pal_fixed *rows, const char *key)
{
    for (; rows && rows->key; rows++)
        if (strcmp(rows->key, key) == 0) return rows;
    return NULL;
}

static pal_status check_fixed(const pal_fixed *row, const char *where, const pal_json *value,
                              const char *family, pal_error *error)
{
    char text[256], shown[PAL_JSON_SHOWN];
    if (pal_json_is_null(value)) return PAL_OK;
    const bool plain = value_text(value, text, sizeof text);
    if (plain && has_word(row->values, '|', text)) return PAL_OK;
    return pal_config_bad(error, "%s%s is %s; models of %s are read with %s alone", where, row->key,
                          plain ? pal_json_show(text, shown) : "a list or an object", family,
                          row->values);
}

static pal_status set_key(const pal_section *s, int i, void *values, const char *where,
                          const pal_json *value, pal_error *error)
{
    char text[256], prefix[160];
    pal_error why = {PAL_OK, ""};
    const pal_key *key = &s->keys->key[i];
    if (pal_json_is_null(value)) return PAL_OK;
    if (!value_text(value, text, sizeof text))
        return pal_config_bad(error, "%s%s is a list, an object or a long text", where, key->name);
    snprintf(prefix, sizeof prefix, "%s", where);
    if (pal_keys_set(s->keys, values, prefix, key->name, text, &why) == PAL_OK) return PAL_OK;
    return pal_config_bad(error, "%.600s", why.message);
}

static pal_status need_keys(const pal_section *s, const pal_json *o, const char *where,
                            pal_error *error)
{
    for (int i = 0; s->keys && i < s->keys->count; i++)
        if (s->keys->key[i].tag == PAL_CONFIG_NEEDED &&
            pal_json_is_null(pal_json_get(o, s->keys->key[i].name)))
            return pal_config_bad(error, "%s%s is missing", where, s->keys->key[i].name);
    return PAL_OK;
}

/* Reads the object o by the lists of its section. `values` is the family's struct. */
static pal_status read_section(const pal_config *c, const pal_family *f, const pal_section *s,
                               const pal_json *o, void *values, pal_error *error)
{
    char where[128] = "", shown[PAL_JSON_SHOWN];
    if (*s->path) snprintf(where, sizeof where, "%s.", s->path);
    if (!pal_json_is_object(o)) return pal_config_bad(error, "%s is no object", s->path);
    pal_status status = need_keys(s, o, where, error);
    for (const pal_json *v = pal_json_first(o); v && status == PAL_OK; v = pal_json_next(v)) {
        const char *key = pal_json_key(v);
        const int i = s->keys ? pal_keys_find(s->keys, key) : -1;
        const pal_fixed *fixed = find_fixed(s->fixed, key);
        if (!fixed) fixed = find_fixed(always_fixed, key);
        if (i >= 0)
            status = set_key(s, i, values, where, v, error);
        else if (fixed)
            status = check_fixed(fixed, where, v, f->name, error);
        else if (!has_word(s->own, ' ', key) && !has_word(s->free, ' ', key) &&
                 !has_word(always_free, ' ', key))
            fprintf(c->notes, "config.json: %s%s is not known to models of %s, and not read\n",
                    where, pal_json_show(key, shown), f->name);
    }
    return status;
}

/* ---- Which family ---- */

static const pal_family *const families[] = {
#define PAL_FAMILY(name) &pal_family_##name,
#include "layers/models/families/families.def"
};
enum { FAMILIES = sizeof families / sizeof *families };

/* Models of others whose parts are not there. */
static const struct {
    const char *key, *what;
} lacking[] = {
    {"num_experts", "mixtures of experts (MoE)"},
    {"num_local_experts", "mixtures of experts (MoE)"},
    {"n_routed_experts", "mixtures of experts (MoE)"},
    {"moe_intermediate_size", "mixtures of experts (MoE)"},
    {"kv_lora_rank", "multi-head latent attention (MLA)"},
};

/* Adds what the model needs of it and is not in the text yet, with "and" between. */
static void what_lacks(const pal_json *o, char text[256])
{
    for (size_t i = 0; i < sizeof lacking / sizeof *lacking; i++) {
        int64_t n;
        const size_t end = strlen(text);
        if (!pal_json_whole(pal_json_get(o, lacking[i].key), &n) || n < 1) continue;
        if (strstr(text, lacking[i].what)) continue;
        snprintf(text + end, 256 - end, "%s%s", end ? " and " : "", lacking[i].what);
    }
}

static pal_status unknown(const pal_json *root, const char *type, pal_error *error)
{
    char shown[PAL_JSON_SHOWN], names[512] = "";
    size_t n = 0;
    char what[256] = "";
    what_lacks(root, what);
    what_lacks(pal_json_get(root, "text_config"), what);
    pal_json_show(type, shown);
    if (*what)
        return pal_config_bad(error, "models of type %s have %s, which are not there", shown, what);
    for (int i = 0; i < FAMILIES && n < sizeof names; i++)
        n +=
            (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", families[i]->name);
    return pal_config_bad(error, "model_type %s is not known; there are models of %s", shown,
                          names);
}

/* Whether the file has the sign of a family. */
static bool has_sign(const pal_json *root, const char *sign)
{
    char path[64];
    const size_t n = strcspn(sign, "=");
    const pal_config c = {.root = root, .model = root};
    snprintf(path, sizeof path, "%.*s", (int)n, sign);
    const pal_json *value = pal_config_get(&c, path);
    if (!sign[n]) return value != NULL;
    const char *text = pal_json_text(value);
    return text && strcmp(text, sign + n + 1) == 0;
}

static pal_status find_family(const pal_json *root, const pal_family **family, pal_error *error)
{
    if (!pal_json_is_object(root)) return pal_config_bad(error, "it is no object");
    const char *type = pal_json_text(pal_json_get(root, "model_type"));
    for (int i = 0; i < FAMILIES; i++) {
        const pal_family *f = families[i];
        const bool same = type ? *f->types && has_word(f->types, '|', type) : !*f->types;
        *family = f;
        if (same && (!f->sign || has_sign(root, f->sign))) return PAL_OK;
    }
    return unknown(root, type ? type : "(missing)", error);
}

/* ---- The list of mixers ---- */

/* The least n of which block i has the kind of block i modulo n. */
static int64_t period(const pal_described *d)
{
    for (int64_t n = 1;; n++) {
        int64_t i = n;
        while (i < d->opts.layers && d->kind[i] == d->kind[i - n]) i++;
        if (i == d->opts.layers) return n;
    }
}

/* Equal neighbours become N*ENTRY, and what repeats stands there once. */
static char *list_of(const pal_described *d)
{
    FILE *to = pal_stream_open();
    const int64_t n = to ? period(d) : 0;
    for (int64_t i = 0, same; i < n; i += same) {
        for (same = 1; i + same < n && d->kind[i + same] == d->kind[i];) same++;
        if (i) fputc(',', to);
        if (same > 1) fprintf(to, "%lld*", (long long)same);
        fputs(d->text[d->kind[i]], to);
    }
    return to ? pal_stream_close(to, NULL) : NULL;
}

/* ---- All of it ---- */

static pal_status read_sections(const pal_config *c, const pal_family *f, void *values,
                                pal_error *error)
{
    pal_status s = PAL_OK;
    if (c->model != c->root) s = read_section(c, f, f->outside, c->root, values, error);
    for (int i = 0; i < f->section_count && s == PAL_OK; i++) {
        const pal_json *o = pal_config_get(c, f->sections[i].path);
        if (o && !pal_json_is_list(o)) s = read_section(c, f, &f->sections[i], o, values, error);
    }
    return s;
}

static pal_status describe(const pal_config *c, const pal_family *f, pal_described *d,
                           char **mixers, pal_error *error)
{
    void *values = malloc(f->size);
    if (!values) return pal_error_set(error, PAL_ENOMEM, "out of memory for a configuration");
    memcpy(values, f->defaults, f->size);
    *d = (pal_described){0};
    pal_status s = read_sections(c, f, values, error);
    if (s == PAL_OK) s = f->describe(c, values, d, error);
    free(values);
    if (s != PAL_OK) return s;
    *mixers = list_of(d);
    d->opts.mixers = *mixers;
    if (!*mixers) return pal_stream_failed("a list of mixers", error);
    pal_error why;
    s = pal_mixers_check(*mixers, &why);
    return s == PAL_OK ? s : pal_config_bad(error, "%.600s", why.message);
}

pal_status pal_config_read(const pal_json *root, FILE *notes, const pal_family **family,
                           pal_described *d, char **mixers, pal_error *error)
{
    *mixers = NULL;
    pal_status s = find_family(root, family, error);
    if (s != PAL_OK) return s;
    const pal_family *f = *family;
    const pal_json *inside = f->inside ? pal_json_get(root, f->inside) : NULL;
    const pal_config c = {root, pal_json_is_object(inside) ? inside : root, notes};
    return describe(&c, f, d, mixers, error);
}
