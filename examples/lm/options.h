/*
 * options.h - what train_lm can be told, on the command line and in a file.
 *
 * A file has lines `name = value` with the names of the flags, and comments: lines that begin with
 * #. What the command line says wins. The same text, of every flag that shapes a run, is config.txt
 * of its folder and lies in its checkpoints: a run that is continued takes the flags from there.
 */
#ifndef LM_OPTIONS_H
#define LM_OPTIONS_H

#include <palimpsest.h>

/* Texts of flags: a file, checksums of data and of parameters, an optimiser. */
typedef char lm_path[1024], lm_crc[16], lm_sum[24], lm_optimizer[256];

/* The fields are those of options.def. A vocabulary of 0 is that of the data. A checksum of "" is
 * any, and an empty `init` means that the parameters are drawn by the seed. */
typedef struct lm_options {
    pal_lm_opts model; /* mixers is kept by lm_keep */
#define LM_FLAG(type, field, ...) type field;
#include "examples/lm/options.def"
    /* bit i: flag i of the tables in options.c was given */
    uint64_t given;
} lm_options;

/* Reads the command line and the file that --config names; a mistake is told on stderr and ends the
 * program, and so does --print-config. */
void lm_options_parse(lm_options *o, int argc, char **argv);

/* The flags that shape a run as lines of a file, for free(). Without memory the program ends. */
char *lm_options_text(const lm_options *o);
/* Defaults, and then what the text of a checkpoint says. PAL_EFORMAT by line. */
PAL_CHECKED pal_status lm_options_read(lm_options *o, const char *text, pal_error *error);
/*
 * The flags of a run that is continued: those not given are taken over; one that is given, may not
 * change and differs is PAL_EVALUE, by name. So are other --steps, where the schedule ends at them.
 */
PAL_CHECKED pal_status lm_options_continue(lm_options *o, const char *text, pal_error *error);

pal_lm_opts lm_options_model(const lm_options *o);
pal_schedule lm_options_schedule(const lm_options *o);

#endif
