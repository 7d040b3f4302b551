/*
 * train.h - a training run: the loop, its folder, its checkpoints, and how it is stopped and
 * continued.
 *
 * pal_train is the loop. It is made of the other functions of this header, of optim.h and of
 * data.h, so a program can build another loop from them (docs/training.md does). All functions are
 * meant for one thread, and for one process per folder. With several ranks (dist.h) rank 0 keeps
 * the folder.
 *
 * The folder of a run:
 *
 *     step-00000200.h5        checkpoints: the last ones and the best
 *     best.txt                the checkpoint with the best evaluation, and its value
 *     config.txt              the text that describes the run
 *     log.csv log.jsonl       one row for each step; the second has times too
 *     samples.txt             what the model wrote during the run
 *     loss.svg rate.svg       plots of log.csv
 *
 * Files are replaced as a whole: a temporary file is written, flushed and renamed. Only the logs
 * grow in place; when a run continues, they are cut back to its checkpoint.
 */
#ifndef PAL_TRAIN_H
#define PAL_TRAIN_H

#include "optim/data.h"
#include "optim/dist.h"
#include "optim/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library, and the commit if it was built in a git tree: "0.1.0", "0.1.0
 * 3bfc210", or "0.1.0 3bfc210+" with changes that are not committed. */
PAL_API const char *pal_code_version(void);
/* One line that says who computes products in f32 or bf16 (pal_tape_precision): "products in bf16
 * by oneDNN 2.6.3", and that they are slow where the processor does not multiply bf16 faster than
 * f32. For bf16 oneDNN is loaded, if it is there. PAL_PRODUCTS=blis in the environment does without
 * it, and PAL_PRODUCTS=onednn asks for it in f32 too. */
PAL_API const char *pal_precision_in_use(pal_dtype precision);

/* ---- Stopping ---- */

/*
 * From now on SIGINT, SIGTERM and SIGUSR1 only ask the loop to stop. A second SIGINT ends the
 * process at once, as usual. SIGXFSZ and SIGPIPE are ignored. So a file that may not grow (EFBIG),
 * or a reader of stdout that has gone (EPIPE), gives an error of writing and does not end the
 * process.
 */
PAL_API void pal_stop_install(void);
/* Restores the signal handlers from before pal_stop_install. */
PAL_API void pal_stop_remove(void);
/* The number of the first signal that asked to stop since pal_stop_install; 0: none. It stays set
 * until the next pal_stop_install, so every pal_train until then ends before its first step. */
PAL_API int pal_stop_requested(void);

/* ---- The log ---- */

/* The two logs of a run, open for writing. */
typedef struct pal_journal pal_journal;

/*
 * Opens FOLDER/log.csv and FOLDER/log.jsonl for appending. It keeps the rows of steps 1..last and
 * removes all others; last = 0 starts new logs. columns are those of log.csv as names separated by
 * commas, "loss,lr", as many as you like; the column step is added in front. PAL_EVALUE for a
 * column that is empty, there twice, called step, not UTF-8, or has a quotation mark or a control
 * character. PAL_EFORMAT if the old log.csv has other columns; PAL_EIO.
 */
PAL_API PAL_CHECKED pal_status pal_journal_open(pal_journal **log, const char *folder,
                                                const char *columns, int64_t last,
                                                pal_error *error);
/*
 * Adds the row of a step to both logs. log.csv has the fields that are columns, and leaves a column
 * without a field empty. log.jsonl has all fields, their names escaped as JSON wants it; numbers
 * that are not finite become null. PAL_EVALUE, and no row, for a name that is empty, there twice,
 * called step or not UTF-8. A row that cannot be written completely is removed again: PAL_EIO. It
 * allocates memory only for a row that is longer than 4 KiB and all before it: PAL_ENOMEM.
 */
PAL_API PAL_CHECKED pal_status pal_journal_row(pal_journal *log, int64_t step, int count,
                                               const pal_field *fields, pal_error *error);
/*
 * The same for a log that is opened by its first row: *log is NULL then, the folder is made if it
 * is not there, and the columns are the names of these fields, in their order.
 */
