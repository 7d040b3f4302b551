/*
 * arrays.c - arrays as HDF5 and as .npz, and heat maps.
 *
 * An .npz is a zip archive of .npy files. They are stored without compression, and all times in it
 * are 1980, so that equal numbers are equal bytes. Formats: PKWARE APPNOTE 6.3, NEP 1.
 */
#include "examples/ablate/arrays.h"
#include "examples/ablate/ablate.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- HDF5 ---- */

static pal_status write_h5(const char *folder, const char *stem, const table2 *at, int n,
                           pal_error *error)
{
    char path[PAL_PATH], name[128];
    pal_h5 *file;
    snprintf(path, sizeof path, "%.3900s/%.100s.h5", folder, stem);
    pal_status s = pal_h5_create(&file, path, error);
    if (s != PAL_OK) return s;
    for (int i = 0; i < n && s == PAL_OK; i++) {
        const pal_array a = pal_array_of(PAL_F64, PAL_SHAPE(at[i].rows, at[i].columns),
                                         (void *)(uintptr_t)at[i].at);
        snprintf(name, sizeof name, "/%.100s", at[i].name);
        s = pal_h5_put(file, name, &a, error);
    }
    if (s == PAL_OK) return pal_h5_commit(file, error);
    pal_h5_close(file);
    return s;
}

/* ---- .npz ---- */

static uint32_t crc_of(const unsigned char *at, size_t n)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* A number in `bytes` bytes, the lowest first. */
static void put(FILE *to, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++) fputc((int)(x >> 8 * i & 255), to);
}

/* The bytes of an .npy, for free(). */
static unsigned char *npy_of(const table2 *t, size_t *size)
{
    char head[128], line[96];
    const size_t bytes = (size_t)(t->rows * t->columns) * sizeof(double);
    snprintf(line, sizeof line, "{'descr': '<f8', 'fortran_order': False, 'shape': (%lld, %lld), }",
             (long long)t->rows, (long long)t->columns);
    snprintf(head, sizeof head, "%-117s\n", line); /* with its first 10 bytes, 128 */
    unsigned char *all = malloc(128 + bytes);
    if (!all) return NULL;
    memcpy(all, "\x93NUMPY\x01\x00\x76\x00", 10);
    memcpy(all + 10, head, 118);
    for (size_t i = 0; i < bytes / sizeof(double); i++) {
        uint64_t word;
        memcpy(&word, &t->at[i], sizeof word);
        for (int b = 0; b < 8; b++) all[128 + 8 * i + (size_t)b] = (unsigned char)(word >> 8 * b);
    }
    *size = 128 + bytes;
    return all;
}

/* What both the local and the central header of an entry have. */
static void put_entry(FILE *to, uint32_t crc, size_t size, size_t name)
{
    enum { VERSION = 20, DAY_ONE = 0x21 };
    put(to, VERSION, 2), put(to, 0, 2), put(to, 0, 2); /* flags, stored */
    put(to, 0, 2), put(to, DAY_ONE, 2);
    put(to, crc, 4), put(to, size, 4), put(to, size, 4);
    put(to, name, 2), put(to, 0, 2);
}

static bool put_npz(FILE *to, const table2 *at, int n)
{
    enum { MOST = 32 };
    uint32_t crc[MOST];
    size_t size[MOST];
    long begins[MOST];
    char name[128];
    if (n > MOST) return false;
    for (int i = 0; i < n; i++) {
        unsigned char *npy = npy_of(&at[i], &size[i]);
        if (!npy) return false;
        snprintf(name, sizeof name, "%.100s.npy", at[i].name);
        crc[i] = crc_of(npy, size[i]);
        begins[i] = ftell(to);
        put(to, 0x04034b50, 4);
        put_entry(to, crc[i], size[i], strlen(name));
        fputs(name, to);
        fwrite(npy, 1, size[i], to);
        free(npy);
    }
    const long central = ftell(to);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%.100s.npy", at[i].name);
        put(to, 0x02014b50, 4), put(to, 20, 2);
        put_entry(to, crc[i], size[i], strlen(name));
        put(to, 0, 2), put(to, 0, 2), put(to, 0, 2), put(to, 0, 4); /* comment, disk, attributes */
        put(to, (uint64_t)begins[i], 4);
        fputs(name, to);
    }
    const long end = ftell(to);
    put(to, 0x06054b50, 4), put(to, 0, 4);
    put(to, (uint64_t)n, 2), put(to, (uint64_t)n, 2);
    put(to, (uint64_t)(end - central), 4), put(to, (uint64_t)central, 4), put(to, 0, 2);
    return true;
}

