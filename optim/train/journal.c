/*
 * journal.c - log.csv, log.jsonl and samples.txt of a run. They grow in place by whole rows, and
 * are cut back to a step when a run continues.
 *
 * Each row is written at once by write(2). So a process that is killed leaves at most one
 * incomplete row at the end, and the cut removes it. A row that cannot be written completely is
 * removed again.
 */
#include "optim/train/run_folder.h"
#include "tensor/internal.h"
#include "tensor/number.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A row that is being made; its memory grows and stays. */
typedef struct row {
    char *text;
    size_t used, room;
    bool failed; /* there was no memory */
} row;

struct pal_journal {
    int csv, json;
    off_t csv_end, json_end; /* end of the last whole row */
    row csv_row, json_row;
    size_t size; /* of this allocation */
    char columns[];
};

/* ---- Cutting back ---- */

/* The step of a row; -1: the line is not a row. */
typedef int64_t step_fn(const char *line);

static int64_t csv_step(const char *line)
{
    char *end;
    long long step = strtoll(line, &end, 10);
    return end != line && *end == ',' ? step : -1;
}

static int64_t json_step(const char *line)
{
    static const char begin[] = "{\"step\":";
    return strncmp(line, begin, strlen(begin)) ? -1 : strtoll(line + strlen(begin), NULL, 10);
}

/* The lines after "step N" belong to it; they are indented. */
static int64_t sample_step(const char *line)
{
    return strncmp(line, "step ", 5) ? -1 : strtoll(line + 5, NULL, 10);
}

static bool is_indented(const char *line) { return *line == '\n' || !strncmp(line, "    ", 4); }

/* Copies whole lines of steps 1..last; with `texts` also the lines that follow each of them. */
static bool copy_lines(FILE *from, FILE *to, step_fn *step_of, int64_t last, bool texts)
{
    char *line = NULL;
    size_t room = 0;
    bool keeping = false;
    for (ssize_t n; (n = getline(&line, &room, from)) > 0;) {
        int64_t step = !texts && memchr(line, 0, (size_t)n) ? -1 : step_of(line);
        if (line[n - 1] != '\n') break;
        if (step >= 0 || !texts) keeping = step >= 1 && step <= last;
        if (keeping && (step >= 0 || is_indented(line))) fwrite(line, 1, (size_t)n, to);
    }
    free(line);
    return feof(from) && !ferror(from); /* getline also ends when there is no memory */
}

/* Opens a file for reading. If there is none, *file is NULL and the result is PAL_OK. */
static pal_status open_old(FILE **file, const char *path, pal_error *error)
{
    *file = fopen(path, "r");
    if (*file || errno == ENOENT) return PAL_OK;
    return pal_error_set(error, PAL_EIO, "%.400s: cannot be read: %s", path, strerror(errno));
}

/* After a loss of power there may be zeros where a row should be: they are no user's. */
pal_status pal_log_added_line(const char *folder, const char *name, int64_t *line, pal_error *error)
{
    char path[PAL_PATH], *text = NULL;
    size_t room = 0;
    FILE *file = NULL;
    const bool csv = strcmp(name, "log.csv") == 0, texts = strcmp(name, "samples.txt") == 0;
    step_fn *step_of = csv ? csv_step : texts ? sample_step : json_step;
    *line = 0;
    pal_status s = pal_path_of(path, folder, name, error);
    if (s == PAL_OK) s = open_old(&file, path, error);
    if (!file) return s;
    int64_t at = 0, added = 0, step = 0;
    for (ssize_t n; !added && (n = getline(&text, &room, file)) > 0 && text[n - 1] == '\n';) {
        const int64_t found = step_of(text);
        const bool header = csv && at == 0;
        const bool belongs = texts && step && is_indented(text);
        at++;
        if (found >= 0) step = found;
        if (found < 1 && !header && !belongs && !memchr(text, 0, (size_t)n)) added = at;
    }
    if (ferror(file))
        s = pal_error_set(error, PAL_EIO, "%.400s: cannot be read: %s", path, strerror(errno));
    free(text);
    fclose(file);
    *line = added;
    return s;
}

