/*
 * lines.h - an array seen as lines along one axis: what reductions and row operations loop over.
 */
#ifndef PAL_OPS_LINES_H
#define PAL_OPS_LINES_H

#include "autograd/internal.h"
#include "tensor/kernels.h"

typedef struct pal_lines {
    char *data;
    pal_dtype dtype;
    size_t size;      /* of one element */
    int64_t count, n; /* lines, and elements of each */
    int64_t step;     /* between neighbours of a line, in elements */
    int ndim;         /* the other axes, merged, in row-major order */
    int64_t dim[PAL_MAX_DIMS], stride[PAL_MAX_DIMS];
} pal_lines;

/*
 * Line i belongs to the i-th element, in row-major order, of a without the axis. PAL_ALL: the lines
 * one after the other are all elements in row-major order; a contiguous array is a single line.
 */
pal_lines pal_lines_of(const pal_array *a, int axis);

/* The first element of line i. */
char *pal_line(const pal_lines *l, int64_t i);

/* Elements start..start+n-1 of a line as one run: in place if they are one, else in buffer. */
const void *pal_line_read(const pal_lines *l, const char *line, int64_t start, int64_t n,
                          void *buffer);
/* The run x into elements start.. of a line; x may be its memory. */
void pal_line_write(const pal_lines *l, char *line, int64_t start, int64_t n, const void *x);
/* The same, added (f32 and f64). */
void pal_line_add(const pal_lines *l, const pal_kernels *k, char *line, int64_t start, int64_t n,
                  const void *x);

/*
 * For gradients: where a row of n is to be computed (in its place, if it is a run that is to be
 * overwritten, else in buffer), and what brings it from there into the line. line may be NULL: not
 * wanted.
 */
void *pal_line_target(const pal_lines *l, char *line, bool overwrite, void *buffer);
void pal_line_give(const pal_lines *l, const pal_kernels *k, char *line, bool overwrite, int64_t n,
                   const void *x);

#endif
