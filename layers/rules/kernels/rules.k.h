/* rules.k.h - what the kernels of this folder share: the functions for tiles, and the
 * prototypes. */
#ifndef PAL_RULES_K_H
#define PAL_RULES_K_H

#include "layers/kernels/tiles.k.h"
#include "layers/rules/kernels.h"

pal_panels_fn K(panels);
pal_scan_fn K(scan);
pal_scan_back_fn K(scan_back);
pal_tokens_fn K(tokens);

#define PAL_RULE(name, test)                          \
    pal_prepare_fn K(name##_prepare), K(name##_pack); \
    pal_gradient_fn K(name##_gradient);
#include "layers/layers.def"

#endif