/* Writes `header` and the rows that are kept to the temporary file for this name. */
static pal_status cut(const char *folder, const char *name, const char *header, step_fn *step_of,
                      int64_t last, bool texts, pal_error *error)
{
    char path[PAL_PATH], fresh[PAL_PATH];
    FILE *from = NULL;
    pal_status s = pal_path_of(path, folder, name, error);
    if (s == PAL_OK) s = pal_fresh_path(fresh, folder, name, error);
    if (s == PAL_OK && last) s = open_old(&from, path, error);
    if (s != PAL_OK) return s;
    FILE *to = fopen(fresh, "w");
    bool read = true, good = to != NULL;
    errno = to ? 0 : errno;
    if (good) fputs(header, to);
    if (good && from) read = copy_lines(from, to, step_of, last, texts);
    if (to) {
        good = read && fflush(to) == 0 && !ferror(to) && pal_flush(fileno(to));
        int why = errno;
        good = fclose(to) == 0 && good;
        if (why) errno = why;
    }
    if (!good)
        s = pal_error_set(error, PAL_EIO, "%.400s: cannot be %s: %s", path,
                          read ? "written" : "read", strerror(errno));
    if (from) fclose(from);
    if (!good) pal_fresh_drop(folder, name);
    return s;
}

/* A line with its end, in which bytes that cannot be seen are shown. */
static void show(char *to, size_t room, const char *line)
{
    for (size_t n = 0; *line && n + 5 < room; line++) {
        const unsigned char c = (unsigned char)*line;
        n += (size_t)snprintf(to + n, room - n,
                              c == '\n'           ? "\\n"
                              : c == '\r'         ? "\\r"
                              : c < 32 || c > 126 ? "\\x%02x"
                                                  : "%c",
                              c);
    }
}

/* Compares the first line of a log that continues. */
static pal_status check_columns(const char *folder, const char *header, pal_error *error)
{
    char path[PAL_PATH], *line = NULL;
    size_t room = 0;
    FILE *file;
    pal_status s = pal_path_of(path, folder, "log.csv", error);
    if (s == PAL_OK) s = open_old(&file, path, error);
    if (s != PAL_OK || !file) return s;
    const bool same = getline(&line, &room, file) <= 0 || strcmp(line, header) == 0;
    fclose(file);
    char is[250] = "", wanted[250] = "";
    if (!same) show(is, sizeof is, line);
    if (!same) show(wanted, sizeof wanted, header);
    free(line);
    if (same) return PAL_OK;
    return pal_error_set(error, PAL_EFORMAT, "%.400s: its columns are %s, and this run writes %s",
                         path, is, wanted);
}

/* ---- Names ---- */

static pal_status bad_name(const char *op, const char *what, const char *name, size_t size,
                           const char *trouble, pal_error *error)
{
    return pal_error_set(error, PAL_EVALUE, "%s: the name of the %s \"%.*s\" %s", op, what,
                         (int)(size > 400 ? 400 : size), name, trouble);
}

/* Columns are taken apart at commas, here and by whoever reads log.csv. */
static pal_status check_names(const char *columns, pal_error *error)
{
    static const char op[] = "journal_open";
    for (const char *name = columns;; name++) {
        char column[PAL_NAME_MOST + 2];
        const size_t n = strcspn(name, ",");
        snprintf(column, sizeof column, "%.*s", (int)n, name);
        const char *trouble = pal_text_trouble(column);
        if (!trouble && strchr(column, '"')) trouble = "has a quotation mark";
        if (!trouble && strcmp(column, "step") == 0) trouble = "is that of the first column";
        for (const char *other = columns; !trouble && other < name;
             other += strcspn(other, ",") + 1)
            if (strcspn(other, ",") == n && strncmp(other, name, n) == 0)
                trouble = "is there twice";
        if (trouble) return bad_name(op, "column", column, n, trouble, error);
        name += n;
        if (!*name) return PAL_OK;
    }
}

/* In log.jsonl a name is escaped, so that only few are refused. */
static pal_status check_fields(int count, const pal_field *fields, pal_error *error)
{
    for (int i = 0; i < count; i++) {
        const char *name = fields[i].name, *trouble = name ? NULL : "is NULL";
        if (name && !*name) trouble = "is empty";
        for (int64_t at = 0, left = name ? (int64_t)strlen(name) : 0, n; !trouble && left > 0;
             at += n, left -= n)
            if ((n = pal_utf8(name + at, left)) == 0) trouble = "is not UTF-8";
        if (!trouble && strcmp(name, "step") == 0) trouble = "is that of the step";
        for (int j = 0; j < i && !trouble; j++)
            if (strcmp(name, fields[j].name) == 0) trouble = "is there twice";
        if (trouble)
            return bad_name("journal_row", "field", name ? name : "", name ? strlen(name) : 0,
                            trouble, error);
    }
    return PAL_OK;
}

