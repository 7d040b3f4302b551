/*
 * crc32c.c - CRC-32C (Castagnoli): the checksum of iSCSI and of many file formats.
 *
 * The polynomial is 0x1EDC6F41, bit-reversed. If the selected kernels are not the portable ones,
 * the processor has an instruction for it (SSE4.2). Otherwise eight table look-ups process eight
 * bytes. Source: RFC 3720, appendix B.4; the tables are those of Kounavis, Berry, ISCC 2005.
 */
#include "tensor/internal.h"

#include <pthread.h>
#include <string.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

static uint32_t table[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t x = i;
        for (int bit = 0; bit < 8; bit++) x = x >> 1 ^ (x & 1 ? 0x82f63b78 : 0);
        table[0][i] = x;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++)
            table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 255];
}

static uint32_t by_tables(uint32_t crc, const unsigned char *p, size_t n)
{
    pthread_once(&once, make_tables);
    for (; n >= 8; p += 8, n -= 8) {
        uint32_t next = 0;
        for (int i = 0; i < 8; i++) next ^= table[7 - i][p[i] ^ (i < 4 ? crc >> (8 * i) & 255 : 0)];
        crc = next;
    }
    for (; n > 0; p++, n--) crc = crc >> 8 ^ table[0][(crc ^ *p) & 255];
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc,
                                                                 const unsigned char *p, size_t n)
{
    uint64_t wide = crc, eight;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&eight, p, 8);
        wide = _mm_crc32_u64(wide, eight);
    }
    for (crc = (uint32_t)wide; n > 0; p++, n--) crc = _mm_crc32_u8(crc, *p);
    return crc;
}
#else
#define by_instruction by_tables
#endif

uint32_t pal_crc32c(uint32_t crc, const void *data, size_t size)
{
    return ~(pal_isa_selected() == PAL_ISA_BASE ? by_tables : by_instruction)(~crc, data, size);
}
