/*
 * patch.c - activation patching: what a clean row has at a place is put into a corrupted row, and
 * how much of the clean answer comes back.
 *
 * The two rows are test rows of the task's first point, or two texts of as many tokens, whose last
 * token of the clean one is the answer. The loss is that of what the clean row asks. A share of 1
 * is the clean run's loss, 0 the corrupted run's.
 */
#include "examples/ablate/arrays.h"
#include "examples/ablate/probe.h"
#include "examples/ablate/subject.h"
#include "examples/lm/text.h"
#include "examples/tasks/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 32 }; /* tokens that are patched in one batch */

typedef struct patching {
    subject *x;
    probe *probe;
    int64_t T;
    int64_t *clean, *corrupted, *targets; /* of one row; targets are the clean row's */
    double best, worst;                   /* losses of the clean run and of the corrupted one */
    double *whole, *heads, *by_token;     /* shares: [layers,4] of places, [layers,H], [layers,T] */
    int64_t H;
} patching;

/* ---- The rows ---- */

static int64_t *row_memory(int64_t T)
{
    int64_t *row = malloc((size_t)T * sizeof *row + 1);
    if (!row) stop("out of memory");
    return row;
}

static void take_rows(patching *p, int64_t clean, int64_t corrupted)
{
    const subject *x = p->x;
    p->T = task_point_at(x->task, TASK_TEST, 0).len;
    int64_t *unused = row_memory(p->T);
    p->clean = row_memory(p->T), p->corrupted = row_memory(p->T), p->targets = row_memory(p->T);
    task_rows(x->task, TASK_TEST, 0, x->o.seed, clean, 1, p->clean, p->targets);
    task_rows(x->task, TASK_TEST, 0, x->o.seed, corrupted, 1, p->corrupted, unused);
    free(unused);
}

static pal_token_ids tokens_of(const subject *x, const char *path)
{
    lm_text text;
    pal_error error;
    pal_token_ids ids = {0};
    if (lm_text_read_most(&text, path, LM_MOST_LINES, &error) != PAL_OK ||
        pal_tokenizer_encode(x->file.tokenizer, text.byte, text.size, &ids, &error) != PAL_OK)
        stop("--patch: %s", error.message);
    lm_text_free(&text);
    return ids;
}

static void take_texts(patching *p, const char *clean, const char *corrupted)
{
    pal_token_ids a = tokens_of(p->x, clean), b = tokens_of(p->x, corrupted);
    if (a.count != b.count || a.count < 2)
        stop("--patch: %s has %lld tokens and %s %lld; as many are wanted, at least 2", clean,
             (long long)a.count, corrupted, (long long)b.count);
    p->T = a.count - 1;
    p->clean = row_memory(p->T), p->corrupted = row_memory(p->T), p->targets = row_memory(p->T);
    for (int64_t i = 0; i < p->T; i++) {
        p->clean[i] = a.id[i], p->corrupted[i] = b.id[i];
        p->targets[i] = i == p->T - 1 ? a.id[p->T] : PAL_IGNORE;
    }
    pal_token_ids_free(&a), pal_token_ids_free(&b);
}

static void take(patching *p)
{
    const char *what = p->x->how->patch, *comma = strchr(what, ',');
    char clean[PAL_PATH];
    int64_t row[2];
    if (!comma) stop("--patch=%.200s should be two rows, I,J, or two texts, FILE,FILE", what);
    snprintf(clean, sizeof clean, "%.*s", (int)(comma - what), what);
    const bool rows = pal_integer_read(clean, &row[0]) && pal_integer_read(comma + 1, &row[1]);
    if (rows && (row[0] < 0 || row[1] < 0 || row[0] == row[1]))
        stop("--patch=%.200s: rows are different numbers from 0 on", what);
    if (rows && !p->x->task)
        stop("--patch=%.200s: the model is examined on a text, so two texts are wanted, FILE,FILE",
             what);
    if (rows)
        take_rows(p, row[0], row[1]);
    else
        take_texts(p, clean, comma + 1);
}

/* ---- Runs ---- */

/* The losses of B rows that are all the same tokens, under the probe. */
static void losses(patching *p, const int64_t *row, int64_t B, double loss[AT_ONCE])
{
    int64_t *tokens = row_memory(B * p->T);
    for (int64_t b = 0; b < B; b++) memcpy(tokens + b * p->T, row, (size_t)p->T * sizeof *row);
    pal_tape_reset(p->x->tape);
    const pal_tensor in = pal_from(p->x->tape, PAL_I64, PAL_SHAPE(B, p->T), tokens);
    const pal_array all = pal_value(pal_lm_logits(p->x->file.lm, in, probe_opts(p->probe)));
    const int64_t V = all.shape[2];
    for (int64_t b = 0; b < B; b++) {
        task_score sum = {0};
        const size_t skip = (size_t)(b * p->T * V) * pal_dtype_size(all.dtype);
        const pal_array one =
            pal_array_of(all.dtype, PAL_SHAPE(1, p->T, V), (char *)all.data + skip);
        task_mark(&sum, &one, p->targets, 1, p->T, V);
        loss[b] = sum.asked ? sum.loss / (double)sum.asked : NAN;
    }
    free(tokens);
    pal_tape_reset(p->x->tape);
}

