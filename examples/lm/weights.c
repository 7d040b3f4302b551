/*
 * weights.c - the parameters of a checkpoint, or their average.
 */
#include "examples/lm/weights.h"

#include <string.h>

/* Where a checkpoint has the average, by the names of the parameters (docs/training.md). */
static const char AVERAGE[] = "/average/a";

pal_status lm_weights_load(pal_params *params, const char *path, bool last, bool *averaged,
                           pal_error *error)
{
    pal_h5 *file;
    pal_status s = pal_h5_open(&file, path, error);
    if (s != PAL_OK) return s;
    *averaged = !last && pal_h5_has(file, AVERAGE);
    s = pal_params_get(params, file, *averaged ? AVERAGE : "/params", error);
    pal_h5_close(file);
    return s;
}

static uint64_t add(uint64_t sum, const void *data, size_t size)
{
    const unsigned char *byte = data;
    for (size_t i = 0; i < size; i++) sum = (sum ^ byte[i]) * UINT64_C(1099511628211);
    return sum;
}

char *lm_weights_sum(const pal_params *params, char text[LM_SUM])
{
    uint64_t sum = UINT64_C(14695981039346656037);
    for (int i = 0; i < pal_params_count(params); i++) {
        const pal_array a = pal_params_array(params, i);
        const char *name = pal_params_name(params, i);
        sum = add(sum, name, strlen(name) + 1);
        sum = add(sum, a.data, (size_t)pal_array_count(&a) * pal_dtype_size(a.dtype));
    }
    snprintf(text, LM_SUM, "%016llx", (unsigned long long)sum);
    return text;
}
