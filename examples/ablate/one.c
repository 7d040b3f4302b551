/*
 * one.c - one run, in a process and on a thread of its own: description in, result out.
 */
#include "examples/ablate/ablate.h"
#include "examples/lm/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is noted while it learns. */
typedef struct notes {
    result x;
    int room;
    const task *t;
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
    for (int i = 0; i < l->points; i++) to->value[i] = task_measure(n->t, &l->scores[i]);
    return true;
}

static recipe read_description(const char **text)
{
    recipe r;
    lm_text all;
    pal_error error;
    if (lm_text_read_most(&all, "-", LM_MOST_LINES, &error) != PAL_OK)
        stop("--run: %s", error.message);
    *text = lm_keep((const char *)all.byte, (size_t)all.size);
    lm_text_free(&all);
    if (recipe_read(&r, *text, &error) != PAL_OK) stop("--run, standard input: %s", error.message);
    return r;
}

/* The model of a run that is made again is another one than the result there tells of, which goes
 * first: whenever this process ends, a result and a model that are there belong together. Also of a
 * run that keeps none: what an earlier one kept is not its own. */
static void remove_old(const char *folder, const char *name)
{
    static const char *const kinds[] = {"txt", "h5"};
    char path[PAL_PATH];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%.3900s/%.150s.%s", folder, name, kinds[i]);
        if (unlink(path) && errno != ENOENT) stop("%s: %s", path, strerror(errno));
    }
}

int one_run(const char *folder, const char *name)
{
    const char *description;
    pal_error error;
    task *t;
    notes n = {.room = 0};
    const recipe how = read_description(&description);
    pal_set_threads(1);
    pal_stop_install();
    if (task_new(&t, how.o.data, &error) != PAL_OK) stop("--run: %s", error.message);
    n.t = t;
    pal_params *params = pal_params_new();
    pal_lm *lm = init_new(params, lm_options_model(&how.o), how.init, how.o.seed, &error);
    if (!lm) stop("%s: %s", name, error.message);
    const task_result r = task_learn(t, params, lm, how.run, note, &n);
    const bool stopped = pal_stop_requested() != 0;
    if (!stopped) {
        snprintf(n.x.code, sizeof n.x.code, "%s", pal_code_version());
        snprintf(n.x.kernels, sizeof n.x.kernels, "%s", pal_kernels_in_use());
        result_machine(n.x.machine);
        n.x.steps = r.steps, n.x.loss = r.loss, n.x.seconds = r.seconds, n.x.failed = r.failed;
        n.x.points = r.points;
        memcpy(n.x.score, r.scores, sizeof n.x.score);
        remove_old(folder, name);
        if (how.model && !r.failed) kept_save(params, &how, t, folder, name, r.steps);
        if (result_write(&n.x, folder, name, description, &error) != PAL_OK)
            stop("%s", error.message);
    }
    free(n.x.look);
    pal_params_free(params);
    task_free(t);
    return stopped ? STOPPED : EXIT_SUCCESS;
}
