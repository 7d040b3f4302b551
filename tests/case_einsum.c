/*
 * case_einsum.c - Einstein's notation. The reference goes through all values of all letters.
 */
#include "tests/support/case.h"

#include <string.h>

/* The subject is the text, and after it what it says with an arrow. */
typedef struct notation {
    const char *text, *a, *b, *result;
} notation;

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    const notation *e = v->subject;
    out[0] = pal_einsum(e->text, in[0], in[1]);
}

/* Element of x at the values of its letters. */
static int64_t offset(const pal_array *x, const char *letters, const int64_t *value)
{
    int64_t at = 0;
    for (int d = 0; d < x->ndim; d++) at = at * x->shape[d] + value[(int)letters[d]];
    return at;
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    const notation *e = v->subject;
    const char *const letters[] = {e->a, e->b};
    int64_t size[128] = {0}, value[128] = {0}, all = 1;
    pal_shape shape = {.ndim = (int)strlen(e->result)};
    for (int x = 0; x < 2; x++)
        for (int d = 0; d < in[x].ndim; d++) size[(int)letters[x][d]] = in[x].shape[d];
    for (int d = 0; d < shape.ndim; d++) shape.dim[d] = size[(int)e->result[d]];
    pal_ref_shape(out, shape);
    for (int64_t i = 0; i < pal_array_count(out); i++) ((double *)out->data)[i] = 0;
    for (int c = 'A'; c <= 'z'; c++)
        if (memchr(e->a, c, strlen(e->a)) || memchr(e->b, c, strlen(e->b))) all *= size[c];
    for (int64_t i = 0; i < all; i++) {
        int64_t left = i;
        for (int c = 'A'; c <= 'z'; c++) {
            if (!memchr(e->a, c, strlen(e->a)) && !memchr(e->b, c, strlen(e->b))) continue;
            value[c] = left % size[c];
            left /= size[c];
        }
        ((double *)out->data)[offset(out, e->result, value)] +=
            pal_ref_get(&in[0], offset(&in[0], e->a, value)) *
            pal_ref_get(&in[1], offset(&in[1], e->b, value));
    }
}

#define S(...) .shape = PAL_DIMS(__VA_ARGS__)
#define E(n, t, a, b, r)                                                    \
    .name = n, .nin = 2, .nout = 1, .build = build, .reference = reference, \
    .subject = &(const notation)                                            \
    {                                                                       \
        t, a, b, r                                                          \
    }

static const pal_variant variants[] = {
    {E("product", "ij,jk->ik", "ij", "jk", "ik"), .in = {{S(3, 4)}, {S(4, 5)}}},
    {E("product, transposed", "ji, jk -> ki", "ji", "jk", "ki"), .in = {{S(4, 3)}, {S(4, 5)}}},
    {E("implied", "kj,ji", "kj", "ji", "ik"), .in = {{S(3, 4)}, {S(4, 5)}}},
    {E("dot", "i,i->", "i", "i", ""), .in = {{S(7)}, {S(7)}}},
    {E("outer", "i,j->ji", "i", "j", "ji"), .in = {{S(3)}, {S(4)}}},
    {E("elementwise", "ij,ji->ij", "ij", "ji", "ij"), .in = {{S(3, 4)}, {S(4, 3)}}},
    {E("batch", "bhtk,bshk->bhts", "bhtk", "bshk", "bhts"),
     .in = {{S(2, 3, 4, 5)}, {S(2, 6, 3, 5)}}},
    {E("batch at the end", "itb,jtb->jib", "itb", "jtb", "jib"),
     .in = {{S(3, 2, 4)}, {S(5, 2, 4)}}},
    {E("lone letters", "aij,jkB->k", "aij", "jkB", "k"), .in = {{S(2, 3, 4)}, {S(4, 5, 2)}}},
    {E("two inner letters", "iab,baj->ij", "iab", "baj", "ij"), .in = {{S(3, 2, 5)}, {S(5, 2, 4)}}},
    {E("scalar and matrix", ",ij->ji", "", "ij", "ji"), .in = {{.low = 1}, {S(3, 4)}}},
    {E("no inner entries", "ij,jk->ik", "ij", "jk", "ik"), .in = {{S(3, 0)}, {S(0, 2)}}},
    {E("no batch", "bij,bjk->bik", "bij", "bjk", "bik"), .in = {{S(0, 3, 2)}, {S(0, 2, 4)}}},
    {E("large", "bij,bkj->bik", "bij", "bkj", "bik"), .in = {{S(3, 120, 20)}, {S(3, 110, 20)}}},
};

const pal_case pal_case_einsum = {
    .name = "einsum", .count = sizeof variants / sizeof variants[0], .variants = variants};
