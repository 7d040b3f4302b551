/*
 * page.c - the page: page.html, with the observation in it as JSON.
 *
 * Long arrays go in as float32 in base64, least byte first: what a browser reads at once. NaN
 * stands for "no number".
 */
#include "examples/inspect/report.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* page.html with memory.js and view.js in it as strings, made by the Makefile: what comes before
 * the data, and after. */
static const char page[] =
#include "page.inc"
    ;
static const char mark[] = "/*DATA*/";

/* ---- JSON ---- */

/* < is written as a number, so that no token can end the script. */
static void quoted(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            fprintf(to, "\\%c", *text);
        else if (*text == '<' || (unsigned char)*text < ' ') /* a char may be unsigned */
            fprintf(to, "\\u%04x", (unsigned)*text);
        else
            fputc(*text, to);
    fputc('"', to);
}

static void base64(FILE *to, const unsigned char *byte, int64_t size)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int64_t i = 0; i < size; i += 3) {
        const int64_t left = size - i;
        const unsigned n = (unsigned)byte[i] << 16 | (unsigned)(left > 1 ? byte[i + 1] : 0) << 8 |
                           (unsigned)(left > 2 ? byte[i + 2] : 0);
        char four[4] = {digit[n >> 18], digit[n >> 12 & 63], digit[n >> 6 & 63], digit[n & 63]};
        if (left < 3) four[3] = '=';
        if (left < 2) four[2] = '=';
        fwrite(four, 1, 4, to);
    }
}

/* Rows of x that are `stride` apart, of which the first cols numbers are wanted. */
static void array(FILE *to, const char *name, const double *x, int64_t rows, int64_t cols,
                  int64_t stride, bool decay)
{
    fprintf(to, ",\"%s\":", name);
    if (!x || cols == 0) {
        fputs("null", to);
        return;
    }
    unsigned char *byte = (unsigned char *)ob_reals((rows * cols + 1) / 2); /* 4 bytes each */
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            const double v = decay ? exp(x[r * stride + c]) : x[r * stride + c];
            const float f = fabs(v) <= (double)FLT_MAX ? (float)v : NAN;
            uint32_t bits;
            memcpy(&bits, &f, sizeof bits);
            for (int i = 0; i < 4; i++)
                byte[4 * (r * cols + c) + i] = (unsigned char)(bits >> 8 * i & 255);
        }
    fprintf(to, "{\"n\":%lld,\"data\":\"", (long long)cols);
    base64(to, byte, 4 * rows * cols);
    fputs("\"}", to);
    free(byte);
}

/* A list of the gates, each with its title and the axis that its channels are of. */
static void put_gates(FILE *to, const ob_head *h)
{
    ob_gate gate[OB_GATES];
    const int n = ob_gates(h, gate);
    fputs(",\"gates\":[", to);
    for (int i = 0; i < n; i++) {
        const ob_gate *g = &gate[i];
        const char axis[2] = {g->axis, 0};
        fprintf(to, "%s{\"name\":\"%s\",\"title\":\"%s\",\"axis\":\"%s\"", i ? "," : "", g->name,
                g->title, axis);
        array(to, "values", g->x, h->T, g->channels, g->stride, g->log);
        fputc('}', to);
    }
    fputc(']', to);
}

static void put_head(FILE *to, const ob_head *h)
{
    const int64_t T = h->T, K = h->K, V = h->V, m = K < V ? K : V, N = T * h->R;
    double *z = ob_reals(N), *written = ob_reals(N * V); /* |w*v| and w*v */
    for (int64_t n = 0; n < N; n++) {
        for (int64_t c = 0; c < V; c++) written[n * V + c] = h->w[n * V + c] * h->v[n * V + c];
        z[n] = ob_norm(written + n * V, V);
    }
    fprintf(to, "{\"model\":%d,\"layer\":%lld,\"head\":%lld,\"rule\":\"%s\",\"K\":%lld,\"V\":%lld",
            h->model, (long long)h->layer, (long long)h->head, ob_rule_name(h->rule), (long long)K,
            (long long)V);
    fprintf(to, ",\"R\":%lld", (long long)h->R);
    array(to, "S", h->S, T, K * V, K * V, false);
    put_gates(to, h);
    array(to, "o", h->o, N, V, V, false);
    array(to, "norm", h->norm, T, 1, 1, false);
    array(to, "update", h->update, T, 1, 1, false);
    array(to, "rank", h->rank, T, 1, 1, false);
    array(to, "sigma", h->sigma, T, m < 16 ? m : 16, m, false);
    array(to, "cosine", h->cosine, T, N, N, false);
    array(to, "error", h->error, T, N, N, false);
    array(to, "A", h->A, N, N, N, false);
    array(to, "z", z, N, 1, 1, false);
    array(to, "k", h->k, N, K, K, false);
    array(to, "written", written, N, V, V, false);
    fputc('}', to);
    free(z);
    free(written);
}

static void put_words(FILE *to, const char *name, const char word[OB_AXIS][OB_SHOWN])
{
    fprintf(to, ",\n\"%s\":[", name);
    for (int i = 0; i < OB_AXIS; i++) {
        if (i) fputc(',', to);
        quoted(to, word[i]);
    }
    fputc(']', to);
}

static void put_data(FILE *to, const observation *ob)
{
    fprintf(to, "{\"about\":");
    quoted(to, ob->about);
    fprintf(to, ",\n\"tokens\":[");
    for (int64_t t = 0; t < ob->T; t++) {
        if (t) fputc(',', to);
        quoted(to, ob->token[t]);
    }
    fprintf(to, "],\n\"models\":[");
    for (int m = 0; m < ob->models; m++) {
        if (m) fputc(',', to);
        quoted(to, ob->model[m]);
    }
    fputc(']', to);
    put_words(to, "keys", ob->key);
    put_words(to, "values", ob->value);
    fprintf(to, ",\n\"heads\":[\n");
    for (int i = 0; i < ob->heads; i++) {
        if (i) fprintf(to, ",\n");
        put_head(to, &ob->head[i]);
    }
    fprintf(to, "]}");
}

pal_status report_page(const observation *ob, const char *folder, pal_error *error)
{
    const char *at = strstr(page, mark);
    FILE *to = pal_stream_open();
    if (!to) return pal_stream_failed("index.html", error);
    fwrite(page, 1, (size_t)(at - page), to);
    put_data(to, ob);
    fputs(at + strlen(mark), to);
    char *text = pal_stream_close(to, NULL);
    pal_status s = text ? PAL_OK : pal_stream_failed("index.html", error);
    if (s == PAL_OK) s = pal_run_write(folder, "index.html", text, error);
    free(text);
    return s;
}
