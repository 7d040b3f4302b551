/*
 * train_lm.c - trains a language model on a text or a store of tokens, and lets it write some.
 *
 *     train_lm --mixers gdn2,mamba2 --layers 4 --data book.txt --out build/book
 *     train_lm --resume --out build/book --steps 400
 *
 * The loop is pal_train (optim/train.h, docs/training.md); here are the model, the optimiser and
 * what the loop calls: loss, evaluation, sample. The command line is lm/options.c, the data are
 * lm/data.c. Everything that happens is a function of the flags: the same seed gives the same
 * losses to the last bit on any number of threads, and a run that is continued goes on as if it had
 * not stopped.
 */
#include <palimpsest.h>
#include "examples/flags/checked.h"
#include "examples/lm/data.h"
#include "examples/lm/optimizer.h"
#include "examples/lm/text.h"
#include "examples/lm/open.h"
#include "examples/lm/rates.h"
#include "examples/lm/released.h"
#include "optim/train/gnuplot.h"
#include "optim/train/run_folder.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pal_dist *ranks; /* this process and those that train with it */

enum { PARAMETERS = 0 /* a stream of the seed; lm/data.c has the others */ };

/* A run: what was asked for, and what trains. */
typedef struct run {
    lm_options o;
    lm_data data;
    double entropy;
    pal_params *params;
    pal_lm *lm;
    pal_optim *optim;
    pal_average *average;
    pal_watch *watch;
    pal_tape *tape;
    int64_t from; /* the step that it goes on from; 0: a new run */
    bool again;   /* a new run in the folder of one that ended before its first checkpoint */
    char *config;
} run;

/* Ends all ranks. */
PAL_PRINTF(1, 2) static void stop(const char *format, ...)
{
    char text[4096] = "train_lm: ";
    const size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, sizeof text - used, format, args);
    va_end(args);
    pal_dist_abort(ranks, text);
}

/* A checkpoint that is damaged: what is wrong, and how to use one before it. Other failures end in
 * other ways, because their remedy is not an older checkpoint. Only rank 0 looks for one, since the
 * files are checked there (checked_files). */
static void stop_at_checkpoint(const run *r, const pal_error *what)
{
    static char ignored[1 << 20];
    char path[PAL_PATH];
    const bool damaged = what->status == PAL_EFORMAT || what->status == PAL_ENUMERIC;
    int64_t older = r->from;
    while (damaged && pal_dist_rank(ranks) == 0 &&
           pal_run_find(r->o.out, "", older, &older, NULL) == PAL_OK && older) {
        pal_run_path(path, sizeof path, r->o.out, older);
        if (pal_checkpoint_config(path, ignored, sizeof ignored, NULL) == PAL_OK)
            stop("%s\ntrain_lm: --resume-from %lld goes on from the checkpoint of that step; later "
                 "ones are renamed and stay",
                 what->message, (long long)older);
    }
    stop("%s", what->message);
}

/* ---- Beginning ---- */

/* A file is the one that the configuration tells by its checksum, which becomes that of the file.
 */
static void must_be(const char *flag, const char *path, char *wanted, size_t room, const char *is)
{
    if (*wanted && strcmp(wanted, is))
        stop("--%s: %s has the checksum %s where --%s-checksum is %s", flag, path, is, flag,
             wanted);
    snprintf(wanted, room, "%s", is);
}

/* A text of the run's folder, for free(); NULL: there is none. A pipe or a device in its place is
 * not waited for. */
static char *read_text(const run *r, const char *name, int64_t most)
{
    char path[PAL_PATH];
    struct stat is;
    lm_text text;
    pal_error error;
    if (snprintf(path, sizeof path, "%s/%s", r->o.out, name) >= PAL_PATH)
        stop("--out: the path is too long");
    if (stat(path, &is) != 0) return NULL;
    if (!S_ISREG(is.st_mode))
        stop("%s: it is %s, and the run writes a file of this name", path,
             S_ISDIR(is.st_mode) ? "a folder" : "no regular file");
    if (lm_text_read_most(&text, path, most, &error) != PAL_OK) stop("%s", error.message);
    char *copy = strndup((const char *)text.byte, (size_t)text.size);
    if (!copy) stop("out of memory for %s", path);
    lm_text_free(&text);
    return copy;
}

