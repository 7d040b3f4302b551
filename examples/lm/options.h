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

#include "examples/flags/most.h"

#include <palimpsest.h>

/* Texts of flags: a file, checksums of data and of parameters, an optimiser, a list of patterns. */
typedef char lm_path[1024], lm_crc[16], lm_sum[24], lm_optimizer[256], lm_patterns[1024];

/* The kinds of schedules, in the order of pal_schedule_kind. */
#define LM_SCHEDULES "constant|linear|cosine|wsd|restarts"

/* The fields are those of options.def. A vocabulary of 0 is that of the data. A checksum of "" is
 * any, and an empty `init` means that the parameters are drawn by the seed. */
typedef struct lm_options {
    pal_lm_opts model; /* mixers is kept by lm_keep */
#define LM_FLAG(type, field, ...) type field;
#include "examples/lm/options.def"
    /* which flags of the tables in options.c were given */
    bool given[FLAGS_MOST];
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

/*
 * The flags of a new run that begins with a model of this description: those of the model that were
 * not given are taken from it, and `like` if it is empty. PAL_EVALUE names a flag of the model that
 * was given and differs; with `maps`, --mixers may name other kinds, which lm_load maps.
 */
PAL_CHECKED pal_status lm_options_begin(lm_options *o, const char *text, bool maps,
                                        pal_error *error);
/* Whether some layer of the model of this description has a mixer of another kind than that of o.
 */
bool lm_options_other_mixers(const lm_options *o, const char *text);

/*
 * Compares the text of a config.txt with that of the checkpoint. PAL_EFORMAT if it cannot be read.
 * PAL_EVALUE names the first flag that differs and must not change. PAL_OK with a text in
 * error->message names one that may change, unless it was given on the command line, which is
 * `given`; the text is empty if there is none.
 */
PAL_CHECKED pal_status lm_options_compare(const char *text, const char *saved,
                                          const lm_options *given, pal_error *error);

pal_lm_opts lm_options_model(const lm_options *o);

#endif
