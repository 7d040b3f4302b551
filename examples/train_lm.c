/*
 * train_lm.c - trains a language model on the bytes of a text, and lets it write some.
 *
 *     train_lm --mixers gdn2,mamba2 --layers 4 --data book.txt --out build/book
 *     train_lm --resume --out build/book --steps 400
 *
 * The loop is train(); around it are the command line (lm/options.c), the text
 * (lm/text.c) and the folder of the run (lm/record.c). Everything that happens is a function of the
 * flags: the same seed gives the same losses to the last bit on any number of threads, and a run
 * that is continued goes on as if it had not stopped. That is why the learning rate does not depend
 * on --steps; a decay is asked for by --cosine.
 */
#include <palimpsest.h>
#include "examples/lm/options.h"
#include "examples/lm/record.h"
#include "examples/lm/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WARMUP = 20, PARAMETERS = 0, SAMPLE = 1 /* streams of the seed */ };

/* A run: what was asked for, and what trains. */
typedef struct run {
    lm_options o;
    lm_text text;
    double entropy;
    pal_params *params;
    pal_lm *lm;
    pal_optim *optim;
    pal_tape *tape;
    int64_t done; /* steps */
} run;

static void stop(const char *what)
{
    fprintf(stderr, "train_lm: %s\n", what);
    exit(EXIT_FAILURE);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- Beginning ---- */

/* Makes the folder and those it lies in. */
static void make_folder(const char *dir)
{
    char path[sizeof((lm_options *)0)->out + 1];
    snprintf(path, sizeof path, "%s/", dir);
    for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST) {
            fprintf(stderr, "train_lm: --out %s: %s\n", path, strerror(errno));
            exit(EXIT_FAILURE);
        }
        *slash = '/';
    }
}

/* Options and text: of the saved run if there is one to continue. */
static void prepare(run *r)
{
    lm_options *o = &r->o;
    pal_error error;
    uint64_t checksum = 0;
    r->done = lm_last_saved(o->out);
    if (r->done && !o->resume)
        stop("--out holds a run already: continue it with --resume, or choose another folder");
    if (!r->done && o->resume) stop("--resume: --out holds no checkpoint to continue from");
    if (r->done && *o->init) stop("--init is for a new run, and --resume continues one");
    if (r->done && lm_load_options(o, r->done, &checksum, &error) != PAL_OK) stop(error.message);
    if (lm_text_read(&r->text, o->data, &error) != PAL_OK) {
        fprintf(stderr, "train_lm: --data %s\n", error.message);
        exit(EXIT_FAILURE);
    }
    if (r->done && checksum != r->text.checksum)
        stop("--data is another text than that of the run that is continued");
    if (r->text.size <= o->len) stop("--data is too short: it needs more than --len bytes");
    make_folder(o->out);
}

static void build(run *r)
{
    const lm_options *o = &r->o;
    pal_rng rng = pal_rng_new(o->seed, PARAMETERS);
    pal_set_threads(o->threads);
    r->params = pal_params_new();
    r->tape = pal_tape_new();
    r->lm = pal_lm_new(
        r->params,
        (pal_lm_opts){
            .width = o->width, .layers = o->layers, .mixers = o->mixers, .dtype = o->dtype},
        &rng);
    r->optim = pal_adamw_new(r->params, (pal_adamw_opts){.beta2 = 0.95, .decay = 0.1});
    pal_error error;
    if (r->done && lm_load(o, r->done, r->params, r->optim, &error) != PAL_OK) stop(error.message);
    if (!r->done && *o->init && lm_load_params(o->init, r->params, &error) != PAL_OK)
        stop(error.message);
}

static void introduce(run *r)
{
    const lm_options *o = &r->o;
    r->entropy = lm_text_entropy(&r->text);
    printf("text    %s: %lld bytes, %.3f bits per byte (order-0 entropy)\n", o->data,
           (long long)r->text.size, r->entropy);
    printf("model   %s, %lld layers of width %lld, %lld parameters in %s\n", o->mixers,
           (long long)o->layers, (long long)o->width, (long long)pal_params_size(r->params),
           pal_dtype_name(o->dtype));
    pal_lm_print_counts(r->lm, stdout);
    printf("machine %s\n", pal_kernels_in_use());
    if (r->done) printf("goes on after step %lld of %s\n", (long long)r->done, o->out);
}

/* ---- Training ---- */

static double rate(const lm_options *o, int64_t step)
{
    pal_schedule s = {.kind = o->cosine ? PAL_COSINE : PAL_CONSTANT,
                      .lr = o->lr,
                      .min_lr = o->lr / 10,
                      .warmup = WARMUP,
                      .steps = o->cosine};
    return pal_schedule_lr(&s, step);
}

