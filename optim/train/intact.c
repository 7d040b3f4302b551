/*
 * intact.c - whether the files of a run's folder are those that the run wrote.
 *
 * The newest checkpoint decides. What can be made again from it (best.txt, config.txt) is made
 * again, but a text that no run has written is not replaced. What cannot be made again (rows of the
 * logs, samples, the best checkpoint) is an error, unless the user says that the run shall go on
 * with the folder as it is (opts->mend). Where no step is made, it is a warning. A process that was
 * killed at any moment leaves no error behind: it leaves logs that are too long, and an older
 * best.txt.
 */
#include "optim/ranks/ranks.h"
#include "optim/train/run_folder.h"
#include "tensor/internal.h"
#include "tensor/number.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A run that has all its steps, and whose folder nobody asked to mend. */
static bool only_looks(const pal_train_opts *o) { return !o->mend && o->resume >= o->steps; }

/* An error with a way out, or a warning if the way was chosen, or if nothing can be lost. */
static pal_status decide(const pal_train_opts *o, const pal_error *what, pal_error *error)
{
    if (!o->mend && !only_looks(o))
        return pal_error_set(error, PAL_EVALUE,
                             "%s. Put the file back, or go on with the folder as it is (mend)",
                             what->message);
    fprintf(stderr, "warning: %s%s\n", what->message,
            o->mend ? "; the run goes on with the folder as it is" : "");
    return PAL_OK;
}

/* ---- Names ---- */

pal_status pal_intact_names(const char *folder, pal_error *error)
{
    static const char *const names[] = {"config.txt", "log.csv",  "log.jsonl", "samples.txt",
                                        "best.txt",   "loss.svg", "rate.svg"};
    char path[PAL_PATH];
    struct stat is;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        pal_status s = pal_path_of(path, folder, names[i], error);
        if (s != PAL_OK) return s;
        if (stat(path, &is) == 0 && !S_ISREG(is.st_mode))
            return pal_error_set(error, PAL_EIO,
                                 "%.400s: it is %s, and the run writes a file of this name", path,
                                 S_ISDIR(is.st_mode) ? "a folder" : "no regular file");
    }
    return PAL_OK;
}

/* ---- The best ---- */

static bool has_checkpoint(const char *folder, int64_t step)
{
    char path[PAL_PATH];
    return access(pal_run_path(path, sizeof path, folder, step), F_OK) == 0;
}

static char *best_line(char text[64], int64_t step, double value)
{
    PAL_C_LOCALE;
    if (step)
        snprintf(text, 64, "step-%08" PRId64 ".h5 %.9g", step, value);
    else
        snprintf(text, 64, "no evaluation");
    return text;
}

pal_status pal_intact_best(const pal_train_opts *o, pal_checkpoint *state, pal_error *error)
{
    int64_t named, last, aside;
    double value = 0;
    pal_error what;
    pal_status s = pal_run_find(o->folder, "", 0, &last, error);
    if (s == PAL_OK) s = pal_run_find(o->folder, ".aside", 0, &aside, error);
    if (s == PAL_OK) s = pal_run_best(o->folder, &named, &value, error);
    if (s == PAL_EFORMAT) { /* it is not the checkpoint that is damaged */
        pal_error_add(error, ". Move it away: it is made again from the checkpoint");
        s = PAL_EVALUE;
    }
    /* The best of an older checkpoint may have been removed when there was a better one. */
    const bool newest = s == PAL_OK && last == o->resume && aside <= o->resume;
    if (newest && named && !has_checkpoint(o->folder, named)) {
        pal_error_set(&what, PAL_EVALUE,
                      "%.400s: best.txt names step-%08" PRId64 ".h5, which is not there", o->folder,
                      named);
        s = decide(o, &what, error);
    }
    if (s == PAL_OK && state->best_step && !has_checkpoint(o->folder, state->best_step)) {
        pal_error_set(&what, PAL_EVALUE,
                      "%.400s: step-%08" PRId64 ".h5, the best so far with %.6g, is not there",
                      o->folder, state->best_step, state->best);
        if (newest && named != state->best_step) s = decide(o, &what, error);
        if (!only_looks(o)) {
            state->best_step = 0;
            state->best = 0;
        }
    }
    return s;
}

pal_status pal_intact_put_best(const pal_train_opts *o, const pal_checkpoint *state,
                               pal_error *error)
{
    char found[64], right[64];
    int64_t named;
    double value = 0;
    pal_status s = pal_run_best(o->folder, &named, &value, error);
    if (s != PAL_OK || strcmp(best_line(found, named, value),
                              best_line(right, state->best_step, state->best)) == 0)
        return s;
    s = pal_run_set_best(o->folder, state->best_step, state->best, error);
    if (s == PAL_OK && o->resume)
        fprintf(stderr,
                "note: %s/best.txt has %s; by the checkpoint of step %" PRId64
                " it is %s, which is written\n",
                o->folder, found, o->resume, right);
    return s;
}