PAL_API PAL_CHECKED pal_status pal_journal_add(pal_journal **log, const char *folder, int64_t step,
                                               int count, const pal_field *fields,
                                               pal_error *error);
/*
 * Writes the columns of FOLDER/log.csv into an HDF5 file that is being built: group/NAME is f64
 * [rows], with NaN where a cell is empty, and group/step the steps. PAL_EFORMAT for a file that is
 * no log, PAL_EIO, PAL_ENOMEM, and what pal_h5_put says of names.
 */
PAL_API PAL_CHECKED pal_status pal_journal_put(const char *folder, pal_h5 *file, const char *group,
                                               pal_error *error);
/* Writes a file FOLDER/NAME that has the columns in /log, and the parameters in /params (NULL:
 * none). It is replaced as a whole. */
PAL_API PAL_CHECKED pal_status pal_journal_save(const char *folder, const char *name,
                                                const pal_params *params, pal_error *error);
/* Waits until both logs are on disk. */
PAL_API PAL_CHECKED pal_status pal_journal_sync(pal_journal *log, pal_error *error);
PAL_API void pal_journal_close(pal_journal *log); /* NULL is allowed */

/* ---- The folder ---- */

enum { PAL_PATH = 4096 }; /* size of a buffer for a path */

/* Makes the folder and its parent folders if they do not exist. */
PAL_API PAL_CHECKED pal_status pal_run_make(const char *folder, pal_error *error);
/*
 * The lock of a folder. Only one process at a time writes to a folder, and its lock ends with the
 * process. A program that writes files of its own into the folder of a new run first takes the lock
 * and asks pal_run_last; then it passes the lock to pal_train. Some file systems have no locks;
 * there every process gets one.
 */
typedef struct pal_lock pal_lock;
/* Takes the lock of a folder. PAL_EIO if another process has it, or this process in another
 * pal_lock. */
PAL_API PAL_CHECKED pal_status pal_run_lock(pal_lock **lock, const char *folder, pal_error *error);
PAL_API void pal_run_unlock(pal_lock *lock); /* NULL is allowed */
/* Writes the path of a step's checkpoint to path, which has room for `size` bytes. Returns path. */
PAL_API char *pal_run_path(char *path, size_t size, const char *folder, int64_t step);
/* The last step before step `below` that has a checkpoint (below = 0: the last of all); 0: there is
 * none. A folder that cannot be listed goes to the error handler (PAL_EIO), and the result is 0. */
PAL_API int64_t pal_run_last(const char *folder, int64_t below);
/* Replaces FOLDER/NAME by a file with this text. */
PAL_API PAL_CHECKED pal_status pal_run_write(const char *folder, const char *name, const char *text,
                                             pal_error *error);
/* Writes best.txt, one line such as "step-00000060.h5 1.8125". */
PAL_API PAL_CHECKED pal_status pal_run_set_best(const char *folder, int64_t step, double value,
                                                pal_error *error);
/* Reads best.txt; step is 0 if there is none. */
PAL_API PAL_CHECKED pal_status pal_run_best(const char *folder, int64_t *step, double *value,
                                            pal_error *error);
/*
 * Loads the parameters of the best checkpoint, that which best.txt names; *value (may be NULL) is
 * its value. If the run had an average of the weights, that is loaded, because it is what was
 * evaluated. PAL_EVALUE if there is no best one yet, and the errors of pal_params_get; nothing has
 * changed then.
 */
PAL_API PAL_CHECKED pal_status pal_run_load_best(const char *folder, pal_params *params,
                                                 double *value, pal_error *error);
/* Removes checkpoints, except the last `keep` >= 1 and that of step `best`. keep = 0 keeps all. */
PAL_API PAL_CHECKED pal_status pal_run_keep(const char *folder, int64_t keep, int64_t best,
                                            pal_error *error);
/* Renames the checkpoints after `step` to NAME.aside, so that a run can continue from an
 * older one. */
PAL_API PAL_CHECKED pal_status pal_run_set_aside(const char *folder, int64_t step,
                                                 pal_error *error);

