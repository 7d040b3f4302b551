/* internal.h - what the tensor floor offers to the floors above it, but not to users. */
#ifndef PAL_TENSOR_INTERNAL_H
#define PAL_TENSOR_INTERNAL_H

#include "tensor/dtype.h"
#include "tensor/tensor.h"
#include <stdarg.h>

/* ---- Errors ---- */

/* Appends to the message of *error (which may be NULL) as much as there is room for. */
void pal_error_add(pal_error *error, const char *format, ...) PAL_PRINTF(2, 3);

/* For a while this thread's errors go to a listener of its own instead of the process's handler.
 * Returns the one before, which the caller sets again; fn NULL: none. */
typedef struct pal_listener {
    pal_error_fn *fn;
    void *user;
} pal_listener;
pal_listener pal_listen(pal_listener listener);

/* The default handler calls this function instead of ending only this process. The function does
 * not return. NULL: none is set. */
typedef void pal_exit_fn(const char *message);
void pal_set_exit(pal_exit_fn *fn);

/* ---- The environment ---- */

/*
 * Whether the list in an environment variable, such as "a,b:10", contains a word. If `number` is
 * not NULL, the word may be followed by a number, which is written to *number; without one *number
 * stays unchanged.
 */
bool pal_environment_has(const char *variable, const char *word, int64_t *number);

/* ---- Memory ---- */

enum { PAL_ALIGN = 64 };

/* Memory from the allocator of pal_set_allocator; it is not cleared. NULL if there is none. */
void *pal_malloc(size_t size);
void pal_free(void *memory, size_t size);
/* Whether the system would give that much memory now. For libraries that crash or end the process
 * if they get none: asked before they are called. */
bool pal_memory_left(size_t size);
/* Bytes that programs can take without swapping: MemAvailable of /proc/meminfo, or PAL_MEMORY in
 * the environment (for containers with less); INT64_MAX where nothing says it. */
int64_t pal_memory_available(void);
/* Starts HDF5, if there is memory for it. What is started after MPI is ended by MPI_Finalize, even
 * where that would crash; so ranks call this before. */
void pal_h5_begin(void);

/*
 * An arena is a chain of blocks that grows and never moves. Rewinding to a mark gives back at once
 * all that was taken after it; the blocks are kept for later use. Under AddressSanitizer, memory
 * that was given back is poisoned.
 */
typedef struct pal_arena_block pal_arena_block;
typedef struct pal_arena {
    pal_arena_block *first, *current; /* current: allocations come from this block */
    bool readable; /* set before use: memory may be read after it was given back, so it is never
                      poisoned */
    /* bytes: in use, the most ever in use, and held from the allocator */
    size_t live, peak, reserved;
} pal_arena;
typedef struct pal_arena_mark {
    pal_arena_block *block;
    size_t used, live;
} pal_arena_mark;

/* 64-byte aligned, not cleared; NULL if there is no memory */
void *pal_arena_take(pal_arena *arena, size_t size);
void *pal_arena_zeroed(pal_arena *arena, size_t size);
/* Makes sure that the next `size` bytes can be taken without a call of the allocator. */
bool pal_arena_reserve(pal_arena *arena, size_t size);
pal_arena_mark pal_arena_save(const pal_arena *arena);
void pal_arena_rewind(pal_arena *arena, pal_arena_mark mark);
void pal_arena_reset(pal_arena *arena); /* empties the arena and keeps the memory */
void pal_arena_free(pal_arena *arena);  /* returns the memory to the allocator */

/* The next multiple of `to`; of bytes, and of elements and axes. */
static inline size_t pal_round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
static inline int64_t pal_round_up_count(int64_t n, int64_t to)
{
    return (int64_t)pal_round_up((size_t)n, (size_t)to);
}

/* Hands out pieces of a block of scratch memory, which are not cleared; with base == NULL it only
 * counts what they take. */
typedef struct pal_carver {
    char *base;
    size_t used;
} pal_carver;
/* Three lines lie between pieces, so that the same column of many buffers is not in the same set of
 * the first-level cache. */
static inline void *pal_carve(pal_carver *c, size_t bytes)
{
    void *p = c->base ? c->base + c->used : NULL;
    c->used += pal_round_up(bytes, PAL_ALIGN) + 3 * PAL_ALIGN;
    return p;
}

