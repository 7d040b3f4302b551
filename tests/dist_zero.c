/*
 * dist_zero.c DIR PART [shard|whole|blocking] - the optimiser's state is divided among ranks, and
 * all of them write checkpoints.
 */
#include "optim/optimisers/internal.h"
#include "optim/ranks/ranks.h"
#include "tests/support/isa.h"
#include "tests/support/ranks.h"
#include "tests/support/small_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { STEPS = 10, HALF = 6 };

static pal_dist *dist;
static const char *dir;
static int rank, size;

static int64_t live; /* bytes in use */

static void *count(void *memory, size_t old_size, size_t bytes, void *user)
{
    (void)user;
    live += (int64_t)bytes - (memory ? (int64_t)old_size : 0);
    if (bytes) return aligned_alloc(64, (bytes + 63) / 64 * 64);
    free(memory);
    return NULL;
}

static char *in_dir(const char *name)
{
    static char path[PAL_PATH];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void same_on_all(const pal_params *params)
{
    pal_error error = {0};
    expect(pal_dist_same_params(dist, params, &error) == PAL_OK, "%s", error.message);
}

static pal_step step_of(small_run *r, int64_t step, pal_average *average)
{
    pal_error error = {0};
    pal_step out = {0};
    pal_train_opts o = small_train(r);
    o.accumulate = 2;
    o.clip = 0.3;
    o.average = average;
    expect(pal_train_step(&o, step, &out, &error) == PAL_OK, "step %d: %s", (int)step,
           error.message);
    return out;
}

static void shard(pal_optim *optim)
{
    pal_error error = {0};
    expect(pal_dist_shard(dist, optim, &error) == PAL_OK, "%s", error.message);
}

/* ---- Divided or not, the steps are the same ---- */

enum { ADAMW, ADAM, SGD, PLAIN, LION, MUON, KINDS };

static pal_optim *make(int kind, pal_params *p)
{
    static const pal_group group[] = {{.pattern = "*conv*", .rate = 0.5}};
    const pal_adamw_opts adam = {.decay = 0.1, .groups = group, .group_count = 1};
    if (kind == ADAMW) return pal_adamw_new(p, adam);
    if (kind == ADAM) return pal_adam_new(p, adam);
    if (kind == SGD) return pal_sgd_new(p, (pal_sgd_opts){.momentum = 0.9, .decay = 0.01});
    if (kind == PLAIN) return pal_sgd_new(p, (pal_sgd_opts){0});
    if (kind == LION) return pal_lion_new(p, (pal_lion_opts){.decay = 0.1});
    return pal_muon_new(p, (pal_muon_opts){.scale = PAL_MUON_RMS, .decay = 0.1});
}

static void begin(small_run *r, int kind, small_opts o)
{
    small_begin(r, dir, o, dist);
    pal_optim_free(r->optim);
    r->optim = make(kind, r->params);
}

static double farthest(const pal_params *p, const pal_params *q)
{
    double most = 0;
    for (int i = 0; i < pal_params_count(p); i++) {
        const pal_array a = pal_params_array(p, i), b = pal_params_array(q, i);
        for (int64_t j = 0; j < pal_array_count(&a); j++) {
            const double d = fabs(((double *)a.data)[j] - ((double *)b.data)[j]);
            if (!(d <= most)) most = isnan(d) ? INFINITY : d; /* NaN counts too */
        }
    }
    return most;
}

static void check_steps(int kind, small_opts o)
{
    small_run whole, part;
    double clipped = 0;
    o.dtype = PAL_F64;
    begin(&whole, kind, o);
    begin(&part, kind, o);
    shard(part.optim);
    pal_error error = {0};
    if (pal_dist_shards(dist, part.optim))
        expect(pal_dist_shard(dist, whole.optim, &error) == PAL_EVALUE, "two are divided");
    const int64_t steps = test_all() || o.unused ? STEPS : STEPS / 2;
    for (int64_t i = 0; i < steps; i++) {
        /* A parameter that is frozen for a while does not change, whichever rank has its
         * moments. */
        if (o.unused && i == 3) pal_params_freeze(whole.params, "*q_proj*", true);
        if (o.unused && i == 3) pal_params_freeze(part.params, "*q_proj*", true);
        if (o.unused && i == 6) pal_params_freeze(whole.params, "*q_proj*", false);
        if (o.unused && i == 6) pal_params_freeze(part.params, "*q_proj*", false);
        const pal_step a = step_of(&whole, i, NULL), b = step_of(&part, i, NULL);
        expect(fabs(a.loss - b.loss) <= 1e-12 * fabs(a.loss), "%s, loss %d: %.17g and %.17g",
               pal_optim_name(whole.optim), (int)i, a.loss, b.loss);
        expect(fabs(a.norm - b.norm) <= 1e-11 * a.norm, "%s, norm %d: %.17g and %.17g",
               pal_optim_name(whole.optim), (int)i, a.norm, b.norm);
        clipped += a.norm > 0.3;
    }
    const double apart = farthest(whole.params, part.params);
    expect(apart <= 1e-11, "%s: parameters differ by %g", pal_optim_name(whole.optim), apart);
    expect(clipped > 0, "nothing was clipped");
    same_on_all(part.params);
    small_end(&whole);
    small_end(&part);
}

/* ---- Memory ---- */

static void check_memory(int kind)
{
    small_run r;
    double largest = 0, all = 0;
    small_begin(&r, dir, (small_opts){0}, dist);
    pal_optim_free(r.optim);
    const int64_t before = live;
    r.optim = make(kind, r.params);
    for (int i = 0; i < r.optim->count; i++) {
        const pal_array a = pal_params_array(r.params, i);
        const double bytes = 4 * (double)pal_array_count(&a) * r.optim->setting[i].moments;
        all += bytes;
        largest = fmax(largest, bytes);
    }
    const double whole = (double)(live - before), rest = whole - all; /* settings and padding */
    expect(rest >= 0, "%g bytes of moments in %g", all, whole);
    shard(r.optim);
    const double frame = (double)(r.optim->count * 64 + 512); /* tables of pal_dist_shard */
    const double mine = (double)(live - before) - rest - (size > 1 ? frame : 0);
    expect(mine <= all / size + largest, "%s: %g of %g bytes on rank %d, the largest %g",
           pal_optim_name(r.optim), mine, all, rank, largest);
    double owned = 0, total;
    for (int i = 0; i < r.optim->count; i++)
        for (int k = 0; k < PAL_MOMENTS; k++) {
            const pal_array a = pal_params_array(r.params, i);
            if (pal_state_at(&r.optim->state, i, k)) owned += 4 * (double)pal_array_count(&a);
        }
    total = owned;
    pal_dist_sum(dist, 1, &total);
    expect(total == all, "ranks have %g of %g bytes", total, all);
    expect(kind == MUON || owned >= all / size - largest, "rank %d has %g of %g bytes", rank, owned,
           all);
    const int64_t steps = test_all() ? 3 : 1;
    for (int64_t i = 0; i < 1 + steps; i++) step_of(&r, i, NULL);
    /* The tape may take one more block: what the embedding's gradient needs depends on the batch.
     */
    const pal_memory first = pal_tape_memory(r.tape);
    const int64_t after = live - (int64_t)first.reserved;
    for (int64_t i = 1 + steps; i < 1 + 2 * steps; i++) step_of(&r, i, NULL);
    const pal_memory last = pal_tape_memory(r.tape);
    const int64_t kept = live - (int64_t)last.reserved - after;
    const size_t more = last.reserved - first.reserved;
    expect(kept <= (more ? PAL_ALIGN : 0) && more <= last.peak,
           "a step keeps %d bytes, the tape %d", (int)kept, (int)more);
    small_end(&r);
}

static void check_late(void)
{
    small_run r;
    pal_error error = {0};
    if (size == 1) return;
    small_begin(&r, dir, (small_opts){0}, dist);
    step_of(&r, 0, NULL);
    expect(pal_dist_shard(dist, r.optim, &error) == PAL_EVALUE &&
               strstr(error.message, "has made 1 steps"),
           "late: %s", error.message);
    expect(!pal_dist_shards(dist, r.optim), "divided");
    step_of(&r, 1, NULL);
    same_on_all(r.params);
    small_end(&r);
}

/* ---- Checkpoints ---- */

/* Writes n numbers to a file, on rank 0. */
static void keep(const char *name, const double *x, size_t n)
{
    FILE *f = rank == 0 ? fopen(in_dir(name), "wb") : NULL;
    expect(rank > 0 || (f && fwrite(x, sizeof *x, n, f) == n), "%s is not written", name);
    if (f) fclose(f);
}

static void compare(const char *name, const double *x, size_t n)
{
    FILE *f = fopen(in_dir(name), "rb");
    for (size_t i = 0; i < n; i++) {
        double y = NAN;
        expect(f && fread(&y, sizeof y, 1, f) == 1, "%s is not there", name);
        expect(fabs(x[i] - y) <= 1e-10 * fabs(y), "%s, %d: %.17g, and %.17g without a stop", name,
               (int)i, x[i], y);
    }
    if (f) fclose(f);
}

static pal_checkpoint run_of(small_run *r, pal_average *average)
{
    return (pal_checkpoint){.params = r->params,
                            .optim = r->optim,
                            .average = average,
                            .rng = pal_tape_rng(r->tape),
                            .dist = dist,
                            .config = "width = 16\n",
                            .tokenizer = "bytes",
                            .tokenizer_name = "b"};
}

/* Calls pal_train_step for each step. With `save` it writes a checkpoint after HALF steps; without,
 * it begins by loading that checkpoint. */
static void by_hand(bool save)
{
    small_run r;
    pal_error error = {0};
    double loss[STEPS];
    int64_t i = 0;
    small_begin(&r, dir, (small_opts){.dtype = PAL_F64, .batch = 5, .packed = true}, dist);
    pal_average *average = pal_average_new(r.params, (pal_average_opts){.decay = 0.9});
    pal_checkpoint run = run_of(&r, average);
    shard(r.optim);
    if (!save) {
        expect(pal_checkpoint_load(&run, in_dir("c.h5"), &error) == PAL_OK, "%s", error.message);
        expect(pal_batches_seek(r.batches, run.position, &error) == PAL_OK, "%s", error.message);
        expect(run.step == HALF && pal_optim_steps(r.optim) == HALF, "step %d", (int)run.step);
        same_on_all(r.params);
        i = HALF;
    }
    for (; i < STEPS; i++) {
        if (save && i == HALF) {
            run.step = i;
            run.position = pal_batches_position(r.batches);
            for (int twice = 0; twice < 2; twice++) {
                const bool writes = rank == 0 || pal_dist_shards(dist, r.optim);
                pal_status s =
                    writes ? pal_checkpoint_save(&run, in_dir(twice ? "c.h5" : "d.h5"), &error)
                           : PAL_OK;
                expect(s == PAL_OK, "%s", error.message);
            }
        }
        loss[i] = step_of(&r, i, average).loss;
    }
    pal_average_swap(average);
    double sum = 0;
    for (int p = 0; p < pal_params_count(r.params); p++) {
        const pal_array a = pal_params_array(r.params, p);
        for (int64_t j = 0; j < pal_array_count(&a); j++) sum += fabs(((double *)a.data)[j]);
    }
    loss[0] = sum; /* the sum over the averaged parameters */
    (save ? keep : compare)("losses", loss + HALF, STEPS - HALF);
    (save ? keep : compare)("average", loss, 1);
    pal_average_free(average);
    small_end(&r);
}

/* Runs the training loop in DIR/run, or continues from its first checkpoint in DIR/again. */
static void by_loop(bool save)
{
    small_run r;
    pal_error error = {0};
    pal_train_result result;
    small_begin(&r, dir, (small_opts){.dtype = PAL_F64, .tie = true}, dist);
    pal_train_opts o = small_train(&r);
    char folder[PAL_PATH];
    snprintf(folder, sizeof folder, "%s", in_dir(save ? "run" : "again"));
    o.folder = folder;
    o.steps = STEPS;
    o.save_every = HALF;
    o.resume = save ? 0 : HALF;
    expect(pal_train(&o, &result, &error) == PAL_OK, "%s", error.message);
    expect(result.step == STEPS, "step %d", (int)result.step);
    (save ? keep : compare)("last", &result.last.loss, 1);
    small_end(&r);
}

/* ---- Files that cannot grow ---- */

static rlim_t most; /* the limit before the tests change it */

static void limit(rlim_t bytes)
{
    struct rlimit l;
    getrlimit(RLIMIT_FSIZE, &l);
    l.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &l);
}

