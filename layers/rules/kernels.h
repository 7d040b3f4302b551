/*
 * kernels.h - the kernels of the fused rules: their arguments, and their table.
 *
 * A sequence is cut into chunks of C tokens. For one chunk of one head there are four steps.
 * `prepare` makes the matrices that do not depend on the state. `scan` carries the state S over the
 * chunk. `scan_back` carries the gradient dS back over it. `gradient` computes the gradients of the
 * inputs from what the scans left. Each rule has its own `prepare` and `gradient`; all rules share
 * the scans. In the scans the columns of S are independent, so they work on panels of a few
 * columns.
 *
 * With e = b*k, z = w*v, q already scaled, G the sum of g from the chunk's start, gamma = exp
 * G, p_rs = exp(g_{s+1} + ... + g_r) and tail_s = p_Cs (docs/kernels.md derives them):
 *
 *     T_rs = sum_c e_r p_rs k_s (s < r)        A_rs = sum_c q_r p_rs k_s (s <= r)
 *     U = (I + T)^-1 (Z - gamma*e S)           what each token writes
 *     O = gamma*q S + A U                      S <- gamma_C S + (tail*k)^T U
 *
 * Layouts, all in the kernels' own padded widths Kp and Vp:
 *   rows    [C][Kp], a token a row
 *   panels  a matrix of Vp columns as Vp / panel matrices of `panel` columns, one after the other,
 * so that products read memory in order
 *
 * There is one table for each element type and instruction set, as in tensor/kernels.h.
 */
#ifndef PAL_RULE_KERNELS_H
#define PAL_RULE_KERNELS_H

#include "layers/lane.h"

typedef struct pal_rule_shape {
    int64_t C, K, V;    /* rows of a chunk (a multiple of 16), key and value width */
    int64_t ranks;      /* rows of a token: 1 except in Mamba-3 */
    int64_t Kp, Vp, Cp; /* K, V and C as the buffers have them: multiples of the table's pad */
    double scale;       /* of q */
    bool erase;         /* false: nothing is erased (Mamba-2), U = Z */
    bool decay;         /* false: g is absent */
    bool channel_decay; /* g by channel rather than by head */
    bool normalize;     /* q and k are brought to unit length first */
    bool activate;      /* g is made from a pre-activation (pal_log_decay) */
    double lower_bound; /* of its bounded form; 0: the softplus form */
    bool trapezoid;     /* Mamba-3: a part of each write waits for the next token */
    int64_t angles, Ap; /* its pairs of channels that are turned; padded */
    bool half;          /* pair j is channels j and j + K/2, not 2j and 2j + 1 */
} pal_rule_shape;

/* Indices of the arguments that a head has for each token, and of their gradients. A rule says
 * which of its operands is which (rule.h). Mamba-2 calls the first four Cm, Bm, x and dt. Mamba-3
 * calls the first three so, and the last three dt, lam and om. */
enum { PAL_Q, PAL_K, PAL_V, PAL_G, PAL_B, PAL_W, PAL_STEP, PAL_LAM, PAL_OM, PAL_HEAD_ARGS };

/* One value head of one sequence. */
typedef struct pal_head {
    pal_rows in[PAL_HEAD_ARGS];
    double A_log;        /* activate */
    const void *dt_bias; /* activate: one element, or K of them */
    double A, D;         /* Mamba-2 and Mamba-3; D = 0 when there is none */
    /* Only Mamba-3. data is NULL for what is not given. */
    int64_t length;                        /* tokens of its sequence */
    int64_t rank[2];                       /* of q and k: elements from row to row of a token */
    pal_rows bias[2], mimo_x;              /* of q and k, and of x: a row for each of a token */
    pal_rows first_angles, last_k, last_x; /* what the sequence begins with */
    const double *angle;                   /* before each chunk, [chunks + 1][angles] */
} pal_head;

/* Where the gradients of a head go. If bit i of `add` is set, gradient i is added to what is there;
 * otherwise it overwrites. Rows with data == NULL are not wanted. */
