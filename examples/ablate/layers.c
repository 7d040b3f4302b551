/*
 * layers.c - a trained model with one thing taken away from one layer at a time, and what that
 * costs on rows it was not trained on.
 *
 * Every evaluation sees the same rows and runs with the same hook, so that a difference is that of
 * the edit and of nothing else. The unchanged model comes first and again at the end, and has to
 * give the same bits.
 */
#include "examples/ablate/subject.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A subject, and what came out of each edit. */
typedef struct examined {
    subject is;
    surgeon *surgeon;
    score plain;
    score *at; /* [layers, EDITS] */
} examined;

static void begin_pass(void *user, int pass) { surgeon_pass(user, pass); }

static score evaluate(examined *x, int64_t layer, edit e)
{
    surgeon_begin(x->surgeon, layer, e);
    const passes how = {surgeon_opts(x->surgeon), surgeon_passes(x->surgeon), begin_pass,
                        x->surgeon};
    const score s = subject_score(&x->is, &how);
    surgeon_end(x->surgeon);
    return s;
}

static void evaluate_all(examined *x)
{
    x->plain = evaluate(x, -1, NOTHING);
    for (int64_t l = 0; l < x->is.layers; l++)
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
static double change_of(const examined *x, int64_t layer, edit e)
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

static void put_table(FILE *to, const examined *x, bool accuracy)
{
    fprintf(to, "\n| layer | mixer |");
    for (edit e = SKIP; e < EDITS; e++) fprintf(to, " %s |", edit_title(e));
    fprintf(to, "\n|---|---|");
    for (edit e = SKIP; e < EDITS; e++) fprintf(to, "---|");
    fprintf(to, "\n");
    for (int64_t l = 0; l < x->is.layers; l++) {
        fprintf(to, "| %lld | %s |", (long long)l, pal_mixer_name(pal_lm_mixer(x->is.file.lm, l)));
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
    const examined *x = what;
    fprintf(to,
            "# Layer by layer: %s\n\n%lld layers of width %lld, `%s`.\nEvaluated on %s.\n\nThe "
            "unchanged model has a loss of %.6f nats a token",
            x->is.how->checkpoint, (long long)x->is.layers, (long long)x->is.o.model.width,
            x->is.o.model.mixers, x->is.what, x->plain.loss);
    if (x->is.task) fprintf(to, " and an accuracy of %.4f", x->plain.accuracy);
    fprintf(to, ". What is added to the loss by one change in one layer (empty: the mixer has no "
                "such thing):\n");
    put_table(to, x, false);
    if (!x->is.task) return;
    fprintf(to, "\nThe same for accuracy:\n");
    put_table(to, x, true);
}

static void put_csv(FILE *to, const void *what)
{
    const examined *x = what;
    fprintf(to, "layer,mixer,edit,loss,change,accuracy,accuracy_change\n");
    fprintf(to, "-1,all,none,%.17g,0,%.9g,0\n", signless(x->plain.loss), x->plain.accuracy);
    for (int64_t l = 0; l < x->is.layers; l++) {
        for (edit e = SKIP; e < EDITS; e++) {
            const score *s = &x->at[l * EDITS + e];
            if (surgeon_can(x->surgeon, l, e))
                fprintf(to, "%lld,%s,%s,%.17g,%.9g,%.9g,%.9g\n", (long long)l,
                        pal_mixer_name(pal_lm_mixer(x->is.file.lm, l)), edit_name(e),
                        signless(s->loss), change_of(x, l, e), s->accuracy,
                        signless(s->accuracy - x->plain.accuracy));
        }
    }
}

/* The changes that are infinite or no number, "(layer 0, no convolution: inf; ..)", which no bar
 * can show: as in the table they are other than what a mixer does not have. How many have a bar. */
static int list_endless(const examined *x, char *text, size_t size)
{
    enum { TOLD = 3 };
    size_t n = 0;
    int bars = 0, endless = 0;
    *text = '\0';
    for (int64_t l = 0; l < x->is.layers; l++) {
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

static void put_title(FILE *to, const examined *x, const char *endless)
{
    char *title;
    if (asprintf(&title, "%s, seed %llu, on %s", x->is.o.model.mixers,
                 (unsigned long long)x->is.o.seed,
                 x->is.task ? task_name(x->is.task) : "held-out text") < 0)
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
static double height_of(const examined *x, int64_t l, edit e, bool accuracy)
{
    const score *s = &x->at[l * EDITS + e];
    if (!surgeon_can(x->surgeon, l, e)) return NAN;
    return accuracy ? x->plain.accuracy - s->accuracy : s->loss - x->plain.loss;
}

static const char *mixer_of(const examined *x, int64_t l)
{
    return pal_mixer_name(pal_lm_mixer(x->is.file.lm, l));
}

/* The layers below the axis. */
static void put_names(FILE *to, const examined *x)
{
    size_t letters = 0, key = 0;
    for (int64_t l = 0; l < x->is.layers; l++)
        if (strlen(mixer_of(x, l)) > letters) letters = strlen(mixer_of(x, l));
    for (edit e = SKIP; e < EDITS; e++)
        if (strlen(edit_title(e)) > key) key = strlen(edit_title(e));
    fprintf(to, "set xtics %s\n", picture_turn(x->is.layers, letters + strlen("12 "), key));
}

/* A line for each layer, a column for each change. */
static void put_data(FILE *to, const examined *x, bool accuracy)
{
    fprintf(to, "%s << END\n", block_of(accuracy));
    for (int64_t l = 0; l < x->is.layers; l++) {
        fprintf(to, "\"%lld %s\"", (long long)l, mixer_of(x, l));
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
static bool all_zero(const examined *x, bool accuracy)
{
    for (int64_t l = 0; l < x->is.layers; l++)
        for (edit e = SKIP; e < EDITS; e++) {
            const double change = height_of(x, l, e, accuracy);
            if (isfinite(change) && change != 0) return false;
        }
    return true;
}

/* A group of bars for each layer, a colour for each change. */
static void put_panel(FILE *to, const examined *x, bool accuracy)
{
    const char *block = block_of(accuracy), *between = "plot ";
    fprintf(to, "\nset yrange [%s]\nset ylabel '%s'\n", all_zero(x, accuracy) ? "-1:1" : "*:*",
            accuracy ? "taken from the accuracy" : "added to the loss (nats a token)");
    for (edit e = SKIP; e < EDITS; e++) {
        bool any = false;
        for (int64_t l = 0; l < x->is.layers; l++) any = any || surgeon_can(x->surgeon, l, e);
        if (!any) continue;
        fprintf(to, "%s%s using %d:xtic(1) lc rgb '%s' title '%s'", between, block, (int)e + 1,
                picture_colour((int)e - 1), edit_title(e));
        between = ", ";
    }
    fprintf(to, "\n");
}

/* Of a task two panels: where the loss grows out of sight, accuracy still tells one change from
 * another. */
static void draw(FILE *to, const void *what)
{
    const examined *x = what;
    char endless[512];
    list_endless(x, endless, sizeof endless);
    fprintf(to, "set style data histograms\nset style histogram clustered gap 1\n"
                "set style fill solid 0.8\nset xlabel 'layer'\n");
    put_names(to, x);
    put_data(to, x, false);
    if (x->is.task) put_data(to, x, true);
    if (x->is.task) fprintf(to, "set multiplot layout 2,1\n");
    put_title(to, x, endless);
    put_panel(to, x, false);
    if (x->is.task) fprintf(to, "unset title\n");
    if (x->is.task) put_panel(to, x, true);
    if (x->is.task) fprintf(to, "unset multiplot\n");
}

static void draw_layers(const examined *x)
{
    pal_error error;
    char endless[512];
    if (list_endless(x, endless, sizeof endless) == 0)
        fprintf(stderr, "ablate: no layers.svg, for there is no finite change\n");
    else if (picture_draw(x->is.how->out, "layers", 860, x->is.task ? 640 : 400, draw, x, &error) !=
             PAL_OK)
        fprintf(stderr, "ablate: %s\n", error.message);
}

void layers_run(const layers_opts *how)
{
    examined x = {.is = {.how = how}};
    pal_error error;
    pal_lock *lock;
    subject_open(&x.is);
    x.surgeon = surgeon_new(x.is.file.params, x.is.tape, x.is.layers);
    x.at = calloc((size_t)(x.is.layers * EDITS), sizeof *x.at);
    if (!x.at) stop("out of memory");
    if (pal_run_make(how->out, &error) != PAL_OK || pal_run_lock(&lock, how->out, &error) != PAL_OK)
        stop("%s", error.message);
    evaluate_all(&x);
    /* The figure of another model does not stay beside the numbers of this one. */
    if (picture_remove(how->out, "layers.svg", &error) != PAL_OK ||
        picture_remove(how->out, "layers.pdf", &error) != PAL_OK ||
        text_write(how->out, "layers.csv", put_csv, &x, false, &error) != PAL_OK ||
        text_write(how->out, "layers.md", put_markdown, &x, true, &error) != PAL_OK)
        stop("%s", error.message);
    draw_layers(&x);
    pal_run_unlock(lock);
    if (how->heads || how->lens || how->patch) analyse(&x.is);
    surgeon_free(x.surgeon);
    free(x.at);
    subject_close(&x.is);
}
