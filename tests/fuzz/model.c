/* model.c - the description of a model in a checkpoint, and the model that is made of it. Memory is
 * limited as layers/models/open.c limits it by what the file has. */
#include "tests/fuzz/frame/fuzz.h"
#include "autograd/internal.h"
#include "layers/models/description.h"

#include <stdlib.h>

static void keep_first(const pal_error *error, void *user)
{
    pal_error *first = user;
    if (first->status == PAL_OK) *first = *error;
}

static void make(pal_lm_opts o)
{
    pal_error first = {PAL_OK, ""};
    pal_set_error_handler(keep_first, &first);
    pal_params *params = pal_params_new();
    pal_params_limit(params, 1 << 18);
    const pal_lm *lm = pal_lm_new(params, o, NULL);
    fuzz_must((lm != NULL) == (first.status == PAL_OK), "there is a model, or a message");
    if (lm) fuzz_must(pal_lm_options(lm).layers == o.layers, "it has its layers");
    fuzz_refused(first.status, &first);
    pal_params_free(params);
    pal_set_error_handler(NULL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pal_lm_opts o;
    pal_error error = {0};
    char *copy = NULL;
    const pal_status s = pal_description_read(fuzz_text(data, size), &o, &copy, &error);
    fuzz_refused(s, &error);
    if (s == PAL_OK) {
        if (o.vocab == 0) o.vocab = 16;
        if (o.width == 0) o.width = 8;
        if (o.layers == 0) o.layers = 1;
        if (o.layers <= 16) make(o); /* a file has a parameter for each layer at least */
    }
    free(copy);
    fuzz_forget();
    return 0;
}
