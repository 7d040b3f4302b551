/* 06_predict.c - loads the best checkpoint of 05_classify.c: 06_predict [FOLDER] (build/digits) */
#include "examples/05_classify.h"

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "build/digits";
    char path[PAL_PATH];
    pal_error e;
    int64_t step;
    double best, value;
    pal_must(pal_run_best(folder, &step, &best, &e), &e);
    pal_params *p = pal_params_new();
    model m = new_model(p, NULL);
    pal_checkpoint c = {.params = p};
    pal_must(pal_checkpoint_load(&c, pal_run_path(path, sizeof path, folder, step), &e), &e);
    pal_batches_opts rows;
    pal_dataset *data = open_digits(&rows);
    rows.validation = true;
    pal_batches *held_out = pal_dataset_batches(data, rows);
    pal_tape *tape = pal_tape_new();
    pal_must(pal_measure(held_out, tape, accuracy, &m, 1, &value, &e), &e);
    printf("%s: accuracy %.4f, and best.txt says %.4f\n", path, value, best);
    pal_tape_free(tape), pal_params_free(p), pal_batches_free(held_out), pal_dataset_close(data);
}
