/* plot.c - log.csv as the plots read it: whether it has a column, and the largest number there. */
#include "optim/train/plot.c"

#include "tests/fuzz/frame/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[256];
    double largest;
    fuzz_file("log.csv", data, size);
    snprintf(path, sizeof path, "%s/log.csv", fuzz_folder());
    const bool step = has_column(path, "step", &largest);
    const bool loss = has_column(path, "loss", &largest);
    fuzz_must(loss || isnan(largest), "a column that is missing has no number");
    fuzz_must(!step || size >= 4, "a column is named");
    return 0;
}
