/*
 * dist_train.c DIR PART - several ranks train the same model as one process: losses and gradients
 * agree, and the bits do not depend on which rank is first. To compare, every rank also trains the
 * model as one process does.
 */
#include "tests/support/isa.h"
#include "tests/support/ranks.h"
#include "tests/support/small_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 1 << 15 };

static pal_step step_of(small_run *r, int64_t step, int64_t accumulate, double clip)
{
    pal_error error = {0};
    pal_step out = {0};
    pal_train_opts o = small_train(r);
    o.accumulate = accumulate;
    o.clip = clip;
    pal_status s = pal_train_step(&o, step, &out, &error);
    expect(s == PAL_OK, "step %d: %s", (int)step, error.message);
    return out;
}

/* All values of the parameters as doubles; returns how many. */
static int64_t values(const pal_params *p, double *x)
{
    int64_t n = 0;
    for (int i = 0; i < pal_params_count(p); i++) {
        const pal_array a = pal_params_array(p, i);
        for (int64_t j = 0; j < pal_array_count(&a); j++)
            x[n++] = a.dtype == PAL_F64 ? ((double *)a.data)[j] : (double)((float *)a.data)[j];
    }
    return n;
}

static void compare_losses(const char *dir, small_opts o, int64_t accumulate, pal_dist *dist)
{
    small_run one, all;
    const double tolerance = o.dtype == PAL_F64 ? 1e-6 : 1e-4;
    double empty;
    small_begin(&one, dir, o, NULL);
    small_begin(&all, dir, o, dist);
    for (int64_t i = 0; i < (test_all() ? 50 : 15); i++) {
        const pal_step a = step_of(&one, i, accumulate, 1), b = step_of(&all, i, accumulate, 1);
        expect(fabs(a.loss - b.loss) <= tolerance * fabs(a.loss), "loss %d: %.12g of %.12g", (int)i,
               b.loss, a.loss);
        expect(fabs(a.norm - b.norm) <= 100 * tolerance * a.norm, "norm %d: %.12g of %.12g", (int)i,
               b.norm, a.norm);
        expect(a.counted == b.counted && a.bytes == b.bytes, "counted %d: %d of %d", (int)i,
               (int)b.counted, (int)a.counted);
    }
    pal_error error = {0};
    expect(pal_dist_same_params(dist, all.params, &error) == PAL_OK, "%s", error.message);
    empty = (double)all.empty;
    pal_dist_sum(dist, 1, &empty);
    if (o.single) expect(empty > 0, "no rank has been without a target");
    small_end(&one);
    small_end(&all);
}

/* Sums over ranks of the squared norm of the gradient of a rank's first micro-batch, of 1 /
 * targets, and of 1, without the code that sums gradients. */
static void small_batches(const char *dir, pal_dist *dist, double sum[3])
{
    small_run r;
    pal_batch b;
    pal_error error = {0};
    small_begin(&r, dir, (small_opts){.batch = 5}, dist);
    const pal_train_opts o = small_train(&r);
    const pal_status s = pal_batches_next(r.batches, r.tape, &b, &error);
    expect(s == PAL_OK, "batch: %s", error.message);
    pal_backward(o.loss(o.user, r.tape, 0, &b));
    const double norm = pal_clip_grad_norm(r.params, 0);
    sum[0] = norm * norm, sum[1] = 1 / (double)b.counted, sum[2] = 1;
    pal_dist_sum(dist, 3, sum);
    small_end(&r);
}

/* The gradient noise of a step, from batches of two sizes. */
static void check_noise(const char *dir, pal_dist *dist)
{
    double sum[3];
    small_batches(dir, dist, sum);
    for (int64_t accumulate = 1; accumulate <= 2; accumulate++) {
        small_run r;
        pal_step step = {0};
        pal_error error = {0};
        small_begin(&r, dir, (small_opts){.batch = 5}, dist);
        pal_train_opts o = small_train(&r);
        o.accumulate = accumulate, o.noise = true;
        const pal_status s = pal_train_step(&o, 0, &step, &error);
        expect(s == PAL_OK, "noise: %s", error.message);
        const double inverse = 1 / (double)step.counted, large = step.norm * step.norm;
        const double trace = (sum[0] / sum[2] - large) / (sum[1] / sum[2] - inverse);
        if (accumulate > 1 || pal_dist_size(dist) > 1) {
            expect(fabs(step.noise_trace - trace) <= 1e-3 * fabs(trace), "trace %g of %g",
                   step.noise_trace, trace);
            expect(fabs(step.noise_square - large + trace * inverse) <= 1e-3 * large, "square %g",
                   step.noise_square);
        } else {
            expect(isnan(step.noise_trace), "noise of one batch: %g", step.noise_trace);
        }
        small_end(&r);
    }
}

