/* table.k.c - the table of this element type and instruction set. */
#include "layers/rules/kernels/rules.k.h"

extern const pal_rule_table K(rules);
const pal_rule_table K(rules) = {
    .pad = PANEL > 16 ? PANEL : 16,
    .panel = PANEL,
    .group = 4 * VL, /* COLS of tokens.k.c */
    .rule =
        {
#define PAL_RULE(name, test) \
    [PAL_KIND_##name] = {K(name##_prepare), K(name##_pack), K(name##_gradient)},
#include "layers/layers.def"
        },
    .scan = K(scan),
    .keep = K(keep),
    .scan_back = K(scan_back),
    .tokens = K(tokens),
    .ranked_tokens = K(ranked_tokens),
    .panels = K(panels),
    .angles = K(angles),
    .last = K(last),
    .enter = K(enter),
    .ends = K(ends),
    .late_back = K(late_back),
};
