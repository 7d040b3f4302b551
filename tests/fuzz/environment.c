/* environment.c - lists in environment variables, such as PAL_CHECK=numerics,ranks:10. */
#include "tests/fuzz/frame/fuzz.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t number = 0;
    const char *text = fuzz_text(data, size);
    setenv("PAL_FUZZ", text, 1);
    const bool has = pal_environment_has("PAL_FUZZ", "ranks", &number);
    fuzz_must(!has || strstr(text, "ranks"), "a word that is found is there");
    fuzz_must(has || number == 0, "a number comes with its word");
    fuzz_forget();
    return 0;
}
