/* plot.c - log.csv as the plots read it: whether it has a column, and the largest number there. */
#include "optim/train/plot.c"

#include "tests/fuzz/frame/fuzz.h"

/* The same by a plain split: the text up to the first end of a line has a field of that name. As
 * much is read as has_column has room for, and up to a NUL. */
static bool is_named(const char *text, size_t size, const char *column)
{
    const size_t most = size < 4095 ? size : 4095, length = strlen(column);
    for (size_t at = 0, end = 0; end < most; at = ++end) {
        while (end < most && !strchr(",\n", text[end])) end++;
        if (end - at == length && memcmp(text + at, column, length) == 0) return true;
        if (end < most && text[end] != ',') break;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[256];
    double largest;
    fuzz_file("log.csv", data, size);
    snprintf(path, sizeof path, "%s/log.csv", fuzz_folder());
    const bool step = has_column(path, "step", &largest);
    const bool loss = has_column(path, "loss", &largest);
    fuzz_must(loss || isnan(largest), "a column that is missing has no number");
    const char *text = fuzz_text(data, size);
    fuzz_must(step == is_named(text, size, "step"), "the first line names the column step, or not");
    fuzz_must(loss == is_named(text, size, "loss"), "the first line names the column loss, or not");
    fuzz_forget();
    return 0;
}
