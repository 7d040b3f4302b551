/*
 * folder.h - a folder as models of Qwen3.5's kind are released in, with random numbers, for
 * bench/generate.
 */
#ifndef PAL_BENCH_FOLDER_H
#define PAL_BENCH_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

/* The sizes that differ among such models; every fourth layer is attention. */
typedef struct model_shape {
    int64_t layers, width, mlp, vocab;
    int64_t heads, kv_heads, head_dim;      /* of attention */
    int64_t k_heads, v_heads, k_dim, v_dim; /* of Gated DeltaNet */
} model_shape;

/* That of Qwen3.5-0.8B. */
extern const model_shape model_small;

/* Writes config.json and model.safetensors (bf16) into an empty folder; false: it cannot, and the
 * reason was printed. */
bool folder_write(const char *folder, const model_shape *shape);
/* Removes the two files and the folder. */
void folder_remove(const char *folder);
/* Reads every file of weights once, so that its pages are in memory. */
void folder_warm(const char *folder);

#endif
