/*
 * heap.c - blocks of memory that end at pages which cannot be touched.
 *
 *     | head, unused ...  | block | rest | GUARD bytes that cannot be touched |
 *     ^ start                            ^ start + size
 */
#include "examples/check/heap.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#ifdef SANITIZED

bool heap_is_ours(void) { return false; }
void heap_guard(void) {}
void heap_limit(size_t bytes, void (*beyond)(size_t limit), void (*refused)(size_t wanted))
{
    (void)bytes, (void)beyond, (void)refused;
}

#else

enum {
    PAGE = 4096,
    GUARD = 1 << 18, /* HDF5's fields of 16 bits lead up to three times 64 KiB too far */
    ALIGN = 16,
    KEPT = 16,         /* freed pieces of up to so many pages are used again */
    FILLED = 1 << 16,  /* bytes of a block that get the pattern */
    PATTERN = 0xa5,    /* of memory that was not written */
    ROOM = 1 << 20,    /* what blocks without a guard are cut from */
    SMALL = 64,        /* smaller blocks have no guard: HDF5 reads files into larger ones */
    LIVE = 0x70616c31, /* marks of a head */
    PLAIN = 0x70616c32,
    FREED = 0x70616c30
};

/* For all pieces and guards. If `ulimit -v` counts addresses, half of them, where they are many. */
static const size_t ADDRESSES = (size_t)1 << 40, MANY = (size_t)1 << 30;

typedef struct head { /* directly before the block */
    uint32_t mark;
    uint32_t rest; /* bytes between the block and the guard */
    size_t bytes;  /* of the block */
} head;
_Static_assert(sizeof(head) == ALIGN, "a head keeps the alignment");

static void *kept[KEPT + 1]; /* lists of freed pieces by their pages, linked at their start */
static void
    *small[SMALL / ALIGN]; /* freed blocks without a guard by their size, linked at their start */
static size_t used, limit = SIZE_MAX;
static void (*beyond_limit)(size_t);
static void (*refused_by_system)(size_t); /* NULL: the caller is told */
static bool guarded;

bool heap_is_ours(void) { return true; }
void heap_guard(void) { guarded = true; }

void heap_limit(size_t bytes, void (*beyond)(size_t limit), void (*refused)(size_t wanted))
{
    limit = bytes;
    beyond_limit = beyond;
    refused_by_system = refused;
}

