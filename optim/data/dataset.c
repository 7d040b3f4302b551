/* dataset.c - fields of files with the same rows: opening them, and reading a row. */
#include "optim/data/dataset.h"
#include "tensor/number.h"

#include <math.h>
#include <string.h>

/* ---- Opening ---- */

/* The table of a path, which is opened if it is a new one; NULL path: the first. */
static pal_status find_table(pal_dataset *d, const char *path, pal_table **table, pal_error *error)
{
    if (!path && d->tables == 0)
        return pal_error_set(error, PAL_EVALUE, "dataset: a field has no file");
    for (int i = 0; i < d->tables; i++)
        if (!path || strcmp(d->table[i].path, path) == 0) {
            *table = &d->table[i];
            return PAL_OK;
        }
    *table = &d->table[d->tables];
    pal_status s = pal_table_open(*table, path, d->not_finite, error);
    if (s == PAL_OK) d->tables++;
    return s;
}

static pal_status name_rows(pal_file_array *r, const pal_table *t, const char *name,
                            pal_error *error)
{
    r->path = t->path;
    if (strlen(name) >= sizeof r->name)
        return pal_error_set(error, PAL_EVALUE, "%.400s: the name of an array has %zu bytes",
                             t->path, strlen(name));
    snprintf(r->name, sizeof r->name, "%s", name);
    return PAL_OK;
}

static pal_status add_field(pal_dataset *d, const pal_dataset_field *f, pal_error *error)
{
    pal_table *t = NULL;
    pal_dataset_part *p = &d->field[d->fields];
    const char *trouble = pal_name_trouble(f->name);
    if (!trouble && strlen(f->name) >= PAL_FIELD_NAME) trouble = "is too long";
    for (int i = 0; i < d->fields && !trouble; i++)
        if (strcmp(d->field[i].name, f->name) == 0) trouble = "is there twice";
    if (trouble)
        return pal_error_set(error, PAL_EVALUE, "dataset: the name of field \"%.100s\" %s", f->name,
                             trouble);
    snprintf(p->name, sizeof p->name, "%s", f->name);
    pal_status s = find_table(d, f->file, &t, error);
    if (s == PAL_OK) s = name_rows(&p->rows, t, f->array ? f->array : f->name, error);
    d->fields++;
    return s == PAL_OK ? t->kind->array(t, &p->rows, error) : s;
}

/* Names of all arrays of a file. */
typedef struct names {
    int count;
    char name[PAL_FIELDS][PAL_FIELD_NAME];
} names;

static bool add_name(const char *name, void *user)
{
    names *n = user;
    if (n->count < PAL_FIELDS)
        snprintf(n->name[n->count], sizeof n->name[0], "%.*s", PAL_FIELD_NAME - 1, name);
    n->count++;
    return n->count <= PAL_FIELDS;
}

static pal_status add_all(pal_dataset *d, pal_error *error)
{
    names all = {0};
    pal_table *t = &d->table[0];
    if (d->tables == 0) return pal_error_set(error, PAL_EVALUE, "dataset: there is no field");
    pal_status s = t->kind->each(t, add_name, &all, error);
    if (s == PAL_OK && all.count == 0)
        s = pal_error_set(error, PAL_EFORMAT, "%.400s: it has no arrays", t->path);
    if (s == PAL_OK && all.count > PAL_FIELDS)
        s = pal_error_set(error, PAL_EVALUE,
                          "%.400s: it has more than %d arrays; say which ones are the fields",
                          t->path, PAL_FIELDS);
    for (int i = 0; s == PAL_OK && i < all.count; i++)
        s = add_field(d, &(pal_dataset_field){.name = all.name[i]}, error);
    return s;
}

static pal_status convert(pal_dataset_part *p, pal_convert to, pal_error *error)
{
    switch (to) {
    case PAL_AS_STORED:
        p->to = p->rows.dtype;
        return PAL_OK;
    case PAL_TO_F32:
        p->to = PAL_F32;
        return PAL_OK;
    case PAL_TO_F64:
        p->to = PAL_F64;
        return PAL_OK;
    case PAL_TO_I64:
        p->to = PAL_I64;
        if (p->rows.whole) return PAL_OK;
        return pal_error_set(error, PAL_EDTYPE,
                             "%.400s: '%s' has real numbers, which do not become i64", p->rows.path,
                             p->rows.name);
    }
    return pal_error_set(error, PAL_EVALUE, "dataset: field %s: there is no conversion %d", p->name,
                         (int)to);
}

