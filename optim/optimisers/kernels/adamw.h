/* adamw.h - the numbers of the kernels of AdamW and Adam. */
#ifndef PAL_KERNELS_ADAMW_H
#define PAL_KERNELS_ADAMW_H

#include <stdbool.h>

typedef struct pal_adamw_numbers {
    double beta1, one_beta1; /* beta1, 1 - beta1 */
    double beta2, one_beta2;
    double rate;    /* lr / (1 - beta1^t) */
    double correct; /* 1 / sqrt(1 - beta2^t) */
    double eps;
    double decay; /* lr times weight decay, which does not enter the moments */
    double l2;    /* weight decay that is added to the gradient */
} pal_adamw_numbers;

#endif
