/*
 * run.c - sequences through the model: prompts first, then one token after the other.
 *
 * Sequences with prompts of one length share a state, whose batch they are. Those of different
 * lengths do so too, packed, in a model without attention, as long as they are short; with
 * attention they have states of their own. In every case the weights are there once. A sequence
 * that has ended stays in its batch, and what the model says of it is not looked at.
 */
#include "examples/generate/generate.h"

#include <math.h>
#include <stdlib.h>

/* ---- Groups ---- */

/* Whether all mixers go on from a state where several sequences stand in one row: attention does
 * not. */
static bool packs(const pal_lm *lm)
{
    for (int64_t i = 0; pal_lm_mixer(lm, i); i++)
        if (pal_lm_mixer(lm, i)->refuses & PAL_NO_PACKED_STATE) return false;
    return true;
}

/* Of a group that go through the model in one call: of each of its prompts together, or packed. */
enum { PIECE = 256, PACKED = 1024 };

/* Packed, no sequence may be empty (the last token of a prompt is not read at once), and all are
 * read in one call. */
static bool fits(const gen_sequence *member, int64_t count, const gen_sequence *x, bool packed)
{
    int64_t tokens = x->prompt.count;
    bool equal = true, empty = tokens <= 1;
    for (int64_t i = 0; i < count; i++) {
        tokens += member[i].prompt.count;
        equal &= member[i].prompt.count == x->prompt.count;
        empty |= member[i].prompt.count <= 1;
    }
    return equal || (packed && !empty && tokens <= PACKED);
}

void gen_make_groups(gen_all *g)
{
    const bool packed = packs(g->file.lm);
    g->group = gen_memory(calloc((size_t)g->sequences, sizeof *g->group));
    for (int64_t i = 0; i < g->sequences; i++) {
        gen_group *last = g->groups ? &g->group[g->groups - 1] : NULL;
        if (last && fits(&g->sequence[last->first], last->count, &g->sequence[i], packed)) {
            last->count++;
            continue;
        }
        g->group[g->groups++] =
            (gen_group){.first = i, .count = 1, .state = pal_lm_state_new(g->file.lm)};
    }
}

/* ---- Prompts ---- */

/* The token that a sequence has not read yet, if there is one, and its prompt. */
static int64_t all_tokens(const gen_sequence *s, int64_t *to)
{
    int64_t n = 0;
    if (s->next >= 0) to[n++] = s->next;
    for (int64_t i = 0; i < s->prompt.count; i++) to[n++] = s->prompt.id[i];
    return n;
}

static void see(gen_sequence *s)
{
    if (s->next >= 0) s->seen[s->next] = true;
    for (int64_t i = 0; i < s->prompt.count; i++) s->seen[s->prompt.id[i]] = true;
}

/* Prompts of one length, [B,T], in pieces of bounded memory. */
static void read_rows(gen_all *g, gen_group *group, const int64_t *token, int64_t T)
{
    const int64_t B = group->count, most = PIECE / B > 0 ? PIECE / B : 1;
    int64_t *part = gen_memory(malloc((size_t)(B * most) * sizeof *part));
    for (int64_t at = 0, n; at < T; at += n) {
        n = T - at < most ? T - at : most;
        for (int64_t i = 0; i < B * n; i++) part[i] = token[i / n * T + at + i % n];
        pal_tensor in = pal_from(g->tape, PAL_I64, PAL_SHAPE(B, n), part);
        pal_lm_step(g->file.lm, group->state, in, (pal_run_opts){.layer = 0});
        pal_tape_reset(g->tape);
    }
    free(part);
}

/* Prompts of different lengths, one after the other in a row. */
static void read_packed(gen_all *g, gen_group *group, const int64_t *token, const int64_t *offset)
{
    const int64_t B = group->count;
    pal_tensor in = pal_from(g->tape, PAL_I64, PAL_SHAPE(1, offset[B]), token);
    const pal_run_opts run = {.offsets = pal_from(g->tape, PAL_I64, PAL_SHAPE(B + 1), offset)};
    pal_lm_step(g->file.lm, group->state, in, run);
    pal_tape_reset(g->tape);
}

/* Reads what stands before the last token of each prompt of a group. */
static void prefill(gen_all *g, gen_group *group)
{
    int64_t most = 0, count = 0;
    gen_sequence *s = &g->sequence[group->first];
    for (int64_t b = 0; b < group->count; b++) most += s[b].prompt.count + 1;
    int64_t *token = gen_memory(malloc((size_t)most * sizeof *token));
    int64_t *offset = gen_memory(calloc((size_t)group->count + 1, sizeof *offset));
    bool equal = true;
    for (int64_t b = 0; b < group->count; b++) {
        see(&s[b]);
        const int64_t n = all_tokens(&s[b], token + count) - 1;
        s[b].next = token[count + n];
        count += n;
        offset[b + 1] = count;
        equal &= n == offset[1];
    }
    if (count > 0 && equal)
        read_rows(g, group, token, offset[1]);
    else if (count > 0)
        read_packed(g, group, token, offset);
    g->read += count;
    free(token);
    free(offset);
}

