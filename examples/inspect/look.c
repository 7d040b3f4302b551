/*
 * look.c - looks into a running model by a hook, and sorts what it sees by head.
 */
#include "examples/inspect/look.h"
#include "tensor/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { Q, K, V, G, B, W, BETA, DT, O, PARTS };
static const char *const parts[PARTS] = {"q", "k", "v", "g", "b", "w", "beta", "dt", "o"};

/* A tensor that went by, [T,heads,width]; a gate of one number a head has width 1. */
typedef struct part {
    double *x;
    int64_t heads, width;
} part;

typedef struct looker {
    observation *ob;
    const pal_lm *lm;
    pal_params *params;
    const char *mixers;
    look_opts opts;
    int64_t most; /* heads of a layer */
    part seen[PARTS];
    pal_status status;
    pal_error *error;
    char unknown[128]; /* what is said if no layer can be shown */
} looker;

static void keep(part *p, pal_tensor t)
{
    const pal_shape shape = pal_shape_of(t);
    const int64_t n = pal_count(t);
    const pal_array from = pal_value(pal_contiguous(pal_cast(t, PAL_F64)));
    free(p->x);
    *p =
        (part){.x = ob_reals(n), .heads = shape.dim[2], .width = shape.ndim > 3 ? shape.dim[3] : 1};
    memcpy(p->x, from.data, (size_t)n * sizeof *p->x);
}

/* Channels c < n of head j of HV of a part, whose heads may be shared by groups and whose one
 * channel stands for all. */
static void take(const part *p, int64_t T, int64_t j, int64_t HV, int64_t n, double *to)
{
    const int64_t head = j / (HV / p->heads);
    for (int64_t t = 0; t < T; t++)
        for (int64_t c = 0; c < n; c++)
            to[t * n + c] = p->x[(t * p->heads + head) * p->width + (p->width > 1 ? c : 0)];
}

/* ---- What only the text and the parameters know ---- */

/* The number that the entry of a layer in the list of mixers says for ":key="; 0: it says none. */
static double said(const char *mixers, int64_t layer, const char *key)
{
    size_t length;
    double number = 0;
    const char *entry = pal_mixers_at(mixers, layer, &length);
    const char *at = entry ? strstr(entry, key) : NULL;
    if (!at || at >= entry + length) return 0;
    at += strlen(key);
    char *text = strndup(at, strcspn(at, ":,()"));
    if (text && !pal_number_read(text, &number)) number = 0;
    free(text);
    return number;
}

/* Mamba-2 adds D x to what its state says, which is small beside it in an untrained model. */
static void without_D(const looker *l, ob_head *h)
{
    char name[64];
    snprintf(name, sizeof name, "model.layers.%lld.attn.D", (long long)h->layer);
    const pal_tensor t = pal_params_find(l->params, name);
    if (pal_is_none(t)) return;
    const pal_array a = pal_value(t);
    const double D = pal_array_get(&a, (int64_t[]){h->head});
    for (int64_t i = 0; i < h->T * h->V; i++) h->given[i] -= D * h->v[i];
}

/* ---- A layer that has run ---- */

