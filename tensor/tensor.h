/*
 * tensor.h - the ground floor: errors, memory, strided arrays, random numbers and files.
 *
 * A pal_array is what NumPy calls an ndarray: a dtype, a shape, strides and an address. It owns
 * nothing: its memory belongs to a tape, to a set of parameters or to you. A pal_tensor
 * (autograd.h) is an array that also knows how it was computed.
 *
 * Sizes and strides are int64_t and count elements, never bytes. The first axis is the outermost
 * (row-major).
 */
#ifndef PAL_TENSOR_H
#define PAL_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#if defined(__GNUC__)
/* Marks a function of the public interface. Everything else is private to the library. */
#define PAL_API __attribute__((visibility("default")))
/* The compiler warns if the caller ignores the status that the function returns. */
#define PAL_CHECKED __attribute__((warn_unused_result))
/* Argument f is a format as in printf, and its values begin at argument a. */
#define PAL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define PAL_API
#define PAL_CHECKED
#define PAL_PRINTF(f, a)
#endif

/* The version of these headers. */
#define PAL_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors ---- */

/* The outcome of a call: PAL_OK or the kind of failure. */
typedef enum pal_status {
    PAL_OK = 0,   /* no failure */
    PAL_ESHAPE,   /* shapes, strides or sizes do not fit together */
    PAL_EDTYPE,   /* an element type that the operation does not take */
    PAL_EVALUE,   /* an axis, index, option or name out of range */
    PAL_ENOMEM,   /* the allocator returned NULL */
    PAL_ESTALE,   /* a tensor kept across pal_tape_reset, or an empty handle */
    PAL_ECHANGED, /* a tensor that backward needs was changed since the forward pass */
    PAL_EGRAD,    /* a gradient that does not exist (second derivatives, a constant loss) */
    PAL_ENUMERIC, /* PAL_CHECK=numerics: the first number that is not finite */
    PAL_EIO,      /* the operating system refused to read or write */
    PAL_EFORMAT   /* a file whose contents are not what was asked for */
} pal_status;

/* What went wrong, as one sentence that names the operation, the argument and the shapes. */
typedef struct pal_error {
    pal_status status;  /* never PAL_OK */
    char message[1024]; /* the sentence, ended by NUL; a control character is shown as '?' */
} pal_error;

/* Who is told now and then how far a long call is, with `user` as its first argument: `done` of
 * `all` so far, in the units that the function names. fn NULL: nobody. */
typedef struct pal_progress {
    void (*fn)(void *user, int64_t done, int64_t all); /* must not call what calls it */
    void *user;                                        /* handed to it */
} pal_progress;

/* The type of an error handler (pal_set_error_handler). *error is valid only during the call. */
typedef void pal_error_fn(const pal_error *error, void *user);

/*
 * Replaces the error handler of the process. The default (fn = NULL) prints the message and exits
 * with status 1. If a handler returns, the tape of the failed operation becomes sticky: until
 * pal_tape_reset its operations do nothing and return a poison tensor. The handler is called only
 * on the thread that called the library, and may be replaced while other threads work.
 */
PAL_API void pal_set_error_handler(pal_error_fn *fn, void *user);

/* Reports an error to the handler, as the library does. Programs and users' own operations may call
 * it. */
PAL_API void pal_raise(const pal_error *error);

/*
 * Writes status and message to *error (which may be NULL) and returns status, so that a function
 * can end in `return pal_error_set(error, PAL_EIO, "...")`.
 */
PAL_API pal_status pal_error_set(pal_error *error, pal_status status, const char *format, ...)
    PAL_PRINTF(3, 4);

/* The name of the constant without its prefix: "shape", "dtype", "out of memory", ... */
PAL_API const char *pal_status_name(pal_status status);

/* A number with a name: a cell of a log. */
typedef struct pal_field {
    const char *name; /* name of the column */
    double value;     /* value in that column */
} pal_field;

/* ---- Memory ---- */

/*
 * The type of an allocator. The memory of tensors, tapes, parameters and states comes from one such
 * function. If size > 0, memory is NULL and the function returns size bytes aligned to 64. If size
 * == 0, it frees memory, which has old_size bytes. NULL means that there is no memory; the
 * operation that asked for it reports PAL_ENOMEM.
 */
typedef void *pal_alloc_fn(void *memory, size_t old_size, size_t size, void *user);
/* Replaces the allocator; every call of fn gets `user`. Call this before anything is created. fn =
 * NULL restores the default. */
