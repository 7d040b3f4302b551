/*
 * npy.c - arrays in NumPy's files: .npy, and .npz with entries that are stored.
 *
 * An .npz is a ZIP file. Its entries are found by the directory at its end (APPNOTE.TXT of PKWARE,
 * 4.3), and read where they lie. All sizes are compared with that of the file.
 */
#include "optim/data/arrays.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- The header of an array ---- */

enum { HEADER = 4096 }; /* bytes of a header that is read; NumPy's have about 128 */

static pal_status unfit(const pal_file_array *r, const char *what, pal_error *error)
{
    return pal_error_set(error, PAL_EFORMAT, "%.400s: '%s' %s", r->path, r->name, what);
}

/* What follows "'key':" in the text of a Python dictionary; NULL: it has no such key. */
static const char *value_of(const char *header, const char *key)
{
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%s':", key);
    const char *at = strstr(header, quoted);
    if (!at) return NULL;
    for (at += strlen(quoted); *at == ' '; at++)
        ;
    return at;
}

/* "'<f4'" */
static const char *read_type(pal_file_array *r, const char *text)
{
    struct pal_raw *raw = &r->in.raw;
    if (!text || text[0] != '\'') return "has a type that is not one kind of number";
    const char order = text[1];
    raw->kind = text[2];
    raw->width = isdigit((unsigned char)text[3]) && text[4] == '\'' ? text[3] - '0' : 0;
    const int w = raw->width;
    const bool usual = raw->kind == 'b'                       ? w == 1
                       : raw->kind == 'f'                     ? w == 2 || w == 4 || w == 8
                       : raw->kind == 'i' || raw->kind == 'u' ? w == 1 || w == 2 || w == 4 || w == 8
                                                              : false;
    if (!usual || !strchr("<>|=", order) || !order)
        return "has elements that are not integers, bool or real numbers of 2, 4 or 8 bytes";
    const uint16_t one = 1;
    const bool little = *(const char *)&one == 1;
    raw->swap = w > 1 && (little ? order == '>' : order == '<');
    r->whole = raw->kind != 'f';
    r->dtype = r->whole ? PAL_I64 : w == 8 ? PAL_F64 : PAL_F32;
    return NULL;
}

/* "(1797, 8, 8)" */
static const char *read_shape(pal_shape *shape, const char *text)
{
    *shape = (pal_shape){0};
    if (!text || *text != '(') return "has a header without a shape";
    for (text++;;) {
        while (*text == ' ') text++;
        if (*text == ')') return NULL;
        if (!isdigit((unsigned char)*text)) return "has a shape that is not a list of sizes";
        if (shape->ndim == PAL_MAX_DIMS) return "has more than 8 dimensions";
        char *end;
        errno = 0;
        const long long n = strtoll(text, &end, 10);
        if (errno) return "has a dimension that is out of range";
        shape->dim[shape->ndim++] = n;
        for (text = end; *text == ' '; text++)
            ;
        if (*text == ',')
            text++;
        else if (*text != ')')
            return "has a shape that is not a list of sizes";
    }
}

/* Reads the header at this place; *begin is where the elements begin. */
static pal_status read_header(const pal_table *t, pal_file_array *r, int64_t at, int64_t size,
                              int64_t *begin, pal_shape *shape, pal_error *error)
{
    unsigned char head[12] = {0};
    char text[HEADER + 1];
    if (size < 12) return unfit(r, "is too short for a header", error);
    pal_status s = pal_table_bytes(t, at, head, sizeof head, error);
    if (s != PAL_OK) return s;
    if (memcmp(head, "\x93NUMPY", 6) != 0) return unfit(r, "is not an array of NumPy", error);
    if (head[6] < 1 || head[6] > 3)
        return unfit(r, "is of a version of .npy that is not known here", error);
    const int64_t fixed = head[6] == 1 ? 10 : 12;
    int64_t length = head[8] | head[9] << 8;
    if (fixed == 12) length |= (int64_t)head[10] << 16 | (int64_t)head[11] << 24;
    if (length > HEADER || length > size - fixed)
        return unfit(r, "has a header that is longer than it can be", error);
    s = pal_table_bytes(t, at + fixed, text, (size_t)length, error);
    if (s != PAL_OK) return s;
    text[length] = '\0';
    *begin = fixed + length;
    const char *trouble = read_type(r, value_of(text, "descr"));
    if (!trouble) trouble = read_shape(shape, value_of(text, "shape"));
    const char *fortran = value_of(text, "fortran_order");
    if (!trouble && (!fortran || (strncmp(fortran, "False", 5) && shape->ndim > 1)))
        trouble = "is stored by columns; numpy.ascontiguousarray before numpy.save stores rows";
    return trouble ? unfit(r, trouble, error) : PAL_OK;
}

