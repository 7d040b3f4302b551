/*
 * internal.h - what the files of this floor share: argument checks, the scan over tokens, and what
 * stands behind a mixer.
 */
#ifndef PAL_LAYERS_INTERNAL_H
#define PAL_LAYERS_INTERNAL_H

#include "autograd/internal.h"
#include "layers/layers.h"

/* ---- Arguments of a rule or module (check.c) ---- */

/*
 * One argument and what its axes stand for: a letter an axis, equal letters meaning equal sizes.
 * The letters are those of layers.h, with J for HV (value heads), and for Mamba-2 h heads, G
 * groups.
 */
typedef struct pal_arg {
    const char *name, *dims;
    pal_tensor t; /* in: as given; out: on the tape */
    bool optional;
} pal_arg;

typedef struct pal_frame {
    const char *op;
    pal_tape *tape;
    pal_dtype dtype;       /* of all real arguments */
    int64_t size['z' + 1]; /* of each letter; -1 while unknown */
} pal_frame;

void pal_frame_init(pal_frame *f, const char *op);
/* Checks handles, dtype and shapes and brings parameters onto the tape. false after reporting. May
 * be called again with more arguments. */
bool pal_frame_add(pal_frame *f, int n, pal_arg *args);
/* Reports on behalf of the frame's operation; returns false. */
bool pal_frame_fail(pal_frame *f, pal_status status, const char *format, ...) PAL_PRINTF(3, 4);
/* Checks that `many` heads are shared evenly among `few`. */
bool pal_frame_groups(pal_frame *f, char many, char few);
/* Checks A_log and dt_bias of the options, if they are given, against the pre-activation g with
 * axes dims, and brings them onto the tape. */
bool pal_frame_decay(pal_frame *f, pal_tensor g, const char *dims, pal_rule_opts *opts);
/* The offsets of packed sequences and their number, checked: 0 = o_0 <= o_1 <= ... <= o_N = T, and
 * batch is 1. NULL after reporting. */
const int64_t *pal_frame_offsets(pal_frame *f, pal_tensor offsets, int64_t batch, int64_t T,
                                 int64_t *sequences);
/* The poison tensor of whatever owner is known. */
pal_tensor pal_frame_poison(const pal_frame *f);

/*
 * For operations whose threads write gradients by token and head: in[i] if it shares no memory with
 * an earlier one, or only in such a way that an element belongs to one token and head in both
 * (slices of one projection; `tokens` says that axes 0 to 2 are batch, time and heads); else a
 * copy. (fused_op.c)
 */
pal_tensor pal_apart(const pal_tensor *in, int i, bool tokens);

/* ---- Token by token (scan.c) ---- */

/* [B,T,H,..] as [B,T,H n,..]: head j of the result is head j / n of x (not j modulo H). */
pal_tensor pal_share_heads(pal_tensor x, int64_t n);

/* The widest heads that the fused modes take: their kernels keep a row or panel of one on the
 * stack.
 */
enum { PAL_FUSED_WIDTH = 512 };

typedef struct pal_scan {
    pal_tensor state;       /* [S,heads,K,V] with S = B, or N when packed */
    const int64_t *offsets; /* NULL: not packed */
    int64_t sequences, T;   /* packed sequences (1 if not packed), and tokens of all of them */
    pal_frame *frame;
    pal_shape shape; /* of the state */
} pal_scan;

/* Checks mode, chunk, initial state and offsets. The letters of batch, time, heads, key and value
 * width are given in this order: "BTJKV". The state stays PAL_NONE if none is given. */
bool pal_scan_init(pal_scan *s, pal_frame *f, const char *letters, const pal_rule_opts *opts);
/* Whether heads are wider than fused modes take. */
bool pal_scan_too_wide(const pal_scan *s);
/* Whether the rule is to be composed: because it was asked for, or there is nothing to compute. */
bool pal_scan_composed(const pal_scan *s, const pal_rule_opts *opts);
/* What a composed delta rule does before its tokens: unit length of q and k, the activation of g,
 * and zeros where there is no initial state. g may be NULL. */
void pal_scan_prepare(pal_scan *s, const pal_rule_opts *opts, pal_tensor *q, pal_tensor *k,
                      pal_tensor *g);
/* One token of a rule: replaces the state *S [B,heads,K,V] and returns the output [B,heads,V]. */
typedef pal_tensor pal_token_fn(const void *rule, int64_t t, pal_tensor *S);
/* Every token of every sequence; none_out [B,0,heads,V] is the output when there is no token. */
pal_rule_out pal_scan_run(const pal_scan *s, pal_token_fn *token, const void *rule,
                          pal_tensor none_out);
pal_rule_out pal_scan_failed(const pal_frame *f);

/* ---- Mixers (mixer.c) ---- */

enum { PAL_NAME_MAX = 256 };

/* One call of a mixer. */
typedef struct pal_run {
    pal_mixer_state *state; /* NULL: from the start */
    pal_run_opts opts;
} pal_run;