/* All ranks have this status and the same sentence, which contains these words. */
static void alike(pal_status s, pal_status wanted, const pal_error *e, const char *words)
{
    pal_error error = {0};
    expect(s == wanted && strstr(e->message, words), "%s: %s", pal_status_name(s), e->message);
    expect(pal_dist_same_text(dist, "error", e->message, &error) == PAL_OK, "%s", error.message);
}

static void check_full(void)
{
    small_run r;
    pal_error e = {0};
    char path[PAL_PATH];
    if (size == 1) return;
    snprintf(path, sizeof path, "%s", in_dir("full.h5"));
    small_begin(&r, dir, (small_opts){0}, dist);
    pal_checkpoint run = run_of(&r, NULL);
    shard(r.optim);
    step_of(&r, 0, NULL);
    run.step = 1;
    expect(pal_checkpoint_save(&run, path, &e) == PAL_OK, "%s", e.message);
    step_of(&r, 1, NULL);
    run.step = 2;
    for (int i = 0; i < 3; i++) { /* limited are all ranks, the first, the last */
        if (i == 0 || rank == (i == 1 ? 0 : size - 1)) limit(i == 0 ? 100000 : 0);
        alike(pal_checkpoint_save(&run, path, &e), PAL_EIO, &e, "cannot write");
        limit(most);
        expect(pal_checkpoint_load(&run, path, &e) == PAL_OK && run.step == 1, "the old file: %s",
               e.message);
        run.step = 2;
    }
    alike(pal_checkpoint_save(&run, in_dir("none/full.h5"), &e), PAL_EIO, &e, "make a temporary");
    pal_array a = pal_params_array(r.params, 1);
    if (rank == size - 1) ((float *)a.data)[0] = NAN;
    alike(pal_checkpoint_save(&run, path, &e), PAL_ENUMERIC, &e, "not finite");
    expect(pal_checkpoint_load(&run, path, &e) == PAL_OK && run.step == 1, "%s", e.message);
    expect(pal_checkpoint_save(&run, path, &e) == PAL_OK, "%s", e.message);
    small_end(&r);
}