/* ---- Rows ---- */

static pal_status check_offsets(pal_dataset_part *p, const char *name, int64_t n, pal_error *error)
{
    const int64_t *at = p->offsets, all = p->rows.shape.dim[0];
    for (int64_t i = 0; i < n; i++) {
        const bool good = i == 0       ? at[0] == 0
                          : i == n - 1 ? at[i] >= at[i - 1] && at[i] == all
                                       : at[i] >= at[i - 1] && at[i] <= all;
        if (!good)
            return pal_error_set(
                error, PAL_EFORMAT,
                "%.400s: entry %lld of '%s' is %lld%s; offsets begin with 0, never "
                "decrease and end with the %lld entries of '%s'",
                p->rows.path, (long long)i, name, (long long)at[i], i == n - 1 ? ", the last" : "",
                (long long)all, p->rows.name);
        if (i > 0 && at[i] - at[i - 1] > p->longest) p->longest = at[i] - at[i - 1];
    }
    return PAL_OK;
}

/* Reads where the rows of a ragged field begin. */
static pal_status read_offsets(pal_dataset *d, pal_dataset_part *p, const pal_dataset_field *f,
                               int64_t *rows, pal_error *error)
{
    pal_table *t = NULL;
    pal_file_array r = {0};
    pal_status s = find_table(d, f->file, &t, error);
    if (s == PAL_OK && t->csv)
        s = pal_error_set(error, PAL_EVALUE, "%.400s: a CSV file has no ragged fields", t->path);
    if (s == PAL_OK) s = name_rows(&r, t, f->offsets, error);
    if (s == PAL_OK) s = t->kind->array(t, &r, error);
    if (s == PAL_OK && (!r.whole || r.shape.ndim != 1 || r.shape.dim[0] < 1))
        s = pal_error_set(error, PAL_EFORMAT,
                          "%.400s: '%s' is not a list of integers, one more than rows", t->path,
                          r.name);
    const int64_t n = s == PAL_OK ? r.shape.dim[0] : 0;
    p->offset_bytes = (size_t)n * sizeof *p->offsets;
    if (s == PAL_OK) p->offsets = pal_malloc(p->offset_bytes);
    *rows = n - 1;
    if (s == PAL_OK && !p->offsets)
        s = pal_error_set(error, PAL_ENOMEM, "%.400s: no memory for the %lld entries of '%s'",
                          t->path, (long long)n, r.name);
    if (s == PAL_OK) s = r.get(&r, 0, n, PAL_I64, p->offsets, error);
    if (r.close) r.close(&r);
    return s == PAL_OK ? check_offsets(p, r.name, n, error) : s;
}

/* How many rows a field has. */
static pal_status count_rows(pal_dataset *d, pal_dataset_part *p, const pal_dataset_field *f,
                             int64_t *rows, pal_error *error)
{
    const int64_t all = p->rows.shape.dim[0];
    const bool longer = (f && f->offsets) || d->window;
    if (p->rows.shape.ndim + longer > PAL_MAX_DIMS)
        return pal_error_set(error, PAL_EVALUE, "dataset: field %s has too many axes for a batch",
                             p->name);
    if (f && f->offsets && d->window)
        return pal_error_set(error, PAL_EVALUE, "dataset: field %s is ragged and has no windows",
                             p->name);
    if (f && f->offsets) return read_offsets(d, p, f, rows, error);
    *rows = all;
    p->longest = 1;
    if (d->window == 0) return PAL_OK;
    *rows = all < d->window ? 0 : (all - d->window) / d->step + 1;
    p->longest = d->window;
    return PAL_OK;
}

static pal_status settle(pal_dataset *d, const pal_dataset_opts *o, pal_error *error)
{
    pal_status s = PAL_OK;
    d->count = -1;
    for (int i = 0; s == PAL_OK && i < d->tables; i++)
        if (d->table[i].kind->ready) s = d->table[i].kind->ready(&d->table[i], error);
    for (int i = 0; s == PAL_OK && i < d->fields; i++) {
        pal_dataset_part *p = &d->field[i];
        const pal_dataset_field *f = o->field[0].name ? &o->field[i] : NULL;
        pal_table *t = NULL;
        int64_t rows = 0;
        s = find_table(d, f ? f->file : NULL, &t, error);
        if (s == PAL_OK && t->kind->settle) s = t->kind->settle(&p->rows, error);
        if (s == PAL_OK) s = convert(p, f ? f->to : PAL_AS_STORED, error);
        if (s == PAL_OK) s = count_rows(d, p, f, &rows, error);
        if (s == PAL_OK && f && f->sequence && !p->offsets && !d->window && p->rows.shape.ndim < 2)
            s = pal_error_set(error, PAL_EVALUE,
                              "dataset: field %s is one number a row, and no sequence", p->name);
        p->sequence = p->offsets || d->window || (f && f->sequence);
        if (s == PAL_OK && d->count >= 0 && rows != d->count)
            s = pal_error_set(error, PAL_EVALUE,
                              "dataset: field %s has %lld rows, and field %s has %lld", p->name,
                              (long long)rows, d->field[0].name, (long long)d->count);
        if (s == PAL_OK) d->count = rows;
    }
    return s;
}

