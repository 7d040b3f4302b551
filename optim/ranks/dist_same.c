/* dist_same.c - whether outcomes, texts and parameters are the same on all ranks. */
#include "optim/ranks/dist_private.h"

#include <string.h>

/* ---- Outcomes ---- */

/* Notes that all ranks have this error. */
static pal_status all_have(pal_dist *d, pal_status s, const pal_error *told, pal_error *error)
{
    snprintf(d->agreed, sizeof d->agreed, "%s", told->message);
    return pal_error_set(error, s, "%s", told->message);
}

pal_status pal_dist_agree(pal_dist *d, pal_status status, pal_error *error)
{
    if (pal_dist_size(d) == 1) return status;
    const double mine = (double)status, *all = pal_dist_gather(d, 1, &mine);
    int first = d->size, failed = 0;
    for (int r = d->size - 1; r >= 0; r--)
        if (all[r] != PAL_OK) first = r, failed++;
    if (first == d->size) return PAL_OK;
    pal_error told = {.status = status};
    if (error && status != PAL_OK) told = *error;
    pal_dist_bytes_of(d, first, &told, (int)sizeof told);
    pal_error named = told;
    if (failed < d->size)
        pal_error_set(&named, told.status, "rank %d: %.1000s", first, told.message);
    return all_have(d, told.status, &named, error);
}

/* ---- The first place where a rank differs from rank 0 ---- */

/* place: the place of this rank's first difference; -1: none. Returns the lowest place of all
 * ranks, or -1. *rank is the first rank that has it. */
static int64_t first_place(pal_dist *d, int64_t place, int *rank)
{
    const double mine = (double)place, *all = pal_dist_gather(d, 1, &mine);
    *rank = 0;
    for (int r = 1; r < d->size; r++)
        if (all[r] >= 0 && (all[*rank] < 0 || all[r] < all[*rank])) *rank = r;
    return (int64_t)all[*rank];
}

/* All ranks get the text of that rank. */
static void text_of(pal_dist *d, int rank, char *text, int size)
{
    pal_dist_bytes_of(d, rank, text, size);
    text[size - 1] = '\0';
}

/* ---- Texts ---- */

enum { SHOWN = 256 }; /* bytes of a line that a message shows */

/* The number of the first line that differs, from 0; -1: none. */
static int64_t different_line(const char *a, const char *b)
{
    for (int64_t line = 0;; line++) {
        const size_t n = strcspn(a, "\n"), m = strcspn(b, "\n");
        if (n != m || memcmp(a, b, n) != 0 || a[n] != b[m]) return line;
        if (!a[n]) return -1;
        a += n + 1, b += m + 1;
    }
}

static void copy_line(const char *text, int64_t line, char out[SHOWN])
{
    for (; line > 0 && *text; line--) {
        text += strcspn(text, "\n");
        text += *text == '\n';
    }
    snprintf(out, SHOWN, "%.*s", (int)strcspn(text, "\n"), text);
}

pal_status pal_dist_same_text(pal_dist *d, const char *what, const char *text, pal_error *error)
{
    if (pal_dist_size(d) == 1) return PAL_OK;
    int64_t size = (int64_t)strlen(text) + 1;
    pal_dist_broadcast(d, &size, sizeof size);
    char *wanted = pal_malloc((size_t)size);
    pal_status s = PAL_OK;
    if (!wanted) s = pal_error_set(error, PAL_ENOMEM, "dist_same_text: out of memory");
    s = pal_dist_agree(d, s, error);
    if (s == PAL_OK) {
        char ours[SHOWN], theirs[SHOWN];
        int rank;
        if (d->rank == 0) memcpy(wanted, text, (size_t)size);
        pal_dist_broadcast(d, wanted, (size_t)size);
        const int64_t line = first_place(d, different_line(wanted, text), &rank);
        if (line >= 0) {
            copy_line(wanted, line, ours);
            copy_line(text, line, theirs);
            text_of(d, rank, theirs, SHOWN);
            pal_error told;
            s = pal_error_set(&told, PAL_EVALUE,
                              "%.200s: line %lld is \"%s\" on rank 0 and \"%s\" on rank %d", what,
                              (long long)line + 1, ours, theirs, rank);
            s = all_have(d, s, &told, error);
        }
    }
    pal_free(wanted, (size_t)size);
    return s;
}

/* ---- Parameters ---- */

enum { AT_ONCE = 64 };

/* Two checksums of a parameter, in one number. */
typedef struct sums {
    uint32_t description, value;
} sums;

static void describe(const pal_params *p, int i, char text[SHOWN])
{
    char array[96];
    snprintf(text, SHOWN, "none");
    if (i >= pal_params_count(p)) return;
    const pal_array a = pal_params_array(p, i);
    snprintf(text, SHOWN, "%.140s %.90s%s", pal_params_name(p, i),
             pal_array_describe(&a, array, sizeof array),
             pal_params_frozen(p, i) ? ", frozen" : "");
}

static sums sums_of(const pal_params *p, int i)
{
    char text[SHOWN];
    describe(p, i, text);
    sums s = {.description = pal_crc32c(0, text, strlen(text))};
    if (i >= pal_params_count(p)) return s;
    const pal_array a = pal_params_array(p, i);
    s.description = pal_crc32c(s.description, pal_params_name(p, i), strlen(pal_params_name(p, i)));
    s.value = pal_crc32c(0, a.data, pal_shape_bytes(a.dtype, pal_array_shape(&a)));
    return s;
}

/* The first parameter that differs from that of rank 0. Returns 2 i if its value differs, 2 i + 1
 * if its description does; -1: none. */
static int64_t different_parameter(pal_dist *d, const pal_params *p)
{
    const int own = pal_params_count(p);
    int count = own;
    int64_t found = -1;
    pal_dist_broadcast(d, &count, sizeof count);
    if (own > count) found = 2 * (int64_t)count + 1; /* unless an earlier parameter differs */
    for (int at = 0; at < count; at += AT_ONCE) {
        sums wanted[AT_ONCE] = {0};
        const int n = count - at < AT_ONCE ? count - at : AT_ONCE;
        for (int i = 0; i < n && d->rank == 0; i++) wanted[i] = sums_of(p, at + i);
        pal_dist_broadcast(d, wanted, (size_t)n * sizeof *wanted);
        for (int i = 0; i < n && d->rank != 0; i++) {
            const sums have = sums_of(p, at + i);
            const bool other = have.description != wanted[i].description;
            if (!other && have.value == wanted[i].value) continue;
            const int64_t place = 2 * (int64_t)(at + i) + other;
            if (found < 0 || place < found) found = place;
        }
    }
    return found;
}

pal_status pal_dist_same_params(pal_dist *d, const pal_params *params, pal_error *error)
{
    if (pal_dist_size(d) == 1) return PAL_OK;
    int rank;
    char ours[SHOWN], theirs[SHOWN];
    const int64_t place = first_place(d, different_parameter(d, params), &rank);
    if (place < 0) return PAL_OK;
    describe(params, (int)(place / 2), ours);
    describe(params, (int)(place / 2), theirs);
    text_of(d, 0, ours, SHOWN);
    text_of(d, rank, theirs, SHOWN);
    pal_error told;
    if (place % 2)
        pal_error_set(&told, PAL_EVALUE, "parameter %lld is %s on rank 0 and %s on rank %d",
                      (long long)(place / 2), ours, theirs, rank);
    else
        pal_error_set(&told, PAL_EVALUE, "parameter %s has other values on rank %d than on rank 0",
                      ours, rank);
    return all_have(d, PAL_EVALUE, &told, error);
}