/* The lock comes before all that is read: another process may be changing it. */
static void lock_folder(run *r)
{
    pal_error error = {0};
    pal_status s = PAL_OK;
    if (pal_dist_rank(ranks) == 0 && access(r->o.out, F_OK) == 0)
        s = pal_run_lock(&r->data.lock, r->o.out, &error);
    if (pal_dist_agree(ranks, s, &error) != PAL_OK) stop("--resume: %s", error.message);
}

/* What shows that the run has saved a checkpoint, which is not there any more; NULL: nothing. */
static const char *sign_of_checkpoint(const run *r)
{
    static const char *const files[] = {"best.txt", "loss.svg"}; /* written after a save */
    char path[PAL_PATH];
    pal_error error;
    int64_t aside;
    for (int i = 0; i < 2; i++)
        if (snprintf(path, sizeof path, "%s/%s", r->o.out, files[i]) >= PAL_PATH ||
            access(path, F_OK) == 0)
            return files[i];
    if (pal_run_find(r->o.out, ".aside", 0, &aside, &error) != PAL_OK) stop("%s", error.message);
    return aside ? "a checkpoint that was renamed to NAME.aside" : NULL;
}

/* A run that was killed before its first checkpoint begins again as its config.txt says. If there
 * was a checkpoint, its rows and samples stay where they are. */
static char *begin_again(run *r)
{
    lm_options was;
    pal_error error;
    char *config = read_text(r, "config.txt", LM_MOST_LINES);
    char *log = read_text(r, "log.csv", INT64_MAX);
    if (!config || r->o.resume_from) stop("--resume: --out holds no checkpoint to continue from");
    if (lm_options_read(&was, config, &error) != PAL_OK)
        stop("%s/config.txt: %s", r->o.out, error.message);
    int64_t lines = 0, first = was.save_every ? was.save_every : (was.steps + 19) / 20;
    if (first > was.steps) first = was.steps; /* the last step is saved in any case */
    for (const char *c = log; c && *c; c++) lines += *c == '\n';
    free(log);
    r->again = true;
    if (pal_dist_rank(ranks) > 0) return config; /* rank 0 decides */
    const char *sign = sign_of_checkpoint(r);
    if (sign || lines > first + 1)
        stop("--resume: --out holds no checkpoint to continue from, but %s, which the run wrote "
             "after one; to begin again, choose another folder for --config %s/config.txt",
             sign ? sign : "rows of a log", r->o.out);
    printf("the run ended before its first checkpoint, and begins again\n");
    return config;
}

/* An edit of config.txt would change nothing and be lost. */
static void check_config(run *r, const char *saved)
{
    pal_error error;
    char *text = read_text(r, "config.txt", LM_MOST_LINES);
    const lm_options *o = &r->o;
    if (pal_dist_rank(ranks) > 0 || !text) {
        free(text);
        return;
    }
    const pal_status s = lm_options_compare(text, saved, o, &error);
    if (s == PAL_EVALUE && !o->mend)
        stop(
            "%s/config.txt: %s; the run would go on with the latter. Put the file back, or have it "
            "written anew (--mend)",
            o->out, error.message);
    if (s != PAL_OK && s != PAL_EVALUE)
        stop("%s/config.txt: %s; it is not that of the run, which would replace it", o->out,
             error.message);
    if (*error.message)
        fprintf(stderr, "note: %s/config.txt: %s, which counts\n", o->out, error.message);
    free(text);
}

/* The options of the run that is continued. */
static void continue_run(run *r)
{
    lm_options *o = &r->o;
    pal_error error;
    char path[PAL_PATH], *text = NULL;
    static char saved[1 << 20]; /* more than a checkpoint has */
    lock_folder(r);
    /* A rank on another machine may still see an older list of files. */
    int64_t last = pal_dist_rank(ranks) == 0 ? pal_run_last(o->out, 0) : 0;
    pal_dist_broadcast(ranks, &last, sizeof last);
    if (last) {
        r->from = o->resume_from ? o->resume_from : last;
        pal_run_path(path, sizeof path, o->out, r->from);
        if (lm_data_check(ranks, path, &error) != PAL_OK) stop_at_checkpoint(r, &error);
        const pal_status s = pal_checkpoint_config(path, saved, sizeof saved, &error);
        if (pal_dist_agree(ranks, s, &error) != PAL_OK) stop_at_checkpoint(r, &error);
        check_config(r, saved);
    } else {
        text = begin_again(r);
    }
    const char *config = text ? text : saved;
    if (lm_options_continue(o, config, &error) != PAL_OK) stop("%s", error.message);
    lm_options was;
    if (lm_options_read(&was, config, &error) != PAL_OK) stop("%s", error.message);
    if (lm_data_check(ranks, o->data, &error) != PAL_OK) stop("--data: %s", error.message);
    if (strcmp(was.data, o->data) && !lm_data_is_store(o->data))
        stop("--data is another text than that of the run that is continued");
    if (!lm_changes_agree(was.lr_at, o->lr_at, r->from))
        stop("--lr-at says something else of the %lld steps that were made than the run did: '%s' "
             "was '%s'",
             (long long)r->from, o->lr_at, was.lr_at);
    if (r->from > o->steps)
        stop("the run has %lld steps already; --steps asks for %lld", (long long)r->from,
             (long long)o->steps);
    free(text);
}

