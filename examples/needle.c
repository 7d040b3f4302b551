/*
 * needle.c - trains a small model of bytes to find a needle in a haystack.
 *
 *     needle --len 192 --digits 2
 *     needle --kind multi-key --len 512 --mixers gdn2,swa
 *
 * The task is tasks/needle.c, the training tasks/learn.c.
 */
#include "examples/tasks/options.h"

enum { KIND = 'k', LEN = 'l', TEST_LEN = 'L', DIGITS = 'd', KEYS = 'n' };

static const struct argp_option flags[] = {
    {"kind", KIND, "KIND", 0,
     "single-noise-number: one sentence repeated around it (RULER's S-NIAH-1). "
     "single-essay-number: prose (S-NIAH-2). single-essay-uuid: 36 characters to keep (S-NIAH-3). "
     "multi-key: several needles of which one is asked for (MK-NIAH-1) (single-noise-number)",
     0},
    {"len", LEN, "LIST", 0, "bytes of a row (256)", 0},
    {"test-len", TEST_LEN, "LIST", 0, "of tests (those of --len)", 0},
    {"digits", DIGITS, "N", 0, "of the number (4; RULER has 7)", 0},
    {"keys", KEYS, "N", 0, "needles of multi-key (4)", 0},
    {0},
};

static const char doc[] =
    "A needle in a haystack, in bytes. One sentence of a long text names a number, and the end "
    "asks "
    "for it:\n\n"
    "  ... One of the special magic numbers for quiet-river is: 4071. ... What is the special "
    "magic "
    "number for quiet-river? It is: [4071]\n\n"
    "Attention finds the sentence however far it is. A memory of fixed size has to see that it "
    "matters when it comes, and keep it through all that follows: what fades at one rate for "
    "everything has lost it after a while, gates by channel can keep it, and a memory that "
    "overwrites by key is not filled up by noise that repeats itself. Prose is harder than noise, "
    "36 characters are harder than four, and several needles want a page on which they do not mix."
    "\vTry:\n\n"
    "  needle --show 1\n"
    "  needle --digits 2 --len 192 --steps 1500\n"
    "  needle --digits 2 --len 192 --test-len 192,384,768\n"
    "  needle --kind multi-key --keys 2 --len 384 --steps 3000\n\n"
    "Whole rows are the number that counts: every character of the value was right.";

static error_t parse(int key, char *text, struct argp_state *state)
{
    task_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = o;
        return 0;
    case KIND:
        task_options_key(o, "kind", text);
        return 0;
    case LEN:
        task_options_key(o, "len", text);
        return 0;
    case TEST_LEN:
        task_options_key(o, "test_len", text);
        return 0;
    case DIGITS:
        task_options_key(o, "digits", text);
        return 0;
    case KEYS:
        task_options_key(o, "keys", text);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    const struct argp_child children[] = {{&task_options_argp, 0, "Model and training:", 9}, {0}};
    const struct argp argp = {.options = flags, .parser = parse, .doc = doc, .children = children};
    task_options o = task_options_new("needle", "needle");
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    task_model m = task_model_new(&o);
    const bool ok = task_model_learn(&m);
    if (ok)
        printf("\nA guess among ten digits is right 0.1 of the time, among sixteen 0.06. Longer "
               "--test-len show how\nlong the needle is kept.\n");
    task_model_free(&m);
    return !ok;
}