/* The tensors of a pal_mixer_state in order: state, conv[0], conv[1], conv[2], k, v. */
enum { PAL_STATE, PAL_STATE_CONV, PAL_STATE_K = PAL_STATE_CONV + 3, PAL_STATE_V, PAL_STATE_PARTS };

/* The first member of every mixer. */
struct pal_mixer {
    const char *name;
    pal_tensor (*forward)(const pal_mixer *mixer, pal_tensor x, const pal_run *run);
    /* The shapes of what it remembers of B sequences after `seen` tokens, for who reads a state
     * from a file; shape[] comes zeroed, and what has no axes is PAL_NONE. */
    void (*remembers)(const pal_mixer *mixer, int64_t B, int64_t seen,
                      pal_shape shape[PAL_STATE_PARTS]);
};

/* Shows *t to the hook, if there is one, and checks what it leaves; false: skip (x alone). (run.c)
 */
bool pal_run_show(const pal_run *run, const char *name, pal_tensor *t);
/* The options of a rule in this call. */
pal_rule_opts pal_run_rule(const pal_run *run);
/* For the delta rules: opts to bring q and k to unit length and g from its pre-activation on the
 * way; with a hook that is done here, and shown. */
void pal_run_delta(const pal_run *run, pal_tensor A_log, pal_tensor dt_bias, double lower_bound,
                   pal_tensor qkv[3], pal_tensor *g, pal_rule_opts *opts);
/* Shows o and the state of a rule, and hands the state on. */
void pal_run_done(const pal_run *run, pal_rule_out *out);

/* A text key and the field of the options that it sets. */
typedef enum pal_key_kind {
    PAL_KEY_INT,  /* int64_t > 0 */
    PAL_KEY_REAL, /* double */
    PAL_KEY_FLAG, /* bool: true or false */
    PAL_KEY_NOT,  /* bool that holds the opposite */
    PAL_KEY_GATE, /* pal_gate: silu, sigmoid, none */
    PAL_KEY_SCOPE /* bool: scalar is true, channel false */
} pal_key_kind;
typedef struct pal_key {
    const char *name;
    pal_key_kind kind;
    size_t offset;
} pal_key;

typedef struct pal_mixer_kind {
    const char *name;
    int keys;
    const pal_key *key;
    pal_mixer *(*create)(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const void *opts, pal_rng *rng);
} pal_mixer_kind;

typedef union pal_any_opts {
    pal_gdn2_opts gdn2;
    pal_kda_opts kda;
    pal_gdn_opts gdn;
    pal_mamba2_opts mamba2;
    pal_attn_opts attn;
} pal_any_opts;

extern const pal_mixer_kind pal_mixer_kind_gdn2, pal_mixer_kind_kda, pal_mixer_kind_gdn,
    pal_mixer_kind_mamba2, pal_mixer_kind_attn, pal_mixer_kind_swa;

/* ---- Building layers (build.c) ---- */

/* A layer under construction: where its parameters go and how they are drawn. */
typedef struct pal_build {
    pal_params *params;
    const char *prefix;
    pal_dtype dtype;
    pal_rng *rng;
    char name[PAL_NAME_MAX];
} pal_build;

/* "prefix.suffix"; valid until the next call. */
const char *pal_build_name(pal_build *b, const char *suffix);
/* Reports a wrong option of the layer; returns false. */
bool pal_build_fail(const pal_build *b, const char *layer, const char *format, ...)
    PAL_PRINTF(3, 4);
pal_tensor pal_build_linear(pal_build *b, const char *suffix, int64_t out, int64_t in);

/* What the three delta layers have in common: sizes, and the path to q, k and v. */
typedef struct pal_heads {
    int64_t d, H, HV, K, V, conv; /* conv 0: none */
    bool conv_bias;
    double eps;
} pal_heads;
typedef struct pal_qkv {
    pal_tensor q_proj, k_proj, v_proj;
    pal_tensor conv[3], conv_bias[3]; /* q, k, v */
} pal_qkv;

/* Fills in defaults (width * share over head_dim heads of at most most_K) and checks. */
bool pal_heads_init(pal_build *b, const char *layer, pal_heads *h, double expand_v, int64_t most_K,
                    double share);
void pal_qkv_projections(pal_build *b, const pal_heads *h, pal_qkv *p);
void pal_qkv_convolutions(pal_build *b, const pal_heads *h, pal_qkv *p);
/* q, k [B,T,H,K], which the rule brings to unit length, and v [B,T,HV,V] of x [B,T,d]. */
void pal_qkv_forward(const pal_qkv *p, const pal_heads *h, pal_tensor x, const pal_run *run,
                     pal_tensor qkv[3]);
/* As `remembers` of a mixer. */
void pal_heads_remember(const pal_heads *h, int64_t B, pal_shape shape[PAL_STATE_PARTS]);
/* x W^T as heads: [B,T,heads,width]. */
pal_tensor pal_project_heads(pal_tensor x, pal_tensor weight, pal_tensor bias, int64_t heads,
                             int64_t width);

#endif
