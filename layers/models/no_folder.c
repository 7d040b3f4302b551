/*
 * no_folder.c - where there is no cJSON or no PCRE2: folders of released models are not opened.
 */
#include "layers/models/open_folder.h"

static pal_status cannot(const char *path, pal_error *error)
{
    return pal_error_set(error, PAL_EVALUE,
                         "%.400s: this library was built without cJSON or PCRE2, and reads no "
                         "models in the form of others",
                         path);
}

pal_status pal_lm_open_folder(pal_lm_file *f, pal_params *params, const char *path,
                              pal_lm_open_opts opts, pal_error *error)
{
    (void)f, (void)params, (void)opts;
    return cannot(path, error);
}

pal_status pal_lm_describe_folder(const char *path, char **description, pal_error *error)
{
    (void)description;
    return cannot(path, error);
}

pal_status pal_lm_load_tensors(pal_params *params, const char *path, pal_error *error)
{
    (void)params;
    return cannot(path, error);
}

pal_status pal_lm_export_check(pal_lm_opts opts, const char *like, const char *folder,
                               pal_error *error)
{
    (void)opts, (void)folder;
    return cannot(like, error);
}

pal_status pal_lm_export(const pal_lm *lm, const char *like, const char *folder, pal_error *error)
{
    (void)lm, (void)folder;
    return cannot(like, error);
}
