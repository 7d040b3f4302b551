/*
 * denormals.h - numbers below the smallest normal one (1e-38 in f32) as zeros, where asked for.
 *
 * Products of decays end there, and many processors are far slower with them, so that a model
 * became slower to train as its gates became strong. The mode belongs to a thread. So that results
 * do not depend on the number of threads, every thread of a team is in it for the whole of the
 * work, whether it is the caller or not, and leaves it after.
 */
#ifndef PAL_DENORMALS_H
#define PAL_DENORMALS_H

#if defined(__SSE2__)
#include <xmmintrin.h>

enum { PAL_FLUSH = 0x8040 }; /* of MXCSR: results become zero, and operands count as zero */

/* From here on this thread flushes; what it did before, for pal_flush_end. Calls through pointers
 * alone are surely between the two: a compiler may move arithmetic across them. */
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
