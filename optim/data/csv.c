/*
 * csv.c - columns of numbers in a text, a row a line.
 *
 * The whole text is read once when it is opened: each cell of a column that is wanted has to be a
 * number, and the place of every 64th row is noted. A row is then read by its place, so memory is
 * that of the notes: 8 bytes for 64 rows.
 */
#include "optim/data/arrays.h"
#include "tensor/number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINE = 1 << 20,  /* bytes of a line at most */
    PIECE = 1 << 14, /* bytes that are read at once for a row */
    STRIDE = 64,     /* rows for each note */
    MOST = 1 << 16   /* columns */
};

typedef struct pal_csv {
    char separator;
    int columns;
    char *header; /* the first line, cut into names; NULL: columns are "1", "2", ... */
    char **name;
    bool *used, *whole; /* wanted by an array; all its numbers are integers */
    double *value;      /* the row that was read last, in its used columns */
    int64_t held;       /* its number; -1: none */
    int64_t rows, *note, notes, room;
    /* The lines that are read: bytes from..to of the buffer; `at` is the place of its first byte.
     */
    char *buffer;
    int64_t at, from, to, line;
    int64_t next; /* number of the row that begins at `from`; -1: not known */
} csv;

/* ---- Lines ---- */

static void seek(csv *c, int64_t at) { c->at = at, c->from = c->to = 0; }

/* Moves *text to the next line, without its end; NULL at the end of the file. */
static pal_status next_line(pal_table *t, size_t piece, char **text, pal_error *error)
{
    csv *c = t->csv;
    *text = NULL;
    for (int64_t seen = c->from;;) {
        char *end = memchr(c->buffer + seen, '\n', (size_t)(c->to - seen));
        const int64_t left = t->size - c->at - c->to;
        if (!end && left == 0 && c->to > c->from) end = c->buffer + c->to;
        if (end) {
            *text = c->buffer + c->from;
            c->from = end - c->buffer + (end < c->buffer + c->to);
            c->line++;
            if (memchr(*text, 0, (size_t)(end - *text)))
                return pal_error_set(error, PAL_EFORMAT, "%.400s: line %lld has a zero byte",
                                     t->path, (long long)c->line);
            if (end > *text && end[-1] == '\r') end--;
            *end = '\0';
            return PAL_OK;
        }
        if (left == 0) return PAL_OK;
        memmove(c->buffer, c->buffer + c->from, (size_t)(c->to - c->from));
        c->at += c->from, c->to -= c->from, seen = c->to, c->from = 0;
        int64_t n = LINE - c->to < (int64_t)piece ? LINE - c->to : (int64_t)piece;
        if (n > left) n = left;
        if (n == 0)
            return pal_error_set(error, PAL_EFORMAT, "%.400s: line %lld is longer than %d bytes",
                                 t->path, (long long)c->line + 1, LINE);
        pal_status s = pal_table_bytes(t, c->at + c->to, c->buffer + c->to, (size_t)n, error);
        if (s != PAL_OK) return s;
        c->to += n;
    }
}

static bool is_blank(const char *text)
{
    while (*text == ' ' || *text == '\t') text++;
    return !*text;
}

/* ---- Cells ---- */

/* Cuts the next cell out of a line, without blanks and quotation marks around it; NULL: a mark is
 * not closed. *next is what follows it; NULL: nothing does. */
static char *cut_cell(char *text, char separator, char **next)
{
    while (*text == ' ' || (*text == '\t' && separator != '\t')) text++;
    char *begin = text, *end;
    if (*text == '"') {
        end = begin = text + 1;
        for (text++; *text && (*text != '"' || text[1] == '"'); *end++ = *text++)
            if (*text == '"') text++;
        if (!*text) return NULL;
        for (text++; *text && *text != separator; text++)
            ;
    } else {
        for (; *text && *text != separator; text++)
            ;
        for (end = text; end > begin && (end[-1] == ' ' || end[-1] == '\t'); end--)
            ;
    }
    *next = *text ? text + 1 : NULL;
    *end = '\0';
    return begin;
}

