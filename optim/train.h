/*
 * train.h - a run of training: the loop, its folder, its checkpoints, and how it is stopped and
 * continued.
 *
 * pal_train is the loop. It is made of the other functions of this header and of optim.h and
 * data.h, and who wants another loop writes it from them (docs/training.md does). All of it is
 * meant for one thread, and for one process per folder; of ranks (dist.h) the first has the folder.
 *
 * The folder of a run:
 *
 *     step-00000200.h5        checkpoints: the last ones and the best
 *     best.txt                which is the best by evaluation, and its value
 *     config.txt              the text that describes the run
 *     log.csv log.jsonl       a row a step; the second has times too
 *     samples.txt             what the model wrote along the way
 *     loss.svg rate.svg       plots of log.csv
 *
 * Files are replaced whole, by a temporary file that is flushed and renamed; the logs alone grow in
 * place, and a run that is continued cuts them back to its checkpoint.
 */
#ifndef PAL_TRAIN_H
#define PAL_TRAIN_H

#include "optim/data.h"
#include "optim/dist.h"
#include "optim/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Version of the library, and the commit if it was built from a tree that git knows: "0.1.0",
 * "0.1.0 3bfc210", "0.1.0 3bfc210+" with changes that are not committed. */
PAL_API const char *pal_code_version(void);

/* ---- Stopping ---- */

/*
 * From here on SIGINT, SIGTERM and SIGUSR1 only ask the loop to stop; a second SIGINT ends the
 * process at once, as it does without this. SIGXFSZ and SIGPIPE are ignored, so that a file that
 * may not grow (EFBIG) and a reader of stdout that went away (EPIPE) are errors of writing and not
 * the end of the process. pal_stop_remove puts back what was there before.
 */
PAL_API void pal_stop_install(void);
/* The handlers of before pal_stop_install. */
PAL_API void pal_stop_remove(void);
/* The number of the first signal that asked to stop since pal_stop_install; 0: none. It stays until
 * the next pal_stop_install: every pal_train until then ends before its first step. */
PAL_API int pal_stop_requested(void);

/* ---- The log ---- */

/* The two logs of a run, open for writing. */
typedef struct pal_journal pal_journal;
/* A number of a row, by name. */
typedef struct pal_field {
    const char *name; /* of the column */
    double value;     /* in it */
} pal_field;

/*
 * Opens FOLDER/log.csv and FOLDER/log.jsonl for appending, with the rows of steps 1..last as they
 * were and no others; last = 0 begins them anew. columns are those of log.csv, "loss,lr": names
 * separated by commas, step comes before them by itself. PAL_EFORMAT if there is a log.csv of other
 * columns to go on with; PAL_EIO.
 */
PAL_API PAL_CHECKED pal_status pal_journal_open(pal_journal **log, const char *folder,
                                                const char *columns, int64_t last,
                                                pal_error *error);
/*
 * Adds the row of a step to both. log.csv has the fields that are columns, and leaves a column
 * without a field empty; log.jsonl has all fields, numbers that are not finite as null. A row that
 * cannot be written whole is taken back: PAL_EIO. No memory is asked for.
 */
PAL_API PAL_CHECKED pal_status pal_journal_row(pal_journal *log, int64_t step, int count,
                                               const pal_field *fields, pal_error *error);
/* Waits until both are on disk. */
PAL_API PAL_CHECKED pal_status pal_journal_sync(pal_journal *log, pal_error *error);
PAL_API void pal_journal_close(pal_journal *log); /* NULL is allowed */

/* ---- The folder ---- */

enum { PAL_PATH = 4096 }; /* room for a path */

/* Makes the folder and those it lies in, as far as they are not there. */
PAL_API PAL_CHECKED pal_status pal_run_make(const char *folder, pal_error *error);
/*
 * One process at a time writes in a folder: PAL_EIO if another has the lock (or this one has, by
 * another pal_lock). It ends with the process. Who writes files of his own into the folder of a new
 * run takes the lock first, asks pal_run_last, and hands the lock to pal_train. Some file systems
 * have no locks; there everybody gets one.
 */
