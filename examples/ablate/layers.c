/*
 * layers.c - a trained model with one thing taken away from one layer at a time, and what that
 * costs on rows it was not trained on.
 *
 * Every evaluation sees the same rows and runs with the same hook, so that a difference is that of
 * the edit and of nothing else. The unchanged model comes first and again at the end, and has to
 * give the same bits.
 */
#include "examples/ablate/ablate.h"
#include "examples/lm/open.h"
#include "examples/tasks/internal.h"
#include "examples/tasks/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64, BATCHES = 16 };

typedef struct score {
    double loss, accuracy; /* nats of a token; accuracy NaN for text */
} score;

typedef struct subject {
    const layers_opts *how;
    lm_options o;
    task *task;        /* NULL: text */
    pal_tokens *store; /* NULL: a task */
    pal_batches *held;
    pal_lm_file file;
    pal_tape *tape;
    surgeon *surgeon;
    int64_t layers;
    char what[256]; /* it is evaluated on */
    score plain;
    score *at; /* [layers, EDITS] */
} subject;

/* ---- Opening ---- */

/* What the checkpoint names may have been replaced since. */
static void check_store(const subject *x, const char *path)
{
    char now[16];
    snprintf(now, sizeof now, "%08x", (unsigned)pal_tokens_checksum(x->store));
    if (*x->o.data_checksum && strcmp(now, x->o.data_checksum))
        stop("%s has the checksum %s, and what the model was trained on had %s; --data takes a "
             "store nevertheless",
             path, now, x->o.data_checksum);
}

static void open_store(subject *x, const char *data, const char *path)
{
    pal_error error;
    if (pal_tokens_open(&x->store, path, &error) != PAL_OK)
        stop("'%s' is no task of that name and no store of tokens (%s); --data names one", data,
             error.message);
    if (!x->how->data) check_store(x, path);
    /* What was held out, and if nothing was, all of it. */
    const double share = x->o.held_out > 0 ? x->o.held_out : 1;
    x->held =
        pal_batches_new(x->store, (pal_batches_opts){.kind = x->o.packed ? PAL_PACKED : PAL_WINDOWS,
                                                     .batch = x->o.batch,
                                                     .len = x->o.len,
                                                     .seed = x->o.seed,
                                                     .held_out = share,
                                                     .validation = true});
    if (!x->held) stop("%s: no batches", path);
    snprintf(x->what, sizeof x->what, "%s of %.180s, the first %lld batches of %lld x %lld",
             x->o.held_out > 0 ? "the held-out part" : "all (nothing was held out)", data,
             (long long)(x->how->rows ? x->how->rows : BATCHES), (long long)x->o.batch,
             (long long)x->o.len);
}

static void open_data(subject *x)
{
    pal_error error;
    data_source from;
    const char *data = x->how->data ? x->how->data : x->o.data;
    int64_t vocab;
    if (!*data)
        stop("%s: a released model names no data; --data names a task or a store of tokens",
             x->how->checkpoint);
    /* A run on a text has its tokens beside its checkpoints. */
    if (data_find(&from, data, x->how->data ? NULL : x->how->checkpoint, &error) != PAL_OK)
        stop("%s; --data names a task or a store", error.message);
    if (from.task) {
        x->task = from.task;
        vocab = task_vocab(x->task);
        snprintf(x->what, sizeof x->what, "%lld test rows of each point of %.180s",
                 (long long)(x->how->rows ? x->how->rows : ROWS), task_text(x->task));
    } else {
        open_store(x, data, from.path);
        vocab = pal_tokens_vocab_size(x->store);
    }
    if (!x->o.model.vocab) x->o.model.vocab = vocab;
    if (x->o.model.vocab < vocab)
        stop("the model knows %lld tokens, and the data have %lld", (long long)x->o.model.vocab,
             (long long)vocab);
}

static void open_subject(subject *x)
{
    pal_error error;
    if (lm_open(&x->file, &x->o, x->how->checkpoint, (lm_how){x->how->last, x->how->bf16},
                &error) != PAL_OK)
        stop("--layers: %s", error.message);
    open_data(x);
    x->tape = pal_tape_new();
    pal_set_grad(x->tape, false);
    x->layers = pal_lm_options(x->file.lm).layers;
    x->surgeon = surgeon_new(x->file.params, x->tape, x->layers);
    x->at = calloc((size_t)(x->layers * EDITS), sizeof *x->at);
    if (!x->at) stop("out of memory");
}