static bool no_value(const char *cell)
{
    return !*cell || !strcmp(cell, "NA") || !strcmp(cell, "N/A") || !strcmp(cell, "null");
}

static const char *name_of(const csv *c, int column, char text[16])
{
    if (c->header) return c->name[column];
    snprintf(text, 16, "%d", column + 1);
    return text;
}

static pal_status bad_cell(const pal_table *t, int64_t row, int column, const char *cell,
                           const char *what, pal_error *error)
{
    char text[16], place[48] = "";
    if (t->csv->line > 0) snprintf(place, sizeof place, "line %lld, ", (long long)t->csv->line);
    return pal_error_set(error, PAL_EFORMAT, "%.400s: %srow %lld, column '%.100s': '%.60s' %s",
                         t->path, place, (long long)row, name_of(t->csv, column, text), cell, what);
}

static pal_status read_cell(const pal_table *t, int64_t row, int column, const char *cell,
                            pal_error *error)
{
    csv *c = t->csv;
    double x = NAN;
    if (no_value(cell)) {
        if (!t->missing) return bad_cell(t, row, column, cell, "is no number", error);
    } else if (!pal_number_read(cell, &x)) {
        return bad_cell(t, row, column, cell, "is no number", error);
    }
    if (!t->missing && !isfinite(x)) return bad_cell(t, row, column, cell, "is not finite", error);
    c->value[column] = x;
    const char *digit = cell + (*cell == '-' || *cell == '+');
    while (isdigit((unsigned char)*digit)) digit++;
    if (*digit || !(fabs(x) <= 0x1p53)) c->whole[column] = false;
    return PAL_OK;
}

/* Cuts a line into cells and reads those of the used columns. */
static pal_status read_line(const pal_table *t, int64_t row, char *text, pal_error *error)
{
    csv *c = t->csv;
    int column = 0;
    for (char *next = text; next; column++) {
        char *cell = cut_cell(next, c->separator, &next);
        if (!cell)
            return pal_error_set(error, PAL_EFORMAT,
                                 "%.400s: line %lld, row %lld: a quotation mark is not closed",
                                 t->path, (long long)c->line, (long long)row);
        if (column >= c->columns || !c->used[column]) continue;
        pal_status s = read_cell(t, row, column, cell, error);
        if (s != PAL_OK) return s;
    }
    if (column == c->columns) return PAL_OK;
    return pal_error_set(error, PAL_EFORMAT,
                         "%.400s: line %lld, row %lld: there are %d columns, and %d in the first "
                         "line",
                         t->path, (long long)c->line, (long long)row, column, c->columns);
}

/* ---- Opening ---- */

static char likely_separator(const char *line)
{
    int count[3] = {0};
    static const char known[] = ",;\t";
    for (; *line; line++)
        for (int i = 0; i < 3; i++) count[i] += *line == known[i];
    return count[0] ? ',' : count[1] > count[2] ? ';' : count[2] ? '\t' : ',';
}

/* Whether all cells are numbers, so that the line is a row; it is cut in place. */
static bool is_row(char *line, char separator, int *columns)
{
    bool numbers = true;
    *columns = 0;
    for (char *next = line; next; ++*columns) {
        double x;
        const char *cell = cut_cell(next, separator, &next);
        if (!cell) return false;
        numbers = numbers && (no_value(cell) || pal_number_read(cell, &x));
    }
    return numbers;
}

static pal_status short_of_memory(const pal_table *t, pal_error *error)
{
    return pal_error_set(error, PAL_ENOMEM, "%.400s: no memory to open it", t->path);
}