/* One step of SGD at the rate 1 subtracts the gradient, so the parameters show the gradients. */
static void compare_gradients(const char *dir, small_opts o, int64_t accumulate, pal_dist *dist)
{
    static double before[MOST], a[MOST], b[MOST];
    small_run one, all;
    o.sgd = true;
    small_begin(&one, dir, o, NULL);
    small_begin(&all, dir, o, dist);
    const int64_t n = values(one.params, before);
    expect(n <= MOST, "room");
    step_of(&one, 0, accumulate, 0);
    step_of(&all, 0, accumulate, 0);
    values(one.params, a);
    values(all.params, b);
    double difference = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs(a[i] - b[i]);
        if (!(d <= difference)) difference = isnan(d) ? INFINITY : d; /* NaN counts too */
        size = fmax(size, fabs(a[i] - before[i]));
    }
    expect(size > 1e-3 && difference <= 1e-12 * size, "gradients: %g of %g", difference, size);
    small_end(&one);
    small_end(&all);
}

/* ---- Who comes first ---- */

static pal_tensor wait(void *user, pal_tape *tape, int64_t number, pal_batch *b)
{
    pal_rng *rng = user;
    (void)tape, (void)number, (void)b;
    const struct timespec t = {.tv_nsec = (long)pal_rng_below(rng, 8) * 400000};
    nanosleep(&t, NULL);
    return PAL_NONE;
}

/* Delays also between the operations of backward, where the sums over ranks are started. */
static void wait_between(void *user)
{
    if (pal_rng_below(user, 20) == 0) wait(user, NULL, 0, NULL);
}

static int64_t with_delays(const char *dir, uint64_t seed, pal_dist *dist, double *x)
{
    small_run r;
    small_begin(&r, dir, (small_opts){.batch = 5}, dist);
    pal_rng rng = pal_rng_new(seed, (uint64_t)pal_dist_rank(dist));
    r.before = wait;
    r.user = &rng;
    pal_tape_between(r.tape, wait_between, &rng);
    for (int64_t i = 0; i < 6; i++) step_of(&r, i, 2, 1);
    pal_error error = {0};
    expect(pal_dist_same_params(dist, r.params, &error) == PAL_OK, "%s", error.message);
    const int64_t n = values(r.params, x);
    small_end(&r);
    return n;
}

static void check_arrival(const char *dir, pal_dist *dist)
{
    static double a[MOST], b[MOST];
    const int64_t n = with_delays(dir, 1, dist, a);
    for (uint64_t seed = 2; seed < 5; seed++) {
        with_delays(dir, seed, dist, b);
        expect(memcmp(a, b, (size_t)n * sizeof *a) == 0, "other bits with other delays");
    }
}

/* ---- Buckets ---- */

typedef struct heard {
    int64_t grads, operations;
} heard;
static void on_grad(pal_params *p, int i, void *user)
{
    (void)p, (void)i;
    ((heard *)user)->grads++;
}
static void between(void *user) { ((heard *)user)->operations++; }

static void check_buckets(const char *dir, pal_dist *dist, const pal_dist_opts *opts)
{
    small_run r;
    heard h = {0}, last;
    const pal_dist_bucket *bucket;
    small_begin(&r, dir, (small_opts){.dtype = PAL_F64}, dist);
    pal_params_on_grad(r.params, on_grad, &h);
    pal_tape_between(r.tape, between, &h);
    step_of(&r, 0, 1, 0);
    last = h;
    step_of(&r, 1, 1, 0);
    expect(h.grads == 2 * pal_params_count(r.params), "the program's callback: %d", (int)h.grads);
    expect(h.operations == 2 * last.operations && last.operations > 0, "between");
    const int n = pal_dist_trace(dist, &bucket);
    const struct pal_dist_times t = pal_dist_times(dist);
    if (pal_dist_size(dist) == 1) {
        expect(n == 0 && t.bytes == 0, "one rank has nothing to reduce");
        small_end(&r);
        return;
    }
    int64_t bytes = 0;
    int next = pal_params_count(r.params) - 1;
    for (int b = 0; b < n; b++) {
        bytes += bucket[b].bytes;
        expect(bucket[b].last == next, "bucket %d ends at %d", b, bucket[b].last);
        next = bucket[b].first - 1;
        expect(bucket[b].bytes <= opts->bucket || bucket[b].first == bucket[b].last,
               "bucket %d has %d bytes", b, (int)bucket[b].bytes);
        expect(bucket[b].finished >= bucket[b].started, "times of bucket %d", b);
        expect(b == 0 || bucket[b].started >= bucket[b - 1].started, "order of bucket %d", b);
    }
    expect(next == -1 && n > 3 && bytes == t.bytes && n == t.buckets, "%d buckets", n);
    expect(bytes >= 8 * pal_params_size(r.params), "%d bytes", (int)bytes);
    expect(t.operations == last.operations, "%d operations", (int)t.operations);
    if (opts->blocking)
        expect(bucket[0].operations == t.operations, "started before the end of backward");
    else
        expect(bucket[0].operations < t.operations, "not started before the end of backward");
    small_end(&r);
}

