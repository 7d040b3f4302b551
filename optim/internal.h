/*
 * internal.h - how the files of this floor walk over parameters.
 *
 * Neighbouring parameters of one block with the same flags form a run: one stretch of memory, the
 * zero padding between them included (zero gradients keep zero padding at zero). Frozen parameters
 * are in no run. Work inside a run is cut into pieces of PAL_PIECE elements whatever the number of
 * threads.
 */
#ifndef PAL_OPTIM_INTERNAL_H
#define PAL_OPTIM_INTERNAL_H

#include "optim/optim.h"
#include "tensor/internal.h"

enum { PAL_PIECE = 1 << 14 };

typedef struct pal_run {
    int next; /* the parameter after the run; 0 starts a walk */
    int block;
    int64_t offset, count; /* elements of the block */
    bool decay;
} pal_run;

/* The run that follows *run in order of creation; false at the end. */
bool pal_run_next(const pal_params *params, pal_run *run);

static inline int64_t pal_pieces(int64_t count) { return (count + PAL_PIECE - 1) / PAL_PIECE; }
static inline int64_t pal_piece_size(int64_t count, int64_t piece)
{
    int64_t left = count - piece * PAL_PIECE;
    return left < PAL_PIECE ? left : PAL_PIECE;
}
/* Element i of memory that holds this dtype. */
static inline void *pal_element(pal_dtype dtype, void *memory, int64_t i)
{
    return (char *)memory + (size_t)i * pal_dtype_size(dtype);
}

#endif
