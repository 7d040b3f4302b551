/*
 * train.c - learning merges: count pretokens, then join the most frequent pair until there are
 * enough tokens.
 *
 * A word is a pretoken, told apart from others by its bytes, with the number of times it occurs; it
 * is a list of tokens. For every pair of neighbours there is a count and a list of the words that
 * have had it. A merge visits those words alone, takes their pairs out of the counts, joins, and
 * puts the new pairs in. A heap gives the best pair; its entries may be out of date, and are put
 * right when they come up, since the count of a pair only falls unless a merge makes it.
 */
#include "tensor/text/internal.h"

#include <stdlib.h>
#include <string.h>

enum { WORD_SIZE = 1024, TELL_BYTES = 1 << 20, TELL_TOKENS = 256 };

typedef struct pair {
    int32_t left, right;
    int64_t count;
    int32_t words;   /* first of a list in trainer.link; -1: none */
    int64_t touched; /* the last round that made it */
    bool merged;
} pair;

typedef struct link {
    int32_t word, next;
} link;

typedef struct trainer {
    pal_tokenizer_train_opts o;
    pal_error *error;

    pal_bpe_names word,
        token;      /* the bytes of each; token i has the id i, from 256 on i + specials */
    int64_t *count; /* of each word */
    int64_t count_room, read, tell_at, all;

    int32_t *symbol; /* those of word w begin at start[w] */
    int64_t *start;
    int32_t *length;

    pal_bpe_pairs index; /* -> pair */
    pair *pair;
    int64_t pairs, pair_room;
    link *link;
    int64_t links, link_room;
    int32_t *heap;       /* pairs, by the counts they had when they came in */
    int64_t *heap_count; /* those counts */
    int64_t heap_size, heap_room, heap_count_room;
    int32_t *fresh; /* pairs that the round under way has made */
    int64_t freshes, fresh_room, round;

    struct pal_bpe_merge *merge;
    int64_t merges, merge_room;
    char *text;
    int64_t text_room;
} trainer;

static pal_status no_memory(const trainer *t)
{
    return pal_error_set(t->error, PAL_ENOMEM, "pal_tokenizer_train: out of memory");
}

static void tell(const trainer *t, const char *what, int64_t done, int64_t all)
{
    if (t->o.progress) t->o.progress(t->o.user, what, done, all);
}

/* ---- Counting ---- */

static pal_status count_piece(void *user, const char *byte, int64_t size, int32_t id,
                              pal_error *error)
{
    trainer *t = user;
    (void)error;
    t->read += size;
    if (t->read >= t->tell_at) {
        tell(t, "counting", t->read, t->all);
        t->tell_at = t->read + TELL_BYTES;
    }
    if (id >= 0 || size > WORD_SIZE) return PAL_OK;
    const int64_t words = t->word.count;
    int32_t w = pal_bpe_names_add(&t->word, byte, size);
    if (w < 0 || !pal_bpe_grow((void **)&t->count, &t->count_room, t->word.count, sizeof *t->count))
        return no_memory(t);
    if (w == words) t->count[w] = 0;
    t->count[w]++;
    return PAL_OK;
}

/* Cuts the texts by a tokenizer that has no merges yet. */
static pal_status count_texts(trainer *t, const pal_tokenizer_text *text, int64_t texts)
{
    char *json;
    pal_tokenizer *base;
    pal_status s = pal_bpe_write(&json, t->o.special, t->o.specials, NULL, 0, t->error);
    if (s != PAL_OK) return s;
    s = pal_tokenizer_load(&base, json, (int64_t)strlen(json), t->error);
    free(json);
    for (int64_t i = 0; i < texts; i++) t->all += text[i].size;
    for (int64_t i = 0; i < texts && s == PAL_OK; i++)
        s = pal_bpe_split(base, text[i].byte, text[i].size, count_piece, t, t->error);
    pal_tokenizer_free(base);
    return s;
}

/* ---- Pairs ---- */

