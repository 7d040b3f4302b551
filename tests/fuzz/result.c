/* result.c - what a run of a study leaves, and what it is asked to do: files that are damaged count
 * as missing. */
#include "tests/fuzz/frame/fuzz.h"
#include "examples/ablate/ablate.h"

static const char description[] = "rows = 4\nenough = 0.5\nmodel = 0\n\nlayers = 1\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const run r = {
        .points = 2, .steps = 40, .rows = 4, .enough = 0.5, .name = "run", .text = description};
    recipe how;
    pal_error error = {0};
    fuzz_file("run.txt", data, size);
    result *x = result_read(fuzz_folder(), &r);
    if (x) {
        fuzz_must(x->points == r.points && x->steps <= r.steps, "it is a result of this run");
        fuzz_must(result_write(x, fuzz_folder(), "run", description, &error) == PAL_OK,
                  error.message);
        result *again = result_read(fuzz_folder(), &r);
        fuzz_must(again && again->looks == x->looks && again->steps == x->steps,
                  "it is written as it was read");
        result_free(again);
        result_free(x);
    }
    fuzz_refused(recipe_read(&how, fuzz_text(data, size), &error), &error);
    fuzz_forget();
    return 0;
}
