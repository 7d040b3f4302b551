/* watch.c - statistics of gradients and updates, parameter by parameter. */
#include "autograd/internal.h"
#include "optim/optimisers/internal.h"
#include "optim/train/run_folder.h"

#include <fnmatch.h>
#include <math.h>
#include <string.h>

enum { GRAD_NORM, GRAD_RMS, GRAD_MAX, GRAD_ZEROS, UPDATE_RMS, UPDATE_RATIO, KINDS };
static const char *const kinds[KINDS] = {"grad_norm",  "grad_rms",   "grad_max",
                                         "grad_zeros", "update_rms", "update_ratio"};

struct pal_watch {
    pal_params *params;
    int count;        /* of the parameters that are watched */
    int *index;       /* which they are */
    size_t *at;       /* where the old value of each lies in `before` */
    char *before;     /* values before the update */
    pal_field *field; /* KINDS for each of them */
    char *columns;
    size_t size; /* of this allocation */
};

/* ---- Life ---- */

/* Whether a name matches one of the patterns; NULL: all match. `used` gets a bit for it. */
static bool matches(const char *patterns, const char *name, uint64_t *used)
{
    bool any = !patterns;
    for (int i = 0; patterns && *patterns && i < 64; i++) {
        char pattern[512];
        const size_t n = strcspn(patterns, ",");
        snprintf(pattern, sizeof pattern, "%.*s", (int)n, patterns);
        if (n < sizeof pattern && fnmatch(pattern, name, 0) == 0) {
            any = true;
            *used |= UINT64_C(1) << i;
        }
        patterns += n + (patterns[n] == ',');
    }
    return any;
}

static const char *trouble_of(const char *patterns, uint64_t used)
{
    int n = 0;
    for (const char *c = patterns; c && *c; n++) {
        c += strcspn(c, ",");
        c += *c == ',';
    }
    if (patterns && n == 0) return "there is no pattern";
    if (n > 64) return "there are more than 64 patterns";
    for (int i = 0; i < n; i++)
        if (!(used >> i & 1)) return "a pattern matches no parameter's name";
    return NULL;
}

/* Whether parameter i is watched. Tensors that are only kept have no gradient, and their size may
 * change. */
static bool watched(const pal_params *params, int i, const char *patterns, uint64_t *used)
{
    const pal_span span = pal_params_span(params, i);
    return !pal_params_block_as_is(params, span.block).kept &&
           matches(patterns, pal_params_name(params, i), used);
}

/* What has to be known before memory is taken: how many there are, and the bytes of their values
 * and names. */
typedef struct sizes {
    int count;
    size_t values, names;
} sizes;

static bool measure(const pal_params *params, const char *patterns, sizes *all)
{
    uint64_t used = 0;
    const char *comma = NULL;
    for (int i = 0; i < pal_params_count(params); i++) {
        const char *name = pal_params_name(params, i);
        const pal_array a = pal_params_array(params, i);
        if (!watched(params, i, patterns, &used)) continue;
        if (strpbrk(name, ",\"")) comma = name;
        all->count++;
        all->values += pal_round_up(pal_shape_bytes(a.dtype, pal_array_shape(&a)), PAL_ALIGN);
        for (int k = 0; k < KINDS; k++) all->names += strlen(name) + strlen(kinds[k]) + 2;
    }
    const char *trouble = trouble_of(patterns, used);
    if (!trouble && comma) trouble = "a name with a comma or a quotation mark cannot be a column";
    if (!trouble && all->count == 0) trouble = "there is no parameter";
    if (trouble)
        pal_fail_nowhere(PAL_EVALUE, "watch_new: %s (\"%.200s\")", trouble,
                         patterns ? patterns : "*");
    return !trouble;
}

static void fill(pal_watch *w, const char *patterns, char *names)
{
    size_t at = 0, used = 0;
    uint64_t ignored = 0;
    int n = 0;
    for (int i = 0; i < pal_params_count(w->params); i++) {
        const char *name = pal_params_name(w->params, i);
        const pal_array a = pal_params_array(w->params, i);
        if (!watched(w->params, i, patterns, &ignored)) continue;
        w->index[n] = i, w->at[n] = at;
        at += pal_round_up(pal_shape_bytes(a.dtype, pal_array_shape(&a)), PAL_ALIGN);
        for (int k = 0; k < KINDS; k++) {
            const size_t length = strlen(name) + strlen(kinds[k]) + 2;
            w->field[n * KINDS + k] = (pal_field){names, 0};
            snprintf(names, length, "%s.%s", name, kinds[k]);
            memcpy(w->columns + used, names, length);
            used += length;
            w->columns[used - 1] = ',';
            names += length;
        }
        n++;
    }
    w->columns[used - 1] = '\0';
}

