/*
 * kept.c - the model that a run leaves beside its result, a checkpoint that --layers and the other
 * programs of checkpoints can open; and whether the one that is there is that of the run.
 */
#include "examples/ablate/ablate.h"
#include "examples/lm/options.h"
#include "examples/tasks/save.h"

#include <stdlib.h>
#include <string.h>

void kept_save(pal_params *params, const recipe *how, const task *t, const char *folder,
               const char *name, int64_t step)
{
    char file[4 * NAME];
    pal_error error;
    lm_options o = how->o;
    task_describe(&o, t, &how->run);
    snprintf(file, sizeof file, "%.150s.h5", name);
    if (task_save(params, &o, step, folder, file, &error) != PAL_OK) stop("%s", error.message);
}

/* The text of a checkpoint as this program writes it, for free(); NULL: it cannot be opened. */
static char *config_of(const char *path)
{
    static char config[1 << 20];
    lm_options o;
    pal_error error;
    if (pal_file_kind_of(path) != PAL_FILE_CHECKPOINT ||
        pal_checkpoint_config(path, config, sizeof config, &error) != PAL_OK ||
        lm_options_read(&o, config, &error) != PAL_OK)
        return NULL;
    return lm_options_text(&o);
}

static bool step_is(const char *path, int64_t step)
{
    pal_h5 *file;
    pal_error error;
    double found = -1;
    if (pal_h5_open(&file, path, &error) != PAL_OK) return false;
    if (pal_h5_get_number(file, "/", "step", &found, &error) != PAL_OK) found = -1;
    pal_h5_close(file);
    return found == (double)step;
}

bool kept_is(const char *folder, const run *r, int64_t step)
{
    char path[PAL_PATH];
    recipe how;
    pal_error error;
    task *t;
    snprintf(path, sizeof path, "%.3900s/%.150s.h5", folder, r->name);
    char *is = config_of(path);
    if (!is) return false;
    if (recipe_read(&how, r->text, &error) != PAL_OK || task_new(&t, how.o.data, &error) != PAL_OK)
        stop("%s: %s", r->name, error.message);
    task_describe(&how.o, t, &how.run);
    task_free(t);
    char *wanted = lm_options_text(&how.o);
    const bool same = strcmp(is, wanted) == 0 && step_is(path, step);
    free(is), free(wanted);
    return same;
}
