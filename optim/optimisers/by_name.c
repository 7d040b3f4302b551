/*
 * by_name.c - optimisers by name and options text, `name[:key=value...]`.
 *
 * The file of each optimiser has a table of its keys (tensor/keys.h).
 */
#include "autograd/internal.h"
#include "optim/optimisers/internal.h"

#include <string.h>

static const pal_update_kind *const kinds[] = {
#define PAL_OPTIMISER(name) &pal_update_##name,
#include "optim/optimisers/optimisers.def"
};
enum { KINDS = sizeof kinds / sizeof *kinds };

const char *pal_optims_name(int i) { return i >= 0 && i < KINDS ? kinds[i]->name : NULL; }

/* Kind and options of a text; the caller frees the options. */
static pal_status parse(const char *text, const pal_update_kind **kind, void **opts,
                        pal_error *error)
{
    const size_t n = strcspn(text, ":");
    const int i = pal_kind_find((const void *const *)kinds, KINDS, "optimiser", text, n, error);
    char prefix[64];
    *opts = NULL;
    if (i < 0) return PAL_EVALUE;
    *kind = kinds[i];
    snprintf(prefix, sizeof prefix, "optimiser %s: ", kinds[i]->name);
    *opts = pal_malloc(kinds[i]->opts_size);
    if (!*opts) return pal_error_set(error, PAL_ENOMEM, "%sout of memory", prefix);
    memset(*opts, 0, kinds[i]->opts_size);
    return pal_keys_read(&kinds[i]->keys, *opts, prefix, text + n, strlen(text + n), false, error);
}

static void drop(const pal_update_kind *kind, void *opts)
{
    if (opts) pal_free(opts, kind->opts_size);
}

pal_status pal_optims_check(const char *text, pal_error *error)
{
    const pal_update_kind *kind;
    void *opts;
    const pal_status s = parse(text, &kind, &opts, error);
    drop(kind, opts);
    return s;
}

/* The last two fields of the options of every kind. */
typedef struct grouping {
    const pal_group *groups;
    int count;
} grouping;

pal_optim *pal_optim_new(pal_params *params, const char *text)
{
    return pal_optim_new_grouped(params, text, NULL, 0);
}

pal_optim *pal_optim_new_grouped(pal_params *params, const char *text, const pal_group *groups,
                                 int group_count)
{
    const pal_update_kind *kind;
    void *opts;
    pal_error error;
    pal_optim *optim = NULL;
    if (parse(text, &kind, &opts, &error) == PAL_OK) {
        grouping *g = (grouping *)(void *)((char *)opts + kind->groups);
        g->groups = groups;
        g->count = group_count;
        optim = kind->create(params, opts);
    } else {
        pal_fail_nowhere(error.status, "%s", error.message);
    }
    drop(kind, opts);
    return optim;
}
