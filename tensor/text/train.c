/*
 * train.c - learning merges: count pretokens, then join the most frequent pair until there are
 * enough tokens.
 *
 * A word is a pretoken, told apart from others by its bytes, with the number of times it occurs. It
 * is a linked list of symbols, at first one for each byte. For every pair of neighbours there is a
 * count, and a list of the places where it has stood. A merge visits these places only, so its cost
 * does not depend on the lengths of the words. A heap gives the best pair. Its entries may be out
 * of date, and are put right when they come up, since the count of a pair only falls unless a merge
 * makes it.
 */
#include "tensor/text/internal.h"

#include <stdlib.h>
#include <string.h>

enum { TOKEN_SIZE = 1024, TELL_BYTES = 1 << 20, TELL_TOKENS = 256 };

typedef struct pair {
    int32_t left, right;
    int64_t count;
    int32_t places;  /* first of a list in trainer.link; -1: none */
    int64_t touched; /* the last round that made it */
    bool merged;
} pair;

/* A place where a pair has stood: that of its left symbol. */
typedef struct link {
    int32_t at, next;
} link;

/* A token in a word. */
typedef struct symbol {
    int32_t id, before, after; /* neighbours; -1: none. id -1: joined to the one before */
    int32_t word;
} symbol;

typedef struct trainer {
    pal_tokenizer_train_opts o;
    pal_error *error;

    pal_bpe_names word,
        token;      /* the bytes of each; token i has the id i, from 256 on i + specials */
    int64_t *count; /* of each word */
    int64_t count_room, read, tell_at, all;

    symbol *symbol;

    pal_bpe_pairs index; /* -> pair */
    pair *pair;
    int64_t pairs, pair_room;
    link *link;
    int64_t links, link_room;
    int32_t free_link;   /* first of a list of those that are not in use; -1: none */
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
    if (id >= 0) return PAL_OK;
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
        s = pal_bpe_split(base, text[i].byte, text[i].size, false, count_piece, t, t->error);
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
    t->pair[t->pairs] = (pair){.left = left, .right = right, .places = -1, .touched = -1};
    return (int32_t)t->pairs++;
}

/* A link that is not in use; -1 without memory. */
static int32_t take_link(trainer *t)
{
    const int32_t l = t->free_link;
    if (l >= 0) {
        t->free_link = t->link[l].next;
        return l;
    }
    if (t->links == INT32_MAX - 1 ||
        !pal_bpe_grow((void **)&t->link, &t->link_room, t->links + 1, sizeof *t->link))
        return -1;
    return (int32_t)t->links++;
}

/* Counts the pair that begins at a symbol, if there is one, notes its place, and lists it as fresh.
 */
static bool add_pair(trainer *t, int32_t at)
{
    if (at < 0 || t->symbol[at].after < 0) return true;
    const symbol *s = &t->symbol[at];
    const int32_t p = pair_of(t, s->id, t->symbol[s->after].id), l = take_link(t);
    if (p < 0 || l < 0) return false;
    pair *it = &t->pair[p];
    it->count += t->count[s->word];
    t->link[l] = (link){at, it->places};
    it->places = l;
    if (it->touched == t->round) return true;
    if (!pal_bpe_grow((void **)&t->fresh, &t->fresh_room, t->freshes + 1, sizeof *t->fresh))
        return false;
    it->touched = t->round;
    t->fresh[t->freshes++] = p;
    return true;
}

/* Takes it out of the count. Its place stays in the list, where it is seen to be out of date. */
static void remove_pair(trainer *t, int32_t at)
{
    if (at < 0 || t->symbol[at].after < 0) return;
    const symbol *s = &t->symbol[at];
    const int32_t p = pal_bpe_pairs_find(&t->index, s->id, t->symbol[s->after].id);
    t->pair[p].count -= t->count[s->word];
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
    const int64_t n = t->word.count, bytes = n ? t->word.end[n - 1] : 0;
    int32_t of_byte[256];
    for (int i = 0; i < 256; i++) {
        const char byte = (char)pal_bpe_alphabet(i);
        of_byte[(unsigned char)byte] = i;
        if (pal_bpe_names_add(&t->token, &byte, 1) != i) return false;
    }
    t->free_link = -1;
    t->symbol = malloc((size_t)(bytes + 1) * sizeof *t->symbol);
    if (!t->symbol) return false;
    for (int32_t w = 0, i = 0; w < n; w++)
        for (const int32_t begin = i, end = (int32_t)t->word.end[w]; i < end; i++)
            t->symbol[i] = (symbol){of_byte[(unsigned char)t->word.pool[i]], i > begin ? i - 1 : -1,
                                    i + 1 < end ? i + 1 : -1, w};
    for (int32_t i = 0; i < bytes; i++)
        if (!add_pair(t, i)) return false;
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

static bool stands_at(const trainer *t, const pair *p, int32_t at)
{
    const symbol *s = &t->symbol[at];
    return s->id == p->left && s->after >= 0 && t->symbol[s->after].id == p->right;
}

static bool join(trainer *t, int32_t at, int32_t token)
{
    symbol *s = &t->symbol[at];
    const int32_t before = s->before, right = s->after, after = t->symbol[right].after;
    remove_pair(t, before);
    remove_pair(t, at);
    remove_pair(t, right);
    t->symbol[right].id = -1;
    s->id = token;
    s->after = after;
    if (after >= 0) t->symbol[after].before = at;
    return add_pair(t, before) && add_pair(t, at);
}

/* Joins a pair that stands at a place. Of a run of equal symbols all are joined, from the left. */
static bool join_here(trainer *t, const pair *p, int32_t at, int32_t token)
{
    if (p->left != p->right) return join(t, at, token);
    while (t->symbol[at].before >= 0 && t->symbol[t->symbol[at].before].id == p->left)
        at = t->symbol[at].before;
    while (at >= 0 && stands_at(t, p, at)) {
        if (!join(t, at, token)) return false;
        at = t->symbol[at].after;
    }
    return true;
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
    t->pair[best].places = -1;
    for (int32_t l = p.places, next; l >= 0; l = next) {
        const int32_t at = t->link[l].at;
        next = t->link[l].next;
        t->link[l].next = t->free_link;
        t->free_link = l;
        if (stands_at(t, &p, at) && !join_here(t, &p, at, token)) return false;
    }
    return push_fresh(t);
}

static int64_t token_size(const trainer *t, int32_t token)
{
    int64_t size;
    pal_bpe_names_get(&t->token, token, &size);
    return size;
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
        if (token_size(t, t->pair[best].left) + token_size(t, t->pair[best].right) > TOKEN_SIZE)
            continue;
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
    void *memory[] = {t->count,      t->symbol, t->pair,  t->link, t->heap,
                      t->heap_count, t->fresh,  t->merge, t->text};
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
    const int64_t bytes = t.word.count ? t.word.end[t.word.count - 1] : 0;
    if (s == PAL_OK && bytes > INT32_MAX - 1)
        s = pal_error_set(t.error, PAL_EVALUE,
                          "pal_tokenizer_train: the different words of the text have %lld bytes, "
                          "and 2 GiB can be learned from",
                          (long long)bytes);
    if (s == PAL_OK && !(make_words(&t) && merge_all(&t))) s = no_memory(&t);
    if (s == PAL_OK)
        s = pal_bpe_write(&json, t.o.special, t.o.specials, t.merge, t.merges, t.error);
    if (s == PAL_OK) s = pal_tokenizer_load(out, json, (int64_t)strlen(json), t.error);
    free(json);
    free_all(&t);
    return s;
}
