/* rules.k.h - what the kernels of this folder share: the vocabulary, and the prototypes. */
#ifndef PAL_RULES_K_H
#define PAL_RULES_K_H

#include "layers/rules/kernels/chunk.k.h"

pal_panels_fn K(panels);
pal_scan_fn K(scan);
pal_scan_back_fn K(scan_back);
pal_tokens_fn K(tokens);

#define PAL_RULE_KERNELS(name)                        \
    pal_prepare_fn K(name##_prepare), K(name##_pack); \
    pal_gradient_fn K(name##_gradient);
PAL_RULE_KERNELS(gdn2)
PAL_RULE_KERNELS(kda)
PAL_RULE_KERNELS(gdn)
PAL_RULE_KERNELS(deltanet)
PAL_RULE_KERNELS(mamba2)
#undef PAL_RULE_KERNELS

#endif
