/*
 * pack.c - rows of different lengths: padded to a rectangle, and joined end to end.
 */
#include "layers/models/lm.h"

/* The tape of a tensor, which must have at least `axes` axes; NULL after an error was reported. */
static pal_tape *tape_of(const char *op, pal_tensor x, int axes)
{
    char text[128];
    pal_node *n = pal_node_of(x, op, "x");
    pal_tape *tape = n ? pal_tape_of(n) : NULL;
    if (tape && n->a.ndim >= axes) return pal_tape_status(tape) == PAL_OK ? tape : NULL;
    if (n && tape)
        pal_fail(n->owner, PAL_ESHAPE, "%s: argument x is %s and should have %d axes or more", op,
                 pal_array_describe(&n->a, text, sizeof text), axes);
    else if (n)
        pal_fail(n->owner, PAL_EVALUE, "%s: argument x is on no tape; use pal_on", op);
    return NULL;
}

static pal_tensor poison_of(pal_tensor x)
{
    return x.node ? pal_poison(x.node->owner) : pal_poison_nowhere();
}

/* Joins parts along axis 0 or 1; they are freed. */
static pal_tensor join(pal_tape *tape, int64_t n, pal_tensor *parts, size_t bytes, int axis)
{
    pal_tensor y = pal_tape_status(tape) == PAL_OK ? pal_concat((int)n, parts, axis)
                                                   : pal_poison(&tape->owner);
    pal_free(parts, bytes);
    return y;
}

pal_tensor pal_pack(pal_tensor x, const int64_t *lengths, bool left, pal_tensor *offsets)
{
    pal_tape *tape = tape_of("pack", x, 2);
    if (offsets) *offsets = PAL_NONE;
    if (!tape) return poison_of(x);
    const int64_t B = pal_dim(x, 0), T = pal_dim(x, 1);
    const size_t bytes = (size_t)(B + 1) * sizeof(pal_tensor);
    pal_tensor starts = pal_zeros(tape, PAL_I64, PAL_SHAPE(B + 1)), *part = pal_malloc(bytes);
    if (!part || pal_tape_status(tape) != PAL_OK || B == 0) {
        if (!part)
            pal_fail(&tape->owner, PAL_ENOMEM, "pack: out of memory");
        else if (B == 0)
            pal_fail(&tape->owner, PAL_ESHAPE, "pack: argument x has no rows");
        pal_free(part, bytes);
        return pal_poison(&tape->owner);
    }
    int64_t *at = starts.node->a.data;
    for (int64_t b = 0; b < B; b++) {
        if (lengths[b] < 0 || lengths[b] > T) {
            pal_fail(&tape->owner, PAL_EVALUE,
                     "pack: length %lld of row %lld is not within 0 .. %lld", (long long)lengths[b],
                     (long long)b, (long long)T);
            break;
        }
        at[b + 1] = at[b] + lengths[b];
        const int64_t from = left ? T - lengths[b] : 0;
        part[b] = pal_slice(pal_slice(x, 0, b, b + 1, 1), 1, from, from + lengths[b], 1);
    }
    if (offsets) *offsets = starts;
    return join(tape, B, part, bytes, 1);
}

pal_tensor pal_unpack(pal_tensor x, pal_tensor offsets, int64_t T, bool left)
{
    pal_tape *tape = tape_of("unpack", x, 2);
    if (!tape) return poison_of(x);
    pal_frame f;
    int64_t B = 0;
    pal_frame_init(&f, "unpack");
    f.tape = tape;
    const int64_t *at = pal_frame_offsets(&f, offsets, pal_dim(x, 0), pal_dim(x, 1), &B);
    if (!at) return pal_poison(&tape->owner);
    const size_t bytes = (size_t)B * sizeof(pal_tensor);
    pal_tensor *row = pal_malloc(bytes);
    if (!row) {
        pal_fail(&tape->owner, PAL_ENOMEM, "unpack: out of memory");
        return pal_poison(&tape->owner);
    }
    for (int64_t b = 0; b < B; b++) {
        const int64_t padding = T - (at[b + 1] - at[b]);
        if (padding < 0) {
            pal_fail(&tape->owner, PAL_EVALUE, "unpack: sequence %lld is longer than T = %lld",
                     (long long)b, (long long)T);
            break;
        }
        row[b] = pal_slice(x, 1, at[b], at[b + 1], 1);
        row[b] = pal_pad(row[b], 1, left ? padding : 0, left ? 0 : padding, 0);
    }
    return join(tape, B, row, bytes, 0);
}
