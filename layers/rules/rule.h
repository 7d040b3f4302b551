/*
 * rule.h - what the library knows of a rule: one descriptor each, in the rule's own file. Checks,
 * the operation behind the fused modes, processes that share a sequence, and programs read it.
 */
#ifndef PAL_RULE_H
#define PAL_RULE_H

#include "layers/check.h"
#include "layers/rules.h"
#include "layers/rules/kernels.h"

/*
 * Where an operand goes: by token to the kernels (PAL_Q .. PAL_W, pal_head.in), by head as numbers
 * (the gradients are summed over tokens, in this order), or to what carries the state.
 */
enum {
    PAL_IN_A = PAL_HEAD_ARGS,
    PAL_IN_D,
    PAL_IN_A_LOG,
    PAL_IN_DT_BIAS,
    PAL_IN_STATE,
    PAL_IN_OFFSETS,
    PAL_PLACES
};

/*
 * An operand. Axes are letters: B, T, H key heads, J value heads, K, V, S sequences; E stands for H
 * or J, whichever the tensor has. What is given by token begins with BT.
 */
typedef struct pal_operand {
    const char *name, *axes; /* name NULL: there is none */
    int place;
    bool optional;
} pal_operand;

enum {
    PAL_RULE_OPERANDS = 12,
    PAL_RULE_STATES = 4,
    PAL_RULE_INPUTS = PAL_RULE_OPERANDS + PAL_RULE_STATES + 3 /* offsets, A_log, dt_bias */
};

typedef struct pal_scan pal_scan;

struct pal_rule {
    const char *name;
    pal_rule_kind kind;                     /* whose kernels it has */
    pal_operand operand[PAL_RULE_OPERANDS]; /* in the order of its function */
    pal_operand state[PAL_RULE_STATES];     /* what it carries from token to token, by part */
    const char *shown;                      /* how messages call its axes, as in pal_frame */
    bool erases;                            /* false: U = Z (kernels.h) */
    bool unit_keys;                         /* takes opts.normalize */
    bool activates;                         /* takes opts.A_log and dt_bias */
    double scale;                           /* unless given; 0: K^-1/2 */
    /* The text composed from operations. `in` are its operands, checked and on the tape. */
    pal_rule_out (*compose)(pal_scan *s, const pal_tensor *in, const pal_rule_opts *opts);
};

#define PAL_RULE(name, test) extern const pal_rule pal_rule_##name;
#include "layers/layers.def"

/*
 * The inputs of the operation behind the fused modes: the rule's operands, then its state, offsets
 * and, where it activates, A_log and dt_bias. Input i; and which input has a place, -1 for none.
 */
int pal_rule_operands(const pal_rule *rule);
int pal_rule_inputs(const pal_rule *rule);
const pal_operand *pal_rule_input(const pal_rule *rule, int i);
int pal_rule_at_place(const pal_rule *rule, int place);
/* The letter of the channels of what the rule has at this place, 0 if there is one number a head or
 * nothing. */
char pal_rule_channels(const pal_rule *rule, int place);

/* Operations of one kind, one for each rule; zero at the start. */
typedef struct pal_rule_ops {
    pal_op op[PAL_RULE_KINDS];
    char args[PAL_RULE_KINDS][160];
} pal_rule_ops;
/* That of this rule, which `make` fills the first time; its arguments are called as the inputs of
 * the rule, and behind them what `more` says. */
const pal_op *pal_rule_op(pal_rule_ops *ops, const pal_rule *rule, const char *more,
                          void (*make)(const pal_rule *rule, pal_op *op));

#endif
