/*
 * 06_predict.c - loads the best checkpoint of 05_classify.c and shows what it says of held-out
 * digits.
 *
 *     06_predict [FOLDER]                 (build/digits)
 */
#include "examples/05_classify.h"

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "build/digits";
    char path[PAL_PATH];
    pal_error e;
    int64_t step;
    double best;
    must(pal_run_best(folder, &step, &best, &e), &e);
    if (step == 0) {
        fprintf(stderr, "%s: there is no best checkpoint; 05_classify makes one\n", folder);
        return 1;
    }
    pal_params *p = pal_params_new();
    pal_rng rng = pal_rng_new(0, 0);
    const model m = new_model(p, &rng);
    pal_checkpoint c = {.params = p};
    must(pal_checkpoint_load(&c, pal_run_path(path, sizeof path, folder, step), &e), &e);

    pal_dataset *data = open_digits();
    pal_batches *held_out = open_held_out(data);
    pal_tape *tape = pal_tape_new();
    printf("%s: accuracy %.4f, and best.txt says %.4f\n", path, accuracy(&m, held_out, tape), best);

    pal_batch b;
    must(pal_batches_seek(held_out, (pal_position){0}, &e), &e);
    must(pal_batches_next(held_out, tape, &b, &e), &e);
    const pal_tensor logits = forward(&m, pal_batch_tensor(&b, "x"), false);
    const int64_t *said = pal_i64(pal_argmax(logits, -1, false));
    const int64_t *is = pal_i64(pal_batch_tensor(&b, "y"));
    for (int i = 0; i < 10; i++)
        printf("row %d: it is %lld, and the model says %lld\n", i, (long long)is[i],
               (long long)said[i]);
    pal_tape_free(tape);
    pal_params_free(p);
    pal_batches_free(held_out);
    pal_dataset_close(data);
}