/* Replaces FOLDER/FILE by bytes, whole. */
static pal_status write_bytes(const char *folder, const char *file, const void *bytes, size_t size,
                              pal_error *error)
{
    char path[PAL_PATH], fresh[PAL_PATH];
    snprintf(path, sizeof path, "%.3900s/%.120s", folder, file);
    snprintf(fresh, sizeof fresh, "%.3900s/.%.120s.%ld", folder, file, (long)getpid());
    FILE *to = fopen(fresh, "wb");
    bool good =
        to && fwrite(bytes, 1, size, to) == size && fflush(to) == 0 && fsync(fileno(to)) == 0;
    if (to) good = fclose(to) == 0 && good;
    if (good && rename(fresh, path) == 0) return PAL_OK;
    const int why = errno;
    unlink(fresh);
    return pal_error_set(error, PAL_EIO, "%.400s: %s", path, strerror(why));
}

static pal_status write_npz(const char *folder, const char *stem, const table2 *at, int n,
                            pal_error *error)
{
    char file[128];
    size_t size = 0;
    FILE *to = pal_stream_open();
    snprintf(file, sizeof file, "%.100s.npz", stem);
    if (!to) return pal_stream_failed(file, error);
    const bool good = put_npz(to, at, n);
    char *bytes = pal_stream_close(to, &size);
    const pal_status s = good && bytes ? write_bytes(folder, file, bytes, size, error)
                                       : pal_stream_failed(file, error);
    free(bytes);
    return s;
}

pal_status arrays_write(const char *folder, const char *stem, const table2 *at, int n,
                        pal_error *error)
{
    const pal_status s = write_h5(folder, stem, at, n, error);
    return s == PAL_OK ? write_npz(folder, stem, at, n, error) : s;
}

/* ---- Heat maps ---- */

static void draw(FILE *to, const void *what)
{
    const heat *h = what;
    const table2 *t = &h->of;
    double most = 0;
    for (int64_t i = 0; i < t->rows * t->columns; i++)
        if (isfinite(t->at[i])) most = fmax(most, fabs(t->at[i]));
    if (most == 0) most = 1;
    fprintf(to, "$map << END\n");
    for (int64_t r = 0; r < t->rows; r++) {
        for (int64_t c = 0; c < t->columns; c++) {
            const double x = t->at[r * t->columns + c];
            fprintf(to, isfinite(x) ? " %.9g" : " NaN", x);
        }
        fprintf(to, "\n");
    }
    fprintf(to, "END\nset title ");
    picture_quote(to, h->title);
    fprintf(to, "\nset xlabel ");
    picture_quote(to, h->x);
    fprintf(to, "\nset ylabel ");
    picture_quote(to, h->y);
    fprintf(to, "\nset cblabel ");
    picture_quote(to, h->z);
    fprintf(to,
            "\nunset key\nunset grid\nset xrange [-0.5:%lld.5]\nset yrange [-0.5:%lld.5]\n"
            "set object 1 rectangle from graph 0,0 to graph 1,1 behind fc rgb '#999999' fs solid "
            "noborder\nset cbrange [%.9g:%.9g]\nset palette defined (-1 '#2166ac', 0 '#ffffff', 1 "
            "'#b35806')\nset ytics 1\nplot $map matrix with image pixels\n",
            (long long)t->columns - 1, (long long)t->rows - 1, -most, most);
}

pal_status heat_draw(const char *folder, const char *name, const heat *h, pal_error *error)
{
    const int height = 160 + 26 * (int)(h->of.rows < 24 ? h->of.rows : 24);
    return picture_draw(folder, name, 860, height, draw, h, error);
}
