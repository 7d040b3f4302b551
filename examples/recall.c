/*
 * recall.c - trains a small model on associative recall, and shows how many pairs it can hold.
 *
 *     recall --mixers gdn2 --pairs 4,8,16
 *     recall --mixers mamba2:state_size=16 --pairs 4,8,16
 *
 * The task is tasks/mqar.c, the rest tasks/program.c.
 */
#include "examples/tasks/program.h"

static const struct argp_option flags[] = {
    {"pairs", 'p', "LIST", 0, "pairs of a row: the degrees of difficulty (4,8,16)", 0},
    {"len", 'l', "LIST", 0, "tokens of a row, one for all or one for each of --pairs (64)", 0},
    {"vocab", 'v', "N", 0, "tokens: half are keys, half are values (128)", 0},
    {"filler", 'f', "zero|random", 0, "what lies between the questions (zero)", 0},
    {"published", 'P', NULL, 0,
     "the setting of the paper: vocabulary 8192, up to 64 pairs in training and 256 in tests", 0},
    {0},
};

static const char doc[] =
    "Associative recall. A row has pairs of a key and a value, and then some of the keys again; "
    "after each, the model has to say its value:\n\n"
    "  k3 v7 k1 v2 . . [k1: v2] . [k3: v7]\n\n"
    "Attention looks the pair up. A memory of fixed size has to hold all pairs at once, without "
    "knowing which will be asked for: how many it can hold depends on its size (heads times key "
    "width times value width) and on its rule. One that only adds lets pairs blur each other; the "
    "delta rule first takes back what the page says under the key, then writes."
    "\vTry:\n\n"
    "  recall --show 2\n"
    "  recall --mixers mamba2 --pairs 8,16,32 --len 128\n"
    "  recall --mixers gdn2:num_heads=2:head_dim=16 --pairs 8,16,32 --len 128\n"
    "  recall --mixers attn\n\n"
    "Training tells much at the beginning: the loss stays at that of a guess, log(vocab / 2), for "
    "a while, until the model has found that a value belongs to the key before it.";

static void say(const task *t)
{
    printf("\nA guess among the values is right %.3f of the time. More pairs, a smaller state "
           "or another\n--mixers show where a memory is full.\n",
           task_chance(t));
}

static const task_program program = {
    .name = "recall",
    .tasks = "mqar",
    .flags = flags,
    .preset = ":vocab=8192:len=64,128,256,256,256:pairs=4,8,16,32,64:weights=5,1,1,1,1:"
              "test_len=64,64,64,128,256,512,1024:test_pairs=4,8,16,32,64,128,256",
    .doc = doc,
    .say = say,
};

int main(int argc, char **argv) { return task_main(&program, argc, argv); }
