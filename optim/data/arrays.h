/* arrays.h - arrays of files of several formats, whose rows are read by number. */
#ifndef PAL_OPTIM_ARRAYS_H
#define PAL_OPTIM_ARRAYS_H

#include "optim/data.h"
#include "tensor/files/rows.h"
#include "tensor/internal.h"

enum { PAL_LABEL = 256 }; /* bytes of the name of an array, with the final NUL */

typedef struct pal_table pal_table;
typedef struct pal_file_array pal_file_array;

/*
 * An array of a file. Its rows are what its first axis counts. get reads rows first ..
 * first+count-1, which are there, as contiguous elements of the type `to`. Where that is i64, the
 * array has whole numbers (whole says so). It allocates no memory.
 */
struct pal_file_array {
    pal_dtype dtype; /* of the elements as they are: i64 for all integers, f32 or f64 */
    bool whole;      /* they can become i64 */
    pal_shape shape; /* [rows, ...] */
    int64_t each;    /* elements of a row */
    pal_status (*get)(pal_file_array *rows, int64_t first, int64_t count, pal_dtype to, void *out,
                      pal_error *error);
    void (*close)(pal_file_array *rows);
    const char *path; /* of its file; it belongs to the table */
    char name[PAL_LABEL];
    union {
        struct pal_raw {  /* bytes that lie in a file, or in memory, one after another */
            int fd;       /* -1: in memory */
            int64_t at;   /* of the first element in the file */
            void *memory; /* of `bytes` bytes */
            size_t bytes;
            char kind; /* as NumPy has it: b bool, i integer, u unsigned, f float */
            int width; /* bytes of an element */
            bool swap; /* their order is not that of this machine */
        } raw;
        pal_h5_rows *h5;
        struct pal_cells { /* columns of a CSV file */
            pal_table *table;
            int columns, *column;
        } cells;
    } in;
};

/* A file of arrays that is open. */
struct pal_table {
    const struct pal_table_kind *kind;
    char *path;
    pal_h5 *h5;                  /* HDF5 */
    int fd;                      /* the others */
    int64_t size;                /* bytes of the file */
    struct pal_csv *csv;         /* CSV */
    bool missing;                /* CSV: empty cells are NaN */
    struct pal_zip_entry *entry; /* .npz: its arrays */
    int entries;
};

/* How a format is read. */
typedef struct pal_table_kind {
    pal_status (*open)(pal_table *t, pal_error *error);
    void (*close)(pal_table *t);
    /* Calls visit for the name of every array, until it returns false. */
    pal_status (*each)(pal_table *t, bool (*visit)(const char *name, void *user), void *user,
                       pal_error *error);
    /* Opens an array; rows->path and rows->name are set. */
    pal_status (*array)(pal_table *t, pal_file_array *rows, pal_error *error);
    /* After all arrays are open, before one is read; NULL: nothing is to be done. */
    pal_status (*ready)(pal_table *t, pal_error *error);
    /* Then, for each array, what is known of it only now; NULL: nothing. */
    pal_status (*settle)(pal_file_array *rows, pal_error *error);
} pal_table_kind;
extern const pal_table_kind pal_table_npy, pal_table_npz, pal_table_h5, pal_table_csv;

/* Opens a file of one of these formats, which its first bytes tell; any other is CSV. */
PAL_CHECKED pal_status pal_table_open(pal_table *t, const char *path, bool missing,
                                      pal_error *error);
void pal_table_close(pal_table *t); /* after its arrays */

/* Sets shape and each; PAL_EFORMAT for a shape that cannot be, or a single number. */
PAL_CHECKED pal_status pal_file_array_shape(pal_file_array *rows, pal_shape shape,
                                            pal_error *error);
/* Reads bytes of a file; fewer than there should be are PAL_EFORMAT. */
PAL_CHECKED pal_status pal_table_bytes(const pal_table *t, int64_t at, void *to, size_t size,
                                       pal_error *error);
/* Opens the array that has a .npy header at this place of the file and `size` bytes at most, and
 * keeps a descriptor of its own. */
PAL_CHECKED pal_status pal_npy_array(pal_table *t, pal_file_array *rows, int64_t at, int64_t size,
                                     pal_error *error);
/* get and close of what lies in a file or in memory as it is. */
pal_status pal_raw_get(pal_file_array *rows, int64_t first, int64_t count, pal_dtype to, void *out,
                       pal_error *error);
void pal_raw_close(pal_file_array *rows);

#endif