/* Parameters that are frozen after the first step are not sent. When they are free again, they
 * are. */
static void check_freezing(const char *dir, pal_dist *dist)
{
    small_run r;
    if (pal_dist_size(dist) == 1) return;
    small_begin(&r, dir, (small_opts){0}, dist);
    int64_t bytes[3];
    for (int i = 0; i < 3; i++) {
        pal_params_freeze(r.params, "*", i == 1);
        if (i == 1) pal_params_freeze(r.params, "*mlp*", false);
        step_of(&r, i, 1, 0);
        bytes[i] = pal_dist_times(dist).bytes;
    }
    expect(bytes[1] < bytes[0] && bytes[2] == bytes[0], "bytes with frozen parameters");
    pal_error error = {0};
    expect(pal_dist_same_params(dist, r.params, &error) == PAL_OK, "%s", error.message);
    small_end(&r);
}

static pal_error told;
static void note(const pal_error *error, void *user)
{
    (void)user;
    told = *error;
}

static void check_second_backward(const char *dir, pal_dist *dist)
{
    small_run r;
    pal_error error;
    pal_batch b;
    if (pal_dist_size(dist) == 1) return;
    small_begin(&r, dir, (small_opts){0}, dist);
    expect(pal_dist_attach(dist, r.params, r.tape, &error) == PAL_OK, "attach");
    pal_set_error_handler(note, NULL);
    pal_dist_reduce_begin(dist);
    for (int i = 0; i < 2; i++) {
        expect(pal_batches_next(r.batches, r.tape, &b, &error) == PAL_OK, "batch");
        pal_backward(pal_lm_loss(r.lm, b.tokens, b.targets, (pal_run_opts){0}));
        pal_tape_reset(r.tape);
    }
    pal_dist_reduce_end(dist);
    expect(strstr(told.message, "a second backward pass") != NULL, "%s", told.message);
    pal_set_error_handler(NULL, NULL);
    small_end(&r);
}

int main(int argc, char **argv)
{
    pal_dist *dist;
    pal_error error;
    if (argc < 3) return 2;
    const char *dir = argv[1], *part = argv[2];
    const pal_dist_opts opts = {.bucket = 2048, .blocking = strcmp(part, "blocking") == 0};
    if (pal_dist_start(&dist, opts, &error) != PAL_OK) return 2;
    if (pal_dist_rank(dist) == 0) small_data(dir);
    pal_dist_barrier(dist);
    pal_set_threads(1);
    for (int dtype = PAL_F32; dtype <= PAL_F64 && strcmp(part, "losses") == 0; dtype++) {
        small_opts o = {.dtype = (pal_dtype)dtype};
        compare_losses(dir, o, 1, dist);
        o.batch = pal_dist_size(dist) == 2 ? 3 : 5; /* not divisible by the number of ranks */
        o.packed = true;
        compare_losses(dir, o, 1, dist);
        o.tie = o.unused = o.frozen = true;
        compare_losses(dir, o, 3, dist);
        o.single = o.recompute = true;
        compare_losses(dir, o, 2, dist);
    }
    if (strcmp(part, "losses")) {
        small_opts o = {.dtype = PAL_F64};
        compare_gradients(dir, o, 1, dist);
        o.packed = o.unused = o.frozen = true;
        o.batch = 5;
        compare_gradients(dir, o, 3, dist);
        o.single = o.tie = true;
        compare_gradients(dir, o, 2, dist);
        check_noise(dir, dist);
        check_arrival(dir, dist);
        check_buckets(dir, dist, &opts);
        check_freezing(dir, dist);
        check_second_backward(dir, dist);
    }
    pal_dist_end(dist);
    return report();
}
