/*
 * state.c - tasks of state tracking: the answer depends on every token so far, and on their order.
 *
 * Parity: bits, and whether an odd number of them is set. Words of a group: elements of S3, A5 or
 * S5, and at every place the product of all of them up to there.
 *
 * Whoever only adds up what it reads, and lets it fade, cannot count without end modulo two. A rule
 * whose transition has the eigenvalue -1 flips a sign at every set bit, and one step is enough.
 * That is what erase gates up to 2 are for (allow_neg_eigval=true). Products of A5 and S5 are
 * complete for NC1 (Barrington 1989), which is believed to be more than circuits of fixed depth can
 * do. Source: Grazzi et al. 2024 (arXiv 2411.12537): parity is trained on 3 to 40 bits and tested
 * on 40 to 256.
 */
#include "examples/tasks/internal.h"

#include <string.h>

/* ---- Parity ---- */

static const pal_key parity_keys[] = {
    {"min", PAL_KEY_WHOLE, TASK_FIELD(is.parity.shortest), .low = 1, .high = TASK_LONGEST},
    {"max", PAL_KEY_WHOLE, TASK_FIELD(is.parity.longest), .low = 1, .high = TASK_LONGEST},
    {"test_len", PAL_KEY_WHOLES, TASK_FIELD(test_len), .low = 1, .high = TASK_LONGEST,
     .required = true},
    {"dense", PAL_KEY_FLAG, TASK_FIELD(is.parity.dense)},
};

/* Training has one point, whose rows are of all lengths: a batch that mixes them has the quieter
 * gradient. */
static pal_status parity_begin(task *t, pal_error *error)
{
    const int64_t shortest = t->is.parity.shortest, longest = t->is.parity.longest;
    if (shortest > longest)
        return task_wrong(error, t, "min=%lld is more than max=%lld", (long long)shortest,
                          (long long)longest);
    t->vocab = 2;
    task_point p = {.len = longest, .level = longest, .weight = 1};
    snprintf(p.name, sizeof p.name, "lengths %lld to %lld", (long long)shortest,
             (long long)longest);
    t->len.count = 0;
    const pal_status s = task_points_by_len(t, 1, 1, error);
    return s == PAL_OK ? task_add_point(t, TASK_TRAIN, p, error) : s;
}

static void parity_row(const task *t, task_split split, const task_point *p, pal_rng *rng,
                       int64_t *tokens, int64_t *targets)
{
    const int64_t shortest = t->is.parity.shortest;
    int64_t n = p->len, odd = 0;
    if (split == TASK_TRAIN) n = shortest + pal_rng_below(rng, p->len - shortest + 1);
    for (int64_t i = 0; i < n; i++) {
        tokens[i] = pal_rng_below(rng, 2);
        odd ^= tokens[i];
        if ((t->is.parity.dense && split == TASK_TRAIN) || i == n - 1) targets[i] = odd;
    }
}

static void number(const task *t, int64_t token, char text[TASK_WORD])
{
    (void)t;
    snprintf(text, TASK_WORD, "%lld", (long long)token);
}

/* Parity and groups: every token is an answer. */
static double chance(const task *t) { return 1 / (double)t->vocab; }

const task_kind task_parity = {
    .name = "parity",
    .level = "length",
    .help = "bits, and after the last whether an odd number of them is set. Keys: min=3, max=40 "
            "(lengths of the training), test_len=40,80,128,256, dense=false (true: every bit of a "
            "training row asks; tests ask after the last alone)",
    .keys = PAL_KEYS(parity_keys),
    .standard = ":min=3:max=40:test_len=40,80,128,256:dense=false",
    .begin = parity_begin,
    .row = parity_row,
    .word = number,
    .chance = chance,
};

/* ---- Words of a group ---- */

enum { S3, A5, S5 };

static const pal_key group_keys[] = {
    {"len", PAL_KEY_WHOLES, TASK_FIELD(len), .low = 1, .high = TASK_LONGEST, .required = true},
    {"test_len", PAL_KEY_WHOLES, TASK_FIELD(test_len), .low = 1, .high = TASK_LONGEST,
     .required = true},
};

static bool is_even(const uint8_t *p, int n)
{
    int inversions = 0;
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++) inversions += p[i] > p[j];
    return inversions % 2 == 0;
}

/* The next permutation in the order of the alphabet; false after the last. */
static bool advance(uint8_t *p, int n)
{
    int i = n - 2, j = n - 1;
    while (i >= 0 && p[i] > p[i + 1]) i--;
    if (i < 0) return false;
    while (p[j] < p[i]) j--;
    uint8_t x = p[i];
    p[i] = p[j], p[j] = x;
    for (i++, j = n - 1; i < j; i++, j--) x = p[i], p[i] = p[j], p[j] = x;
    return true;
}

/* The number of a permutation. */
static uint8_t lookup(const task *t, const uint8_t *p, int n)
{
    int i = 0;
    while (memcmp(t->is.group.image[i], p, (size_t)n) != 0) i++;
    return (uint8_t)i;
}

/* Elements are numbered in the order of the alphabet, 0 is the one that moves nothing. ab is first
 * a, then b: i goes to b[a[i]]. */
static pal_status group_begin(task *t, pal_error *error)
{
    const int n = t->kind->variant == S3 ? 3 : 5;
    uint8_t p[5] = {0, 1, 2, 3, 4};
    t->is.group.order = 0;
    do {
        if (t->kind->variant != A5 || is_even(p, n))
            memcpy(t->is.group.image[t->is.group.order++], p, sizeof p);
    } while (advance(p, n));
    for (int a = 0; a < t->is.group.order; a++)
        for (int b = 0; b < t->is.group.order; b++) {
            for (int i = 0; i < n; i++) p[i] = t->is.group.image[b][t->is.group.image[a][i]];
            t->is.group.product[a][b] = lookup(t, p, n);
        }
    t->vocab = t->is.group.order;
    return task_points_by_len(t, 1, 1, error);
}

static void group_row(const task *t, task_split split, const task_point *p, pal_rng *rng,
                      int64_t *tokens, int64_t *targets)
{
    int64_t so_far = 0;
    (void)split;
    for (int64_t i = 0; i < p->len; i++) {
        tokens[i] = pal_rng_below(rng, t->is.group.order);
        so_far = t->is.group.product[so_far][tokens[i]];
        targets[i] = so_far;
    }
}

/* An element by the images of 1, 2, 3: "213" exchanges the first two. */
static void permutation(const task *t, int64_t token, char text[TASK_WORD])
{
    const int n = t->kind->variant == S3 ? 3 : 5;
    for (int i = 0; i < n; i++) text[i] = (char)('1' + t->is.group.image[token][i]);
    text[n] = '\0';
}

#define GROUP_HELP(of)                                                                        \
    "permutations, " of ", and at every place the product of all up to there. Keys: len=16, " \
    "test_len=16,32,64"
#define GROUP_KIND                                                                            \
    .level = "length", .keys = PAL_KEYS(group_keys), .standard = ":len=16:test_len=16,32,64", \
    .begin = group_begin, .row = group_row, .word = permutation, .chance = chance

const task_kind task_s3 = {
    .name = "s3", .variant = S3, .help = GROUP_HELP("the 6 of three things"), GROUP_KIND};
const task_kind task_a5 = {
    .name = "a5", .variant = A5, .help = GROUP_HELP("the 60 even ones of five things"), GROUP_KIND};
const task_kind task_s5 = {
    .name = "s5", .variant = S5, .help = GROUP_HELP("the 120 of five things"), GROUP_KIND};
