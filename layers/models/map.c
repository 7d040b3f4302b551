/*
 * map.c - the parameters of a model with which another one computes the same function.
 *
 * The rows are those of docs/reductions.md. That the two models agree is then tried on a few
 * tokens, since options that have no parameters decide too (an output gate, erase gates up to 2).
 */
#include "layers/models/lm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 16 };

typedef enum way {
    COPIES, /* row r is rows r n .. r n + n - 1 */
    FIRST,  /* rows at the top; those below stay, for nothing reads them before it is trained */
    PICKS   /* rows r n .. r n + n - 1 are the unit row e_r */
} way;

static const struct row {
    const char *to, *from;
    way how;
} rows[] = {{"b_proj.weight", "b_proj.weight", COPIES},  /* one gate a head: a gate by channel */
            {"w_proj.weight", "b_proj.weight", COPIES},  /* what writes is what erases */
            {"dt_bias", "dt_bias", COPIES},              /* one decay a head: a decay by channel, */
            {"f_proj.0.weight", "a_proj.weight", FIRST}, /* which comes through V channels */
            {"f_proj.1.weight", "a_proj.weight", PICKS}}; /* and is picked by head */
enum { ROWS = sizeof rows / sizeof *rows };

typedef struct mapping {
    pal_params *to, *from;
    bool *used; /* of the parameters of `from` */
    pal_error *error;
} mapping;

static int index_of(const pal_params *params, const char *name)
{
    for (int i = 0; i < pal_params_count(params); i++)
        if (strcmp(pal_params_name(params, i), name) == 0) return i;
    return -1;
}

static bool same_shape(const pal_array *a, const pal_array *b)
{
    return a->ndim == b->ndim &&
           memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape) == 0;
}

/* Numbers of a row. */
static int64_t width_of(const pal_array *a)
{
    return a->shape[0] ? pal_array_count(a) / a->shape[0] : 0;
}

/* Whether the parameter can be made that way, by its shape. */
static bool fits(way how, const pal_array *to, const pal_array *from)
{
    const int64_t n = to->shape[0], m = from->shape[0];
    if (to->ndim != from->ndim || to->ndim > 2) return false;
    if (how == FIRST) return m <= n && width_of(to) == width_of(from);
    if (n % m != 0) return false;
    return how == COPIES ? width_of(to) == width_of(from) : m <= width_of(to);
}

/* A parameter of `to`, computed from one of `from`. */
static pal_status fill(const pal_array *to, const pal_array *from, way how, pal_error *error)
{
    const int64_t n = to->shape[0], m = from->shape[0], w = width_of(to);
    const size_t size = pal_dtype_size(to->dtype);
    const int64_t each = how == FIRST ? 1 : n / m;
    char *out = to->data;
    if (to->dtype != from->dtype)
        return pal_error_set(error, PAL_EDTYPE, "the two models have different element types");
    if (how != FIRST) memset(out, 0, (size_t)(n * w) * size);
    for (int64_t r = 0; r < n && r / each < m; r++) {
        if (how != PICKS)
            memcpy(out + (size_t)(r * w) * size,
                   (const char *)from->data + (size_t)(r / each * w) * size, (size_t)w * size);
        else if (to->dtype == PAL_F64)
            ((double *)to->data)[r * w + r / each] = 1;
        else
            ((float *)to->data)[r * w + r / each] = 1;
    }
    return PAL_OK;
}

/* The parameter of `from` that is that of `to`, and how. */
static int source_of(const mapping *m, const char *name, const pal_array *to, way *how)
{
    int at = index_of(m->from, name);
    *how = COPIES;
    if (at >= 0) {
        const pal_array is = pal_params_array(m->from, at);
        if (same_shape(&is, to)) return at;
    }
    for (int i = 0; i < ROWS; i++) {
        const size_t n = strlen(name), end = strlen(rows[i].to);
        char other[256];
        if (n <= end || strcmp(name + n - end, rows[i].to) != 0 || name[n - end - 1] != '.')
            continue;
        snprintf(other, sizeof other, "%.*s%s", (int)(n - end), name, rows[i].from);
        if ((at = index_of(m->from, other)) < 0) continue;
        const pal_array is = pal_params_array(m->from, at);
        *how = rows[i].how;
        if (fits(*how, to, &is)) return at;
    }
    return -1;
}

static pal_status map_all(mapping *m)
{
    for (int i = 0; i < pal_params_count(m->to); i++) {
        way how;
        const char *name = pal_params_name(m->to, i);
        const pal_array to = pal_params_array(m->to, i);
        const int at = source_of(m, name, &to, &how);
        if (at < 0)
            return pal_error_set(m->error, PAL_EVALUE,
                                 "no parameter of the other model becomes %.200s", name);
        const pal_array from = pal_params_array(m->from, at);
        if (fill(&to, &from, how, m->error) != PAL_OK) return m->error->status;
        m->used[at] = true;
    }
    for (int i = 0; i < pal_params_count(m->from); i++)
        if (!m->used[i])
            return pal_error_set(m->error, PAL_EVALUE,
                                 "%.200s of the other model has no place in this one",
                                 pal_params_name(m->from, i));
    return PAL_OK;
}

/* ---- Which mixers ---- */

