/* csv.c - tables of numbers as text. */
#include "tests/fuzz/frame/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_dataset("data.csv", data, size);
    return 0;
}
