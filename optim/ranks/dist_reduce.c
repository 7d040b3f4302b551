/*
 * dist_reduce.c - sums gradients over ranks while backward still runs.
 *
 * MPI matches collective operations by their order, so every rank starts the buckets in the same
 * order. A bucket that is complete early waits for those before it. Buckets that are not complete
 * after backward (a parameter is not used in the rank's graph) are started at the end. The order of
 * additions in a bucket depends on its size and the number of ranks, not on which rank comes first.
 */
#include "autograd/internal.h"
#include "optim/optimisers/internal.h"
#include "optim/ranks/dist_private.h"
#include "optim/ranks/ranks.h"
#include "tensor/number.h"

#include <limits.h>
#include <string.h>
#include <time.h>

typedef struct bucket {
    void *memory;
    int count; /* number of elements */
    pal_dtype dtype;
    MPI_Datatype type;
    int owner;   /* the rank that gets the sum; -1: all */
    int waiting; /* number of parameters whose gradients are not complete */
} bucket;

struct pal_reduction {
    pal_params *params;
    pal_tape *tape;
    int count;      /* number of parameters */
    size_t size;    /* of this allocation */
    int *bucket_of; /* of each parameter; -1: none */
    bool *complete; /* of each parameter: its gradient is complete */
    bucket *bucket; /* one for each bucket, as in the next two arrays */
    pal_dist_bucket *trace;
    MPI_Request *request;
    bool printing; /* PAL_TRACE=dist */

