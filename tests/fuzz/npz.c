/* npz.c - arrays of NumPy, alone or in an archive. */
#include "tests/fuzz/frame/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_dataset("data.npz", data, size);
    return 0;
}