/* ---- Life ---- */

enum { FIRST = 4096 }; /* bytes that a row has room for at first */

/* Room for so many bytes; it at least doubles, so a log asks for memory a few times. */
static bool row_reserve(row *r, size_t bytes)
{
    if (bytes <= r->room) return true;
    size_t room = r->room ? r->room : FIRST;
    while (room < bytes) room *= 2;
    char *text = pal_malloc(room);
    r->failed = r->failed || !text;
    if (!text) return false;
    if (r->text) {
        memcpy(text, r->text, r->used);
        pal_free(r->text, r->room);
    }
    r->text = text, r->room = room;
    return true;
}

static int open_end(const char *folder, const char *name, off_t *end, pal_error *error)
{
    char path[PAL_PATH];
    if (pal_path_of(path, folder, name, error) != PAL_OK) return -1;
    int fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC);
    if (fd >= 0) *end = lseek(fd, 0, SEEK_END);
    if (fd < 0)
        pal_error_set(error, PAL_EIO, "%.400s: cannot be opened: %s", path, strerror(errno));
    return fd;
}

pal_status pal_journal_prepare(const char *folder, const char *columns, int64_t last,
                               pal_error *error)
{
    pal_status s = check_names(columns, error);
    const size_t size = strlen(columns) + 16;
    char *header = s == PAL_OK ? pal_malloc(size) : NULL;
    if (s == PAL_OK && !header) s = pal_error_set(error, PAL_ENOMEM, "journal_open: out of memory");
    if (header) snprintf(header, size, "step,%s\n", columns);
    if (s == PAL_OK && last) s = check_columns(folder, header, error);
    if (s == PAL_OK) s = cut(folder, "log.csv", header, csv_step, last, false, error);
    if (header) pal_free(header, size);
    if (s != PAL_OK) return s;
    s = cut(folder, "log.jsonl", "", json_step, last, false, error);
    if (s != PAL_OK) pal_fresh_drop(folder, "log.csv");
    return s;
}

pal_status pal_journal_start(pal_journal **log, const char *folder, const char *columns,
                             pal_error *error)
{
    pal_status s = pal_fresh_rename(folder, "log.csv", error);
    if (s == PAL_OK) s = pal_fresh_rename(folder, "log.jsonl", error);
    if (s != PAL_OK) return s;
    const size_t size = sizeof(pal_journal) + strlen(columns) + 1;
    pal_journal *l = pal_malloc(size);
    if (!l) return pal_error_set(error, PAL_ENOMEM, "journal_open: out of memory");
    *l = (pal_journal){.csv = -1, .json = -1, .size = size};
    strcpy(l->columns, columns);
    row_reserve(&l->csv_row, FIRST), row_reserve(&l->json_row, FIRST);
    l->csv = open_end(folder, "log.csv", &l->csv_end, error);
    if (l->csv >= 0) l->json = open_end(folder, "log.jsonl", &l->json_end, error);
    if (l->json >= 0) {
        *log = l;
        return PAL_OK;
    }
    pal_journal_close(l);
    return PAL_EIO;
}

pal_status pal_journal_open(pal_journal **log, const char *folder, const char *columns,
                            int64_t last, pal_error *error)
{
    *log = NULL;
    pal_status s = pal_journal_prepare(folder, columns, last, error);
    return s == PAL_OK ? pal_journal_start(log, folder, columns, error) : s;
}

void pal_journal_files(const pal_journal *l, int *csv, int *json)
{
    *csv = l->csv;
    *json = l->json;
}

void pal_journal_close(pal_journal *l)
{
    if (!l) return;
    if (l->csv >= 0) close(l->csv);
    if (l->json >= 0) close(l->json);
    if (l->csv_row.text) pal_free(l->csv_row.text, l->csv_row.room);
    if (l->json_row.text) pal_free(l->json_row.text, l->json_row.room);
    pal_free(l, l->size);
}

/* ---- Rows ---- */

PAL_PRINTF(2, 3) static void add(row *r, const char *format, ...)
{
    char text[64]; /* enough for what is added at once */
    va_list args;
    va_start(args, format);
    const int n = pal_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n <= 0 || !row_reserve(r, r->used + (size_t)n)) return;
    memcpy(r->text + r->used, text, (size_t)n);
    r->used += (size_t)n;
}

