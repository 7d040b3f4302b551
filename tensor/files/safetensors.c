/*
 * safetensors.c - reading files of named tensors, which are not trusted.
 */
#include "tensor/files/safetensors.h"
#include "tensor/files/json.h"
#include "tensor/files/mapped.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

struct pal_safetensors {
    pal_mapped map;
    pal_json *header; /* which has the names */
    int64_t count;
    pal_stored *tensor; /* in the order of their bytes */
    size_t data;        /* where the numbers begin */
};

/* ---- Types ---- */

typedef struct stored_type {
    const char *name;
    int bits;
    pal_element element;
} stored_type;

static const stored_type types[] = {
    {"BF16", 16, PAL_EL_BF16},    {"F32", 32, PAL_EL_F32},      {"F16", 16, PAL_EL_F16},
    {"F64", 64, PAL_EL_F64},      {"BOOL", 8, PAL_EL_OTHER},    {"U8", 8, PAL_EL_OTHER},
    {"I8", 8, PAL_EL_OTHER},      {"U16", 16, PAL_EL_OTHER},    {"I16", 16, PAL_EL_OTHER},
    {"U32", 32, PAL_EL_OTHER},    {"I32", 32, PAL_EL_OTHER},    {"U64", 64, PAL_EL_OTHER},
    {"I64", 64, PAL_EL_OTHER},    {"C64", 64, PAL_EL_OTHER},    {"F4", 4, PAL_EL_OTHER},
    {"F6_E2M3", 6, PAL_EL_OTHER}, {"F6_E3M2", 6, PAL_EL_OTHER}, {"F8_E5M2", 8, PAL_EL_OTHER},
    {"F8_E4M3", 8, PAL_EL_OTHER}, {"F8_E8M0", 8, PAL_EL_OTHER},
};

static const stored_type *find_type(const char *name)
{
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0) return &types[i];
    return NULL;
}

/* ---- One tensor ---- */

/* The shape, and how many bits its elements have; false: it is none, or too large. */
static bool read_shape(const pal_json *list, int bits, pal_shape *shape, uint64_t *all)
{
    *shape = (pal_shape){0};
    *all = (uint64_t)bits;
    if (!pal_json_is_list(list)) return false;
    for (const pal_json *d = pal_json_first(list); d; d = pal_json_next(d)) {
        int64_t n;
        if (shape->ndim == PAL_MAX_DIMS || !pal_json_whole(d, &n) || n < 0) return false;
        shape->dim[shape->ndim++] = n;
    }
    /* An axis of length 0 does not allow others of any length. */
    for (int i = 0; i < shape->ndim; i++)
        if (__builtin_mul_overflow(*all, (uint64_t)shape->dim[i] | !shape->dim[i], all) ||
            *all > (uint64_t)INT64_MAX)
            return false;
    for (int i = 0; i < shape->ndim; i++)
        if (shape->dim[i] == 0) *all = 0;
    return true;
}

static bool read_offsets(const pal_json *list, int64_t *begin, int64_t *end)
{
    const pal_json *a = pal_json_is_list(list) ? pal_json_first(list) : NULL;
    const pal_json *b = a ? pal_json_next(a) : NULL;
    return b && !pal_json_next(b) && pal_json_whole(a, begin) && pal_json_whole(b, end) &&
           *begin >= 0 && *begin <= *end;
}

/* An entry of the header, which has these three values and no others. */
static pal_status read_entry(const pal_json *o, size_t data, pal_stored *t, pal_error *error)
{
    char shown[PAL_JSON_SHOWN], type_shown[PAL_JSON_SHOWN];
    uint64_t bits;
    int64_t begin, end;
    const char *name = pal_json_key(o), *trouble = pal_text_trouble(name);
    pal_json_show(name, shown);
    if (trouble) return pal_error_set(error, PAL_EFORMAT, "the name \"%s\" %s", shown, trouble);
    const pal_json *dtype = pal_json_get(o, "dtype"), *shape = pal_json_get(o, "shape"),
                   *offsets = pal_json_get(o, "data_offsets");
    int values = 0;
    for (const pal_json *v = pal_json_first(o); v; v = pal_json_next(v)) values++;
    if (!dtype || !shape || !offsets || values != 3)
        return pal_error_set(error, PAL_EFORMAT,
                             "%s has other values than dtype, shape and data_offsets", shown);
    const char *type_name = pal_json_text(dtype);
    const stored_type *type = find_type(type_name);
    if (!type)
        return pal_error_set(error, PAL_EFORMAT, "the dtype %s of %s is not known",
                             pal_json_show(type_name ? type_name : "", type_shown), shown);
    if (!read_shape(shape, type->bits, &t->shape, &bits))
        return pal_error_set(error, PAL_EFORMAT,
                             "the shape of %s is no list of at most %d whole numbers, or too large",
                             shown, PAL_MAX_DIMS);
    if (!read_offsets(offsets, &begin, &end))
        return pal_error_set(error, PAL_EFORMAT, "the data_offsets of %s are no two places", shown);
    if (bits % 8 != 0 || bits / 8 != (uint64_t)(end - begin))
        return pal_error_set(error, PAL_EFORMAT,
                             "%s has %lld bytes, and its type and shape ask for %llu", shown,
                             (long long)(end - begin), (unsigned long long)((bits + 7) / 8));
    t->name = name;
    t->dtype = type->name;
    t->type = type->element;
    t->begin = data + (size_t)begin; /* at most 2^53 each */
    t->bytes = (size_t)(end - begin);
    return PAL_OK;
}

/* ---- All of them ---- */

