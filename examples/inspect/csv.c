/*
 * csv.c - all numbers, in long form: a line for each, with the model, layer and head it is of.
 */
#include "examples/inspect/report.h"
#include "tensor/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef void print_fn(FILE *to, const observation *ob, int64_t at);

/* ---- One file each ---- */

/* In quotation marks, which are doubled. */
static void quoted(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++) fputs(*text == '"' ? "\"\"" : (const char[]){*text, 0}, to);
    fputc('"', to);
}

static void which(FILE *to, const observation *ob, const ob_head *h)
{
    quoted(to, ob->model[h->model]);
    fprintf(to, ",%lld,%lld,", (long long)h->layer, (long long)h->head);
}

static void tokens(FILE *to, const observation *ob, int64_t at)
{
    (void)at;
    fprintf(to, "t,token\n");
    for (int64_t t = 0; t < ob->T; t++) {
        fprintf(to, "%lld,", (long long)t);
        quoted(to, ob->token[t]);
        fputc('\n', to);
    }
}

static void heads(FILE *to, const observation *ob, int64_t at)
{
    (void)at;
    fprintf(to, "model,layer,head,rule,K,V,scale,decay_channels,erase_channels,write_channels,"
                "sum_error,layer_error,rows,pairs\n");
    for (int i = 0; i < ob->heads; i++) {
        const ob_head *h = &ob->head[i];
        which(to, ob, h);
        fprintf(to, "%s,%lld,%lld,%.9g,%lld,%lld,%lld,%.3g,", ob_rule_name(h->rule),
                (long long)h->K, (long long)h->V, h->scale, (long long)h->decays,
                (long long)h->erases, (long long)h->writes, h->A_error);
        if (h->given) fprintf(to, "%.3g", h->given_error);
        fprintf(to, ",%lld,%lld\n", (long long)h->R, (long long)h->turns.J);
    }
}

static void gates(FILE *to, const observation *ob, int64_t at)
{
    ob_gate gate[OB_GATES];
    (void)at;
    fprintf(to, "model,layer,head,t,gate,channel,value\n");
    for (int i = 0; i < ob->heads; i++) {
        const ob_head *h = &ob->head[i];
        const int n = ob_gates(h, gate);
        for (const ob_gate *g = gate; g < gate + n; g++)
            for (int64_t k = 0; k < h->T * g->channels; k++) {
                const int64_t t = k / g->channels, c = k % g->channels;
                const double value = g->x[t * g->stride + c];
                which(to, ob, h);
                fprintf(to, "%lld,%s,%lld,%.9g\n", (long long)t, g->name, (long long)c,
                        g->log ? exp(value) : value);
            }
    }
}

static void norms(FILE *to, const observation *ob, int64_t at)
{
    (void)at;
    fprintf(to, "model,layer,head,t,state,change,rank\n");
    for (int i = 0; i < ob->heads; i++) {
        const ob_head *h = &ob->head[i];
        for (int64_t t = 0; h->S && t < h->T; t++) {
            which(to, ob, h);
            fprintf(to, "%lld,%.9g,%.9g,%.9g\n", (long long)t, h->norm[t], h->update[t],
                    h->rank[t]);
        }
    }
}

static void sigma(FILE *to, const observation *ob, int64_t at)
{
    (void)at;
    fprintf(to, "model,layer,head,t,i,sigma\n");
    for (int i = 0; i < ob->heads; i++) {
        const ob_head *h = &ob->head[i];
        const int64_t m = h->K < h->V ? h->K : h->V;
        for (int64_t n = 0; h->S && n < h->T * m; n++) {
            which(to, ob, h);
            fprintf(to, "%lld,%lld,%.9g\n", (long long)(n / m), (long long)(n % m), h->sigma[n]);
        }
    }
}

/* An empty field where there is no number. */
static void field(FILE *to, const double *x, int64_t i)
{
    if (x && !isnan(x[i])) fprintf(to, "%.9g", x[i]);
}

/* A line for each pair of rows. What keys read has no row of its own, so it is the same for all
 * rows of t. */
static void maps(FILE *to, const observation *ob, int64_t at)
{
    (void)at;
    fprintf(to, "model,layer,head,t,s,cosine,error,weight,row_t,row_s\n");
    for (int i = 0; i < ob->heads; i++) {
        const ob_head *h = &ob->head[i];
        const int64_t R = h->R, N = h->T * R;
        for (int64_t n = 0; n < N; n++)
            for (int64_t m = 0; m < (n / R + 1) * R; m++) {
                which(to, ob, h);
                fprintf(to, "%lld,%lld,", (long long)(n / R), (long long)(m / R));
                field(to, h->cosine, n / R * N + m);
                fputc(',', to);
                field(to, h->error, n / R * N + m);
                fputc(',', to);
                field(to, h->A, n * N + m);
                fprintf(to, ",%lld,%lld\n", (long long)(n % R), (long long)(m % R));
            }
    }
}

static void state(FILE *to, const observation *ob, int64_t at)
{
    fprintf(to, "model,layer,head,t,key,value,state\n");
    for (int i = 0; i < ob->heads; i++) {
        const ob_head *h = &ob->head[i];
        for (int64_t n = 0; h->S && n < h->K * h->V; n++) {
            which(to, ob, h);
            fprintf(to, "%lld,%lld,%lld,%.9g\n", (long long)at, (long long)(n / h->V),
                    (long long)(n % h->V), h->S[at * h->K * h->V + n]);
        }
    }
}

/* ---- All of them ---- */

static pal_status write_one(const observation *ob, const char *folder, const char *name,
                            print_fn *print, int64_t at, pal_error *error)
{
    PAL_C_LOCALE;
    FILE *to = pal_stream_open();
    if (!to) return pal_stream_failed(name, error);
    print(to, ob, at);
    char *text = pal_stream_close(to, NULL);
    pal_status s = text ? PAL_OK : pal_stream_failed(name, error);
    if (s == PAL_OK) s = pal_run_write(folder, name, text, error);
    free(text);
    return s;
}

pal_status report_csv(const observation *ob, const char *folder, int64_t at, pal_error *error)
{
    static const struct {
        const char *name;
        print_fn *print;
    } files[] = {{"tokens.csv", tokens}, {"heads.csv", heads}, {"gates.csv", gates},
                 {"norms.csv", norms},   {"sigma.csv", sigma}, {"maps.csv", maps},
                 {"state.csv", state}};
    pal_status s = PAL_OK;
    for (size_t i = 0; s == PAL_OK && i < sizeof files / sizeof *files; i++)
        s = write_one(ob, folder, files[i].name, files[i].print, at, error);
    return s;
}
