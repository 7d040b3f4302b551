/* rules.k.h - what the kernels of this folder share: the functions for tiles, and the
 * prototypes. */
#ifndef PAL_RULES_K_H
#define PAL_RULES_K_H

#include "layers/kernels/tiles.k.h"
#include "layers/rules/kernels.h"

pal_panels_fn K(panels);
pal_scan_fn K(scan);
pal_keep_fn K(keep);
pal_scan_back_fn K(scan_back);
pal_tokens_fn K(tokens), K(ranked_tokens);
pal_angles_fn K(angles);
pal_last_fn K(last);
pal_enter_fn K(enter);
pal_ends_fn K(ends);
pal_late_fn K(late_back);
void K(wedge)(const pal_rule_shape *s, const void *dS, const void *S, int64_t row, int64_t cols,
              int64_t blocks, double sign, double *out);
R K(enter_back)(const pal_rule_shape *s, const pal_head *h, const void *dS, const pal_head_grad *g,
                void *values, const void *Phi);

#define PAL_RULE(name, test)                          \
    pal_prepare_fn K(name##_prepare), K(name##_pack); \
    pal_gradient_fn K(name##_gradient);
#include "layers/layers.def"

#endif
