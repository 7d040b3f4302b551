/*
 * dist_loop.c DIR - the training loop on several ranks: when it refuses to begin, how it ends on
 * all of them in the same way, and what it leaves in the folder.
 */
#include "tests/support/ranks.h"
#include "tests/support/small_run.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pal_dist *dist;
static const char *dir;
static int rank, last_rank;

/* The result of one run on this rank. */
typedef struct outcome {
    pal_status status;
    pal_error error;
    pal_train_result result;
} outcome;

static outcome train(const pal_train_opts *o)
{
    outcome out = {0};
    out.status = pal_train(o, &out.result, &out.error);
    return out;
}

/* The run has failed with the same sentence on all ranks, and the sentence contains these words. */
static void fails(const outcome *out, pal_status status, const char *words)
{
    pal_error error;
    expect(out->status == status, "%s: status %s, not %s", words, pal_status_name(out->status),
           pal_status_name(status));
    expect(strstr(out->error.message, words) != NULL, "no word of '%s': %s", words,
           out->error.message);
    expect(pal_dist_same_text(dist, "error", out->error.message, &error) == PAL_OK, "%s",
           error.message);
}

static char *folder(const char *name)
{
    static char path[PAL_PATH];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* ---- What ranks have to agree on ---- */

static void check_differences(void)
{
    small_run r;
    small_begin(&r, dir, (small_opts){0}, dist);
    pal_train_opts o = small_train(&r);
    o.steps = rank == last_rank ? 3 : 2;
    outcome out = train(&o);
    fails(&out, PAL_EVALUE, "\"steps: 2\" on rank 0 and \"steps: 3\" on rank");
    o.steps = 2;
    o.config = rank == last_rank ? "a = 1\nb = 3\n" : "a = 1\nb = 2\n";
    out = train(&o);
    fails(&out, PAL_EVALUE, "the configuration: line 2 is \"b = 2\" on rank 0 and \"b = 3\"");
    o.config = NULL;
    o.schedule.lr = rank == last_rank ? 1 : 2;
    out = train(&o);
    fails(&out, PAL_EVALUE, "schedule: 0 2 ");
    o.schedule.lr = 1e-3;
    o.folder = rank == last_rank ? NULL : folder("one");
    out = train(&o);
    fails(&out, PAL_EVALUE, "\"folder: 1\" on rank 0 and \"folder: 0\"");
    o.folder = NULL;
    o.batches = pal_batches_new(r.store, (pal_batches_opts){.batch = 4, .len = 8});
    out = train(&o); /* every rank would train on all rows */
    fails(&out, PAL_EVALUE, "batches are of part 0 of 1 rows");
    pal_batches_free(o.batches);
    o.batches = r.batches;
    if (rank == last_rank) pal_fill(pal_params_at(r.params, 5), 0.5);
    out = train(&o);
    fails(&out, PAL_EVALUE, "has other values on rank");
    small_end(&r);
}

/* Changes a parameter on one rank after step 7. With PAL_CHECK=ranks:5, the check after step 10
 * names it. */
static pal_tensor drift(void *user, pal_tape *tape, int64_t number, pal_batch *b)
{
    small_run *r = user;
    (void)tape, (void)b;
    if (number == 7 && rank == last_rank) {
        float *x = pal_edit(pal_params_at(r->params, 2)).data;
        x[0] += 1e-3F;
        pal_params_touch(r->params);
    }
    return PAL_NONE;
}

static void check_drift(void)
{
    small_run r;
    small_begin(&r, dir, (small_opts){.sgd = true}, dist);
    pal_train_opts o = small_train(&r);
    o.steps = 20;
    r.before = drift;
    r.user = &r;
    setenv("PAL_CHECK", "numerics,ranks:5", 1);
    outcome out = train(&o);
    unsetenv("PAL_CHECK");
    fails(&out, PAL_EVALUE, pal_params_name(r.params, 2));
    expect(out.result.step == 10, "found after step %d", (int)out.result.step);
    small_end(&r);
}

/* ---- Ends ---- */

typedef struct trouble {
    int64_t number;
    pal_params *params;
    int kind; /* 's': a signal, 'f', 'b': a failure forward, backward; 'i': an infinite loss */
} trouble;

static pal_tensor make_trouble(void *user, pal_tape *tape, int64_t number, pal_batch *b)
{
    const trouble *t = user;
    (void)b;
    if (rank != last_rank || number != t->number) return PAL_NONE;
    if (t->kind == 's') raise(SIGUSR1);
    if (t->kind == 'f') return pal_reshape(pal_scalar(tape, PAL_F32, 1), PAL_SHAPE(2));
    if (t->kind == 'b') return pal_scalar(tape, PAL_F32, 1);
    if (t->kind == 'i') {
        pal_tensor x = pal_on(tape, pal_params_at(t->params, 0));
        return pal_affine(pal_affine(pal_sum(x, PAL_ALL, false), 0, 1e30), 1e30, 0);
    }
    return PAL_NONE;
}

static void note(const pal_error *error, void *user) { (void)error, (void)user; }

static void check_signal(void)
{
    small_run r;
    trouble t = {.number = 3, .kind = 's'};
    small_begin(&r, dir, (small_opts){0}, dist);
    pal_train_opts o = small_train(&r);
    o.steps = 20;
    o.folder = folder("signal");
    r.before = make_trouble;
    r.user = &t;
    pal_stop_install();
    outcome out = train(&o);
    expect(out.status == PAL_OK && out.result.signal == SIGUSR1, "signal: %s", out.error.message);
    expect(out.result.step == 4, "stopped after step %d", (int)out.result.step);
    pal_dist_barrier(dist);
    expect(pal_run_last(o.folder, 0) == 4, "not saved");
    /* A request to stop remains, even if only one rank has got it. */
    outcome again = train(&(pal_train_opts){.params = o.params,
                                            .optim = o.optim,
                                            .tape = o.tape,
                                            .schedule = o.schedule,
                                            .batches = o.batches,
                                            .loss = o.loss,
                                            .user = o.user,
                                            .dist = dist,
                                            .steps = 9,
                                            .quiet = true});
    expect(again.status == PAL_OK && again.result.step == 0, "a step after a signal");
    pal_stop_install();
    pal_stop_remove();
    small_end(&r);
}

static void check_time(void)
{
    small_run r;
    small_begin(&r, dir, (small_opts){0}, dist);
    pal_train_opts o = small_train(&r);
    o.steps = 20;
    o.seconds = rank == 0 ? 1e-9 : 0; /* rank 0 decides */
    outcome out = train(&o);
    expect(out.status == PAL_OK && out.result.time_out && out.result.step == 1, "time: %s",
           out.error.message);
    small_end(&r);
}

/* Only one rank fails, in the first or the second micro-batch of a step. The run ends on all ranks
 * and is saved. */
static void check_failure(int64_t number, int kind, const char *name)
{
    small_run r;
    trouble t = {.number = number, .kind = kind};
    char words[64];
    small_begin(&r, dir, (small_opts){0}, dist);
    pal_train_opts o = small_train(&r);
    o.steps = 20;
    o.accumulate = 2;
    o.folder = folder(name);
    r.before = make_trouble;
    r.user = &t;
    pal_set_error_handler(note, NULL);
    outcome out = train(&o);
    pal_set_error_handler(NULL, NULL);
    expect(out.status != PAL_OK, "no failure");
    if (last_rank) snprintf(words, sizeof words, "rank %d: ", last_rank);
    fails(&out, out.status, last_rank ? words : "");
    fails(&out, out.status, "the run is saved after step 3");
    expect(out.result.step == 3, "ended after step %d", (int)out.result.step);
    expect(pal_run_last(o.folder, 0) == 3, "step 3 is not saved");
    small_end(&r);
}

static void check_infinite(void)
{
    small_run r;
    trouble t = {.number = 2, .kind = 'i'};
    small_begin(&r, dir, (small_opts){0}, dist);
    pal_train_opts o = small_train(&r);
    o.steps = 20;
    r.before = make_trouble;
    r.user = &t;
    t.params = r.params;
    outcome out = train(&o);
    fails(&out, PAL_ENUMERIC, "step 3: the loss is inf; ");
    fails(&out, PAL_ENUMERIC, "affine");
    pal_error error = {0};
    expect(out.result.step == 2, "ended after step %d", (int)out.result.step);
    expect(pal_dist_same_params(dist, r.params, &error) == PAL_OK, "%s", error.message);
    small_end(&r);
}

/* ---- The folder ---- */

/* Rank 0 cannot make the folder; the other ranks do not try. */
static void check_no_folder(void)
{
    small_run r;
    small_begin(&r, dir, (small_opts){0}, dist);
    pal_train_opts o = small_train(&r);
    o.steps = 3;
    o.folder = folder("data.h5/run");
    outcome out = train(&o);
    fails(&out, PAL_EIO, "cannot be made");
    o.folder = folder("signal");
    out = train(&o);
    fails(&out, PAL_EVALUE, "holds a run already");
    o.resume = 3;
    out = train(&o);
    fails(&out, out.status, "step-00000003.h5");
    expect(out.status != PAL_OK, "step 3 is there");
    small_end(&r);
}

static int calls;

static double evaluate(void *user, pal_tape *tape, int64_t step)
{
    (void)user, (void)tape;
    double x = 1;
    pal_dist_sum(dist, 1, &x); /* works only if all ranks are here */
    return x * 10 - (double)step;
}

static void sample(void *user, pal_tape *tape, int64_t step, FILE *to)
{
    (void)user, (void)tape, (void)step;
    calls++;
    fprintf(to, "text");
}

/* Makes 8 steps on all ranks, then repeats the last 4 on rank 0 only. The loss is the same. Then
 * all ranks continue the run. */
static void check_resume(void)
{
    small_run r;
    small_opts so = {.dtype = PAL_F64, .batch = 5, .packed = true};
    small_begin(&r, dir, so, dist);
    pal_train_opts o = small_train(&r);
    o.steps = 8;
    o.save_every = 4;
    o.evaluate = evaluate;
    o.sample = sample;
    o.evaluate_every = 4;
    o.sample_every = 4;
    o.folder = folder("resume");
    outcome out = train(&o);
    expect(out.status == PAL_OK && out.result.step == 8, "%s", out.error.message);
    expect(out.result.best_step == 8 && out.result.best == 10 * (last_rank + 1) - 8, "best");
    expect(calls == (rank == 0 ? 2 : 0), "%d samples on rank %d", calls, rank);
    const double loss = out.result.last.loss;
    small_end(&r);
    pal_dist_barrier(dist);
    if (rank == 0) {
        small_begin(&r, dir, so, NULL);
        o = small_train(&r);
        o.steps = 8;
        o.save_every = 4;
        o.resume = 4;
        o.folder = folder("resume");
        out = train(&o);
        expect(out.status == PAL_OK && out.result.step == 8, "alone: %s", out.error.message);
        expect(fabs(out.result.last.loss - loss) <= 1e-10 * loss, "loss %.15g, and %.15g alone",
               loss, out.result.last.loss);
        small_end(&r);
    }
    pal_dist_barrier(dist);
    small_begin(&r, dir, so, dist);
    o = small_train(&r);
    o.steps = 12;
    o.resume = 8;
    o.folder = folder("resume");
    out = train(&o);
    expect(out.status == PAL_OK && out.result.step == 12, "together again: %s", out.error.message);
    small_end(&r);
}

/* ---- Parameters that are created ---- */

static pal_tensor create(void *user, pal_tape *tape, int64_t number, pal_batch *b)
{
    (void)tape, (void)b;
    if (number == 2 && rank == last_rank) pal_param(user, "late", PAL_F32, PAL_SHAPE(3));
    return PAL_NONE;
}

/* The callback of one rank creates a parameter, and the run ends on all of them. */
static void check_created(void)
{
    small_run r;
    small_begin(&r, dir, (small_opts){0}, dist);
    r.before = create, r.user = r.params;
    pal_train_opts o = small_train(&r);
    o.steps = 4;
    const outcome out = train(&o);
    fails(&out, PAL_EVALUE, "optim_step: it was made for");
    expect(out.result.step == 2, "step %d", (int)out.result.step);
    small_end(&r);
}

/* ---- Memory ---- */

static int64_t asked;

static void *count(void *memory, size_t old_size, size_t size, void *user)
{
    (void)old_size, (void)user;
    if (size == 0) {
        free(memory);
        return NULL;
    }
    asked++;
    return aligned_alloc(64, (size + 63) / 64 * 64);
}

static void check_memory(void)
{
    small_run r;
    pal_step step;
    pal_error error;
    small_begin(&r, dir, (small_opts){0}, dist);
    const pal_train_opts o = small_train(&r);
    for (int64_t i = 0; i < 8; i++) {
        const int64_t before = asked;
        expect(pal_train_step(&o, i, &step, &error) == PAL_OK, "step");
        if (i > 1) expect(asked == before, "step %d asks for memory", (int)i);
    }
    small_end(&r);
}

int main(int argc, char **argv)
{
    pal_error error;
    if (argc < 2) return 2;
    dir = argv[1];
    pal_set_allocator(count, NULL);
    if (pal_dist_start(&dist, (pal_dist_opts){.bucket = 4096}, &error) != PAL_OK) return 2;
    rank = pal_dist_rank(dist);
    last_rank = pal_dist_size(dist) - 1;
    if (rank == 0) small_data(dir);
    pal_dist_barrier(dist);
    pal_set_threads(1);
    if (last_rank > 0) {
        check_differences();
        check_drift();
        check_infinite();
    }
    check_signal();
    check_time();
    check_failure(6, 'f', "forward first"); /* two micro-batches a step */
    check_failure(6, 'b', "backward first");
    check_failure(7, 'f', "forward last");
    check_failure(7, 'b', "backward last");
    check_no_folder();
    check_created();
    check_resume();
    check_memory();
    pal_dist_end(dist);
    return report();
}