typedef struct pal_lock pal_lock;
/* Takes the lock of a folder. */
PAL_API PAL_CHECKED pal_status pal_run_lock(pal_lock **lock, const char *folder, pal_error *error);
PAL_API void pal_run_unlock(pal_lock *lock); /* NULL is allowed */
/* The path of a step's checkpoint; size is the room in path. Returns path. */
PAL_API char *pal_run_path(char *path, size_t size, const char *folder, int64_t step);
/* The last step that has a checkpoint, of those before step `below` (0: of all); 0: there is none.
 */
PAL_API int64_t pal_run_last(const char *folder, int64_t below);
/* Replaces FOLDER/NAME by a file of this text. */
PAL_API PAL_CHECKED pal_status pal_run_write(const char *folder, const char *name, const char *text,
                                             pal_error *error);
/* best.txt, one line: "step-00000060.h5 1.8125". Reading gives step 0 where there is none. */
PAL_API PAL_CHECKED pal_status pal_run_set_best(const char *folder, int64_t step, double value,
                                                pal_error *error);
/* Reads best.txt. */
PAL_API PAL_CHECKED pal_status pal_run_best(const char *folder, int64_t *step, double *value,
                                            pal_error *error);
/* Removes checkpoints but the last `keep` >= 1 and that of step `best`. keep = 0 keeps all. */
PAL_API PAL_CHECKED pal_status pal_run_keep(const char *folder, int64_t keep, int64_t best,
                                            pal_error *error);
/* Renames the checkpoints after `step` to NAME.aside, so that a run can go on from an older one. */
PAL_API PAL_CHECKED pal_status pal_run_set_aside(const char *folder, int64_t step,
                                                 pal_error *error);

/* loss.svg and rate.svg of the folder from its log.csv, by gnuplot. */
typedef struct pal_plot_opts {
    const char *title;  /* NULL: none */
    const char *column; /* of the loss; NULL: "loss". "held_out" is drawn too if it is there */
    const char *unit;   /* at the axis; NULL: the name of the column */
    double reference;   /* a line to compare with; 0: none */
    const char *reference_title; /* what that line is */
} pal_plot_opts;
/* PAL_EIO if gnuplot is not installed or fails; files are then what they were. */
PAL_API PAL_CHECKED pal_status pal_plot(const char *folder, pal_plot_opts opts, pal_error *error);

/* ---- Checkpoints ---- */

/*
 * What a run is made of. The file (docs/training.md has its table) has the parameters as
 * /params/NAME, the optimiser's state as /optim, the average as /average, all by the parameters'
 * names, the generator as /rng, and the rest as attributes. It holds no time and no number of
 * threads: two runs of one description write equal files.
 */
typedef struct pal_checkpoint {
    /* What is saved, and loaded into. */
    pal_params *params;
    pal_optim *optim;     /* NULL: none */
    pal_average *average; /* NULL: none */
    pal_rng *rng;         /* NULL: none; such as pal_tape_rng(tape) */
    /* The ranks of which this process is one; NULL: it is alone. They load together, and save
     * together if the optimiser's state is divided (pal_dist_shard); if not, any one may save. A
     * file says nothing of ranks: other numbers of them go on with it. */
    pal_dist *dist;
    /* What is saved, and has to be the same on loading; NULL: neither. */
    const pal_schedule *schedule;
    const char *data; /* identity of the data, such as its checksum */
    /* What is saved alone; NULL: nothing. pal_checkpoint_config and _tokenizer read it. */
    const char *config;
    const char *tokenizer;      /* of the data, a text that means nothing here; not empty */
    const char *tokenizer_name; /* in less than 256 bytes */
    /* What is saved, and set by loading. */
    int64_t step;          /* steps made */
    pal_position position; /* of the batches that were consumed */
    int64_t best_step;     /* of the best evaluation; 0: none */
    double best;           /* its value */
    /* Set by loading. */
    char kernels[64];  /* the kernels that it was made with ("kernels avx512, BLIS skx") */
    bool same_kernels; /* they are the ones in use; with others a run goes on with other bits */
    char code[64];     /* pal_code_version() of the program that wrote it */
} pal_checkpoint;

