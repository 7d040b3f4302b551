/*
 * optim_test.c - what the tests of optimisers share.
 */
#include "tests/support/optim_test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pal_error optim_last;

static void note(const pal_error *error, void *user)
{
    (void)user;
    optim_last = *error;
}

void optim_setup(void)
{
    optim_last.status = PAL_OK;
    pal_set_error_handler(note, NULL);
}

void optim_teardown(void)
{
    pal_set_error_handler(NULL, NULL);
    pal_set_threads(0);
}

void optim_fill_value(pal_tensor t, uint64_t seed)
{
    pal_rng rng = pal_rng_new(seed, 1);
    pal_array a = pal_edit(t);
    pal_rng_normal(&rng, &a, 0, 1);
}

/* The gradient of parameter i as one row; of a constant, without memory. */
static pal_array grad_of(const pal_params *p, int i)
{
    pal_span span = pal_params_span(p, i);
    pal_param_block b = pal_params_block(p, span.block);
    return pal_array_of(b.dtype, (pal_shape){.ndim = 1, .dim = {span.count}},
                        (char *)b.grad + (size_t)span.offset * pal_dtype_size(b.dtype));
}

void optim_fill_grad(pal_params *p, uint64_t seed)
{
    for (int i = 0; i < pal_params_count(p); i++) {
        pal_rng rng = pal_rng_new(seed, (uint64_t)i);
        pal_array a = grad_of(p, i);
        if (a.data) pal_rng_normal(&rng, &a, 0, 1);
    }
}

double optim_at(pal_array a, int64_t i)
{
    return a.dtype == PAL_F32 ? (double)((float *)a.data)[i] : ((double *)a.data)[i];
}

double optim_grad_at(pal_params *p, int i, int64_t j) { return optim_at(grad_of(p, i), j); }

bool optim_same(const pal_params *p, const pal_params *q)
{
    for (int i = 0; i < pal_params_count(p); i++) {
        pal_array a = pal_params_array(p, i), b = pal_params_array(q, i);
        size_t bytes = (size_t)pal_params_span(p, i).count * pal_dtype_size(a.dtype);
        if (bytes && memcmp(a.data, b.data, bytes) != 0) return false;
    }
    return pal_params_count(p) == pal_params_count(q);
}

void *optim_meagre(void *memory, size_t old_size, size_t size, void *user)
{
    optim_budget *b = user;
    if (size == 0) {
        b->live -= (int64_t)old_size;
        free(memory);
        return NULL;
    }
    if (b->left-- <= 0) return NULL;
    b->live += (int64_t)size;
    return aligned_alloc(64, (size + 63) / 64 * 64);
}

void optim_temporary(char path[OPTIM_PATH])
{
    strcpy(path, "/tmp/palimpsest-optim-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0) abort();
    close(fd);
}

/* ---- The optimisers ---- */

#define GROUPS .groups = groups, .group_count = n
static pal_optim *new_adamw(pal_params *p, const pal_group *groups, int n)
{
    return pal_adamw_new(p, (pal_adamw_opts){.decay = 0.1, GROUPS});
}
static pal_optim *new_adam(pal_params *p, const pal_group *groups, int n)
{
    return pal_adam_new(p, (pal_adamw_opts){.beta2 = 0.98, .decay = 0.1, GROUPS});
}
static pal_optim *new_sgd(pal_params *p, const pal_group *groups, int n)
{
    return pal_sgd_new(p, (pal_sgd_opts){.decay = 0.1, GROUPS});
}
static pal_optim *new_momentum(pal_params *p, const pal_group *groups, int n)
{
    return pal_sgd_new(p, (pal_sgd_opts){.momentum = 0.9, .decay = 0.1, GROUPS});
}
static pal_optim *new_nesterov(pal_params *p, const pal_group *groups, int n)
{
    return pal_sgd_new(p, (pal_sgd_opts){.momentum = 0.8, .nesterov = true, .decay = 0.1, GROUPS});
}
static pal_optim *new_lion(pal_params *p, const pal_group *groups, int n)
{
    return pal_lion_new(p, (pal_lion_opts){.decay = 0.1, GROUPS});
}
static pal_optim *new_muon(pal_params *p, const pal_group *groups, int n)
{
    return pal_muon_new(p, (pal_muon_opts){.decay = 0.1, GROUPS});
}
static pal_optim *new_muon_rms(pal_params *p, const pal_group *groups, int n)
{
    return pal_muon_new(
        p, (pal_muon_opts){.scale = PAL_MUON_RMS, .no_nesterov = true, .decay = 0.1, GROUPS});
}

const optim_kind optim_kinds[OPTIM_KINDS] = {
    {"adamw", new_adamw},  {"adam", new_adam}, {"sgd", new_sgd},   {"sgd", new_momentum},
    {"sgd", new_nesterov}, {"lion", new_lion}, {"muon", new_muon}, {"muon", new_muon_rms}};