/* ---- Arrays ---- */

/* The bytes of a contiguous array of this shape, which pal_shape_count has accepted. */
size_t pal_shape_bytes(pal_dtype dtype, pal_shape shape);

/* ---- Texts and names (name.c) ---- */

enum { PAL_NAME_MOST = 400 }; /* bytes of a name */
/* The length of the UTF-8 sequence that begins here, 1 to 4, or 0 if these bytes are none. */
int pal_utf8(const char *byte, int64_t left);
/* What is wrong with a text that gives something its name in a file, as the end of a sentence;
 * NULL: nothing. It is UTF-8 without control characters, and neither empty nor long. */
const char *pal_text_trouble(const char *text);
/* The same for a name that is a path, such as that of a dataset below its group: neither a part
 * between slashes nor what stands before or after them is empty, "." or "..". */
const char *pal_name_trouble(const char *name);
/* Whether `outer` is outer/..., for which `inner` would have to be a group. */
bool pal_name_within(const char *outer, const char *inner);

/* ---- Files ---- */

/* write(2) until all bytes are written; fsync(2); fsync of the folder that contains path, so that a
 * rename in it is on disk. On failure they return false and set errno. */
bool pal_write_all(int fd, const char *data, size_t size);
bool pal_flush(int fd);
bool pal_flush_folder(const char *path);

/*
 * A file that the processes of *mpi_comm, an MPI_Comm, build together. Each process makes all
 * calls, from create to close or commit, with the same names, dtypes and shapes. All get the same
 * status and message. The numbers of a dataset come from its owner; the others may pass data =
 * NULL. Attributes get the owner's values. Rank 0 renames the finished file to path, which it
 * replaces as a whole. No memory is allocated for the data.
 */
PAL_CHECKED pal_status pal_h5_create_shared(pal_h5 **file, const char *path, const void *mpi_comm,
                                            pal_error *error);
/* Sets the rank that owns what is put from now on. At first it is rank 0. */
void pal_h5_owner(pal_h5 *file, int rank);
bool pal_h5_is_shared(const pal_h5 *file);
/* Gives all processes the status and message of the first process whose status is not PAL_OK. */
PAL_CHECKED pal_status pal_mpi_agree(const void *mpi_comm, pal_status status, pal_error *error);

/*
 * Reads ranges of a dataset of integers with one dimension. A reader keeps the last `blocks` MiB
 * that it has read and verified, in the form in which they are stored. It allocates memory only
 * when it is opened. Close it before its file.
 */
typedef struct pal_h5_reader pal_h5_reader;
PAL_CHECKED pal_status pal_h5_reader_open(pal_h5_reader **reader, pal_h5 *file, const char *name,
                                          int blocks, pal_error *error);
void pal_h5_reader_close(pal_h5_reader *reader);
int64_t pal_h5_reader_count(const pal_h5_reader *reader);
int pal_h5_reader_width(const pal_h5_reader *reader); /* bytes of an element: 1, 2, 4 or 8 */
/* The CRC-32C of the checksums of all blocks (1 if that is 0), or 0 if the dataset has no
 * checksums. */
uint32_t pal_h5_reader_sum(const pal_h5_reader *reader);
PAL_CHECKED pal_status pal_h5_reader_get(pal_h5_reader *reader, int64_t first, int64_t count,
                                         int64_t *out, pal_error *error);

/* ---- Threads ---- */

/*
 * The number of threads for an operation that touches `work` elements (or needs about that many
 * flops). It is 1 inside a parallel region, and where a team would cost more than it saves. It is
 * asked once, when the operation is called. How the work is divided depends only on the shapes,
 * never on this number.
 */
int pal_team(int64_t work);
/* Only for tests: from how much work on there is a team, so that small inputs try threads too. */
void pal_team_from(int64_t work);

/* ---- BLIS ---- */

/*
 * C = alpha A B + beta C with general strides: A is m x k, B is k x n, and element (i, j) of X is
 * x[i*rsx + j*csx]. beta == 0 overwrites C without reading it. At most
 * `threads` threads take a piece of C each; the bits are the same for every number. dtype is that
 * of A and B: PAL_F32, PAL_F64, or PAL_BF16, of which C is f32 and so are the sums.
 */
