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
#else
static inline unsigned pal_flush_begin(void) { return 0; }
static inline void pal_flush_end(unsigned before) { (void)before; }
#endif

#endif
