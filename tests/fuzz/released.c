/*
 * released.c - config.json of a released model: what is taken is the text of a configuration, which
 * is read as the same model, and a model of it is made, or refused by a sentence.
 */
#include "layers/models/description.h"
#include "layers/models/families/family.h"
#include "layers/models/lm.h"
#include "tensor/stream.h"
#include "tests/fuzz/frame/fuzz.h"

#include <stdlib.h>
#include <string.h>

/* What programs do with the options. */
static void make(const pal_lm_opts *opts)
{
    pal_lm_file f = {.lm = NULL};
    pal_error error = {0};
    fuzz_must(pal_mixers_check(opts->mixers, &error) == PAL_OK, "its list of mixers is one");
    if (opts->layers > 64) return; /* sooner done */
    const pal_status s = pal_lm_make_empty(&f, *opts, 1 << 10, &error);
    fuzz_refused(s, &error);
    fuzz_must(s != PAL_OK || pal_params_size(f.params) < 1 << 18, "it takes no more memory");
    pal_lm_close(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pal_json *root = NULL;
    const pal_family *family;
    pal_described *d = malloc(sizeof *d);
    char *mixers = NULL, *text = malloc(size + 1);
    pal_error error = {0};
    memcpy(text, data, size);
    FILE *notes = pal_stream_open();
    pal_status s = pal_json_parse(&root, text, size, &error);
    if (s == PAL_OK) s = pal_config_read(root, notes, &family, d, &mixers, &error);
    fuzz_refused(s, &error);
    if (s == PAL_OK) make(&d->opts);
    char *said = pal_stream_close(notes, NULL);
    fuzz_must(said && strlen(said) < 400 * size + 1, "warnings are short");
    free(said);
    free(mixers);
    free(text);
    free(d);
    pal_json_free(root);
    fuzz_forget();
    return 0;
}
