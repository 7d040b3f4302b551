/*
 * synthetic.c - trains a small model to copy, to reverse or to keep stacks.
 *
 *     synthetic --task palindrome --len 16,32
 *     synthetic --task stack --stacks 8
 *
 * The tasks are tasks/synthetic.c, the training tasks/learn.c.
 */
#include "examples/tasks/options.h"

enum { TASK = 't', LEN = 'l', TEST_LEN = 'L', SYMBOLS = 's', STACKS = 'S' };

static const struct argp_option flags[] = {
    {"task", TASK, "palindrome|copy|stack", 0, "(palindrome)", 0},
    {"len", LEN, "LIST", 0, "tokens of a row (16,32; stack 48,96)", 0},
    {"test-len", TEST_LEN, "LIST", 0, "of tests (those of --len)", 0},
    {"symbols", SYMBOLS, "N", 0, "different ones (16)", 0},
    {"stacks", STACKS, "N", 0, "of stack (4; the paper has 64)", 0},
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

static error_t parse(int key, char *text, struct argp_state *state)
{
    task_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = o;
        return 0;
    case TASK:
        o->task = text;
        return 0;
    case LEN:
        task_options_key(o, "len", text);
        return 0;
    case TEST_LEN:
        task_options_key(o, "test_len", text);
        return 0;
    case SYMBOLS:
        task_options_key(o, "symbols", text);
        return 0;
    case STACKS:
        task_options_key(o, "stacks", text);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    const struct argp_child children[] = {{&task_options_argp, 0, "Model and training:", 9}, {0}};
    const struct argp argp = {.options = flags, .parser = parse, .doc = doc, .children = children};
    task_options o = task_options_new("synthetic", "palindrome");
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    task_model m = task_model_new(&o);
    const bool ok = task_model_learn(&m);
    if (ok)
        printf("\nWhole rows are the number that counts: a row is right if every symbol is. Longer "
               "--len fill the\nmemory; longer --test-len ask for what was not practised.\n");
    task_model_free(&m);
    return !ok;
}