/* Whether x comes before y: the larger count, then the smaller ids. */
static bool better(const trainer *t, int64_t count_x, int32_t x, int64_t count_y, int32_t y)
{
    const pair *p = &t->pair[x], *q = &t->pair[y];
    if (count_x != count_y) return count_x > count_y;
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static bool heap_push(trainer *t, int32_t p)
{
    if (!pal_bpe_grow((void **)&t->heap, &t->heap_room, t->heap_size + 1, sizeof *t->heap) ||
        !pal_bpe_grow((void **)&t->heap_count, &t->heap_count_room, t->heap_size + 1,
                      sizeof *t->heap_count))
        return false;
    const int64_t count = t->pair[p].count;
    int64_t i = t->heap_size++;
    for (int64_t up; i > 0; i = up) {
        up = (i - 1) / 2;
        if (!better(t, count, p, t->heap_count[up], t->heap[up])) break;
        t->heap[i] = t->heap[up];
        t->heap_count[i] = t->heap_count[up];
    }
    t->heap[i] = p;
    t->heap_count[i] = count;
    return true;
}

static int32_t heap_pop(trainer *t, int64_t *count)
{
    const int32_t top = t->heap[0], last = t->heap[--t->heap_size];
    const int64_t last_count = t->heap_count[t->heap_size], n = t->heap_size;
    *count = t->heap_count[0];
    int64_t i = 0;
    for (int64_t c = 1; c < n; c = 2 * i + 1) {
        if (c + 1 < n &&
            better(t, t->heap_count[c + 1], t->heap[c + 1], t->heap_count[c], t->heap[c]))
            c++;
        if (!better(t, t->heap_count[c], t->heap[c], last_count, last)) break;
        t->heap[i] = t->heap[c];
        t->heap_count[i] = t->heap_count[c];
        i = c;
    }
    t->heap[i] = last;
    t->heap_count[i] = last_count;
    return top;
}

/* The pair of two tokens, made if it is new; -1 without memory. */
static int32_t pair_of(trainer *t, int32_t left, int32_t right)
{
    int32_t p = pal_bpe_pairs_find(&t->index, left, right);
    if (p >= 0) return p;
    if (t->pairs == INT32_MAX - 1 ||
        !pal_bpe_grow((void **)&t->pair, &t->pair_room, t->pairs + 1, sizeof *t->pair) ||
        !pal_bpe_pairs_put(&t->index, left, right, (int32_t)t->pairs))
        return -1;
    t->pair[t->pairs] = (pair){.left = left, .right = right, .words = -1, .touched = -1};
    return (int32_t)t->pairs++;
}

/* Puts a word's pairs into the counts. Those with the token `made` in them are listed as fresh. */
static bool add_word(trainer *t, int32_t w, int32_t made)
{
    const int32_t *s = t->symbol + t->start[w];
    for (int32_t i = 0; i + 1 < t->length[w]; i++) {
        int32_t p = pair_of(t, s[i], s[i + 1]);
        if (p < 0) return false;
        pair *it = &t->pair[p];
        it->count += t->count[w];
        if (made >= 0 && s[i] != made && s[i + 1] != made) continue;
        if (it->touched != t->round) {
            if (!pal_bpe_grow((void **)&t->fresh, &t->fresh_room, t->freshes + 1, sizeof *t->fresh))
                return false;
            it->touched = t->round;
            t->fresh[t->freshes++] = p;
        }
        if (it->words >= 0 && t->link[it->words].word == w) continue;
        if (t->links == INT32_MAX - 1 ||
            !pal_bpe_grow((void **)&t->link, &t->link_room, t->links + 1, sizeof *t->link))
            return false;
        t->link[t->links] = (link){w, it->words};
        it->words = (int32_t)t->links++;
    }
    return true;
}

static void remove_word(trainer *t, int32_t w)
{
    const int32_t *s = t->symbol + t->start[w];
    for (int32_t i = 0; i + 1 < t->length[w]; i++)
        t->pair[pal_bpe_pairs_find(&t->index, s[i], s[i + 1])].count -= t->count[w];
}

static bool push_fresh(trainer *t)
{
    for (int64_t i = 0; i < t->freshes; i++)
        if (t->pair[t->fresh[i]].count >= t->o.least && !heap_push(t, t->fresh[i])) return false;
    t->freshes = 0;
    return true;
}

/* ---- Words and tokens ---- */

static int32_t id_of_token(const trainer *t, int32_t token)
{
    return token < 256 ? token : (int32_t)(token + t->o.specials);
}

static bool make_words(trainer *t)
{
    const int64_t n = t->word.count;
    int32_t of_byte[256];
    for (int i = 0; i < 256; i++) {
        const char byte = (char)pal_bpe_alphabet(i);
        of_byte[(unsigned char)byte] = i;
        if (pal_bpe_names_add(&t->token, &byte, 1) != i) return false;
    }
    const int64_t bytes = n ? t->word.end[n - 1] : 0;
    t->symbol = malloc((size_t)(bytes + 1) * sizeof *t->symbol);
    t->start = malloc((size_t)(n + 1) * sizeof *t->start);
    t->length = malloc((size_t)(n + 1) * sizeof *t->length);
    if (!t->symbol || !t->start || !t->length) return false;
    for (int64_t i = 0; i < bytes; i++) t->symbol[i] = of_byte[(unsigned char)t->word.pool[i]];
    for (int32_t w = 0; w < n; w++) {
        t->start[w] = w ? t->word.end[w - 1] : 0;
        t->length[w] = (int32_t)(t->word.end[w] - t->start[w]);
        if (!add_word(t, w, -1)) return false;
    }
    return push_fresh(t);
}

/* The token with the bytes of both; it may be one already, made of other parts. -1: no memory. */
static int32_t token_of(trainer *t, const pair *p)
{
    int64_t left, right;
    pal_bpe_names_get(&t->token, p->left, &left);
    pal_bpe_names_get(&t->token, p->right, &right);
    if (!pal_bpe_grow((void **)&t->text, &t->text_room, left + right, 1)) return -1;
    memcpy(t->text, pal_bpe_names_get(&t->token, p->left, &left), (size_t)left);
    memcpy(t->text + left, pal_bpe_names_get(&t->token, p->right, &right), (size_t)right);
    return pal_bpe_names_add(&t->token, t->text, left + right);
}

/* Joins a pair in a word, from the left. */
static void join_word(trainer *t, int32_t w, int32_t left, int32_t right, int32_t token)
{
    int32_t *s = t->symbol + t->start[w], n = 0;
    for (int32_t i = 0; i < t->length[w]; i++) {
        const bool here = i + 1 < t->length[w] && s[i] == left && s[i + 1] == right;
        s[n++] = here ? token : s[i];
        i += here;
    }
    t->length[w] = n;
}

static bool merge(trainer *t, int32_t best)
{
    const pair p = t->pair[best];
    const int32_t token = token_of(t, &p);
    if (token < 0) return false;
    /* A pair whose parts were made again by other merges is in the list of merges already. */
    if (!p.merged) {
        if (!pal_bpe_grow((void **)&t->merge, &t->merge_room, t->merges + 1, sizeof *t->merge))
            return false;
        t->merge[t->merges++] = (struct pal_bpe_merge){
            id_of_token(t, p.left), id_of_token(t, p.right), id_of_token(t, token)};
    }
    t->round++;
    t->pair[best].merged = true;
    t->pair[best].words = -1;
    for (int32_t l = p.words; l >= 0; l = t->link[l].next) {
        const int32_t w = t->link[l].word;
        remove_word(t, w);
        join_word(t, w, p.left, p.right, token);
        if (!add_word(t, w, token)) return false;
    }
    return push_fresh(t);
}

static bool merge_all(trainer *t)
{
    const int64_t wanted = t->o.vocab - t->o.specials, begin = t->token.count;
    while (t->token.count < wanted && t->heap_size > 0) {
        int64_t count;
        const int32_t best = heap_pop(t, &count);
        if (t->pair[best].count < t->o.least) continue;
        if (t->pair[best].count != count) {
            if (!heap_push(t, best)) return false;
            continue;
        }
        if (t->token.count % TELL_TOKENS == 0)
            tell(t, "merging", t->token.count - begin, wanted - begin);
        if (!merge(t, best)) return false;
    }
    tell(t, "merging", t->token.count - begin, wanted - begin);
    return true;
}

/* ---- All of it ---- */

static void free_all(trainer *t)
{
    pal_bpe_names_free(&t->word);
    pal_bpe_names_free(&t->token);
    pal_bpe_pairs_free(&t->index);
    void *memory[] = {t->count, t->symbol,     t->start, t->length, t->pair, t->link,
                      t->heap,  t->heap_count, t->fresh, t->merge,  t->text};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) free(memory[i]);
}

