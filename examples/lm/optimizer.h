/*
 * optimizer.h - the optimiser of a program, by text.
 */
#ifndef LM_OPTIMIZER_H
#define LM_OPTIMIZER_H

#include "examples/lm/options.h"

/* pal_optim_new of a text (pal_optims_check has seen it), with other defaults: the weight decay is
 * `decay`, beta2 of adamw and adam is `beta2`, and sgd has a momentum of 0.9. */
pal_optim *lm_optimizer_new(pal_params *params, const char *text, double decay, double beta2,
                            const pal_group *groups, int group_count);

/* ---- Parts of a model: lists of patterns (fnmatch) of parameters' names, with commas between */

enum { LM_PARTS = 64 }; /* patterns in a list */
/* PAL_EVALUE if a text is no list of patterns, or none of pattern=factor with factors above 0. */
pal_status lm_patterns_check(const char *text, pal_error *error);
pal_status lm_factors_check(const char *text, pal_error *error);
/* The optimiser of a run, after `freeze` and with the groups of `schedule_of` and `lr_of`.
 * PAL_EVALUE for a pattern that matches no parameter, and if nothing is left that trains; the
 * sentence begins with the flag.
 */
PAL_CHECKED pal_status lm_optimizer_of(pal_optim **optim, pal_params *params, const lm_options *o,
                                       pal_error *error);
/* A line on how much of the model trains, if not all of it at the same rate. */
void lm_print_parts(const pal_params *params, const lm_options *o);

#endif
