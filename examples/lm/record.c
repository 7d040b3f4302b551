/*
 * record.c - the folder of a run. Files are replaced whole: a new one is written beside the old and
 * renamed over it. The log alone grows in place, and a run that is continued cuts it back first.
 */
#include "examples/lm/record.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 1200 };

static const char header[] = "step,loss,bits_per_byte,lr,grad_norm\n";

/* ---- The log ---- */

/* Copies the whole rows of steps up to `last`. */
static void copy_rows(FILE *from, FILE *to, int64_t last)
{
    char line[512];
    while (fgets(line, sizeof line, from)) {
        char *end;
        long long step = strtoll(line, &end, 10);
        if (end != line && *end == ',' && strchr(line, '\n') && step >= 1 && step <= last)
            fputs(line, to);
    }
}

FILE *lm_log_open(const char *dir, int64_t last)
{
    char path[PATH], fresh[PATH];
    snprintf(path, sizeof path, "%s/log.csv", dir);
    snprintf(fresh, sizeof fresh, "%s/log.csv.tmp", dir);
    FILE *to = fopen(fresh, "w"), *from = last ? fopen(path, "r") : NULL;
    if (to) {
        fputs(header, to);
        if (from) copy_rows(from, to, last);
    }
    if (from) fclose(from);
    bool good = to && fflush(to) == 0 && fsync(fileno(to)) == 0 && rename(fresh, path) == 0;
    if (good) return to;
    fprintf(stderr, "train_lm: %s: %s\n", path, strerror(errno));
    if (to) fclose(to);
    return NULL;
}

void lm_log_row(FILE *to, int64_t step, double loss, double lr, double norm)
{
    fprintf(to, "%" PRId64 ",%.9g,%.9g,%.9g,%.9g\n", step, loss, loss / log(2), lr, norm);
    fflush(to);
}

/* A path in gnuplot's single quotes, where a quote is doubled. */
static void put_quoted(FILE *to, const char *dir, const char *name)
{
    fputc('\'', to);
    for (const char *c = dir; *c; c++) fputs(*c == '\'' ? "''" : (const char[]){*c, 0}, to);
    fprintf(to, "/%s'", name);
}

void lm_plot(const char *dir, double entropy)
{
    char path[PATH], fresh[PATH];
    FILE *to = system("command -v gnuplot >/dev/null 2>&1") == 0 ? popen("gnuplot", "w") : NULL;
    if (!to) {
        fprintf(stderr, "train_lm: gnuplot is not installed: no loss.svg\n");
        return;
    }
    fprintf(to, "set terminal svg size 720,400 font 'sans-serif,13' background 'white'\n"
                "set output ");
    put_quoted(to, dir, "loss.svg.tmp");
    fprintf(to,
            "\nset datafile separator ','\nset xlabel 'step'\nset ylabel 'bits per byte'\n"
            "set grid\nset xrange [0:]\nset yrange [0:]\n"
            "set key top right\nset border 3\nset tics nomirror\n"
            "plot %.6g title 'the text''s byte entropy' with lines lw 2 dt 2 lc rgb '#999999', ",
            entropy);
    put_quoted(to, dir, "log.csv");
    fprintf(to, " skip 1 using 1:3 title 'model' with lines lw 2 lc rgb '#1f77b4'\n");
    snprintf(path, sizeof path, "%s/loss.svg", dir);
    snprintf(fresh, sizeof fresh, "%s/loss.svg.tmp", dir);
    if (pclose(to) != 0 || rename(fresh, path) != 0) {
        fprintf(stderr, "train_lm: gnuplot made no loss.svg\n");
        remove(fresh);
    }
}

/* ---- Checkpoints ---- */

static void checkpoint_path(char path[PATH], const char *dir, int64_t step)
{
    snprintf(path, PATH, "%s/step-%08" PRId64 ".h5", dir, step);
}

int64_t lm_last_saved(const char *dir)
{
    int64_t last = 0;
    DIR *d = opendir(dir);
    if (!d) return 0;
    for (struct dirent *e; (e = readdir(d));) {
        char *end;
        if (strncmp(e->d_name, "step-", 5) || !isdigit((unsigned char)e->d_name[5])) continue;
        long long step = strtoll(e->d_name + 5, &end, 10);
        if (!strcmp(end, ".h5") && step > last) last = step;
    }
    closedir(d);
    return last;
}

pal_status lm_save(const lm_options *o, const lm_text *text, int64_t step, const pal_params *params,
                   const pal_optim *optim, pal_error *error)
{
    char path[PATH], checksum[32];
    pal_h5 *file = NULL;
    checkpoint_path(path, o->out, step);
    snprintf(checksum, sizeof checksum, "%016" PRIx64, text->checksum);
    pal_status s = pal_h5_create(&file, path, error);
    if (s != PAL_OK) return s;
    s = pal_params_put(params, file, "/params", error);
    if (s == PAL_OK) s = pal_optim_put(optim, file, "/optim", error);
    if (s == PAL_OK) s = lm_options_put(o, file, error);
    if (s == PAL_OK) s = pal_h5_put_text(file, "/", "text-checksum", checksum, error);
    if (s == PAL_OK) return pal_h5_commit(file, error);
    pal_h5_close(file);
    return s;
}

pal_status lm_load_options(lm_options *o, int64_t step, uint64_t *checksum, pal_error *error)
{
    char path[PATH], text[32];
    pal_h5 *file = NULL;
    checkpoint_path(path, o->out, step);
    pal_status s = pal_h5_open(&file, path, error);
    if (s != PAL_OK) return s;
    s = lm_options_get(o, file, error);
    if (s == PAL_OK) s = pal_h5_get_text(file, "/", "text-checksum", text, sizeof text, error);
    if (s == PAL_OK) *checksum = strtoull(text, NULL, 16);
    pal_h5_close(file);
    return s;
}

pal_status lm_load_params(const char *path, pal_params *params, pal_error *error)
{
    pal_h5 *file = NULL;
    pal_status s = pal_h5_open(&file, path, error);
    if (s != PAL_OK) return s;
    s = pal_params_get(params, file, "/params", error);
    pal_h5_close(file);
    return s;
}

pal_status lm_load(const lm_options *o, int64_t step, pal_params *params, pal_optim *optim,
                   pal_error *error)
{
    char path[PATH];
    pal_h5 *file = NULL;
    checkpoint_path(path, o->out, step);
    pal_status s = pal_h5_open(&file, path, error);
    if (s != PAL_OK) return s;
    s = pal_params_get(params, file, "/params", error);
    if (s == PAL_OK) s = pal_optim_get(optim, file, "/optim", error);
    pal_h5_close(file);
    if (s == PAL_OK && pal_optim_steps(optim) != step)
        s = pal_error_set(error, PAL_EFORMAT, "%s: it holds step %" PRId64, path,
                          pal_optim_steps(optim));
    return s;
}