static double share_of(const patching *p, double loss)
{
    return (p->worst - loss) / (p->worst - p->best);
}

static double patched(patching *p, site at)
{
    double loss[AT_ONCE];
    probe_set(p->probe, BY_PATCH, &at, 1);
    losses(p, p->corrupted, 1, loss);
    probe_clear(p->probe);
    return share_of(p, loss[0]);
}

/* The stream after each layer, one token at a time: as many rows as tokens. */
static void patch_tokens(patching *p, int64_t l)
{
    double loss[AT_ONCE];
    const site each = {l, AT_OUT, 0, PROBE_ROW};
    for (int64_t first = 0; first < p->T; first += AT_ONCE) {
        const int64_t B = p->T - first < AT_ONCE ? p->T - first : AT_ONCE;
        probe_set(p->probe, BY_PATCH, &each, 1);
        probe_first(p->probe, first);
        losses(p, p->corrupted, B, loss);
        for (int64_t b = 0; b < B; b++) p->by_token[l * p->T + first + b] = share_of(p, loss[b]);
    }
    probe_clear(p->probe);
}

static void patch_all(patching *p)
{
    const int64_t L = p->x->layers;
    double loss[AT_ONCE];
    probe_record(p->probe);
    losses(p, p->clean, 1, loss), p->best = loss[0];
    probe_clear(p->probe);
    losses(p, p->corrupted, 1, loss), p->worst = loss[0];
    if (!(p->best != p->worst))
        stop("--patch: both rows have the same loss, so nothing comes back");
    p->H = 1;
    for (int64_t l = 0; l < L; l++)
        if (probe_heads(p->probe, l) > p->H) p->H = probe_heads(p->probe, l);
    p->whole = malloc((size_t)(L * 4) * sizeof *p->whole);
    p->heads = malloc((size_t)(L * p->H) * sizeof *p->heads);
    p->by_token = malloc((size_t)(L * p->T) * sizeof *p->by_token);
    if (!p->whole || !p->heads || !p->by_token) stop("out of memory");
    for (int64_t l = 0; l < L; l++) {
        for (int where = AT_STREAM; where <= AT_OUT; where++) {
            const bool is = where != AT_MLP || probe_has_mlp(p->probe, l);
            p->whole[l * 4 + where] = is ? patched(p, (site){l, (place)where, 0, -1}) : NAN;
        }
        for (int64_t h = 0; h < p->H; h++)
            p->heads[l * p->H + h] =
                h < probe_heads(p->probe, l) ? patched(p, (site){l, AT_HEAD, h, -1}) : NAN;
        patch_tokens(p, l);
        /* All of a layer's stream is the clean run from there on. */
        if (p->whole[l * 4 + AT_OUT] != 1)
            stop("patching all of layer %lld gives a share of %.17g and not 1", (long long)l,
                 p->whole[l * 4 + AT_OUT]);
    }
}

/* ---- What came out ---- */

static void put_csv(FILE *to, const void *what)
{
    const patching *p = what;
    fprintf(to, "place,layer,head_or_token,share\n");
    for (int64_t l = 0; l < p->x->layers; l++) {
        for (int where = AT_STREAM; where <= AT_OUT; where++)
            if (!isnan(p->whole[l * 4 + where]))
                fprintf(to, "%s,%lld,all,%.9g\n", place_name((place)where), (long long)l,
                        p->whole[l * 4 + where]);
        for (int64_t h = 0; h < p->H; h++)
            if (!isnan(p->heads[l * p->H + h]))
                fprintf(to, "head,%lld,%lld,%.9g\n", (long long)l, (long long)h,
                        p->heads[l * p->H + h]);
        for (int64_t t = 0; t < p->T; t++)
            fprintf(to, "token,%lld,%lld,%.9g\n", (long long)l, (long long)t,
                    p->by_token[l * p->T + t]);
    }
}

void patch(subject *x)
{
    patching p = {.x = x, .probe = probe_new(x->tape, x->layers)};
    pal_error error;
    const char *out = x->how->out;
    take(&p);
    patch_all(&p);
    const table2 all[] = {{"place", x->layers, 4, p.whole},
                          {"head", x->layers, p.H, p.heads},
                          {"token", x->layers, p.T, p.by_token}};
    const heat map = {"How much of the clean answer one token's stream brings back", "token",
                      "after layer", "share (1: the clean run)", all[2]};
    printf("\nPatching %s: a loss of %.4f for the clean row, %.4f for the corrupted one\n",
           x->how->patch, p.best, p.worst);
    if (text_write(out, "patch.csv", put_csv, &p, false, &error) != PAL_OK ||
        arrays_write(out, "patch", all, 3, &error) != PAL_OK)
        stop("%s", error.message);
    if (heat_draw(out, "patch", &map, &error) != PAL_OK)
        fprintf(stderr, "ablate: %s\n", error.message);
    probe_free(p.probe);
    free(p.clean), free(p.corrupted), free(p.targets);
    free(p.whole), free(p.heads), free(p.by_token);
}
