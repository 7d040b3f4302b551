/*
 * denormals.h - a mode in which denormal numbers (below 1e-38 in f32) are replaced by zero.
 *
 * Products of many decays become that small, and many processors are far slower with such numbers:
 * a model became slower to train as its gates became strong. The mode belongs to a thread. Every
 * thread of a team, also the caller, is in the mode during all of the work and leaves it
 * afterwards. So results do not depend on the number of threads.
 */
#ifndef PAL_DENORMALS_H
#define PAL_DENORMALS_H

#include <stdint.h>

#if defined(__SSE2__)
#include <xmmintrin.h>

enum {
    PAL_FLUSH = 0x8040
}; /* bits of MXCSR: denormal results become zero, and denormal operands count as zero */

/*
 * From here on this thread flushes denormal numbers. Returns the previous mode for pal_flush_end.
 * Only calls through pointers are certain to stay between the two: a compiler may move arithmetic
 * out.
 */
static inline unsigned pal_flush_begin(void)
{
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | PAL_FLUSH);
    return before;
}
static inline void pal_flush_end(unsigned before)
{
    _mm_setcsr((_mm_getcsr() & ~(unsigned)PAL_FLUSH) | (before & PAL_FLUSH));
}
#elif defined(__aarch64__)
enum { PAL_FLUSH = 1 << 24 }; /* bit FZ of FPCR: the same for results and operands */

static inline unsigned pal_flush_begin(void)
{
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" ::"r"(before | PAL_FLUSH) : "memory");
    return (unsigned)before;
}
static inline void pal_flush_end(unsigned before)
{
    uint64_t now;
    __asm__ volatile("mrs %0, fpcr" : "=r"(now));
    now = (now & ~(uint64_t)PAL_FLUSH) | (before & PAL_FLUSH);
    __asm__ volatile("msr fpcr, %0" ::"r"(now) : "memory");
}
#else
static inline unsigned pal_flush_begin(void) { return 0; }
static inline void pal_flush_end(unsigned before) { (void)before; }
#endif

#endif
