/*
 * probe.c - edits of a running model, by the hook of mixers.h.
 */
#include "examples/ablate/probe.h"
#include "examples/ablate/ablate.h"

#include <stdlib.h>
#include <string.h>

/* A tensor [B,T,..] as rows of `width` numbers; of heads, [B,T,H,V]. */
typedef struct kept {
    pal_shape shape;
    double *at;
} kept;

struct probe {
    pal_tape *tape;
    int64_t layers, first;
    int64_t *heads;
    bool *mlp;
    by how;
    int n, pass;
    bool recording;
    site at[PROBE_SITES];
    double *mean[PROBE_SITES]; /* of a site, from the first pass */
    kept *kept;                /* [layers, PLACES] */
    pal_tensor lens;           /* the stream that is to be read */
};

static const char *const names[PLACES] = {"stream", "y", "mlp_y", "stream_out", "heads"};

const char *place_name(place p)
{
    static const char *const words[PLACES] = {"stream", "mixer", "mlp", "out", "head"};
    return words[p];
}

probe *probe_new(pal_tape *tape, int64_t layers)
{
    probe *p = calloc(1, sizeof *p);
    if (!p) stop("out of memory");
    p->tape = tape, p->layers = layers;
    p->heads = calloc((size_t)layers, sizeof *p->heads);
    p->mlp = calloc((size_t)layers, sizeof *p->mlp);
    p->kept = calloc((size_t)(layers * PLACES), sizeof *p->kept);
    if (!p->heads || !p->mlp || !p->kept) stop("out of memory");
    return p;
}

void probe_clear(probe *p)
{
    for (int i = 0; i < p->n; i++) free(p->mean[i]), p->mean[i] = NULL;
    p->n = p->pass = 0;
    p->recording = false;
    p->lens = PAL_NONE;
}

void probe_free(probe *p)
{
    if (!p) return;
    probe_clear(p);
    for (int64_t i = 0; i < p->layers * PLACES; i++) free(p->kept[i].at);
    free(p->heads), free(p->mlp), free(p->kept);
    free(p);
}

int64_t probe_heads(const probe *p, int64_t layer) { return p->heads[layer]; }
bool probe_has_mlp(const probe *p, int64_t layer) { return p->mlp[layer]; }

void probe_set(probe *p, by how, const site *at, int n)
{
    probe_clear(p);
    if (n > PROBE_SITES) stop("more than %d places at once", PROBE_SITES);
    p->how = how, p->n = n;
    memcpy(p->at, at, (size_t)n * sizeof *at);
}

void probe_first(probe *p, int64_t first) { p->first = first; }
int probe_passes(const probe *p) { return p->n && p->how == BY_MEAN ? 2 : 1; }
void probe_pass(probe *p, int pass) { p->pass = pass; }
void probe_record(probe *p) { probe_clear(p), p->recording = true; }

/* ---- Numbers ---- */

static double *copy_of(pal_tensor t)
{
    const pal_array a = pal_value(t);
    const int64_t n = pal_array_count(&a);
    pal_error error;
    double *to = malloc((size_t)n * sizeof *to + 1);
    pal_array c = pal_array_of(PAL_F64, pal_array_shape(&a), to);
    if (!to) stop("out of memory");
    if (a.dtype == PAL_F64) {
        if (pal_array_copy(&c, &a, &error) != PAL_OK) stop("%s", error.message);
    } else {
        int64_t at[PAL_MAX_DIMS] = {0};
        for (int64_t i = 0; i < n; i++) {
            to[i] = pal_array_get(&a, at);
            for (int d = a.ndim - 1; d >= 0 && ++at[d] == a.shape[d]; d--) at[d] = 0;
        }
    }
    return to;
}

static pal_tensor tensor_of(probe *p, pal_tensor like, const double *from)
{
    const pal_tensor to = pal_zeros(p->tape, pal_dtype_of(like), pal_shape_of(like));
    if (pal_tape_status(p->tape) != PAL_OK) return to;
    const pal_array a = pal_edit(to),
                    flat = pal_array_of(a.dtype, PAL_SHAPE(pal_array_count(&a)), a.data);
    for (int64_t i = 0; i < flat.shape[0]; i++) pal_array_set(&flat, &i, from[i]);
    return to;
}

/* Of a tensor what a site is about: columns low .. low+count-1 of every token. */
typedef struct columns {
    int64_t B, T, width, low, count;
} columns;

