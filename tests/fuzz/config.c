/* config.c - the options of a run, as config.txt and checkpoints have them: what is read is
 * written, and what is written is read as the same. */
#include "tests/fuzz/frame/fuzz.h"
#include "examples/lm/options.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lm_options o, again, other;
    pal_error error = {0};
    const char *text = fuzz_text(data, size);
    const pal_status s = lm_options_read(&o, text, &error);
    fuzz_refused(s, &error);
    if (s == PAL_OK) {
        char *first = lm_options_text(&o);
        fuzz_must(lm_options_read(&again, first, &error) == PAL_OK, error.message);
        char *second = lm_options_text(&again);
        fuzz_must(strcmp(first, second) == 0, "what was written is read as the same");
        fuzz_must(lm_options_read(&other, "", &error) == PAL_OK, "no line is no mistake");
        for (int i = 0; size && i < 8; i++) other.given[i] = data[0] >> i & 1;
        fuzz_refused(lm_options_continue(&other, text, &error), &error);
        free(first);
        free(second);
    }
    fuzz_forget();
    return 0;
}
