/*
 * one.c - one run, in a process and on a thread of its own: description in, result out.
 */
#include "bench/ablate_parts/ablate.h"
#include "examples/tasks/save.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is noted while it learns. */
typedef struct notes {
    result x;
    int room;
} notes;

static bool note(void *user, const task_look *l)
{
    notes *n = user;
    if (n->x.looks == n->room) {
        n->room = n->room ? 2 * n->room : 32;
        look *more = realloc(n->x.look, (size_t)n->room * sizeof *more);
        if (!more) stop("out of memory");
        n->x.look = more;
    }
    look *to = &n->x.look[n->x.looks++];
    *to = (look){.step = l->step, .loss = l->loss};
    for (int i = 0; i < l->points; i++) to->accuracy[i] = l->scores[i].accuracy;
    return true;
}

/* What is ours of a description; the rest is for lm_options_read. */
typedef struct ours {
    int64_t rows;
    double enough;
    int model;
} ours;

static void read_description(char text[DESCRIPTION], ours *mine, lm_options *o)
{
    int n = 0;
    pal_error error;
    const size_t size = fread(text, 1, DESCRIPTION - 1, stdin);
    text[size] = '\0';
    if (sscanf(text, "rows = %" SCNd64 "\nenough = %lf\nmodel = %d\n%n", &mine->rows, &mine->enough,
               &mine->model, &n) != 3 ||
        n == 0)
        stop("--run: standard input is no description of a run");
    if (lm_options_read(o, text + n, &error) != PAL_OK) stop("--run: %s", error.message);
}

/* The model of a run that is made again is another one than the result there tells of, which goes
 * first: whenever this process ends, a result and a model that are there belong together. */
static void remove_old(const char *folder, const char *name)
{
    static const char *const kinds[] = {"txt", "h5"};
    char path[PAL_PATH];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%.3900s/%.150s.%s", folder, name, kinds[i]);
        if (unlink(path) && errno != ENOENT) stop("%s: %s", path, strerror(errno));
    }
}

/* A checkpoint that --layers and the other programs of checkpoints can open. */
static void save_model(pal_params *params, lm_options *o, const task *t, const task_run *how,
                       const char *folder, const char *name, int64_t step)
{
    char file[4 * NAME];
    pal_error error;
    task_describe(o, t, how);
    snprintf(file, sizeof file, "%.150s.h5", name);
    if (task_save(params, o, step, folder, file, &error) != PAL_OK) stop("%s", error.message);
}

int one_run(const char *folder, const char *name)
{
    char description[DESCRIPTION];
    ours mine;
    lm_options o;
    pal_error error;
    task *t;
    notes n = {.room = 0};
    read_description(description, &mine, &o);
    pal_set_threads(1);
    pal_stop_install();
    if (task_new(&t, o.data, &error) != PAL_OK) stop("--run: %s", error.message);
    pal_params *params = pal_params_new();
    pal_rng rng = pal_rng_new(o.seed, 0);
    pal_lm *lm = pal_lm_new(params, lm_options_model(&o), &rng);
    const task_run how = {.steps = o.steps,
                          .batch = o.batch,
                          .lr = o.lr,
                          .weight_decay = o.weight_decay > 0 ? o.weight_decay : -1,
                          .clip = o.clip,
                          .warmup = o.warmup,
                          .seed = o.seed,
                          .every = o.eval_every,
                          .rows = mine.rows,
                          .enough = mine.enough};
    const task_result r = task_learn(t, params, lm, how, note, &n);
    const bool stopped = pal_stop_requested() != 0;
    if (!stopped) {
        n.x.steps = r.steps, n.x.loss = r.loss, n.x.seconds = r.seconds, n.x.failed = r.failed;
        n.x.points = r.points;
        memcpy(n.x.score, r.scores, sizeof n.x.score);
        if (mine.model) remove_old(folder, name);
        if (mine.model && !r.failed) save_model(params, &o, t, &how, folder, name, r.steps);
        if (result_write(&n.x, folder, name, description, &error) != PAL_OK)
            stop("%s", error.message);
    }
    free(n.x.look);
    pal_params_free(params);
    task_free(t);
    return stopped ? STOPPED : EXIT_SUCCESS;
}