/* Options of pal_plot. */
typedef struct pal_plot_opts {
    const char *title; /* NULL: no title */
    /* the column with the loss; NULL: "loss". A column "held_out" is drawn too */
    const char *column;
    const char *unit;            /* label of the axis; NULL: the name of the column */
    double reference;            /* value of a line for comparison; 0: none */
    const char *reference_title; /* label of that line */
    const char *columns; /* any columns, as "accuracy,MAE": these are drawn in one picture instead
                            of the loss and the rate */
    const char *name;    /* of that picture, without ".svg"; NULL: "columns" */
} pal_plot_opts;
/* Draws loss.svg and rate.svg in the folder from its log.csv, by gnuplot, or NAME.svg of any
 * columns. PAL_EVALUE if log.csv lacks a column or, of opts.columns, numbers in it. PAL_EIO if
 * gnuplot is not installed or fails; the old files then stay. */
PAL_API PAL_CHECKED pal_status pal_plot(const char *folder, pal_plot_opts opts, pal_error *error);

/* ---- Checkpoints ---- */

/*
 * What a checkpoint contains. In the file (docs/training.md has its table) the parameters are
 * /params/NAME. The optimiser's state is in /optim and the average in /average, both by the
 * parameters' names. The generator is /rng, and the rest are attributes. The file has no time and
 * no number of threads, so two runs with the same description write equal files.
 */
typedef struct pal_checkpoint {
    /* These are saved, and loading writes to them. */
    pal_params *params;
    pal_optim *optim;     /* NULL: none */
    pal_average *average; /* NULL: none */
    pal_rng *rng;         /* NULL: none; such as pal_tape_rng(tape) */
    /*
     * The ranks that this process belongs to; NULL: it is the only one. All ranks load together. If
     * the optimiser's state is divided (pal_dist_shard), they also save together; otherwise any one
     * of them may save. A file does not depend on ranks: another number of them can continue with
     * it.
     */
    pal_dist *dist;
    /* These are saved, and must be the same on loading; NULL: not saved and not compared. */
    const pal_schedule *schedule;
    const char *data;    /* identifies the data, for example by a checksum */
    const char *metric;  /* the name of what `best` is; less than 256 bytes */
    pal_dtype precision; /* of products (pal_tape_precision); compared if there is an optimiser */
    /* These are only saved; NULL: nothing. pal_checkpoint_config and _tokenizer read them. */
    const char *config;
    const char *tokenizer; /* text of the tokenizer, which is not interpreted here; not empty */
    const char *tokenizer_name; /* less than 256 bytes */
    const char *logs;           /* sizes and checksums of the logs up to this step, by pal_train */
    /* These are saved, and loading sets them. */
    int64_t step;          /* steps that were made */
    pal_position position; /* position after the batches that were used */
    int64_t best_step;     /* step of the best evaluation; 0: none */
    double best;           /* its value */
    /* Running averages of what the gradient noise scale is made of (pal_train_opts.noise). They are
     * saved where there are any, and 0 where a file has none. */
    double noise_trace;
    double noise_square; /* the second of them */
    /* Loading sets these. */
    char kernels[128]; /* the kernels that wrote the file ("kernels avx512, BLIS skx") */
    bool same_kernels; /* whether they are in use now; if not, the run continues with other bits */
    char code[64];     /* pal_code_version() of the program that wrote the file */
} pal_checkpoint;

/* Writes a checkpoint to a file that is being built. PAL_ENUMERIC if a parameter has a number that
 * is not finite; PAL_EVALUE for data or logs of 256 bytes or more, or config of 1 MiB or more. */
PAL_API PAL_CHECKED pal_status pal_checkpoint_put(const pal_checkpoint *c, pal_h5 *file,
                                                  pal_error *error);
/*
 * Reads a checkpoint. Everything is compared before anything changes: the version of the file,
 * ranges of its numbers, names, shapes, dtypes and checksums. It takes memory for a copy of all
 * that is loaded. PAL_EFORMAT for a file that does not fit, also for another kind of optimiser.
 * PAL_EVALUE for another schedule, other options of optimiser or average, or other data.
 * PAL_ENOMEM. After an error *c and all that it points to are unchanged.
 */