/* A new run begins with the model of --init. */
static void begin_with(run *r)
{
    pal_error error;
    if (lm_data_check(ranks, r->o.init, &error) != PAL_OK) stop("--init: %s", error.message);
    if (lm_begin(&r->o, &error) != PAL_OK) stop("%s", error.message);
}

/* Options and data: of the saved run if there is one to continue. */
static void prepare(run *r)
{
    lm_options *o = &r->o;
    pal_error error;
    if (o->resume)
        continue_run(r);
    else if (pal_run_last(o->out, 0))
        stop("--out holds a run already: continue it with --resume, or choose another folder");
    else if (*o->init)
        begin_with(r);
    /* Before anything is written. */
    const pal_schedule schedule = lm_options_schedule(o);
    if (pal_schedule_check(&schedule, &error) != PAL_OK) stop("%s", error.message);
    pal_dist_barrier(ranks); /* until all have seen the folder as it was */
    r->data.dist = ranks;
    if (lm_data_open(&r->data, o, r->from > 0 || r->again, &error) != PAL_OK)
        stop("%s", error.message);
    must_be("data", o->data, o->data_checksum, sizeof o->data_checksum, r->data.identity);
    const int64_t vocab = pal_tokens_vocab_size(r->data.store);
    if (o->model.vocab == 0) o->model.vocab = vocab;
    if (o->model.layers == 0) o->model.layers = pal_mixers_count(o->model.mixers);
    if (o->model.vocab < vocab) stop("--vocab is less than the vocabulary of the data");
    /* What a file says of itself is compared with what it holds before memory is taken for it. */
    char path[PAL_PATH];
    if (!r->from) return;
    pal_run_path(path, sizeof path, o->out, r->from);
    const pal_status s = pal_lm_compare(lm_options_model(o), path, &error);
    if (pal_dist_agree(ranks, s, &error) != PAL_OK) stop_at_checkpoint(r, &error);
}

/* The parameters that a new run begins with, if they are not drawn. */
static void load_weights(run *r)
{
    lm_options *o = &r->o;
    pal_error error;
    bool averaged;
    char sum[LM_SUM];
    if (r->from || !*o->init) return;
    if (lm_load(r->params, r->lm, o, r->data.tokenizer, &averaged, &error) != PAL_OK)
        stop("%s", error.message);
    must_be("init", o->init, o->init_checksum, sizeof o->init_checksum,
            lm_weights_sum(r->params, o->init_checksum, sum));
    lm_weights_sum(r->params, "",
                   o->init_checksum); /* it may have been that of an earlier version */
    if (pal_dist_rank(ranks) == 0)
        printf("init    %s of %s\n", averaged ? "the average of the parameters" : "the parameters",
               o->init);
}

/* What every checkpoint of the run says of it. */
static char *describe(const run *r)
{
    /* The threads, which come last, say nothing about bits. */
    const char *kernels = pal_kernels_in_use(), *threads = strrchr(kernels, ',');
    const int family = (int)(threads ? threads - kernels : (ptrdiff_t)strlen(kernels));
    char *text = lm_options_text(&r->o), *all;
    if (asprintf(&all, "# Made by %s, %.*s\n# The data: CRC-32C %s, %lld tokens, %lld bytes\n%s",
                 pal_code_version(), family, kernels, r->data.identity,
                 (long long)pal_tokens_count(r->data.store),
                 (long long)pal_tokens_bytes(r->data.store), text) < 0)
        stop("out of memory");
    free(text);
    return all;
}