static void close_subject(subject *x)
{
    surgeon_free(x->surgeon);
    free(x->at);
    pal_batches_free(x->held);
    pal_tokens_close(x->store);
    pal_tape_free(x->tape);
    pal_lm_close(&x->file);
    task_free(x->task);
}

/* ---- Evaluating ---- */

/* A few rows of a point, marked as task_test marks them. */
static void add_rows(subject *x, task_score *sum, int point, int64_t first, int64_t B, int64_t T,
                     int64_t *tokens, int64_t *targets)
{
    task_rows(x->task, TASK_TEST, point, x->o.seed, first, B, tokens, targets);
    pal_tensor logits = PAL_NONE;
    for (int pass = 0; pass < surgeon_passes(x->surgeon); pass++) {
        surgeon_pass(x->surgeon, pass);
        pal_tape_reset(x->tape);
        pal_tensor in = pal_from(x->tape, PAL_I64, PAL_SHAPE(B, T), tokens);
        logits = pal_lm_logits(x->file.lm, in, surgeon_opts(x->surgeon));
    }
    const pal_array all = pal_value(logits);
    task_mark(sum, &all, targets, B, T, all.shape[2]);
}

/* Means over the points, each as a study has it. */
static score score_task(subject *x)
{
    score mean = {0, 0};
    const int64_t rows = x->how->rows ? x->how->rows : ROWS;
    const int points = task_points(x->task, TASK_TEST);
    for (int p = 0; p < points; p++) {
        task_score sum = {0};
        const int64_t T = task_point_at(x->task, TASK_TEST, p).len;
        const int64_t most = task_rows_at_once(x->o.model.vocab, T, rows);
        int64_t *tokens = malloc((size_t)(2 * most * T) * sizeof *tokens);
        if (!tokens) stop("out of memory");
        for (int64_t first = 0; first < rows; first += most) {
            const int64_t B = rows - first < most ? rows - first : most;
            add_rows(x, &sum, p, first, B, T, tokens, tokens + most * T);
        }
        free(tokens);
        if (!sum.asked) stop("the test rows ask nothing");
        mean.loss += sum.loss / (double)sum.asked / points;
        mean.accuracy += sum.accuracy / (double)sum.asked / points;
    }
    return mean;
}

static score score_text(subject *x)
{
    pal_error error;
    const int64_t batches = x->how->rows ? x->how->rows : BATCHES;
    double nats = 0, counted = 0;
    if (pal_batches_seek(x->held, (pal_position){0}, &error) != PAL_OK) stop("%s", error.message);
    for (int64_t i = 0; i < batches; i++) {
        const pal_position here = pal_batches_position(x->held);
        pal_batch b = {.end = true};
        double loss = 0;
        for (int pass = 0; pass < surgeon_passes(x->surgeon); pass++) {
            pal_tape_reset(x->tape);
            surgeon_pass(x->surgeon, pass);
            if (pal_batches_seek(x->held, here, &error) != PAL_OK ||
                pal_batches_next(x->held, x->tape, &b, &error) != PAL_OK)
                stop("%s", error.message);
            if (b.end) break;
            pal_run_opts how = surgeon_opts(x->surgeon);
            how.offsets = b.offsets;
            loss = pal_item(pal_lm_loss(x->file.lm, b.tokens, b.targets, how));
        }
        if (b.end) break;
        nats += loss * (double)b.counted;
        counted += (double)b.counted;
    }
    if (counted == 0) stop("the held-out part is empty");
    return (score){nats / counted, NAN};
}

static score evaluate(subject *x, int64_t layer, edit e)
{
    surgeon_begin(x->surgeon, layer, e);
    const score s = x->task ? score_task(x) : score_text(x);
    surgeon_end(x->surgeon);
    pal_tape_reset(x->tape);
    return s;
}

static void evaluate_all(subject *x)
{
    x->plain = evaluate(x, -1, NOTHING);
    for (int64_t l = 0; l < x->layers; l++)
        for (edit e = SKIP; e < EDITS; e++)
            if (surgeon_can(x->surgeon, l, e)) x->at[l * EDITS + e] = evaluate(x, l, e);
    const score again = evaluate(x, -1, NOTHING);
    if (memcmp(&again.loss, &x->plain.loss, sizeof again.loss))
        stop("the unchanged model had a loss of %.17g, and has %.17g at the end", x->plain.loss,
             again.loss);
}

/* ---- What came out ---- */

/* What is no number has a sign, which says nothing. */
static double signless(double x) { return isnan(x) ? (double)NAN : x; }

/* Of the loss. */
static double change_of(const subject *x, int64_t layer, edit e)
{
    return signless(x->at[layer * EDITS + e].loss - x->plain.loss);
}

