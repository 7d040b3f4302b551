/*
 * arena.c - the allocator of the library, and arenas: chains of blocks for the tensors of a step.
 *
 * An arena only grows and a tensor never moves, so a pointer taken during a step is valid until the
 * step ends. Rewinding keeps the blocks, so a training loop stops calling the allocator after its
 * first steps.
 */
#include "tensor/internal.h"
#include "tensor/number.h"
#include "tensor/team.h"

#include <sys/mman.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define PAL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PAL_ASAN 1
#endif
#endif
#ifdef PAL_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

/* ---- Allocator ---- */

/*
 * Large blocks begin at a large page and ask the system for large pages. A kernel that walks along
 * time touches another small page with every row; looking these up took a tenth of its time.
 */
static void *large_block(size_t size)
{
    enum { LARGE_PAGE = 2 << 20 };
    void *memory = aligned_alloc(LARGE_PAGE, pal_round_up(size, LARGE_PAGE));
#ifdef MADV_HUGEPAGE
    if (memory) madvise(memory, pal_round_up(size, LARGE_PAGE), MADV_HUGEPAGE);
#endif
    return memory;
}

static void *default_alloc(void *memory, size_t old_size, size_t size, void *user)
{
    enum { LARGE = 8 << 20 };
    (void)old_size, (void)user;
    if (size >= LARGE) return large_block(size);
    if (size) return aligned_alloc(PAL_ALIGN, pal_round_up(size, PAL_ALIGN));
    free(memory);
    return NULL;
}

void *pal_zero(void *memory, size_t size)
{
    enum { PIECE = 2 << 20 };
    const int64_t pieces = (int64_t)(size / PIECE), rest = (int64_t)(size % PIECE);
    const int team = pieces > 1 ? pal_team((int64_t)(size / sizeof(float))) : 1;
    char *to = memory;
#pragma omp parallel for num_threads(team) schedule(static) if (team > 1)
    for (int64_t i = 0; i < pieces; i++) memset(to + i * PIECE, 0, PIECE);
    memset(to + pieces * PIECE, 0, (size_t)rest);
    return memory;
}

static pal_alloc_fn *allocate = default_alloc;
static void *allocate_user;

void pal_set_allocator(pal_alloc_fn *fn, void *user)
{
    allocate = fn ? fn : default_alloc;
    allocate_user = user;
}

void *pal_malloc(size_t size)
{
    return size > SIZE_MAX / 2 ? NULL : allocate(NULL, 0, size ? size : 1, allocate_user);
}

void pal_free(void *memory, size_t size)
{
    if (memory) allocate(memory, size ? size : 1, 0, allocate_user);
}

bool pal_memory_left(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED && munmap(memory, size) == 0;
}

int64_t pal_memory_available(void)
{
    const char *says = getenv("PAL_MEMORY");
    int64_t bytes;
    if (says && pal_integer_read(says, &bytes) && bytes >= 0) return bytes;
    FILE *file = fopen("/proc/meminfo", "r");
    long long kB = -1;
    for (char line[128]; file && fgets(line, sizeof line, file);)
        if (sscanf(line, "MemAvailable: %lld", &kB) == 1) break;
    if (file) fclose(file);
    return kB < 0 || kB > INT64_MAX / 1024 ? INT64_MAX : kB * 1024;
}

/* ---- Arena ---- */

struct pal_arena_block {
    pal_arena_block *next;
    size_t used, capacity;
    _Alignas(PAL_ALIGN) unsigned char memory[];
};

enum { SMALLEST_BLOCK = 1 << 16 };

/* Adds a block after the current one. It is as large as all blocks before it together, so that the
 * chain stays short. */
static pal_arena_block *add_block(pal_arena *arena, size_t size)
{
    size_t capacity = arena->reserved > SMALLEST_BLOCK ? arena->reserved : SMALLEST_BLOCK;
    if (capacity < size) capacity = size;
    pal_arena_block *b = pal_malloc(sizeof *b + capacity);
    if (!b && capacity > size) { /* perhaps less memory is left, but enough */
        capacity = size;
        b = pal_malloc(sizeof *b + capacity);
    }
    if (!b) return NULL;
    if (!arena->readable) ASAN_POISON_MEMORY_REGION(b->memory, capacity);
    b->used = 0;
    b->capacity = capacity;
    if (arena->current) {
        b->next = arena->current->next;
        arena->current->next = b;
    } else {
        b->next = arena->first;
        arena->first = arena->current = b;
    }
    arena->reserved += capacity;
    return b;
}

/* The block to take `size` bytes from: the current one, the next if it has room, or a new one. */
static pal_arena_block *block_for(pal_arena *arena, size_t size)
{
    pal_arena_block *b = arena->current;
    if (b && b->capacity - b->used >= size) return b;
    if (b && b->next && b->next->capacity >= size) return b->next;
    return add_block(arena, size);
}

void *pal_arena_take(pal_arena *arena, size_t size)
{
    if (size > SIZE_MAX / 4) return NULL;
    size = pal_round_up(size ? size : 1, PAL_ALIGN);
    pal_arena_block *b = block_for(arena, size);
    if (!b) return NULL;
    arena->current = b;
    void *p = b->memory + b->used;
    b->used += size;
    arena->live += size;
    if (arena->live > arena->peak) arena->peak = arena->live;
    ASAN_UNPOISON_MEMORY_REGION(p, size);
    return p;
}

void *pal_arena_zeroed(pal_arena *arena, size_t size)
{
    void *p = pal_arena_take(arena, size);
    return p ? memset(p, 0, size) : NULL;
}

bool pal_arena_reserve(pal_arena *arena, size_t size)
{
    return size <= SIZE_MAX / 4 && block_for(arena, pal_round_up(size, PAL_ALIGN)) != NULL;
}

pal_arena_mark pal_arena_save(const pal_arena *arena)
{
    return (pal_arena_mark){arena->current, arena->current ? arena->current->used : 0, arena->live};
}

void pal_arena_rewind(pal_arena *arena, pal_arena_mark mark)
{
    pal_arena_block *from = mark.block ? mark.block : arena->first;
    for (pal_arena_block *b = from; b; b = b->next) {
        size_t keep = b == mark.block ? mark.used : 0;
        if (!arena->readable) ASAN_POISON_MEMORY_REGION(b->memory + keep, b->capacity - keep);
        b->used = keep;
        if (b == arena->current) break; /* later blocks have not been used */
    }
    arena->current = from;
    arena->live = mark.live;
}

void pal_arena_reset(pal_arena *arena) { pal_arena_rewind(arena, (pal_arena_mark){0}); }

void pal_arena_free(pal_arena *arena)
{
    for (pal_arena_block *b = arena->first, *next; b; b = next) {
        next = b->next;
        ASAN_UNPOISON_MEMORY_REGION(b->memory, b->capacity);
        pal_free(b, sizeof *b + b->capacity);
    }
    *arena = (pal_arena){.readable = arena->readable};
}