    int buckets, next, oldest; /* number of buckets; the next one to start; the oldest that may not
                                  have finished */
    bool running;
    bool measuring;
    pal_squares own; /* the sum of the squares of this rank's gradients, bucket after bucket */
    double origin;   /* start of the times */
    int64_t operations;
    struct pal_dist_times times;
    pal_grad_fn *on_grad; /* the callback of the program */
    void *on_grad_user;
    pal_between_fn *between;
    void *between_user;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- Buckets ---- */

/* Whether parameter i joins bucket b, whose parameters have higher indices. */
static bool joins(const struct pal_reduction *r, const int *owner, int b, int i, int64_t most)
{
    if (owner && owner[i] != owner[r->trace[b].last]) return false;
    const pal_span span = pal_params_span(r->params, i);
    const pal_span last = pal_params_span(r->params, r->trace[b].last);
    const pal_dtype dtype = pal_params_block(r->params, span.block).dtype;
    const int64_t count = last.offset + last.count - span.offset;
    return span.block == last.block && count * (int64_t)pal_dtype_size(dtype) <= most;
}

/* Makes the buckets again: parameters may have been frozen or freed since the last time. */
static void make_buckets(struct pal_reduction *r, const int *owner, int64_t most)
{
    r->buckets = 0;
    for (int i = r->count - 1; i >= 0; i--) {
        r->complete[i] = false;
        r->bucket_of[i] = -1;
        if (pal_params_frozen(r->params, i)) continue;
        if (r->buckets == 0 || !joins(r, owner, r->buckets - 1, i, most)) {
            r->trace[r->buckets] = (pal_dist_bucket){.last = i};
            r->bucket[r->buckets++] = (bucket){.owner = owner ? owner[i] : -1};
        }
        r->bucket_of[i] = r->buckets - 1;
        r->trace[r->buckets - 1].first = i;
        r->bucket[r->buckets - 1].waiting++;
    }
    for (int b = 0; b < r->buckets; b++) {
        const pal_span first = pal_params_span(r->params, r->trace[b].first);
        const pal_span last = pal_params_span(r->params, r->trace[b].last);
        const pal_param_block block = pal_params_block(r->params, first.block);
        const size_t size = pal_dtype_size(block.dtype);
        bucket *p = &r->bucket[b];
        p->memory = (char *)block.grad + (size_t)first.offset * size;
        p->count = (int)(last.offset + last.count - first.offset);
        p->dtype = block.dtype;
        p->type = pal_dist_type(block.dtype);
        r->trace[b].bytes = (int64_t)size * p->count;
    }
}

/* ---- During backward ---- */

static void measure(struct pal_reduction *r, const bucket *p)
{
    if (r->measuring) pal_squares_add(&r->own, pal_sum_square(p->dtype, p->count, p->memory));
}

static void start_bucket(pal_dist *d, int b)
{
    struct pal_reduction *r = d->reduction;
    const bucket *p = &r->bucket[b];
    measure(r, p);
    r->trace[b].started = now() - r->origin;
    r->trace[b].operations = r->operations;
    if (p->owner < 0)
        MPI_Iallreduce(MPI_IN_PLACE, p->memory, p->count, p->type, MPI_SUM, d->gradients,
                       &r->request[b]);
    else
        MPI_Ireduce(p->owner == d->rank ? MPI_IN_PLACE : p->memory, p->memory, p->count, p->type,
                    MPI_SUM, p->owner, d->gradients, &r->request[b]);
    r->next = b + 1;
}

/* Testing the oldest request lets MPI make progress on all of them. */
static void go_on(struct pal_reduction *r)
{
    while (r->oldest < r->next) {
        int finished;
        MPI_Test(&r->request[r->oldest], &finished, MPI_STATUS_IGNORE);
        if (!finished) return;
        r->trace[r->oldest++].finished = now() - r->origin;
    }
}

static void on_grad(pal_params *params, int i, void *user)
{
    pal_dist *d = user;
    struct pal_reduction *r = d->reduction;
    if (r->on_grad) r->on_grad(params, i, r->on_grad_user);
    const int b = i < r->count ? r->bucket_of[i] : -1; /* a callback may have created i since */
    if (b < 0) return;
    if (r->complete[i]) {
        pal_error error;
        pal_error_set(&error, PAL_EVALUE,
                      "dist_reduce_begin: a second backward pass before dist_reduce_end adds to "
                      "the gradient of %s, which may be on its way",
                      pal_params_name(params, i));
        pal_raise(&error);
        return;
    }
    r->complete[i] = true;
    r->bucket[b].waiting--;
    while (!d->opts.blocking && r->next < r->buckets && r->bucket[r->next].waiting == 0)
        start_bucket(d, r->next);
}

static void between(void *user)
{
    pal_dist *d = user;
    struct pal_reduction *r = d->reduction;
    r->operations++;
    go_on(r);
    if (r->between) r->between(r->between_user);
}

/* ---- Use ---- */

void pal_reduction_free(struct pal_reduction *r)
{
    if (r) pal_free(r, r->size);
}

/* Allocates the object, with its arrays behind it. */
static struct pal_reduction *allocate(pal_params *params, pal_tape *tape)
{
    const size_t n = (size_t)pal_params_count(params), head = sizeof(struct pal_reduction);
    const size_t each =
        sizeof(bucket) + sizeof(pal_dist_bucket) + sizeof(MPI_Request) + sizeof(int) + sizeof(bool);
    const size_t start = pal_round_up(head, PAL_ALIGN), size = start + n * each;
    struct pal_reduction *r = pal_malloc(size);
    if (!r) return NULL;
    *r = (struct pal_reduction){.params = params, .tape = tape, .count = (int)n, .size = size};
    char *at = (char *)r + start;
    r->bucket = (bucket *)(void *)at;
    r->trace = (pal_dist_bucket *)(void *)(r->bucket + n);
    r->request = (MPI_Request *)(void *)(r->trace + n);
    r->bucket_of = (int *)(void *)(r->request + n);
    r->complete = (bool *)(void *)(r->bucket_of + n);
    r->printing = pal_environment_has("PAL_TRACE", "dist", NULL);
    return r;
}

pal_status pal_dist_attach(pal_dist *d, pal_params *params, pal_tape *tape, pal_error *error)
{
    if (pal_dist_size(d) == 1) return PAL_OK;
    struct pal_reduction *old = d->reduction;
    if (old && old->running)
        return pal_error_set(error, PAL_EVALUE, "dist_attach: gradients are on their way");
    if (old && old->params == params && old->tape == tape && old->count == pal_params_count(params))
        return PAL_OK; /* or other parameters at the same address; each step makes its buckets again
                        */
    for (int i = 0; i < pal_params_count(params); i++)
        if (pal_params_span(params, i).count > INT_MAX)
            return pal_error_set(error, PAL_EVALUE,
                                 "dist_attach: parameter %.200s has %lld elements, and %d is the "
                                 "most that can be summed",
                                 pal_params_name(params, i),
                                 (long long)pal_params_span(params, i).count, INT_MAX);
    struct pal_reduction *r = allocate(params, tape);
    if (!r) return pal_error_set(error, PAL_ENOMEM, "dist_attach: out of memory");
    pal_reduction_free(old);
    d->reduction = r;
    return PAL_OK;
}

void pal_dist_reduce_begin(pal_dist *d)
{
    struct pal_reduction *r = d ? d->reduction : NULL;
    if (!r) return;
    if (r->running) {
        pal_error error;
        pal_error_set(&error, PAL_EVALUE, "dist_reduce_begin: called again before dist_reduce_end");
        pal_raise(&error);
        return;
    }
    if (r->count != pal_params_count(r->params)) {
        pal_error error;
        pal_error_set(&error, PAL_EVALUE,
                      "dist_reduce_begin: there are %d parameters, and %d when they were attached",
                      pal_params_count(r->params), r->count);
        pal_raise(&error);
        return;
    }
    if (!pal_params_make_gradients(r->params)) {
        pal_error error;
        pal_error_set(&error, PAL_ENOMEM, "dist_reduce_begin: out of memory for the gradients");
        pal_raise(&error);
        return;
    }
    make_buckets(r, pal_shard_owners(d, r->params),
                 d->opts.bucket < INT_MAX ? d->opts.bucket : INT_MAX);
    r->next = r->oldest = 0;
    r->operations = 0;
    r->own = (pal_squares){0};
    r->running = true;
    r->origin = now();
    r->on_grad = pal_params_grad_fn(r->params, &r->on_grad_user);
    r->between = r->tape->between;
    r->between_user = r->tape->between_user;
    pal_params_on_grad(r->params, on_grad, d);
    pal_tape_between(r->tape, between, d);
}

static void print_trace(const pal_dist *d)
{
    PAL_C_LOCALE;
    const struct pal_reduction *r = d->reduction;
    const struct pal_dist_times *t = &r->times;
    fprintf(
        stderr,
        "rank %d: backward %.6f s, %lld operations; %d buckets of %lld bytes, %.6f s after it\n",
        d->rank, t->backward, (long long)t->operations, t->buckets, (long long)t->bytes,
        t->exposed);
    for (int b = 0; b < r->buckets; b++)
        fprintf(stderr,
                "rank %d: bucket %d, parameters %d to %d, %lld bytes: started %.6f (operation "
                "%lld), finished %.6f\n",
                d->rank, b, r->trace[b].first, r->trace[b].last, (long long)r->trace[b].bytes,
                r->trace[b].started, (long long)r->trace[b].operations, r->trace[b].finished);
}

static void finish(pal_dist *d, int b)
{
    struct pal_reduction *r = d->reduction;
    if (d->opts.blocking && !pal_dist_naps(d)) { /* nothing sleeps inside these calls */
        const bucket *p = &r->bucket[b];
        measure(r, p);
        r->trace[b].started = now() - r->origin;
        r->trace[b].operations = r->operations;
        if (p->owner < 0)
            MPI_Allreduce(MPI_IN_PLACE, p->memory, p->count, p->type, MPI_SUM, d->gradients);
        else
            MPI_Reduce(p->owner == d->rank ? MPI_IN_PLACE : p->memory, p->memory, p->count, p->type,
                       MPI_SUM, p->owner, d->gradients);
    } else {
        if (d->opts.blocking) start_bucket(d, b);
        pal_dist_wait(d, 1, &r->request[b]);
    }
    r->trace[b].finished = now() - r->origin;
}

void pal_dist_reduce_end(pal_dist *d)
{
    struct pal_reduction *r = d ? d->reduction : NULL;
    if (!r || !r->running) return;
    pal_params_on_grad(r->params, r->on_grad, r->on_grad_user);
    pal_tape_between(r->tape, r->between, r->between_user);
    r->running = false;
    struct pal_dist_times t = {.buckets = r->buckets, .operations = r->operations};
    t.backward = now() - r->origin;
    while (!d->opts.blocking && r->next < r->buckets) start_bucket(d, r->next);
    for (; r->oldest < r->buckets; r->oldest++) finish(d, r->oldest);
    t.exposed = now() - r->origin - t.backward;
    for (int b = 0; b < r->buckets; b++) t.bytes += r->trace[b].bytes;
    if (r->buckets) t.span = r->trace[r->buckets - 1].finished - r->trace[0].started;
    r->times = t;
    if (r->printing) print_trace(d);
}

void pal_dist_measure(pal_dist *d, bool on)
{
    if (d && d->reduction) d->reduction->measuring = on;
}

pal_squares pal_dist_own_square(const pal_dist *d)
{
    return d && d->reduction ? d->reduction->own : (pal_squares){0};
}

struct pal_dist_times pal_dist_times(const pal_dist *d)
{
    return d && d->reduction ? d->reduction->times : (struct pal_dist_times){0};
}

int pal_dist_trace(const pal_dist *d, const pal_dist_bucket **buckets)
{
    *buckets = d && d->reduction ? d->reduction->trace : NULL;
    return d && d->reduction ? d->reduction->buckets : 0;
}
