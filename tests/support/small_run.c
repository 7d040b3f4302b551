/*
 * small_run.c - a small language model and its data.
 */
#include "tests/support/small_run.h"

#include <stdlib.h>
#include <string.h>

enum { VOCAB = 29, TOKENS = 1501, LEN = 11 };

static void must(pal_status s, const pal_error *error)
{
    if (s == PAL_OK) return;
    fprintf(stderr, "%s\n", error->message);
    abort();
}

void small_data(const char *dir)
{
    static unsigned char token[TOKENS];
    static int64_t offsets[TOKENS + 1];
    char path[PAL_PATH];
    pal_error error;
    pal_rng rng = pal_rng_new(5, 0);
    int64_t documents = 0;
    for (int i = 0; i < TOKENS; i++)
        token[i] = (unsigned char)((i * i / 7 + pal_rng_below(&rng, 3)) % VOCAB);
    pal_tokens_source s = {.tokens = token, .count = TOKENS, .vocab = VOCAB, .offsets = offsets};
    for (int64_t i = 0; i < TOKENS; i += 5 + pal_rng_below(&rng, 40)) offsets[documents++] = i;
    offsets[documents] = TOKENS;
    s.documents = documents;
    snprintf(path, sizeof path, "%s/data.h5", dir);
    must(pal_tokens_write(path, &s, &error), &error);
    documents = 0;
    for (int64_t i = 0; i < TOKENS; i += pal_rng_below(&rng, 20) ? 1 : 9) offsets[documents++] = i;
    offsets[documents] = TOKENS;
    s.documents = documents;
    snprintf(path, sizeof path, "%s/single.h5", dir);
    must(pal_tokens_write(path, &s, &error), &error);
}

static void build(small_run *r)
{
    const small_opts *o = &r->o;
    pal_rng rng = pal_rng_new(3, 0);
    r->params = pal_params_new();
    r->tape = pal_tape_new();
    if (o->unused) pal_fill(pal_param(r->params, "unused.first", o->dtype, PAL_SHAPE(40)), 1);
    r->lm = pal_lm_new(r->params,
                       (pal_lm_opts){.vocab = VOCAB,
                                     .width = 16,
                                     .layers = 2,
                                     .mixers = "gdn2:num_heads=2:head_dim=8,"
                                               "mamba2:head_dim=8:state_size=8",
                                     .mlp_width = 32,
                                     .tie = o->tie,
                                     .dtype = o->dtype,
                                     .recompute = o->recompute},
                       &rng);
    if (o->unused) pal_fill(pal_param(r->params, "unused.last", o->dtype, PAL_SHAPE(3, 7)), 1);
    if (o->frozen) pal_params_freeze(r->params, "*norm*", true);
    if (o->sgd)
        r->optim = pal_sgd_new(r->params, (pal_sgd_opts){0});
    else
        r->optim = pal_adamw_new(r->params, (pal_adamw_opts){.decay = 0.1});
}

void small_begin(small_run *r, const char *dir, small_opts o, pal_dist *dist)
{
    char path[PAL_PATH];
    pal_error error;
    *r = (small_run){.o = o, .dist = dist};
    build(r);
    snprintf(path, sizeof path, "%s/%s.h5", dir, o.single ? "single" : "data");
    must(pal_tokens_open(&r->store, path, &error), &error);
    r->batches = pal_batches_new(
        r->store, (pal_batches_opts){.kind = o.packed ? PAL_PACKED : PAL_WINDOWS,
                                     .batch = o.batch ? o.batch : 4,
                                     .len = o.single ? 3 : LEN,
                                     .seed = 2,
                                     .data_index = pal_dist_data_index(dist),
                                     .data_count = pal_dist_data_count(dist),
                                     .sequence_index = pal_dist_sequence_index(dist),
                                     .sequence_count = pal_dist_sequence_count(dist)});
}

void small_end(small_run *r)
{
    pal_batches_free(r->batches);
    pal_tokens_close(r->store);
    pal_optim_free(r->optim);
    pal_params_free(r->params);
    pal_tape_free(r->tape);
}

static pal_tensor loss(void *user, pal_tape *tape, int64_t number, pal_batch *b)
{
    small_run *r = user;
    r->empty += b->counted == 0;
    if (r->before) {
        pal_tensor other = r->before(r->user, tape, number, b);
        if (!pal_is_none(other)) return other;
    }
    return pal_lm_loss(r->lm, b->tokens, b->targets, (pal_run_opts){.offsets = b->offsets});
}

pal_train_opts small_train(small_run *r)
{
    return (pal_train_opts){.params = r->params,
                            .optim = r->optim,
                            .tape = r->tape,
                            .schedule = {.lr = r->o.sgd ? 1 : 3e-3},
                            .batches = r->batches,
                            .loss = loss,
                            .user = r,
                            .dist = r->dist,
                            .quiet = true};
}