static columns columns_of(pal_tensor t, const site *s)
{
    const pal_shape shape = pal_shape_of(t);
    columns r = {.B = shape.dim[0], .T = shape.dim[1], .width = shape.dim[2]};
    r.count = r.width;
    if (s->place == AT_HEAD) {
        r.width = shape.dim[2] * shape.dim[3];
        r.count = shape.dim[3];
        r.low = s->head * r.count;
    }
    return r;
}

/* ---- Edits ---- */

static void read_mean(probe *p, int i, const columns *r, const double *x)
{
    double *mean = calloc((size_t)r->count + 1, sizeof *mean);
    if (!mean) stop("out of memory");
    for (int64_t t = 0; t < r->B * r->T; t++)
        for (int64_t c = 0; c < r->count; c++) mean[c] += x[t * r->width + r->low + c];
    for (int64_t c = 0; c < r->count; c++) mean[c] /= (double)(r->B * r->T);
    free(p->mean[i]);
    p->mean[i] = mean;
}

static const double *patch_of(const probe *p, const site *s, const columns *r, int64_t b, int64_t t)
{
    const kept *k = &p->kept[s->layer * PLACES + s->place];
    if (!k->at || k->shape.dim[1] != r->T || (k->shape.dim[0] != 1 && k->shape.dim[0] != r->B))
        stop("patching: what was recorded has other shapes");
    return k->at + ((k->shape.dim[0] == 1 ? 0 : b) * r->T + t) * r->width + r->low;
}

static bool is_patched(const probe *p, const site *s, int64_t b, int64_t t)
{
    return s->position == PROBE_ROW ? t == p->first + b : s->position < 0 || t == s->position;
}

/* x is the tensor as it was; `to` becomes what it is. */
static void edit_site(probe *p, int i, const columns *r, const double *x, double *to)
{
    const site *s = &p->at[i];
    for (int64_t b = 0; b < r->B; b++)
        for (int64_t t = 0; t < r->T; t++) {
            double *at = to + (b * r->T + t) * r->width + r->low;
            const double *from = NULL;
            if (p->how == BY_MEAN) from = p->mean[i];
            if (p->how == BY_ROW) from = x + ((b + 1) % r->B * r->T + t) * r->width + r->low;
            if (p->how == BY_PATCH) {
                if (!is_patched(p, s, b, t)) continue;
                from = patch_of(p, s, r, b, t);
            }
            for (int64_t c = 0; c < r->count; c++) at[c] = from ? from[c] : 0;
        }
}

static void edit_places(probe *p, int64_t layer, place where, pal_tensor *t)
{
    double *x = NULL, *to = NULL;
    for (int i = 0; i < p->n; i++) {
        if (p->at[i].layer != layer || p->at[i].place != where) continue;
        const columns r = columns_of(*t, &p->at[i]);
        if (!x) x = copy_of(*t), to = copy_of(*t);
        if (p->how == BY_ROW && r.B < 2) stop("resampling needs two rows at a time");
        if (p->how == BY_MEAN && p->pass == 0)
            read_mean(p, i, &r, x);
        else
            edit_site(p, i, &r, x, to);
    }
    if (x && !(p->how == BY_MEAN && p->pass == 0)) *t = tensor_of(p, *t, to);
    free(x), free(to);
}

static void record(probe *p, int64_t layer, place where, pal_tensor t)
{
    kept *k = &p->kept[layer * PLACES + where];
    free(k->at);
    *k = (kept){pal_shape_of(t), copy_of(t)};
}

static bool hook(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    probe *p = user;
    int where = 0;
    while (where < PLACES && strcmp(names[where], name)) where++;
    if (where == PLACES) return true;
    if (where == AT_HEAD) p->heads[layer] = pal_dim(*t, 2);
    if (where == AT_MLP) p->mlp[layer] = true;
    if (p->recording) record(p, layer, (place)where, *t);
    if (p->n && p->how == BY_LENS) {
        if (where != AT_OUT) return true;
        if (layer == p->at[0].layer) p->lens = *t;
        if (layer == p->layers - 1) *t = p->lens;
    } else if (p->n) {
        edit_places(p, layer, (place)where, t);
    }
    return true;
}

pal_run_opts probe_opts(probe *p) { return (pal_run_opts){.hook = hook, .user = p}; }
