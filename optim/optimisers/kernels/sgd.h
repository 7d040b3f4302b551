/* sgd.h - the numbers of the kernels of gradient descent. */
#ifndef PAL_KERNELS_SGD_H
#define PAL_KERNELS_SGD_H

#include <stdbool.h>

typedef struct pal_sgd_numbers {
    double rate, momentum, l2;
    bool nesterov;
} pal_sgd_numbers;

#endif