static const struct {
    const char *large, *small;
} contains[] = {{"kda", "gdn"}, {"gdn2", "gdn"}, {"gdn2", "kda"}};

static bool contained(const char *large, const char *small)
{
    for (size_t i = 0; i < sizeof contains / sizeof *contains; i++)
        if (strcmp(large, contains[i].large) == 0 && strcmp(small, contains[i].small) == 0)
            return true;
    return false;
}

/* Mixers of one kind have to be told alike: a longer window would not be seen in a few tokens. */
static pal_status check_mixers(const pal_lm *lm, const pal_lm *other, pal_error *error)
{
    const int64_t layers = lm->opts.layers;
    if (layers != other->opts.layers)
        return pal_error_set(error, PAL_EVALUE,
                             "the other model has %lld layers, and this one %lld",
                             (long long)other->opts.layers, (long long)layers);
    for (int64_t i = 0; i < layers; i++) {
        size_t n, m;
        const char *large = pal_lm_mixer(lm, i)->name, *small = pal_lm_mixer(other, i)->name;
        const char *x = pal_mixers_at(lm->opts.mixers, i, &n);
        const char *y = pal_mixers_at(other->opts.mixers, i, &m);
        const bool same = strcmp(large, small) == 0;
        if (same ? n == m && memcmp(x, y, n) == 0 : contained(large, small)) continue;
        return pal_error_set(error, PAL_EVALUE, "layer %lld is %.*s, which does not contain %.*s",
                             (long long)i, (int)(n < 200 ? n : 200), x, (int)(m < 200 ? m : 200),
                             y);
    }
    return PAL_OK;
}

/* ---- The same function ---- */

static pal_tensor logits(pal_tape *tape, const pal_lm *lm)
{
    int64_t token[TOKENS];
    for (int i = 0; i < TOKENS; i++) token[i] = (i * 7 + 3) % lm->opts.vocab;
    return pal_lm_logits(lm, pal_from(tape, PAL_I64, PAL_SHAPE(1, TOKENS), token),
                         (pal_run_opts){0});
}

/* Rounding may make a difference; a gate of another kind makes a larger one. */
static pal_status compare(const pal_lm *to, const pal_lm *from, pal_error *error)
{
    pal_tape *tape = pal_tape_new();
    if (!tape) return pal_error_set(error, PAL_ENOMEM, "out of memory");
    pal_set_grad(tape, false);
    const pal_tensor a = pal_cast(logits(tape, to), PAL_F64);
    const pal_tensor b = pal_cast(logits(tape, from), PAL_F64);
    const pal_status s = pal_tape_status(tape);
    double largest = 0, difference = 0;
    const double *x = s == PAL_OK ? pal_f64(a) : NULL, *y = s == PAL_OK ? pal_f64(b) : NULL;
    for (int64_t i = 0; x && i < TOKENS * to->opts.vocab; i++) {
        largest = fmax(largest, fabs(y[i]));
        if (!(fabs(x[i] - y[i]) <= difference)) difference = fabs(x[i] - y[i]);
    }
    pal_tape_free(tape);
    if (s != PAL_OK) return pal_error_set(error, s, "the models do not run");
    if (difference <= 1e-4 * largest) return PAL_OK;
    return pal_error_set(
        error, PAL_EVALUE,
        "with its parameters this model computes something else (logits differ by "
        "%.3g of %.3g): its options differ in more than the mixers' gates and decay",
        difference, largest);
}

/* Copies all values there, or, with `back`, from there. */
static void keep(pal_params *params, char *at, bool back)
{
    for (int i = 0; i < pal_params_count(params); i++) {
        const pal_array a = pal_params_array(params, i);
        const size_t size = (size_t)pal_array_count(&a) * pal_dtype_size(a.dtype);
        memcpy(back ? a.data : at, back ? at : a.data, size);
        at += size;
    }
}

static size_t size_of(pal_params *params)
{
    size_t size = 0;
    for (int i = 0; i < pal_params_count(params); i++) {
        const pal_array a = pal_params_array(params, i);
        size += (size_t)pal_array_count(&a) * pal_dtype_size(a.dtype);
    }
    return size;
}

pal_status pal_lm_map(const pal_lm *lm, pal_params *params, const pal_lm *other, pal_params *others,
                      pal_error *error)
{
    mapping m = {params, others, calloc((size_t)pal_params_count(others) + 1, sizeof(bool)), error};
    char *before = malloc(size_of(params) + 1);
    pal_status s = PAL_OK;
    if (!m.used || !before)
        s = pal_error_set(error, PAL_ENOMEM, "out of memory");
    else if (lm->opts.vocab != other->opts.vocab)
        s = pal_error_set(error, PAL_EVALUE, "the other model has %lld tokens, and this one %lld",
                          (long long)other->opts.vocab, (long long)lm->opts.vocab);
    if (s == PAL_OK) s = check_mixers(lm, other, error);
    if (s == PAL_OK) {
        keep(params, before, false);
        s = map_all(&m);
        pal_params_touch(params);
        if (s == PAL_OK) s = compare(lm, other, error);
        if (s != PAL_OK) keep(params, before, true);
        pal_params_touch(params);
    }
    free(before);
    free(m.used);
    return s;
}