/* PAL_ENUMERIC if a parameter holds a number that is not finite; PAL_EVALUE for data of 256 bytes
 * or more, or config of 1 MiB. */
PAL_API PAL_CHECKED pal_status pal_checkpoint_put(const pal_checkpoint *c, pal_h5 *file,
                                                  pal_error *error);
/*
 * Everything is compared before anything changes: the version of the file, the ranges of its
 * numbers, names, shapes and dtypes, checksums. PAL_EFORMAT (which another optimiser is too),
 * PAL_EVALUE for another schedule, other options of optimiser or average, or other data,
 * PAL_ENOMEM; *c and what it points to are then what they were. Takes memory for a copy of all that
 * is loaded.
 */
PAL_API PAL_CHECKED pal_status pal_checkpoint_get(pal_checkpoint *c, pal_h5 *file,
                                                  pal_error *error);
/* The same with a file of its own, which is replaced whole; a failure leaves the old one. */
PAL_API PAL_CHECKED pal_status pal_checkpoint_save(const pal_checkpoint *c, const char *path,
                                                   pal_error *error);
/* Reads such a file into *c; see pal_checkpoint_get. */
PAL_API PAL_CHECKED pal_status pal_checkpoint_load(pal_checkpoint *c, const char *path,
                                                   pal_error *error);
/* The text of the file, for who has to build the model that it fits. size is the room in text. */
PAL_API PAL_CHECKED pal_status pal_checkpoint_config(const char *path, char *text, size_t size,
                                                     pal_error *error);
/* The text of the tokenizer, ended by NUL. *length is that of the text, 0 where there is none. size
 * is the room in text; NULL: the length is all that is asked for. */
PAL_API PAL_CHECKED pal_status pal_checkpoint_tokenizer(const char *path, char *text, size_t size,
                                                        int64_t *length, pal_error *error);

/* ---- The loop ---- */

/*
 * The mean loss over one micro-batch, a scalar on the tape. number counts the micro-batches of the
 * run from 0 (step * accumulate + i). batch is the next of opts.batches. Without batches it is
 * empty, with counted = 1; the callback finds its data as a function of number, and where
 * micro-batches differ in size it sets batch->counted to what the mean is over.
 */
typedef pal_tensor pal_loss_fn(void *user, pal_tape *tape, int64_t number, pal_batch *batch);
/* A value of which less is better, with gradients off; NaN: none this time. Resets the tape as it
 * likes. */
typedef double pal_evaluate_fn(void *user, pal_tape *tape, int64_t step);
/* Writes a sample to `to`, with gradients off. */
typedef void pal_sample_fn(void *user, pal_tape *tape, int64_t step, FILE *to);

/* A run of pal_train. params, optim, tape, schedule, loss and steps have to be given. */
typedef struct pal_train_opts {
    pal_params *params;        /* what is trained */
    pal_optim *optim;          /* how */
    pal_tape *tape;            /* reset before every micro-batch */
    pal_schedule schedule;     /* of the rate */
    pal_average *average;      /* NULL: none; updated after every step, and used for evaluation */
    pal_batches *batches;      /* NULL: the loss callback has its own data */
    pal_loss_fn *loss;         /* of one micro-batch */
    pal_evaluate_fn *evaluate; /* NULL: none */
    pal_sample_fn *sample;     /* NULL: none */
    void *user;                /* of the three */

    int64_t steps;      /* in all, those before a resume included */
    int64_t accumulate; /* micro-batches a step; 0: 1 */
    double clip;        /* the largest norm of the gradients; 0: no limit */
    double seconds;     /* stop after so many of them in this process; 0: no limit */
    bool *finished; /* a callback that sets it ends the run after the step that it was called in; of
                       several ranks, rank 0 decides. NULL: the run makes all its steps */

    pal_dist *dist; /* NULL: this process trains alone. Else all ranks call with the same options,
                       but their own part of the batches */

    const char *folder; /* of the run; NULL: nothing is written, and what follows means nothing */
    pal_lock *lock;     /* of the folder, that the caller has; NULL: pal_train takes it */
    int64_t resume;     /* go on from the checkpoint of this step; 0: a new run */
    const char *config; /* the text of config.txt and the checkpoints; NULL: none */
    const char *data;   /* as in pal_checkpoint */
    const char *tokenizer;      /* as there */
    const char *tokenizer_name; /* as there */
    int64_t save_every;     /* steps between checkpoints; 0: the last step alone, and the best */
    int64_t keep;           /* checkpoints kept beside the best; 0: all */
    int64_t evaluate_every; /* 0: at the last step */
    int64_t sample_every;   /* 0: never */
    bool go_on;             /* when a file cannot be written: say so and train on */
    bool quiet;             /* no lines on stdout */
} pal_train_opts;

