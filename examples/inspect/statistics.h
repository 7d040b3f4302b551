/*
 * statistics.h - gates and decay of a model over many rows or a long text, a line for each head.
 */
#ifndef INSPECT_STATISTICS_H
#define INSPECT_STATISTICS_H

#include "examples/inspect/models.h"

typedef struct statistics_opts {
    int64_t rows;     /* rows of the data from source_opts.row on; 0: no statistics */
    const char *file; /* a text of any length in place of rows; NULL: none */
} statistics_opts;

/*
 * Runs every model of `source` over the rows (or over the one text, whose state is carried along)
 * and prints what the gates of each head were. With `out`, writes OUT/statistics.csv and
 * OUT/statistics.h5 (docs/inspect.md). Memory does not grow with rows and tokens.
 */
PAL_CHECKED pal_status statistics_run(const source_opts *source, const statistics_opts *o,
                                      const char *out, FILE *to, pal_error *error);

#endif