PAL_API PAL_CHECKED pal_status pal_checkpoint_get(pal_checkpoint *c, pal_h5 *file,
                                                  pal_error *error);
/* Writes a checkpoint to its own file, which is replaced as a whole. After a failure the old file
 * stays. */
PAL_API PAL_CHECKED pal_status pal_checkpoint_save(const pal_checkpoint *c, const char *path,
                                                   pal_error *error);
/* Reads such a file into *c; see pal_checkpoint_get. */
PAL_API PAL_CHECKED pal_status pal_checkpoint_load(pal_checkpoint *c, const char *path,
                                                   pal_error *error);
/* Reads the configuration text of a checkpoint into text, which has room for `size` bytes. A
 * program needs it to build the model that fits the checkpoint. */
PAL_API PAL_CHECKED pal_status pal_checkpoint_config(const char *path, char *text, size_t size,
                                                     pal_error *error);
/* Reads the tokenizer of a checkpoint into text, which has room for `size` bytes; the text ends
 * with NUL. *length is its length, 0 if there is none. With text == NULL only the length is set. */
PAL_API PAL_CHECKED pal_status pal_checkpoint_tokenizer(const char *path, char *text, size_t size,
                                                        int64_t *length, pal_error *error);

/* ---- Looking at gradients and updates ---- */

/*
 * Statistics of some parameters, one step at a time:
 *
 *     pal_watch *watch = pal_watch_new(params, "*.b_proj.*,lm_head.*");
 *     ... pal_backward ... pal_watch_gradients(watch);
 *     ... pal_optim_step ... pal_watch_updates(watch);
 *     n = pal_watch_fields(watch, &fields);
 *
 * or pal_train_opts.watch, which makes them columns of log.csv. For a parameter x of N elements,
 * its gradient g and its update u = x after the step - x before it, the fields are
 *
 *     NAME.grad_norm   sqrt(sum g^2)         NAME.grad_zeros    share of g that is exactly 0
 *     NAME.grad_rms    grad_norm / sqrt N    NAME.update_rms    sqrt(sum u^2 / N)
 *     NAME.grad_max    max |g|               NAME.update_ratio  sqrt(sum u^2 / sum x^2)
 *
 * Memory: a copy of the values that are watched. Cost: about ten passes over them.
 */
typedef struct pal_watch pal_watch;
/* Watches the parameters that match one of the patterns, which have commas between them (fnmatch:
 * * ? [..]); NULL: all that there are now, without those of pal_keep. A pattern without a match,
 * and a name that cannot be a column, are told to the handler (PAL_EVALUE, PAL_ENOMEM): NULL. */
PAL_API pal_watch *pal_watch_new(pal_params *params, const char *patterns);
/* Looks at the gradients, and remembers the values. Call it before the update. */
PAL_API void pal_watch_gradients(pal_watch *watch);
/* Looks at what the update did. */
PAL_API void pal_watch_updates(pal_watch *watch);
/* Points *fields at the statistics, which stay there, and returns how many there are. Ratios may be
 * infinite or NaN. */
PAL_API int pal_watch_fields(const pal_watch *watch, const pal_field **fields);
/* Their names with commas between, for pal_journal_open. */
PAL_API const char *pal_watch_columns(const pal_watch *watch);
PAL_API void pal_watch_free(pal_watch *watch); /* NULL is allowed */

/* ---- The loop ---- */

/*
 * Computes the mean loss of one micro-batch, a scalar on the tape. number counts the micro-batches
 * of the run from 0 (step * accumulate + i). batch is the next one of opts.batches. Without
 * opts.batches it is empty with counted = 1, and the callback chooses its data by number. If its
 * micro-batches differ in size, it sets batch->counted to the number of targets in the mean.
 */
typedef pal_tensor pal_loss_fn(void *user, pal_tape *tape, int64_t number, pal_batch *batch);
/* Computes a value of which smaller is better, with gradients off. NaN means: none this time. It
 * may reset the tape. */
