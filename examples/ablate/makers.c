/*
 * makers.c - which versions of the program, with which kernels, made the results of a study.
 *
 * A result stays valid when the code changes, for most changes do not touch it and a study may take
 * hours. So it is told instead.
 */
#include "examples/ablate/ablate.h"

#include <string.h>

void makers_add(makers *m, const result *x)
{
    int i = 0;
    m->seconds += x->seconds, m->all++;
    while (i < m->n && (strcmp(m->at[i].code, x->code) || strcmp(m->at[i].kernels, x->kernels) ||
                        (m->machines && strcmp(m->at[i].machine, x->machine))))
        i++;
    if (i == MOST_MAKERS) {
        struct maker *last = &m->at[--i];
        snprintf(last->code, sizeof last->code, "others");
        last->kernels[0] = last->machine[0] = '\0';
    } else if (i == m->n) {
        struct maker *next = &m->at[m->n++];
        *next = (struct maker){.runs = 0};
        snprintf(next->code, sizeof next->code, "%s", x->code);
        snprintf(next->kernels, sizeof next->kernels, "%s", x->kernels);
        snprintf(next->machine, sizeof next->machine, "%s", x->machine);
    }
    m->at[i].runs++;
}

void makers_print(FILE *to, const makers *m)
{
    const char *code = pal_code_version(), *kernels = pal_kernels_in_use();
    if (!m->n ||
        (m->n == 1 && strcmp(m->at[0].code, code) == 0 && strcmp(m->at[0].kernels, kernels) == 0))
        return;
    fprintf(to, "\nNot all runs were made by this version of ablate (%s, %s), but:\n\n", code,
            kernels);
    for (int i = 0; i < m->n; i++) {
        const struct maker *at = &m->at[i];
        fprintf(to, "- %d by %s%s%s\n", at->runs, *at->code ? at->code : "one that is not noted",
                *at->kernels ? ", " : "", at->kernels);
    }
}

static void put_made(FILE *to, const void *what)
{
    const results *x = what;
    makers m = {.machines = true};
    for (int t = 0; t < x->study->tasks; t++)
        for (int v = 0; v < x->study->variants; v++)
            for (int i = 0; i < x->study->seeds; i++)
                if (x->at[t][v][i]) makers_add(&m, x->at[t][v][i]);
    fprintf(to, "%d runs, each on one thread, took %.2f core-hours.\n\n", m.all, m.seconds / 3600);
    for (int i = 0; i < m.n; i++) {
        const struct maker *at = &m.at[i];
        fprintf(to, "- %d by %s%s%s%s%s\n", at->runs, *at->code ? at->code : "a version not noted",
                *at->kernels ? ", " : "", at->kernels, *at->machine ? ", " : "", at->machine);
    }
}

pal_status makers_write(const results *x, const char *folder, pal_error *error)
{
    return text_write(folder, "made.md", put_made, x, false, error);
}
