/*
 * statistics.c - gates and decay of a model over many rows or a long text.
 *
 * A hook sees the gates of every layer while the model runs, 1024 tokens at a time. For each head
 * and gate there are count, sums and a histogram, from which the quantiles are taken: they are
 * right to a bin, and the least and largest values are exact.
 */
#include "examples/inspect/statistics.h"
#include "examples/lm/text.h"
#include "tensor/number.h"
#include "tensor/stream.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1024, BINS = 200, GATES = 5 };

/* How a hook calls it, how it is called here, and the edges of its histogram; of dt those of its
 * logarithm to the base of 2. */
static const struct gate {
    const char *seen, *name;
    double low, high;
} gates[GATES] = {{"g", "decay", 0, 1},
                  {"b", "erase", 0, 2},
                  {"w", "write", 0, 2},
                  {"beta", "beta", 0, 2},
                  {"dt", "dt", -20, 12}};
enum { DECAY = 0, DT = 4 };

/* One gate of one head. */
typedef struct tally {
    int64_t layer, head, channels, count;
    int gate;
    double from, sum, squares; /* sums of what lies above the first value, which is `from` */
    double log_decay, least, most;
    int64_t bin[BINS];
} tally;

typedef struct statistics {
    const pal_lm *lm;
    tally *tally;
    int64_t tallies, room, rows, tokens;
    look_opts only;
    pal_status status;
    pal_error *error;
} statistics;

/* ---- Counting ---- */

static tally *tally_of(statistics *s, int64_t layer, int gate, int64_t head, int64_t channels)
{
    for (int64_t i = s->tallies - 1; i >= 0; i--) {
        tally *t = &s->tally[i];
        if (t->layer == layer && t->gate == gate && t->head == head) return t;
    }
    if (s->tallies == s->room) {
        s->room = s->room ? 2 * s->room : 64;
        tally *more = realloc(s->tally, (size_t)s->room * sizeof *more);
        if (!more) return NULL;
        s->tally = more;
    }
    tally *t = &s->tally[s->tallies++];
    *t = (tally){.layer = layer,
                 .head = head,
                 .channels = channels,
                 .gate = gate,
                 .least = INFINITY,
                 .most = -INFINITY};
    return t;
}

static void count(tally *t, double x)
{
    const struct gate *g = &gates[t->gate];
    if (t->gate == DECAY) {
        t->log_decay += x;
        x = exp(x);
    }
    const double at = t->gate == DT ? (x > 0 ? log2(x) : g->low) : x;
    int64_t bin = (int64_t)floor((at - g->low) / (g->high - g->low) * BINS);
    bin = bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin;
    if (t->count == 0) t->from = x;
    t->bin[bin]++;
    t->count++;
    t->sum += x - t->from;
    t->squares += (x - t->from) * (x - t->from);
    if (x < t->least) t->least = x;
    if (x > t->most) t->most = x;
}

/* A gate is [1,T,heads] or [1,T,heads,channels]. */
static void count_all(statistics *s, int64_t layer, int gate, pal_tensor t)
{
    const pal_shape shape = pal_shape_of(t);
    const pal_array a = pal_value(pal_contiguous(pal_cast(t, PAL_F64)));
    const int64_t T = shape.dim[1], heads = shape.dim[2];
    const int64_t width = shape.ndim > 3 ? shape.dim[3] : 1;
    for (int64_t h = 0; h < heads; h++) {
        if (s->only.head >= 0 && s->only.head != h) continue;
        tally *own = tally_of(s, layer, gate, h, width);
        if (!own) {
            s->status = pal_error_set(s->error, PAL_ENOMEM, "out of memory for statistics");
            return;
        }
        for (int64_t i = 0; i < T; i++)
            for (int64_t c = 0; c < width; c++)
                count(own, ((const double *)a.data)[(i * heads + h) * width + c]);
    }
}

static bool look(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    statistics *s = user;
    if (s->only.layer >= 0 && s->only.layer != layer) return true;
    for (int g = 0; g < GATES && s->status == PAL_OK; g++)
        if (strcmp(gates[g].seen, name) == 0 && pal_shape_of(*t).ndim >= 3)
            count_all(s, layer, g, *t);
    return true;
}

