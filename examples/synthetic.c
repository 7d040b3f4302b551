/*
 * synthetic.c - trains a small model to copy, to reverse or to keep stacks.
 *
 *     synthetic --task palindrome --len 16,32
 *     synthetic --task stack --stacks 8
 *
 * The tasks are tasks/synthetic.c, the rest tasks/program.c.
 */
#include "examples/tasks/program.h"

static const struct argp_option flags[] = {
    {"task", 't', "palindrome|copy|stack", 0, "(palindrome)", 0},
    {"len", 'l', "LIST", 0, "tokens of a row (16,32; stack 48,96)", 0},
    {"test-len", 'L', "LIST", 0, "of tests (those of --len)", 0},
    {"symbols", 's', "N", 0, "different ones (16)", 0},
    {"stacks", 'S', "N", 0, "of stack (4; the paper has 64)", 0},
    {0},
};

static const char doc[] =
    "Keeping a sequence. Copy and palindrome: symbols, a separator, and the symbols again, or "
    "backwards. Stack: symbols are pushed on several stacks and taken from them:\n\n"
    "  a d b [|: a] [a: d] [d: b]          a d b [|: b] [b: d] [d: a]\n"
    "  PUSH 2 a PUSH 0 b PUSH 2 c POP [2: c] c POP [2: a] a\n\n"
    "The first two fill the memory with as much as the row is long and read all of it: a memory "
    "whose state is smaller than that, or that fades, forgets the beginning, and the palindrome "
    "asks for the beginning last. Stacks stay small, but what was on top has to be taken away "
    "before the next below can be read: a rule that erases by key can do that, one that only "
    "fades cannot."
    "\vTry:\n\n"
    "  synthetic --show 2 --task stack\n"
    "  synthetic --task palindrome --mixers kda\n"
    "  synthetic --task palindrome --mixers mamba2\n"
    "  synthetic --task copy --len 16,32 --test-len 16,32,48\n"
    "  synthetic --task stack --stacks 8 --steps 2000";

static void say(const task *t)
{
    (void)t;
    printf("\nWhole rows are the number that counts: a row is right if every symbol is. Longer "
           "--len fill the\nmemory; longer --test-len ask for what was not practised.\n");
}

static const task_program program = {
    .name = "synthetic",
    .tasks = "palindrome|copy|stack",
    .flags = flags,
    .doc = doc,
    .say = say,
};

int main(int argc, char **argv) { return task_main(&program, argc, argv); }
