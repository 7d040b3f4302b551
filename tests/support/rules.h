/*
 * rules.h - the rules of layers.def by number, for tests that run all of them.
 */
#ifndef PAL_TESTS_RULES_H
#define PAL_TESTS_RULES_H

#include "layers/layers.h"

enum { PAL_TEST_RULE_INPUTS = 12 };
/* RULE_gdn2, ...: the i of pal_rule_at. The delta rules come before mamba2, those with a decay
 * before deltanet. */
enum {
#define PAL_RULE(name, test) RULE_##name,
#include "layers/layers.def"
    /* Those whose state is one matrix. Mamba-3 has other axes, and tests of its own
       (test_mamba3.c). */
    RULES = RULE_mamba3
};

/* How many operands a rule has, and their names, in the order of the call. */
int rule_operands(int rule);
const char *const *rule_names(int rule);

#endif
