/*
 * options.h - the options of train_lm, on the command line and in a file.
 *
 * A file has lines `name = value` with the names of the flags, and comments: lines that begin with
 * #. The command line has priority over the file. The same text, with every flag that shapes a run,
 * is config.txt of its folder and is in its checkpoints. A run that is continued takes the flags
 * from there.
 */
#ifndef LM_OPTIONS_H
#define LM_OPTIONS_H

#include <palimpsest.h>

enum { LM_OPTIMIZER = 256 }; /* room for the text of an optimiser */

typedef struct lm_options {
    pal_lm_opts model; /* mixers is kept by lm_keep; vocab 0: that of the data */
    /* The data. */
    char data[1024], data_checksum[16]; /* "": any */
    int64_t batch, len;
    double held_out;
    bool packed, no_prefetch;
    /* The updates. */
    char optimizer[LM_OPTIMIZER];
    pal_schedule_kind schedule;
    int64_t steps, accumulate, warmup, schedule_steps, decay_steps;
    double lr, lr_end, weight_decay, clip, average;
    uint64_t seed;
    char init[1024]; /* "": drawn by the seed */
    bool init_last;
    char init_checksum[24]; /* "": any */
    /* What is looked at and kept. */
    int64_t eval_every, sample_every, save_every, keep;
    bool go_on; /* after an error of saving */
    char out[1024];
    int64_t sample, threads;
    int64_t sequence_parallel, bucket;
    bool shard;
    double train_seconds;
    bool resume;
    int64_t resume_from;
    /* bit i: flag i of the tables in options.c was given */
    uint64_t given;
} lm_options;

/* Reads the command line and the file that --config names. A mistake is reported on stderr and ends
 * the program. --print-config ends it too. */
void lm_options_parse(lm_options *o, int argc, char **argv);

/* The flags that shape a run as lines of a file, for free(). Without memory the program ends. */
char *lm_options_text(const lm_options *o);
/* Defaults, and then what the text of a checkpoint says. PAL_EFORMAT by line. */
PAL_CHECKED pal_status lm_options_read(lm_options *o, const char *text, pal_error *error);
/*
 * The flags of a run that is continued. Flags that were not given are taken from the old run.
 * PAL_EVALUE names a flag that was given and differs although it must not change. --steps is such a
 * flag if the schedule depends on it.
 */
PAL_CHECKED pal_status lm_options_continue(lm_options *o, const char *text, pal_error *error);

pal_lm_opts lm_options_model(const lm_options *o);
pal_schedule lm_options_schedule(const lm_options *o);

#endif
