/*
 * open.h - the model of a checkpoint with the options of its run, or of a released model's folder.
 */
#ifndef LM_OPEN_H
#define LM_OPEN_H

#include "examples/lm/options.h"

enum { LM_SUM = 24 }; /* room for a sum */

/* The type in which weights are stored. ANY: f32, but bf16 for a folder whose weights are in bf16
 * and that would not fit in memory otherwise (pal_lm_open_opts.fit). */
typedef enum lm_dtype { LM_DTYPE_ANY = 0, LM_DTYPE_F32, LM_DTYPE_BF16 } lm_dtype;
/* The row of such a flag. */
#define LM_DTYPE_ROW(at)                                                                        \
    {                                                                                           \
        "dtype", PAL_KEY_CHOICE, at,                                                            \
            .low = LM_DTYPE_F32, .words = "f32|bf16",                                           \
            .help = "in which weights are stored: bf16 takes half the memory (f32; bf16 for a " \
                    "folder in bf16 that does not fit otherwise)"                               \
    }

/* How: the parameters of the last step although there is an average; the type of weights. */
typedef struct lm_how {
    bool last;
    lm_dtype dtype;
} lm_how;

/*
 * Calls pal_lm_open, and reads all flags of the run from the description. If the file has the
 * moving average of the parameters (which best.txt scores), the model gets that, unless `last` asks
 * for the parameters of the last step. vocab, width and layers are those of the model. The folder
 * of a released model names no data: `data` is then empty. Warnings go to stderr. pal_lm_close
 * frees *file.
 */
PAL_CHECKED pal_status lm_open(pal_lm_file *file, lm_options *o, const char *path, lm_how how,
                               pal_error *error);
/* The warnings of a file that was opened, each a line of stderr. */
void lm_print_notes(const char *path, const pal_lm_file *file);
/* The CRC-32C of names and values, as 8 hexadecimal digits. `said` is the checksum that a file
 * says, or "". If it has the 16 digits of earlier versions, the result is of that form, so that
 * files of theirs are still compared. Returns text. */
char *lm_weights_sum(const pal_params *params, const char *said, char text[LM_SUM]);
/* The same of a tokenizer's JSON; "bytes" if it has none. */
char *lm_tokenizer_sum(const pal_tokenizer *tokenizer, const char *said, char text[LM_SUM]);

#endif
