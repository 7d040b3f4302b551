/*
 * parts.h - a stretch of tokens among those of other processes: what it knows of them, and the
 * tokens that come before it.
 */
#ifndef PAL_LAYERS_PARTS_H
#define PAL_LAYERS_PARTS_H

#include "layers/check.h"
#include "tensor/comm.h"

/* This process's stretch of each sequence; of packed ones, the pieces that lie in it. */
typedef struct pal_part {
    const pal_comm *comm; /* NULL: sequences are whole */
    bool continued;       /* the first piece (not packed: every sequence) began on earlier ranks */
    bool through;         /* and it is the last one, too: what goes on from here began there */
} pal_part;

/* Of so many packed pieces (0: not packed). Nothing comes before rank 0. */
pal_part pal_part_of(const pal_comm *parts, bool continued, int64_t pieces);

/*
 * How many tokens each rank offers of the sequence that goes on from it to the next rank; all ranks
 * call it together. On the tape until it is reset; NULL after reporting. ceil(log2 P) rounds,
 * and P - 1 times 16 bytes in all.
 */
typedef struct pal_offer {
    int64_t tokens;
    bool continued, through;
} pal_offer;
const pal_offer *pal_part_offers(pal_frame *f, const pal_part *s, int64_t tokens);

/* How many tokens of all earlier ranks are among the last n before the stretch of `rank`. */
int64_t pal_part_before(const pal_offer *offers, int rank, int64_t n);

/*
 * The last n tokens (or all there are) of the sequence that goes on into this stretch, from the
 * ranks before it: [B,m,..], m = pal_part_before, 0 where nothing goes on. `offered` [B,k,..],
 * any strides, is what this rank has of the sequence that goes on from it, its last k tokens, with
 * k as in `offers`. Backward sends gradients to the ranks that own the tokens, which add them in
 * the order of ranks: so the result has to be used, even if it is empty, on every rank. One
 * exchange for each distance between ranks over which a token is wanted; a token goes to each rank
 * that wants it.
 */
pal_tensor pal_before(const pal_part *s, const pal_offer *offers, pal_tensor offered, int64_t n);

#endif
