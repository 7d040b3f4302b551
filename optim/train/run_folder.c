/* run_folder.c - the checkpoints in a run's folder, by step, and the small files there. */
#include "optim/train/run_folder.h"
#include "tensor/files/temporary.h"
#include "tensor/internal.h"
#include "tensor/number.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Names ---- */

char *pal_run_path(char *path, size_t size, const char *folder, int64_t step)
{
    snprintf(path, size, "%s/step-%08" PRId64 ".h5", folder, step);
    return path;
}

/* The step in "step-00000060.h5", with *rest at what follows; 0: another name. */
static int64_t step_of(const char *name, const char **rest)
{
    char *end;
    if (strncmp(name, "step-", 5) || !isdigit((unsigned char)name[5])) return 0;
    errno = 0;
    long long step = strtoll(name + 5, &end, 10);
    if (errno || step < 1 || strncmp(end, ".h5", 3)) return 0;
    char known[64]; /* step-9.h5 is not ours: pal_run_path would not find it */
    snprintf(known, sizeof known, "step-%08lld.h5", step);
    if (strncmp(name, known, strlen(known))) return 0;
    *rest = end + 3;
    return step;
}

pal_status pal_path_of(char path[PAL_PATH], const char *folder, const char *name, pal_error *error)
{
    if (snprintf(path, PAL_PATH, "%s/%s", folder, name) < PAL_PATH) return PAL_OK;
    return pal_error_set(error, PAL_EVALUE, "the path of the folder is too long: %.200s...",
                         folder);
}

static pal_status refused(const char *path, const char *what, pal_error *error)
{
    return pal_error_set(error, PAL_EIO, "%.400s: cannot %s: %s", path, what, strerror(errno));
}

/* ---- Making it ---- */

/* The temporary files of pal_fresh_path, of gnuplot.c and of pal_h5_commit. Any other file with
 * such a name may belong to another program. */
static bool is_temporary(const char *name)
{
    static const char *const fresh[] = {"config.txt.tmp",  "log.csv.tmp",  "log.jsonl.tmp",
                                        "samples.txt.tmp", "best.txt.tmp", "loss.svg.tmp",
                                        "rate.svg.tmp"};
    const char *rest;
    for (size_t i = 0; i < sizeof fresh / sizeof *fresh; i++)
        if (strcmp(name, fresh[i]) == 0) return true;
    if (strncmp(name, "data.h5", 7) == 0) return pal_h5_is_temporary(name, 7);
    return step_of(name, &rest) && pal_h5_is_temporary(name, (size_t)(rest - name));
}

pal_status pal_run_clean(const char *folder, pal_error *error)
{
    char path[PAL_PATH];
    pal_status s = PAL_OK;
    DIR *d = opendir(folder);
    if (!d) return refused(folder, "be read", error);
    for (struct dirent *e; s == PAL_OK && (e = readdir(d));) {
        if (!is_temporary(e->d_name)) continue;
        s = pal_path_of(path, folder, e->d_name, error);
        if (s == PAL_OK && unlink(path) != 0 && errno != ENOENT && errno != EISDIR)
            s = refused(path, "be removed", error); /* a folder of that name is not ours */
    }
    closedir(d);
    return s;
}

pal_status pal_run_make(const char *folder, pal_error *error)
{
    char path[PAL_PATH];
    pal_status s = pal_path_of(path, folder, "", error);
    if (s != PAL_OK) return s;
    for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST) return refused(path, "be made", error);
        *slash = '/';
    }
    return PAL_OK;
}

/* ---- The lock ---- */

struct pal_lock {
    int fd;
};

pal_status pal_run_lock(pal_lock **lock, const char *folder, pal_error *error)
{
    *lock = NULL;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return refused(folder, "be opened", error);
    pal_lock *l = pal_malloc(sizeof *l);
    if (l && (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)) {
        l->fd = fd; /* some file systems have no locks */
        *lock = l;
        return PAL_OK;
    }
    close(fd);
    if (!l) return pal_error_set(error, PAL_ENOMEM, "run_lock: out of memory");
    pal_free(l, sizeof *l);
    return pal_error_set(error, PAL_EIO, "another process trains in %.400s, or replaces its files",
                         folder);
}

void pal_run_unlock(pal_lock *l)
{
    if (!l) return;
    close(l->fd);
    pal_free(l, sizeof *l);
}

/* ---- Checkpoints ---- */

pal_status pal_run_find(const char *folder, const char *end, int64_t below, int64_t *step,
                        pal_error *error)
{
    int64_t last = 0;
    struct dirent *e = NULL;
    DIR *d = opendir(folder);
    bool good = d || errno == ENOENT || errno == ENOTDIR;
    while (d && (errno = 0, e = readdir(d))) {
        const char *rest = "";
        const int64_t found = step_of(e->d_name, &rest);
        const bool same = *end ? strncmp(rest, end, strlen(end)) == 0 : !*rest;
        if (found > last && same && (below == 0 || found < below)) last = found;
    }
    good = good && (!d || errno == 0);
    *step = good ? last : 0;
    /* A run may be there: it must not look as if there were none. */
    const pal_status s = good ? PAL_OK
                              : pal_error_set(error, PAL_EIO, "%.400s: cannot be listed: %s",
                                              folder, strerror(errno));
    if (d) closedir(d);
    return s;
}

int64_t pal_run_last(const char *folder, int64_t below)
{
    int64_t last;
    pal_error error;
    if (pal_run_find(folder, "", below, &last, &error) != PAL_OK) pal_raise(&error);
    return last;
}