/* ---- Identity ---- */

static pal_status identify(pal_dataset *d, pal_error *error)
{
    enum { PART = 1 << 16 };
    uint32_t sum = 0;
    char text[200];
    char *part = pal_malloc(PART);
    if (!part) return pal_error_set(error, PAL_ENOMEM, "dataset: no memory to open it");
    pal_status s = PAL_OK;
    for (int i = 0; s == PAL_OK && i < d->fields; i++) {
        pal_file_array *r = &d->field[i].rows;
        const pal_array is = pal_array_of(d->field[i].to, r->shape, NULL);
        pal_array_describe(&is, text, sizeof text);
        sum = pal_crc32c(sum, d->field[i].name, strlen(d->field[i].name));
        sum = pal_crc32c(sum, text, strlen(text));
        const int64_t row = r->each * (int64_t)pal_dtype_size(d->field[i].to);
        const int64_t all = r->shape.dim[0];
        int64_t n = row == 0 || row > PART ? 0 : PART / row;
        if (n > all) n = all;
        const int64_t from[] = {0, all - n};
        for (int j = 0; s == PAL_OK && n > 0 && j < 2; j++) {
            s = r->get(r, from[j], n, d->field[i].to, part, error);
            if (s == PAL_OK) sum = pal_crc32c(sum, part, (size_t)(n * row));
        }
    }
    pal_free(part, PART);
    snprintf(d->identity, sizeof d->identity, "dataset rows=%lld window=%lld step=%lld crc32c=%08x",
             (long long)d->count, (long long)d->window, (long long)d->step, (unsigned)sum);
    return s;
}

pal_status pal_dataset_open(pal_dataset **data, const char *path, pal_dataset_opts o,
                            pal_error *error)
{
    *data = NULL;
    if (o.window < 0 || o.step < 0)
        return pal_error_set(error, PAL_EVALUE, "dataset: windows of %lld, each %lld after another",
                             (long long)o.window, (long long)o.step);
    pal_dataset *d = pal_malloc(sizeof *d);
    if (!d) return pal_error_set(error, PAL_ENOMEM, "dataset: no memory to open it");
    memset(d, 0, sizeof *d);
    for (int i = 0; i <= PAL_FIELDS; i++) d->table[i].fd = -1;
    pthread_mutex_init(&d->lock, NULL);
    d->window = o.window, d->step = o.step ? o.step : 1, d->not_finite = o.not_finite;
    pal_table *own;
    pal_status s = path ? find_table(d, path, &own, error) : PAL_OK;
    if (s == PAL_OK && !o.field[0].name) s = add_all(d, error);
    for (int i = 0; s == PAL_OK && i < PAL_FIELDS && o.field[i].name; i++)
        s = add_field(d, &o.field[i], error);
    if (s == PAL_OK) s = settle(d, &o, error);
    if (s == PAL_OK) s = identify(d, error);
    if (s == PAL_OK)
        *data = d;
    else
        pal_dataset_close(d);
    return s;
}

void pal_dataset_close(pal_dataset *d)
{
    if (!d) return;
    for (int i = 0; i < d->fields; i++) {
        pal_dataset_part *p = &d->field[i];
        if (p->rows.close) p->rows.close(&p->rows);
        if (p->offsets) pal_free(p->offsets, p->offset_bytes);
    }
    for (int i = 0; i < d->tables; i++) pal_table_close(&d->table[i]);
    pthread_mutex_destroy(&d->lock);
    pal_free(d, sizeof *d);
}

/* ---- Looking at it ---- */

int64_t pal_dataset_rows(const pal_dataset *d) { return d->count; }
int pal_dataset_fields(const pal_dataset *d) { return d->fields; }
const char *pal_dataset_identity(const pal_dataset *d) { return d->identity; }

