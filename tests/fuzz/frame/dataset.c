/* dataset.c - a file of arrays that is opened as a dataset: it is refused, or all of it is read. */
#include "tensor/internal.h"
#include "tests/fuzz/frame/fuzz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Reads all rows of a field, and again from its middle on, which gives the same. */
static void read_field(pal_dataset *data, const char *name, size_t bytes_of_file)
{
    pal_error error = {0};
    pal_dtype dtype;
    pal_shape row, all = {.ndim = 1}, rest;
    const int64_t rows = pal_dataset_rows(data), half = rows / 2;
    fuzz_must(pal_dataset_about(data, name, &dtype, &row), "the field is known");
    all.dim[0] = rows, all.ndim += row.ndim;
    memcpy(all.dim + 1, row.dim, (size_t)row.ndim * sizeof *row.dim);
    rest = all, rest.dim[0] = rows - half;
    const size_t bytes = pal_shape_bytes(dtype, all), each = pal_shape_bytes(dtype, row);
    /* An element has a byte of the file at least, and becomes eight at most. */
    fuzz_must(bytes <= 8 * bytes_of_file, "rows are not more than the file holds");
    char *one = malloc(bytes + 1), *two = malloc(bytes + 1);
    fuzz_must(one && two, "there is memory");
    const pal_array to = pal_array_of(dtype, all, one), again = pal_array_of(dtype, rest, two);
    const pal_status s = pal_dataset_read(data, name, 0, rows, &to, &error);
    fuzz_refused(s, &error);
    const pal_status t = pal_dataset_read(data, name, half, rows - half, &again, &error);
    fuzz_refused(t, &error);
    if (s == PAL_OK)
        fuzz_must(t == PAL_OK &&
                      memcmp(one + (size_t)half * each, two, (size_t)(rows - half) * each) == 0,
                  "a row is the same whenever it is read");
    free(one), free(two);
}

void fuzz_dataset(const char *name, const uint8_t *data, size_t size)
{
    char path[256];
    pal_error error = {0};
    fuzz_file(name, data, size);
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    for (int loose = 0; loose < 2; loose++) {
        pal_dataset *set = NULL;
        const pal_status s =
            pal_dataset_open(&set, path, (pal_dataset_opts){.not_finite = loose}, &error);
        fuzz_refused(s, &error);
        fuzz_must((s == PAL_OK) == (set != NULL), "a dataset comes with PAL_OK alone");
        if (!set) continue;
        fuzz_must(pal_dataset_rows(set) >= 0 && pal_dataset_fields(set) > 0, "it has fields");
        for (int i = 0; i < pal_dataset_fields(set); i++)
            read_field(set, pal_dataset_name(set, i), size);
        pal_dataset_close(set);
    }
}
