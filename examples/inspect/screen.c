/*
 * screen.c - short tables.
 */
#include "examples/inspect/look.h"
#include "examples/inspect/report.h"
#include "tensor/number.h"

#include <math.h>
#include <string.h>

enum { LINES = 64, READING = 28 }; /* of the table of tokens; characters of a reading */

/* Mean of a gate over its channels and n tokens from t on; a dash where the rule has none. */
static void put_gate(FILE *to, const ob_gate *g, int64_t t, int64_t n)
{
    double sum = 0;
    if (g->channels == 0) {
        fprintf(to, " %7s", "-");
        return;
    }
    for (int64_t i = 0; i < n * g->channels; i++) {
        const double x = g->x[(t + i / g->channels) * g->stride + i % g->channels];
        sum += g->log ? exp(x) : x;
    }
    fprintf(to, " %7.3f", sum / (double)(n * g->channels));
}

enum { COMMON = 3 }; /* gates of every rule; the others are in a table of their own */

static void gates(FILE *to, const ob_head *h, int64_t t, int64_t n)
{
    ob_gate gate[OB_GATES];
    ob_gates(h, gate);
    for (int i = 0; i < COMMON; i++) put_gate(to, &gate[i], t, n);
}

/* Those that only Mamba-3 has; of turns and angles those of pair 0, and angles have no mean. */
static void more_gates(FILE *to, const ob_head *h, int64_t t, int64_t n)
{
    ob_gate gate[OB_GATES];
    const int all = ob_gates(h, gate);
    for (int i = COMMON; i < all; i++) {
        const bool last = strcmp(gate[i].name, "angle") == 0;
        if (gate[i].channels > 1) gate[i].channels = 1;
        put_gate(to, &gate[i], last ? t + n - 1 : t, last ? 1 : n);
    }
}

/* Mean of the cosines in row t of the map, over the keys that have been written. */
static double reads(const ob_head *h, int64_t t)
{
    double sum = 0;
    int64_t n = 0;
    for (int64_t s = 0; s < (t + 1) * h->R; s++) {
        const double x = h->cosine[t * h->T * h->R + s];
        if (!isnan(x)) sum += x, n++;
    }
    return n > 0 ? sum / (double)n : NAN;
}

/* UTF-8 cut to `width` characters and filled up to them. */
static void put_word(FILE *to, const char *word, int width)
{
    int n = 0;
    for (const char *c = word; *c && (n < width || (*c & 0xc0) == 0x80); c++) {
        n += (*c & 0xc0) != 0x80;
        fputc(*c, to);
    }
    fprintf(to, "%*s", width - n, "");
}

static void head_line(FILE *to, const observation *ob, const ob_head *h)
{
    const int64_t m = h->K < h->V ? h->K : h->V, t = h->T - 1;
    put_word(to, ob->model[h->model], 22);
    fprintf(to, " %5lld %4lld  %-8s %4lld %4lld", (long long)h->layer, (long long)h->head,
            ob_rule_name(h->rule), (long long)h->K, (long long)h->V);
    gates(to, h, 0, h->T);
    if (h->rule == OB_ATTENTION)
        fprintf(to, " %8s %8s %6s %6s", "-", "-", "-", "-");
    else
        fprintf(to, " %8.3g %8.3g %6.2f %6.2f", h->norm[t], h->sigma[t * m], h->rank[t],
                reads(h, t));
    fprintf(to, " %8.0e", h->A_error);
    if (h->given)
        fprintf(to, " %8.0e\n", h->given_error);
    else
        fprintf(to, " %8s\n", "-");
}

static void token_table(FILE *to, const observation *ob, const ob_head *h)
{
    const int64_t m = h->K < h->V ? h->K : h->V;
    fprintf(
        to,
        "\n%s, layer %lld, head %lld\n   t token                   decay   erase   write      |S|"
        "   change  sigma 1   rank  reads\n",
        ob->model[h->model], (long long)h->layer, (long long)h->head);
    for (int64_t t = 0; t < h->T && t < LINES; t++) {
        fprintf(to, "%4lld ", (long long)t);
        put_word(to, ob->token[t], 20);
        gates(to, h, t, 1);
        fprintf(to, " %8.3g %8.3g %8.3g %6.2f %6.2f\n", h->norm[t], h->update[t], h->sigma[t * m],
                h->rank[t], reads(h, t));
    }
    if (h->T > LINES)
        fprintf(to, "     ... %lld more, in --out's norms.csv\n", (long long)(h->T - LINES));
}

