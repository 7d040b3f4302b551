/*
 * print.c - what people read: rows, looks at a run, and the table of its results.
 */
#include "examples/tasks/internal.h"
#include "tensor/number.h"

#include <string.h>

/* ---- Rows ---- */

/* Bytes of a text; what is asked for stands in brackets. */
static void print_text(const int64_t *tokens, const int64_t *targets, int64_t len, FILE *to)
{
    bool asked = false;
    if (len > 0) fputc((int)tokens[0], to);
    for (int64_t i = 0; i < len; i++) {
        const bool asks = targets[i] != PAL_IGNORE;
        if (asks != asked) fputc(asks ? '[' : ']', to);
        asked = asks;
        if (asks)
            fputc((int)targets[i], to);
        else if (i + 1 < len)
            fputc((int)tokens[i + 1], to);
    }
    fputs(asked ? "]\n" : "\n", to);
}

void task_print(const task *t, const int64_t *tokens, const int64_t *targets, int64_t len, FILE *to)
{
    char word[TASK_WORD];
    if (!t->kind->word) {
        print_text(tokens, targets, len, to);
        return;
    }
    for (int64_t i = 0; i < len; i++) {
        t->kind->word(t, tokens[i], word);
        if (i) fputc(' ', to);
        if (targets[i] == PAL_IGNORE) {
            fputs(word, to);
            continue;
        }
        fprintf(to, "[%s: ", word);
        t->kind->word(t, targets[i], word);
        fprintf(to, "%s]", word);
    }
    fputc('\n', to);
}

/* ---- A run ---- */

void task_print_head(const task *t, FILE *to)
{
    fprintf(to, "%s of tests by %s\n  step     loss", t->kind->bits ? "bits a byte" : "accuracy",
            t->kind->level);
    for (int i = 0; i < t->points[TASK_TEST]; i++)
        fprintf(to, " %8lld", (long long)t->point[TASK_TEST][i].level);
    fputc('\n', to);
    fflush(to);
}

void task_print_look(const task *t, const task_look *look, FILE *to)
{
    PAL_C_LOCALE;
    fprintf(to, "%6lld %8.4f", (long long)look->step, look->loss);
    for (int i = 0; i < look->points; i++) fprintf(to, " %8.3f", task_measure(t, &look->scores[i]));
    fputc('\n', to);
    fflush(to);
}

void task_print_result(const task *t, const task_result *r, FILE *to)
{
    PAL_C_LOCALE;
    size_t wide = strlen("test");
    for (int i = 0; i < r->points; i++) {
        const size_t n = strlen(t->point[TASK_TEST][i].name);
        if (n > wide) wide = n;
    }
    fprintf(to, "\n%-*s  accuracy  whole rows    loss\n", (int)wide, "test");
    for (int i = 0; i < r->points; i++)
        fprintf(to, "%-*s  %8.3f  %10.3f  %6.3f\n", (int)wide, t->point[TASK_TEST][i].name,
                r->scores[i].accuracy, r->scores[i].whole, r->scores[i].loss);
    fflush(to);
}
