/*
 * options.h - the command line of train_lm.
 *
 * Each flag that shapes a run is kept as text in its checkpoints. A run that is continued takes
 * them from there; one that is given again must be the same, --steps, --save-every and --threads
 * apart.
 */
#ifndef LM_OPTIONS_H
#define LM_OPTIONS_H

#include <palimpsest.h>

typedef struct lm_options {
    char mixers[512], data[1024], out[1024], init[1024]; /* init "": drawn by the seed */
    int64_t layers, width, batch, len;
    int64_t steps, save_every; /* save_every 0: the last step only */
    int64_t cosine;            /* the step at which the rate has fallen to a tenth; 0: constant */
    uint64_t seed;
    double lr;
    pal_dtype dtype;
    int threads; /* 0: OpenMP's default */
    int64_t sample;
    bool resume;
    uint32_t given; /* bit i: flag i of the table in options.c was on the command line */
} lm_options;

/* Reads the command line; a mistake is told on stderr and ends the program. */
void lm_options_parse(lm_options *o, int argc, char **argv);

/* All flags as attributes of the checkpoint being built. */
PAL_CHECKED pal_status lm_options_put(const lm_options *o, pal_h5 *file, pal_error *error);
/*
 * The flags of a saved run: those not on the command line are taken over; one that is there, may
 * not change and differs is PAL_EVALUE, by name.
 */
PAL_CHECKED pal_status lm_options_get(lm_options *o, pal_h5 *file, pal_error *error);

#endif
