/*
 * encode.c - pretokens to tokens by the list of merges, and tokens to bytes.
 *
 * The symbols of a pretoken are a linked list; a heap gives the pair that stands first in the list
 * of merges, of equal ones the leftmost. Cost: n log n for a pretoken of n bytes; those that came
 * lately are remembered.
 */
#include "tensor/text/internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct encoder {
    pal_tokenizer *b;
    pal_token_ids *to;
} encoder;

void pal_token_ids_free(pal_token_ids *ids)
{
    free(ids->id);
    *ids = (pal_token_ids){0};
}

static pal_status no_memory(pal_error *error)
{
    return pal_error_set(error, PAL_ENOMEM, "pal_tokenizer_encode: out of memory");
}

static bool room_for(pal_token_ids *to, int64_t more)
{
    return pal_bpe_grow((void **)&to->id, &to->room, to->count + more, sizeof *to->id);
}

/* ---- Merging ---- */

static bool before(pal_bpe_joint x, pal_bpe_joint y)
{
    return x.rank != y.rank ? x.rank < y.rank : x.at < y.at;
}

static void heap_push(pal_bpe_joint *heap, int64_t *n, pal_bpe_joint x)
{
    int64_t i = (*n)++;
    for (; i > 0 && before(x, heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = x;
}

static pal_bpe_joint heap_pop(pal_bpe_joint *heap, int64_t *n)
{
    const pal_bpe_joint top = heap[0], x = heap[--*n];
    int64_t i = 0;
    for (int64_t child = 1; child < *n; child = 2 * i + 1) {
        if (child + 1 < *n && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], x)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = x;
    return top;
}

/* The pair that begins at a symbol, if it can be joined. */
static void offer(pal_tokenizer *b, int64_t *n, int32_t at)
{
    const pal_bpe_symbol *s = b->symbol;
    if (at < 0 || s[at].after < 0) return;
    int32_t rank = pal_bpe_pairs_find(&b->rank, s[at].id, s[s[at].after].id);
    if (rank >= 0) heap_push(b->heap, n, (pal_bpe_joint){rank, at});
}

/* Leaves the tokens of a pretoken in the list that begins at symbol 0. */
static bool join(pal_tokenizer *b, const char *byte, int64_t size)
{
    int64_t n = 0;
    /* A pair a byte, and two new ones for every symbol that goes away. */
    if (!pal_bpe_grow((void **)&b->symbol, &b->symbol_room, size, sizeof *b->symbol) ||
        !pal_bpe_grow((void **)&b->heap, &b->heap_room, 3 * size, sizeof *b->heap))
        return false;
    pal_bpe_symbol *s = b->symbol;
    for (int32_t i = 0; i < size; i++)
        s[i] =
            (pal_bpe_symbol){b->byte_id[(unsigned char)byte[i]], i - 1, i + 1 < size ? i + 1 : -1};
    for (int32_t i = 0; i < size; i++) offer(b, &n, i);
    while (n > 0) {
        const pal_bpe_joint best = heap_pop(b->heap, &n);
        const struct pal_bpe_merge *m = &b->merge[best.rank];
        const int32_t left = best.at, right = s[left].after;
        /* One of the two may have become part of another token since. */
        if (s[left].id != m->left || right < 0 || s[right].id != m->right) continue;
        s[left].id = m->id;
        s[left].after = s[right].after;
        if (s[right].after >= 0) s[s[right].after].before = left;
        s[right].id = -1;
        offer(b, &n, s[left].before);
        offer(b, &n, left);
    }
    return true;
}

/* ---- A pretoken ---- */

/* With ignore_merges a pretoken that is a token is that token. */
static pal_status whole_token(pal_tokenizer *b, const char *byte, int64_t size, int32_t *id,
                              pal_error *error)
{
    int64_t n = 0;
    *id = -1;
    if (!b->ignore_merges) return PAL_OK;
    if (!pal_bpe_grow((void **)&b->spelled, &b->spelled_room, 2 * size, 1)) return no_memory(error);
    for (int64_t i = 0; i < size; i++) n += pal_bpe_spell((unsigned char)byte[i], b->spelled + n);
    int32_t key = pal_bpe_names_find(&b->key, b->spelled, n);
    if (key >= 0) *id = b->key_id[key];
    return PAL_OK;
}

static pal_status encode_new(pal_tokenizer *b, const char *byte, int64_t size, pal_token_ids *to,
                             pal_error *error)
{
    int32_t id;
    pal_status s = whole_token(b, byte, size, &id, error);
    if (s != PAL_OK) return s;
    if (!room_for(to, size) || (id < 0 && !join(b, byte, size))) return no_memory(error);
    if (id >= 0)
        to->id[to->count++] = id;
    else
        for (int32_t i = 0; i >= 0; i = b->symbol[i].after) to->id[to->count++] = b->symbol[i].id;
    return PAL_OK;
}

static pal_status piece(void *user, const char *byte, int64_t size, int32_t id, pal_error *error)
{
    encoder *e = user;
    pal_token_ids *to = e->to;
    if (!room_for(to, PAL_BPE_CACHED_IDS)) return no_memory(error);
    if (id < 0 && size == 1) id = e->b->byte_id[(unsigned char)byte[0]];
    if (id >= 0) {
        to->id[to->count++] = id;
        return PAL_OK;
    }
    if (size > PAL_BPE_CACHED_SIZE) return encode_new(e->b, byte, size, to, error);
    pal_bpe_cached *c = &e->b->cache[pal_bpe_hash(byte, size) % PAL_BPE_CACHE];
    if (c->ids && c->size == size && memcmp(c->byte, byte, (size_t)size) == 0) {
        for (int i = 0; i < c->ids; i++) to->id[to->count++] = c->id[i];
        return PAL_OK;
    }
    const int64_t first = to->count;
    pal_status s = encode_new(e->b, byte, size, to, error);
    if (s != PAL_OK || to->count - first > PAL_BPE_CACHED_IDS) return s;
    c->size = (uint8_t)size;
    c->ids = (uint8_t)(to->count - first);
    memcpy(c->byte, byte, (size_t)size);
    for (int i = 0; i < c->ids; i++) c->id[i] = (int32_t)to->id[first + i];
    return PAL_OK;
}

pal_status pal_tokenizer_encode(pal_tokenizer *b, const void *text, int64_t size, pal_token_ids *to,
                                pal_error *error)
{
    const char *byte = text;
    if (size < 0 || size > INT32_MAX / 4)
        return pal_error_set(error, PAL_EVALUE,
                             "pal_tokenizer_encode: a text of %lld bytes is more than %d",
                             (long long)size, INT32_MAX / 4);
    if (b->json_size == 0) {
        if (!room_for(to, size)) return no_memory(error);
        for (int64_t i = 0; i < size; i++) to->id[to->count++] = (unsigned char)byte[i];
        return PAL_OK;
    }
    if (!b->cache) b->cache = calloc(PAL_BPE_CACHE, sizeof *b->cache);
    if (!b->cache) return no_memory(error);
    const int64_t before_it = to->count;
    encoder e = {b, to};
    pal_status s = pal_bpe_split(b, byte, size, piece, &e, error);
    if (s != PAL_OK) to->count = before_it;
    return s;
}

/* ---- Tokens to bytes ---- */

const char *pal_tokenizer_token(const pal_tokenizer *b, int64_t id, int64_t *size)
{
    *size = 0;
    if (id < 0 || id >= b->vocab) return NULL;
    *size = b->text_at[id + 1] - b->text_at[id];
    return b->text + b->text_at[id];
}

int64_t pal_tokenizer_decode(const pal_tokenizer *b, const int64_t *id, int64_t count, void *to,
                             int64_t room)
{
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t size;
        const char *text = pal_tokenizer_token(b, id[i], &size);
        if (!text) return -1;
        const int64_t fits = room - n < size ? room - n : size;
        if (fits > 0) memcpy((char *)to + n, text, (size_t)fits);
        n += size;
    }
    return n;
}

int64_t pal_tokenizer_vocab_size(const pal_tokenizer *b) { return b->vocab; }

int64_t pal_tokenizer_special(const pal_tokenizer *b, const char *text)
{
    const int64_t size = (int64_t)strlen(text);
    for (int64_t i = 0; i < b->addeds; i++)
        if (b->added[i].size == size && memcmp(b->added[i].text, text, (size_t)size) == 0)
            return b->added[i].id;
    return -1;
}

const char *pal_tokenizer_json(const pal_tokenizer *b, int64_t *size)
{
    *size = b->json_size;
    return b->json;
}