static const char more_names[] = "    late     lam      dt    turn   angle";

/* What Mamba-3 has besides, by head, and by token if there are few heads. */
static void turn_tables(FILE *to, const observation *ob)
{
    bool any = false;
    for (int i = 0; i < ob->heads; i++) {
        const ob_head *h = &ob->head[i];
        if (h->rule != OB_MAMBA3) continue;
        if (!any) fprintf(to, "\n%-22s layer head  rows pairs%s\n", "model", more_names);
        any = true;
        put_word(to, ob->model[h->model], 22);
        fprintf(to, " %5lld %4lld  %4lld %5lld", (long long)h->layer, (long long)h->head,
                (long long)h->R, (long long)h->turns.J);
        more_gates(to, h, 0, h->T);
        fputc('\n', to);
    }
    if (any)
        fprintf(to,
                "\nwrite is lam dt of a token, late (1 - lam) dt of the write before it; turn and "
                "angle are means\nover pairs, in radians\n");
    for (int i = 0; ob->heads <= 2 && i < ob->heads; i++) {
        const ob_head *h = &ob->head[i];
        if (h->rule != OB_MAMBA3) continue;
        fprintf(to, "\n%s, layer %lld, head %lld\n   t token               %s\n",
                ob->model[h->model], (long long)h->layer, (long long)h->head, more_names);
        for (int64_t t = 0; t < h->T && t < LINES; t++) {
            fprintf(to, "%4lld ", (long long)t);
            put_word(to, ob->token[t], 20);
            more_gates(to, h, t, 1);
            fputc('\n', to);
        }
    }
}

void report_screen(const observation *ob, FILE *to)
{
    PAL_C_LOCALE;
    fprintf(
        to,
        "%lld tokens: %s\n\n%-22s layer head  rule        K    V   decay   erase   write      |S|"
        "  sigma 1   rank  reads   sum A z    layer\n",
        (long long)ob->T, ob->about, "model");
    for (int i = 0; i < ob->heads; i++) head_line(to, ob, &ob->head[i]);
    fprintf(to,
            "\ngates: means over tokens and channels; |S|, sigma 1, rank, reads (mean cosine of "
            "what the keys\nread with what was written): after the last token; sum A z, layer: "
            "errors of o against the sum\nover A, and against the layer's own o\n");
    for (int i = 0; ob->heads <= 2 && i < ob->heads; i++)
        if (ob->head[i].rule != OB_ATTENTION) token_table(to, ob, &ob->head[i]);
    turn_tables(to, ob);
}

void report_readings(const observation *ob, FILE *to)
{
    enum { LEAST = 26, MOST = 48 };
    char text[256];
    int width = LEAST;
    for (int64_t t = 0; t < ob->T; t++)
        while (width < MOST && strlen(ob->token[t]) > (size_t)width) width++;
    fprintf(to, "what is read after each token (scale 1)\n   t %-*s ", width, "token");
    for (int m = 0; m < ob->models; m++) fprintf(to, "%-*s ", READING, ob->model[m]);
    for (int64_t t = 0; t < ob->T; t++) {
        fprintf(to, "\n%4lld ", (long long)t);
        put_word(to, ob->token[t], width);
        fputc(' ', to);
        for (int m = 0; m < ob->models; m++) {
            const ob_head *h = &ob->head[m];
            const bool asks = ob_norm(h->q + t * h->R * h->K, h->K) > 0;
            script_reading(ob, h->o + t * h->R * h->V, h->V, text, sizeof text);
            put_word(to, asks ? text : "", READING);
            fputc(' ', to);
        }
    }
    fprintf(to, "\n\n");
}
