/*
 * rule.c - reads the descriptor of a rule: its operands, and the inputs of operations on them.
 */
#include "layers/rules/rule.h"

#include <pthread.h>
#include <string.h>

const char *pal_rule_name(const pal_rule *rule) { return rule->name; }

/* How many of at most `most` there are. */
static int count(const pal_operand *x, int most)
{
    int n = 0;
    while (n < most && x[n].name) n++;
    return n;
}
int pal_rule_operands(const pal_rule *rule) { return count(rule->operand, PAL_RULE_OPERANDS); }
int pal_rule_states(const pal_rule *rule) { return count(rule->state, PAL_RULE_STATES); }

const char *pal_rule_operand(const pal_rule *rule, int i)
{
    return i >= 0 && i < pal_rule_operands(rule) ? rule->operand[i].name : NULL;
}

const char *pal_rule_axes(const pal_rule *rule, int i)
{
    return i >= 0 && i < pal_rule_operands(rule) ? rule->operand[i].axes : NULL;
}

const char *pal_rule_state(const pal_rule *rule, int i)
{
    return i >= 0 && i < pal_rule_states(rule) ? rule->state[i].name : NULL;
}

const char *pal_rule_state_axes(const pal_rule *rule, int i)
{
    return i >= 0 && i < pal_rule_states(rule) ? rule->state[i].axes : NULL;
}

/* ---- Inputs of the operation ---- */

static const pal_operand after_state[] = {
    {"offsets", "N", PAL_IN_OFFSETS, true},
    {"A_log", "E", PAL_IN_A_LOG, true},
    {"dt_bias", "D", PAL_IN_DT_BIAS, true},
};

int pal_rule_inputs(const pal_rule *rule)
{
    return pal_rule_operands(rule) + pal_rule_states(rule) + 1 + 2 * rule->activates;
}

const pal_operand *pal_rule_input(const pal_rule *rule, int i)
{
    const int n = pal_rule_operands(rule), m = n + pal_rule_states(rule);
    return i < n ? &rule->operand[i] : i < m ? &rule->state[i - n] : &after_state[i - m];
}

int pal_rule_at_place(const pal_rule *rule, int place)
{
    for (int i = pal_rule_inputs(rule) - 1; i >= 0; i--)
        if (pal_rule_input(rule, i)->place == place) return i;
    return -1;
}

char pal_rule_channels(const pal_rule *rule, int place)
{
    const int i = pal_rule_at_place(rule, place);
    const char *axes = i < 0 ? "" : pal_rule_input(rule, i)->axes;
    const char last = *axes ? axes[strlen(axes) - 1] : 0;
    return last && strchr("KVA", last) ? last : 0;
}

static void name_inputs(const pal_rule *rule, const char *more, char *text, size_t room)
{
    size_t n = 0;
    for (int i = 0; i < pal_rule_inputs(rule) && n < room; i++)
        n += (size_t)snprintf(text + n, room - n, "%s%s", i ? " " : "",
                              pal_rule_input(rule, i)->name);
    if (n < room) snprintf(text + n, room - n, "%s%s", *more ? " " : "", more);
}

const pal_op *pal_rule_op(pal_rule_ops *ops, const pal_rule *rule, const char *more,
                          void (*make)(const pal_rule *rule, pal_op *op))
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pal_op *op = &ops->op[rule->kind];
    char *args = ops->args[rule->kind];
    pthread_mutex_lock(&lock);
    if (!op->args) {
        make(rule, op);
        name_inputs(rule, more, args, sizeof ops->args[rule->kind]);
        op->args = args;
    }
    pthread_mutex_unlock(&lock);
    return op;
}
