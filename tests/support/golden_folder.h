/*
 * golden_folder.h - results of a folder of a released model: what the parts of the comparison
 * share.
 */
#ifndef PAL_TESTS_GOLDEN_FOLDER_H
#define PAL_TESTS_GOLDEN_FOLDER_H

#include "layers/models/families/folder.h"
#include "tests/support/golden.h"

/* A model, and what its file of results says. */
typedef struct golden_folder {
    golden *g;
    pal_lm_file model;
    pal_folder folder;
    pal_names *names;
    pal_array tokens; /* i64 [steps,B,T+1] */
    int64_t steps, B, T, vocab;
    double f32_error, f32_train_error[2]; /* of the reference itself in f32 */
} golden_folder;

/* Sets the tolerances of the comparisons that follow: f64, and f32 with the error that the
 * reference has there. */
void golden_folder_tolerance(golden_folder *f, double f64, double f32_error);
/* Tokens of a step as a leaf: rows [0,B) and columns [first,last). */
pal_tensor golden_folder_tokens(golden_folder *f, int64_t step, int64_t rows, int64_t first,
                                int64_t last);
/* A dataset of the file in f64 or i64, for free() of its data; data NULL after a failure. */
pal_array golden_folder_read(golden_folder *f, const char *name);

/* Continuing the prompt greedily, token by token, at once, and from a saved state. */
void golden_folder_greedy(golden_folder *f);
/* Gradients under the names of the folder's tensors, and some steps of AdamW. */
void golden_folder_gradients(golden_folder *f);
void golden_folder_train(golden_folder *f);
/* What the folder's tokenizer makes of the texts of encodings.json. */
void golden_folder_encodings(golden *g, const char *folder);

#endif
