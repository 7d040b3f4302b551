/* 06_predict.c - loads the best checkpoint of 05_classify.c: 06_predict [FOLDER] (build/digits) */
#include "examples/05_classify.h"

int main(int argc, char **argv)
{
    pal_error e;
    double best, value;
    pal_train_opts o = digits(argc > 1 ? argv[1] : "build/digits", NULL);
    pal_must(pal_run_load_best(o.folder, o.params, &best, &e), &e);
    pal_must(pal_measure(o.held_out, o.tape, accuracy, o.user, 1, &value, &e), &e);
    printf("%s: accuracy %.4f, and best.txt says %.4f\n", o.folder, value, best);
    pal_train_free(&o);
}
