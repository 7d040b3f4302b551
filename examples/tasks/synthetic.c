/*
 * synthetic.c - three tasks of keeping a sequence: say it again, say it backwards, and follow
 * stacks.
 *
 *     copy         a b c d | a b c d
 *     palindrome   a b c d | d c b a
 *     stack        PUSH 2 a, PUSH 0 b, POP 2: what comes?
 *
 * Copying and reversing fill the memory with everything and read all of it once. Stacks are many
 * small memories, each of which is overwritten and uncovered again; a memory that cannot take back
 * what it wrote fails there.
 * Source: Kimi Team 2025 (arXiv 2510.26692, section 5.1): palindrome and stack, there of 64 stacks.
 */
#include "examples/tasks/internal.h"

enum { PALINDROME, COPY, STACK };
enum { MOST_STACKS = 256 };

/* ---- Copy and palindrome: token 0 is the separator, 1 .. symbols are symbols ---- */

static const pal_key sequence_keys[] = {
    {"symbols", PAL_KEY_WHOLE, TASK_FIELD(is.synthetic.symbols), .low = 2, .high = TASK_WORDS - 1},
    {"len", PAL_KEY_WHOLES, TASK_FIELD(len), .low = 2, .high = TASK_LONGEST, .required = true},
    {"test_len", PAL_KEY_WHOLES, TASK_FIELD(test_len), .low = 2, .high = TASK_LONGEST},
};

static pal_status sequence_begin(task *t, pal_error *error)
{
    t->vocab = t->is.synthetic.symbols + 1;
    return task_points_by_len(t, 2, 2, error);
}

/* n symbols, the separator, and the answer but for its last symbol, after which nothing comes: 2 n
 * tokens. */
static void sequence_row(const task *t, task_split split, const task_point *p, pal_rng *rng,
                         int64_t *tokens, int64_t *targets)
{
    const int64_t n = p->len / 2;
    (void)split;
    for (int64_t i = 0; i < n; i++) tokens[i] = 1 + pal_rng_below(rng, t->is.synthetic.symbols);
    for (int64_t i = 0; i < n; i++) {
        targets[n + i] = tokens[t->kind->variant == COPY ? i : n - 1 - i];
        if (i + 1 < n) tokens[n + 1 + i] = targets[n + i];
    }
}

static void letter(int64_t symbol, char text[TASK_WORD])
{
    if (symbol < 26)
        snprintf(text, TASK_WORD, "%c", (char)('a' + symbol));
    else
        snprintf(text, TASK_WORD, "x%lld", (long long)symbol);
}

static void sequence_word(const task *t, int64_t token, char text[TASK_WORD])
{
    (void)t;
    if (token == 0)
        snprintf(text, TASK_WORD, "|");
    else
        letter(token - 1, text);
}

/* ---- Stacks: 0 filler, 1 PUSH, 2 POP, then the stacks, then the symbols ---- */

enum { PUSH = 1, POP, FIRST_STACK };

static const pal_key stack_keys[] = {
    {"stacks", PAL_KEY_WHOLE, TASK_FIELD(is.synthetic.stacks), .low = 1, .high = MOST_STACKS},
    {"symbols", PAL_KEY_WHOLE, TASK_FIELD(is.synthetic.symbols), .low = 2,
     .high = TASK_WORDS - FIRST_STACK - MOST_STACKS},
    {"len", PAL_KEY_WHOLES, TASK_FIELD(len), .low = 6, .high = TASK_LONGEST, .required = true},
    {"test_len", PAL_KEY_WHOLES, TASK_FIELD(test_len), .low = 6, .high = TASK_LONGEST},
};

static pal_status stack_begin(task *t, pal_error *error)
{
    t->vocab = FIRST_STACK + t->is.synthetic.stacks + t->is.synthetic.symbols;
    return task_points_by_len(t, 6, 1, error);
}

/* One of the stacks that have something; there is one. */
static int64_t some_full(const int64_t *top, int64_t stacks, pal_rng *rng)
{
    int64_t full = 0, i = -1;
    for (int64_t s = 0; s < stacks; s++) full += top[s] >= 0;
    for (int64_t left = pal_rng_below(rng, full); left >= 0; left -= top[i] >= 0) i++;
    return i;
}

/*
 * Operations of three tokens. Where there is anything, half of them take something, and the last
 * one always does; where there is nothing, they push. What is pushed remembers the push below it,
 * so that a stack is the place of its top.
 */
static void stack_row(const task *t, task_split split, const task_point *p, pal_rng *rng,
                      int64_t *tokens, int64_t *targets)
{
    const int64_t stacks = t->is.synthetic.stacks, n = p->len / 3;
    int64_t top[MOST_STACKS], below[TASK_LONGEST / 3], filled = 0;
    (void)split;
    for (int64_t s = 0; s < stacks; s++) top[s] = -1;
    for (int64_t i = 0; i < n; i++) {
        int64_t *op = tokens + 3 * i;
        const bool pops = filled > 0 && (i == n - 1 || pal_rng_below(rng, 2));
        const int64_t s = pops ? some_full(top, stacks, rng) : pal_rng_below(rng, stacks);
        op[0] = pops ? POP : PUSH;
        op[1] = FIRST_STACK + s;
        if (pops) {
            op[2] = targets[3 * i + 1] = tokens[3 * top[s] + 2];
            top[s] = below[top[s]];
            filled--;
        } else {
            op[2] = FIRST_STACK + stacks + pal_rng_below(rng, t->is.synthetic.symbols);
            below[i] = top[s];
            top[s] = i;
            filled++;
        }
    }
}

static void stack_word(const task *t, int64_t token, char text[TASK_WORD])
{
    const int64_t stacks = t->is.synthetic.stacks;
    if (token < FIRST_STACK)
        snprintf(text, TASK_WORD, "%s", token == PUSH ? "PUSH" : token == POP ? "POP" : ".");
    else if (token < FIRST_STACK + stacks)
        snprintf(text, TASK_WORD, "%lld", (long long)(token - FIRST_STACK));
    else
        letter(token - FIRST_STACK - stacks, text);
}

static double chance(const task *t) { return 1 / (double)t->is.synthetic.symbols; }

/* ---- The kinds ---- */

const task_kind task_palindrome = {
    .name = "palindrome",
    .level = "length",
    .variant = PALINDROME,
    .help = "symbols, a separator, and the symbols backwards. Keys: symbols=16, len=16,32 (of the "
            "whole row: half of it are symbols), test_len (that of the training)",
    .keys = PAL_KEYS(sequence_keys),
    .standard = ":symbols=16:len=16,32",
    .begin = sequence_begin,
    .row = sequence_row,
    .word = sequence_word,
    .chance = chance,
};
const task_kind task_copy = {
    .name = "copy",
    .level = "length",
    .variant = COPY,
    .help = "symbols, a separator, and the symbols again. Keys: symbols=16, len=16,32 (of the "
            "whole row), test_len (that of the training)",
    .keys = PAL_KEYS(sequence_keys),
    .standard = ":symbols=16:len=16,32",
    .begin = sequence_begin,
    .row = sequence_row,
    .word = sequence_word,
    .chance = chance,
};
const task_kind task_stack = {
    .name = "stack",
    .level = "length",
    .variant = STACK,
    .help = "PUSH stack symbol, POP stack: what was on top. Keys: stacks=4, symbols=16, len=48,96 "
            "(three tokens an operation), test_len (that of the training)",
    .keys = PAL_KEYS(stack_keys),
    .standard = ":stacks=4:symbols=16:len=48,96",
    .begin = stack_begin,
    .row = stack_row,
    .word = stack_word,
    .chance = chance,
};