void gen_prefill(gen_all *g)
{
    g->began = gen_seconds();
    for (int64_t i = 0; i < g->groups; i++) prefill(g, &g->group[i]);
    const double took = gen_seconds() - g->began;
    if (g->read > 0)
        fprintf(stderr, "prompt  %lld tokens, %.0f tokens/s\n", (long long)g->read,
                (double)g->read / took);
}

/* ---- Tokens ---- */

/* Makes what occurred less likely: a logit is divided by the penalty, or multiplied if it is
 * negative (Keskar et al. 2019, arXiv 1909.05858). */
static void penalize(const gen_all *g, const gen_sequence *s, pal_tensor logits, int64_t row)
{
    const double by = g->o.repeat_penalty;
    if (by == 1) return;
    const pal_array a = pal_edit(logits);
    for (int64_t i = 0; i < g->vocab; i++) {
        if (!s->seen[i]) continue;
        const int64_t at[] = {row, i};
        const double x = pal_array_get(&a, at);
        pal_array_set(&a, at, x > 0 ? x / by : x * by);
    }
}

/* If the model's vocabulary is larger than the tokenizer's, the tokens beyond it have no text. */
static void draw(gen_all *g, gen_sequence *s, pal_tensor logits, int64_t row)
{
    const pal_sample_opts how = {
        .temperature = g->o.temperature, .top_k = g->o.top_k, .top_p = g->o.top_p};
    penalize(g, s, logits, row);
    pal_tensor own = pal_slice(pal_slice(logits, 0, row, row + 1, 1), 1, 0, g->vocab, 1);
    s->next = pal_sample(own, how, &s->rng);
    s->written++;
    s->seen[s->next] = true;
    if (g->first == 0) g->first = gen_seconds();
    s->ended = gen_is_end(g, s->next);
    if (!s->ended || g->o.special) gen_put_token(g, s, s->next);
}

/* One more token of every sequence of a group; false: all have ended. */
static bool step(gen_all *g, gen_group *group)
{
    gen_sequence *s = &g->sequence[group->first];
    bool goes_on = false;
    pal_tensor in = pal_zeros(g->tape, PAL_I64, PAL_SHAPE(group->count, 1));
    int64_t *to = pal_edit(in).data;
    for (int64_t b = 0; b < group->count; b++) {
        to[b] = s[b].next;
        goes_on |= !s[b].ended;
    }
    if (goes_on) {
        pal_tensor logits = pal_lm_step(g->file.lm, group->state, in, (pal_run_opts){.layer = 0});
        for (int64_t b = 0; b < group->count; b++)
            if (!s[b].ended) draw(g, &s[b], logits, b);
    }
    pal_tape_reset(g->tape);
    return goes_on;
}

void gen_run(gen_all *g)
{
    const double began = gen_seconds();
    for (int64_t i = 0; i < g->o.tokens; i++) {
        bool goes_on = false;
        for (int64_t k = 0; k < g->groups; k++) goes_on |= step(g, &g->group[k]);
        if (!goes_on) break;
    }
    g->finished = gen_seconds() - began;
}

void gen_report(const gen_all *g)
{
    int64_t written = 0, ended = 0;
    for (int64_t i = 0; i < g->sequences; i++) {
        written += g->sequence[i].written;
        ended += g->sequence[i].ended;
    }
    if (written == 0) return;
    fprintf(stderr, "\nwritten %lld tokens, %.0f tokens/s, the first after %.3f s",
            (long long)written, (double)written / g->finished, g->first - g->began);
    if (g->sequences > 1)
        fprintf(stderr, "; %lld of %lld texts have ended", (long long)ended,
                (long long)g->sequences);
    else if (ended)
        fprintf(stderr, "; the text has ended");
    fputc('\n', stderr);
}

void gen_score(gen_all *g)
{
    const gen_sequence *s = &g->sequence[0];
    const pal_token_ids *p = &s->prompt;
    if (p->count < 2) gen_stop("--score: a text of two tokens or more is wanted");
    pal_tensor tokens = pal_from(g->tape, PAL_I64, PAL_SHAPE(1, p->count), p->id);
    pal_tensor logp = pal_lm_score(g->file.lm, tokens, (pal_run_opts){.layer = 0});
    const double bits = -pal_item(pal_sum(logp, PAL_ALL, false)) / log(2);
    const int64_t bytes = pal_tokenizer_decode(g->file.tokenizer, p->id + 1, p->count - 1, NULL, 0);
    printf("%.4f bits per byte over %lld bytes after the first token\n", bits / (double)bytes,
           (long long)bytes);
}
