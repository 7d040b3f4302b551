/* journal_put.c - a log that is opened by its first row, and the columns of log.csv as datasets of
 * an HDF5 file. */
#include "optim/train/run_folder.h"
#include "tensor/internal.h"
#include "tensor/number.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A log that has been read: its names, and its numbers row by row. */
typedef struct table {
    char *header; /* names, each ended by NUL */
    int64_t columns, rows, room;
    double *cell; /* [rows,columns] */
} table;

static pal_status out_of_memory(pal_error *error)
{
    return pal_error_set(error, PAL_ENOMEM, "journal_put: out of memory for the log");
}

static pal_status add_row(table *t, char *line, const char *path, pal_error *error)
{
    if (t->rows == t->room) {
        const int64_t room = t->room ? 2 * t->room : 256;
        double *more = realloc(t->cell, (size_t)(room * t->columns) * sizeof *more);
        if (!more) return out_of_memory(error);
        t->cell = more, t->room = room;
    }
    double *cell = t->cell + t->rows * t->columns;
    int64_t n = 0;
    line[strcspn(line, "\n")] = '\0';
    for (char *rest = line, *word; (word = strsep(&rest, ",")) && n <= t->columns; n++)
        if (n < t->columns && !pal_number_read(word, &cell[n])) {
            cell[n] = NAN;
            if (*word && strcmp(word, "nan") != 0 && strcmp(word, "-nan") != 0) n = t->columns;
        }
    if (n != t->columns)
        return pal_error_set(error, PAL_EFORMAT, "%.400s: row %lld is no row of a log", path,
                             (long long)t->rows + 1);
    t->rows++;
    return PAL_OK;
}

static pal_status read_table(table *t, const char *path, pal_error *error)
{
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen(path, "r");
    if (!file)
        return pal_error_set(error, PAL_EIO, "%.400s: cannot be opened: %s", path, strerror(errno));
    pal_status s = PAL_OK;
    if (getline(&line, &room, file) <= 0 || strncmp(line, "step,", 5) != 0)
        s = pal_error_set(error, PAL_EFORMAT, "%.400s: it is no log of a run", path);
    if (s == PAL_OK && !(t->header = strdup(line))) s = out_of_memory(error);
    t->columns = 1;
    for (char *c = t->header; c && *c; c++) {
        const bool comma = *c == ',';
        t->columns += comma;
        if (comma || *c == '\n') *c = '\0';
        if (!*c && !comma) break;
    }
    while (s == PAL_OK && getline(&line, &room, file) > 0) s = add_row(t, line, path, error);
    if (s == PAL_OK && ferror(file))
        s = pal_error_set(error, PAL_EIO, "%.400s: cannot be read: %s", path, strerror(errno));
    free(line);
    fclose(file);
    return s;
}

static pal_status put_columns(const table *t, pal_h5 *file, const char *group, pal_error *error)
{
    const char *name = t->header;
    pal_status s = PAL_OK;
    for (int64_t i = 0; s == PAL_OK && i < t->columns; i++, name += strlen(name) + 1) {
        char *path;
        if (asprintf(&path, "%s/%s", group, name) < 0) return out_of_memory(error);
        pal_array a = pal_array_of(PAL_F64, PAL_SHAPE(t->rows), t->cell ? t->cell + i : NULL);
        a.stride[0] = t->columns;
        s = pal_h5_put(file, path, &a, error);
        free(path);
    }
    return s;
}

pal_status pal_journal_put(const char *folder, pal_h5 *file, const char *group, pal_error *error)
{
    char path[PAL_PATH];
    table t = {0};
    pal_status s = pal_path_of(path, folder, "log.csv", error);
    if (s == PAL_OK) s = read_table(&t, path, error);
    if (s == PAL_OK) s = put_columns(&t, file, group, error);
    free(t.header), free(t.cell);
    return s;
}

pal_status pal_journal_save(const char *folder, const char *name, const pal_params *params,
                            pal_error *error)
{
    char path[PAL_PATH];
    pal_h5 *file;
    pal_status s = pal_path_of(path, folder, name, error);
    if (s == PAL_OK) s = pal_h5_create(&file, path, error);
    if (s != PAL_OK) return s;
    s = pal_journal_put(folder, file, "/log", error);
    if (s == PAL_OK && params) s = pal_params_put(params, file, "/params", error);
    if (s == PAL_OK) return pal_h5_commit(file, error);
    pal_h5_close(file);
    return s;
}

/* ---- The first row ---- */

pal_status pal_journal_add(pal_journal **log, const char *folder, int64_t step, int count,
                           const pal_field *fields, pal_error *error)
{
    if (*log) return pal_journal_row(*log, step, count, fields, error);
    size_t size = 1, used = 0;
    for (int i = 0; i < count; i++) size += strlen(fields[i].name) + 1;
    char *columns = malloc(size);
    if (!columns) return pal_error_set(error, PAL_ENOMEM, "journal_add: out of memory");
    columns[0] = '\0';
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(columns + used, size - used, "%s%s", i ? "," : "", fields[i].name);
    pal_status s = pal_run_make(folder, error);
    if (s == PAL_OK) s = pal_journal_open(log, folder, columns, 0, error);
    free(columns);
    return s == PAL_OK ? pal_journal_row(*log, step, count, fields, error) : s;
}
