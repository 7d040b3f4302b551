/* tasks.c - texts of tasks: a task writes a text that makes the same task, and rows of known
 * tokens. */
#include "tests/fuzz/frame/fuzz.h"
#include "examples/tasks/tasks.h"

#include <stdlib.h>
#include <string.h>

static void check_row(const task *t, task_split split, int point)
{
    const int64_t len = task_point_at(t, split, point).len, vocab = task_vocab(t);
    if (len > 512) return;
    int64_t *tokens = malloc((size_t)len * sizeof *tokens);
    int64_t *targets = malloc((size_t)len * sizeof *targets);
    if (!tokens || !targets) abort();
    task_rows(t, split, point, 7, 0, 1, tokens, targets);
    for (int64_t i = 0; i < len; i++) {
        fuzz_must(tokens[i] >= 0 && tokens[i] < vocab, "tokens are in the vocabulary");
        fuzz_must(targets[i] == PAL_IGNORE || (targets[i] >= 0 && targets[i] < vocab),
                  "targets are in the vocabulary");
    }
    free(tokens);
    free(targets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    task *t, *again;
    pal_error error = {0};
    const char *text = fuzz_text(data, size);
    const pal_status s = task_new(&t, text, &error);
    fuzz_refused(s, &error);
    if (s == PAL_OK) {
        fuzz_must(task_new(&again, task_text(t), &error) == PAL_OK, error.message);
        fuzz_must(strcmp(task_text(t), task_text(again)) == 0, "a text is read as the same");
        for (int split = TASK_TRAIN; split <= TASK_TEST; split++)
            for (int i = 0; i < task_points(t, (task_split)split) && i < 3; i++)
                check_row(t, (task_split)split, i);
        task_free(again);
        task_free(t);
    }
    fuzz_forget();
    return 0;
}
