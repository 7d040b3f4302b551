/* ends.c - config.json and generation_config.json: which tokens end a text. */
#include "tests/fuzz/frame/fuzz.h"
#include "tensor/text/ends.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pal_token_ids ids = {0};
    pal_error error = {0};
    char *exact =
        malloc(size ? size : 1); /* without a NUL, so that a sanitizer sees who reads it */
    if (!exact) abort();
    if (size) memcpy(exact, data, size);
    const pal_status s = pal_ends_read(exact, (int64_t)size, &ids, &error);
    fuzz_refused(s, &error);
    for (int64_t i = 0; i < ids.count; i++) {
        fuzz_must(ids.id[i] >= 0 && ids.id[i] <= INT32_MAX, "ids are whole numbers from 0");
        for (int64_t j = 0; j < i; j++) fuzz_must(ids.id[i] != ids.id[j], "each is there once");
    }
    pal_token_ids_free(&ids);
    free(exact);
    return 0;
}
