/*
 * mixer_ranks.c - the check of pal_mixer_test that divides sequences: ranks are threads of this
 * process, which exchange messages through memory.
 */
#include "layers/models/mixer_test.h"
#include "tensor/internal.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { B = PAL_TRIAL_ROWS, T = PAL_TRIAL_TOKENS, MOST_RANKS = 3 };

/* ---- Messages ---- */

typedef struct message {
    int from, to;
    size_t size;
    struct message *next;
    unsigned char bytes[];
} message;

/* What the ranks share. */
typedef struct group {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    message *first;
    bool broken; /* a rank has ended with an error: the others must not wait for it */
} group;

static void send(group *g, int from, int to, const void *bytes, size_t size)
{
    message *m = malloc(sizeof *m + size), **last = &g->first;
    if (!m) {
        g->broken = true;
        return;
    }
    *m = (message){.from = from, .to = to, .size = size};
    if (size) memcpy(m->bytes, bytes, size);
    while (*last) last = &(*last)->next;
    *last = m;
}

static void receive(group *g, int from, int to, void *bytes, size_t size)
{
    for (;;) {
        for (message **at = &g->first; *at; at = &(*at)->next) {
            message *m = *at;
            if (m->from != from || m->to != to) continue;
            if (m->size != size) g->broken = true;
            if (m->size == size && size) memcpy(bytes, m->bytes, size);
            *at = m->next;
            free(m);
            return;
        }
        if (g->broken) break;
        pthread_cond_wait(&g->changed, &g->lock);
    }
    if (size) memset(bytes, 0, size);
}

static void exchange(const pal_comm *comm, int to, const void *out, size_t sent, int from, void *in,
                     size_t received)
{
    group *g = comm->user;
    pthread_mutex_lock(&g->lock);
    if (to >= 0) send(g, comm->rank, to, out, sent);
    pthread_cond_broadcast(&g->changed);
    if (from >= 0) receive(g, from, comm->rank, in, received);
    pthread_mutex_unlock(&g->lock);
}

/* ---- A rank ---- */

typedef struct rank {
    const pal_mixer_trial *of;
    pal_comm comm;
    int64_t first, last; /* its tokens */
    pal_numbers y, dx;   /* of them, [B,last-first,d] */
    pal_numbers params;  /* its share of their gradients */
    bool raised;
    pal_error error;
} rank;

static void heard(const pal_error *error, void *user)
{
    rank *r = user;
    if (!r->raised) r->error = *error;
    r->raised = true;
}

/* The same cotangent for a token wherever it is. */
static pal_tensor loss_of(pal_trial *t, pal_tensor y, int64_t first, int64_t last)
{
    const int64_t d = t->of->width, n = last - first;
    double *all = pal_trial_draw(3, B * T * d), *c = calloc((size_t)(B * n * d) + 1, sizeof *c);
    for (int64_t b = 0; all && c && b < B; b++)
        memcpy(c + b * n * d, all + (b * T + first) * d, (size_t)(n * d) * sizeof *c);
    pal_tensor w = pal_detach(pal_trial_input(t, pal_shape_of(y), c));
    free(all), free(c);
    return pal_sum(pal_mul(w, y), PAL_ALL, false);
}

static void *work(void *user)
{
    rank *r = user;
    const pal_listener before = pal_listen((pal_listener){heard, r});
    pal_trial t;
    if (pal_trial_make(&t, r->of, PAL_F64)) {
        pal_tensor x = pal_trial_tokens(&t, B, r->first, r->last);
        const pal_run_opts run = {.parts = r->comm.size > 1 ? &r->comm : NULL};
        pal_tensor y = pal_mixer_forward(t.mixer, x, NULL, run);
        if (pal_backward(loss_of(&t, y, r->first, r->last)) == PAL_OK) {
            pal_numbers_add(&r->y, y);
            pal_numbers_add(&r->dx, pal_grad(x));
            for (int i = 0; i < pal_params_count(t.params); i++)
                pal_numbers_add(&r->params, pal_grad(pal_params_at(t.params, i)));
        }
    }
    pal_trial_free(&t);
    pal_listen(before);
    if (r->raised && r->comm.user) {
        group *g = r->comm.user;
        pthread_mutex_lock(&g->lock);
        g->broken = true;
        pthread_cond_broadcast(&g->changed);
        pthread_mutex_unlock(&g->lock);
    }
    return NULL;
}