/* If one rank cannot write a checkpoint of the loop, the run ends on all ranks. */
static void check_full_loop(void)
{
    small_run r;
    pal_error e = {0};
    char folder[PAL_PATH + 16];
    if (size == 1) return;
    snprintf(folder, sizeof folder, "%s.%d", in_dir("loop"), size);
    small_begin(&r, dir, (small_opts){0}, dist);
    pal_train_opts o = small_train(&r);
    o.folder = folder;
    o.steps = 3;
    o.save_every = 2;
    if (rank == size - 1) limit(0);
    alike(pal_train(&o, NULL, &e), PAL_EIO, &e, "step 2 is not saved");
    limit(most);
    expect(pal_run_last(folder, 0) == 0, "a checkpoint is there");
    small_end(&r);
}

/* ---- Parameters that are created after the optimiser ---- */

static pal_error heard;
static void hear(const pal_error *e, void *user)
{
    (void)user;
    heard = *e;
}

/* A step refuses them before it reads settings that they do not have. Their gradients are NaN. */
static void check_created(void)
{
    small_run r;
    if (size == 1) return;
    small_begin(&r, dir, (small_opts){0}, dist);
    shard(r.optim);
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "late%d", i);
        pal_fill(pal_grad(pal_param(r.params, name, PAL_F32, PAL_SHAPE(3))), NAN);
    }
    pal_set_error_handler(hear, NULL);
    const pal_status s = pal_dist_step(dist, r.optim, 0.1);
    pal_set_error_handler(NULL, NULL);
    alike(s, PAL_EVALUE, &heard, "optim_step: it was made for");
    small_end(&r);
}

