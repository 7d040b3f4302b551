/* journal.c - the small files of a run that is continued: logs and samples are cut back to whole
 * rows of steps 1 to last, and best.txt is read. */
#include "tests/fuzz/frame/fuzz.h"
#include "optim/train/run_folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check_rows(int64_t last)
{
    char path[256], *line = NULL, *end;
    size_t room = 0;
    snprintf(path, sizeof path, "%s/log.csv.tmp", fuzz_folder());
    FILE *file = fopen(path, "r");
    fuzz_must(file != NULL, "the log is there");
    fuzz_must(getline(&line, &room, file) > 0 && strcmp(line, "step,loss,lr\n") == 0, "its head");
    for (ssize_t n; (n = getline(&line, &room, file)) > 0;) {
        const long long step = strtoll(line, &end, 10);
        fuzz_must(line[n - 1] == '\n', "rows are whole");
        fuzz_must(step >= 1 && step <= last && *end == ',', "rows are of steps 1 to last");
    }
    free(line);
    fclose(file);
}

static void check_best(void)
{
    int64_t step, again;
    double best, value;
    pal_error error = {0};
    const pal_status s = pal_run_best(fuzz_folder(), &step, &best, &error);
    fuzz_refused(s, &error);
    if (s != PAL_OK || step == 0) return;
    fuzz_must(isfinite(best), "the best value is finite");
    fuzz_must(pal_run_set_best(fuzz_folder(), step, best, &error) == PAL_OK, error.message);
    fuzz_must(pal_run_best(fuzz_folder(), &again, &value, &error) == PAL_OK && again == step,
              "it is written as it was read");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const made[] = {"log.csv", "log.jsonl", "samples.txt"};
    const int64_t last = size ? data[size - 1] % 64 : 0;
    const char *folder = fuzz_folder();
    pal_error error = {0};
    for (int i = 0; i < 3; i++) fuzz_file(made[i], data, size);
    fuzz_file("best.txt", data, size);
    const pal_status s = pal_journal_prepare(folder, "loss,lr", last, &error);
    fuzz_refused(s, &error);
    if (s == PAL_OK) check_rows(last);
    fuzz_refused(pal_samples_cut(folder, last, &error), &error);
    for (int i = 0; i < 3; i++) pal_fresh_drop(folder, made[i]);
    check_best();
    return 0;
}
