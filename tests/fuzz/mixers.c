/* mixers.c - lists of mixers, 6*(gdn2,...): every entry of a good list can be asked for. */
#include "tests/fuzz/frame/fuzz.h"
#include "layers/mixers/internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pal_error error = {0};
    const char *list = fuzz_text(data, size);
    const int64_t n = pal_mixers_count(list);
    const pal_status s = pal_mixers_check(list, &error);
    fuzz_refused(s, &error);
    fuzz_must(n >= 0 && n <= 1 << 16, "a list has 65536 entries at most");
    fuzz_must(s != PAL_OK || n > 0, "a good list has entries");
    fuzz_refused(pal_mixer_check(list, &error), &error);
    for (int64_t i = 0; i < n + 2 && i < 64; i++) {
        char *mixer;
        size_t length;
        pal_block_opts block = {0};
        pal_error why = {0};
        fuzz_must((pal_mixers_at(list, i, &length) != NULL) == (n > 0), "entries are counted");
        const pal_status t = pal_mixers_entry(list, i, &mixer, &block, &why);
        fuzz_refused(t, &why);
        fuzz_must(s != PAL_OK || t == PAL_OK, "a good list has good entries");
        if (s == PAL_OK) fuzz_must(pal_mixer_check(mixer, &why) == PAL_OK, why.message);
        free(mixer);
    }
    fuzz_forget();
    return 0;
}
