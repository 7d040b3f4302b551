/*
 * 08_forecast.c - forecasts a time series with its uncertainty: from 48 hours, the 10%, 50% and 90%
 * quantiles of the next 12. The last fifth of the series is held out.
 *
 *     08_forecast [FOLDER [STEPS]]        (build/forecast, 400 steps)
 *
 * A quantile q is learned by the pinball loss (Koenker, Bassett 1978), with e = y - forecast:
 *
 *     loss = mean max(q e, (q - 1) e)
 */
#include <math.h>
#include <palimpsest.h>
#include <stdlib.h>

enum { PAST = 48, NEXT = 12, Q = 3, HOURS = 6000 };
static const float quantile[Q] = {0.1f, 0.5f, 0.9f};

/* A load with days and weeks, whose noise is larger by day: FOLDER/load.csv. */
static void write_series(const char *path)
{
    pal_rng rng = pal_rng_new(5, 0);
    FILE *f = fopen(path, "w");
    for (int i = 0; f && i < HOURS; i++) {
        const double day = sin(2 * M_PI * i / 24), week = sin(2 * M_PI * i / 168);
        const double noise = pal_rng_next(&rng) + pal_rng_next(&rng) - 1;
        fprintf(f, "%s%.4f\n", i ? "" : "load\n", day + 0.5 * week + (0.3 + 0.2 * day) * noise);
    }
    if (f) fclose(f);
}

/* Windows [B,PAST+NEXT] -> forecasts [B,NEXT,Q]; *y [B,NEXT,1] is what came. */
static pal_tensor forecast(void *model, pal_batch *batch, bool training, pal_tensor *y)
{
    const pal_tensor window = pal_batch_tensor(batch, "load");
    const pal_tensor x = pal_slice(window, 1, 0, PAST, 1);
    *y = pal_unsqueeze(pal_slice(window, 1, PAST, PAST + NEXT, 1), 2);
    return pal_reshape(pal_predictor_forward(model, x, (pal_run_opts){.training = training}),
                       PAL_SHAPE(pal_dim(window, 0), NEXT, Q));
}

static pal_tensor loss(void *user, pal_tape *tape, int64_t number, pal_batch *batch)
{
    pal_tensor y, f = forecast(user, batch, true, &y);
    const pal_tensor q = pal_from(tape, PAL_F32, PAL_SHAPE(Q), quantile), e = pal_sub(y, f);
    (void)number;
    return pal_mean(pal_maximum(pal_mul(q, e), pal_mul(pal_affine(q, 1, -1), e)), PAL_ALL, false);
}

/* The MAE of the median, and the share of hours between the outer quantiles: it should be 0.8. */
static void measure(void *user, pal_tape *tape, pal_batch *batch, double *values)
{
    pal_tensor y, f = forecast(user, batch, false, &y);
    const float *is = pal_f32(pal_contiguous(y)), *said = pal_f32(f);
    const double n = (double)pal_count(y);
    (void)tape;
    for (int64_t i = 0; i < pal_count(y); i++, said += Q) {
        values[0] += fabs((double)(is[i] - said[1])) / n;
        values[1] += (is[i] >= said[0] && is[i] <= said[2]) / n;
    }
}

int main(int argc, char **argv)
{
    const pal_dataset_opts windows = {.field = {{.name = "load"}}, .window = PAST + NEXT};
    const pal_trunk_opts trunk = {
        .inputs = 1, .width = 32, .mixers = "2*(gdn:num_heads=2:head_dim=16)"};
    const pal_task_head_opts last = {.pooling = PAL_POOL_LAST};
    const pal_plot_opts plot = {.columns = "MAE,within", .name = "forecast"};
    pal_train_opts o = {.loss = loss, .measure = measure, .metric = {{"MAE", 0}, {"within", 0}}};
    char path[PAL_PATH];
    pal_error e;
    pal_dataset *data;
    pal_rng rng = pal_rng_new(1, 0);
    o.folder = argc > 1 ? argv[1] : "build/forecast", o.steps = argc > 2 ? atoll(argv[2]) : 400;
    pal_must(pal_run_make(o.folder, &e), &e);
    snprintf(path, sizeof path, "%s/load.csv", o.folder);
    write_series(path);
    pal_must(pal_dataset_open(&data, path, windows, &e), &e);
    pal_dataset_split(data, (pal_batches_opts){.batch = 32, .held_out = 0.2}, &o.batches,
                      &o.held_out);
    o.params = pal_params_new(), o.tape = pal_tape_new();
    o.user = pal_predictor_new(o.params, "model", trunk, NEXT * Q, last, &rng);
    o.optim = pal_adamw_new(o.params, (pal_adamw_opts){0});
    o.schedule = (pal_schedule){PAL_COSINE, 4e-3, 0, o.steps / 20, .steps = o.steps};
    o.clip = 1, o.evaluate_every = 100, o.keep = 1, o.unit = "windows";
    o.resume = pal_run_last(o.folder, 0);
    pal_must(pal_train(&o, NULL, &e), &e);
    if (pal_plot(o.folder, plot, &e) != PAL_OK) fprintf(stderr, "%s\n", e.message);
    pal_train_free(&o);
}
