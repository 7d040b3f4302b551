/*
 * golden_folder_greedy.c - a prompt that is continued greedily: token by token, in one call, and
 * from a state that was saved and loaded, each with the reference's tokens.
 */
#include "tests/support/golden_folder.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A text that is to be continued. */
typedef struct text {
    golden_folder *f;
    const int64_t *token; /* prompt and continuation */
    int64_t prompt, all;
} text;

static int64_t likeliest(pal_tensor logits)
{
    return pal_sample(logits, (pal_sample_opts){0}, NULL);
}

static void wrong(const text *t, const char *how, int64_t i, int64_t got)
{
    golden_fail(t->f->g, "out/greedy: token %lld is %lld %s, and %lld in the file",
                (long long)(i - t->prompt), (long long)got, how, (long long)t->token[i]);
}

/* Feeds tokens [from,to), and returns the likeliest after the last. */
static int64_t step(const text *t, pal_lm_state *state, int64_t from, int64_t to)
{
    golden *g = t->f->g;
    pal_tensor x = pal_from(g->tape, PAL_I64, PAL_SHAPE(1, to - from), t->token + from);
    const int64_t next =
        likeliest(pal_lm_step(t->f->model.lm, state, x, (pal_run_opts){.mode = g->mode}));
    pal_tape_reset(g->tape);
    return next;
}

/* A copy of the state that went through a file. */
static pal_lm_state *through_a_file(const text *t, pal_lm_state *state)
{
    char path[] = "/tmp/replay-XXXXXX";
    pal_error error;
    pal_lm_state *copy = pal_lm_state_new(t->f->model.lm);
    const int fd = mkstemp(path);
    if (fd >= 0) close(fd);
    pal_status s = pal_lm_state_save(state, path, &error);
    if (s == PAL_OK) s = pal_lm_state_load(t->f->model.lm, copy, path, &error);
    if (s != PAL_OK) golden_fail(t->f->g, "out/greedy: %s", error.message);
    unlink(path);
    pal_lm_state_free(state);
    return copy;
}

/* The prompt first, and then token by token; with `halfway`, the state goes through a file there.
 */
static bool stepwise(const text *t, bool in_one, bool halfway)
{
    pal_lm_state *state = pal_lm_state_new(t->f->model.lm);
    const char *how = halfway  ? "after saving and loading"
                      : in_one ? "after the prompt in one call"
                               : "token by token";
    bool good = true;
    for (int64_t i = in_one ? t->prompt : 1; i < t->all && good; i++) {
        const int64_t next = step(t, state, i == t->prompt && in_one ? 0 : i - 1, i);
        good = i < t->prompt || next == t->token[i];
        if (!good) wrong(t, how, i, next);
        if (halfway && i == (t->prompt + t->all) / 2) state = through_a_file(t, state);
    }
    pal_lm_state_free(state);
    return good;
}

/* The tokens that follow each place of the whole text. */
static bool at_once(const text *t)
{
    golden *g = t->f->g;
    pal_tensor x = pal_from(g->tape, PAL_I64, PAL_SHAPE(1, t->all - 1), t->token);
    pal_tensor logits = pal_lm_logits(t->f->model.lm, x, (pal_run_opts){.mode = g->mode});
    bool good = true;
    for (int64_t i = t->prompt; i < t->all && good; i++) {
        const int64_t next = likeliest(pal_slice(pal_select(logits, 0, 0), 0, i - 1, i, 1));
        good = next == t->token[i];
        if (!good) wrong(t, "in one call", i, next);
    }
    pal_tape_reset(g->tape);
    return good;
}

void golden_folder_greedy(golden_folder *f)
{
    pal_array prompt = golden_folder_read(f, "in/prompt"),
              greedy = golden_folder_read(f, "out/greedy");
    const int64_t n = prompt.data ? pal_array_count(&prompt) : 0,
                  m = greedy.data ? pal_array_count(&greedy) : 0;
    int64_t *token = calloc((size_t)(n + m) + 1, sizeof *token);
    const text t = {f, token, n, n + m};
    if (n > 0 && m > 0 && token && prompt.dtype == PAL_I64 && greedy.dtype == PAL_I64) {
        memcpy(token, prompt.data, (size_t)n * sizeof *token);
        memcpy(token + n, greedy.data, (size_t)m * sizeof *token);
        const int good = stepwise(&t, false, false) + stepwise(&t, true, false) +
                         stepwise(&t, true, true) + at_once(&t); /* each is tried */
        if (good == 4)
            printf("  ok    out/greedy                   %lld tokens, in four ways\n",
                   (long long)m);
        f->g->compared++;
    } else {
        golden_fail(f->g, "in/prompt and out/greedy are no tokens");
    }
    free(token);
    free(prompt.data);
    free(greedy.data);
}
