/* separator.c - how tokenize cuts a text into documents: pieces of it, in order, without a line
 * that is the separator. The program's own text is included, under another name of main. */
#define main tokenize_main
int tokenize_main(int argc, char **argv);
#include "examples/tokenize.c"
#undef main

#include "tests/fuzz/frame/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char separator[] = "<|end|>";
    work r = {.o.separator = separator};
    const char *text = fuzz_text(data, size), *at = text;
    cut(&r, text, (int64_t)size);
    for (int64_t i = 0; i < r.texts; i++) {
        const char *byte = r.text[i].byte, *const end = byte + r.text[i].size;
        fuzz_must(byte >= at && byte < end && end <= text + size, "documents come in order");
        for (at = byte; at < end;) {
            const char *line = memchr(at, '\n', (size_t)(end - at));
            line = line ? line : end;
            fuzz_must((size_t)(line - at) != sizeof separator - 1 ||
                          memcmp(at, separator, sizeof separator - 1) != 0,
                      "no line of a document is the separator");
            at = line + (line < end);
        }
    }
    free(r.text);
    fuzz_forget();
    return 0;
}
