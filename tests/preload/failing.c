/*
 * failing.c - a library for LD_PRELOAD that lets one allocation of a program fail.
 *
 * Allocations of the program itself are counted, also those that libc makes for it (strdup, fopen).
 * Those of other libraries always succeed, because some of these crash.
 *     FAIL_AT=N      number N fails, from 1 on
 *     FAIL_ALL=1     so do all after it
 *     FAIL_COUNT=F   their number is written to the file F at the end
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

typedef struct range {
    uintptr_t from, to;
} range;

enum { FRAMES = 16 };
static range program, libc, own;
static long fail_at;
static bool fail_all, ready;
static atomic_long count;
static _Thread_local bool inside;

static bool in(range r, const void *address)
{
    return (uintptr_t)address >= r.from && (uintptr_t)address < r.to;
}

static int add(struct dl_phdr_info *info, size_t size, void *first)
{
    (void)size;
    range r = {UINTPTR_MAX, 0};
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
        if (from < r.from) r.from = from;
        if (from + info->dlpi_phdr[i].p_memsz > r.to) r.to = from + info->dlpi_phdr[i].p_memsz;
    }
    if (*(bool *)first) program = r;
    if (strstr(info->dlpi_name, "/libc.so")) libc = r;
    if (in(r, (const void *)(uintptr_t)add)) own = r;
    *(bool *)first = false;
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    bool first = true;
    void *frame[FRAMES];
    dl_iterate_phdr(add, &first);
    backtrace(frame, FRAMES); /* loads what it needs */
    if (getenv("FAIL_AT")) fail_at = atol(getenv("FAIL_AT"));
    fail_all = getenv("FAIL_ALL") != NULL;
    ready = true;
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("FAIL_COUNT");
    char text[32];
    ready = false;
    const int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;
    const int n = snprintf(text, sizeof text, "%ld\n", atomic_load(&count));
    if (fd >= 0 && write(fd, text, (size_t)n) != n) _exit(2);
}

/* Whether the allocation is one of the program: the first caller outside of libc decides. */
static bool is_ours(const void *caller)
{
    void *frame[FRAMES];
    if (in(program, caller)) return true;
    if (!in(libc, caller)) return false;
    const int n = backtrace(frame, FRAMES);
    for (int i = 0; i < n; i++)
        if (!in(own, frame[i]) && !in(libc, frame[i])) return in(program, frame[i]);
    return false;
}

static bool fails(const void *caller)
{
    if (!ready || inside) return false;
    inside = true;
    const long number = is_ours(caller) ? atomic_fetch_add(&count, 1) + 1 : 0;
    inside = false;
    if (!number || (number != fail_at && !(fail_all && fail_at && number > fail_at))) return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *memory, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    if (fails(__builtin_return_address(0))) return ENOMEM;
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}
