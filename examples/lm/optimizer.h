/*
 * optimizer.h - the optimiser of a program, by text.
 */
#ifndef LM_OPTIMIZER_H
#define LM_OPTIMIZER_H

#include <palimpsest.h>

/* pal_optim_new of a text (pal_optims_check has seen it), with other defaults: the weight decay is
 * `decay`, beta2 of adamw and adam is `beta2`, and sgd has a momentum of 0.9. */
pal_optim *lm_optimizer_new(pal_params *params, const char *text, double decay, double beta2);

#endif
