/*
 * look.c - looks into a running model by a hook, and sorts what it sees by head.
 */
#include "examples/inspect/look.h"
#include "tensor/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { Q, K, V, G, B, W, BETA, DT, LAM, OM, O, PARTS };
static const char *const parts[PARTS] = {"q",    "k",  "v",   "g",  "b", "w",
                                         "beta", "dt", "lam", "om", "o"};

/* A tensor that went by, [T,heads,inner,width]. A gate of one number a head has width 1. Mamba-3's
 * q and k are [T,R,groups,width] and its o is [T,heads,R,width]; elsewhere inner is 1. */
typedef struct passed {
    double *x;
    int64_t heads, inner, width;
} passed;

typedef struct looker {
    observation *ob;
    const pal_lm *lm;
    pal_params *params;
    const char *mixers;
    look_opts opts;
    int64_t most; /* heads of a layer */
    int turn;     /* of the mixers of a sum, whose tensors come one after the other */
    bool shown;   /* one of them */
    passed seen[PARTS];
    pal_status status;
    pal_error *error;
    char unknown[128]; /* what is said if no layer can be shown */
} looker;

static void keep(passed *p, pal_tensor t)
{
    const pal_shape shape = pal_shape_of(t);
    const int64_t n = pal_count(t);
    const pal_array from = pal_value(pal_contiguous(pal_cast(t, PAL_F64)));
    free(p->x);
    *p = (passed){.x = ob_reals(n),
                  .heads = shape.dim[2],
                  .inner = shape.ndim > 4 ? shape.dim[3] : 1,
                  .width = shape.ndim > 3 ? shape.dim[shape.ndim - 1] : 1};
    memcpy(p->x, from.data, (size_t)n * sizeof *p->x);
}

static void forget(passed *p)
{
    free(p->x);
    p->x = NULL;
}

/* Channels c < n of head j of HV of a tensor whose heads may be shared by groups and whose one
 * channel stands for all. */
static void take(const passed *p, int64_t T, int64_t j, int64_t HV, int64_t n, double *to)
{
    const int64_t head = j / (HV / p->heads);
    for (int64_t t = 0; t < T; t++)
        for (int64_t c = 0; c < n; c++)
            to[t * n + c] = p->x[(t * p->heads + head) * p->width + (p->width > 1 ? c : 0)];
}

/* ---- What only the text and the parameters know ---- */

/* The number that the entry of a layer in the list of mixers says of a key (":window_size="); 0: it
 * does not. */
static double said_of(const char *mixers, int64_t layer, const char *key)
{
    size_t length;
    double x = 0;
    const char *entry = pal_mixers_at(mixers, layer, &length);
    const char *at = entry ? strstr(entry, key) : NULL;
    if (!at || at >= entry + length) return 0;
    at += strlen(key);
    return pal_number_next(&at, &x) ? x : 0;
}

/* The mixer of a layer whose tensors come now: of a sum "mamba2+attn", one of its parts. */
static bool mixer_now(const looker *l, int64_t layer, char name[32])
{
    const char *all = pal_mixer_name(pal_lm_mixer(l->lm, layer)), *at = all;
    for (int i = 0; i < l->turn && strchr(at, '+'); i++) at = strchr(at, '+') + 1;
    snprintf(name, 32, "%.*s", (int)strcspn(at, "+"), at);
    return strchr(all, '+') != NULL;
}

/* A parameter of the layer of a head. PAL_NONE: there is none. */
static pal_tensor parameter(const looker *l, const ob_head *h, const char *what)
{
    char name[96], mixer[32];
    const bool sum = mixer_now(l, h->layer, mixer);
    snprintf(name, sizeof name, "model.layers.%lld.attn.%s%s%s", (long long)h->layer,
             sum ? mixer : "", sum ? "." : "", what);
    return pal_params_find(l->params, name);
}

/* Mamba-2 adds D x to what its state says, and Mamba-3 D v to each row: that is small beside it in
 * an untrained model. */
static void without_D(const looker *l, ob_head *h)
{
    const pal_tensor t = parameter(l, h, "D");
    if (pal_is_none(t)) return;
    const pal_array a = pal_value(t);
    const double D = pal_array_get(&a, (int64_t[]){h->head});
    for (int64_t n = 0; n < h->T * h->R * h->V; n++) {
        const int64_t c = n % h->V, i = n / h->V % h->R, t_V = n / h->V / h->R * h->V;
        const double v =
            h->rule == OB_MAMBA3 ? h->turns.mimo_x[i * h->V + c] * h->turns.x[t_V + c] : h->v[n];
        h->given[n] -= D * v;
    }
}

/* ---- A layer of Mamba-3 ---- */

/* Row i of head j of a parameter [heads,R,n], added to each token's row i of to [T,R,n]. */
static void add_rows(pal_tensor t, int64_t j, int64_t T, int64_t R, int64_t n, double *to)
{
    if (pal_is_none(t)) return;
    const pal_array a = pal_value(t);
    for (int64_t i = 0; i < T * R * n; i++)
        to[i] += pal_array_get(&a, (int64_t[]){j, i / n % R, i % n});
}

/* The rows of group `group`, [T,R,n]. */
static void take_rows(const passed *p, int64_t T, int64_t group, double *to)
{
    for (int64_t r = 0; r < T * p->heads; r++)
        memcpy(to + r * p->width, p->x + (r * p->inner + group) * p->width,
               (size_t)p->width * sizeof *to);
}

