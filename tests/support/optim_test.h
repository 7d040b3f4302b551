/*
 * optim_test.h - what the tests of optimisers share: numbers drawn by seed, single elements, the
 * last error, memory that runs out, and parameters compared.
 */
#ifndef TESTS_OPTIM_TEST_H
#define TESTS_OPTIM_TEST_H

#include "optim/optim.h"

/* The last error that was told to the handler between setup and teardown. */
extern pal_error optim_last;
void optim_setup(void);
void optim_teardown(void);

/* Normal numbers that depend on the seed alone: in a parameter; in all gradients. */
void optim_fill_value(pal_tensor t, uint64_t seed);
void optim_fill_grad(pal_params *p, uint64_t seed);
double optim_at(pal_array a, int64_t i);
double optim_grad_at(pal_params *p, int i, int64_t j);
/* Whether all values have the same bits. */
bool optim_same(const pal_params *p, const pal_params *q);

/* Every optimiser, with options that are not the defaults and decay 0.1. */
typedef struct optim_kind {
    const char *name;
    pal_optim *(*make)(pal_params *p, const pal_group *groups, int n);
} optim_kind;
enum { OPTIM_KINDS = 8 };
extern const optim_kind optim_kinds[OPTIM_KINDS];

/* An allocator that gives `left` times. */
typedef struct optim_budget {
    int64_t left, live;
} optim_budget;
void *optim_meagre(void *memory, size_t old_size, size_t size, void *user);

/* An empty file of its own. */
enum { OPTIM_PATH = 64 };
void optim_temporary(char path[OPTIM_PATH]);

#endif