static pal_status add_head(looker *l, int64_t layer, ob_rule rule, int64_t j, int64_t heads)
{
    const part *seen = l->seen;
    const int64_t T = l->ob->T, nk = seen[Q].width, nv = seen[V].width;
    ob_head *h;
    pal_status s = ob_add(
        l->ob, (ob_head){.layer = layer, .head = j, .rule = rule, .K = nk, .V = nv}, &h, l->error);
    if (s != PAL_OK) return s;
    h->scale = rule == OB_MAMBA2 ? 1 : 1 / sqrt((double)nk);
    take(&seen[Q], T, j, heads, nk, h->q);
    take(&seen[K], T, j, heads, nk, h->k);
    take(&seen[V], T, j, heads, nv, h->v);
    h->given = ob_reals(T * nv);
    take(&seen[O], T, j, heads, nv, h->given);
    for (int64_t i = 0; i < T * nv; i++) h->given_most = fmax(h->given_most, fabs(h->given[i]));
    if (rule == OB_ATTENTION) { /* "swa" sees 2048, more than any sequence here */
        const double scale = said(l->mixers, layer, ":scale=");
        if (scale != 0) h->scale = scale;
        h->window = (int64_t)said(l->mixers, layer, ":window_size=");
        return PAL_OK;
    }
    const part *erase = rule == OB_GDN2 ? &seen[B] : rule == OB_MAMBA2 ? NULL : &seen[BETA];
    const part *write = rule == OB_GDN2 ? &seen[W] : rule == OB_MAMBA2 ? &seen[DT] : &seen[BETA];
    take(&seen[G], T, j, heads, nk, h->g);
    if (erase) take(erase, T, j, heads, nk, h->b);
    take(write, T, j, heads, nv, h->w);
    h->decays = seen[G].width;
    h->erases = erase ? erase->width : 0;
    h->writes = write->width;
    if (rule == OB_MAMBA2) without_D(l, h);
    return PAL_OK;
}

static void add_layer(looker *l, int64_t layer)
{
    const char *name = pal_mixer_name(pal_lm_mixer(l->lm, layer));
    const ob_rule rule = ob_rule_of(name);
    /* Attention has as many outputs as queries; the rules as many as values. */
    const int64_t heads = l->seen[rule == OB_ATTENTION ? Q : V].heads;
    if (rule == OB_RULES) { /* the other layers are shown without it */
        snprintf(l->unknown, sizeof l->unknown, "layer %lld is %.60s, which inspect does not know",
                 (long long)layer, name);
        return;
    }
    if (heads > l->most) l->most = heads;
    for (int64_t j = 0; l->status == PAL_OK && j < heads; j++)
        if (l->opts.head < 0 || l->opts.head == j) l->status = add_head(l, layer, rule, j, heads);
}

static bool hook(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    looker *l = user;
    if (l->opts.layer >= 0 && l->opts.layer != layer) return true;
    for (int i = 0; i < PARTS; i++)
        if (strcmp(name, parts[i]) == 0) keep(&l->seen[i], *t);
    if (strcmp(name, "o") == 0 && l->status == PAL_OK) add_layer(l, layer);
    return true;
}

pal_status look_model(observation *ob, const pal_lm *lm, pal_params *params, const char *mixers,
                      const int64_t *id, look_opts opts, pal_error *error)
{
    looker l = {.ob = ob,
                .lm = lm,
                .params = params,
                .mixers = mixers,
                .opts = opts,
                .error = error,
                .status = PAL_OK};
    const int64_t layers = pal_lm_options(lm).layers;
    if (opts.layer >= layers)
        return pal_error_set(error, PAL_EVALUE, "--layer=%lld: %s has layers 0 to %lld",
                             (long long)opts.layer, ob->model[ob->models - 1],
                             (long long)layers - 1);
    pal_tape *tape = pal_tape_new();
    pal_set_grad(tape, false);
    pal_lm_logits(lm, pal_from(tape, PAL_I64, PAL_SHAPE(1, ob->T), id),
                  (pal_run_opts){.hook = hook, .user = &l});
    pal_tape_free(tape);
    for (int i = 0; i < PARTS; i++) free(l.seen[i].x);
    if (l.status == PAL_OK && l.most == 0 && *l.unknown)
        return pal_error_set(error, PAL_EVALUE, "%s", l.unknown);
    /* Layers may have different numbers of heads. */
    if (l.status == PAL_OK && opts.head >= l.most) {
        if (opts.layer >= 0)
            return pal_error_set(error, PAL_EVALUE, "--head=%lld: layer %lld of %s has %lld heads",
                                 (long long)opts.head, (long long)opts.layer,
                                 ob->model[ob->models - 1], (long long)l.most);
        return pal_error_set(error, PAL_EVALUE, "--head=%lld: the layers of %s have at most %lld",
                             (long long)opts.head, ob->model[ob->models - 1], (long long)l.most);
    }
    return l.status;
}
