/* node.c - the only place where builders of tests look into a node. */
#include "tests/support/node.h"
#include "autograd/internal.h"

pal_tape *tape_of(pal_tensor t) { return t.node->owner ? pal_tape_of(t.node) : NULL; }
bool needs_grad(pal_tensor t) { return t.node->needs_grad; }
bool wants_grad(pal_tensor t) { return t.node->wanted; }