typedef struct pal_head_grad {
    pal_rows out[PAL_HEAD_ARGS];
    uint32_t add;
    /* Of this chunk only: the gradients of the numbers of a head, as far as the rule has them, in
     * the order A, D, A_log, dt_bias (K of them or one). NULL: not wanted. */
    double *sums;
    /* Only Mamba-3; of this chunk only, NULL: not wanted. */
    double *sum_D, *sum_bias[2], *sum_mimo_x; /* one, [ranks][K] each, [ranks][V] */
    int64_t rank[2];                          /* as in pal_head */
    pal_rows first_angles, last_k, last_x;    /* added to */
    pal_rows end_k, end_x;                    /* gradients of the final k and x */
    const double *end_angles, *whole_turn;    /* K(ends) */
    double *late; /* the gradient of delta of the token after the chunk, for K(late_back) */
} pal_head_grad;

/* One prepared chunk; the memory is the caller's. */
typedef struct pal_chunk {
    pal_prefetch ahead;    /* of the chunk after this one. Recurrent: its `rows` are those of the
                              state that comes next which have been asked for */
    int64_t rows;          /* tokens in it, <= C; for the others k, v, q and g count as 0 */
    void *q, *k, *e;       /* rows; q scaled, q and k normalised if asked for */
    void *En, *Qg, *Kt;    /* rows: -gamma*e, gamma*q, tail*k. Mamba-3: q and k themselves */
    void *alpha;           /* exp g: rows, or [C] for scalar decay (there `prepare` leaves g) */
    void *p;               /* scalar decay: p_rs [C][C], then gamma [C]; recurrent: <q, k> [C].
                              Mamba-3: r, and in alpha, counts tokens instead of rows */
    void *T, *A, *inverse; /* [C][C], (I + T)^-1 the last; all lower triangular. Mamba-3: T is
                              <q, k>, and the rows of a token meet each other */
    void *Z;               /* panels [C] */
    void *gamma;           /* [Kp], of the whole chunk */
    void *norm;            /* normalize: 1 / |q|, 1 / |k| of each row, [2][C] */
    /* Only Mamba-3: what q and k of each row are to be multiplied by, [C]: the decay of the state
     * before the chunk, and tail*c. The turn of each token (turn.k.h); c and gamma of each row,
     * [2][C]; keys times delta and values of the token before the sequence, [ranks][Kp] and
     * [ranks][Vp], which the recurrent form adds to the state if `enter` is set. */
    void *from_q, *from_k, *turn, *weigh, *before;
    bool enter;
    double *angles_after; /* `prepare` writes the angles before the next chunk here, if not NULL */
} pal_chunk;

/* What backward needs in addition, for one chunk. */
typedef struct pal_chunk_back {
    void *dO, *dX, *U;       /* panels [C]; dX is the gradient of Z */
    void *turned[3];         /* dO, dX, U with tokens as columns: [Vp][Cp] */
    void *wide;              /* [Kp][Cp] */
    void *dA, *dT;           /* [C][C] */
    void *dq, *de, *dk, *dg; /* rows; at first only the products with the state */
    void *kappa, *kk, *x;    /* rows, used between blocks of a chunk */
    const void *dS0;         /* Mamba-3: the gradient of the state before the chunk */
} pal_chunk_back;

typedef void pal_prepare_fn(const pal_rule_shape *s, const pal_head *h, int64_t t, pal_chunk *c);
typedef void pal_scan_fn(const pal_rule_shape *s, const pal_chunk *c, int64_t panel, const void *S0,
                         void *S, void *U, const pal_rows *o, const pal_rows *skip, double D);
typedef void pal_keep_fn(const pal_rule_shape *s, const void *S, int64_t from, int64_t to,
                         void *kept);
typedef void pal_scan_back_fn(const pal_rule_shape *s, const pal_chunk *c, int64_t panel,
                              const pal_rows *dout, const void *dS, void *dS0, pal_chunk_back *b);
