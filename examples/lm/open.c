/*
 * open.c - the model of a checkpoint with the options of its run, or of a released model's folder.
 */
#include "examples/lm/open.h"
#include "examples/lm/progress.h"

#include <string.h>

void lm_print_notes(const char *path, const pal_lm_file *file)
{
    for (const char *line = file->notes ? file->notes : ""; *line;) {
        const size_t n = strcspn(line, "\n");
        fprintf(stderr, "note    %s: %.*s\n", path, (int)n, line);
        line += n + (line[n] == '\n');
    }
}

pal_status lm_open(pal_lm_file *file, lm_options *o, const char *path, lm_how how, pal_error *error)
{
    pal_error why;
    lm_progress shown = lm_progress_begin("loading");
    const pal_progress progress = {lm_progress_show, &shown};
    pal_status s =
        pal_lm_open(file, path,
                    (pal_lm_open_opts){.last = how.last,
                                       .dtype = how.dtype == LM_DTYPE_BF16 ? PAL_BF16 : PAL_F32,
                                       .fit = how.dtype == LM_DTYPE_ANY,
                                       .progress = progress},
                    error);
    if (s != PAL_OK) return s;
    lm_print_notes(path, file);
    s = lm_options_read(o, file->description, &why);
    if (s != PAL_OK) {
        pal_lm_close(file);
        return pal_error_set(error, s, "%.400s: its configuration: %.500s", path, why.message);
    }
    const pal_lm_opts is = pal_lm_options(file->lm);
    o->model.vocab = is.vocab, o->model.width = is.width, o->model.layers = is.layers;
    if (pal_file_kind_of(path) == PAL_FILE_FOLDER) *o->data = '\0';
    return PAL_OK;
}

/* What stood for a checksum in files of earlier versions, and is only compared: FNV-1a of 64 bits
 * (Fowler, Noll, Vo). */
static uint64_t fnv1a(uint64_t sum, const void *data, size_t size)
{
    const unsigned char *byte = data;
    for (size_t i = 0; i < size; i++) sum = (sum ^ byte[i]) * UINT64_C(1099511628211);
    return sum;
}

typedef struct summing {
    bool old;
    uint64_t sum;
} summing;

static summing begin_like(const char *said)
{
    const bool old = strlen(said) == 16;
    return (summing){old, old ? UINT64_C(14695981039346656037) : 0};
}

static void add(summing *s, const void *data, size_t size)
{
    s->sum = s->old ? fnv1a(s->sum, data, size) : pal_crc32c((uint32_t)s->sum, data, size);
}

static char *put(const summing *s, char text[LM_SUM])
{
    snprintf(text, LM_SUM, "%0*llx", s->old ? 16 : 8, (unsigned long long)s->sum);
    return text;
}

char *lm_weights_sum(const pal_params *params, const char *said, char text[LM_SUM])
{
    summing sum = begin_like(said);
    for (int i = 0; i < pal_params_count(params); i++) {
        const pal_array a = pal_params_array(params, i);
        const char *name = pal_params_name(params, i);
        add(&sum, name, strlen(name) + 1);
        add(&sum, a.data, (size_t)pal_array_count(&a) * pal_dtype_size(a.dtype));
    }
    return put(&sum, text);
}

char *lm_tokenizer_sum(const pal_tokenizer *tokenizer, const char *said, char text[LM_SUM])
{
    int64_t size;
    const char *json = pal_tokenizer_json(tokenizer, &size);
    summing sum = begin_like(said);
    add(&sum, json, (size_t)size);
    if (size) return put(&sum, text);
    snprintf(text, LM_SUM, "bytes");
    return text;
}
