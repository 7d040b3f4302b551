/*
 * observation.h - what examples/inspect has recorded of a memory, from any source, and what is
 * computed from that. Letters as in layers/layers.h.
 *
 * Every head of every layer is one record. Its inputs are those of the rule, written in the form of
 * GDN-2, which contains the others:
 *
 *     S_t = (I - k_t (b_t*k_t)^T) diag(exp g_t) S_{t-1} + k_t (w_t*v_t)^T
 *     o_t = scale S_t^T q_t
 *
 * If a rule has one gate for a head, that number is in every channel here (KDA, GDN, DeltaNet: b =
 * w = beta; Mamba-2: b = 0, w = dt). Another field has the true number of channels.
 *
 * Mamba-3 writes twice, and a token has R rows (elsewhere R is 1):
 *
 *     S_t = exp(g_t) (S_{t-1} + late_t sum_i k_{t-1,i} v_{t-1,i}^T) + now_t sum_i k_{t,i} v_{t,i}^T
 *
 * with now = lam dt, late = (1 - lam) dt and k, q turned by angles that add up. There w is 1.
 */
#ifndef INSPECT_OBSERVATION_H
#define INSPECT_OBSERVATION_H

#include <palimpsest.h>

enum {
    OB_TOKENS = 512,       /* of a sequence, at most */
    OB_WIDTH = 512,        /* K and V, at most */
    OB_RANKS = 16,         /* rows of a token, at most */
    OB_MODELS = 6,         /* side by side, at most */
    OB_NUMBERS = 1 << 24,  /* of states and maps, of all heads together: 128 MiB */
    OB_AXIS = 64,          /* channels that can have names */
    OB_WORD = 24,          /* bytes of such a name, with its end */
    OB_SHOWN = 4 * OB_WORD /* of a name as it is shown */
};

typedef enum ob_rule {
    OB_GDN2,
    OB_KDA,
    OB_GDN,
    OB_DELTANET,
    OB_MAMBA2,
    OB_MAMBA3,
    OB_ATTENTION, /* softmax over the keys seen so far: no state and no gates */
    OB_RULES
} ob_rule;
const char *ob_rule_name(ob_rule rule);
/* The names of the rules with a state, i from 0; NULL at the end. */
const char *ob_rules(int i);
/* OB_RULES: there is none of that name ("attn" and "swa" are attention). */
ob_rule ob_rule_of(const char *name);

/* What Mamba-3 has besides; nothing of it elsewhere. J pairs of channels are turned. */
typedef struct ob_turns {
    int64_t J;
    pal_pair pair;
    double *dt, *lam;     /* [T] */
    double *om;           /* [T,J], radians for a unit of dt */
    double *B, *C;        /* [N,K]: keys and queries with their biases, not turned */
    double *x, *mimo_x;   /* [T,V], and [R,V]: v_i = mimo_x_i * x */
    double *now, *late;   /* [T]: the two writes, lam dt and (1 - lam) dt */
    double *turn, *angle; /* [T,J]: dt om, and the sum of it in [0, 2 pi) */
} ob_turns;

typedef struct ob_head {
    /* Which one. */
    int model;
    int64_t layer, head;
    ob_rule rule;
    int64_t T, K, V;
    int64_t R; /* rows of a token, 1 of all rules but Mamba-3; N = T R. Row t R + i is row i of t */
    /* What the rule was given: q, k [N,K]; g, b [T,K]; v, w [N,V]. Of Mamba-3 q, k and v are
     * made from `turns` by measure.c. */
    double *q, *k, *g, *b, *v, *w;
    double scale;
    ob_turns turns;
    int64_t window;                 /* attention: tokens that a query sees; 0: all before it */
    int64_t decays, erases, writes; /* channels of the gates: 0 (there is none), 1, K or V */
    double *given;                  /* what the layer returned, [N,V]; NULL: there was no layer */
    double given_most;              /* its largest number, before D x was taken off */
    /* What measure.c makes of it; S, norm, update, sigma, rank, cosine and error not of attention.
     */
    double *S;              /* [T,K,V] */
    double *o;              /* [N,V]; without D x */
    double *norm, *update;  /* [T]: of S_t, and of S_t - S_{t-1} (Frobenius) */
    double *sigma;          /* [T,min(K,V)]: singular values of S_t, falling */
    double *rank;           /* [T]: exp of the entropy of sigma's shares; 0 of a state of zeros */
    double *cosine, *error; /* [T,N]: what the key of s reads at t against what was written with it
                               by then, w_s*v_s; NaN: nothing */
    double *A;              /* [N,N]: o_t = sum_s A[t,s] (w_s*v_s) */
    double A_error;         /* of that sum, as a share of max |o| */
    double given_error;     /* of o against `given`, as a share of given_most; NaN: not given */
} ob_head;

