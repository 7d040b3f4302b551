/* find_lr.c - the rate finder: a few steps at rising rates, after which all is as it was. */
#include "autograd/internal.h"
#include "optim/data/batches.h"
#include "optim/optimisers/internal.h"
#include "optim/ranks/ranks.h"
#include "optim/train/run_folder.h"
#include "optim/train/train_step.h"

#include <math.h>
#include <string.h>

/* ---- What the steps change ---- */

/* A callback may create parameters: blocks grow, and others are added. What was there keeps its
 * place in its block, so the bytes of each block are noted when they are copied. */
typedef struct snapshot {
    size_t *bytes; /* of each home: the blocks of values, then the moments of each block */
    int blocks;    /* number of blocks of values */
    int homes;     /* number of all homes */
    char *memory;  /* the bytes of all homes, behind the list */
    size_t size;   /* of this allocation */
    int64_t steps;
    pal_rng rng;
    pal_position position;
} snapshot;

/* Where home i is now, and how many bytes it has now. */
static void *home_of(const pal_train_opts *o, const snapshot *s, int i, size_t *bytes)
{
    if (i < s->blocks) {
        const pal_param_block block = pal_params_block_as_is(o->params, i);
        *bytes = block.kept ? 0 : (size_t)block.count * pal_dtype_size(block.dtype);
        return block.value;
    }
    const int k = (i - s->blocks) % PAL_MOMENTS;
    const struct pal_state_block *block = &o->optim->state.block[(i - s->blocks) / PAL_MOMENTS];
    *bytes = block->memory[k] ? block->size[k] : 0;
    return block->memory[k];
}

static pal_status take(const pal_train_opts *o, snapshot *s, pal_error *error)
{
    size_t bytes, all = 0;
    *s = (snapshot){.steps = o->optim->steps, .rng = *pal_tape_rng(o->tape)};
    if (o->batches) s->position = pal_batches_position(o->batches);
    s->blocks = pal_params_blocks(o->params);
    s->homes = s->blocks + o->optim->state.blocks * PAL_MOMENTS;
    for (int i = 0; i < s->homes; i++, all += bytes) home_of(o, s, i, &bytes);
    s->size = (size_t)(s->homes + 1) * sizeof *s->bytes + all;
    s->bytes = pal_malloc(s->size);
    if (!s->bytes)
        return pal_error_set(error, PAL_ENOMEM, "find_lr: out of memory for a copy of %zu bytes",
                             s->size);
    char *to = s->memory = (char *)(s->bytes + s->homes + 1);
    for (int i = 0; i < s->homes; to += s->bytes[i++]) {
        const void *from = home_of(o, s, i, &s->bytes[i]);
        if (s->bytes[i]) memcpy(to, from, s->bytes[i]);
    }
    return PAL_OK;
}

static pal_status give_back(const pal_train_opts *o, const snapshot *s, pal_error *error)
{
    const char *from = s->memory;
    for (int i = 0; i < s->homes; from += s->bytes[i++]) {
        size_t now; /* moments are fewer if they have been divided among ranks */
        void *to = home_of(o, s, i, &now);
        const size_t bytes = s->bytes[i] < now ? s->bytes[i] : now;
        if (bytes) memcpy(to, from, bytes);
    }
    pal_free(s->bytes, s->size);
    o->optim->steps = s->steps;
    *pal_tape_rng(o->tape) = s->rng;
    pal_params_touch(o->params);
    pal_params_zero_grad(o->params);
    pal_tape_reset(o->tape);
    return o->batches ? pal_batches_seek(o->batches, s->position, error) : PAL_OK;
}

/* ---- Looking at the curve ---- */

/* Means over 2 h + 1 points, fewer at the ends: unlike a running average they do not lag. */
static void smooth(pal_lr_point *p, int64_t n, int64_t h)
{
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        int64_t most = i < n - 1 - i ? i : n - 1 - i;
        if (most > h) most = h;
        for (int64_t j = i - most; j <= i + most; j++) sum += p[j].loss;
        p[i].smooth = sum / (double)(2 * most + 1);
    }
}

/* The slope of the losses over the logarithm of the rate, by least squares over 2 h + 1 points. */
static double slope(const pal_lr_point *p, int64_t i, int64_t h)
{
    double sum = 0, squares = 0;
    for (int64_t j = -h; j <= h; j++) {
        sum += (double)j * p[i + j].smooth;
        squares += (double)(j * j);
    }
    return sum / squares;
}