pal_watch *pal_watch_new(pal_params *params, const char *patterns)
{
    sizes all = {0};
    if (!measure(params, patterns, &all)) return NULL;
    const size_t n = (size_t)all.count, head = pal_round_up(sizeof(pal_watch), PAL_ALIGN);
    const size_t size = head + all.values +
                        n * (KINDS * sizeof(pal_field) + sizeof(size_t) + sizeof(int)) +
                        2 * all.names;
    pal_watch *w = pal_malloc(size);
    if (!w) {
        pal_fail_nowhere(PAL_ENOMEM, "watch_new: out of memory for %zu bytes", size);
        return NULL;
    }
    *w = (pal_watch){.params = params, .count = all.count, .size = size};
    w->before = (char *)w + head;
    w->field = (pal_field *)(void *)(w->before + all.values);
    w->at = (size_t *)(void *)(w->field + n * KINDS);
    w->index = (int *)(void *)(w->at + n);
    w->columns = (char *)(w->index + n);
    fill(w, patterns, w->columns + all.names);
    return w;
}

void pal_watch_free(pal_watch *w)
{
    if (w) pal_free(w, w->size);
}

const char *pal_watch_columns(const pal_watch *w) { return w->columns; }

int pal_watch_fields(const pal_watch *w, const pal_field **fields)
{
    *fields = w->field;
    return w->count * KINDS;
}

/* ---- Numbers ---- */

static double zeros(pal_dtype dtype, int64_t n, const void *x)
{
    int64_t none = 0;
    switch (dtype) {
    case PAL_F32:
        for (int64_t i = 0; i < n; i++) none += ((const float *)x)[i] == 0;
        break;
    case PAL_F64:
        for (int64_t i = 0; i < n; i++) none += ((const double *)x)[i] == 0;
        break;
    case PAL_BF16:
    case PAL_I64: /* no parameter that is trained */
        break;
    }
    return n ? (double)none / (double)n : 0;
}

/* before = now - before */
static void subtract(pal_dtype dtype, int64_t n, void *before, const void *now)
{
    switch (dtype) {
    case PAL_F32:
        for (int64_t i = 0; i < n; i++)
            ((float *)before)[i] = ((const float *)now)[i] - ((float *)before)[i];
        break;
    case PAL_F64:
        for (int64_t i = 0; i < n; i++)
            ((double *)before)[i] = ((const double *)now)[i] - ((double *)before)[i];
        break;
    case PAL_BF16:
    case PAL_I64:
        break;
    }
}

static double norm(pal_dtype dtype, int64_t n, void *x)
{
    return pal_squares_root(pal_sum_square(dtype, n, x));
}

void pal_watch_gradients(pal_watch *w)
{
    for (int i = 0; i < w->count; i++) {
        const pal_span span = pal_params_span(w->params, w->index[i]);
        const pal_param_block b = pal_params_block_as_is(w->params, span.block);
        pal_field *f = w->field + i * KINDS;
        const int64_t n = span.count;
        void *g = pal_element(b.dtype, b.grad, span.offset);
        memcpy(w->before + w->at[i], pal_element(b.dtype, b.value, span.offset),
               (size_t)n * pal_dtype_size(b.dtype));
        f[GRAD_NORM].value = g ? norm(b.dtype, n, g) : 0;
        f[GRAD_RMS].value = n ? f[GRAD_NORM].value / sqrt((double)n) : 0;
        f[GRAD_MAX].value = g && n ? pal_largest(b.dtype, n, g) : 0;
        f[GRAD_ZEROS].value = g ? zeros(b.dtype, n, g) : 1;
        f[UPDATE_RMS].value = f[UPDATE_RATIO].value = 0;
    }
}

void pal_watch_updates(pal_watch *w)
{
    for (int i = 0; i < w->count; i++) {
        const pal_span span = pal_params_span(w->params, w->index[i]);
        const pal_param_block b = pal_params_block_as_is(w->params, span.block);
        pal_field *f = w->field + i * KINDS;
        void *before = w->before + w->at[i];
        const double size = norm(b.dtype, span.count, before);
        subtract(b.dtype, span.count, before, pal_element(b.dtype, b.value, span.offset));
        const double moved = norm(b.dtype, span.count, before);
        f[UPDATE_RMS].value = span.count ? moved / sqrt((double)span.count) : 0;
        f[UPDATE_RATIO].value = moved == 0 ? 0 : moved / size;
    }
}