static pal_status add_turned(looker *l, int64_t layer, int64_t j, int64_t heads)
{
    const passed *seen = l->seen, *k = &seen[K], *o = &seen[O];
    const int64_t T = l->ob->T, R = k->heads, nk = k->width, nv = seen[V].width;
    const int64_t group = j / (heads / k->inner);
    ob_head like = {.layer = layer, .head = j, .rule = OB_MAMBA3, .K = nk, .V = nv, .R = R}, *h;
    like.turns.J = seen[OM].heads;
    /* The layer's choice: halves with is_mimo, which mimo_x tells. */
    const pal_tensor mimo_x = parameter(l, &like, "mimo_x");
    if (!pal_is_none(mimo_x)) like.turns.pair = PAL_PAIR_HALF;
    const pal_status s = ob_add(l->ob, like, &h, l->error);
    if (s != PAL_OK) return s;
    ob_turns *r = &h->turns;
    take(&seen[DT], T, j, heads, 1, r->dt);
    take(&seen[LAM], T, j, heads, 1, r->lam);
    take(&seen[G], T, j, heads, nk, h->g);
    take(&seen[V], T, j, heads, nv, r->x);
    memcpy(r->om, seen[OM].x, (size_t)(T * r->J) * sizeof *r->om);
    take_rows(k, T, group, r->B);
    take_rows(&seen[Q], T, group, r->C);
    add_rows(parameter(l, h, "B_bias"), j, T, R, nk, r->B);
    add_rows(parameter(l, h, "C_bias"), j, T, R, nk, r->C);
    if (!pal_is_none(mimo_x)) {
        memset(r->mimo_x, 0, (size_t)(R * nv) * sizeof *r->mimo_x);
        add_rows(mimo_x, j, 1, R, nv, r->mimo_x);
    }
    h->given = ob_reals(T * R * nv);
    for (int64_t n = 0; n < T * R * nv; n++) {
        h->given[n] = o->x[(n / nv / R * heads + j) * R * nv + n % (R * nv)];
        h->given_most = fmax(h->given_most, fabs(h->given[n]));
    }
    h->decays = h->writes = 1;
    without_D(l, h);
    return PAL_OK;
}

/* ---- A layer that has run ---- */

/* The first of two gates that the layer has shown; NULL: it has shown neither. */
static const passed *gate(const passed *one, const passed *other)
{
    return one->x ? one : other->x ? other : NULL;
}

/* The gates of a head. A mixer of one's own has those that it shows. */
static void add_gates(looker *l, ob_rule rule, int64_t j, int64_t heads, ob_head *h)
{
    const passed *seen = l->seen, *g = &seen[G];
    const passed *erase = gate(&seen[B], &seen[BETA]), *write = gate(&seen[W], &seen[BETA]);
    if (rule == OB_MAMBA2) write = &seen[DT];
    if (g->x) take(g, h->T, j, heads, h->K, h->g);
    if (erase) take(erase, h->T, j, heads, h->K, h->b);
    if (write) take(write, h->T, j, heads, h->V, h->w);
    h->decays = g->x ? g->width : 0;
    h->erases = erase ? erase->width : 0;
    h->writes = write ? write->width : 0;
}

static pal_status add_head(looker *l, int64_t layer, ob_rule rule, int64_t j, int64_t heads)
{
    const passed *seen = l->seen;
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
    if (rule == OB_ATTENTION) {
        const double scale = said_of(l->mixers, layer, ":scale=");
        if (scale > 0) h->scale = scale;
        /* "swa" says 2048 by itself, more than any sequence here. */
        h->window = (int64_t)said_of(l->mixers, layer, ":window_size=");
        return PAL_OK;
    }
    add_gates(l, rule, j, heads, h);
    if (rule == OB_MAMBA2) without_D(l, h);
    return PAL_OK;
}

static void add_layer(looker *l, int64_t layer)
{
    char name[32];
    const bool sum = mixer_now(l, layer, name);
    const bool own = ob_rule_of(name) == OB_RULES; /* GDN-2 contains what it shows */
    const ob_rule rule = own ? OB_GDN2 : ob_rule_of(name);
    /* Attention has as many outputs as queries; the rules as many as values. */
    const int64_t heads = l->seen[rule == OB_ATTENTION ? Q : V].heads;
    if (sum && (l->shown || rule == OB_ATTENTION)) return; /* its first memory is shown */
    if (own && !(l->seen[Q].x && l->seen[K].x && l->seen[V].x)) {
        /* It shows no q, k and v; the other layers are shown without it. */
        snprintf(l->unknown, sizeof l->unknown, "layer %lld is %.60s, which inspect does not know",
                 (long long)layer, name);
        return;
    }
    l->shown = true;
    if (heads > l->most) l->most = heads;
    for (int64_t j = 0; l->status == PAL_OK && j < heads; j++)
        if (l->opts.head < 0 || l->opts.head == j)
            l->status = rule == OB_MAMBA3 ? add_turned(l, layer, j, heads)
                                          : add_head(l, layer, rule, j, heads);
}

static bool hook(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    looker *l = user;
    if (l->opts.layer >= 0 && l->opts.layer != layer) return true;
    const bool last = strcmp(name, "o") == 0;
    if (strcmp(name, "x") == 0) l->turn = 0, l->shown = false;
    for (int i = 0; i < PARTS; i++) {
        if (strcmp(name, "x") == 0) forget(&l->seen[i]); /* another layer's */
        if (strcmp(name, parts[i]) == 0) keep(&l->seen[i], *t);
    }
    if (last && l->status == PAL_OK) add_layer(l, layer);
    for (int i = 0; i < PARTS && last; i++) forget(&l->seen[i]); /* another one's of a sum */
    l->turn += last;
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