typedef double pal_evaluate_fn(void *user, pal_tape *tape, int64_t step);
/*
 * Computes the values of opts.metric, in its order, with gradients off. With opts.held_out it is
 * called for each batch of these, and the value of the run is the mean, in which a batch counts by
 * batch->counted; the tape is reset after each. Without, it is called once with an empty batch. NaN
 * means: none this time. It may reset the tape.
 */
typedef void pal_measure_fn(void *user, pal_tape *tape, pal_batch *batch, double *values);
enum { PAL_METRICS = 8 }; /* the most metrics of a run */
/* What is measured on held-out data, such as {"accuracy", .more_is_better = true} or {"MAE"}. */
typedef struct pal_metric {
    const char *name;    /* in the log and the progress line; see pal_journal_open for columns */
    bool more_is_better; /* otherwise less is */
} pal_metric;
/* The rate of a step, which counts from 0, where the schedule says lr. It is a function of the
 * step, so that a run that is continued has the same rates. */
typedef double pal_rate_fn(void *user, int64_t step, double lr);
/* Writes a sample to `to`, with gradients off. */
typedef void pal_sample_fn(void *user, pal_tape *tape, int64_t step, FILE *to);

/* The options of a training run. params, optim, tape, schedule, loss and steps must be given. */
typedef struct pal_train_opts {
    pal_params *params;    /* parameters to train */
    pal_optim *optim;      /* optimiser of these parameters */
    pal_tape *tape;        /* is reset before every micro-batch */
    pal_schedule schedule; /* learning rate */
    pal_rate_fn *rate;     /* changes the schedule's rate; NULL: nothing does */
    pal_average *average;  /* NULL: none; it is updated after every step and used for evaluation */
    pal_batches *batches;  /* NULL: the loss callback chooses its data */
    pal_loss_fn *loss;     /* loss of one micro-batch */
    pal_evaluate_fn *evaluate;      /* NULL: none; a run has this or measure */
    pal_measure_fn *measure;        /* NULL: none */
    pal_metric metric[PAL_METRICS]; /* of measure; the first without a name ends the list */
    pal_batches *held_out;          /* of validation, which measure gets; NULL: none */
    const char *best; /* the metric that decides which checkpoint is the best; NULL: the first */
    pal_sample_fn *sample; /* NULL: none */
    void *user;            /* argument of the callbacks */

    int64_t steps;      /* total number of steps, with those before a resume */
    int64_t accumulate; /* micro-batches in a step; 0: 1 */
    double clip;        /* largest norm of the gradients; 0: no limit */
    double seconds;     /* stop after this time in this process; 0: no limit */
    bool *finished; /* a callback that sets it ends the run after the step that it was called in; of
                       several ranks, rank 0 decides. NULL: the run makes all its steps */

    pal_dist *dist; /* NULL: this process trains without others. Otherwise all ranks call with the
                       same options, except that each has its own part of the batches */

    const char *folder; /* folder of the run; NULL: nothing is written, and the options below have
                           no effect */
    pal_lock *lock;     /* lock of the folder, if the caller has it; NULL: pal_train takes it */
    int64_t resume;     /* continue from the checkpoint of this step; 0: a new run */
    bool mend;          /* continue although files of the folder are missing or were edited */
    const char *config; /* text for config.txt and the checkpoints; NULL: none */
    const char *data;   /* as in pal_checkpoint; NULL with batches of a dataset: its identity */
    const char *tokenizer;      /* as in pal_checkpoint */
    const char *tokenizer_name; /* as in pal_checkpoint */
    int64_t save_every;     /* steps between checkpoints; 0: only the last step, and the best one */
    int64_t keep;           /* number of checkpoints kept beside the best; 0: all */
    int64_t evaluate_every; /* steps between evaluations; 0: only at the last step */
    int64_t patience; /* the run ends after an evaluation if the best one was made so many steps
                         before it, or earlier; also when it is continued. 0: never. It needs
                         evaluate_every */
    const char *unit; /* what a step counts, as "images", in progress line and log; NULL: "tokens",
                         with batches of a dataset "rows" */
    int64_t sample_every; /* steps between samples; 0: never */
    bool go_on;           /* if a file cannot be written: warn and continue */
    bool quiet;           /* no lines on stdout */

    pal_watch *watch;    /* its fields become columns of the log; NULL: none. Not with a state that
                            is divided among ranks (pal_dist_opts.shard) */
    int64_t watch_every; /* steps between rows that have them; 0: 100 */
    bool noise;          /* the log has noise_scale, the gradient noise scale (pal_step) */
} pal_train_opts;