static void put_change(FILE *to, double change)
{
    if (isnan(change))
        fprintf(to, " nan |");
    else if (change == 0)
        fprintf(to, " 0 |");
    else
        fprintf(to, " %+.4f |", change);
}

static void put_table(FILE *to, const subject *x, bool accuracy)
{
    fprintf(to, "\n| layer | mixer |");
    for (edit e = SKIP; e < EDITS; e++) fprintf(to, " %s |", edit_title(e));
    fprintf(to, "\n|---|---|");
    for (edit e = SKIP; e < EDITS; e++) fprintf(to, "---|");
    fprintf(to, "\n");
    for (int64_t l = 0; l < x->layers; l++) {
        fprintf(to, "| %lld | %s |", (long long)l, pal_mixer_name(pal_lm_mixer(x->file.lm, l)));
        for (edit e = SKIP; e < EDITS; e++) {
            const score *s = &x->at[l * EDITS + e];
            if (!surgeon_can(x->surgeon, l, e))
                fprintf(to, " |");
            else
                put_change(to, accuracy ? s->accuracy - x->plain.accuracy : change_of(x, l, e));
        }
        fprintf(to, "\n");
    }
}

static void put_markdown(FILE *to, const void *what)
{
    const subject *x = what;
    fprintf(to,
            "# Layer by layer: %s\n\n%lld layers of width %lld, `%s`.\nEvaluated on %s.\n\nThe "
            "unchanged model has a loss of %.6f nats a token",
            x->how->checkpoint, (long long)x->layers, (long long)x->o.model.width,
            x->o.model.mixers, x->what, x->plain.loss);
    if (x->task) fprintf(to, " and an accuracy of %.4f", x->plain.accuracy);
    fprintf(to, ". What is added to the loss by one change in one layer (empty: the mixer has no "
                "such thing):\n");
    put_table(to, x, false);
    if (!x->task) return;
    fprintf(to, "\nThe same for accuracy:\n");
    put_table(to, x, true);
}

static void put_csv(FILE *to, const void *what)
{
    const subject *x = what;
    fprintf(to, "layer,mixer,edit,loss,change,accuracy,accuracy_change\n");
    fprintf(to, "-1,all,none,%.17g,0,%.9g,0\n", signless(x->plain.loss), x->plain.accuracy);
    for (int64_t l = 0; l < x->layers; l++) {
        for (edit e = SKIP; e < EDITS; e++) {
            const score *s = &x->at[l * EDITS + e];
            if (surgeon_can(x->surgeon, l, e))
                fprintf(to, "%lld,%s,%s,%.17g,%.9g,%.9g,%.9g\n", (long long)l,
                        pal_mixer_name(pal_lm_mixer(x->file.lm, l)), edit_name(e),
                        signless(s->loss), change_of(x, l, e), s->accuracy,
                        signless(s->accuracy - x->plain.accuracy));
        }
    }
}

/* The changes that are infinite or no number, "(layer 0, no convolution: inf; ..)", which no bar
 * can show: as in the table they are other than what a mixer does not have. How many have a bar. */
static int list_endless(const subject *x, char *text, size_t size)
{
    enum { TOLD = 3 };
    size_t n = 0;
    int bars = 0, endless = 0;
    *text = '\0';
    for (int64_t l = 0; l < x->layers; l++) {
        for (edit e = SKIP; e < EDITS && n < size; e++) {
            if (!surgeon_can(x->surgeon, l, e)) continue;
            const double change = change_of(x, l, e);
            bars += isfinite(change) != 0;
            if (isfinite(change) || ++endless > TOLD) continue;
            n += (size_t)snprintf(text + n, size - n, "%slayer %lld, %s: %g", n ? "; " : "(",
                                  (long long)l, edit_title(e), change);
        }
    }
    if (endless > TOLD && n < size)
        n += (size_t)snprintf(text + n, size - n, "; %d more", endless - TOLD);
    if (n && n < size) snprintf(text + n, size - n, ")");
    return bars;
}

static void put_title(FILE *to, const subject *x, const char *endless)
{
    char *title;
    if (asprintf(&title, "%s, seed %llu, on %s", x->o.model.mixers, (unsigned long long)x->o.seed,
                 x->task ? task_name(x->task) : "held-out text") < 0)
        stop("out of memory");
    fprintf(to, "set title ");
    picture_quote(to, title);
    free(title);
    if (*endless) fprintf(to, " . \"\\n\" . ");
    if (*endless) picture_quote(to, endless);
}