const char *pal_dataset_name(const pal_dataset *d, int field)
{
    return field >= 0 && field < d->fields ? d->field[field].name : NULL;
}

static int find_field(const pal_dataset *d, const char *name)
{
    for (int i = 0; i < d->fields; i++)
        if (strcmp(d->field[i].name, name) == 0) return i;
    return -1;
}

pal_shape pal_dataset_axes(const pal_dataset *d, int field)
{
    const pal_shape all = d->field[field].rows.shape;
    pal_shape axes = {.ndim = all.ndim - 1};
    memcpy(axes.dim, all.dim + 1, (size_t)axes.ndim * sizeof *axes.dim);
    return axes;
}

bool pal_dataset_about(const pal_dataset *d, const char *name, pal_dtype *dtype, pal_shape *shape)
{
    const int i = find_field(d, name);
    if (i < 0) return false;
    *dtype = d->field[i].to;
    *shape = pal_dataset_axes(d, i);
    if (!d->window) return true;
    memmove(shape->dim + 1, shape->dim, (size_t)shape->ndim * sizeof *shape->dim);
    shape->dim[0] = d->window, shape->ndim++;
    return true;
}

int64_t pal_dataset_entries(const pal_dataset *d, int field, int64_t row)
{
    const pal_dataset_part *p = &d->field[field];
    return p->offsets ? p->offsets[row + 1] - p->offsets[row] : p->longest;
}

static pal_status check_finite(const pal_dataset_part *p, int64_t row, int64_t n, const void *data,
                               pal_error *error)
{
    if (p->to == PAL_I64) return PAL_OK;
    for (int64_t i = 0; i < n; i++) {
        const double x = pal_element_get(p->to, data, i);
        if (!isfinite(x))
            return pal_error_set(error, PAL_EVALUE,
                                 "%.400s: row %lld of '%s' has %g at number %lld", p->rows.path,
                                 (long long)row, p->rows.name, x, (long long)i);
    }
    return PAL_OK;
}

pal_status pal_dataset_row(pal_dataset *d, int field, int64_t row, int64_t most, void *out,
                           int64_t *entries, pal_error *error)
{
    pal_dataset_part *p = &d->field[field];
    const int64_t first = p->offsets ? p->offsets[row] : d->window ? row * d->step : row;
    int64_t n = pal_dataset_entries(d, field, row);
    if (n > most) n = most;
    *entries = n;
    pthread_mutex_lock(&d->lock);
    pal_status s = p->rows.get(&p->rows, first, n, p->to, out, error);
    pthread_mutex_unlock(&d->lock);
    return s == PAL_OK && !d->not_finite ? check_finite(p, row, n * p->rows.each, out, error) : s;
}

pal_status pal_dataset_read(pal_dataset *d, const char *name, int64_t first, int64_t count,
                            const pal_array *dst, pal_error *error)
{
    const int field = find_field(d, name);
    pal_dtype dtype;
    pal_shape row, all = {.ndim = 1, .dim = {count}};
    if (field < 0 || d->field[field].offsets || !pal_dataset_about(d, name, &dtype, &row))
        return pal_error_set(error, PAL_EVALUE, "dataset_read: there is no field %.100s%s", name,
                             field < 0 ? "" : " that is not ragged");
    if (first < 0 || count < 0 || first > d->count || count > d->count - first)
        return pal_error_set(error, PAL_EVALUE, "dataset_read: rows %lld to %lld of %lld",
                             (long long)first, (long long)first + count, (long long)d->count);
    memcpy(all.dim + 1, row.dim, (size_t)row.ndim * sizeof *row.dim);
    all.ndim = row.ndim + 1;
    if (!pal_shape_equal(pal_array_shape(dst), all) || !pal_array_contiguous(dst))
        return pal_error_set(error, PAL_ESHAPE,
                             "dataset_read: field %s wants a contiguous array of its rows", name);
    if (dst->dtype != dtype)
        return pal_error_set(error, PAL_EDTYPE, "dataset_read: field %s is %s, and the array %s",
                             name, pal_dtype_name(dtype), pal_dtype_name(dst->dtype));
    pal_status s = PAL_OK;
    const size_t bytes = pal_shape_bytes(dtype, row);
    for (int64_t i = 0, n; s == PAL_OK && i < count; i++)
        s = pal_dataset_row(d, field, first + i, INT64_MAX, (char *)dst->data + (size_t)i * bytes,
                            &n, error);
    return s;
}
