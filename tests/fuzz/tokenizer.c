/* tokenizer.c - tokenizer.json: what is loaded encodes any text, and its text loads again. */
#include "tests/fuzz/frame/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "The  12 cats' na\xc3\xafve <|end|>\r\n\t\xe2\x80\x94 \xff abcd";
    pal_tokenizer *b, *again;
    pal_error error = {0};
    const char *json = fuzz_text(data, size);
    pal_status s = fuzz_tokenizer(&b, json, &error);
    fuzz_refused(s, &error);
    if (s == PAL_OK) {
        int64_t n;
        fuzz_round_trip(b, text, sizeof text - 1, FUZZ_ANY);
        fuzz_round_trip(b, data, (int64_t)size, FUZZ_ANY);
        const char *kept = pal_tokenizer_json(b, &n);
        fuzz_must(pal_tokenizer_load(&again, kept, n, &error) == PAL_OK, "it loads again");
        fuzz_must(pal_tokenizer_vocab_size(again) == pal_tokenizer_vocab_size(b),
                  "with as many tokens");
        pal_tokenizer_free(again);
        pal_tokenizer_free(b);
    }
    fuzz_forget();
    return 0;
}