/* Finds the separator, the number of columns, and whether the first line has their names. */
static pal_status read_header(pal_table *t, pal_error *error)
{
    csv *c = t->csv;
    char *text;
    pal_status s = next_line(t, PIECE, &text, error);
    if (s != PAL_OK) return s;
    if (!text || is_blank(text))
        return pal_error_set(error, PAL_EFORMAT, "%.400s: its first line is empty", t->path);
    const int mark = strncmp(text, "\xef\xbb\xbf", 3) ? 0 : 3; /* of UTF-8 */
    text += mark;
    c->separator = likely_separator(text);
    char *copy = strdup(text);
    if (!copy) return short_of_memory(t, error);
    const bool row = is_row(copy, c->separator, &c->columns);
    free(copy);
    if (c->columns > MOST)
        return pal_error_set(error, PAL_EFORMAT, "%.400s: it has more than %d columns", t->path,
                             MOST);
    const size_t n = (size_t)c->columns;
    c->used = calloc(n, 1), c->whole = calloc(n, 1), c->value = calloc(n, sizeof *c->value);
    if (!c->used || !c->whole || !c->value) return short_of_memory(t, error);
    memset(c->whole, 1, n);
    if (row) {
        seek(c, mark), c->line = 0;
        return PAL_OK;
    }
    c->header = strdup(text), c->name = calloc(n, sizeof *c->name);
    if (!c->header || !c->name) return short_of_memory(t, error);
    int i = 0;
    for (char *next = c->header; next && i < c->columns; i++)
        if (!(c->name[i] = cut_cell(next, c->separator, &next)))
            return pal_error_set(error, PAL_EFORMAT,
                                 "%.400s: line 1: a quotation mark is not closed", t->path);
    return PAL_OK;
}

static pal_status csv_open(pal_table *t, pal_error *error)
{
    t->csv = calloc(1, sizeof *t->csv);
    if (t->csv) t->csv->buffer = malloc(LINE + 1);
    if (!t->csv || !t->csv->buffer) return short_of_memory(t, error);
    t->csv->held = -1;
    return read_header(t, error);
}

static void csv_close(pal_table *t)
{
    csv *c = t->csv;
    if (!c) return;
    free(c->buffer), free(c->header), free(c->name), free(c->used), free(c->whole);
    free(c->value), free(c->note), free(c);
}

static pal_status csv_each(pal_table *t, bool (*visit)(const char *name, void *user), void *user,
                           pal_error *error)
{
    char text[16];
    (void)error;
    for (int i = 0; i < t->csv->columns; i++)
        if (!visit(name_of(t->csv, i, text), user)) break;
    return PAL_OK;
}

/* ---- Arrays of columns ---- */

/* The column of the name that the text begins with, n bytes; -1: none; -2: several. */
static int find_column(const csv *c, const char *name, size_t n)
{
    int found = -1;
    char text[16];
    for (int i = 0; i < c->columns; i++) {
        const char *is = name_of(c, i, text);
        if (strlen(is) == n && !memcmp(is, name, n)) found = found == -1 ? i : -2;
    }
    return found;
}

/* Adds the columns of an entry, "name" or "first..last". */
static pal_status add_columns(pal_table *t, pal_file_array *r, const char *text, size_t n,
                              pal_error *error)
{
    struct pal_cells *in = &r->in.cells;
    const char *dots = memmem(text, n, "..", 2);
    int first = find_column(t->csv, text, n), last = first;
    if (first == -1 && dots) {
        first = find_column(t->csv, text, (size_t)(dots - text));
        last = find_column(t->csv, dots + 2, n - (size_t)(dots + 2 - text));
    }
    if (first < 0 || last < first)
        return pal_error_set(error, PAL_EVALUE, "%.400s: %s '%.*s'", t->path,
                             first == -2    ? "there are several columns"
                             : last < first ? "there are no columns"
                                            : "there is no column",
                             (int)n, text);
    int *more = realloc(in->column, (size_t)(in->columns + last - first + 1) * sizeof *more);
    if (!more) return short_of_memory(t, error);
    in->column = more;
    for (int i = first; i <= last; i++) {
        in->column[in->columns++] = i;
        t->csv->used[i] = true;
    }
    return PAL_OK;
}

static void cells_close(pal_file_array *r) { free(r->in.cells.column); }