static void *map(size_t size, int protection)
{
    void *p = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Addresses for a piece and its guard, which cannot be touched yet. NULL: there are none. */
static unsigned char *take_addresses(size_t size)
{
    static unsigned char *next;
    static size_t left = SIZE_MAX; /* not yet asked for */
    struct rlimit is;
    if (left == SIZE_MAX) {
        const bool counted = getrlimit(RLIMIT_AS, &is) != 0 || is.rlim_cur != RLIM_INFINITY;
        left = !counted ? ADDRESSES : is.rlim_cur < MANY ? 0 : is.rlim_cur / 2 / PAGE * PAGE;
        if (left > 0 && !(next = map(left, PROT_NONE))) left = 0;
    }
    if (size + GUARD > left) return NULL;
    unsigned char *p = next;
    next += size + GUARD, left -= size + GUARD;
    return p;
}

/* `size` bytes of whole pages with a guard behind them; without one if the system has too many
 * pieces of memory already. The pattern is in them: a piece that is used again got it when its
 * block was freed. */
static unsigned char *take_pages(size_t size)
{
    const size_t pages = size / PAGE;
    if (pages <= KEPT && kept[pages]) {
        void *p = kept[pages];
        memcpy(&kept[pages], p, sizeof p);
        return memset(p, PATTERN, sizeof(void *));
    }
    unsigned char *p = take_addresses(size);
    if (!p || mprotect(p, size, PROT_READ | PROT_WRITE) != 0) p = map(size, PROT_READ | PROT_WRITE);
    return p ? memset(p, PATTERN, size < FILLED ? size : FILLED) : NULL;
}

static void give_pages(unsigned char *start, size_t size)
{
    const size_t pages = size / PAGE;
    if (pages > KEPT) {
        munmap(start, size);
        return;
    }
    memcpy(start, &kept[pages], sizeof(void *));
    kept[pages] = start;
}

static size_t round_up(size_t x, size_t to) { return (x + to - 1) / to * to; }

static head *head_of(void *block) { return (head *)((char *)block - sizeof(head)); }

static size_t piece_size(size_t bytes, size_t align)
{
    return round_up(bytes + sizeof(head) + align, PAGE);
}

/* A block without a guard. */
static void *take_plain(size_t bytes, size_t align)
{
    static unsigned char *next, *end;
    if (bytes < SMALL && align == ALIGN && small[bytes / ALIGN]) {
        void *block = small[bytes / ALIGN];
        memcpy(&small[bytes / ALIGN], block, sizeof block);
        *head_of(block) = (head){PLAIN, 0, bytes};
        return block;
    }
    const size_t wanted = bytes;
    bytes = bytes / ALIGN * ALIGN + ALIGN;
    const size_t size = round_up(bytes + sizeof(head) + align, ALIGN);
    if ((size_t)(end - next) < size) {
        const size_t room = size > ROOM ? round_up(size, PAGE) : ROOM;
        if (!(next = map(room, PROT_READ | PROT_WRITE))) return end = NULL;
        end = next + room;
    }
    unsigned char *block = (unsigned char *)round_up((uintptr_t)next + sizeof(head), align);
    next += size;
    *head_of(block) = (head){PLAIN, (uint32_t)(align > ALIGN), wanted};
    return block;
}

static void *take_guarded(size_t bytes, size_t align)
{
    const size_t size = piece_size(bytes, align);
    unsigned char *start = take_pages(size);
    if (!start) return NULL;
    unsigned char *end = start + size;
    unsigned char *block = (unsigned char *)((uintptr_t)(end - bytes) / align * align);
    const size_t rest = (size_t)(end - block) - bytes;
    memset(block + bytes, PATTERN, rest);
    *head_of(block) = (head){LIVE, (uint32_t)rest, bytes};
    return block;
}

static void *take(size_t bytes, size_t align)
{
    if (bytes > SIZE_MAX / 4 || align > SIZE_MAX / 4) {
        errno = ENOMEM;
        return NULL;
    }
    used += bytes;
    if (used > limit) beyond_limit(limit);
    if (align < ALIGN) align = ALIGN;
    void *block = guarded && bytes >= SMALL ? take_guarded(bytes, align) : take_plain(bytes, align);
    if (block) return block;
    if (refused_by_system) refused_by_system(bytes);
    used -= bytes;
    errno = ENOMEM;
    return NULL;
}

static void give(void *block)
{
    if (!block) return;
    head *h = head_of(block);
    if (h->mark == PLAIN) {
        used -= h->bytes;
        h->mark = FREED;
        if (h->bytes >= SMALL || h->rest) return;
        memcpy(block, &small[h->bytes / ALIGN], sizeof block);
        small[h->bytes / ALIGN] = block;
        return;
    }
    if (h->mark != LIVE) abort(); /* not a block, or one that was freed */
    unsigned char *end = (unsigned char *)block + h->bytes + h->rest;
    for (size_t i = 1; i <= h->rest; i++)
        if (end[-(ptrdiff_t)i] != PATTERN) abort(); /* written beyond the block */
    const size_t bytes = h->bytes, size = piece_size(bytes, ALIGN);
    const bool usual =
        h->rest < ALIGN; /* no larger alignment; a block that has one is not reused */
    used -= bytes;
    memset(h, PATTERN, sizeof *h + (bytes < FILLED ? bytes : FILLED)); /* which is no mark */
    if (usual) give_pages(end - size, size);
}

/* The shared libraries find these before those of the C library. */
#pragma GCC visibility push(default)

void *malloc(size_t bytes) { return take(bytes, ALIGN); }

void free(void *block)
{
    const int why = errno;
    give(block);
    errno = why;
}

void *calloc(size_t count, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    void *p = take(bytes, ALIGN);
    return p ? memset(p, 0, bytes) : NULL;
}

void *realloc(void *block, size_t bytes)
{
    if (!block) return take(bytes, ALIGN);
    if (head_of(block)->mark != LIVE && head_of(block)->mark != PLAIN) abort();
    void *p = take(bytes, ALIGN);
    if (!p) return NULL;
    const size_t old = head_of(block)->bytes;
    memcpy(p, block, old < bytes ? old : bytes);
    give(block);
    return p;
}

void *memalign(size_t align, size_t bytes);
void *memalign(size_t align, size_t bytes) { return take(bytes, align); }
void *aligned_alloc(size_t align, size_t bytes) { return take(bytes, align); }
void *valloc(size_t bytes) { return take(bytes, PAGE); }

int posix_memalign(void **block, size_t align, size_t bytes)
{
    *block = take(bytes, align);
    return *block ? 0 : ENOMEM;
}

size_t malloc_usable_size(void *block);
size_t malloc_usable_size(void *block) { return block ? head_of(block)->bytes : 0; }

#pragma GCC visibility pop

#endif