/* One step; returns the loss before it and, in *norm, the gradient's norm before clipping. */
static double train_step(run *r, int64_t step, double lr, double *norm)
{
    const lm_options *o = &r->o;
    pal_tensor tokens, targets; /* [batch, len] */
    lm_text_batch(&r->text, o->seed, step, o->batch, o->len, r->tape, &tokens, &targets);
    pal_tensor loss = pal_lm_loss(r->lm, tokens, targets, (pal_run_opts){0});
    pal_backward(loss);
    *norm = pal_clip_grad_norm(r->params, 1);
    pal_optim_step(r->optim, lr);
    pal_params_zero_grad(r->params);
    double value = pal_item(loss);
    pal_tape_reset(r->tape);
    return value;
}

/* On a terminal the line is rewritten, elsewhere one in twenty steps is kept. */
static void progress(const run *r, int64_t first, double began, double loss)
{
    const lm_options *o = &r->o;
    int64_t step = r->done;
    bool terminal = isatty(STDOUT_FILENO), end = step == o->steps;
    int64_t every = terminal ? 1 : (o->steps + 19) / 20;
    if (step % every && !end && step != first + 1) return;
    double time = seconds() - began, a_step = time / (double)(step - first);
    double left = a_step * (double)(o->steps - step);
    printf("%sstep %6lld/%lld  loss %7.4f  %6.4f bits/byte  %8.0f tokens/s  %3d:%02d left%s",
           terminal ? "\r" : "", (long long)step, (long long)o->steps, loss, loss / log(2),
           (double)(o->batch * o->len) / a_step, (int)(left / 60), (int)left % 60,
           !terminal || end ? "\n" : " ");
    fflush(stdout);
}

static void train(run *r)
{
    const lm_options *o = &r->o;
    pal_error error;
    FILE *log = lm_log_open(o->out, r->done);
    if (!log) exit(EXIT_FAILURE);
    int64_t first = r->done;
    double began = seconds();
    while (r->done < o->steps) {
        double norm, lr = rate(o, r->done), loss = train_step(r, r->done, lr, &norm);
        r->done++;
        lm_log_row(log, r->done, loss, lr, norm);
        progress(r, first, began, loss);
        if (!isfinite(loss) || !isfinite(norm)) stop("the loss or its gradient is not finite");
        bool save = r->done == o->steps || (o->save_every && r->done % o->save_every == 0);
        if (!save) continue;
        if (fsync(fileno(log)) != 0) stop("log.csv cannot be written");
        if (lm_save(o, &r->text, r->done, r->params, r->optim, &error) != PAL_OK)
            stop(error.message);
    }
    if (ferror(log) || fclose(log) != 0) stop("log.csv cannot be written");
}

/* ---- Writing ---- */

/* Continues the first line of the text, a byte at a time and in constant memory. */
static void write_sample(run *r)
{
    pal_rng rng = pal_rng_new(r->o.seed, SAMPLE);
    pal_lm_state *state = pal_lm_state_new(r->lm);
    int64_t n = 0, prompt[80];
    pal_set_grad(r->tape, false);
    for (int64_t i = 0; i < 80 && i < r->text.size; i++) {
        prompt[n++] = r->text.byte[i];
        if (r->text.byte[i] == '\n') break;
    }
    printf("\nThe model goes on after the first line:\n\n");
    for (int64_t i = 0; i < n; i++) putchar((int)prompt[i]);
    for (int64_t i = 0; i < r->o.sample; i++) {
        pal_tensor tokens = pal_from(r->tape, PAL_I64, PAL_SHAPE(1, n), prompt);
        pal_tensor logits = pal_lm_step(r->lm, state, tokens, (pal_run_opts){0});
        int64_t byte = pal_sample(logits, (pal_sample_opts){.temperature = 0.8, .top_k = 40}, &rng);
        pal_tape_reset(r->tape);
        bool plain = byte == '\n' || byte == '\t' || (byte >= 32 && byte != 127);
        putchar(plain ? (int)byte : '?');
        prompt[0] = byte;
        n = 1;
    }
    printf("\n");
    pal_lm_state_free(state);
}

int main(int argc, char **argv)
{
    run r = {0};
    lm_options_parse(&r.o, argc, argv);
    prepare(&r);
    build(&r);
    introduce(&r);
    if (r.done < r.o.steps)
        train(&r);
    else
        printf("the run has %lld steps already; --steps asks for %lld\n", (long long)r.done,
               (long long)r.o.steps);
    lm_plot(r.o.out, r.entropy);
    if (r.o.sample) write_sample(&r);
    pal_tape_free(r.tape);
    pal_optim_free(r.optim);
    pal_params_free(r.params);
    lm_text_free(&r.text);
    return 0;
}
