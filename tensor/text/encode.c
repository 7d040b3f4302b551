/*
 * encode.c - pretokens to tokens by the list of merges.
 *
 * The symbols of a pretoken are a linked list; a heap gives the pair that stands first in the list
 * of merges, of equal ones the leftmost. Cost: n log n for a pretoken of n bytes; those that came
 * lately are remembered.
 */
#include "tensor/text/internal.h"
#include "tensor/internal.h"

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

/* ---- The first symbols ---- */

static int32_t model_id(const pal_tokenizer *b, const char *key, int64_t size)
{
    const int32_t i = pal_bpe_names_find(&b->key, key, size);
    return i < 0 || i >= b->model_keys ? -1 : b->key_id[i];
}

/* The length of what is one symbol at first: a byte with ByteLevel, else a character, or a byte
 * that is no UTF-8. */
static int unit(const pal_tokenizer *b, const char *byte, int64_t left)
{
    const int n = b->bytes ? 1 : pal_utf8(byte, left);
    return n ? n : 1;
}

static bool falls_back(const pal_tokenizer *b, const char *byte, int size)
{
    if (b->bytes) return false;
    for (int i = 0; i < size; i++)
        if (b->byte_id[(unsigned char)byte[i]] < 0) return false;
    return true;
}

/* Symbols of a pretoken, which are tokens of characters, of their bytes, or the unknown token. As
 * in `tokenizers`, an unknown token that is fused stands behind the bytes that follow it. */
static int32_t first_symbols(pal_tokenizer *b, const char *byte, int64_t size)
{
    pal_bpe_symbol *s = b->symbol;
    int32_t count = 0;
    bool unknown = false; /* an unknown token waits */
    for (int64_t at = 0; at < size;) {
        const int n = unit(b, byte + at, size - at);
        const int32_t id =
            b->bytes ? b->byte_id[(unsigned char)byte[at]] : model_id(b, byte + at, n);
        if (id >= 0) {
            if (unknown) s[count++].id = b->unk;
            unknown = false;
            s[count++].id = id;
        } else if (falls_back(b, byte + at, n)) {
            for (int i = 0; i < n; i++) s[count++].id = b->byte_id[(unsigned char)byte[at + i]];
        } else {
            if (unknown && !b->fuse_unk) s[count++].id = b->unk;
            unknown = true;
        }
        at += n;
    }
    if (unknown) s[count++].id = b->unk;
    for (int32_t i = 0; i < count; i++) {
        s[i].before = i - 1;
        s[i].after = i + 1 < count ? i + 1 : -1;
    }
    return count;
}

/* Leaves the tokens of a pretoken in the list that begins at symbol 0. */
static bool join(pal_tokenizer *b, const char *byte, int64_t size)
{
    int64_t n = 0;
    /* A pair a symbol, and two new ones for every symbol that goes away. */
    if (!pal_bpe_grow((void **)&b->symbol, &b->symbol_room, size, sizeof *b->symbol) ||
        !pal_bpe_grow((void **)&b->heap, &b->heap_room, 3 * size, sizeof *b->heap))
        return false;
    pal_bpe_symbol *s = b->symbol;
    const int32_t count = first_symbols(b, byte, size);
    for (int32_t i = 0; i < count; i++) offer(b, &n, i);
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
    if (!b->bytes) {
        *id = model_id(b, byte, size);
        return PAL_OK;
    }
    if (!pal_bpe_grow((void **)&b->spelled, &b->spelled_room, 2 * size, 1)) return no_memory(error);
    for (int64_t i = 0; i < size; i++) n += pal_bpe_spell((unsigned char)byte[i], b->spelled + n);
    *id = model_id(b, b->spelled, n);
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
    if (id < 0 && size == 1 && e->b->bytes) id = e->b->byte_id[(unsigned char)byte[0]];
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

static pal_status add_ids(pal_token_ids *to, const int32_t *id, int count, pal_error *error)
{
    if (!room_for(to, count)) return no_memory(error);
    for (int i = 0; i < count; i++) to->id[to->count++] = id[i];
    return PAL_OK;
}

pal_status pal_tokenizer_encode_with(pal_tokenizer *b, const void *text, int64_t size,
                                     pal_encode_opts opts, pal_token_ids *to, pal_error *error)
{
    pal_error own;
    const char *byte = text;
    if (!error) error = &own;
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
    pal_status s = opts.begin ? add_ids(to, b->before, b->befores, error) : PAL_OK;
    if (s == PAL_OK) s = pal_bpe_split(b, byte, size, opts.plain, piece, &e, error);
    if (s == PAL_OK && opts.end) s = add_ids(to, b->after, b->afters, error);
    if (s != PAL_OK) to->count = before_it;
    return s;
}

pal_status pal_tokenizer_encode(pal_tokenizer *b, const void *text, int64_t size, pal_token_ids *to,
                                pal_error *error)
{
    return pal_tokenizer_encode_with(b, text, size, (pal_encode_opts){.begin = false}, to, error);
}
