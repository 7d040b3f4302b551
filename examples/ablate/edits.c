/*
 * edits.c - what is taken away from a layer of a running model, by the hook of mixers.h.
 *
 * Means are taken in long double and rounded once, so that the mean of equal numbers is that
 * number, bit for bit: a gate that is constant over its channels stays what it is.
 */
#include "examples/ablate/ablate.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

const char *edit_name(edit e)
{
    static const char *const names[EDITS] = {"none",    "skip",    "mean_b",    "mean_w",
                                             "tie_b_w", "mean_g",  "no_conv",   "euler",
                                             "no_turn", "no_bias", "equal_rows"};
    return names[e];
}

const char *edit_title(edit e)
{
    static const char *const titles[EDITS] = {
        "unchanged",         "mixer skipped",   "b (erase): mean", "w (write): mean",
        "b and w: one mean", "g (decay): mean", "no convolution",  "lam: 1",
        "no turns",          "no biases",       "equal rows"};
    return titles[e];
}

/* A parameter as it was. */
typedef struct saved {
    int index;
    void *data;
} saved;

struct surgeon {
    pal_params *params;
    pal_tape *tape;
    int64_t layers, layer;
    edit e;
    int pass;
    bool *has;           /* [layers, EDITS] */
    long double *common; /* of TIE: the mean for each batch row, token and key head */
    int64_t H;           /* key heads of it */
    saved before[8];
    int saved;
};

surgeon *surgeon_new(pal_params *params, pal_tape *tape, int64_t layers)
{
    surgeon *s = calloc(1, sizeof *s);
    if (s) s->has = calloc((size_t)(layers * EDITS), sizeof *s->has);
    if (!s || !s->has) stop("out of memory");
    s->params = params, s->tape = tape, s->layers = layers, s->layer = -1;
    return s;
}

void surgeon_free(surgeon *s)
{
    if (!s) return;
    free(s->has);
    free(s->common);
    free(s);
}

bool surgeon_can(const surgeon *s, int64_t layer, edit e) { return s->has[layer * EDITS + e]; }

/* ---- Means ---- */

/* Element i of a contiguous array. */
static double get(const pal_array *a, int64_t i)
{
    const pal_array flat = pal_array_of(a->dtype, PAL_SHAPE(pal_array_count(a)), a->data);
    return pal_array_get(&flat, &i);
}
static void set(const pal_array *a, int64_t i, double x)
{
    const pal_array flat = pal_array_of(a->dtype, PAL_SHAPE(pal_array_count(a)), a->data);
    pal_array_set(&flat, &i, x);
}

/* A contiguous copy, in memory of ours. */
static pal_array copy_of(pal_tensor t)
{
    const pal_array a = pal_value(t);
    pal_array c = pal_array_of(a.dtype, pal_array_shape(&a), NULL);
    pal_error error;
    c.data = malloc((size_t)pal_array_count(&a) * pal_dtype_size(a.dtype) + 1);
    if (!c.data) stop("out of memory");
    if (pal_array_copy(&c, &a, &error) != PAL_OK) stop("%s", error.message);
    return c;
}

/* The mean of row r of the last axis. */
static long double row_mean(const pal_array *a, int64_t r)
{
    const int64_t n = a->shape[a->ndim - 1];
    long double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (long double)get(a, r * n + i);
    return n ? sum / (long double)n : 0;
}

static void fill_row(const pal_array *a, int64_t r, long double x)
{
    const int64_t n = a->shape[a->ndim - 1];
    for (int64_t i = 0; i < n; i++) set(a, r * n + i, (double)x);
}

/* Every row becomes its mean. */
static void flatten(surgeon *s, pal_tensor *t)
{
    const pal_array c = copy_of(*t);
    const int64_t n = c.shape[c.ndim - 1], rows = n ? pal_array_count(&c) / n : 0;
    for (int64_t r = 0; r < rows; r++) fill_row(&c, r, row_mean(&c, r));
    *t = pal_from_array(s->tape, &c);
    free(c.data);
}