PAL_API void pal_set_allocator(pal_alloc_fn *fn, void *user);

/* ---- Threads and processor ---- */

/* Sets the number of OpenMP threads from now on. Results do not depend on it. n < 1 restores the
 * default. Call it while no other thread is in the library. */
PAL_API void pal_set_threads(int n);
/* The number of threads in use, at most 4096. */
PAL_API int pal_threads(void);

/* One line that describes the kernels in use: the instruction set (PAL_ISA=base|avx2|avx512 chooses
 * it), the BLIS family and the number of threads. */
PAL_API const char *pal_kernels_in_use(void);

/* ---- Arrays ---- */

enum { PAL_MAX_DIMS = 8 }; /* the most axes that an array has */

/*
 * Element types: float, double, int64_t, and bfloat16, which is the upper half of a float: 8 bits
 * of exponent and 7 of mantissa, so the range of f32 with a relative error of up to 2^-8. bf16 is
 * for storage and for the operands of products. Numbers are rounded to the nearest, ties to even;
 * what is too large becomes infinite, and NaN stays NaN. Operations that do not take it say so.
 * Views, copies, pal_cast, pal_contiguous and pal_expand take it, and so do files and printing. The
 * gradient of a bf16 tensor is f32.
 */
typedef enum pal_dtype { PAL_F32 = 0, PAL_F64, PAL_I64, PAL_BF16 } pal_dtype;

/* Sizes of the axes of an array, outermost first. */
typedef struct pal_shape {
    int ndim;                  /* the number of axes; 0 for a scalar */
    int64_t dim[PAL_MAX_DIMS]; /* their sizes */
} pal_shape;

/* A strided array over memory that belongs to someone else. pal_array_of and pal_value make one. */
typedef struct pal_array {
    pal_dtype dtype;              /* of each element */
    int ndim;                     /* the number of axes; 0 for a scalar, which has one element */
    int64_t shape[PAL_MAX_DIMS];  /* shape[0] is outermost; zero is allowed */
    int64_t stride[PAL_MAX_DIMS]; /* in elements; may be 0 (broadcast) */
    void *data;                   /* the element at index 0, 0, ... */
} pal_array;

#ifdef __cplusplus
} /* extern "C" */
template <class... Dims> static inline pal_shape pal_make_shape(Dims... dims)
{
    static_assert(sizeof...(dims) <= PAL_MAX_DIMS, "a tensor has at most PAL_MAX_DIMS dimensions");
    pal_shape s = {static_cast<int>(sizeof...(dims)), {static_cast<int64_t>(dims)...}};
    return s;
}
#define PAL_SHAPE(...) pal_make_shape(__VA_ARGS__)
#define PAL_SCALAR     pal_make_shape()
extern "C" {
#else
/* PAL_SHAPE(2, 3) is the shape [2, 3]. */
#define PAL_SHAPE(...)                                                              \
    ((pal_shape){.ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), \
                 .dim = {__VA_ARGS__}})
/* The shape [] of a scalar, which has one element. */
#define PAL_SCALAR ((pal_shape){.ndim = 0})
#endif

/* Bytes of one element: 4, 8, 8, 2. */
PAL_API size_t pal_dtype_size(pal_dtype dtype);
/* "f32", "f64", "i64" or "bf16". */
PAL_API const char *pal_dtype_name(pal_dtype dtype);

/*
 * The number of elements of a shape. It is -1 if a dimension is negative, if there are more than
 * PAL_MAX_DIMS dimensions, or if the size in bytes of the largest dtype does not fit int64_t.
 */
PAL_API int64_t pal_shape_count(pal_shape shape);
/* Whether both have the same axes of the same sizes. */
PAL_API bool pal_shape_equal(pal_shape a, pal_shape b);
/* The shape that a and b broadcast to by NumPy's rule: axes are aligned at the last one, and an
 * axis of size 1 is repeated. PAL_ESHAPE if there is no such shape. */
PAL_API pal_status pal_shape_broadcast(pal_shape a, pal_shape b, pal_shape *out);

/* A contiguous array over memory that you provide. */
PAL_API pal_array pal_array_of(pal_dtype dtype, pal_shape shape, void *data);
/* The shape of an array. */
PAL_API pal_shape pal_array_shape(const pal_array *a);
/* The number of elements of an array. */
PAL_API int64_t pal_array_count(const pal_array *a);
/* Whether elements lie one after another in row-major order. */
PAL_API bool pal_array_contiguous(const pal_array *a);
/* Writes for example "f32[2,3]" to text, which has room for `size` bytes. The text always ends with
 * NUL. Returns text. */
