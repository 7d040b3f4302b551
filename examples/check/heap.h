/*
 * heap.h - an allocator that tells when a library reads or writes beyond its memory.
 *
 * It takes the place of malloc and its relatives in the whole program. After heap_guard each block
 * ends where its pages end, and the pages behind it cannot be touched: reading or writing beyond
 * the block ends the process by a signal. Up to 15 bytes lie in between; they
 * are compared when the block is freed. New memory in these blocks is filled with a pattern. Blocks
 * of less than 64 bytes have neither. One thread may use it. A build with a sanitizer keeps the
 * sanitizer's allocator.
 */
#ifndef CHECK_HEAP_H
#define CHECK_HEAP_H

#include <stdbool.h>
#include <stddef.h>

bool heap_is_ours(void);
/* From this call on, blocks are guarded. Blocks taken before are ordinary ones, which cost little.
 * Call it when the libraries have taken what they always take, before anything is read. */
void heap_guard(void);
/* Calls `beyond` with the limit when the blocks have more bytes together, and `refused` with a
 * block's bytes when the system has no memory for it. Neither may return. */
void heap_limit(size_t bytes, void (*beyond)(size_t limit), void (*refused)(size_t wanted));

#endif
