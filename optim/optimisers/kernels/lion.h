/* lion.h - the numbers of the kernels of Lion. */
#ifndef PAL_KERNELS_LION_H
#define PAL_KERNELS_LION_H

#include <stdbool.h>

typedef struct pal_lion_numbers {
    double beta1, one_beta1, beta2, one_beta2;
    double rate, decay; /* lr, lr times weight decay */
} pal_lion_numbers;

#endif
