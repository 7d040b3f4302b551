/*
 * optimizer.c - the optimiser of a program: keys before those of the user, who has the last word.
 */
#include "examples/lm/optimizer.h"
#include "tensor/number.h"

#include <string.h>

enum { TEXT = 1024 };

static bool is(const char *text, size_t n, const char *name)
{
    return strlen(name) == n && strncmp(text, name, n) == 0;
}

pal_optim *lm_optimizer_new(pal_params *params, const char *text, double decay, double beta2)
{
    char all[TEXT], own[64] = "", number[PAL_NUMBER_TEXT];
    const size_t n = strcspn(text, ":");
    if (is(text, n, "adamw") || is(text, n, "adam"))
        snprintf(own, sizeof own, ":beta2=%s", pal_number_print(beta2, number));
    if (is(text, n, "sgd")) snprintf(own, sizeof own, ":momentum=0.9");
    snprintf(all, sizeof all, "%.*s%s:decay=%s%s", (int)n, text, own,
             pal_number_print(decay, number), text + n);
    return pal_optim_new(params, all);
}