/* ---- Rows and texts ---- */

/* One sequence from its start. */
static pal_status read_sequence(statistics *s, const int64_t *id, int64_t n)
{
    const int64_t vocab = pal_lm_options(s->lm).vocab;
    for (int64_t i = 0; i < n; i++)
        if (id[i] < 0 || id[i] >= vocab)
            return pal_error_set(s->error, PAL_EVALUE, "token %lld is %lld of %lld", (long long)i,
                                 (long long)id[i], (long long)vocab);
    pal_tape *tape = pal_tape_new();
    pal_lm_state *state = pal_lm_state_new(s->lm);
    const pal_run_opts run = {.hook = look, .user = s};
    pal_set_grad(tape, false);
    for (int64_t at = 0; at < n && s->status == PAL_OK; at += CHUNK) {
        const int64_t size = n - at < CHUNK ? n - at : CHUNK;
        pal_lm_step(s->lm, state, pal_from(tape, PAL_I64, PAL_SHAPE(1, size), id + at), run);
        pal_tape_reset(tape);
    }
    s->rows++;
    s->tokens += n;
    pal_lm_state_free(state);
    pal_tape_free(tape);
    return s->status;
}

static pal_status read_file(statistics *s, const char *path, pal_tokenizer *tokenizer)
{
    lm_text text;
    pal_token_ids ids = {.id = NULL};
    pal_status status = lm_text_read(&text, path, s->error);
    if (status == PAL_OK)
        status = pal_tokenizer_encode_with(tokenizer, text.byte, text.size,
                                           (pal_encode_opts){.begin = true}, &ids, s->error);
    if (status == PAL_OK && ids.count == 0)
        status = pal_error_set(s->error, PAL_EVALUE, "%s: the text is empty", path);
    if (status == PAL_OK) status = read_sequence(s, ids.id, ids.count);
    pal_token_ids_free(&ids);
    lm_text_free(&text);
    return status;
}

static pal_status read_rows(statistics *s, const source_opts *source, const source_model *m,
                            int64_t wanted)
{
    source_opts one = *source;
    pal_status status = PAL_OK;
    for (int64_t i = 0; i < wanted && status == PAL_OK; i++) {
        rows r = {.id = NULL};
        one.row = source->row + i;
        status = source_rows(&r, &one, m, s->error);
        if (status != PAL_OK && i > 0 && s->error->status == PAL_EVALUE) {
            rows_free(&r);
            return PAL_OK; /* the data end */
        }
        if (status == PAL_OK) status = read_sequence(s, r.id, r.count);
        rows_free(&r);
    }
    return status;
}

/* ---- What was counted ---- */

/* The value below which a share of the counts lies. */
static double quantile(const tally *t, double share)
{
    const struct gate *g = &gates[t->gate];
    const double wanted = share * (double)t->count;
    double before = 0, at = g->high;
    for (int i = 0; i < BINS; i++) {
        const double here = (double)t->bin[i];
        if (before + here >= wanted && here > 0) {
            at = g->low + (g->high - g->low) * (i + (wanted - before) / here) / BINS;
            break;
        }
        before += here;
    }
    if (t->gate == DT) at = exp2(at);
    return at < t->least ? t->least : at > t->most ? t->most : at;
}

enum { COLUMNS = 8 };
static const char *const columns[COLUMNS] = {"mean",   "deviation", "least", "p05",
                                             "median", "p95",       "most",  "half_life"};

/* half_life: tokens after which half is left, by the mean log-decay; of others than decay NaN. */
static void measure(const tally *t, double x[COLUMNS])
{
    const double n = (double)t->count, above = t->sum / n, square = t->squares / n - above * above;
    const double all[COLUMNS] = {
        t->from + above,  sqrt(square > 0 ? square : 0),
        t->least,         quantile(t, 0.05),
        quantile(t, 0.5), quantile(t, 0.95),
        t->most,          t->gate == DECAY ? log(0.5) * n / t->log_decay : NAN};
    memcpy(x, all, sizeof all);
}