pal_status pal_tokenizer_train(pal_tokenizer **out, const pal_tokenizer_text *text, int64_t texts,
                               pal_tokenizer_train_opts opts, pal_error *error)
{
    pal_error own;
    trainer t = {.o = opts, .error = error ? error : &own};
    *out = NULL;
    if (t.o.vocab == 0) t.o.vocab = 4096;
    if (t.o.least == 0) t.o.least = 2;
    if (t.o.specials < 0 || t.o.vocab < 256 + t.o.specials || t.o.vocab > INT32_MAX / 4 ||
        t.o.least < 1)
        return pal_error_set(
            error, PAL_EVALUE,
            "pal_tokenizer_train: vocab %lld with %lld special tokens, least %lld: 256 "
            "bytes and the special tokens are wanted at least, and least from 1",
            (long long)t.o.vocab, (long long)t.o.specials, (long long)t.o.least);
    char *json = NULL;
    pal_status s = count_texts(&t, text, texts);
    if (s == PAL_OK && !(make_words(&t) && merge_all(&t))) s = no_memory(&t);
    if (s == PAL_OK)
        s = pal_bpe_write(&json, t.o.special, t.o.specials, t.merge, t.merges, t.error);
    if (s == PAL_OK) s = pal_tokenizer_load(out, json, (int64_t)strlen(json), t.error);
    free(json);
    free_all(&t);
    return s;
}
