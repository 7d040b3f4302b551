/* muon.h - the numbers of the kernels of Muon. */
#ifndef PAL_KERNELS_MUON_H
#define PAL_KERNELS_MUON_H

#include <stdbool.h>

typedef struct pal_muon_numbers {
    double momentum;
    bool nesterov;
    double rate, decay; /* lr times the factor of the shape, lr times weight decay */
} pal_muon_numbers;

#endif
