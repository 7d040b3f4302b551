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
 */
#ifndef INSPECT_OBSERVATION_H
#define INSPECT_OBSERVATION_H

#include <palimpsest.h>

enum {
    OB_TOKENS = 512,       /* of a sequence, at most */
    OB_WIDTH = 512,        /* K and V, at most */
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
    OB_ATTENTION, /* softmax over the keys seen so far: no state and no gates */
    OB_RULES
} ob_rule;
const char *ob_rule_name(ob_rule rule);
/* The names of the rules with a state, i from 0; NULL at the end. */
const char *ob_rules(int i);
/* OB_RULES: there is none of that name ("attn" and "swa" are attention). */
ob_rule ob_rule_of(const char *name);

typedef struct ob_head {
    /* Which one. */
    int model;
    int64_t layer, head;
    ob_rule rule;
    int64_t T, K, V;
    /* What the rule was given: q, k, g, b [T,K]; v, w [T,V]. */
    double *q, *k, *g, *b, *v, *w;
    double scale;
    int64_t window;                 /* attention: tokens that a query sees; 0: all before it */
    int64_t decays, erases, writes; /* channels of the gates: 0 (there is none), 1, K or V */
    double *given;                  /* what the layer returned, [T,V]; NULL: there was no layer */
    double given_most;              /* its largest number; of Mamba-2 before D x was taken off */
    /* What measure.c makes of it; S, norm, update, sigma, rank, cosine and error not of attention.
     */
    double *S;              /* [T,K,V] */
    double *o;              /* [T,V]; of Mamba-2 without D x */
    double *norm, *update;  /* [T]: of S_t, and of S_t - S_{t-1} (Frobenius) */
    double *sigma;          /* [T,min(K,V)]: singular values of S_t, falling */
    double *rank;           /* [T]: exp of the entropy of sigma's shares; 0 of a state of zeros */
    double *cosine, *error; /* [T,T]: what the key of s reads at t against w_s*v_s; NaN: nothing */
    double *A;              /* [T,T]: o_t = sum_s A[t,s] (w_s*v_s) */
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
 * A head of the last model with its inputs allocated: zeros, w ones. T, K, V, rule, layer and head
 * are taken from `like`. PAL_EVALUE names the limit that it is beyond.
 */
PAL_CHECKED pal_status ob_add(observation *ob, ob_head like, ob_head **out, pal_error *error);
void ob_free(observation *ob);

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

/* ---- svd.c ---- */

/*
 * Singular values of M [rows,cols], falling, to sigma [min(rows,cols)]: one-sided Jacobi. Pairs of
 * columns are turned until all are orthogonal; their norms are the singular values. Accurate to
 * rounding of the largest. Source: Hestenes 1958; the angle as in Golub, Van Loan, section 8.6.
 */
void ob_singular(const double *M, int64_t rows, int64_t cols, double *sigma);

#endif