/*
 * Calls measure for each batch of validation, from the first on, with gradients off, and writes the
 * means of its n values (1 to PAL_METRICS), in which a batch counts by batch->counted. The tape is
 * reset. Errors: those of the batches and of the tape.
 */
PAL_API PAL_CHECKED pal_status pal_measure(pal_batches *held_out, pal_tape *tape,
                                           pal_measure_fn *measure, void *user, int n,
                                           double *values, pal_error *error);

/* The results of one step. */
typedef struct pal_step {
    double loss;     /* mean over all counted targets of its micro-batches, on all ranks */
    double norm;     /* norm of the gradients before clipping */
    double lr;       /* learning rate */
    int64_t counted; /* number of targets */
    int64_t bytes;   /* bytes of text that they stand for (0: not known) */
    /* With opts.noise, an estimate by this step of the trace of the covariance of the gradient of
     * one target. NAN: none */
    double noise_trace;
    double noise_square; /* likewise of the squared norm of the true gradient */
} pal_step;

/* How a run ended. */
typedef struct pal_train_result {
    int64_t step;      /* steps that were made */
    pal_step last;     /* the last step; zeros if none was made */
    int64_t best_step; /* step of the best evaluation; 0: none */
    double best;       /* its value */
    int signal;        /* the signal that stopped the run; 0: none */
    bool time_out;     /* the run was stopped by opts.seconds */
    bool patience_out; /* the run was stopped by opts.patience */
} pal_train_result;

/*
 * Makes one step: micro-batches, clipping, update at pal_schedule_lr(step) or opts.rate, average.
 * With several micro-batches each one counts by its targets, so the gradient is that of the mean
 * over all targets. If loss or norm are not finite, the step is repeated with a check of every
 * operation. PAL_ENUMERIC then names the first operation that made such a number, and parameters,
 * optimiser and average are as they were before the step. So they are if, after clipping, a
 * gradient is too large for the optimiser's moments: its square (above 9.2e18 in f32, 6.7e153 in
 * f64), or the momentum of SGD and Muon (1.3e36, 7e305). PAL_ENUMERIC then names the parameter.
 *
 * With opts.dist, together: the mean is over the targets of all ranks, pal_dist_reduce_begin and
 * _end sum the gradients, and all ranks have the same outcome. Without opts.batches each rank's
 * callback chooses its own data; all count the same unless it sets batch->counted. If a rank fails
 * while others wait for its part of a sequence, it ends all ranks (pal_dist_abort).
 */
PAL_API PAL_CHECKED pal_status pal_train_step(const pal_train_opts *opts, int64_t step,
                                              pal_step *out, pal_error *error);
