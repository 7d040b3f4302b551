/*
 * stacks.c - for how many stacks of threads there is memory.
 */
#include "tensor/team.h"
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The bytes of a thread's stack, as libgomp takes them: from these variables, in KiB if no letter
 * names another unit, else the system's. A value that is no size it ignores. */
static size_t stack_size(void)
{
    static const char *const variables[] = {"OMP_STACKSIZE", "GOMP_STACKSIZE"};
    static const char units[] = "bkmg";
    pthread_attr_t standard;
    size_t stack = 8 << 20;
    for (int i = 0; i < 2; i++) {
        const char *text = getenv(variables[i]);
        char *end = NULL;
        const size_t n = text ? strtoul(text, &end, 10) : 0;
        if (n == 0) continue;
        end += strspn(end, " \t\n");
        const char *unit = *end ? strchr(units, *end | 0x20) : units + 1;
        const int shift = unit ? 10 * (int)(unit - units) : 0;
        if (unit && n <= SIZE_MAX >> shift && n << shift >= (size_t)PTHREAD_STACK_MIN)
            return n << shift;
    }
    if (pthread_getattr_default_np(&standard) == 0) {
        pthread_attr_getstacksize(&standard, &stack);
        pthread_attr_destroy(&standard);
    }
    return stack;
}

/* How many of `n` stacks there is memory for. Each is a mapping, as it will be for its thread: the
 * system may refuse one mapping of all of them that is larger than the machine's memory. */
static int mapped(int n, size_t size)
{
    void *stack = n > 0
                      ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                      : MAP_FAILED;
    if (stack == MAP_FAILED) return 0;
    const int more = mapped(n - 1, size);
    munmap(stack, size);
    return 1 + more;
}

/* Stacks on which our work would not find room (OMP_STACKSIZE, ulimit -s) are not made. */
int pal_stacks_left(int n)
{
    enum { MORE = 1 << 20 };    /* bytes beside the stack */
    enum { LEAST = 256 << 10 }; /* of a stack; products by BLIS need more than 32 KiB */
    const size_t stack = stack_size();
    return stack >= LEAST && stack < SIZE_MAX - MORE ? mapped(n, stack + MORE) : 0;
}
