/*
 * tensor.h - the ground floor: errors, memory, strided arrays, random numbers, files.
 *
 * A pal_array is what NumPy calls an ndarray: a dtype, a shape, strides and an address. It owns
 * nothing; the memory belongs to a tape, to a set of parameters or to you. A pal_tensor
 * (autograd.h) is an array with a history.
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
/* A function of the interface; everything else is private to the library. */
#define PAL_API __attribute__((visibility("default")))
/* The compiler warns when the status that the function returns is dropped. */
#define PAL_CHECKED __attribute__((warn_unused_result))
/* Argument f is a format as of printf, whose values begin at argument a. */
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
    PAL_OK = 0,   /* it did what it says */
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
    char message[1024]; /* the sentence, ended by NUL */
} pal_error;

/* An error handler; see pal_set_error_handler. *error is valid during the call. */
typedef void pal_error_fn(const pal_error *error, void *user);

/*
 * Replaces the error handler of the process. The default (fn = NULL) prints the message and exits
 * with status 1. If a handler returns, the tape of the failed operation becomes sticky: its
 * operations return a poison tensor and do nothing until pal_tape_reset. The handler is only ever
 * called on the thread that called the library.
 */
PAL_API void pal_set_error_handler(pal_error_fn *fn, void *user);

/* Reports an error to the handler, as the library does (for programs and for operations of your
 * own). */
PAL_API void pal_raise(const pal_error *error);

/*
 * Writes status and message to *error (which may be NULL) and returns status, so that a function
 * can end in `return pal_error_set(error, PAL_EIO, "...")`.
 */
PAL_API pal_status pal_error_set(pal_error *error, pal_status status, const char *format, ...)
    PAL_PRINTF(3, 4);

/* The constant's name without its prefix: "shape", "dtype", "out of memory", ... */
PAL_API const char *pal_status_name(pal_status status);

/* ---- Memory ---- */

/*
 * The memory of tensors, tapes, parameters and states comes from one function. size > 0 asks for
 * size bytes aligned to 64 (memory == NULL); size == 0 frees memory, which was old_size bytes. NULL
 * means that there is none, and is reported as PAL_ENOMEM by the operation that asked. Set it
 * before anything is created; fn = NULL restores the default.
 */
typedef void *pal_alloc_fn(void *memory, size_t old_size, size_t size, void *user);
/* Replaces the allocator; `user` is handed to every call of fn. */
PAL_API void pal_set_allocator(pal_alloc_fn *fn, void *user);

/* ---- Threads and processor ---- */

/* The number of OpenMP threads used from here on; results do not depend on it. n < 1 restores the
 * default. */
PAL_API void pal_set_threads(int n);
/* The number of threads in use. */
PAL_API int pal_threads(void);

/*
 * Call it first in main, with main's argv, in a program that may share its processors with others.
 * Threads of libgomp that wait for each other spin for milliseconds before they sleep: beside a
 * busy process they take the processor from the thread that they wait for, and several threads are
 * many times slower than one. This function makes them sleep after some 30 us. libgomp reads the
 * setting (GOMP_SPINCOUNT) when it is loaded, so the program starts itself again, once: the same
 * process, with the same arguments and files. It does nothing where the user has set GOMP_SPINCOUNT
 * or OMP_WAIT_POLICY, or where a program cannot start itself again (no /proc, a static program).
 * Results do not depend on it.
 */
PAL_API void pal_share_processors(char **argv);

/* One line on the kernels in use: instruction set (forced by PAL_ISA=base|avx2|avx512), BLIS
 * family, threads. */
PAL_API const char *pal_kernels_in_use(void);

/* ---- Arrays ---- */

enum { PAL_MAX_DIMS = 8 }; /* the most axes that an array has */

/* Element types: float, double, int64_t. */
typedef enum pal_dtype { PAL_F32 = 0, PAL_F64, PAL_I64 } pal_dtype;

/* Sizes of the axes of an array, outermost first. */
typedef struct pal_shape {
    int ndim;                  /* how many axes; 0: a scalar */
    int64_t dim[PAL_MAX_DIMS]; /* their sizes */
} pal_shape;

/* A strided array over memory that belongs to someone else. Made by pal_array_of, or pal_value of a
 * tensor. */
