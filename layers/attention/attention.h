/*
 * attention.h - the kernels of softmax attention: their arguments, and their table.
 *
 * A lane is one kv head of one sequence, with the G query heads that read it. Positions count from
 * the sequence's first key; query t of T is at position S - T + t. Work is cut into blocks of
 * PAL_ATTENTION_KEYS keys, each of which begins at a multiple of that number, and blocks of queries
 * of one head. The kernels take a block of queries (pal_query_block) and a block of keys
 * (pal_key_block):
 *
 *     absorb   S = Q K^T; updates the running maximum m, sum l and output O of softmax(S) V
 *     pair     P = exp(S - lse), dS = P*(dO V^T - delta); dV += P^T dO, dK += dS^T Q, dQ += dS K
 *
 * Here lse is log sum exp S, and delta is <dO, O>, both by query. In a call that multiplies in bf16
 * Q (scaled), K, V, dO, P and dS are rounded before they are multiplied. Buffers are rows of `ld`
 * elements, with zeros past D. Only the transposed blocks consist of panels of a few keys, and have
 * the shape
 *
 *     [keys / panel][Dp][panel]
 */
#ifndef PAL_ATTENTION_H
#define PAL_ATTENTION_H

#include "layers/lane.h"

enum { PAL_ATTENTION_KEYS = 64 }; /* keys in a block: a multiple of every panel */

typedef struct pal_attention_shape {
    int64_t D, Dp, ld; /* head width; rounded up to whole panels; distance of rows in a buffer */
    int64_t keys_ld;   /* distance of rows in P and dS */
    int64_t window;    /* how many of the last keys a query sees; at most the number of keys */
    double scale;      /* of q */
    bool narrow;       /* operands of products are rounded to bf16; sums stay f32 */
} pal_attention_shape;

typedef struct pal_query_block {
    int64_t first, count; /* the position of the first query; the others follow */
    void *Q, *O;          /* rows, rounded up to whole tiles; Q is already scaled */
    void *m, *l;          /* running maximum, one element per row; sum, one vector per row */
    void *dO, *lse, *delta,
        *P;             /* backward: dO rows; lse, delta one element per row; P [queries][keys] */
    void *dS, *dQ;      /* dS like P; dQ rows */
    pal_prefetch ahead; /* absorb: the keys and values of the next block */
} pal_query_block;

typedef struct pal_key_block {
    int64_t first, count;
    void *K, *V;   /* rows */
    void *Kt, *Vt; /* transposed panels; Vt == NULL: not wanted (forward) */
    void *dK, *dV; /* backward: rows */
} pal_key_block;

/* The channels of a token that are turned: pair c is channel c of both. */
typedef struct pal_pairs {
    pal_rows low, high;
} pal_pairs;

typedef struct pal_attention_table {
    int64_t panel;  /* Dp is a multiple of it */
    int64_t vector; /* elements of a vector */
    int64_t rows;   /* buffers of queries have a multiple of this number of rows */
    /* x and the others are rows from the block's first token on. */
    void (*load_keys)(const pal_attention_shape *s, pal_rows k, pal_rows v, pal_key_block *x);
    void (*start)(const pal_attention_shape *s, pal_rows q, pal_query_block *x);
    void (*absorb)(const pal_attention_shape *s, const pal_key_block *k, pal_query_block *x);
    void (*finish)(const pal_attention_shape *s, const pal_query_block *x, pal_rows o, void *lse);
    void (*start_back)(const pal_attention_shape *s, pal_rows q, pal_rows o, pal_rows dO,
                       const void *lse, pal_query_block *x);
    /* Adds to k->dK and dV if they are wanted, and to x->dQ if that is. */
    void (*pair)(const pal_attention_shape *s, pal_key_block *k, pal_query_block *x);
    /* to += factor * `count` rows of a buffer. */
    void (*add)(const pal_attention_shape *s, int64_t count, const void *rows, double factor,
                pal_rows to);
    /* y = `half` pairs of channels x, each rotated by an angle of its own (pal_rotary), or rotated
     * back. With `add` it is added to y. */
    void (*rotate)(int64_t half, const void *cosines, const void *sines, bool back, pal_pairs x,
                   pal_pairs y, bool add);
    /* y = the n channels of x, or y += them. */
    void (*pass)(int64_t n, pal_rows x, pal_rows y, bool add);
} pal_attention_table;

const pal_attention_table *pal_attention_table_for(pal_dtype dtype);

#endif
