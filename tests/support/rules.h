/*
 * rules.h - the rules of layers.def behind one signature, for tests that treat them alike.
 */
#ifndef PAL_TESTS_RULES_H
#define PAL_TESTS_RULES_H

#include "layers/layers.h"

enum { PAL_TEST_RULE_INPUTS = 6 };
/* As indices of pal_test_rules. */
enum { RULE_GDN2, RULE_KDA, RULE_GDN, RULE_DELTANET, RULE_MAMBA2, RULES };

typedef struct pal_test_rule {
    const char *name;
    int nin;
    const char
        *input[PAL_TEST_RULE_INPUTS]; /* in the order of the call, without state and offsets */
    pal_rule_out (*run)(const pal_tensor *in, pal_rule_opts opts);
} pal_test_rule;

extern const pal_test_rule pal_test_rules[RULES];

#endif
