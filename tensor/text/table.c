/*
 * table.c - memory that doubles, and hash tables with open addressing: strings and pairs.
 */
#include "tensor/text/internal.h"

#include <stdlib.h>
#include <string.h>

bool pal_bpe_grow(void **memory, int64_t *room, int64_t least, size_t element)
{
    if (least <= *room) return true;
    int64_t more = *room < 64 ? 64 : *room;
    while (more < least) more *= 2;
    void *grown = realloc(*memory, (size_t)more * element);
    if (!grown) return false;
    *memory = grown;
    *room = more;
    return true;
}

bool pal_bpe_buffer_add(pal_bpe_buffer *to, const char *byte, int64_t size)
{
    if (!pal_bpe_grow((void **)&to->byte, &to->room, to->size + size, 1)) return false;
    if (size) memcpy(to->byte + to->size, byte, (size_t)size);
    to->size += size;
    return true;
}

static uint64_t stir(uint64_t x)
{
    x = (x ^ x >> 32) * 0x9e3779b97f4a7c15u;
    return x ^ x >> 29;
}

uint64_t pal_bpe_hash(const char *byte, int64_t size)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (int64_t i = 0; i < size; i++) h = (h ^ (unsigned char)byte[i]) * 0x100000001b3u;
    return stir(h);
}

/* ---- Strings ---- */

const char *pal_bpe_names_get(const pal_bpe_names *n, int64_t i, int64_t *size)
{
    int64_t begin = i ? n->end[i - 1] : 0;
    *size = n->end[i] - begin;
    return n->pool + begin;
}

/* The slot of a string: its own, or the free one where it belongs. */
static int64_t names_slot(const pal_bpe_names *n, const char *byte, int64_t size)
{
    int64_t at = (int64_t)(pal_bpe_hash(byte, size) & (uint64_t)(n->slots - 1));
    for (; n->slot[at]; at = (at + 1) & (n->slots - 1)) {
        int64_t length;
        const char *text = pal_bpe_names_get(n, n->slot[at] - 1, &length);
        if (length == size && memcmp(text, byte, (size_t)size) == 0) break;
    }
    return at;
}

int32_t pal_bpe_names_find(const pal_bpe_names *n, const char *byte, int64_t size)
{
    return n->slots ? n->slot[names_slot(n, byte, size)] - 1 : -1;
}

static bool names_rehash(pal_bpe_names *n)
{
    int64_t slots = n->slots ? 2 * n->slots : 1024;
    int32_t *slot = calloc((size_t)slots, sizeof *slot);
    if (!slot) return false;
    free(n->slot);
    n->slot = slot;
    n->slots = slots;
    for (int64_t i = 0; i < n->count; i++) {
        int64_t size;
        const char *text = pal_bpe_names_get(n, i, &size);
        slot[names_slot(n, text, size)] = (int32_t)(i + 1);
    }
    return true;
}

int32_t pal_bpe_names_add(pal_bpe_names *n, const char *byte, int64_t size)
{
    if (2 * n->count >= n->slots && !names_rehash(n)) return -1;
    int64_t at = names_slot(n, byte, size);
    if (n->slot[at]) return n->slot[at] - 1;
    int64_t used = n->count ? n->end[n->count - 1] : 0;
    if (n->count == INT32_MAX - 1 ||
        !pal_bpe_grow((void **)&n->pool, &n->pool_room, used + size, 1) ||
        !pal_bpe_grow((void **)&n->end, &n->room, n->count + 1, sizeof *n->end))
        return -1;
    memcpy(n->pool + used, byte, (size_t)size);
    n->end[n->count++] = used + size;
    n->slot[at] = (int32_t)n->count;
    return (int32_t)(n->count - 1);
}

void pal_bpe_names_free(pal_bpe_names *n)
{
    free(n->pool);
    free(n->end);
    free(n->slot);
    *n = (pal_bpe_names){0};
}

/* ---- Pairs ---- */

static struct pal_bpe_pair_slot *pairs_slot(const pal_bpe_pairs *p, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t at = stir(key * 0xff51afd7ed558ccdu) & (uint64_t)(p->slots - 1);
    while (p->slot[at].value && (p->slot[at].left != left || p->slot[at].right != right))
        at = (at + 1) & (uint64_t)(p->slots - 1);
    return &p->slot[at];
}

int32_t pal_bpe_pairs_find(const pal_bpe_pairs *p, int32_t left, int32_t right)
{
    return p->slots ? pairs_slot(p, left, right)->value - 1 : -1;
}

bool pal_bpe_pairs_put(pal_bpe_pairs *p, int32_t left, int32_t right, int32_t value)
{
    if (2 * p->count >= p->slots) {
        pal_bpe_pairs more = {.count = p->count, .slots = p->slots ? 2 * p->slots : 1024};
        more.slot = calloc((size_t)more.slots, sizeof *more.slot);
        if (!more.slot) return false;
        for (int64_t i = 0; i < p->slots; i++)
            if (p->slot[i].value)
                *pairs_slot(&more, p->slot[i].left, p->slot[i].right) = p->slot[i];
        free(p->slot);
        *p = more;
    }
    *pairs_slot(p, left, right) = (struct pal_bpe_pair_slot){left, right, value + 1};
    p->count++;
    return true;
}

void pal_bpe_pairs_free(pal_bpe_pairs *p)
{
    free(p->slot);
    *p = (pal_bpe_pairs){0};
}
