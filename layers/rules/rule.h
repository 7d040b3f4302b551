/*
 * rule.h - what the library knows of a rule. Each rule has one descriptor, in its own file. The
 * checks, the fused operation, the code for sequences over processes, and programs read it.
 */
#ifndef PAL_RULE_H
#define PAL_RULE_H

#include "layers/parts.h"
#include "layers/rules.h"
#include "layers/rules/kernels.h"

/*
 * Where an operand goes. PAL_Q .. PAL_W have a value for each token and go to the kernels in
 * pal_head.in. A, D, A_log and dt_bias are numbers of a head; their gradients are summed over
 * tokens, in this order. The last two belong to the state and the sequences.
 */
enum {
    PAL_IN_A = PAL_HEAD_ARGS,
    PAL_IN_D,
    PAL_IN_A_LOG,
    PAL_IN_DT_BIAS,
    PAL_IN_B_BIAS,
    PAL_IN_C_BIAS,
    PAL_IN_MIMO_X,
    PAL_IN_STATE, /* the first part of the state; the others follow it */
    PAL_IN_OFFSETS = PAL_IN_STATE + PAL_RULE_STATES,
    PAL_PLACES
};

/*
 * An operand. Each axis is a letter: B, T, H (key heads), J (value heads), K, V, R (ranks), A
 * (angles), S (sequences). E stands for H or J; the tensor may have either. The axes of a value per
 * token begin with BT.
 */
typedef struct pal_operand {
    const char *name, *axes; /* name NULL: there is none */
    int place;
    bool optional;
} pal_operand;

/* The parts of a state that has several: the matrix, Mamba-3's angles, and the last token's k and
 * x. */
enum { PAL_MATRIX, PAL_ANGLES, PAL_LAST_K, PAL_LAST_X };

enum {
    PAL_RULE_OPERANDS = 12,
    PAL_RULE_INPUTS = PAL_RULE_OPERANDS + PAL_RULE_STATES + 3 /* offsets, A_log, dt_bias */
};

typedef struct pal_scan pal_scan;

struct pal_rule {
    const char *name;
    pal_rule_kind kind;                     /* its row in the tables of kernels */
    pal_operand operand[PAL_RULE_OPERANDS]; /* in the order of its function */
    pal_operand state[PAL_RULE_STATES];     /* the parts of its state */
    const char *shown;                      /* letters of axes in messages, as in pal_frame */
    bool erases;                            /* false: U = Z (kernels.h) */
    bool unit_keys;                         /* takes opts.normalize */
    bool activates;                         /* takes opts.A_log and dt_bias */
    bool pairs;                             /* takes opts.pair */
    bool skips;                             /* D x passes by the state, added by the scan */
    double scale;                           /* default of opts.scale; 0: K^-1/2 */
    /* Checks what letters of axes cannot say. NULL: nothing is left to check. */
    bool (*fits)(pal_frame *f, const pal_rule_opts *opts);
    /* The composed form. The operands `in` are checked and on the tape. */
    pal_rule_out (*compose)(pal_scan *s, const pal_tensor *in, const pal_rule_opts *opts);
    /*
     * For sequences over processes: brings the parts of the state beside the matrix that belong to
     * the first sequence here, from the ranks before, and puts them in s->state. Their gradients go
     * back the same way. brought[i] is what came for part i + 1, on every rank, even if nothing
     * continues there. NULL: the matrix is the whole state.
     */
    void (*bring)(pal_scan *s, const pal_part *part, const pal_tensor *in,
                  const pal_rule_opts *opts, pal_tensor *brought);
};

#define PAL_RULE(name, test) extern const pal_rule pal_rule_##name;
#include "layers/layers.def"

/*
 * The inputs of the fused operation are the operands of the rule, then its state, offsets and, if
 * it activates, A_log and dt_bias. These functions return the number of operands, of parts of the
 * state and of inputs, input i, and the index of the input that has a place (-1: there is none).
 */
int pal_rule_operands(const pal_rule *rule);
int pal_rule_states(const pal_rule *rule);
int pal_rule_inputs(const pal_rule *rule);
const pal_operand *pal_rule_input(const pal_rule *rule, int i);
int pal_rule_at_place(const pal_rule *rule, int place);
/* The letter of the channels of the operand at this place: K, V or A. 0: it has one number per
 * head, or there is no such operand. */
char pal_rule_channels(const pal_rule *rule, int place);

/* Operations of one kind, one for each rule. Zero before the first use. */
typedef struct pal_rule_ops {
    pal_op op[PAL_RULE_KINDS];
    char args[PAL_RULE_KINDS][160];
} pal_rule_ops;
/* The operation of this rule; `make` fills it at the first use. Its arguments have the names of the
 * inputs of the rule, followed by the names in `more`. */
const pal_op *pal_rule_op(pal_rule_ops *ops, const pal_rule *rule, const char *more,
                          void (*make)(const pal_rule *rule, pal_op *op));

#endif