static pal_status suggest(const pal_lr_point *p, int64_t n, int64_t h, pal_lr_found *found,
                          pal_error *error)
{
    int64_t lowest = 0, steepest = -1;
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        if (p[i].smooth < p[lowest].smooth) lowest = i;
    for (int64_t i = h; i <= lowest && i + h < n; i++) {
        const double s = slope(p, i, h);
        if (s < most) most = s, steepest = i;
    }
    found->lowest = p[lowest].lr;
    if (steepest >= 0) {
        found->lr = p[steepest].lr;
        return PAL_OK;
    }
    return pal_error_set(error, PAL_EVALUE,
                         "find_lr: the loss falls at no rate from %.3g to %.3g in %lld steps",
                         p[0].lr, p[n - 1].lr, (long long)n);
}

/* ---- The steps ---- */

static pal_status check(const pal_train_opts *o, const pal_find_lr_opts *f, pal_error *error)
{
    if (!o->params || !o->optim || !o->tape || !o->loss)
        return pal_error_set(error, PAL_EVALUE,
                             "find_lr: params, optim, tape and loss are all needed");
    if (!(f->low > 0 && f->low < f->high && isfinite(f->high)))
        return pal_error_set(error, PAL_EVALUE, "find_lr: rates from %g to %g", f->low, f->high);
    if (f->steps < 10 || f->steps > 1000000)
        return pal_error_set(error, PAL_EVALUE,
                             "find_lr: %lld steps, and 10 to 1000000 are possible",
                             (long long)f->steps);
    if (!(f->stop > 1))
        return pal_error_set(error, PAL_EVALUE, "find_lr: stop is %g, and must be above 1",
                             f->stop);
    if (o->batches && o->dist) return pal_train_part(o, error);
    return PAL_OK;
}

/* Steps until the loss is far above its lowest; *made is how many there were. */
static pal_status rise(const pal_train_opts *given, const pal_find_lr_opts *f, pal_lr_point *p,
                       int64_t *made, pal_error *error)
{
    pal_train_opts o = *given;
    double lowest = INFINITY, average = 0, weight = 0;
    pal_accord accord = {0};
    o.average = NULL, o.rate = NULL, o.watch = NULL, o.noise = false;
    for (*made = 0; *made < f->steps; ++*made) {
        pal_step step;
        pal_error why;
        const double share = (double)*made / (double)(f->steps - 1);
        o.schedule = (pal_schedule){.lr = f->low * pow(f->high / f->low, share)};
        pal_status s = pal_train_step_together(&o, *made, &step, &accord, &why);
        if (s == PAL_ENUMERIC && *made > 0) break; /* it has gone too far */
        if (s != PAL_OK) return pal_error_set(error, s, "find_lr: %.800s", why.message);
        if (accord.signal)
            return pal_error_set(error, PAL_EVALUE, "find_lr: it was stopped by a signal");
        p[*made] = (pal_lr_point){.lr = step.lr, .loss = step.loss};
        average = 0.8 * average + 0.2 * step.loss, weight = 0.8 * weight + 0.2;
        if (average / weight < lowest) lowest = average / weight;
        if (average / weight > f->stop * lowest && *made >= 10) break;
    }
    return PAL_OK;
}

pal_status pal_find_lr(const pal_train_opts *opts, pal_find_lr_opts f, pal_lr_point *points,
                       pal_lr_found *found, pal_error *error)
{
    const pal_train_opts own = *opts, *o = &own; /* callbacks may change *opts */
    if (f.low == 0) f.low = 1e-6;
    if (f.high == 0) f.high = 1;
    if (f.steps == 0) f.steps = 100;
    if (f.stop == 0) f.stop = 2;
    *found = (pal_lr_found){0};
    pal_status s = pal_dist_agree(o->dist, check(o, &f, error), error);
    if (s == PAL_OK) s = pal_dist_same_params(o->dist, o->params, error);
    if (s == PAL_OK) s = pal_dist_shard(o->dist, o->optim, error);
    if (s != PAL_OK) return s;
    const size_t bytes = (size_t)f.steps * sizeof *points;
    pal_lr_point *p = points ? points : pal_malloc(bytes);
    snapshot was = {0};
    s = p ? take(o, &was, error)
          : pal_error_set(error, PAL_ENOMEM, "find_lr: out of memory for its points");
    s = pal_dist_agree(o->dist, s, error);
    if (s == PAL_OK) s = rise(o, &f, p, &found->steps, error);
    if (was.bytes) {
        const pal_status back = give_back(o, &was, s == PAL_OK ? error : NULL);
        if (s == PAL_OK) s = back;
    }
    const int64_t h = f.steps / 20 > 2 ? f.steps / 20 : 2;
    if (s == PAL_OK && found->steps <= 2 * h)
        s = pal_error_set(error, PAL_EVALUE, "find_lr: the loss grows from the lowest rate on, %g",
                          f.low);
    if (s == PAL_OK) smooth(p, found->steps, h);
    if (s == PAL_OK) s = suggest(p, found->steps, h, found, error);
    if (!points && p) pal_free(p, bytes);
    return s;
}
