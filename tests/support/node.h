/*
 * node.h - what builders of tests ask of a tensor, and users never need to: they know their tape.
 */
#ifndef PAL_TESTS_NODE_H
#define PAL_TESTS_NODE_H

#include "autograd/autograd.h"

/* The tape of a tensor that is not a parameter; NULL: it has no tape. */
pal_tape *tape_of(pal_tensor t);
/* Whether backward passes a gradient through the tensor; whether it was asked for as a leaf. */
bool needs_grad(pal_tensor t);
bool wants_grad(pal_tensor t);

#endif