/* Writes whole numbers with all digits, others with nine. */
static void add_number(row *r, double x)
{
    add(r, x == floor(x) && fabs(x) < 1e15 ? "%.0f" : "%.9g", x);
}

static void make_csv(row *r, const char *columns, int64_t step, int count, const pal_field *fields)
{
    add(r, "%" PRId64, step);
    for (const char *name = columns; *name;) {
        size_t length = strcspn(name, ",");
        add(r, ",");
        for (int i = 0; i < count; i++)
            if (strlen(fields[i].name) == length && !strncmp(fields[i].name, name, length))
                add_number(r, fields[i].value);
        name += length + (name[length] == ',');
    }
    add(r, "\n");
}

static void make_json(row *r, int64_t step, int count, const pal_field *fields)
{
    add(r, "{\"step\":%" PRId64, step);
    for (int i = 0; i < count; i++) {
        add(r, ",\"");
        for (const char *c = fields[i].name; *c; c++)
            add(r,
                *c == '"' || *c == '\\'  ? "\\%c"
                : (unsigned char)*c < 32 ? "\\u%04x"
                                         : "%c",
                *c);
        add(r, "\":");
        if (isfinite(fields[i].value))
            add_number(r, fields[i].value);
        else
            add(r, "null");
    }
    add(r, "}\n");
}

static pal_status append(int fd, off_t *end, const row *r, const char *name, pal_error *error)
{
    if (pal_write_all(fd, r->text, r->used)) {
        *end += (off_t)r->used;
        return PAL_OK;
    }
    pal_status s = pal_error_set(error, PAL_EIO, "%s cannot be written: %s", name, strerror(errno));
    if (ftruncate(fd, *end) != 0)
        return s; /* if it fails, the incomplete row is removed when the run continues */
    return s;
}

pal_status pal_journal_row(pal_journal *l, int64_t step, int count, const pal_field *fields,
                           pal_error *error)
{
    row *csv = &l->csv_row, *json = &l->json_row;
    const pal_status named = check_fields(count, fields, error);
    if (named != PAL_OK) return named;
    csv->used = json->used = 0;
    csv->failed = json->failed = false;
    make_csv(csv, l->columns, step, count, fields);
    make_json(json, step, count, fields);
    if (csv->failed || json->failed)
        return pal_error_set(error, PAL_ENOMEM, "journal_row: out of memory");
    pal_status s = append(l->csv, &l->csv_end, csv, "log.csv", error);
    pal_status t = append(l->json, &l->json_end, json, "log.jsonl", s == PAL_OK ? error : NULL);
    return s == PAL_OK ? t : s;
}

pal_status pal_journal_sync(pal_journal *l, pal_error *error)
{
    if (fsync(l->csv) == 0 && fsync(l->json) == 0) return PAL_OK;
    return pal_error_set(error, PAL_EIO, "log.csv and log.jsonl cannot be flushed: %s",
                         strerror(errno));
}

/* ---- Samples ---- */

pal_status pal_samples_cut(const char *folder, int64_t last, pal_error *error)
{
    return cut(folder, "samples.txt", "", sample_step, last, true, error);
}

/* The text of a sample for free(); NULL: out of memory. */
static char *indent(int64_t step, const char *text, size_t size, size_t *length)
{
    char *all = NULL;
    FILE *to = open_memstream(&all, length);
    if (!to) return NULL;
    fprintf(to, "step %" PRId64 "\n    ", step);
    for (size_t i = 0; i < size; i++) {
        fputc(text[i], to);
        if (text[i] == '\n') fputs("    ", to);
    }
    fputs("\n\n", to);
    if (fclose(to) == 0) return all;
    free(all);
    return NULL;
}

pal_status pal_samples_add(const char *folder, int64_t step, const char *text, size_t size,
                           pal_error *error)
{
    char path[PAL_PATH];
    size_t length;
    pal_status s = pal_path_of(path, folder, "samples.txt", error);
    if (s != PAL_OK) return s;
    char *all = indent(step, text, size, &length);
    if (!all) return pal_error_set(error, PAL_ENOMEM, "out of memory for a sample");
    const int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    const off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    const bool good = fd >= 0 && pal_write_all(fd, all, length) && pal_flush(fd);
    if (!good)
        s = pal_error_set(error, PAL_EIO, "%.400s: cannot be written: %s", path, strerror(errno));
    if (!good && end >= 0 && ftruncate(fd, end) != 0) {
        /* The incomplete sample is removed when the run continues. */
    }
    if (fd >= 0) close(fd);
    free(all);
    return s;
}
