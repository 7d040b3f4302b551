/* optimisers.c - texts of optimisers: one that is good makes an optimiser. */
#include "tests/fuzz/frame/fuzz.h"

static void ignore(const pal_error *error, void *user) { *(pal_error *)user = *error; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pal_error error = {0}, made = {0};
    const char *text = fuzz_text(data, size);
    const pal_status s = pal_optims_check(text, &error);
    fuzz_refused(s, &error);
    pal_set_error_handler(ignore, &made);
    pal_params *params = pal_params_new();
    pal_param(params, "w", PAL_F32, PAL_SHAPE(2, 3));
    pal_optim *optim = pal_optim_new(params, text);
    fuzz_must((optim != NULL) == (s == PAL_OK), "what is checked is what is made");
    fuzz_refused(made.status, &made);
    pal_optim_free(optim);
    pal_params_free(params);
    pal_set_error_handler(NULL, NULL);
    fuzz_forget();
    return 0;
}