/* What one step did. */
typedef struct pal_step {
    double loss;     /* the mean over all counted targets of its micro-batches, of all ranks */
    double norm;     /* of the gradients before clipping */
    double lr;       /* the rate */
    int64_t counted; /* targets */
    int64_t bytes;   /* of text that they stand for (0: not known) */
} pal_step;

/* How a run ended. */
typedef struct pal_train_result {
    int64_t step;      /* steps made */
    pal_step last;     /* zeros if none was made */
    int64_t best_step; /* of the best evaluation; 0: none */
    double best;       /* its value */
    int signal;        /* that stopped it; 0: none */
    bool time_out;     /* stopped by opts.seconds */
} pal_train_result;

/*
 * One step from the opts: micro-batches, clipping, update at pal_schedule_lr(step), average. With
 * several micro-batches each counts by its targets, so that the gradient is that of the mean over
 * all of them. If loss or norm are not finite the step is run again with every operation checked,
 * and PAL_ENUMERIC names the first one that made such a number; parameters, optimiser and average
 * are then what they were before it.
 *
 * With opts.dist together: the mean is over the targets of all ranks, the gradients are summed by
 * pal_dist_reduce_begin and _end, and all ranks have the same outcome. A loss callback without
 * batches takes its rank's data, which count alike unless it sets batch->counted. A rank that fails
 * where others wait for its part of a sequence ends them all (pal_dist_abort).
 */
PAL_API PAL_CHECKED pal_status pal_train_step(const pal_train_opts *opts, int64_t step,
                                              pal_step *out, pal_error *error);
/*
 * Trains from opts.resume to opts.steps, or until pal_stop_requested, a callback has set
 * *opts.finished or the time is over; then the run is saved, and opts.resume goes on with it bit
 * for bit. A request to stop is looked at before each step, the time after it. From the second step
 * on no memory is asked for between evaluations, samples and checkpoints. *result (may be NULL) is
 * set in any case.
 *
 * A new run does not begin in a folder that has a checkpoint (PAL_EVALUE), and none where another
 * process trains (PAL_EIO). A checkpoint that cannot be gone on from leaves the folder as it is; so
 * does one of opts.steps or later, which is loaded, and no step is made. A best evaluation whose
 * checkpoint is not there any more is forgotten by going on.
 *
 * With opts.dist together: rank 0 keeps the folder, prints, decides about the time and writes the
 * samples; the callback of evaluations is called by all ranks and the value of rank 0 counts. What
 * asks one rank to stop stops all, after the step in which they hear of it. Options, configuration,
 * kernels and parameters are compared at the beginning, and with PAL_CHECK=ranks parameters every
 * 100 steps (PAL_CHECK=ranks:10: every 10). All ranks have the same outcome.
 *
 * A step that fails (PAL_ENUMERIC above all) ends the run with its error, after the state before it
 * was saved.
 */
PAL_API PAL_CHECKED pal_status pal_train(const pal_train_opts *opts, pal_train_result *result,
                                         pal_error *error);

#ifdef __cplusplus
}
#endif
#endif
