/*
 * list.c - the rules by number and by name.
 */
#include "layers/rules/rule.h"

#include <string.h>

static const pal_rule *const rules[] = {
#define PAL_RULE(name, test) &pal_rule_##name,
#include "layers/layers.def"
};

enum { RULES = sizeof rules / sizeof *rules };

const pal_rule *pal_rule_at(int i) { return i >= 0 && i < RULES ? rules[i] : NULL; }

const pal_rule *pal_rule_find(const char *name)
{
    for (int i = 0; i < RULES; i++)
        if (strcmp(rules[i]->name, name) == 0) return rules[i];
    return NULL;
}
