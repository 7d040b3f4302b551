/* script.c - the scripts of inspect: what is read can be run through every rule. */
#include "tests/fuzz/frame/fuzz.h"
#include "examples/inspect/look.h"
#include "examples/inspect/script.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static script *s;
    pal_error error = {0};
    const char *text = fuzz_text(data, size);
    if (!s) s = malloc(sizeof *s);
    if (!s) abort();
    const pal_status status = script_parse(s, text, "fuzz", &error);
    fuzz_refused(status, &error);
    if (status == PAL_OK && s->lines <= 8 && s->keys.width <= 8 && s->values.width <= 8) {
        observation ob = {.T = 0};
        fuzz_must(script_observe(&ob, text, "fuzz", NULL, &error) == PAL_OK, error.message);
        fuzz_must(ob.T == s->lines, "a line is a token");
        ob_free(&ob);
    }
    fuzz_forget();
    return 0;
}
