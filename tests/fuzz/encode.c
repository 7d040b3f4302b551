/* encode.c - any text comes back from tokenizers of several kinds; the first byte says which. */
#include "tests/fuzz/frame/fuzz.h"

#include <stdlib.h>

#define FILE_OF(added, pre, merges, vocab)                                                         \
    "{\"version\":\"1.0\",\"added_tokens\":[" added "],\"normalizer\":null,\"pre_tokenizer\":" pre \
    ",\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true},\"model\":{\"type\":\"BPE\"," \
    "\"vocab\":{$BYTES" vocab "},\"merges\":[" merges "]}}"
#define LEVEL(space, regex) \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":" space ",\"use_regex\":" regex "}"

enum { SPACED = 2, SPELLED = 5, KINDS = 7 };

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
                "[\"e\",\"e\"]", ",\"ee\":256"),
        /* Characters, as SentencePiece has them, with bytes for those that are no tokens. */
        "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":256,\"content\":\"<s>\",\"special\":true,"
        "\"rstrip\":true}],\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":"
        "\"Prepend\",\"prepend\":\"_\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
        "\"content\":\"_\"}]},\"pre_tokenizer\":null,\"post_processor\":{\"type\":"
        "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{"
        "\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[256]}}},\"decoder\":{\"type\":"
        "\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"_\"},"
        "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\","
        "\"content\":\" \",\"start\":1,\"stop\":0}]},\"model\":{\"type\":\"BPE\","
        "\"byte_fallback\":true,\"vocab\":{$FALLBACK,\"<s>\":256,\"_\":257,\"a\":258,\"_a\":259,"
        "\"\xc3\xa9\":260},\"merges\":[\"_ a\"]}}",
        /* Pieces that are cut again after they were spelled, and tokens with every flag. */
        FILE_OF(
            "{\"id\":257,\"content\":\"ab\",\"single_word\":true},{\"id\":258,\"content\":"
            "\"<m>\",\"lstrip\":true,\"rstrip\":true,\"normalized\":true}",
            "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Punctuation\",\"behavior\":"
            "\"Contiguous\"}," LEVEL("true", "true") ",{\"type\":\"Digits\"},{\"type\":\"Split\","
                                                     "\"pattern\":{\"Regex\":\"[0-9]{3}|\\\\s\"},"
                                                     "\"behavior\":\"MergedWithNext\","
                                                     "\"invert\":true}]}",
            "", ",\"ee\":256"),
        /* A vocabulary of few characters. */
        "{\"version\":\"1.0\",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\","
        "\"prepend_scheme\":\"first\"},\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"_\"},"
        "\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"fuse_unk\":true,\"vocab\":{\"?\":0,"
        "\"a\":1,\"_\":2,\"_a\":3},\"merges\":[\"_ a\"]}}"};
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
                    kind == SPACED || kind == SPELLED ? FUZZ_SPACES : FUZZ_EXACT);
    return 0;
}