PAL_API char *pal_array_describe(const pal_array *a, char *text, size_t size);

/*
 * These four functions make views: *out shares the memory of *a. Negative axes count from the end.
 * On failure they return the status, leave *out unchanged and write the reason to *error (may be
 * NULL), without the name of an operation.
 *
 * reshape keeps the elements in the same row-major order. One dimension may be -1 and is then
 * inferred. PAL_ESHAPE if the strides would need a copy.
 */
PAL_API PAL_CHECKED pal_status pal_array_reshape(const pal_array *a, pal_shape shape,
                                                 pal_array *out, pal_error *error);
/* Reorders the axes: axis i of *out is axis axes[i] of *a. axes is a permutation of 0..ndim-1. */
PAL_API PAL_CHECKED pal_status pal_array_permute(const pal_array *a, const int *axes,
                                                 pal_array *out, pal_error *error);
/* Takes the elements start, start+step, ... below stop of one axis; step >= 1. Negative start and
 * stop count from the end, and both are clamped to the axis as in NumPy. */
PAL_API PAL_CHECKED pal_status pal_array_slice(const pal_array *a, int axis, int64_t start,
                                               int64_t stop, int64_t step, pal_array *out,
                                               pal_error *error);
/* Repeats axes of size 1 (with stride 0) and adds new axes in front, up to the given shape. */
PAL_API PAL_CHECKED pal_status pal_array_broadcast(const pal_array *a, pal_shape shape,
                                                   pal_array *out, pal_error *error);

/* Sets every element to value, rounded toward zero for i64. */
PAL_API void pal_array_fill(const pal_array *a, double value);
/*
 * Copies src into dst element by element and converts the dtype; src broadcasts to dst's shape. The
 * memory must not overlap, unless both are the same view. Large arrays are copied by several
 * threads. PAL_ESHAPE if src does not broadcast.
 */
PAL_API PAL_CHECKED pal_status pal_array_copy(const pal_array *dst, const pal_array *src,
                                              pal_error *error);
/* One element as a double; index has ndim entries (NULL for a scalar) and is not checked. */
PAL_API double pal_array_get(const pal_array *a, const int64_t *index);
/* Sets one element, rounded toward zero for i64. */
PAL_API void pal_array_set(const pal_array *a, const int64_t *index, double value);

/*
 * Prints "name f32[2,3]" and then the values in brackets, as NumPy does. Of a long axis only the
 * first 3 and the last 3 entries are shown. Columns are aligned. Numbers have four digits after the
 * point, or an exponent if the values need it.
 */
PAL_API void pal_array_print(FILE *file, const char *name, const pal_array *a);

/* ---- Random numbers ---- */

/*
 * A counter-based generator (Philox 4x32-10). Number i of a stream depends only on (seed, stream,
 * i), so a filled array is the same for every number of threads. The state is these three numbers:
 * copy it to save it. Every call moves `counter` past the numbers that it has used; how far depends
 * only on the shape. Source: Salmon et al., SC 2011.
 */
typedef struct pal_rng {
    uint64_t seed;    /* any number */
    uint64_t stream;  /* streams under one seed are independent */
    uint64_t counter; /* blocks of four 32-bit words consumed */
} pal_rng;

/* A generator at the beginning of a stream. */
PAL_API pal_rng pal_rng_new(uint64_t seed, uint64_t stream);
/* A new generator that is independent of `rng` and of all others split from it. */
PAL_API pal_rng pal_rng_split(pal_rng *rng);
PAL_API double pal_rng_next(pal_rng *rng); /* uniform in [0, 1), 53 bits */
/* An integer drawn uniformly from [0, n), n >= 1, without bias. */
PAL_API int64_t pal_rng_below(pal_rng *rng, int64_t n);
/* Fills out (f32 or f64) with numbers drawn uniformly from [low, high). */
PAL_API void pal_rng_uniform(pal_rng *rng, const pal_array *out, double low, double high);
/* Fills out (f32 or f64) with numbers drawn from the normal distribution. */
PAL_API void pal_rng_normal(pal_rng *rng, const pal_array *out, double mean, double deviation);
/* Fills out (i64) with numbers drawn uniformly from [low, high). */
PAL_API void pal_rng_integers(pal_rng *rng, const pal_array *out, int64_t low, int64_t high);
/* Fills out (i64, one dimension) with 0..n-1 in random order. */
PAL_API void pal_rng_permutation(pal_rng *rng, const pal_array *out);

