/*
 * analyse.c - each head, MLP and pair of layers of a model edited alone, and the logit lens.
 *
 * A change is told with the 95% interval of its mean over rows: each row is compared with itself in
 * the unchanged model, so that hard rows do not count as spread.
 */
#include "examples/ablate/arrays.h"
#include "examples/ablate/probe.h"
#include "examples/ablate/statistics.h"
#include "examples/ablate/subject.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One edit and what it did. */
typedef struct effect {
    const char *what; /* "head", "mixer", "mlp", "pair" */
    int64_t layer, other;
    double change, low, high, accuracy;
} effect;

typedef struct analysis {
    subject *x;
    probe *probe;
    score plain;
    double *row; /* losses of the unchanged model */
    int rows;
    effect *at;
    int n, room;
    score *lens; /* [layers] */
} analysis;

static void begin_pass(void *user, int pass) { probe_pass(user, pass); }

static score run_probe(analysis *a)
{
    const passes how = {probe_opts(a->probe), probe_passes(a->probe), begin_pass, a->probe};
    return subject_score(a->x, &how);
}

static void keep_plain(analysis *a)
{
    a->plain = run_probe(a);
    a->rows = a->x->rows;
    a->row = malloc((size_t)(a->rows + 1) * sizeof *a->row);
    if (!a->row) stop("out of memory");
    memcpy(a->row, a->x->row, (size_t)a->rows * sizeof *a->row);
}

/* ---- Edits ---- */

static void add(analysis *a, const char *what, int64_t layer, int64_t other, const site *at, int n)
{
    if (a->n == a->room) {
        a->room = a->room ? 2 * a->room : 64;
        a->at = realloc(a->at, (size_t)a->room * sizeof *a->at);
        if (!a->at) stop("out of memory");
    }
    probe_set(a->probe, (by)a->x->how->by, at, n);
    const score s = run_probe(a);
    const difference d = statistics_paired(a->x->row, a->row, a->rows);
    a->at[a->n++] = (effect){
        what, layer, other, s.loss - a->plain.loss, d.low, d.high, s.accuracy - a->plain.accuracy};
    probe_clear(a->probe);
}

static void edit_all(analysis *a)
{
    const int64_t layers = a->x->layers;
    for (int64_t l = 0; l < layers; l++) {
        add(a, "mixer", l, -1, &(site){l, AT_MIXER, 0, -1}, 1);
        if (probe_has_mlp(a->probe, l)) add(a, "mlp", l, -1, &(site){l, AT_MLP, 0, -1}, 1);
        for (int64_t h = 0; h < probe_heads(a->probe, l); h++)
            add(a, "head", l, h, &(site){l, AT_HEAD, h, -1}, 1);
    }
    for (int64_t l = 0; l < layers; l++)
        for (int64_t m = l + 1; m < layers; m++) {
            const site both[] = {{l, AT_MIXER, 0, -1}, {m, AT_MIXER, 0, -1}};
            add(a, "pair", l, m, both, 2);
        }
}

static const char *by_name(const analysis *a)
{
    static const char *const names[] = {"zero", "mean", "resample"};
    return names[a->x->how->by];
}

/* ---- Files of the edits ---- */

static void put_csv(FILE *to, const void *what)
{
    const analysis *a = what;
    fprintf(to, "what,by,layer,head_or_layer,change,low,high,accuracy_change\n");
    for (int i = 0; i < a->n; i++) {
        const effect *e = &a->at[i];
        fprintf(to, "%s,%s,%lld,%lld,%.9g,%.9g,%.9g,%.9g\n", e->what, by_name(a),
                (long long)e->layer, (long long)e->other, e->change, e->low, e->high, e->accuracy);
    }
}

static void put_markdown(FILE *to, const void *what)
{
    const analysis *a = what;
    fprintf(
        to,
        "\n# Heads, MLPs and pairs of layers, by %s\n\nOn %s. The unchanged model has a loss of "
        "%.6f nats a token. What is added, with the 95%% interval over %d rows:\n\n"
        "| what | layer | head, or second layer | added to the loss | interval | accuracy |\n"
        "|---|---|---|---|---|---|\n",
        by_name(a), a->x->what, a->plain.loss, a->rows);
    for (int i = 0; i < a->n; i++) {
        const effect *e = &a->at[i];
        char other[24] = "", accuracy[24] = "";
        if (e->other >= 0) snprintf(other, sizeof other, "%lld", (long long)e->other);
        if (!isnan(e->accuracy)) snprintf(accuracy, sizeof accuracy, "%+.4f", e->accuracy);
        fprintf(to, "| %s | %lld | %s | %+.4f | %+.4f..%+.4f%s | %s |\n", e->what,
                (long long)e->layer, other, e->change, e->low, e->high,
                e->low <= 0 && e->high >= 0 ? ", not shown" : "", accuracy);
    }
}