/*
 * Trains from step opts.resume to opts.steps, or until pal_stop_requested, *opts.finished or
 * opts.seconds stops it. Then the run is saved, and opts.resume can continue it bit for bit. A
 * callback ends the run by *opts.finished; opts itself is copied at the start. A request to stop is
 * checked before each step, the time after it. From the second step on no memory is allocated,
 * except for evaluations, samples and checkpoints. *result (may be NULL) is always set.
 *
 * A new run does not start in a folder that has a checkpoint (PAL_EVALUE). No run starts in a
 * folder where another process trains (PAL_EIO). If a checkpoint cannot be used, the folder does
 * not change. A checkpoint of opts.steps or later is loaded without a step; what the run left
 * undone when it was killed is then done: best.txt, old checkpoints, temporary files.
 *
 * A run that continues compares log.csv, log.jsonl and samples.txt up to its checkpoint with what
 * they were when that was saved, and looks for the checkpoint of the best evaluation. PAL_EVALUE
 * names the file that is missing or was edited, before anything changes. With opts.mend it is a
 * warning, and a best evaluation without a checkpoint is forgotten. Without a step only the best is
 * looked for, and config.txt becomes that of the checkpoint; a best that is gone is a warning.
 *
 * With opts.dist, together: rank 0 keeps the folder, prints, watches the time and writes the
 * samples. All ranks call the evaluation callback, and the value of rank 0 counts. A request to one
 * rank stops all ranks, after the step in which they learn of it. Options, configuration, kernels
 * and parameters are compared at the start. With PAL_CHECK=ranks parameters are also compared every
 * 100 steps (PAL_CHECK=ranks:10: every 10). All ranks have the same outcome.
 *
 * If a step fails (mostly by PAL_ENUMERIC), the state before it is saved and the run ends with its
 * error.
 *
 * With opts.noise the column noise_scale is tr(S) / |G|^2, in targets: batches that are much
 * smaller have a gradient that is mostly noise, and much larger ones gain little. S is the
 * covariance of the gradient of one target and G the true gradient. Both are estimated without bias
 * from the squared norms of gradients of two sizes of batches, b and B targets,
 *
 *     tr(S) = (|g_b|^2 - |g_B|^2) / (1/b - 1/B)        |G|^2 = |g_B|^2 - tr(S) / B
 *
 * and each is averaged over steps (decay 0.95) before they are divided; where one is not positive
 * yet, the column is empty. B is the step. b is the first micro-batch of it, on each rank; so it
 * needs accumulate >= 2 or several ranks with whole sequences, and else is PAL_EVALUE. Cost: a pass
 * over the gradients. Source: McCandlish et al. 2018 (arXiv 1812.06162), appendix A.1.
 */
PAL_API PAL_CHECKED pal_status pal_train(const pal_train_opts *opts, pal_train_result *result,
                                         pal_error *error);

/* Frees what the options point to: batches with their datasets or stores, average, watch,
 * optimiser, tape and parameters, and sets these fields to NULL. It is for a program that made all
 * of them. */
PAL_API void pal_train_free(pal_train_opts *opts);

/* ---- The rate finder ---- */

/* Options of pal_find_lr. */
typedef struct pal_find_lr_opts {
    double low;    /* the first rate; 0: 1e-6 */
    double high;   /* the last rate; 0: 1 */
    int64_t steps; /* how many steps from one to the other, 10 .. 1e6; 0: 100 */
    double stop;   /* it ends earlier where the loss is so many times its lowest, > 1; 0: 2 */
} pal_find_lr_opts;
/* One step of it. */
typedef struct pal_lr_point {
    double lr;     /* its rate */
    double loss;   /* of this step, before its update */
    double smooth; /* the mean over neighbouring steps */
} pal_lr_point;
/* What it found. */
typedef struct pal_lr_found {
    double lr;     /* the rate to try: where the loss falls fastest */
    double lowest; /* the rate where the loss is lowest; training diverges not far above it */
    int64_t steps; /* steps that were made */
} pal_lr_found;
/*
 * Looks for a learning rate: steps of pal_train_step with rates that rise from low to high by equal
 * factors, and losses that are smoothed. It suggests the rate at which the smoothed loss falls
 * fastest as a function of the logarithm of the rate. That is a beginning for a search, not its
 * end: take it as the largest rate of a schedule with a warm-up. Parameters, optimiser, generator
 * of the tape and position of the batches are afterwards what they were, after errors too;
 * gradients are zero. Of opts it reads what pal_train_step reads, and writes no file; schedule and
 * rate have no effect, but groups with a schedule keep theirs.
 *
 * points (may be NULL) has room for opts.steps points. Memory: a copy of parameters and moments.
 * Together, with opts.dist. PAL_EVALUE if the loss falls nowhere, or for options out of range; the
 * errors of a first step. Source: Smith 2015 (arXiv 1506.01186).
 */
PAL_API PAL_CHECKED pal_status pal_find_lr(const pal_train_opts *opts, pal_find_lr_opts how,
                                           pal_lr_point *points, pal_lr_found *found,
                                           pal_error *error);

#ifdef __cplusplus
}
#endif
#endif
