/*
 * recall.c - trains a small model on associative recall, and shows how many pairs it can hold.
 *
 *     recall --mixers gdn2 --pairs 4,8,16
 *     recall --mixers mamba2:state_size=16 --pairs 4,8,16
 *
 * The task is tasks/mqar.c, the training tasks/learn.c.
 */
#include "examples/tasks/options.h"

enum { VOCAB = 'v', LEN = 'l', PAIRS = 'p', FILLER = 'f', PUBLISHED = 'P' };

static const struct argp_option flags[] = {
    {"pairs", PAIRS, "LIST", 0, "pairs of a row: the degrees of difficulty (4,8,16)", 0},
    {"len", LEN, "LIST", 0, "tokens of a row, one for all or one for each of --pairs (64)", 0},
    {"vocab", VOCAB, "N", 0, "tokens: half are keys, half are values (128)", 0},
    {"filler", FILLER, "zero|random", 0, "what lies between the questions (zero)", 0},
    {"published", PUBLISHED, NULL, 0,
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

static error_t parse(int key, char *text, struct argp_state *state)
{
    task_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = o;
        return 0;
    case PAIRS:
        task_options_key(o, "pairs", text);
        return 0;
    case LEN:
        task_options_key(o, "len", text);
        return 0;
    case VOCAB:
        task_options_key(o, "vocab", text);
        return 0;
    case FILLER:
        task_options_key(o, "filler", text);
        return 0;
    case PUBLISHED:
        task_options_key(o, "vocab", "8192");
        task_options_key(o, "len", "64,128,256,256,256");
        task_options_key(o, "pairs", "4,8,16,32,64");
        task_options_key(o, "weights", "5,1,1,1,1");
        task_options_key(o, "test_len", "64,64,64,128,256,512,1024");
        task_options_key(o, "test_pairs", "4,8,16,32,64,128,256");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    const struct argp_child children[] = {{&task_options_argp, 0, "Model and training:", 9}, {0}};
    const struct argp argp = {.options = flags, .parser = parse, .doc = doc, .children = children};
    task_options o = task_options_new("recall", "mqar");
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    task_model m = task_model_new(&o);
    const bool ok = task_model_learn(&m);
    if (ok)
        printf("\nA guess among the values is right %.3f of the time. More pairs, a smaller state "
               "or another\n--mixers show where a memory is full.\n",
               2.0 / (double)task_vocab(m.t));
    task_model_free(&m);
    return !ok;
}