pal_status pal_run_keep(const char *folder, int64_t keep, int64_t best, pal_error *error)
{
    char path[PAL_PATH];
    int64_t step = 0;
    if (keep < 1) return PAL_OK;
    for (int64_t i = 0;; i++) {
        const pal_status s = pal_run_find(folder, "", step, &step, error);
        if (s != PAL_OK || step == 0) return s;
        if (i < keep || step == best) continue;
        if (unlink(pal_run_path(path, sizeof path, folder, step)) != 0)
            return refused(path, "be removed", error);
    }
}

pal_status pal_run_set_aside(const char *folder, int64_t step, pal_error *error)
{
    char path[PAL_PATH], aside[PAL_PATH + 32];
    for (int64_t later = 0;;) {
        const pal_status s = pal_run_find(folder, "", later, &later, error);
        if (s != PAL_OK || later <= step) return s;
        pal_run_path(path, sizeof path, folder, later);
        snprintf(aside, sizeof aside, "%s.aside", path);
        for (int i = 2; access(aside, F_OK) == 0; i++) /* one of an earlier time stays */
            snprintf(aside, sizeof aside, "%s.aside-%d", path, i);
        if (rename(path, aside) != 0) return refused(path, "be renamed", error);
        if (!pal_flush_folder(path)) return refused(folder, "be flushed", error);
    }
}

/* ---- Small files ---- */

pal_status pal_fresh_path(char path[PAL_PATH], const char *folder, const char *name,
                          pal_error *error)
{
    char fresh[PAL_PATH];
    if (snprintf(fresh, sizeof fresh, "%s.tmp", name) >= PAL_PATH) fresh[PAL_PATH - 1] = '\0';
    return pal_path_of(path, folder, fresh, error);
}

pal_status pal_fresh_flush(const char *folder, const char *name, pal_error *error)
{
    char fresh[PAL_PATH];
    pal_status s = pal_fresh_path(fresh, folder, name, error);
    if (s != PAL_OK) return s;
    int fd = open(fresh, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return refused(fresh, "be flushed", error);
    if (!pal_flush(fd)) s = refused(fresh, "be flushed", error);
    close(fd);
    return s;
}

pal_status pal_fresh_rename(const char *folder, const char *name, pal_error *error)
{
    char path[PAL_PATH], fresh[PAL_PATH];
    pal_status s = pal_path_of(path, folder, name, error);
    if (s == PAL_OK) s = pal_fresh_path(fresh, folder, name, error);
    if (s != PAL_OK) return s;
    if (rename(fresh, path) != 0) return refused(path, "be renamed", error);
    return pal_flush_folder(path) ? s : refused(folder, "be flushed", error);
}

void pal_fresh_drop(const char *folder, const char *name)
{
    char fresh[PAL_PATH];
    if (pal_fresh_path(fresh, folder, name, NULL) == PAL_OK) unlink(fresh);
}

pal_status pal_fresh_write(const char *folder, const char *name, const char *text, pal_error *error)
{
    char path[PAL_PATH], fresh[PAL_PATH];
    pal_status s = pal_path_of(path, folder, name, error);
    if (s == PAL_OK) s = pal_fresh_path(fresh, folder, name, error);
    if (s != PAL_OK) return s;
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return refused(path, "be written", error);
    if (!pal_write_all(fd, text, strlen(text)) || !pal_flush(fd))
        s = refused(path, "be written", error);
    if (close(fd) != 0 && s == PAL_OK) s = refused(path, "be written", error);
    if (s != PAL_OK) unlink(fresh);
    return s;
}

pal_status pal_run_write(const char *folder, const char *name, const char *text, pal_error *error)
{
    pal_status s = pal_fresh_write(folder, name, text, error);
    if (s != PAL_OK) return s;
    s = pal_fresh_rename(folder, name, error);
    if (s != PAL_OK) pal_fresh_drop(folder, name);
    return s;
}

pal_status pal_run_set_best(const char *folder, int64_t step, double value, pal_error *error)
{
    char path[PAL_PATH], text[128];
    if (step == 0) {
        pal_status s = pal_path_of(path, folder, "best.txt", error);
        if (s == PAL_OK && unlink(path) != 0 && errno != ENOENT)
            s = refused(path, "be removed", error);
        return s;
    }
    PAL_C_LOCALE;
    snprintf(text, sizeof text, "step-%08" PRId64 ".h5 %.9g\n", step, value);
    return pal_run_write(folder, "best.txt", text, error);
}

pal_status pal_run_best(const char *folder, int64_t *step, double *value, pal_error *error)
{
    char path[PAL_PATH], line[128] = "";
    const char *rest;
    pal_status s = pal_path_of(path, folder, "best.txt", error);
    if (s != PAL_OK) return s;
    FILE *file = fopen(path, "r");
    if (!file && errno != ENOENT) return refused(path, "be read", error);
    *step = 0;
    if (!file) return PAL_OK;
    bool read = fgets(line, sizeof line, file) != NULL;
    fclose(file);
    int64_t found = read ? step_of(line, &rest) : 0;
    double best;
    if (!found || !pal_number_next(&rest, &best) || *rest != '\n' || !isfinite(best))
        return pal_error_set(error, PAL_EFORMAT,
                             "%.400s: it is not a line of a checkpoint and its value", path);
    *step = found;
    *value = best;
    return PAL_OK;
}