pal_status pal_npy_array(pal_table *t, pal_file_array *r, int64_t at, int64_t size,
                         pal_error *error)
{
    int64_t begin, bytes;
    pal_shape shape;
    struct pal_raw *raw = &r->in.raw;
    *raw = (struct pal_raw){.fd = -1};
    pal_status s = read_header(t, r, at, size, &begin, &shape, error);
    if (s == PAL_OK) s = pal_file_array_shape(r, shape, error);
    if (s != PAL_OK) return s;
    if (__builtin_mul_overflow(pal_shape_count(shape), raw->width, &bytes) || bytes > size - begin)
        return pal_error_set(error, PAL_EFORMAT,
                             "%.400s: '%s' has %lld rows of %lld elements of %d bytes, and %lld "
                             "bytes are there",
                             r->path, r->name, (long long)shape.dim[0], (long long)r->each,
                             raw->width, (long long)(size - begin));
    raw->at = at + begin;
    raw->fd = fcntl(t->fd, F_DUPFD_CLOEXEC, 3);
    if (raw->fd < 0)
        return pal_error_set(error, PAL_EIO, "%.400s: cannot be opened again: %s", r->path,
                             strerror(errno));
    r->get = pal_raw_get, r->close = pal_raw_close;
    return PAL_OK;
}

/* ---- .npy: one array, of any name ---- */

static pal_status npy_open(pal_table *t, pal_error *error)
{
    (void)t, (void)error;
    return PAL_OK;
}

static void npy_close(pal_table *t) { (void)t; }

static pal_status npy_each(pal_table *t, bool (*visit)(const char *name, void *user), void *user,
                           pal_error *error)
{
    (void)t, (void)error;
    visit("x", user);
    return PAL_OK;
}

static pal_status npy_array(pal_table *t, pal_file_array *r, pal_error *error)
{
    return pal_npy_array(t, r, 0, t->size, error);
}

const pal_table_kind pal_table_npy = {npy_open, npy_close, npy_each, npy_array, NULL, NULL};

/* ---- .npz ---- */

typedef struct pal_zip_entry {
    char name[PAL_LABEL]; /* without ".npy" */
    int method;
    int64_t at, size; /* of its local header; bytes as they are stored */
} zip_entry;

enum {
    END = 22,           /* bytes of the record at the end, before a comment of up to 2^16 - 1 */
    END64 = 56,         /* of the longer one */
    LOCATOR = 20,       /* of what says where that is */
    CENTRAL = 46,       /* of an entry in the directory, before its texts */
    LOCAL = 30,         /* of the header before its data */
    MOST_ENTRIES = 1024 /* that are read */
};

static int64_t number(const unsigned char *at, int bytes)
{
    uint64_t x = 0;
    for (int i = bytes - 1; i >= 0; i--) x = x << 8 | at[i];
    return x > INT64_MAX ? -1 : (int64_t)x;
}

static bool marked(const unsigned char *at, const char *mark) { return !memcmp(at, mark, 4); }

static pal_status damaged(const pal_table *t, const char *what, pal_error *error)
{
    return pal_error_set(error, PAL_EFORMAT, "%.400s: it is damaged: %s", t->path, what);
}

/* Finds the directory: where it begins, its bytes and its entries. */
static pal_status find_directory(const pal_table *t, int64_t *at, int64_t *size, int64_t *entries,
                                 pal_error *error)
{
    enum { TAIL = END + 65535 };
    const int64_t n = t->size < TAIL ? t->size : TAIL;
    unsigned char *tail = pal_malloc(TAIL), *end = NULL;
    if (!tail) return pal_error_set(error, PAL_ENOMEM, "%.400s: no memory to open it", t->path);
    pal_status s = pal_table_bytes(t, t->size - n, tail, (size_t)n, error);
    for (int64_t i = n - END; s == PAL_OK && i >= 0 && !end; i--)
        if (marked(tail + i, "PK\5\6")) end = tail + i;
    if (s == PAL_OK && !end) s = damaged(t, "the directory at its end is not there", error);
    if (s == PAL_OK) {
        *entries = number(end + 10, 2), *size = number(end + 12, 4), *at = number(end + 16, 4);
        const int64_t place = t->size - n + (end - tail) - LOCATOR;
        unsigned char longer[END64] = {0};
        if (place >= 0 && end - tail >= LOCATOR && marked(end - LOCATOR, "PK\6\7")) {
            const int64_t where = number(end - LOCATOR + 8, 8);
            if (where < 0 || where > place - END64)
                s = damaged(t, "its directory lies outside of it", error);
            else
                s = pal_table_bytes(t, where, longer, END64, error);
            if (s == PAL_OK && !marked(longer, "PK\6\6"))
                s = damaged(t, "its directory is not where it says", error);
            *entries = number(longer + 32, 8), *size = number(longer + 40, 8);
            *at = number(longer + 48, 8);
        }
    }
    pal_free(tail, TAIL);
    if (s != PAL_OK) return s;
    if (*at < 0 || *size < 0 || *at > t->size || *size > t->size - *at || *entries < 0 ||
        *entries > *size / CENTRAL)
        return damaged(t, "its directory lies outside of it", error);
    if (*entries > MOST_ENTRIES)
        return pal_error_set(error, PAL_EFORMAT, "%.400s: it has more than %d arrays", t->path,
                             MOST_ENTRIES);
    return PAL_OK;
}