void pal_gemm(pal_dtype dtype, int64_t m, int64_t n, int64_t k, double alpha, const void *a,
              int64_t rsa, int64_t csa, const void *b, int64_t rsb, int64_t csb, double beta,
              void *c, int64_t rsc, int64_t csc, int threads);

/*
 * C = alpha A B + beta C over batches: the last two axes are the matrices, and the leading axes of
 * a and b broadcast to those of c. a and b have one dtype, and so has c, but f32 where they are
 * bf16. All strides are allowed, so a transpose is a permuted view and not a copy. The threads
 * share the batches if there are enough of them; otherwise they share each product.
 */
void pal_matmul_arrays(double alpha, const pal_array *a, const pal_array *b, double beta,
                       const pal_array *c);

/* Whether products of bf16 are faster than those of f32, and who computes those of a dtype
 * ("BLIS", "oneDNN 2.6.3", "BLIS on widened operands"). */
bool pal_bf16_is_fast(void);
const char *pal_product_library(pal_dtype dtype);

/* Whether BLIS has the memory for a product. Operations ask this before their first product, and
 * report PAL_ENOMEM if it is false, because BLIS itself would end the process. */
bool pal_blas_ready(void);

/* The BLIS kernel family in use ("skx", "haswell", "generic", ...). */
const char *pal_blas_family(void);

/* ---- Kernels ---- */

/* What the processor can do and the operating system saves. */
typedef enum pal_cpu_feature {
    PAL_CPU_SSSE3,
    PAL_CPU_AVX,
    PAL_CPU_AVX2,   /* and FMA */
    PAL_CPU_AVX512, /* F, DQ, BW and VL */
    PAL_CPU_AMD     /* AMD made it */
} pal_cpu_feature;
bool pal_cpu_has(pal_cpu_feature feature);

/* The instruction sets that kernels are compiled for, from the plainest to the widest. PAL_SETS
 * lists f(x, set) for each. */
#if defined(__x86_64__)
typedef enum pal_isa { PAL_ISA_BASE, PAL_ISA_AVX2, PAL_ISA_AVX512, PAL_ISAS } pal_isa;
#define PAL_SETS(f, x) f(x, base), f(x, avx2), f(x, avx512)
#elif defined(__aarch64__)
typedef enum pal_isa { PAL_ISA_BASE, PAL_ISA_NEON, PAL_ISAS } pal_isa;
#define PAL_SETS(f, x) f(x, base), f(x, neon)
#else
typedef enum pal_isa { PAL_ISA_BASE, PAL_ISAS } pal_isa;
#define PAL_SETS(f, x) f(x, base)
#endif

/* The widest instruction set that processor and operating system support, or the one in PAL_ISA if
 * that is narrower. */
pal_isa pal_isa_best(void);
pal_isa pal_isa_selected(void);
const char *pal_isa_name(pal_isa isa);
/* For tests only: from now on all kernels come from this set. false if the processor lacks it. */
bool pal_kernels_select(pal_isa isa);

/*
 * The tables K(name) of one kind of kernels, which the Makefile compiles for every real type and
 * instruction set: PAL_KERNEL_TABLES at the head of a file declares them all, and
 * PAL_KERNEL_TABLE(name, dtype) is the address of the one for this type and the selected set.
 */
#define PAL_KERNELS_F32(name, set)    pal_k_##name##_f32_##set
#define PAL_KERNELS_F64(name, set)    pal_k_##name##_f64_##set
#define PAL_KERNELS_F32_AT(name, set) &pal_k_##name##_f32_##set
#define PAL_KERNELS_F64_AT(name, set) &pal_k_##name##_f64_##set
#define PAL_KERNEL_TABLES(type, name)                               \
    extern const type PAL_SETS(PAL_KERNELS_F32, name);              \
    extern const type PAL_SETS(PAL_KERNELS_F64, name);              \
    static const type *const name##_tables[PAL_REALS][PAL_ISAS] = { \
        {PAL_SETS(PAL_KERNELS_F32_AT, name)}, {PAL_SETS(PAL_KERNELS_F64_AT, name)}}
#define PAL_KERNEL_TABLE(name, dtype) (name##_tables[pal_real_index(dtype)][pal_isa_selected()])

#endif