/* Of c [n,R,w] each of the R rows becomes their mean. */
static void join_rows(const pal_array *c, int64_t R, int64_t w)
{
    const int64_t n = pal_array_count(c) / (R * w);
    for (int64_t i = 0; i < n * w; i++) {
        const int64_t at = i / w * R * w + i % w;
        long double sum = 0;
        for (int64_t r = 0; r < R; r++) sum += (long double)get(c, at + r * w);
        for (int64_t r = 0; r < R; r++) set(c, at + r * w, (double)(sum / (long double)R));
    }
}

/* Queries or keys [B,T,R,G,N] of Mamba-3. */
static void equal_rows(surgeon *s, pal_tensor *t)
{
    const pal_array c = copy_of(*t);
    join_rows(&c, c.shape[2], c.shape[3] * c.shape[4]);
    *t = pal_from_array(s->tape, &c);
    free(c.data);
}

/* ---- One gate for both ---- */

/* The first pass reads: b comes before w, and needs to know it. */
static void read_common(surgeon *s, const char *name, pal_tensor t)
{
    const pal_array c = copy_of(t);
    const int64_t heads = c.shape[2], rows = c.shape[0] * c.shape[1] * heads;
    if (*name == 'b') {
        s->H = heads;
        free(s->common);
        s->common = malloc((size_t)rows * sizeof *s->common + 1);
        if (!s->common) stop("out of memory");
        for (int64_t r = 0; r < rows; r++) s->common[r] = row_mean(&c, r) / 2;
    } else { /* value head j belongs to key head j / group */
        const int64_t group = heads / s->H;
        for (int64_t r = 0; r < rows; r++)
            s->common[r / group] += row_mean(&c, r) / 2 / (long double)group;
    }
    free(c.data);
}

static void write_common(surgeon *s, pal_tensor *t)
{
    const pal_array c = copy_of(*t);
    const int64_t heads = c.shape[2], rows = c.shape[0] * c.shape[1] * heads;
    for (int64_t r = 0; r < rows; r++) fill_row(&c, r, s->common[r / (heads / s->H)]);
    *t = pal_from_array(s->tape, &c);
    free(c.data);
}

/* ---- The hook ---- */

static void note(surgeon *s, int64_t layer, const char *name, pal_tensor t)
{
    bool *has = s->has + layer * EDITS;
    has[NOTHING] = true;
    if (strcmp(name, "x") == 0) has[SKIP] = true;
    if (strcmp(name, "b") == 0) has[MEAN_B] = true;
    if (strcmp(name, "w") == 0) has[MEAN_W] = has[TIE] = true;
    /* Of Mamba-2 and GDN it is one number a head, and has no channels. */
    if (strcmp(name, "g") == 0 && pal_shape_of(t).ndim == 4) has[MEAN_G] = true;
    if (strcmp(name, "lam") == 0) has[EULER] = true;
    if (strcmp(name, "om") == 0 && pal_dim(t, -1) > 0) has[NO_TURN] = true;
    if (strcmp(name, "k") == 0 && pal_shape_of(t).ndim == 5 && pal_dim(t, 2) > 1)
        has[EQUAL_ROWS] = true;
}

/* All of a tensor becomes one number. */
static void fill_with(surgeon *s, pal_tensor *t, double x)
{
    *t = pal_full(s->tape, pal_dtype_of(*t), pal_shape_of(*t), x);
}

static bool hook(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    surgeon *s = user;
    if (s->e == NOTHING) note(s, layer, name, *t);
    if (layer != s->layer) return true;
    const bool b = strcmp(name, "b") == 0, w = strcmp(name, "w") == 0;
    switch (s->e) {
    case SKIP:
        if (strcmp(name, "x")) return true;
        *t = PAL_NONE;
        return false;
    case MEAN_B:
        if (b) flatten(s, t);
        return true;
    case MEAN_W:
        if (w) flatten(s, t);
        return true;
    case MEAN_G:
        if (strcmp(name, "g") == 0) flatten(s, t);
        return true;
    case TIE:
        if ((b || w) && s->pass == 0) read_common(s, name, *t);
        if ((b || w) && s->pass == 1) write_common(s, t);
        return true;
    case EULER:
        if (strcmp(name, "lam") == 0) fill_with(s, t, 1);
        return true;
    case NO_TURN:
        if (strcmp(name, "om") == 0) fill_with(s, t, 0);
        return true;
    case EQUAL_ROWS:
        if (strcmp(name, "k") == 0 || strcmp(name, "q") == 0) equal_rows(s, t);
        return true;
    default:
        return true;
    }
}