/* Sizes that four bytes do not hold stand behind the name, in this order, each if it is all ones in
 * its own place. */
static bool longer_sizes(const unsigned char *extra, int64_t length, int64_t full[3])
{
    for (int64_t i = 0; i + 4 <= length;) {
        const int64_t id = number(extra + i, 2), n = number(extra + i + 2, 2);
        if (n > length - i - 4) return false;
        if (id == 1) {
            int64_t j = i + 4;
            for (int k = 0; k < 3; k++) {
                if (full[k] != 0xffffffff) continue;
                if (j + 8 > i + 4 + n) return false;
                full[k] = number(extra + j, 8);
                j += 8;
            }
        }
        i += 4 + n;
    }
    return true;
}

static pal_status read_entry(const pal_table *t, const unsigned char **at, int64_t *left,
                             zip_entry *e, pal_error *error)
{
    if (*left < CENTRAL || !marked(*at, "PK\1\2"))
        return damaged(t, "an entry of its directory", error);
    const unsigned char *p = *at;
    const int64_t name = number(p + 28, 2), extra = number(p + 30, 2), note = number(p + 32, 2);
    const int64_t all = CENTRAL + name + extra + note;
    if (all > *left) return damaged(t, "an entry of its directory", error);
    int64_t full[3] = {number(p + 24, 4), number(p + 20, 4), number(p + 42, 4)};
    if (!longer_sizes(p + CENTRAL + name, extra, full))
        return damaged(t, "the sizes of an entry", error);
    e->method = (int)number(p + 10, 2);
    if (number(p + 8, 2) & 1) e->method = -1; /* encrypted */
    e->size = full[1], e->at = full[2];
    if (e->size < 0 || e->at < 0 || e->at > t->size || e->size > t->size - e->at)
        return damaged(t, "an entry lies outside of it", error);
    const int64_t keep = name > 4 && !memcmp(p + CENTRAL + name - 4, ".npy", 4) ? name - 4 : 0;
    if (keep >= PAL_LABEL || (keep && memchr(p + CENTRAL, 0, (size_t)keep)))
        return damaged(t, "the name of an entry", error);
    memcpy(e->name, p + CENTRAL, (size_t)keep); /* "": it is no array */
    e->name[keep] = '\0';
    *at += all, *left -= all;
    return PAL_OK;
}

static pal_status npz_open(pal_table *t, pal_error *error)
{
    int64_t at = 0, size = 0, entries = 0;
    pal_status s = find_directory(t, &at, &size, &entries, error);
    if (s != PAL_OK || entries == 0) return s;
    if (size > 64 << 20) return damaged(t, "its directory is too large", error);
    unsigned char *directory = pal_malloc((size_t)size);
    t->entries = (int)entries;
    t->entry = pal_malloc((size_t)entries * sizeof *t->entry);
    if (!directory || !t->entry)
        s = pal_error_set(error, PAL_ENOMEM, "%.400s: no memory to open it", t->path);
    if (s == PAL_OK) s = pal_table_bytes(t, at, directory, (size_t)size, error);
    const unsigned char *next = directory;
    for (int i = 0; s == PAL_OK && i < t->entries; i++)
        s = read_entry(t, &next, &size, &t->entry[i], error);
    if (directory) pal_free(directory, (size_t)(next - directory + size));
    return s;
}

static void npz_close(pal_table *t)
{
    if (t->entry) pal_free(t->entry, (size_t)t->entries * sizeof *t->entry);
}

static pal_status npz_each(pal_table *t, bool (*visit)(const char *name, void *user), void *user,
                           pal_error *error)
{
    (void)error;
    for (int i = 0; i < t->entries; i++)
        if (*t->entry[i].name && !visit(t->entry[i].name, user)) break;
    return PAL_OK;
}

static pal_status npz_array(pal_table *t, pal_file_array *r, pal_error *error)
{
    const zip_entry *e = NULL;
    unsigned char local[LOCAL];
    for (int i = 0; i < t->entries && !e; i++)
        if (strcmp(t->entry[i].name, r->name) == 0) e = &t->entry[i];
    if (!e)
        return pal_error_set(error, PAL_EVALUE, "%.400s: there is no array '%s'", t->path, r->name);
    if (e->method != 0)
        return unfit(r, "is compressed; numpy.savez stores it so that its rows can be read", error);
    if (e->at > t->size - LOCAL) return damaged(t, "an entry lies outside of it", error);
    pal_status s = pal_table_bytes(t, e->at, local, LOCAL, error);
    if (s != PAL_OK) return s;
    const int64_t begin = e->at + LOCAL + number(local + 26, 2) + number(local + 28, 2);
    if (!marked(local, "PK\3\4") || begin > t->size || e->size > t->size - begin)
        return damaged(t, "an entry is not where its directory says", error);
    return pal_npy_array(t, r, begin, e->size, error);
}

const pal_table_kind pal_table_npz = {npz_open, npz_close, npz_each, npz_array, NULL, NULL};
