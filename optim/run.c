/*
 * run.c - the stretches of memory that an optimiser works on.
 */
#include "optim/internal.h"

bool pal_run_next(const pal_params *params, pal_run *run)
{
    int i = run->next, n = pal_params_count(params);
    while (i < n && pal_params_frozen(params, i)) i++;
    if (i >= n) return false;
    pal_span first = pal_params_span(params, i), last = first;
    bool decay = pal_params_decays(params, i);
    for (i++; i < n; i++) {
        if (pal_params_frozen(params, i) || pal_params_decays(params, i) != decay) break;
        pal_span span = pal_params_span(params, i);
        if (span.block != first.block) break;
        last = span;
    }
    *run = (pal_run){.next = i,
                     .block = first.block,
                     .offset = first.offset,
                     .count = last.offset + last.count - first.offset,
                     .decay = decay};
    return true;
}
