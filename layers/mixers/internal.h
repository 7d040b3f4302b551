/*
 * internal.h - how a mixer is made: its type, one call of it, its options as text, and what the
 * delta layers share.
 */
#ifndef PAL_MIXERS_INTERNAL_H
#define PAL_MIXERS_INTERNAL_H

#include "layers/check.h"
#include "layers/own.h"
#include "layers/modules/init.h"
#include "tensor/keys.h"
#include "layers/rules/rule.h"

/* ---- Memory (memory.c) ---- */

/* Adds the parts of the state of a rule: S sequences and HV heads of K x V, with R ranks and A
 * angles if the rule has them. */
typedef struct pal_state_sizes {
    int64_t S, HV, K, V, R, A;
} pal_state_sizes;
void pal_remember_rule(pal_remembered *m, const pal_rule *rule, pal_state_sizes sizes);
/* The name of the tail of convolution i. */
const char *pal_conv_part(int i);
/* ---- A call (call.c) ---- */

/* The options of a rule in this call, with the state of the call. */
pal_rule_opts pal_mixer_rule(const pal_mixer_call *call, const pal_rule *rule);
/* For the delta rules. Without a hook it sets opts so that the rule normalises q and k and makes g
 * from its pre-activation. With a hook it does this here and shows the results. g NULL: there is no
 * decay. */
void pal_mixer_delta(const pal_mixer_call *call, pal_tensor A_log, pal_tensor dt_bias,
                     double lower_bound, pal_tensor qkv[3], pal_tensor *g, pal_rule_opts *opts);
/* Shows "heads" to the hook: y [B,T,heads V], what the last projection reads. Returns y, or what
 * the hook left. */
pal_tensor pal_mixer_heads(const pal_mixer_call *call, pal_tensor y, int64_t heads);
/* Shows o and the state of a rule, and puts the parts of it into the state of the call. */
void pal_mixer_done(const pal_mixer_call *call, const pal_rule *rule, pal_rule_out *out);

enum { PAL_MOST_SIZE = 1 << 30 }; /* the largest whole number among the options */

#define PAL_LAYER(name, test) extern const pal_mixer_kind pal_mixer_kind_##name;
#include "layers/layers.def"
/* A block without a mixer (none.c). */
extern const pal_mixer_kind pal_mixer_kind_none;
/* The sum of 2 to 4 mixers, which params own; NULL after an error. (sum.c) */
enum { PAL_SUM_MOST = 4 };
pal_mixer *pal_mixer_sum(pal_params *params, const char *prefix, int count, pal_mixer *const *part);
/* Where the text of the first mixer of a sum ends: at a + before a letter, or at the end of `text`;
 * a + before a digit belongs to a number. (sum.c) */
size_t pal_mixer_sum_length(const char *text);
/* Whether the text of a mixer is "none". */
bool pal_mixer_is_none(const char *text);

/* ---- Kinds (kinds.c) ---- */

/* Whether x of this mixer may be bf16. */
bool pal_mixer_takes_bf16(const pal_mixer *mixer);

/* Kind i, of this library and then of the program; NULL after the last. */
const pal_mixer_kind *pal_mixer_kind_at(int i);
/* What a mixer remembers, by its function or its field `state`. */
pal_remembered pal_mixer_remembers(const pal_mixer *mixer, int64_t B, int64_t seen);
/* The kind whose name is the n bytes of text; NULL: there is none, and *error lists all. */
const pal_mixer_kind *pal_mixer_kind_find(const char *text, size_t n, pal_error *error);
/* PAL_EVALUE if the mixer is not what its kind promises: its name, and the parts of its state. */
PAL_CHECKED pal_status pal_mixer_kind_check(const pal_mixer_kind *kind, const pal_mixer *mixer,
                                            pal_error *error);

/* ---- Lists (list.c) ---- */

/* Reads entry i of a list. *mixer is the text of its mixer, for free(). Fields of *block that the
 * entry does not name stay as they are. */
PAL_CHECKED pal_status pal_mixers_entry(const char *list, int64_t i, char **mixer,
                                        pal_block_opts *block, pal_error *error);

/* ---- The delta layers (qkv.c) ---- */

/* What the delta layers share: sizes, and the way from x to q, k and v. */
typedef struct pal_heads {
    int64_t d, H, HV, K, V, conv; /* conv 0: none */
    bool conv_bias;
    double eps;
} pal_heads;
typedef struct pal_qkv {
    pal_tensor q_proj, k_proj, v_proj;
    pal_tensor conv[3], conv_bias[3]; /* q, k, v */
} pal_qkv;

/* Fills in defaults and checks. By default K is at most most_K, H is share * width / K, and V is
 * expand_v K. */
bool pal_heads_init(pal_build *b, const char *layer, pal_heads *h, double expand_v, int64_t most_K,
                    double share);
void pal_qkv_projections(pal_build *b, const pal_heads *h, pal_qkv *p);
void pal_qkv_convolutions(pal_build *b, const pal_heads *h, pal_qkv *p);
/* q, k [B,T,H,K], which the rule brings to unit length, and v [B,T,HV,V] of x [B,T,d]. */
void pal_qkv_forward(const pal_qkv *p, const pal_heads *h, pal_tensor x, const pal_mixer_call *call,
                     pal_tensor qkv[3]);
/* What a delta layer remembers; see `remembers` above. */
pal_remembered pal_heads_remember(const pal_heads *h, const pal_rule *rule, int64_t B);
/* x W^T as heads: [B,T,heads,width]. */
pal_tensor pal_project_heads(pal_tensor x, pal_tensor weight, pal_tensor bias, int64_t heads,
                             int64_t width);

#endif
