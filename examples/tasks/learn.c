/*
 * learn.c - training a model on a task, and examining it.
 *
 * There are no batches to read: row r of point p comes out of its number, so training batch n is
 * rows n B .. n B + B-1 of the point that n draws, and no number comes twice.
 */
#include "examples/lm/optimizer.h"
#include "examples/tasks/internal.h"

#include <math.h>
#include <string.h>
#include <time.h>

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Rows as tensors [B, len] of the tape. */
typedef struct rows {
    pal_tensor tokens, targets;
} rows;

static rows draw(const task *t, task_split split, int point, uint64_t seed, int64_t first,
                 int64_t B, pal_tape *tape)
{
    const pal_shape shape = PAL_SHAPE(B, t->point[split][point].len);
    const rows r = {pal_zeros(tape, PAL_I64, shape), pal_zeros(tape, PAL_I64, shape)};
    if (pal_tape_status(tape) == PAL_OK)
        task_rows(t, split, point, seed, first, B, pal_edit(r.tokens).data,
                  pal_edit(r.targets).data);
    return r;
}

/* ---- Testing ---- */

static double at(const pal_array *a, int64_t i)
{
    const pal_array flat = pal_array_of(a->dtype, PAL_SHAPE(pal_array_count(a)), a->data);
    return pal_array_get(&flat, &i);
}

/* The likeliest of n logits, the first of equals, and the loss (nats) of the target. Logits that
 * are not numbers give no answer, -1. */
static int64_t answer(const pal_array *logits, int64_t from, int64_t n, int64_t target,
                      double *loss)
{
    int64_t best = -1;
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        if (at(logits, from + i) > most) most = at(logits, from + i), best = i;
    for (int64_t i = 0; i < n; i++) sum += exp(at(logits, from + i) - most);
    *loss = most + log(sum) - at(logits, from + target);
    return best;
}

void task_mark(task_score *sum, const pal_array *logits, const int64_t *targets, int64_t B,
               int64_t len, int64_t vocab)
{
    for (int64_t b = 0; b < B; b++) {
        bool whole = true;
        for (int64_t i = b * len; i < (b + 1) * len; i++) {
            double loss;
            if (targets[i] == PAL_IGNORE) continue;
            const bool right = answer(logits, i * vocab, vocab, targets[i], &loss) == targets[i];
            whole = whole && right;
            sum->accuracy += right;
            sum->loss += loss;
            sum->asked++;
        }
        sum->whole += whole;
        sum->rows++;
    }
}

int64_t task_rows_at_once(int64_t vocab, int64_t len, int64_t count)
{
    const int64_t n = (1 << 22) / (len * vocab), most = 16384 / len;
    const int64_t B = n < most ? n : most;
    return B < 1 ? 1 : B > count ? count : B;
}

task_score task_test(const task *t, const pal_lm *lm, pal_tape *tape, int point, uint64_t seed,
                     int64_t count)
{
    const int64_t len = t->point[TASK_TEST][point].len;
    const int64_t most = task_rows_at_once(t->vocab, len, count);
    const bool before = pal_set_grad(tape, false);
    task_score s = {0};
    for (int64_t first = 0; first < count; first += most) {
        const int64_t B = count - first < most ? count - first : most;
        const rows r = draw(t, TASK_TEST, point, seed, first, B, tape);
        const pal_tensor logits = pal_lm_logits(lm, r.tokens, (pal_run_opts){0});
        if (pal_tape_status(tape) != PAL_OK) break;
        const pal_array a = pal_value(logits);
        task_mark(&s, &a, pal_i64(r.targets), B, len, a.shape[2]);
        pal_tape_reset(tape);
    }
    pal_tape_reset(tape);
    pal_set_grad(tape, before);
    if (s.asked) s.accuracy /= (double)s.asked, s.loss /= (double)s.asked;
    if (s.rows) s.whole /= (double)s.rows;
    return s;
}

double task_measure(const task *t, const task_score *s)
{
    return t->kind->bits ? s->loss / log(2) : s->accuracy;
}

void task_test_all(const task *t, const pal_lm *lm, pal_tape *tape, uint64_t seed, int64_t count,
                   task_score scores[TASK_POINTS])
{
    if (t->kind->score) {
        t->kind->score(t, lm, tape, seed, count, scores);
        return;
    }
    for (int i = 0; i < t->points[TASK_TEST] && !pal_stop_requested(); i++)
        scores[i] = task_test(t, lm, tape, i, seed, count);
}

/* ---- Learning ---- */

typedef struct learner {
    const task *t;
    const pal_lm *lm;
    task_run run;
    double began, sum; /* of the run; the losses since the last look */
    int64_t since;     /* steps since then */
    task_result *result;
    task_look_fn *tell;
    void *user;
    bool finished;
} learner;