static const char *block_of(bool accuracy) { return accuracy ? "$accuracy" : "$loss"; }

/* The height of a bar: what an edit of a layer takes from the accuracy or adds to the loss; NAN
 * where it cannot be made.
 */
static double height_of(const subject *x, int64_t l, edit e, bool accuracy)
{
    const score *s = &x->at[l * EDITS + e];
    if (!surgeon_can(x->surgeon, l, e)) return NAN;
    return accuracy ? x->plain.accuracy - s->accuracy : s->loss - x->plain.loss;
}

/* A line for each layer, a column for each change. */
static void put_data(FILE *to, const subject *x, bool accuracy)
{
    fprintf(to, "%s << END\n", block_of(accuracy));
    for (int64_t l = 0; l < x->layers; l++) {
        fprintf(to, "\"%lld %s\"", (long long)l, pal_mixer_name(pal_lm_mixer(x->file.lm, l)));
        for (edit e = SKIP; e < EDITS; e++) {
            const double change = height_of(x, l, e, accuracy);
            if (isfinite(change))
                fprintf(to, " %.9g", change);
            else
                fprintf(to, " NaN");
        }
        fprintf(to, "\n");
    }
    fprintf(to, "END\n");
}

/* gnuplot warns of a range that is empty. */
static bool all_zero(const subject *x, bool accuracy)
{
    for (int64_t l = 0; l < x->layers; l++)
        for (edit e = SKIP; e < EDITS; e++) {
            const double change = height_of(x, l, e, accuracy);
            if (isfinite(change) && change != 0) return false;
        }
    return true;
}

/* A group of bars for each layer, a colour for each change. */
static void put_panel(FILE *to, const subject *x, bool accuracy)
{
    const char *block = block_of(accuracy), *between = "plot ";
    fprintf(to, "\nset yrange [%s]\nset ylabel '%s'\n", all_zero(x, accuracy) ? "-1:1" : "*:*",
            accuracy ? "taken from the accuracy" : "added to the loss (nats a token)");
    for (edit e = SKIP; e < EDITS; e++) {
        bool any = false;
        for (int64_t l = 0; l < x->layers; l++) any = any || surgeon_can(x->surgeon, l, e);
        if (!any) continue;
        fprintf(to, "%s%s using %d:xtic(1) lc rgb '%s' title '%s'", between, block, (int)e + 1,
                picture_colour((int)e - 1), edit_title(e));
        between = ", ";
    }
    fprintf(to, "\n");
}

/* Of a task two panels: where the loss grows out of sight, accuracy still tells one change from
 * another. */
static void draw(pal_script *script, const void *what)
{
    const subject *x = what;
    FILE *to = script->to;
    char endless[512];
    list_endless(x, endless, sizeof endless);
    picture_begin(script, "layers.svg", 860, x->task ? 640 : 400);
    fprintf(to, "set style data histograms\nset style histogram clustered gap 1\n"
                "set style fill solid 0.8\nset xlabel 'layer'\n");
    put_data(to, x, false);
    if (x->task) put_data(to, x, true);
    if (x->task) fprintf(to, "set multiplot layout 2,1\n");
    put_title(to, x, endless);
    put_panel(to, x, false);
    if (x->task) fprintf(to, "unset title\n");
    if (x->task) put_panel(to, x, true);
    if (x->task) fprintf(to, "unset multiplot\n");
}

static void draw_layers(const subject *x)
{
    pal_error error;
    char endless[512];
    if (list_endless(x, endless, sizeof endless) == 0)
        fprintf(stderr, "ablate: no layers.svg, for there is no finite change\n");
    else if (pal_gnuplot_draw(x->how->out, draw, x, &error) != PAL_OK)
        fprintf(stderr, "ablate: %s\n", error.message);
}

void layers_run(const layers_opts *how)
{
    subject x = {.how = how};
    pal_error error;
    pal_lock *lock;
    open_subject(&x);
    if (pal_run_make(how->out, &error) != PAL_OK || pal_run_lock(&lock, how->out, &error) != PAL_OK)
        stop("%s", error.message);
    evaluate_all(&x);
    /* The figure of another model does not stay beside the numbers of this one. */
    if (picture_remove(how->out, "layers.svg", &error) != PAL_OK ||
        text_write(how->out, "layers.csv", put_csv, &x, false, &error) != PAL_OK ||
        text_write(how->out, "layers.md", put_markdown, &x, true, &error) != PAL_OK)
        stop("%s", error.message);
    draw_layers(&x);
    pal_run_unlock(lock);
    close_subject(&x);
}
