/*
 * needle.c - trains a small model of bytes to find a needle in a haystack.
 *
 *     needle --len 192 --digits 2
 *     needle --kind multi-key --len 512 --mixers gdn2,swa
 *
 * The task is tasks/needle.c, the rest tasks/program.c.
 */
#include "examples/tasks/program.h"

static const struct argp_option flags[] = {
    {"kind", 'k', "KIND", 0,
     "single-noise-number: one sentence repeated around it (RULER's S-NIAH-1). "
     "single-essay-number: prose (S-NIAH-2). single-essay-uuid: 36 characters to keep (S-NIAH-3). "
     "multi-key: several needles of which one is asked for (MK-NIAH-1) (single-noise-number)",
     0},
    {"len", 'l', "LIST", 0, "bytes of a row (256)", 0},
    {"test-len", 'L', "LIST", 0, "of tests (those of --len)", 0},
    {"digits", 'd', "N", 0, "of the number (4; RULER has 7)", 0},
    {"keys", 'n', "N", 0, "needles of multi-key (4)", 0},
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

static void say(const task *t)
{
    printf("\nA guess that knows the form of a value is right %.3f of the time. Longer --test-len "
           "show how\nlong the needle is kept.\n",
           task_chance(t));
}

static const task_program program = {
    .name = "needle",
    .tasks = "needle",
    .flags = flags,
    .doc = doc,
    .say = say,
};

int main(int argc, char **argv) { return task_main(&program, argc, argv); }
