/*
 * rules.c - the operands of the rules by number.
 */
#include "tests/support/rules.h"

int rule_operands(int rule)
{
    int n = 0;
    while (pal_rule_operand(pal_rule_at(rule), n)) n++;
    return n;
}

const char *const *rule_names(int rule)
{
    static const char *names[RULES][PAL_TEST_RULE_INPUTS];
    for (int i = 0; i < rule_operands(rule); i++)
        names[rule][i] = pal_rule_operand(pal_rule_at(rule), i);
    return names[rule];
}