/* Writes many datasets of all sizes from all ranks. The size of the file may be limited to less
 * than it needs. */
static pal_status write_file(const char *path, pal_error *e)
{
    enum { DATASETS = 150, MOST = 120000 };
    static double x[MOST];
    pal_h5 *file;
    pal_rng rng = pal_rng_new(1, 0);
    pal_status s = pal_dist_create(dist, &file, path, e);
    if (s != PAL_OK) return s;
    for (int i = 0; i < DATASETS && s == PAL_OK; i++) {
        char name[200];
        const int64_t n = pal_rng_below(&rng, i % 10 ? 40 : MOST);
        snprintf(name, sizeof name, "/a%d/b/a.name.that.is.not.so.short.%d.weight", i % 4, i);
        const pal_array a = pal_array_of(PAL_F64, PAL_SHAPE(n), i % size == rank ? x : NULL);
        for (int64_t j = 0; j < n; j++) x[j] = (double)(i * j);
        pal_h5_owner(file, i % size);
        s = pal_h5_put(file, name, &a, e);
        const int attributes = test_all() || i % 3 == 0 ? i % 14 : 0;
        for (int k = 0; k < attributes && s == PAL_OK; k++) {
            char attribute[8];
            snprintf(attribute, sizeof attribute, "n%d", k);
            s = pal_h5_put_number(file, name, attribute, k, e);
        }
    }
    if (s == PAL_OK) return pal_h5_commit(file, e);
    pal_h5_close(file);
    return s;
}

