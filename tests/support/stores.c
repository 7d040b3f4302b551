/*
 * stores.c - stores of tokens for the tests of batches.
 */
#include "tests/support/stores.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

/* Where documents begin; two are empty. */
static const int64_t several[SEVERAL + 1] = {0, 1, 8, 8, 150, 151, 153, 300, 300, 700, 990, COUNT};
pal_tape *tape;
pal_tokens *store;
pal_error last;
char path[64];

static char folder[48];

static void note(const pal_error *error, void *user)
{
    (void)user;
    last = *error;
}

void stores_setup(void)
{
    strcpy(folder, "/tmp/palimpsest-batches-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.h5", folder);
    tape = pal_tape_new();
    store = NULL;
    last = (pal_error){0};
    pal_set_error_handler(note, NULL);
}

void stores_teardown(void)
{
    char command[128];
    pal_tokens_close(store);
    pal_tape_free(tape);
    pal_set_error_handler(NULL, NULL);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

void ok(pal_status status, const pal_error *error)
{
    if (status != PAL_OK) ck_abort_msg("%s: %s", pal_status_name(status), error->message);
}

void open_store(bool one)
{
    static uint16_t tokens[COUNT];
    static uint32_t lengths[COUNT];
    pal_error e;
    for (int i = 0; i < COUNT; i++) tokens[i] = (uint16_t)i, lengths[i] = (uint32_t)(i % 4);
    pal_tokens_source s = {.tokens = tokens,
                           .count = COUNT,
                           .offsets = one ? NULL : several,
                           .documents = SEVERAL,
                           .vocab = COUNT,
                           .lengths = lengths};
    ok(pal_tokens_write(path, &s, &e), &e);
    ok(pal_tokens_open(&store, path, &e), &e);
}

pal_batches *make(pal_batches_opts opts)
{
    pal_batches *b = pal_batches_new(store, opts);
    ck_assert_msg(b != NULL, "%s", last.message);
    return b;
}

bool take(pal_batches *b, taken *t)
{
    pal_batch batch;
    pal_error e;
    ok(pal_batches_next(b, tape, &batch, &e), &e);
    memset(t, 0, sizeof *t);
    t->counted = batch.counted, t->bytes = batch.bytes, t->end = batch.end;
    t->continued = batch.continued;
    if (!batch.end) {
        t->n = pal_count(batch.tokens);
        ck_assert(t->n <= MOST && pal_count(batch.targets) == t->n);
        memcpy(t->tokens, pal_i64(batch.tokens), (size_t)t->n * sizeof *t->tokens);
        memcpy(t->targets, pal_i64(batch.targets), (size_t)t->n * sizeof *t->targets);
        if (!pal_is_none(batch.offsets)) {
            t->sequences = pal_count(batch.offsets) - 1;
            memcpy(t->offsets, pal_i64(batch.offsets),
                   (size_t)(t->sequences + 1) * sizeof *t->offsets);
        }
    }
    pal_tape_reset(tape);
    return !t->end;
}

void count_targets(const taken *t, int *times)
{
    int64_t counted = 0, bytes = 0;
    for (int64_t i = 0; i < t->n; i++) {
        if (t->targets[i] == PAL_IGNORE) continue;
        ck_assert_int_eq(t->targets[i], t->tokens[i] + 1);
        times[t->targets[i]]++;
        counted++;
        bytes += t->targets[i] % 4;
    }
    ck_assert_int_eq(t->counted, counted);
    ck_assert_int_eq(t->bytes, bytes);
}

bool begins(int64_t token)
{
    for (int d = 0; d < SEVERAL; d++)
        if (several[d] == token) return true;
    return false;
}
