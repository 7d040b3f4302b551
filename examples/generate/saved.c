/*
 * saved.c - the state of a text in a file.
 *
 * It is one token behind the text: the last token has been written, but the model has not read it
 * yet. The file has this token too, the position in the random numbers, which tokens occurred, and
 * the tokens whose text was kept back.
 */
#include "examples/generate/generate.h"
#include "examples/lm/open.h"

#include <stdlib.h>
#include <string.h>

/* ---- Lists of tokens ---- */

static void put_list(pal_h5 *file, const char *name, int64_t *id, int64_t count)
{
    pal_error error;
    if (count == 0) return;
    const pal_array a = pal_array_of(PAL_I64, PAL_SHAPE(count), id);
    gen_need(pal_h5_put(file, name, &a, &error), &error);
}

enum { HELD = 1 << 16 }; /* tokens whose text is kept back, at most */

/* A list that may be missing. Its tokens are those of the tokenizer, and at most so many. */
static void get_list(const gen_all *g, pal_h5 *file, const char *name, int64_t most,
                     pal_token_ids *to)
{
    pal_error error;
    pal_dtype dtype;
    pal_shape shape;
    if (!pal_h5_has(file, name)) return;
    gen_need(pal_h5_info(file, name, &dtype, &shape, &error), &error);
    if (dtype != PAL_I64 || shape.ndim != 1 || shape.dim[0] > most)
        gen_stop("--load-state: %s of %s is no list of tokens", name, g->o.load);
    to->count = to->room = shape.dim[0];
    to->id = gen_memory(malloc((size_t)to->room * sizeof *to->id + 1));
    const pal_array a = pal_array_of(PAL_I64, shape, to->id);
    gen_need(pal_h5_get(file, name, &a, &error), &error);
    for (int64_t i = 0; i < to->count; i++)
        if (to->id[i] < 0 || to->id[i] >= g->vocab)
            gen_stop("--load-state: %s of %s has %lld, which is no token of %lld", name, g->o.load,
                     (long long)to->id[i], (long long)g->vocab);
}

/* ---- The file ---- */

/* A state goes on with the parameters and the tokenizer that it was saved with. */
static void check_owner(const gen_all *g, pal_h5 *file)
{
    char is[LM_SUM], saved[LM_SUM];
    if (pal_h5_get_text(file, "/", "tokenizer", saved, sizeof saved, NULL) != PAL_OK) {
        fprintf(stderr, "note    %s does not say of which model its state is\n", g->o.load);
        return;
    }
    if (strcmp(saved, lm_tokenizer_sum(g->file.tokenizer, saved, is)) != 0)
        gen_stop("the state of %s is of another tokenizer, %s, and that of %s is %s", g->o.load,
                 saved, g->o.checkpoint, is);
}

void gen_load(gen_all *g)
{
    pal_error error;
    pal_h5 *file;
    double next, counter, seed;
    gen_sequence *s = &g->sequence[0];
    gen_need(pal_h5_open(&file, g->o.load, &error), &error);
    check_owner(g, file);
    if (pal_lm_state_get(g->file.lm, g->group[0].state, file, "/state", &error) != PAL_OK)
        gen_stop("%s does not go on with %s: %s", g->o.load, g->o.checkpoint, error.message);
    gen_need(pal_h5_get_number(file, "/", "next", &next, &error), &error);
    gen_need(pal_h5_get_number(file, "/", "seed", &seed, &error), &error);
    gen_need(pal_h5_get_number(file, "/", "counter", &counter, &error), &error);
    if (!(next >= 0 && next < (double)g->vocab && seed >= 0 && seed <= INT32_MAX && counter >= 0 &&
          counter <= 0x1p53))
        gen_stop("--load-state: the attributes next, seed or counter are no such numbers");
    s->next = (int64_t)next;
    get_list(g, file, "/held", HELD, &s->held);
    pal_token_ids seen = {NULL, 0, 0};
    get_list(g, file, "/seen", g->vocab, &seen);
    for (int64_t i = 0; i < seen.count; i++) s->seen[seen.id[i]] = true;
    pal_token_ids_free(&seen);
    pal_h5_close(file);
    if (flags_given(&g->o.flags, "seed")) return;
    s->rng = pal_rng_new((uint64_t)seed, 0);
    s->rng.counter = (uint64_t)counter;
}

void gen_save(const gen_all *g)
{
    pal_error error;
    pal_h5 *file;
    char sum[LM_SUM];
    const gen_sequence *s = &g->sequence[0];
    int64_t *seen = gen_memory(malloc((size_t)g->vocab * sizeof *seen)), count = 0;
    for (int64_t i = 0; i < g->vocab; i++)
        if (s->seen[i]) seen[count++] = i;
    gen_need(pal_h5_create(&file, g->o.save, &error), &error);
    gen_need(pal_h5_put_text(file, "/", "tokenizer", lm_tokenizer_sum(g->file.tokenizer, "", sum),
                             &error),
             &error);
    gen_need(pal_lm_state_put(g->group[0].state, file, "/state", &error), &error);
    gen_need(pal_h5_put_number(file, "/", "next", (double)s->next, &error), &error);
    gen_need(pal_h5_put_number(file, "/", "seed", (double)s->rng.seed, &error), &error);
    gen_need(pal_h5_put_number(file, "/", "counter", (double)s->rng.counter, &error), &error);
    put_list(file, "/seen", seen, count);
    put_list(file, "/held", s->held.id, s->held.count <= HELD ? s->held.count : 0);
    gen_need(pal_h5_commit(file, &error), &error);
    free(seen);
}
