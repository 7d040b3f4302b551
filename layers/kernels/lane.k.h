/* lane.k.h - reads and writes a token's channels in memory with any strides. */
#ifndef PAL_LANE_K_H
#define PAL_LANE_K_H

#include "layers/kernels/tiles.k.h"

/* Element (t, c) of x. */
static inline R element(const pal_rows *x, int64_t t, int64_t c)
{
    return ((const R *)x->data)[t * x->step + c * x->channel];
}

static __attribute__((noinline)) const R *copy_row(const R *x, int64_t step, int64_t n,
                                                   int64_t padded, R *room)
{
    for (int64_t c = 0; c < padded; c++) room[c] = c < n ? x[c * step] : 0;
    return room;
}

/* Returns the n channels of token t as whole vectors up to `padded`, with zeros from n on. It
 * returns their own memory if this can be read so, and a copy in `room` otherwise. Read the result
 * by loadu, because it may be unaligned. */
INLINE const R *get_row(const pal_rows *x, int64_t t, int64_t n, int64_t padded, R *room)
{
    const R *row = (const R *)x->data + t * x->step;
    return x->channel == 1 && n == padded ? row : copy_row(row, x->channel, n, padded, room);
}
INLINE V loadu(const R *x) { return (V) * (const VU *)x; }

/* Writes from [n] to the channels of token t, or adds it to them. */
static inline void put_row(const pal_rows *x, int64_t t, int64_t n, bool add, const R *from)
{
    R *to = (R *)x->data + t * x->step;
    int64_t c = 0;
    if (x->channel == 1 && add)
        for (; c + VL <= n; c += VL) *(VU *)(to + c) = (VU)(loadu(to + c) + load(from + c));
    else if (x->channel == 1)
        for (; c + VL <= n; c += VL) *(VU *)(to + c) = (VU)load(from + c);
    for (; c < n; c++) {
        R *at = to + c * x->channel;
        *at = add ? *at + from[c] : from[c];
    }
}

#endif
