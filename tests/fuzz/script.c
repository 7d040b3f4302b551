/* script.c - the scripts of inspect: what is read can be run through every rule. */
#include "tests/fuzz/frame/fuzz.h"
#include "examples/inspect/look.h"
#include "examples/inspect/script.h"

#include <math.h>
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
        for (int i = 0; i < ob.heads; i++)
            for (int64_t j = 0; j < ob.T * ob.head[i].turns.J; j++)
                fuzz_must(isfinite(ob.head[i].turns.om[j]), "a rate of angles is a number");
        ob_free(&ob);
    }
    fuzz_forget();
    return 0;
}