static void build(run *r)
{
    const lm_options *o = &r->o;
    pal_error error;
    pal_rng rng = pal_rng_new(o->seed, PARAMETERS);
    r->params = pal_params_new();
    r->tape = pal_tape_new();
    *pal_tape_rng(r->tape) = pal_rng_new(o->seed, 2);
    if (o->bf16) pal_tape_precision(r->tape, PAL_BF16);
    /* Nothing is drawn that a file replaces. */
    r->lm = pal_lm_new(r->params, lm_options_model(o), r->from || *o->init ? NULL : &rng);
    if (lm_export_check(o, r->lm, &error) != PAL_OK) stop("%s", error.message);
    load_weights(r);
    if (lm_optimizer_of(&r->optim, r->params, o, &error) != PAL_OK) stop("%s", error.message);
    if (o->average > 0)
        r->average =
            pal_average_new(r->params, (pal_average_opts){.decay = o->average, .warm_up = true});
    if (*o->watch) r->watch = pal_watch_new(r->params, o->watch);
    r->config = describe(r);
}

static void introduce(run *r)
{
    const lm_options *o = &r->o;
    if (pal_dist_rank(ranks) > 0) return;
    r->entropy = lm_data_entropy(r->data.store);
    printf("data    %s: %lld bytes, %lld tokens (%s), %.3f bits per byte (order-0 entropy%s)\n",
           o->data, (long long)pal_tokens_bytes(r->data.store),
           (long long)pal_tokens_count(r->data.store), pal_tokens_name(r->data.store), r->entropy,
           pal_tokens_count(r->data.store) > LM_LOOKED_AT ? " of the first 16777216 tokens" : "");
    printf("model   %s, %lld layers of width %lld, %lld parameters in %s\n", o->model.mixers,
           (long long)o->model.layers, (long long)o->model.width,
           (long long)pal_params_size(r->params), pal_dtype_name(o->model.dtype));
    pal_lm_print_counts(r->lm, stdout);
    lm_print_parts(r->params, o);
    printf("machine %s\n", pal_kernels_in_use());
    if (o->bf16) printf("bf16    %s\n", pal_precision_in_use(PAL_BF16));
    if (pal_dist_size(ranks) > 1)
        printf("ranks   %d: rows in %d parts, sequences in %d\n", pal_dist_size(ranks),
               pal_dist_data_count(ranks), pal_dist_sequence_count(ranks));
    if (r->from) printf("goes on after step %lld of %s\n", (long long)r->from, o->out);
    fflush(stdout);
}

/* ---- What the loop calls ---- */

static pal_tensor loss(void *user, pal_tape *tape, int64_t number, pal_batch *b)
{
    (void)tape, (void)number;
    return pal_lm_loss(((run *)user)->lm, b->tokens, b->targets,
                       (pal_run_opts){.offsets = b->offsets,
                                      .parts = pal_dist_sequence(ranks),
                                      .continued = b->continued,
                                      .training = true});
}

/* What cannot be evaluated ends the program; the checkpoints before it are there. */
static double evaluate(void *user, pal_tape *tape, int64_t step)
{
    run *r = user;
    double value;
    pal_error error;
    if (lm_data_score(&r->data, r->lm, tape, &value, &error) != PAL_OK)
        stop("evaluation of step %lld: %s", (long long)step, error.message);
    return value;
}

static void sample(void *user, pal_tape *tape, int64_t step, FILE *to)
{
    (void)step;
    run *r = user;
    lm_data_sample(&r->data, r->lm, tape, &r->o, to);
}

static double rate(void *user, int64_t step, double lr)
{
    return lr * lm_change_at(((run *)user)->o.lr_at, step + 1);
}