/* ---- Files: what they are ---- */

/* What a file is, told by its contents. */
typedef enum pal_file_kind {
    PAL_FILE_NONE,       /* there is nothing of that name, or it cannot be read */
    PAL_FILE_FOLDER,     /* a folder */
    PAL_FILE_SPECIAL,    /* a pipe, a device or a socket */
    PAL_FILE_OTHER,      /* any other bytes, such as a text */
    PAL_FILE_TENSORS,    /* a safetensors file */
    PAL_FILE_CHECKPOINT, /* HDF5: a checkpoint of a run */
    PAL_FILE_TOKENS,     /* HDF5: a store of tokens */
    PAL_FILE_STATE,      /* HDF5: what a model remembers while decoding */
    PAL_FILE_PARAMS,     /* HDF5: parameters only, as examples/convert.py writes them */
    PAL_FILE_HDF5        /* HDF5: something else, or damaged */
} pal_file_kind;
/* The kind of a file. What is special is not opened: a pipe would be waited for, and bytes of it
 * that are looked at are gone. */
PAL_API pal_file_kind pal_file_kind_of(const char *path);
/* "a checkpoint", "a store of tokens"; for messages. */
PAL_API const char *pal_file_kind_name(pal_file_kind kind);
/* Whether it is HDF5, of whatever content. */
PAL_API bool pal_file_kind_is_hdf5(pal_file_kind kind);
/* Whether bytes begin as an HDF5 file does. */
PAL_API bool pal_bytes_are_hdf5(const void *bytes, size_t size);

/* Continues a CRC-32C (RFC 3720), the checksum of everything that this library writes: crc is that
 * of the bytes before, 0 if there are none. */
PAL_API uint32_t pal_crc32c(uint32_t crc, const void *data, size_t size);

/* ---- Files: named arrays in HDF5 ---- */

/*
 * A pal_h5 is an HDF5 file that is open for reading, or one that is being built in memory. Names
 * are paths ("/params/head.weight"), and groups are made as needed. h5py and h5dump can read the
 * files.
 *
 * Each dataset has the attributes `dtype` ("f32", ...) and `crc32c`, the CRC-32C of each MiB of its
 * data. Each file has the attributes `creator` and `format`. A file that is built appears under its
 * path only when pal_h5_commit has written, flushed and renamed it. Until then, and after any
 * failure, what was at that path before is unchanged.
 *
 * All calls return a status and write the reason of a failure to *error (may be NULL). Data are
 * compared with `crc32c` if the attribute is there; a difference is PAL_EFORMAT, and the message
 * names file, dataset and MiB. When several threads call, they take turns.
 *
 * Files are not trusted. These are PAL_EFORMAT before memory is sized by them: elements that are
 * not integers or IEEE 754 floats; data outside of the file, compact data, filters other than
 * deflate and shuffle, chunks of more than 32 MiB; a dataset that claims more than it stores (with
 * deflate, more than 1032 times as much); paths of more than 32 names. Only hard links are
 * followed. What these guards cannot see is HDF5's own reading of a file's metadata: see
 * pal_set_file_check.
 *
 * The library ends HDF5 when the process exits. After an error of HDF5 it does not, because that
 * can crash: HDF5 files that the program itself still has open for writing (by the default driver)
 * are flushed then, but not closed.
 */
typedef struct pal_h5 pal_h5;

/* Begins a file in memory. Nothing is written to disk before pal_h5_commit. */
PAL_API PAL_CHECKED pal_status pal_h5_create(pal_h5 **file, const char *path, pal_error *error);
/* Opens a file for reading. PAL_EFORMAT if it does not begin as an HDF5 file, or if its `format`
 * says that a later version of this library wrote it. */
PAL_API PAL_CHECKED pal_status pal_h5_open(pal_h5 **file, const char *path, pal_error *error);

/*
 * A function that is asked before HDF5 sees a file that is opened for reading, by whatever function
 * of this library. fd is open for reading; path is for messages. A status other than PAL_OK is that
 * of the opening. NULL, the default, asks nothing.
 *
 * HDF5 reads metadata with faults of its own: in 1.10 a file that was made for it can end the
 * process, read or write outside of its memory, take gigabytes or run for minutes. The guards come
 * too late for that. Who opens files from strangers lets another process, with limits of memory and
 * time, call pal_h5_check first. The programs of examples/ do so (examples/flags/checked.h).
 * Without a check open only files that you trust as you trust a program.
 */
