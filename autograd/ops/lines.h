/* lines.h - an array seen as lines along one axis; reductions and row operations loop over them. */
#ifndef PAL_OPS_LINES_H
#define PAL_OPS_LINES_H

#include "autograd/internal.h"
#include "tensor/kernels.h"

typedef struct pal_lines {
    char *data;
    pal_dtype dtype;
    size_t size;      /* of one element */
    int64_t count, n; /* number of lines; elements of each line */
    int64_t step;     /* distance of neighbours in a line, in elements */
    int ndim;         /* the other axes, merged, in row-major order */
    int64_t dim[PAL_MAX_DIMS], stride[PAL_MAX_DIMS];
} pal_lines;

/*
 * Line i belongs to element i, in row-major order, of `a` without the axis. With PAL_ALL all lines,
 * one after the other, give all elements in row-major order; a contiguous array is then a single
 * line.
 */
pal_lines pal_lines_of(const pal_array *a, int axis);

/* The first element of line i. */
char *pal_line(const pal_lines *l, int64_t i);

/* Elements start..start+n-1 of a line in contiguous memory: in place if possible, else in
 * buffer. */
const void *pal_line_read(const pal_lines *l, const char *line, int64_t start, int64_t n,
                          void *buffer);
/* Writes the contiguous elements x to elements start.. of a line. x may be the memory of the
 * line. */
void pal_line_write(const pal_lines *l, char *line, int64_t start, int64_t n, const void *x);
/* The same, but adds them (f32 and f64). */
void pal_line_add(const pal_lines *l, const pal_kernels *k, char *line, int64_t start, int64_t n,
                  const void *x);

/*
 * For gradients. pal_line_target says where a row of n elements is to be computed: in its place, if
 * it is contiguous and will be overwritten, else in buffer. pal_line_give moves it from there into
 * the line. line may be NULL: the gradient is not wanted.
 */
void *pal_line_target(const pal_lines *l, char *line, bool overwrite, void *buffer);
void pal_line_give(const pal_lines *l, const pal_kernels *k, char *line, bool overwrite, int64_t n,
                   const void *x);

#endif