/* Reads the row of this number into c->value. */
static pal_status take_row(pal_table *t, int64_t row, pal_error *error)
{
    csv *c = t->csv;
    char *text = NULL;
    if (c->held == row) return PAL_OK;
    c->held = -1;
    if (c->next < 0 || c->next > row || row - c->next >= STRIDE) {
        seek(c, c->note[row / STRIDE]);
        c->next = row - row % STRIDE;
    }
    int64_t at = c->next;
    c->next = -1, c->line = -INT64_MAX / 2;
    while (at <= row) {
        pal_status s = next_line(t, PIECE, &text, error);
        if (s == PAL_OK && !text)
            s = pal_error_set(error, PAL_EFORMAT, "%.400s: row %lld is not there any more", t->path,
                              (long long)row);
        if (s != PAL_OK) return s;
        if (!is_blank(text)) at++;
    }
    pal_status s = read_line(t, row, text, error);
    if (s != PAL_OK) return s;
    c->held = row, c->next = at;
    return PAL_OK;
}

static pal_status cells_get(pal_file_array *r, int64_t first, int64_t count, pal_dtype to,
                            void *out, pal_error *error)
{
    const struct pal_cells *in = &r->in.cells;
    for (int64_t row = first, i = 0; row < first + count; row++) {
        pal_status s = take_row(in->table, row, error);
        if (s != PAL_OK) return s;
        for (int j = 0; j < in->columns; j++) {
            const double x = in->table->csv->value[in->column[j]];
            if (to == PAL_I64 && !(fabs(x) <= 0x1p53 && x == floor(x)))
                return bad_cell(in->table, row, in->column[j], "a number", "is not whole", error);
            pal_element_set(to, out, i++, x);
        }
    }
    return PAL_OK;
}

static pal_status csv_array(pal_table *t, pal_file_array *r, pal_error *error)
{
    const char *text = r->name;
    pal_status s = PAL_OK;
    r->in.cells = (struct pal_cells){.table = t};
    r->get = cells_get, r->close = cells_close;
    if (find_column(t->csv, text, strlen(text)) >= 0)
        return add_columns(t, r, text, strlen(text), error);
    for (size_t n; s == PAL_OK && *text; text += n + (text[n] == ','))
        s = add_columns(t, r, text, n = strcspn(text, ","), error);
    if (s == PAL_OK && r->in.cells.columns == 0)
        s = pal_error_set(error, PAL_EVALUE, "%.400s: a field without a column", t->path);
    return s;
}

/* Notes where a row begins. */
static bool note_row(csv *c, int64_t row, int64_t at)
{
    if (row % STRIDE) return true;
    if (c->notes == c->room) {
        const int64_t room = c->room ? 2 * c->room : 64;
        int64_t *more = realloc(c->note, (size_t)room * sizeof *more);
        if (!more) return false;
        c->note = more, c->room = room;
    }
    c->note[c->notes++] = at;
    return true;
}

static pal_status csv_ready(pal_table *t, pal_error *error)
{
    csv *c = t->csv;
    for (;;) {
        char *text;
        const int64_t at = c->at + c->from;
        pal_status s = next_line(t, LINE, &text, error);
        if (s != PAL_OK) return s;
        if (!text) break;
        if (is_blank(text)) continue;
        if (!note_row(c, c->rows, at)) return short_of_memory(t, error);
        s = read_line(t, c->rows, text, error);
        if (s != PAL_OK) return s;
        c->rows++;
    }
    c->next = c->held = -1;
    return PAL_OK;
}

static pal_status csv_settle(pal_file_array *r, pal_error *error)
{
    const struct pal_cells *in = &r->in.cells;
    const csv *c = in->table->csv;
    bool whole = true;
    for (int i = 0; i < in->columns; i++) whole = whole && c->whole[in->column[i]];
    r->dtype = whole ? PAL_I64 : PAL_F32;
    r->whole = true; /* cells_get looks at each number */
    return pal_file_array_shape(
        r, in->columns > 1 ? PAL_SHAPE(c->rows, in->columns) : PAL_SHAPE(c->rows), error);
}

const pal_table_kind pal_table_csv = {csv_open,  csv_close, csv_each,
                                      csv_array, csv_ready, csv_settle};
