/*
 * state.c - trains a small model to track a state: the parity of bits, or the product of
 * permutations.
 *
 *     state --mixers gdn2:allow_neg_eigval=true
 *     state --task s3 --mixers gdn2
 *
 * The tasks are tasks/state.c, the rest tasks/program.c.
 */
#include "examples/tasks/program.h"

enum { MIN = 256, MAX, DENSE }; /* without a letter */

static const struct argp_option flags[] = {
    {"task", 't', "parity|s3|a5|s5", 0, "what is tracked (parity)", 0},
    {"min", MIN, "N", 0, "of parity: the shortest training row (3)", 0},
    {"max", MAX, "N", 0, "of parity: the longest (40)", 0},
    {"dense", DENSE, "BOOL", OPTION_ARG_OPTIONAL,
     "of parity: in training the model is asked after every bit, and not after the last alone", 0},
    {"len", 'l', "LIST", 0, "of the groups: elements of a training row (16)", 0},
    {"test-len", 'L', "LIST", 0, "lengths of the tests (parity 40,80,128,256; groups 16,32,64)", 0},
    {0},
};

static const char doc[] =
    "State tracking. Parity: bits, and whether an odd number of them is set. s3, a5 and s5: "
    "permutations of three or five things, and at every place the product of all so far:\n\n"
    "  1 0 1 1 0 [1: 0]            [213: 213] [213: 123] [231: 231]\n\n"
    "Training has short rows, tests have long ones: who has learned the rule can go on, who has "
    "learned to recognise short rows cannot. A state that only adds and fades loses count. A delta "
    "rule with erase gates in [0, 1] can forget a line of the page, but not turn its sign; with "
    "allow_neg_eigval=true gates run to 2, a step can be a reflection, and one flip a bit is "
    "parity. Products of reflections are permutations: S3 needs two of them a step, and more "
    "layers help."
    "\vTry:\n\n"
    "  state --show 2\n"
    "  state --dense --no-mlp --steps 100 --lr 1e-2 --mixers "
    "gdn2:num_heads=4:head_dim=16:use_short_conv=false:allow_neg_eigval=true\n"
    "  the same with allow_neg_eigval=false\n"
    "  state --dense --mixers mamba2\n"
    "  state --dense --mixers mamba3 --lr 3e-3 --steps 2000\n"
    "  state --task s3 --mixers gdn2:allow_neg_eigval=true --layers 3\n\n"
    "Once the loss is nothing, more steps can make long rows worse: what short rows do not ask for "
    "still moves. "
    "Seeds differ here more than elsewhere: look at several.";

static void say(const task *t)
{
    printf("\nA guess is right %.3f of the time. Rows that are longer than those of the training "
           "tell\nwhether the rule was found; allow_neg_eigval=true is what to compare.\n",
           1.0 / (double)task_vocab(t));
}

static const task_program program = {
    .name = "state",
    .tasks = "parity|s3|a5|s5",
    .flags = flags,
    .doc = doc,
    .say = say,
};

int main(int argc, char **argv) { return task_main(&program, argc, argv); }
