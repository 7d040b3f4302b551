/*
 * scan.h - what the composed rules share: checks of their options, and the walk over tokens.
 */
#ifndef PAL_LAYERS_SCAN_H
#define PAL_LAYERS_SCAN_H

#include "layers/check.h"
#include "layers/rules/rule.h"

/* Checks A_log and dt_bias of the options, if they are given, against the pre-activation g with
 * axes dims, and brings them onto the tape. */
bool pal_frame_decay(pal_frame *f, pal_tensor g, const char *dims, pal_rule_opts *opts);
/* The widest heads that the fused modes take: their kernels keep a row or panel of one on the
 * stack.
 */
enum { PAL_FUSED_WIDTH = 512 };

struct pal_scan {
    pal_tensor state;       /* [S,heads,K,V] with S = B, or N when packed */
    const int64_t *offsets; /* NULL: not packed */
    int64_t sequences, T;   /* packed sequences (1 if not packed), and tokens of all of them */
    pal_frame *frame;
    pal_shape shape; /* of the state */
};

/* Checks mode, chunk, initial state and offsets. The state stays PAL_NONE if none is given. */
bool pal_scan_init(pal_scan *s, pal_frame *f, const pal_rule *rule, const pal_rule_opts *opts);
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

#endif