typedef void pal_gradient_fn(const pal_rule_shape *s, const pal_head *h, int64_t t,
                             const pal_chunk *c, pal_chunk_back *b, const void *S0, const void *dS,
                             const pal_head_grad *g);
/* The recurrent form, for columns from .. to - 1 of a state [K][V] in the layout of tensors. S0 is
 * the state before, S the state after. `next` is the state that the caller will need next; it is
 * prefetched. NULL: unknown. */
typedef void pal_tokens_fn(const pal_rule_shape *s, const pal_chunk *c, int64_t from, int64_t to,
                           const void *S0, void *S, const void *next, const pal_rows *o,
                           const pal_rows *skip, double D);
typedef enum pal_panels_way {
    PAL_PANELS_READ,  /* x into panels */
    PAL_PANELS_CLEAR, /* zeros into panels */
    PAL_PANELS_WRITE, /* panels over x */
    PAL_PANELS_ADD    /* panels added to x */
} pal_panels_way;
typedef void pal_panels_fn(int64_t rows, int64_t cols, const pal_rows *x, int64_t padded,
                           void *panels, int64_t from, int64_t to, pal_panels_way way);

/* Only Mamba-3 (kernels/ends.k.c). */
typedef void pal_angles_fn(const pal_rule_shape *s, const pal_head *h, int64_t n, double *to);
typedef void pal_last_fn(const pal_rule_shape *s, const pal_head *h, const double *angle,
                         const void *keys, const pal_rows *th, const pal_rows *k,
                         const pal_rows *x);
typedef void pal_enter_fn(const pal_rule_shape *s, const pal_head *h, void *S, int64_t row,
                          int64_t col, int64_t n);
typedef void pal_ends_fn(const pal_rule_shape *s, const void *dth, const void *dS, const void *S,
                         const void *dk, const void *k, double *end, double *whole);
typedef void pal_late_fn(const pal_head *h, int64_t t, double d, const pal_head_grad *g);

/* The kernels of one rule. */
typedef struct pal_rule_kernels {
    pal_prepare_fn *prepare; /* the chunk form's matrices */
    pal_prepare_fn *pack;    /* what the recurrent form reads: q, k, e, alpha, Z */
    pal_gradient_fn *gradient;
} pal_rule_kernels;

/* The rules of layers.def. Each has kernels. */
typedef enum pal_rule_kind {
#define PAL_RULE(name, test) PAL_KIND_##name,
#include "layers/layers.def"
    PAL_RULE_KINDS
} pal_rule_kind;

typedef struct pal_rule_table {
    int64_t pad;   /* Kp, Vp and Cp are multiples of it */
    int64_t panel; /* columns of a panel */
    int64_t group; /* columns from and to of `tokens` are multiples of it, or V */
    pal_rule_kernels rule[PAL_RULE_KINDS];
    pal_scan_fn *scan;
    pal_keep_fn *keep;
    pal_scan_back_fn *scan_back;
    pal_tokens_fn *tokens, *ranked_tokens; /* the second for Mamba-3 */
    pal_panels_fn *panels;
    pal_angles_fn *angles;
    pal_last_fn *last;
    pal_enter_fn *enter;
    pal_ends_fn *ends;
    pal_late_fn *late_back;
} pal_rule_table;

const pal_rule_table *pal_rule_table_for(pal_dtype dtype);

/*
 * Numbers that the composed form and the kernels share. PAL_NORM_EPS is added to the sum of squares
 * of a row before the row gets unit length. An A_log above PAL_LARGEST_A_LOG counts as that number:
 * in f32 exp(A_log) would overflow at 88, and infinity times a softplus that has underflowed to 0
 * is NaN. A head with an A_log of 80 forgets everything anyway.
 */
static const double PAL_NORM_EPS = 1e-6, PAL_LARGEST_A_LOG = 80;

#endif
