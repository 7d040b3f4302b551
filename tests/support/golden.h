/*
 * golden.h - reference files: inputs, outputs and gradients of a slow float64 implementation.
 *
 * A file has inputs under in/, outputs under out/ with cotangents of the same names under cot/, and
 * under grad/ the gradients of sum(cot * out). tests/replay computes the same and compares every
 * output and gradient. A value that only one of the two has is a failure, and so is an option that
 * would be ignored: a file must not pass if it compares less than it seems to.
 */
#ifndef PAL_TESTS_GOLDEN_H
#define PAL_TESTS_GOLDEN_H

#include "layers/layers.h"

typedef enum golden_verdict { GOLDEN_PASS = 0, GOLDEN_FAIL = 1, GOLDEN_CANNOT = 2 } golden_verdict;

typedef struct golden {
    pal_h5 *file;
    const char *path;
    pal_dtype dtype; /* to compute in */
    pal_rule_mode mode;
    double f32, f64,
        f64_stored_f32; /* tolerances: in f32; in f64 by the type of the stored array */
    pal_tape *tape;
    int compared, failed;
} golden;

/* A computed array and the dataset that it is compared with. */
typedef struct golden_result {
    char name[160]; /* relative to the group */
    pal_array value;
} golden_result;

/* Prints a reason and counts a failure. */
void golden_fail(golden *g, const char *format, ...) PAL_PRINTF(2, 3);
/* A dataset as a leaf in the file's dtype for this run (i64 stays); PAL_NONE if there is none. */
pal_tensor golden_leaf(golden *g, const char *name, bool want_grad);
/* Backward from outputs with the cotangents stored under cot/ (outputs without one are left out).
 */
void golden_backward(golden *g, int n, const char *const *names, const pal_tensor *outputs);
/* Compares every result with the dataset of its name; a failure for each that the file lacks, and
 * for each dataset below group that was not computed. */
void golden_compare(golden *g, const char *group, int n, const golden_result *results);
/* Compares one result; other datasets of the group are nobody's matter. */
void golden_compare_one(golden *g, const char *group, const golden_result *result);
golden_result golden_result_of(const char *name, pal_array value);
/* Results of all parameters, named prefix + NAME: their values or their gradients. */
void golden_param_results(golden *g, pal_params *params, const char *prefix, bool gradients,
                          golden_result *results);
/* Counts a failure for every dataset below group whose name is not among the n. */
void golden_expect_only(golden *g, const char *group, int n, const char *const *names);
/* The same for the file's attributes. */
void golden_expect_attributes(golden *g, int n, const char *const *names);
/* The gradient of a leaf or parameter; zeros if none has reached it. */
pal_array golden_gradient(golden *g, pal_tensor t);
/* A text attribute of the file; false if there is none. */
bool golden_text(golden *g, const char *attribute, char *text, size_t size);
/* A number attribute; 0 if there is none, and a failure if it is something else. */
double golden_number(golden *g, const char *attribute);

/*
 * The text of a mixer, "name:key=value...", from its options in JSON. "mixer" and "hidden_size" are
 * not part of it, but must be name and width where they are given. false, after counting a failure,
 * if they are not, if an option is of no kind that mixers have, or the text is too long.
 */
struct cJSON;
bool golden_mixer_text(golden *g, const struct cJSON *options, const char *name, int64_t width,
                       char *text, size_t room);
/* Whether the library has a mixer of this name. */
bool golden_mixer_known(const char *name);

/* The kinds of files. */
golden_verdict golden_op(golden *g);
golden_verdict golden_layer(golden *g);
golden_verdict golden_model(golden *g);
/* A file of results of the model in a folder, as golden_folder.h says. */
golden_verdict golden_folder_results(golden *g, const char *folder);

#endif
