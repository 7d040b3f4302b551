/*
 * parts.h - sequences that several processes share: what this rank's part of them is, and how a
 * rank gets the tokens that come before its part.
 */
#ifndef PAL_LAYERS_PARTS_H
#define PAL_LAYERS_PARTS_H

#include "layers/check.h"
#include "tensor/comm.h"

/* What this rank has of each sequence. */
typedef struct pal_part {
    const pal_comm *comm; /* NULL: sequences are whole */
    bool continued; /* the first sequence (not packed: every sequence) began on an earlier rank */
    bool
        through; /* it is also the last: the sequence that goes on to the next rank began earlier */
} pal_part;

/* The part of this rank, which has tokens of so many packed sequences (0: not packed). Nothing
 * comes before rank 0. */
pal_part pal_part_of(const pal_comm *parts, bool continued, int64_t sequences);

/*
 * How many tokens each rank offers of the sequence that continues on the next rank. All ranks call
 * it together, each with its own number. The result is an array of one offer per rank, which the
 * tape holds until its reset; NULL after an error was reported. It takes ceil(log2 P) rounds, and
 * sends P - 1 times 16 bytes in all.
 */
typedef struct pal_offer {
    int64_t tokens;
    bool continued, through;
} pal_offer;
const pal_offer *pal_part_offers(pal_frame *f, const pal_part *s, int64_t tokens);

/* How many tokens of all earlier ranks are among the last n before the part of `rank`. */
int64_t pal_part_before(const pal_offer *offers, int rank, int64_t n);

/*
 * The last n tokens (or all there are) that earlier ranks have of the sequence that continues in
 * this part: [B,m,..] with m = pal_part_before, which is 0 if none continues. `offered` [B,k,..],
 * with any strides, has the last k tokens of the sequence that continues on the next rank; k is the
 * number in `offers`. Backward sends gradients to the ranks that have the tokens, which add them in
 * the order of ranks. So every rank must use the result, even if it is empty. There is one exchange
 * for each distance between ranks over which a token is wanted. A token goes to every rank that
 * wants it.
 */
pal_tensor pal_before(const pal_part *s, const pal_offer *offers, pal_tensor offered, int64_t n);

#endif
