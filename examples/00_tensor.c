/*
 * 00_tensor.c - tensors are arrays with a shape. This program makes, views and combines some.
 *
 * A tensor is a handle. The tape owns its memory and takes it back at pal_tape_reset, so only the
 * tape has to be freed.
 */
#include <palimpsest.h>

int main(void)
{
    pal_tape *tape = pal_tape_new();

    /* A tensor is made from a dtype, a shape, and a source of values. */
    const float data[] = {1, 2, 3, 4, 5, 6};
    pal_tensor x = pal_from(tape, PAL_F32, PAL_SHAPE(2, 3), data);
    pal_print("x", x);
    pal_rng rng = pal_rng_new(7, 0); /* the same seed gives the same numbers on every machine */
    pal_print("noise", pal_normal(tape, PAL_F32, PAL_SHAPE(2, 8), 0, 1, &rng));

    /* Views share memory: no element moves. */
    pal_print("x transposed", pal_transpose(x, 0, 1));
    pal_print("last two columns of x", pal_slice(x, 1, -2, 3, 1));
    pal_print("x as one row", pal_reshape(x, PAL_SHAPE(-1)));

    /* Arithmetic broadcasts as in NumPy: [2,3] - [2,1] subtracts each row's mean from the row. */
    pal_tensor centred = pal_sub(x, pal_mean(x, 1, true));
    pal_print("x minus its row means", centred);

    /* A product reads a transposed operand in place, without a copy. */
    pal_print("x x^T", pal_matmul(x, pal_transpose(x, 0, 1)));

    double off = pal_item(pal_max(pal_abs(pal_sum(centred, 1, false)), PAL_ALL, false));
    printf("largest sum of a centred row: %g\n", off);
    pal_tape_free(tape);
    return off <= 1e-6 ? 0 : 1;
}