/* ---- Sums ---- */

pal_status pal_log_sum_grow(pal_log_sum *sum, int fd, int64_t end, const char *name,
                            pal_error *error)
{
    char bytes[4096];
    while (sum->bytes < end) {
        const int64_t left = end - sum->bytes;
        const size_t most = left < (int64_t)sizeof bytes ? (size_t)left : sizeof bytes;
        const ssize_t n = pread(fd, bytes, most, sum->bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return pal_error_set(error, PAL_EIO, "%s: cannot be read: %s", name, strerror(errno));
        if (n == 0) break;
        sum->bytes += n;
        sum->crc = pal_crc32c(sum->crc, bytes, (size_t)n);
        for (ssize_t i = 0; i < n; i++) sum->lines += bytes[i] == '\n';
    }
    return PAL_OK;
}

pal_status pal_log_sum_file(pal_log_sum *sum, const char *folder, const char *name, int64_t end,
                            pal_error *error)
{
    char path[PAL_PATH];
    pal_status s = pal_path_of(path, folder, name, error);
    if (s != PAL_OK) return s;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return PAL_OK;
    if (fd < 0)
        return pal_error_set(error, PAL_EIO, "%.400s: cannot be read: %s", path, strerror(errno));
    s = pal_log_sum_grow(sum, fd, end, name, error);
    close(fd);
    return s;
}

bool pal_log_replaced(const char *folder, const char *name, int fd)
{
    char path[PAL_PATH];
    struct stat named, written;
    if (pal_path_of(path, folder, name, NULL) != PAL_OK) return false;
    if (stat(path, &named) != 0) return errno == ENOENT;
    return fd >= 0 && fstat(fd, &written) == 0 &&
           (named.st_ino != written.st_ino || named.st_dev != written.st_dev);
}

/* "log.csv 812 9a8b7c6d log.jsonl 6 samples.txt 96 01234567": bytes and checksums, and rows. -1
 * rows: they are not compared. */
char *pal_log_sums_text(char text[PAL_LOGS], const pal_log_sums *sums)
{
    const int n = snprintf(text, PAL_LOGS, "log.csv %" PRId64 " %08x log.jsonl %" PRId64,
                           sums->csv.bytes, (unsigned)sums->csv.crc, sums->json.lines);
    if (sums->samples.bytes >= 0)
        snprintf(text + n, (size_t)(PAL_LOGS - n), " samples.txt %" PRId64 " %08x",
                 sums->samples.bytes, (unsigned)sums->samples.crc);
    return text;
}

bool pal_logs_paired(const char *folder, int64_t step)
{
    char path[PAL_PATH], logs[PAL_LOGS];
    pal_checkpoint_logs(pal_run_path(path, sizeof path, folder, step), logs);
    return !strstr(logs, "log.jsonl -1");
}

/* What such a text says of a file; bytes is -1 if it says nothing. */
static pal_log_sum sum_in(const char *text, const char *name)
{
    pal_log_sum sum = {.bytes = -1};
    unsigned crc;
    const char *at = strstr(text, name);
    if (at && sscanf(at + strlen(name), " %" SCNd64 " %x", &sum.bytes, &crc) == 2) sum.crc = crc;
    return sum;
}

/* ---- Logs ---- */

/* A log only grows, and is cut to what it had at a step. So its first bytes are those that the
 * checkpoint tells of. */
static pal_status compare(const pal_train_opts *o, const char *logs, const char *name,
                          pal_error *error)
{
    char path[PAL_PATH];
    const pal_log_sum wanted = sum_in(logs, name);
    pal_log_sum found = {0};
    pal_error what;
    if (wanted.bytes < 0) return PAL_OK;
    pal_status s = pal_path_of(path, o->folder, name, error);
    if (s == PAL_OK) s = pal_log_sum_file(&found, o->folder, name, wanted.bytes, error);
    if (s != PAL_OK) return s;
    if (access(path, F_OK) != 0)
        pal_error_set(&what, PAL_EVALUE, "%.400s: it is not there", path);
    else if (found.bytes < wanted.bytes)
        pal_error_set(&what, PAL_EVALUE,
                      "%.400s: up to step %" PRId64 " it has %" PRId64 " bytes, and had %" PRId64
                      " when that step was saved",
                      path, o->resume, found.bytes, wanted.bytes);
    else if (found.crc != wanted.crc)
        pal_error_set(&what, PAL_EVALUE,
                      "%.400s: up to step %" PRId64
                      " it has other text than when that step was saved",
                      path, o->resume);
    else
        return PAL_OK;
    return decide(o, &what, error);
}

/* What a user has added to a log would be lost when it is cut. */
static pal_status only_rows(const pal_train_opts *o, const char *name, pal_error *error)
{
    int64_t line;
    pal_error what;
    pal_status s = pal_log_added_line(o->folder, name, &line, error);
    if (s != PAL_OK || line == 0) return s;
    pal_error_set(&what, PAL_EVALUE, "%.400s/%s: line %" PRId64 " is none that the run has written",
                  o->folder, name, line);
    return decide(o, &what, error);
}

/* Whether two rows of one step have the same loss, which is the first column of log.csv. */
static bool same_loss(const char *csv, const char *json)
{
    const char *a = strchr(csv, ','), *b = strstr(json, "\"loss\":");
    if (!a || !b) return false;
    const size_t n = strcspn(a + 1, ",\n"), m = strcspn(b + 7, ",}");
    return n == m && strncmp(a + 1, b + 7, n) == 0;
}

/*
 * Compares the rows of log.jsonl with those of log.csv. The checkpoint has only their number, and
 * not their checksum, because they hold times.
 */
static pal_status compare_rows(const pal_train_opts *o, FILE *csv, FILE *json, int64_t wanted,
                               pal_error *error)
{
    char *a = NULL, *b = NULL;
    size_t room_a = 0, room_b = 0;
    int64_t rows = 0, step = 0, row = 0, last = 0;
    pal_error what;
    bool same = true;
    while (same && getline(&b, &room_b, json) > 0) {
        if (sscanf(b, "{\"step\":%" SCNd64, &step) != 1) break;
        while (row < step && getline(&a, &room_a, csv) > 0) row = strtoll(a, NULL, 10);
        same = row != step || same_loss(a, b);
        rows += same;
        if (same) last = step;
    }
    free(a);
    free(b);
    if (same && rows == wanted) return PAL_OK;
    if (same)
        pal_error_set(&what, PAL_EVALUE,
                      "%.400s/log.jsonl: up to step %" PRId64 " it has %" PRId64
                      " rows, and had %" PRId64 " when that step was saved",
                      o->folder, o->resume, rows, wanted);
    else
        pal_error_set(&what, PAL_EVALUE,
                      "%.400s/log.jsonl: its row after step %" PRId64 " is not that of log.csv",
                      o->folder, last);
    return decide(o, &what, error);
}

static pal_status compare_json(const pal_train_opts *o, const char *logs, pal_error *error)
{
    int64_t wanted;
    const char *at = strstr(logs, "log.jsonl");
    if (!at || sscanf(at, "log.jsonl %" SCNd64, &wanted) != 1 || wanted < 0) return PAL_OK;
    char path[PAL_PATH];
    pal_error what;
    pal_status s = pal_path_of(path, o->folder, "log.jsonl", error);
    if (s != PAL_OK) return s;
    if (access(path, F_OK) != 0) {
        pal_error_set(&what, PAL_EVALUE, "%.400s: it is not there", path);
        return decide(o, &what, error);
    }
    s = pal_fresh_path(path, o->folder, "log.csv", error);
    FILE *csv = s == PAL_OK ? fopen(path, "r") : NULL;
    if (s == PAL_OK) s = pal_fresh_path(path, o->folder, "log.jsonl", error);
    FILE *json = csv ? fopen(path, "r") : NULL;
    if (s == PAL_OK && json)
        s = compare_rows(o, csv, json, wanted, error);
    else if (s == PAL_OK)
        s = pal_error_set(error, PAL_EIO, "%.400s: cannot be read: %s", path, strerror(errno));
    if (csv) fclose(csv);
    if (json) fclose(json);
    return s;
}

pal_status pal_intact_logs(const pal_train_opts *o, pal_error *error)
{
    char path[PAL_PATH], logs[PAL_LOGS];
    pal_checkpoint_logs(pal_run_path(path, sizeof path, o->folder, o->resume), logs);
    pal_status s = compare(o, logs, "log.csv", error);
    if (s == PAL_OK) s = compare_json(o, logs, error);
    if (s == PAL_OK && o->sample) s = compare(o, logs, "samples.txt", error);
    if (s == PAL_OK) s = only_rows(o, "log.csv", error);
    if (s == PAL_OK) s = only_rows(o, "log.jsonl", error);
    if (s == PAL_OK && o->sample) s = only_rows(o, "samples.txt", error);
    return s;
}