/* ---- All of them ---- */

static void put(pal_numbers *whole, const pal_numbers *part, const rank *r)
{
    const int64_t d = r->of->width, n = r->last - r->first;
    for (int64_t b = 0; b < B && part->n == B * n * d; b++)
        memcpy(whole->x + (b * T + r->first) * d, part->x + b * n * d,
               (size_t)(n * d) * sizeof(double));
}

static void add(pal_numbers *sum, const pal_numbers *part)
{
    for (int64_t i = 0; i < sum->n && part->n == sum->n; i++) sum->x[i] += part->x[i];
}

/* Runs the mixer on `size` ranks, and compares them with the whole. */
static void divided(pal_mixer_trial *of, const rank *whole, int size)
{
    group g = {.first = NULL};
    rank r[MOST_RANKS];
    pthread_t thread[MOST_RANKS];
    int started = 0;
    pal_numbers y = {calloc((size_t)(B * T * of->width), sizeof(double)), B * T * of->width};
    pal_numbers dx = {calloc((size_t)(B * T * of->width), sizeof(double)), B * T * of->width};
    pal_numbers params = {calloc((size_t)whole->params.n + 1, sizeof(double)), whole->params.n};
    pthread_mutex_init(&g.lock, NULL);
    pthread_cond_init(&g.changed, NULL);
    for (int i = 0; i < size; i++) {
        r[i] = (rank){.of = of,
                      .comm = {.rank = i, .size = size, .exchange = exchange, .user = &g},
                      .first = i * T / size,
                      .last = (i + 1) * T / size};
        if (i == started && pthread_create(&thread[i], NULL, work, &r[i]) == 0) started++;
    }
    if (started < size) {
        pthread_mutex_lock(&g.lock);
        g.broken = true;
        pthread_cond_broadcast(&g.changed);
        pthread_mutex_unlock(&g.lock);
    }
    for (int i = 0; i < started; i++) {
        pthread_join(thread[i], NULL);
        if (r[i].raised && !of->raised) of->raised = true, of->error = r[i].error;
        put(&y, &r[i].y, &r[i]);
        put(&dx, &r[i].dx, &r[i]);
        add(&params, &r[i].params);
        free(r[i].y.x), free(r[i].dx.x), free(r[i].params.x);
    }
    for (message *m = g.first, *next; m; m = next) next = m->next, free(m);
    pthread_cond_destroy(&g.changed);
    pthread_mutex_destroy(&g.lock);
    const double of_params = params.n ? pal_numbers_apart(&params, &whole->params) : 0;
    const double apart =
        started < size
            ? HUGE_VAL
            : fmax(fmax(pal_numbers_apart(&y, &whole->y), pal_numbers_apart(&dx, &whole->dx)),
                   of_params);
    pal_trial_said(of, size == 2 ? "2 ranks" : "3 ranks", apart, of->tolerance);
    free(y.x), free(dx.x), free(params.x);
}

void pal_trial_ranks(pal_mixer_trial *of)
{
    rank whole = {.of = of, .comm = {.size = 1}, .first = 0, .last = T};
    work(&whole);
    if (whole.raised) of->raised = true, of->error = whole.error;
    if (of->raised)
        pal_trial_said(of, "one rank", HUGE_VAL, 0);
    else
        for (int size = 2; size <= MOST_RANKS; size++) divided(of, &whole, size);
    free(whole.y.x), free(whole.dx.x), free(whole.params.x);
}