static pal_train_result train(run *r)
{
    const lm_options *o = &r->o;
    pal_error error;
    pal_train_result result = {0};
    const pal_train_opts opts = {.params = r->params,
                                 .optim = r->optim,
                                 .tape = r->tape,
                                 .schedule = lm_options_schedule(o),
                                 .rate = *o->lr_at ? rate : NULL,
                                 .average = r->average,
                                 .batches = r->data.train,
                                 .loss = loss,
                                 .evaluate = r->data.held ? evaluate : NULL,
                                 .sample = o->sample_every ? sample : NULL,
                                 .user = r,
                                 .steps = o->steps,
                                 .accumulate = o->accumulate,
                                 .clip = o->clip,
                                 .dist = ranks,
                                 .seconds = o->train_seconds,
                                 .folder = o->out,
                                 .lock = r->data.lock,
                                 .resume = r->from,
                                 .mend = o->mend,
                                 .config = r->config,
                                 .data = r->data.identity,
                                 .tokenizer = pal_tokens_tokenizer(r->data.store),
                                 .tokenizer_name = pal_tokens_name(r->data.store),
                                 .save_every = o->save_every ? o->save_every : (o->steps + 19) / 20,
                                 .keep = o->keep,
                                 .evaluate_every = o->eval_every,
                                 .sample_every = o->sample_every,
                                 .go_on = o->go_on,
                                 .watch = r->watch,
                                 .watch_every = o->watch_every,
                                 .noise = o->noise};
    pal_status s = o->find_lr ? lm_find_lr(&opts, &error) : pal_train(&opts, &result, &error);
    if (s == PAL_OK && o->find_lr) return result;
    if (s != PAL_OK && r->from && result.step == 0) stop_at_checkpoint(r, &error);
    if (s != PAL_OK) stop("%s", error.message);
    if (r->from == o->steps && pal_dist_rank(ranks) == 0)
        printf("the run has its %lld steps already; --steps gives it more\n", (long long)r->from);
    if (result.step && result.step < o->steps && pal_dist_rank(ranks) == 0)
        printf("go on with it by: train_lm --resume --out %s\n", o->out);
    return result;
}

/* ---- The end ---- */

static void write_export(const run *r, bool whole)
{
    pal_error error;
    if (!whole)
        printf("not exported: the run has not made all of its steps; --resume --export does it at "
               "their end\n");
    else if (lm_export(&r->o, r->lm, &error) != PAL_OK)
        stop("%s", error.message);
}

/* Returns the status of the program. */
static int finish(run *r, pal_train_result result)
{
    pal_error error;
    int status = EXIT_SUCCESS;
    if (pal_dist_rank(ranks) > 0 || r->o.find_lr) return status;
    char title[256];
    snprintf(title, sizeof title, "%.200s, seed %llu", r->o.model.mixers,
             (unsigned long long)r->o.seed);
    const pal_plot_opts how = {.title = title,
                               .column = "bits_per_byte",
                               .unit = "bits per byte",
                               .reference = r->entropy,
                               .reference_title = "entropy of single tokens"};
    const bool made = result.step > r->from, able = pal_gnuplot_find(NULL) == PAL_OK;
    if ((made || (able && result.step == r->o.steps && lm_plots_are_old(r->o.out))) &&
        pal_plot(r->o.out, how, &error) != PAL_OK) {
        fprintf(stderr, "train_lm: %s%s\n", made ? "" : "warning: ", error.message);
        if (made && able) status = EXIT_FAILURE;
    }
    if (result.best_step)
        printf("best    %.4f bits per byte held out, step %lld\n", result.best,
               (long long)result.best_step);
    if (r->average) pal_average_swap(r->average);
    if (*r->o.export) write_export(r, result.step == r->o.steps || r->from == r->o.steps);
    if (!r->o.sample || result.signal) return status;
    printf("\nThe model goes on after the first line:\n\n");
    pal_set_grad(r->tape, false);
    lm_data_sample(&r->data, r->lm, r->tape, &r->o, stdout);
    printf("\n");
    return status;
}

int main(int argc, char **argv)
{
    run r = {0};
    pal_error error;
    lm_options_parse(&r.o, argc, argv);
    pal_set_threads((int)r.o.threads);
    const pal_dist_opts how = {
        .sequence_parallel = (int)r.o.sequence_parallel, .bucket = r.o.bucket, .shard = r.o.shard};
    if (pal_dist_start(&ranks, how, &error) != PAL_OK) stop("%s", error.message);
    if (pal_dist_rank(ranks) == 0) checked_files(); /* the others wait for its verdict */
    prepare(&r);
    build(&r);
    introduce(&r);
    pal_stop_install();
    const int status = finish(&r, train(&r));
    pal_tape_free(r.tape);
    pal_watch_free(r.watch);
    pal_average_free(r.average);
    pal_optim_free(r.optim);
    pal_params_free(r.params);
    lm_data_close(&r.data);
    free(r.config);
    pal_dist_end(ranks);
    return status;
}