static int by_place(const void *a, const void *b)
{
    const tally *x = a, *y = b;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    if (x->gate != y->gate) return x->gate < y->gate ? -1 : 1;
    return x->head < y->head ? -1 : x->head > y->head;
}

/* In quotation marks, which are doubled. */
static void quoted(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++) fputs(*text == '"' ? "\"\"" : (const char[]){*text, 0}, to);
    fputc('"', to);
}

static void print_csv(FILE *to, const statistics *s, const char *model)
{
    PAL_C_LOCALE;
    for (int64_t i = 0; i < s->tallies; i++) {
        const tally *t = &s->tally[i];
        double x[COLUMNS];
        measure(t, x);
        quoted(to, model);
        fprintf(to, ",%lld,%s,%lld,%s,%lld,%lld", (long long)t->layer,
                pal_mixer_name(pal_lm_mixer(s->lm, t->layer)), (long long)t->head,
                gates[t->gate].name, (long long)t->channels, (long long)t->count);
        for (int c = 0; c < COLUMNS; c++)
            if (isnan(x[c]))
                fputc(',', to);
            else
                fprintf(to, ",%.9g", x[c]);
        fputc('\n', to);
    }
}

static void print_screen(FILE *to, const statistics *s, const char *model)
{
    fprintf(to, "\n%s: %lld tokens in %lld rows\n", model, (long long)s->tokens,
            (long long)s->rows);
    fprintf(to, "%5s %-8s %4s %-6s %9s %9s %9s %9s %9s %10s\n", "layer", "mixer", "head", "gate",
            "mean", "deviation", "p05", "median", "p95", "half-life");
    for (int64_t i = 0; i < s->tallies; i++) {
        const tally *t = &s->tally[i];
        double x[COLUMNS];
        measure(t, x);
        fprintf(to, "%5lld %-8s %4lld %-6s %9.4g %9.4g %9.4g %9.4g %9.4g", (long long)t->layer,
                pal_mixer_name(pal_lm_mixer(s->lm, t->layer)), (long long)t->head,
                gates[t->gate].name, x[0], x[1], x[3], x[4], x[5]);
        if (t->gate == DECAY) fprintf(to, " %10.4g", x[7]);
        fputc('\n', to);
    }
}

/* ---- HDF5: a group for each model and gate, with an entry for each layer and head ---- */

static pal_status put(pal_h5 *file, int model, const char *gate, const char *name, pal_dtype dtype,
                      pal_shape shape, void *data, pal_error *error)
{
    char path[128];
    snprintf(path, sizeof path, "/%d/%s/%s", model, gate, name);
    const pal_array a = pal_array_of(dtype, shape, data);
    return pal_h5_put(file, path, &a, error);
}

static pal_status put_gate(pal_h5 *file, int model, int gate, const statistics *s, pal_error *error)
{
    const char *name = gates[gate].name;
    char object[64];
    int64_t n = 0;
    for (int64_t i = 0; i < s->tallies; i++) n += s->tally[i].gate == gate;
    if (n == 0) return PAL_OK;
    int64_t *place = malloc((size_t)n * (3 + BINS) * sizeof *place), *bin = place + 3 * n;
    double *x = malloc((size_t)n * COLUMNS * sizeof *x);
    pal_status status = place && x ? PAL_OK : pal_error_set(error, PAL_ENOMEM, "out of memory");
    for (int64_t i = 0, k = 0; status == PAL_OK && i < s->tallies; i++) {
        const tally *t = &s->tally[i];
        double all[COLUMNS];
        if (t->gate != gate) continue;
        measure(t, all);
        for (int c = 0; c < COLUMNS; c++) x[c * n + k] = all[c];
        place[k] = t->layer, place[n + k] = t->head, place[2 * n + k] = t->count;
        memcpy(bin + k * BINS, t->bin, sizeof t->bin);
        k++;
    }
    static const char *const places[] = {"layer", "head", "count"};
    for (int i = 0; i < 3 && status == PAL_OK; i++)
        status = put(file, model, name, places[i], PAL_I64, PAL_SHAPE(n), place + i * n, error);
    for (int c = 0; c < COLUMNS - (gate != DECAY) && status == PAL_OK; c++)
        status = put(file, model, name, columns[c], PAL_F64, PAL_SHAPE(n), x + c * n, error);
    if (status == PAL_OK)
        status = put(file, model, name, "histogram", PAL_I64, PAL_SHAPE(n, BINS), bin, error);
    snprintf(object, sizeof object, "/%d/%s", model, name);
    if (status == PAL_OK) status = pal_h5_put_number(file, object, "low", gates[gate].low, error);
    if (status == PAL_OK) status = pal_h5_put_number(file, object, "high", gates[gate].high, error);
    free(place);
    free(x);
    return status;
}

