/* table.k.c - the table of this element type and instruction set. */
#include "layers/rules/kernels/rules.k.h"

#define PAL_RULE(name)                                        \
    {                                                         \
        K(name##_prepare), K(name##_pack), K(name##_gradient) \
    }

extern const pal_rule_table K(rules);
const pal_rule_table K(rules) = {
    .pad = PANEL > 16 ? PANEL : 16,
    .panel = PANEL,
    .group = 4 * VL, /* COLS of tokens.k.c */
    .rule = {[PAL_GDN2] = PAL_RULE(gdn2),
             [PAL_KDA] = PAL_RULE(kda),
             [PAL_GDN] = PAL_RULE(gdn),
             [PAL_DELTANET] = PAL_RULE(deltanet),
             [PAL_MAMBA2] = PAL_RULE(mamba2)},
    .scan = K(scan),
    .scan_back = K(scan_back),
    .tokens = K(tokens),
    .panels = K(panels),
};