/* The changes of one kind as [layers, columns]; a column for each head or second layer. */
static double *spread_out(const analysis *a, const char *what, int64_t columns)
{
    const int64_t n = a->x->layers * columns;
    double *at = malloc((size_t)n * sizeof *at + 1);
    if (!at) stop("out of memory");
    for (int64_t i = 0; i < n; i++) at[i] = NAN;
    for (int i = 0; i < a->n; i++)
        if (strcmp(a->at[i].what, what) == 0)
            at[a->at[i].layer * columns + (a->at[i].other > 0 ? a->at[i].other : 0)] =
                a->at[i].change;
    return at;
}

static int64_t most_heads(const analysis *a)
{
    int64_t most = 1;
    for (int64_t l = 0; l < a->x->layers; l++)
        if (probe_heads(a->probe, l) > most) most = probe_heads(a->probe, l);
    return most;
}

static void write_heads(const analysis *a)
{
    const int64_t L = a->x->layers, H = most_heads(a);
    double *head = spread_out(a, "head", H), *mixer = spread_out(a, "mixer", 1),
           *mlp = spread_out(a, "mlp", 1), *pair = spread_out(a, "pair", L);
    const table2 all[] = {
        {"head", L, H, head}, {"mixer", L, 1, mixer}, {"mlp", L, 1, mlp}, {"pair", L, L, pair}};
    const heat map = {"What the loss gains when one head is edited", "head", "layer",
                      "nats a token", all[0]};
    const char *out = a->x->how->out;
    pal_error error;
    if (text_write(out, "heads.csv", put_csv, a, false, &error) != PAL_OK ||
        text_write(out, "heads.md", put_markdown, a, true, &error) != PAL_OK ||
        arrays_write(out, "heads", all, 4, &error) != PAL_OK)
        stop("%s", error.message);
    if (heat_draw(out, "heads", &map, &error) != PAL_OK)
        fprintf(stderr, "ablate: %s\n", error.message);
    free(head), free(mixer), free(mlp), free(pair);
}

/* ---- The lens ---- */

static void put_lens(FILE *to, const void *what)
{
    const analysis *a = what;
    fprintf(to, "layer,loss,accuracy\n");
    for (int64_t l = 0; l < a->x->layers; l++)
        fprintf(to, "%lld,%.9g,%.9g\n", (long long)l, a->lens[l].loss, a->lens[l].accuracy);
}

static void draw_lens(FILE *to, const void *what)
{
    const analysis *a = what;
    fprintf(to,
            "set title 'What is known after each layer: its stream read as if it were the last'\n"
            "set xlabel 'layer'\nset xtics 1\nset ylabel 'loss (nats a token)'\n$lens << END\n");
    for (int64_t l = 0; l < a->x->layers; l++)
        if (isfinite(a->lens[l].loss)) fprintf(to, "%lld %.9g\n", (long long)l, a->lens[l].loss);
    fprintf(to, "END\nset xrange [-0.5:%lld.5]\nplot $lens using 1:2 with linespoints ",
            (long long)a->x->layers - 1);
    picture_style(to, 0);
    fprintf(to, " notitle\n");
}

static void read_lens(analysis *a)
{
    const int64_t L = a->x->layers;
    pal_error error;
    double *loss = malloc((size_t)(2 * L) * sizeof *loss);
    a->lens = calloc((size_t)L, sizeof *a->lens);
    if (!a->lens || !loss) stop("out of memory");
    for (int64_t l = 0; l < L; l++) {
        probe_set(a->probe, BY_LENS, &(site){l, AT_OUT, 0, -1}, 1);
        a->lens[l] = run_probe(a);
        loss[2 * l] = a->lens[l].loss, loss[2 * l + 1] = a->lens[l].accuracy;
    }
    probe_clear(a->probe);
    if (memcmp(&a->lens[L - 1].loss, &a->plain.loss, sizeof(double)))
        stop("the lens at the last layer has a loss of %.17g, and the model %.17g",
             a->lens[L - 1].loss, a->plain.loss);
    const table2 all = {"lens", L, 2, loss};
    if (text_write(a->x->how->out, "lens.csv", put_lens, a, true, &error) != PAL_OK ||
        arrays_write(a->x->how->out, "lens", &all, 1, &error) != PAL_OK)
        stop("%s", error.message);
    if (picture_draw(a->x->how->out, "lens", 860, 400, draw_lens, a, &error) != PAL_OK)
        fprintf(stderr, "ablate: %s\n", error.message);
    free(loss);
}

void analyse(subject *x)
{
    analysis a = {.x = x, .probe = probe_new(x->tape, x->layers)};
    keep_plain(&a);
    if (x->how->heads) edit_all(&a), write_heads(&a);
    if (x->how->lens) read_lens(&a);
    probe_free(a.probe);
    free(a.row), free(a.at), free(a.lens);
    if (x->how->patch) patch(x);
}