static pal_status put_model(pal_h5 *file, int model, const char *name, const statistics *s,
                            pal_error *error)
{
    char object[32];
    pal_status status = PAL_OK;
    for (int g = 0; g < GATES && status == PAL_OK; g++) status = put_gate(file, model, g, s, error);
    snprintf(object, sizeof object, "/%d", model);
    if (status != PAL_OK || s->tallies == 0) return status;
    status = pal_h5_put_text(file, object, "model", name, error);
    if (status == PAL_OK)
        status = pal_h5_put_number(file, object, "tokens", (double)s->tokens, error);
    if (status == PAL_OK) status = pal_h5_put_number(file, object, "rows", (double)s->rows, error);
    return status;
}

/* ---- All models ---- */

typedef struct writer {
    const statistics_opts *o;
    FILE *screen, *csv;
    pal_h5 *file;
    int models;
} writer;

/* One model, which source.c has opened. */
static pal_status of_model(void *user, const source_opts *source, source_model *m, const char *name,
                           pal_error *error)
{
    writer *w = user;
    statistics s = {.lm = m->file.lm, .only = source->look, .error = error};
    pal_status status = w->o->file ? read_file(&s, w->o->file, m->file.tokenizer)
                                   : read_rows(&s, source, m, w->o->rows);
    if (s.tallies > 0) qsort(s.tally, (size_t)s.tallies, sizeof *s.tally, by_place);
    char *shown = ob_shown(name, (int64_t)strlen(name));
    if (status == PAL_OK) print_screen(w->screen, &s, shown);
    if (status == PAL_OK && w->csv) print_csv(w->csv, &s, shown);
    if (status == PAL_OK && w->file) status = put_model(w->file, w->models, shown, &s, error);
    w->models++;
    free(shown);
    free(s.tally);
    return status;
}

static pal_status begin(writer *w, const char *out, pal_error *error)
{
    char path[PAL_PATH];
    pal_status s = pal_run_make(out, error);
    if (s != PAL_OK) return s;
    if (snprintf(path, sizeof path, "%s/statistics.h5", out) >= PAL_PATH)
        return pal_error_set(error, PAL_EVALUE, "--out: the path is too long");
    w->csv = pal_stream_open();
    if (!w->csv) return pal_stream_failed("statistics.csv", error);
    fputs("model,layer,mixer,head,gate,channels,count", w->csv);
    for (int c = 0; c < COLUMNS; c++) fprintf(w->csv, ",%s", columns[c]);
    fputc('\n', w->csv);
    return pal_h5_create(&w->file, path, error);
}

static pal_status finish(writer *w, const char *out, pal_error *error)
{
    char *text = pal_stream_close(w->csv, NULL);
    w->csv = NULL;
    if (!text) return pal_stream_failed("statistics.csv", error);
    pal_status s = pal_run_write(out, "statistics.csv", text, error);
    free(text);
    pal_h5 *file = w->file;
    if (s != PAL_OK) return s;
    w->file = NULL;
    return pal_h5_commit(file, error);
}

pal_status statistics_run(const source_opts *source, const statistics_opts *o, const char *out,
                          FILE *to, pal_error *error)
{
    writer w = {.o = o, .screen = to};
    pal_status s = out ? begin(&w, out, error) : PAL_OK;
    if (s == PAL_OK) s = source_each(source, of_model, &w, error);
    if (s == PAL_OK && out) s = finish(&w, out, error);
    if (w.csv) free(pal_stream_close(w.csv, NULL));
    pal_h5_close(w.file);
    return s;
}