task_run task_run_defaults(task_run r)
{
    if (r.steps == 0) r.steps = 1000;
    if (r.batch == 0) r.batch = 64;
    if (r.lr == 0) r.lr = 3e-3;
    if (!*r.optimizer) snprintf(r.optimizer, sizeof r.optimizer, "adamw");
    if (r.weight_decay == 0) r.weight_decay = 0.1;
    if (r.weight_decay < 0) r.weight_decay = -1;
    if (r.clip == 0) r.clip = 1;
    if (r.warmup == 0) r.warmup = (r.steps + 19) / 20;
    if (r.seed == 0) r.seed = 1;
    if (r.every == 0) r.every = (r.steps + 19) / 20;
    if (r.rows == 0) r.rows = 256;
    return r;
}

/* The loss of training batch n. */
static pal_tensor loss_of(void *user, pal_tape *tape, int64_t n, pal_batch *batch)
{
    learner *l = user;
    const int64_t B = l->run.batch;
    const int point = task_point_of(l->t, l->run.seed, n);
    const rows r = draw(l->t, TASK_TRAIN, point, l->run.seed, n * B, B, tape);
    const pal_tensor loss = pal_lm_loss(l->lm, r.tokens, r.targets, (pal_run_opts){0});
    (void)batch; /* every batch counts alike */
    if (pal_tape_status(tape) == PAL_OK) l->sum += pal_item(loss), l->since++;
    return loss;
}

static bool all_enough(const task_result *r, double enough)
{
    for (int i = 0; i < r->points; i++)
        if (!(r->scores[i].accuracy >= enough)) return false;
    return true;
}

/* Tests every point and tells. Scores of a look that a signal ends count for nothing. */
static double look(void *user, pal_tape *tape, int64_t step)
{
    learner *l = user;
    task_result *r = l->result;
    task_score scores[TASK_POINTS];
    r->steps = step;
    r->loss = l->sum / (double)l->since;
    r->seconds = seconds() - l->began;
    l->sum = 0, l->since = 0;
    task_test_all(l->t, l->lm, tape, l->run.seed, l->run.rows, scores);
    if (pal_stop_requested()) {
        r->failed = l->finished = true;
        return NAN;
    }
    memcpy(r->scores, scores, (size_t)r->points * sizeof *scores);
    const task_look now = {r->steps, r->loss, r->seconds, r->scores, r->points};
    if (!l->run.quiet) task_print_look(l->t, &now, stdout);
    l->finished =
        (l->tell && !l->tell(l->user, &now)) || (l->run.enough > 0 && all_enough(r, l->run.enough));
    return NAN; /* no look is kept as the best */
}

static void train(learner *l, pal_params *params, pal_optim *optim, pal_tape *tape)
{
    const task_run *run = &l->run;
    const pal_train_opts opts = {
        .params = params,
        .optim = optim,
        .tape = tape,
        .schedule = {.kind = PAL_COSINE,
                     .lr = run->lr,
                     .min_lr = run->lr / 10,
                     .warmup = run->warmup < run->steps ? run->warmup : run->steps,
                     .steps = run->steps},
        .loss = loss_of,
        .evaluate = look,
        .user = l,
        .steps = run->steps,
        .clip = run->clip,
        .finished = &l->finished,
        .evaluate_every = run->every,
        .quiet = true};
    pal_train_result made;
    pal_error error;
    const pal_status s = pal_train(&opts, &made, &error);
    l->result->steps = made.step;
    if (s == PAL_ENUMERIC) l->result->loss = NAN;
    if (s != PAL_OK && s != PAL_ENUMERIC) fprintf(stderr, "%s\n", error.message);
    /* A signal after the last look has come too late to stop anything. */
    if (s != PAL_OK || (made.signal && made.step < run->steps && !l->finished))
        l->result->failed = true;
}

task_result task_learn(const task *t, pal_params *params, const pal_lm *lm, task_run run,
                       task_look_fn *tell, void *user)
{
    task_result r = {.points = t->points[TASK_TEST]};
    learner l = {.t = t,
                 .lm = lm,
                 .run = task_run_defaults(run),
                 .began = seconds(),
                 .result = &r,
                 .tell = tell,
                 .user = user};
    pal_tape *tape = pal_tape_new();
    /* The square's memory is of 50 steps and not of 1000: runs are short. */
    const double decay = l.run.weight_decay > 0 ? l.run.weight_decay : 0;
    pal_optim *optim = lm_optimizer_new(params, l.run.optimizer, decay, 0.98, NULL, 0);
    r.failed = !tape || !optim;
    if (!r.failed) {
        *pal_tape_rng(tape) = pal_rng_new(l.run.seed, 2);
        pal_tape_precision(tape, l.run.bf16 ? PAL_BF16 : PAL_F32);
        if (!l.run.quiet) task_print_head(t, stdout);
        train(&l, params, optim, tape);
    }
    pal_optim_free(optim);
    pal_tape_free(tape);
    return r;
}
