/*
 * data.h - the tokens that train_lm learns from: a store, or the bytes of a text.
 */
#ifndef LM_DATA_H
#define LM_DATA_H

#include "examples/lm/options.h"

typedef struct lm_data {
    pal_tokens *store;
    pal_tokenizer *tokenizer;
    pal_batches *train, *held; /* held NULL: nothing is held out */
    char identity[16];         /* the checksum of the store, in hexadecimal digits */
    pal_dist *dist;            /* the ranks; NULL: one process */
    pal_lock *lock; /* of the folder, taken before a store is written there; NULL: not yet taken */
} lm_data;

/*
 * Opens the data of a run. A file that is no store is a text: a new run first writes its bytes as
 * OUT/data.h5, and a run that is continued (`resumes`) reads that. data->dist is set before; of
 * several ranks the first writes, and each has its part of the batches.
 */
PAL_CHECKED pal_status lm_data_open(lm_data *data, const lm_options *o, bool resumes,
                                    pal_error *error);
void lm_data_close(lm_data *data);

/* Whether a file has to be opened as a store of tokens: it is HDF5. If it is HDF5 of another kind,
 * opening it gives the error. All other files are texts. */
bool lm_data_is_store(const char *path);

/* Opens and closes the file on the first of the ranks, if it is HDF5, so that it is checked there
 * (flags/checked.h) before the others open it. All get the same status. */
PAL_CHECKED pal_status lm_data_check(pal_dist *dist, const char *path, pal_error *error);

enum { LM_LOOKED_AT = 1 << 24 };
/* The bits per byte of a model that knows only how often each token occurs, over the first
 * LM_LOOKED_AT tokens. 0 after an error. */
double lm_data_entropy(pal_tokens *store);
/* The mean loss over the held-out split, of all ranks, in bits per byte of its text. If a signal
 * asks to stop (pal_stop_requested), it returns NaN at once. */
PAL_CHECKED pal_status lm_data_score(const lm_data *data, pal_lm *lm, pal_tape *tape, double *value,
                                     pal_error *error);
/* Continues the first tokens of the data, in constant memory, and writes them and the continuation.
 */
void lm_data_sample(const lm_data *data, pal_lm *lm, pal_tape *tape, const lm_options *o, FILE *to);

#endif