typedef struct observation {
    /* All words are as they are shown: by ob_shown. */
    char *about; /* where the tokens are from */
    int64_t T;
    char **token;
    char key[OB_AXIS][OB_SHOWN], value[OB_AXIS][OB_SHOWN]; /* of channels; "": it has none */
    int models;
    char *model[OB_MODELS];
    int heads, room;
    ob_head *head; /* by model, layer, head */
    int64_t numbers;
} observation;

/* PAL_EVALUE if T is beyond the limit. */
PAL_CHECKED pal_status ob_begin(observation *ob, int64_t T, pal_error *error);
void ob_about(observation *ob, const char *text);
void ob_token(observation *ob, int64_t t, const void *byte, int64_t size);
/* A model, by name. PAL_EVALUE: there are too many. */
PAL_CHECKED pal_status ob_model(observation *ob, const char *name, pal_error *error);
/*
 * A head of the last model with its inputs allocated: zeros, w and mimo_x ones. K, V, R (0: 1),
 * turns.J, turns.pair, rule, layer and head are taken from `like`. PAL_EVALUE names the limit that
 * it is beyond.
 */
PAL_CHECKED pal_status ob_add(observation *ob, ob_head like, ob_head **out, pal_error *error);
void ob_free(observation *ob);

/* A gate of a head as it is shown: [T,channels], row t at x + t * stride. */
typedef struct ob_gate {
    const char *name, *title;
    char axis; /* its channels are K, V or J, if they are several */
    int64_t channels, stride;
    const double *x;
    bool log; /* x is the logarithm of what is shown */
} ob_gate;
enum { OB_GATES = 8 };
/* The gates of a head: decay, erase and write, of 0 channels where the rule has none. Mamba-3,
 * whose write is the first of two, has more. Returns how many. */
int ob_gates(const ob_head *h, ob_gate gate[OB_GATES]);

/* n zeros, or the end of the program. */
double *ob_reals(int64_t n);
/* A copy of `size` bytes with a 0 behind them, or the end of the program. */
char *ob_copy(const void *byte, int64_t size);
/* A text that every terminal, page and figure can show. Bytes that are not printable UTF-8 become
 * \xNN, the end of a line \n, and a text of one space an open box. The caller frees it. If there is
 * no memory, the program ends. */
char *ob_shown(const void *byte, int64_t size);
double ob_norm(const double *x, int64_t n);
/* Mean of x[n]; 0 of none. */
double ob_mean(const double *x, int64_t n);

/* ---- measure.c ---- */

/* Steps every head's own rule token by token in float64 and fills the rest of the records. mode is
 * PAL_RULE_RECURRENT or PAL_RULE_COMPOSED. */
void ob_measure(observation *ob, pal_rule_mode mode);

/* ---- turns.c ---- */

/* The same for a head of Mamba-3: its rule, token by token, into S, o, q, k, v and the rest of
 * `turns`; then A, by what remains of each write. */
void ob_step_turns(pal_tape *tape, ob_head *h, pal_rule_mode mode);
void ob_weigh_turns(ob_head *h);
/* How much of k_s v_s^T has been written by token t >= s. Other rules write w_s*v_s at once: 1. */
double ob_written(const ob_head *h, int64_t t, int64_t s);

/* ---- svd.c ---- */

/*
 * Singular values of M [rows,cols], falling, to sigma [min(rows,cols)]: one-sided Jacobi. Pairs of
 * columns are turned until all are orthogonal; their norms are the singular values. Accurate to
 * rounding of the largest. Source: Hestenes 1958; the angle as in Golub, Van Loan, section 8.6.
 */
void ob_singular(const double *M, int64_t rows, int64_t cols, double *sigma);

#endif