static int by_place(const void *a, const void *b)
{
    const pal_stored *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->bytes != y->bytes ? x->bytes < y->bytes ? -1 : 1 : strcmp(x->name, y->name);
}

/* Each byte of the data belongs to one tensor. */
static pal_status check_places(pal_safetensors *f, pal_error *error)
{
    size_t at = f->data;
    for (int64_t i = 0; i < f->count; i++) {
        const pal_stored *t = &f->tensor[i];
        char shown[PAL_JSON_SHOWN];
        pal_json_show(t->name, shown);
        if (t->begin < at)
            return pal_error_set(error, PAL_EFORMAT, "%s shares bytes with another tensor", shown);
        if (t->begin > at)
            return pal_error_set(error, PAL_EFORMAT, "%zu bytes before %s belong to no tensor",
                                 t->begin - at, shown);
        at += t->bytes;
        if (at > f->map.size)
            return pal_error_set(error, PAL_EFORMAT,
                                 "it ends within %s, or before it: it has %zu bytes, and %zu are "
                                 "wanted",
                                 shown, f->map.size, at);
        f->tensor[i].data = f->map.at + t->begin;
    }
    if (at == f->map.size) return PAL_OK;
    return pal_error_set(error, PAL_EFORMAT, "%zu bytes at its end belong to no tensor",
                         f->map.size - at);
}

static pal_status check_metadata(const pal_json *o, pal_error *error)
{
    bool good = pal_json_is_object(o);
    for (const pal_json *v = pal_json_first(o); v && good; v = pal_json_next(v))
        good = pal_json_text(v) != NULL;
    if (good) return PAL_OK;
    return pal_error_set(error, PAL_EFORMAT, "its __metadata__ is no object of strings");
}

static const char about[] = "__metadata__";

static pal_status read_tensors(pal_safetensors *f, pal_error *error)
{
    if (!pal_json_is_object(f->header))
        return pal_error_set(error, PAL_EFORMAT, "its header is no object");
    int64_t n = 0;
    for (const pal_json *o = pal_json_first(f->header); o; o = pal_json_next(o)) n++;
    if (n > PAL_SAFETENSORS_MOST)
        return pal_error_set(error, PAL_EFORMAT, "it has %lld tensors, and %d are the most",
                             (long long)n, PAL_SAFETENSORS_MOST);
    f->tensor = calloc((size_t)n + 1, sizeof *f->tensor);
    if (!f->tensor) return pal_error_set(error, PAL_ENOMEM, "out of memory for its header");
    pal_status s = PAL_OK;
    for (const pal_json *o = pal_json_first(f->header); o && s == PAL_OK; o = pal_json_next(o))
        if (strcmp(pal_json_key(o), about) == 0)
            s = check_metadata(o, error);
        else
            s = read_entry(o, f->data, &f->tensor[f->count++], error);
    if (s != PAL_OK) return s;
    qsort(f->tensor, (size_t)f->count, sizeof *f->tensor, by_place);
    return check_places(f, error);
}

static pal_status read_header(pal_safetensors *f, pal_error *error)
{
    uint64_t length = 0;
    for (int i = 7; i >= 0 && f->map.size >= 8; i--) length = length << 8 | f->map.at[i];
    if (f->map.size < 8 || length > f->map.size - 8 || length > PAL_SAFETENSORS_HEADER)
        return pal_error_set(error, PAL_EFORMAT,
                             "it has %zu bytes, and its header would have %llu: it is no "
                             "safetensors file, or is cut off",
                             f->map.size, (unsigned long long)length);
    f->data = 8 + (size_t)length;
    if (length == 0 || f->map.at[8] != '{')
        return pal_error_set(error, PAL_EFORMAT, "its header does not begin with {");
    char *text = malloc((size_t)length);
    if (!text) return pal_error_set(error, PAL_ENOMEM, "out of memory for its header");
    memcpy(text, f->map.at + 8, (size_t)length);
    pal_error why = {PAL_OK, ""};
    pal_status s = pal_json_parse(&f->header, text, (size_t)length, &why);
    free(text);
    if (s != PAL_OK) return pal_error_set(error, s, "its header: %.600s", why.message);
    return read_tensors(f, error);
}

pal_status pal_safetensors_open(pal_safetensors **file, const char *path, pal_error *error)
{
    pal_error why = {PAL_OK, ""};
    *file = NULL;
    pal_safetensors *f = calloc(1, sizeof *f);
    if (!f) return pal_error_set(error, PAL_ENOMEM, "%.400s: out of memory", path);
    pal_status s = pal_mapped_open(&f->map, path, error);
    if (s == PAL_OK && (s = read_header(f, &why)) != PAL_OK)
        pal_error_set(error, s, "%.400s: %.600s", path, why.message);
    if (s == PAL_OK)
        *file = f;
    else
        pal_safetensors_close(f);
    return s;
}

void pal_safetensors_close(pal_safetensors *f)
{
    if (!f) return;
    pal_mapped_close(&f->map);
    pal_json_free(f->header);
    free(f->tensor);
    free(f);
}

int64_t pal_safetensors_count(const pal_safetensors *f) { return f->count; }
const pal_stored *pal_safetensors_at(const pal_safetensors *f, int64_t i) { return &f->tensor[i]; }

char *pal_safetensors_metadata(const pal_safetensors *f)
{
    const pal_json *o = pal_json_get(f->header, about);
    return o ? pal_json_print(o) : NULL;
}

void pal_safetensors_forget(const pal_safetensors *f, const pal_stored *t)
{
    if (f->map.at) pal_mapped_forget(&f->map, t->begin, t->begin + t->bytes);
}
