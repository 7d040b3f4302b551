/*
 * scan.h - what the composed rules share: the checks of their options, and the loop over tokens.
 */
#ifndef PAL_LAYERS_SCAN_H
#define PAL_LAYERS_SCAN_H

#include "layers/check.h"
#include "layers/rules/rule.h"

/* Checks A_log and dt_bias of the options, if they are given, against the pre-activation g with
 * axes dims, and brings them onto the tape. */
bool pal_frame_decay(pal_frame *f, pal_tensor g, const char *dims, pal_rule_opts *opts);
/* Checks the operands of a rule, A_log and dt_bias, and brings them onto the tape. */
bool pal_rule_check(pal_frame *f, const pal_rule *rule, pal_tensor *in, pal_rule_opts *opts);
/* The widest heads that the fused modes take, because their kernels keep a row or panel of a head
 * on the stack. */
enum { PAL_FUSED_WIDTH = 512 };

struct pal_scan {
    /* The parts of the state, the first [S,heads,K,V] with S = B, or N when packed. */
    pal_tensor state[PAL_RULE_STATES];
    const int64_t *offsets; /* NULL: not packed */
    int64_t sequences, T;   /* packed sequences (1 if not packed), and tokens of all of them */
    pal_frame *frame;
    pal_shape shape[PAL_RULE_STATES]; /* of the state */
    int states;                       /* parts of it */
};

/* Checks mode, chunk, initial state and offsets. A part of the state stays PAL_NONE if it is not
 * given. */
bool pal_scan_init(pal_scan *s, pal_frame *f, const pal_rule *rule, const pal_rule_opts *opts);
/* Whether heads are wider than fused modes take. */
bool pal_scan_too_wide(const pal_scan *s);
/* Whether fused modes take this number of rows a token. */
bool pal_scan_rows_fit(const pal_scan *s);
/* Whether to use the composed form: because it was asked for, because heads or tokens are wider
 * than fused modes take, or because the state is empty. */
bool pal_scan_composed(const pal_scan *s, const pal_rule_opts *opts);
/* What a composed delta rule does before its tokens: it normalises q and k, makes g from its
 * pre-activation, and makes zeros of the parts of the state that are not given. g may be NULL. */
void pal_scan_prepare(pal_scan *s, const pal_rule_opts *opts, pal_tensor *q, pal_tensor *k,
                      pal_tensor *g);
/* Computes one token: it replaces the state S[0] [B,heads,K,V], and its other parts if there are
 * any, and returns the output [B,heads,V]. */
typedef pal_tensor pal_token_fn(const void *rule, int64_t t, pal_tensor *S);
/* Runs `token` for every token of every sequence. none_out [B,0,heads,V] is the output if there is
 * no token. */
pal_rule_out pal_scan_run(const pal_scan *s, pal_token_fn *token, const void *rule,
                          pal_tensor none_out);
pal_rule_out pal_scan_failed(const pal_frame *f);

#endif