typedef pal_status pal_file_check_fn(int fd, const char *path, void *user, pal_error *error);
/* Sets that function for all threads; `user` is handed to it. Call it before other threads open
 * files. */
PAL_API void pal_set_file_check(pal_file_check_fn *fn, void *user);
/*
 * Makes HDF5 read all of a file that this library could read, in the way in which it would: opens
 * every group and dataset, reads every attribute, and decodes what has filters. Data without
 * filters are not read, and checksums are not compared. It is for a process that may crash.
 * PAL_EFORMAT if the file or an object in it cannot be opened or listed, or if it has more than
 * 2^16 names. What is of no use to this library but does no harm is no error.
 */
PAL_API PAL_CHECKED pal_status pal_h5_check(const char *path, pal_error *error);
/* Adds an array, which may have any strides. PAL_EVALUE if the name is already in use, or cannot
 * stand in a file (pal_param says which names can; a slash may come before it). */
PAL_API PAL_CHECKED pal_status pal_h5_put(pal_h5 *file, const char *name, const pal_array *a,
                                          pal_error *error);
/* Adds `count` unsigned integers of 1, 2 or 4 bytes as a dataset of one dimension. Its `dtype` is
 * "u8", "u16" or "u32". */
PAL_API PAL_CHECKED pal_status pal_h5_put_uints(pal_h5 *file, const char *name, int bytes,
                                                int64_t count, const void *data, pal_error *error);
/* Sets a text attribute of an object; "/" is the file itself. */
PAL_API PAL_CHECKED pal_status pal_h5_put_text(pal_h5 *file, const char *object,
                                               const char *attribute, const char *text,
                                               pal_error *error);
/* Sets a number attribute of an object. */
PAL_API PAL_CHECKED pal_status pal_h5_put_number(pal_h5 *file, const char *object,
                                                 const char *attribute, double value,
                                                 pal_error *error);
/* Writes the finished file in place of path. It closes the file also when that fails. */
PAL_API PAL_CHECKED pal_status pal_h5_commit(pal_h5 *file, pal_error *error);
/* Closes the file. One that was being built and was not committed leaves no trace. NULL is
 * allowed. */
PAL_API void pal_h5_close(pal_h5 *file);

/* Whether there is a dataset or group of this name. */
PAL_API bool pal_h5_has(pal_h5 *file, const char *name);
/* The dtype and shape of a dataset. PAL_EFORMAT if it is missing, does not hold numbers, or has
 * more than PAL_MAX_DIMS dimensions. */
PAL_API PAL_CHECKED pal_status pal_h5_info(pal_h5 *file, const char *name, pal_dtype *dtype,
                                           pal_shape *shape, pal_error *error);
/*
 * Reads a dataset into dst, which may have any strides. The shapes must be equal. A float of
 * another width is converted; any other type is PAL_EFORMAT. After an error dst may be partly
 * written.
 */
PAL_API PAL_CHECKED pal_status pal_h5_get(pal_h5 *file, const char *name, const pal_array *dst,
                                          pal_error *error);
/* Reads elements first .. first+count-1 of a dataset of one dimension whose integers have 1, 2, 4
 * or 8 bytes. It reads whole MiB. PAL_EVALUE for a range outside of the dataset. */
PAL_API PAL_CHECKED pal_status pal_h5_read_uints(pal_h5 *file, const char *name, int64_t first,
                                                 int64_t count, int64_t *out, pal_error *error);
/* Reads a text attribute into text, which has room for `size` bytes. PAL_EFORMAT if it is missing,
 * is not a text or does not fit. */
PAL_API PAL_CHECKED pal_status pal_h5_get_text(pal_h5 *file, const char *object,
                                               const char *attribute, char *text, size_t size,
                                               pal_error *error);
/* Reads a number attribute. PAL_EFORMAT if it is missing or not a number. */
PAL_API PAL_CHECKED pal_status pal_h5_get_number(pal_h5 *file, const char *object,
                                                 const char *attribute, double *value,
                                                 pal_error *error);
/* Calls visit for every dataset below group, in the order of their names, which are given relative
 * to group. Stops when visit returns false. PAL_EFORMAT beyond 32 groups in groups or 2^16 names.
 */
PAL_API PAL_CHECKED pal_status pal_h5_each(pal_h5 *file, const char *group,
                                           bool (*visit)(const char *name, void *user), void *user,
                                           pal_error *error);

#ifdef __cplusplus
}
#endif
#endif