static void check_limits(void)
{
    pal_error e = {0};
    char path[PAL_PATH];
    const int each = test_all() ? 1 : 5;
    int failed = 0, steps = 11;
    snprintf(path, sizeof path, "%s", in_dir("many.h5"));
    for (int i = steps % each; i <= steps; i += each) {
        limit((rlim_t)i * 1500000 + 123);
        pal_status s = write_file(path, &e);
        if (s != PAL_OK) alike(s, PAL_EIO, &e, "cannot write");
        failed += s != PAL_OK;
    }
    limit(most);
    expect(failed * each > 3 && failed * each <= steps, "%d files were too long", failed);
    expect(write_file(path, &e) == PAL_OK, "%s", e.message);
}

int main(int argc, char **argv)
{
    pal_error error;
    if (argc < 3) return 2;
    dir = argv[1];
    const char *part = argv[2];
    pal_set_allocator(count, NULL);
    const pal_dist_opts opts = {.bucket = 4096,
                                .shard = argc < 4 || strcmp(argv[3], "whole") != 0,
                                .blocking = argc > 3 && strcmp(argv[3], "blocking") == 0};
    if (pal_dist_start(&dist, opts, &error) != PAL_OK) return 2;
    rank = pal_dist_rank(dist);
    size = pal_dist_size(dist);
    if (rank == 0) small_data(dir);
    pal_dist_barrier(dist);
    pal_set_threads(1);
    if (strcmp(part, "steps") == 0) {
        for (int kind = 0; kind < KINDS; kind++) {
            /* How the state is divided does not depend on when sums are made. */
            if (opts.blocking && !test_all() && kind != MUON) continue;
            check_steps(kind, (small_opts){.batch = 5, .packed = true});
            check_memory(kind);
        }
        check_steps(ADAMW, (small_opts){.unused = true, .frozen = true, .tie = true});
        check_late();
        check_created();
    }
    if (strcmp(part, "save") == 0 || strcmp(part, "load") == 0) {
        by_hand(strcmp(part, "save") == 0);
        by_loop(strcmp(part, "save") == 0);
    }
    if (strcmp(part, "full") == 0) {
        struct rlimit l;
        getrlimit(RLIMIT_FSIZE, &l);
        most = l.rlim_cur;
        check_full();
        check_full_loop();
        check_limits();
    }
    pal_dist_end(dist);
    return report();
}
