/* train.c - learning a tokenizer from any texts: its text loads, and the texts come back. */
#include "tests/fuzz/frame/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const special[] = {"<|end|>"};
    pal_tokenizer *b;
    pal_error error = {0};
    const size_t half = size / 2;
    const pal_tokenizer_text text[] = {{data, (int64_t)half},
                                       {data + half, (int64_t)(size - half)}};
    const pal_tokenizer_train_opts opts = {
        .vocab = 257 + (size ? data[0] % 32 : 0), .specials = 1, .special = special};
    const pal_status s = pal_tokenizer_train(&b, text, 2, opts, &error);
    fuzz_refused(s, &error);
    fuzz_must(s == PAL_OK, "every text can be learned from");
    fuzz_must(pal_tokenizer_special(b, special[0]) >= 0, "the special token is there");
    fuzz_round_trip(b, data, (int64_t)size, FUZZ_EXACT);
    pal_tokenizer_free(b);
    return 0;
}