pal_run_opts surgeon_opts(surgeon *s) { return (pal_run_opts){.hook = hook, .user = s}; }
int surgeon_passes(const surgeon *s) { return s->e == TIE ? 2 : 1; }
void surgeon_pass(surgeon *s, int pass) { s->pass = pass; }

/* ---- Weights ---- */

/* A parameter of the layer whose name matches the pattern. */
static bool is_named(const pal_params *params, int i, int64_t layer, const char *what)
{
    char pattern[64];
    snprintf(pattern, sizeof pattern, "model.layers.%lld.attn.%s", (long long)layer, what);
    return fnmatch(pattern, pal_params_name(params, i), 0) == 0;
}

/* Parameter i, after it has been saved. */
static pal_array save(surgeon *s, int i)
{
    const pal_array a = pal_params_array(s->params, i);
    const size_t size = (size_t)pal_array_count(&a) * pal_dtype_size(a.dtype);
    if (s->saved == (int)(sizeof s->before / sizeof *s->before)) stop("too many parameters");
    saved *to = &s->before[s->saved++];
    *to = (saved){i, malloc(size + 1)};
    if (!to->data) stop("out of memory");
    memcpy(to->data, a.data, size);
    return a;
}

/* [n,1,W]: the last tap, which is the token itself, alone. A bias goes too. */
static void make_identity(surgeon *s, int i, bool weight)
{
    const pal_array a = save(s, i);
    const int64_t n = pal_array_count(&a), W = weight ? a.shape[a.ndim - 1] : 1;
    for (int64_t j = 0; j < n; j++) set(&a, j, weight && j % W == W - 1);
}

/* What an edit does to parameter i of its layer, if anything. */
static void change(surgeon *s, int i)
{
    static const char *const rows[] = {"[BC]_bias", "mimo_[xzo]"}; /* [heads,R,w] */
    if (s->e == NO_CONV && is_named(s->params, i, s->layer, "*conv1d.weight"))
        make_identity(s, i, true);
    if (s->e == NO_CONV && is_named(s->params, i, s->layer, "*conv1d.bias"))
        make_identity(s, i, false);
    for (int r = 0; r < 2; r++) {
        if (!is_named(s->params, i, s->layer, rows[r])) continue;
        if (s->e == EQUAL_ROWS) {
            const pal_array a = save(s, i);
            join_rows(&a, a.shape[1], a.shape[2]);
        } else if (s->e == NO_BIAS && r == 0) {
            const pal_array a = save(s, i);
            for (int64_t j = 0; j < pal_array_count(&a); j++) set(&a, j, 0);
        }
    }
}

void surgeon_begin(surgeon *s, int64_t layer, edit e)
{
    s->layer = layer, s->e = e, s->pass = 0;
    for (int i = 0; i < pal_params_count(s->params); i++) {
        for (int64_t l = 0; l < s->layers && e == NOTHING; l++) {
            if (is_named(s->params, i, l, "*conv1d.weight")) s->has[l * EDITS + NO_CONV] = true;
            if (is_named(s->params, i, l, "[BC]_bias")) s->has[l * EDITS + NO_BIAS] = true;
        }
        change(s, i);
    }
    pal_params_touch(s->params);
}

void surgeon_end(surgeon *s)
{
    for (; s->saved > 0; s->saved--) {
        const saved *from = &s->before[s->saved - 1];
        const pal_array a = pal_params_array(s->params, from->index);
        memcpy(a.data, from->data, (size_t)pal_array_count(&a) * pal_dtype_size(a.dtype));
        free(from->data);
    }
    pal_params_touch(s->params);
    s->layer = -1, s->e = NOTHING;
}
