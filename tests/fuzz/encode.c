/* encode.c - any text comes back from tokenizers of several kinds; the first byte says which. */
#include "tests/fuzz/frame/fuzz.h"

#include <stdlib.h>

#define FILE_OF(added, pre, merges, vocab)                                                         \
    "{\"version\":\"1.0\",\"added_tokens\":[" added "],\"normalizer\":null,\"pre_tokenizer\":" pre \
    ",\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true},\"model\":{\"type\":\"BPE\"," \
    "\"vocab\":{$BYTES" vocab "},\"merges\":[" merges "]}}"
#define LEVEL(space, regex) \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":" space ",\"use_regex\":" regex "}"

enum { SPACED = 2, KINDS = 4 };

static pal_tokenizer *made(int kind)
{
    static const char *const json[KINDS] = {
        "",
        FILE_OF("{\"id\":258,\"content\":\"<|end|>\",\"special\":true}", LEVEL("false", "true"),
                "\"t h\",\"th e\"", ",\"th\":256,\"the\":257"),
        FILE_OF("{\"id\":257,\"content\":\"ab\"},{\"id\":258,\"content\":\"abc\"}",
                LEVEL("true", "true"), "\"a a\"", ",\"aa\":256"),
        FILE_OF("",
                "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{"
                "\"Regex\":\"\\\\s+|\\\\p{L}+|[^\\\\s\\\\p{L}]+\"},\"behavior\":\"Isolated\"},{"
                "\"type\":\"Digits\",\"individual_digits\":true}," LEVEL("false", "false") "]}",
                "[\"e\",\"e\"]", ",\"ee\":256")};
    pal_tokenizer *b;
    pal_error error = {0};
    const pal_status s =
        kind ? fuzz_tokenizer(&b, json[kind], &error) : pal_tokenizer_load(&b, "", 0, &error);
    fuzz_must(s == PAL_OK, error.message);
    return b;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static pal_tokenizer *b[KINDS];
    if (size == 0) return 0;
    const int kind = data[0] % KINDS;
    if (!b[kind]) b[kind] = made(kind);
    fuzz_round_trip(b[kind], data + 1, (int64_t)size - 1,
                    kind == SPACED ? FUZZ_SPACES : FUZZ_EXACT);
    return 0;
}
