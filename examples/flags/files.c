/*
 * files.c - compares the files of a command line by device and inode.
 */
#include "examples/flags/files.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

bool flags_is_stdin(const char *path)
{
    static const char *const names[] = {"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(path, names[i]) == 0) return true;
    return false;
}

static bool is_named(const flags_file *f) { return f->path && *f->path; }

static bool find_input(const flags_file *f, struct stat *is)
{
    if (!is_named(f)) return false;
    return (flags_is_stdin(f->path) ? fstat(STDIN_FILENO, is) : stat(f->path, is)) == 0;
}

static bool find_output(const flags_file *f, struct stat *is)
{
    return is_named(f) && stat(f->path, is) == 0;
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Whether two files that are not there yet would be one: a name in one folder. */
static bool same_place(const char *a, const char *b)
{
    const char *name = last_part(a);
    char folder[2][PAL_PATH];
    struct stat is[2];
    if (strcmp(name, last_part(b)) != 0) return false;
    snprintf(folder[0], PAL_PATH, "%.*s.", (int)(name - a), a);
    snprintf(folder[1], PAL_PATH, "%.*s.", (int)(last_part(b) - b), b);
    return stat(folder[0], &is[0]) == 0 && stat(folder[1], &is[1]) == 0 && same(&is[0], &is[1]);
}

static bool matches(const flags_file *folder, const char *name)
{
    for (int i = 0; folder->names[i]; i++)
        if (fnmatch(folder->names[i], name, 0) == 0) return true;
    return fnmatch("*.tmp", name, 0) == 0; /* what is written before it gets its name */
}

/* Whether a program writes a file that is there already: `out` itself, or one in the folder that it
 * is, whose name is then put into `entry`. */
static bool writes(const flags_file *out, const struct stat *file, char entry[NAME_MAX + 1])
{
    struct stat is;
    *entry = '\0';
    if (!out->names) return find_output(out, &is) && same(&is, file);
    DIR *folder = is_named(out) ? opendir(out->path) : NULL;
    bool found = false;
    if (!folder) return false;
    for (struct dirent *e; !found && (e = readdir(folder));) {
        found = matches(out, e->d_name) && fstatat(dirfd(folder), e->d_name, &is, 0) == 0 &&
                same(&is, file);
        if (found) snprintf(entry, NAME_MAX + 1, "%s", e->d_name);
    }
    closedir(folder);
    return found;
}

static pal_status refuse(const flags_file *out, const char *entry, const flags_file *other,
                         pal_error *error)
{
    return pal_error_set(error, PAL_EVALUE,
                         "%s%s%s would overwrite the file of %s%s%.400s; nothing was changed",
                         out->flag, *entry ? ": " : "", entry, other->flag,
                         is_named(other) ? ", " : "", is_named(other) ? other->path : "");
}

/* An output against the inputs, and against the outputs before it. */
static pal_status check(const flags_file *out, const flags_file *in, int ins,
                        const flags_file *before, int count, pal_error *error)
{
    struct stat is;
    char entry[NAME_MAX + 1] = "";
    if (!out->names && find_output(out, &is) && !S_ISREG(is.st_mode))
        return pal_error_set(error, PAL_EVALUE, "%s: %.400s is %s, and a file is wanted", out->flag,
                             out->path, S_ISDIR(is.st_mode) ? "a folder" : "a pipe or a device");
    DIR *folder = out->names && is_named(out) ? opendir(out->path) : NULL;
    if (folder)
        closedir(folder);
    else if (out->names && is_named(out) && errno != ENOENT && errno != ENOTDIR)
        return pal_error_set(error, PAL_EIO, "%s: %.400s cannot be listed: %s", out->flag,
                             out->path, strerror(errno));
    for (int i = 0; i < ins; i++)
        if (find_input(&in[i], &is) && writes(out, &is, entry))
            return refuse(out, entry, &in[i], error);
    for (int i = 0; i < count; i++)
        if (is_named(out) && is_named(&before[i]) && !out->names && !before[i].names &&
            ((find_output(&before[i], &is) && writes(out, &is, entry)) ||
             same_place(out->path, before[i].path)))
            return refuse(out, "", &before[i], error);
    return PAL_OK;
}

pal_status flags_files_check(const flags_file *in, int ins, const flags_file *out, int outs,
                             pal_error *error)
{
    static const flags_file printed = {.flag = "standard output"};
    struct stat to, is;
    char entry[NAME_MAX + 1];
    const bool prints = fstat(STDOUT_FILENO, &to) == 0 && S_ISREG(to.st_mode);
    for (int i = 0; prints && i < ins; i++)
        if (find_input(&in[i], &is) && same(&is, &to)) return refuse(&printed, "", &in[i], error);
    for (int i = 0; i < outs; i++) {
        if (prints && writes(&out[i], &to, entry)) return refuse(&out[i], entry, &printed, error);
        pal_status s = check(&out[i], in, ins, out, i, error);
        if (s != PAL_OK) return s;
    }
    return PAL_OK;
}

pal_status flags_files_lock(pal_lock **lock, const char *folder, pal_error *error)
{
    for (int i = 0;; i++) {
        const pal_status s = pal_run_lock(lock, folder, error);
        if (s == PAL_OK || i == 300 || access(folder, F_OK)) return s;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
}