typedef struct pal_array {
    pal_dtype dtype;              /* of the elements */
    int ndim;                     /* 0: a scalar, one element */
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
/* The shape []: of one element. */
#define PAL_SCALAR ((pal_shape){.ndim = 0})
#endif

/* Bytes of one element: 4, 8, 8. */
PAL_API size_t pal_dtype_size(pal_dtype dtype);
/* "f32", "f64" or "i64". */
PAL_API const char *pal_dtype_name(pal_dtype dtype);

/*
 * The number of elements of a shape, or -1 if a dimension is negative, there are more than
 * PAL_MAX_DIMS of them, or the size in bytes of the largest dtype does not fit int64_t.
 */
PAL_API int64_t pal_shape_count(pal_shape shape);
/* Whether both have the same axes of the same sizes. */
PAL_API bool pal_shape_equal(pal_shape a, pal_shape b);
/* The shape both broadcast to by NumPy's rule (aligned at the last axis, 1 stretches); PAL_ESHAPE
 * if there is none. */
PAL_API pal_status pal_shape_broadcast(pal_shape a, pal_shape b, pal_shape *out);

/* A contiguous array over memory of yours. */
PAL_API pal_array pal_array_of(pal_dtype dtype, pal_shape shape, void *data);
/* Its shape. */
PAL_API pal_shape pal_array_shape(const pal_array *a);
/* How many elements it has. */
PAL_API int64_t pal_array_count(const pal_array *a);
/* Whether elements lie one after another in row-major order. */
PAL_API bool pal_array_contiguous(const pal_array *a);
/* "f32[2,3]"; size is the room in text, which is always terminated. Returns text. */
PAL_API char *pal_array_describe(const pal_array *a, char *text, size_t size);

/*
 * Views: *out sees the same memory as *a. On failure they return the status, say why in *error (may
 * be NULL) without naming an operation, and leave *out alone. Negative axes count from the end.
 *
 * reshape: same elements in the same row-major order; one dimension may be -1 (inferred).
 * PAL_ESHAPE if the strides do not allow it without a copy. permute: axis i of *out is axis axes[i]
 * of *a; axes is a permutation of 0..ndim-1. slice:   elements start, start+step, ... below stop of
 * one axis; step >= 1; negative start and stop count from the end; both are clamped to the axis as
 * in NumPy. broadcast: stretches dimensions of 1 (stride 0) and adds new ones in front.
 */
PAL_API PAL_CHECKED pal_status pal_array_reshape(const pal_array *a, pal_shape shape,
                                                 pal_array *out, pal_error *error);
/* Reorders the axes. */
PAL_API PAL_CHECKED pal_status pal_array_permute(const pal_array *a, const int *axes,
                                                 pal_array *out, pal_error *error);
/* Takes every step-th index of one axis. */
PAL_API PAL_CHECKED pal_status pal_array_slice(const pal_array *a, int axis, int64_t start,
                                               int64_t stop, int64_t step, pal_array *out,
                                               pal_error *error);
/* Stretches the array to a larger shape. */
PAL_API PAL_CHECKED pal_status pal_array_broadcast(const pal_array *a, pal_shape shape,
                                                   pal_array *out, pal_error *error);

/* Sets every element to value (rounded toward zero for i64). */
PAL_API void pal_array_fill(const pal_array *a, double value);
/*
 * Copies src into dst element by element, converting the dtype; src broadcasts to dst's shape. The
 * memory must not overlap unless it is the same view. Parallel for large arrays. PAL_ESHAPE if src
 * does not broadcast.
 */
PAL_API PAL_CHECKED pal_status pal_array_copy(const pal_array *dst, const pal_array *src,
                                              pal_error *error);
/* One element as a double; index has ndim entries (NULL for a scalar) and is not checked. */
PAL_API double pal_array_get(const pal_array *a, const int64_t *index);
/* Sets one element, rounded toward zero for i64. */
PAL_API void pal_array_set(const pal_array *a, const int64_t *index, double value);

/*
 * Prints "name f32[2,3]" and the values in brackets, as NumPy lays them out: at most 6 entries of
 * each long axis (the first and last 3), columns aligned, four digits unless the values need an
 * exponent.
 */
PAL_API void pal_array_print(FILE *file, const char *name, const pal_array *a);

/* ---- Random numbers ---- */

/*
 * A counter-based generator (Philox 4x32-10; Salmon et al., SC 2011): number i of a stream is a
 * function of (seed, stream, i) alone, so a filled array is the same whatever the number of
 * threads. The state is these three numbers: copy it to save it. Every call moves `counter` past
 * the numbers it has used, by a count that depends on the shape alone.
 */
typedef struct pal_rng {
    uint64_t seed;    /* any number */
    uint64_t stream;  /* independent sequences under one seed */
    uint64_t counter; /* blocks of four 32-bit words consumed */
} pal_rng;

/* A generator at the beginning of a stream. */
PAL_API pal_rng pal_rng_new(uint64_t seed, uint64_t stream);
/* A new generator that is independent of the given one and of every other split from it. */
PAL_API pal_rng pal_rng_split(pal_rng *rng);
PAL_API double pal_rng_next(pal_rng *rng); /* uniform in [0, 1), 53 bits */
PAL_API int64_t pal_rng_below(pal_rng *rng,
                              int64_t n); /* uniform in [0, n), n >= 1, without bias */
PAL_API void pal_rng_uniform(pal_rng *rng, const pal_array *out, double low,
                             double high); /* [low, high), f32/f64 */
PAL_API void pal_rng_normal(pal_rng *rng, const pal_array *out, double mean,
                            double deviation); /* f32/f64 */
PAL_API void pal_rng_integers(pal_rng *rng, const pal_array *out, int64_t low,
                              int64_t high); /* [low, high), i64 */
PAL_API void pal_rng_permutation(pal_rng *rng,
                                 const pal_array *out); /* 0..n-1 shuffled, i64 of one dimension */

/* ---- Files: what they are ---- */

/* What a file is, told by its contents. */
typedef enum pal_file_kind {
    PAL_FILE_NONE,       /* there is nothing of that name, or it cannot be read */
    PAL_FILE_FOLDER,     /* a folder */
    PAL_FILE_SPECIAL,    /* a pipe, a device or a socket */
    PAL_FILE_OTHER,      /* any other bytes, such as a text */
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

/* ---- Files: named arrays in HDF5 ---- */

/*
 * A pal_h5 is an HDF5 file open for reading, or one being built in memory. Names are paths
 * ("/params/head.weight"); groups are made as needed. Each dataset carries the attributes `dtype`
 * ("f32", ...) and `crc32c`, the CRC-32C of each MiB of its data; each file `creator` and `format`;
 * h5py and h5dump open them. A file that is built appears under its path only when pal_h5_commit
 * has written, flushed and renamed it: until then, and after any failure, what was there before is
 * untouched.
 *
 * All calls return a status and say why in *error (may be NULL). Files are untrusted: types, ranks
 * and sizes are checked before anything is allocated, and what is read is compared with `crc32c`,
 * if it is there: PAL_EFORMAT names file, dataset and MiB. Calls from several threads take turns.
 */
typedef struct pal_h5 pal_h5;

/* Begins a file in memory; nothing is on disk before pal_h5_commit. */
PAL_API PAL_CHECKED pal_status pal_h5_create(pal_h5 **file, const char *path, pal_error *error);
/* PAL_EFORMAT also for a file whose `format` says that a later version of this library wrote it. */
PAL_API PAL_CHECKED pal_status pal_h5_open(pal_h5 **file, const char *path, pal_error *error);
/* Adds an array (any strides). PAL_EVALUE if the name is taken or empty. */
PAL_API PAL_CHECKED pal_status pal_h5_put(pal_h5 *file, const char *name, const pal_array *a,
                                          pal_error *error);
/* Adds `count` unsigned integers of 1, 2 or 4 bytes, one dimension; `dtype` is "u8", "u16", "u32".
 */
PAL_API PAL_CHECKED pal_status pal_h5_put_uints(pal_h5 *file, const char *name, int bytes,
                                                int64_t count, const void *data, pal_error *error);
/* Attributes of an object ("/" is the file itself). */
PAL_API PAL_CHECKED pal_status pal_h5_put_text(pal_h5 *file, const char *object,
                                               const char *attribute, const char *text,
                                               pal_error *error);
/* A number as an attribute. */
PAL_API PAL_CHECKED pal_status pal_h5_put_number(pal_h5 *file, const char *object,
                                                 const char *attribute, double value,
                                                 pal_error *error);
/* Writes the built file in place of path and closes it, whether that succeeded or not. */
PAL_API PAL_CHECKED pal_status pal_h5_commit(pal_h5 *file, pal_error *error);
/* Closes; a file that was being built and was not committed leaves no trace. NULL is allowed. */
PAL_API void pal_h5_close(pal_h5 *file);

/* Whether there is a dataset or group of this name. */
PAL_API bool pal_h5_has(pal_h5 *file, const char *name);
/* dtype and shape of a dataset; PAL_EFORMAT if it is missing, not a number, or of more than
 * PAL_MAX_DIMS dimensions. */
PAL_API PAL_CHECKED pal_status pal_h5_info(pal_h5 *file, const char *name, pal_dtype *dtype,
                                           pal_shape *shape, pal_error *error);
/* Reads a dataset into dst (any strides). The shape must be equal; a float of another width
 * converts, else PAL_EFORMAT. After an error dst may have been written. */
PAL_API PAL_CHECKED pal_status pal_h5_get(pal_h5 *file, const char *name, const pal_array *dst,
                                          pal_error *error);
/* Elements first .. first+count-1 of a dataset of integers of 1, 2, 4 or 8 bytes, one dimension.
 * Reads whole MiB. PAL_EVALUE for a range outside the dataset. */
PAL_API PAL_CHECKED pal_status pal_h5_read_uints(pal_h5 *file, const char *name, int64_t first,
                                                 int64_t count, int64_t *out, pal_error *error);
/* A text attribute; size is the room in text. PAL_EFORMAT if it is missing, no text or longer. */
PAL_API PAL_CHECKED pal_status pal_h5_get_text(pal_h5 *file, const char *object,
                                               const char *attribute, char *text, size_t size,
                                               pal_error *error);
/* A number attribute. PAL_EFORMAT if it is missing or no number. */
PAL_API PAL_CHECKED pal_status pal_h5_get_number(pal_h5 *file, const char *object,
                                                 const char *attribute, double *value,
                                                 pal_error *error);
/* Calls visit for every dataset below group, in name order, with its name relative to group; stops
 * when it says false. */
PAL_API PAL_CHECKED pal_status pal_h5_each(pal_h5 *file, const char *group,
                                           bool (*visit)(const char *name, void *user), void *user,
                                           pal_error *error);

#ifdef __cplusplus
}
#endif
#endif
