/*
 * parts.h - sequences that several processes share: what this rank's part of them is, and how a
 * rank gets what comes before its part.
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

/*
 * What is composed of all ranks before this one; with `back` of all ranks behind it, from the last
 * one on. Each rank has a message of `bytes` bytes, and compose writes to *out the message of two
 * neighbouring parts, of which `second` is the nearer one. Composing is associative.
 * All ranks call it together; it takes ceil(log2 P) rounds, and two ranks compose nothing. The
 * result is in one of the spare messages. NULL: there is no such rank.
 */
typedef struct pal_composition {
    /* It only reads the first two messages. */
    void (*compose)(const void *user, void *second, void *first, void *out);
    const void *user;
    void *own, *spare[3];
    size_t bytes;
} pal_composition;
void *pal_part_compose(const pal_comm *comm, bool back, const pal_composition *x);

/*
 * Sums over the ranks before this one, of what each has of the sequence that continues on the next
 * rank. before[i] has the shape of own[i] and is the sum of the own[i] of earlier ranks, back to
 * the nearest of them with stops[i]; that rank's counts, and those before it do not, not even if
 * they are not finite. It is 0 where no sequence continues. A rank where the sequence begins has to
 * stop. f32 or f64; sums are in double, in an order that depends on the number of ranks alone.
 * Differentiable: backward sums gradients over later ranks. So every rank must use the results,
 * even if nothing continues there. A message has 8 bytes for each number.
 */
enum { PAL_PART_SUMS = 4 };
void pal_part_sums(const pal_part *s, int n, const pal_tensor *own, const bool *stops,
                   pal_tensor *before);

#endif
