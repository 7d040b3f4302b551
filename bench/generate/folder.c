/*
 * folder.c - a folder of a released model, with random numbers.
 */
#include "bench/generate/folder.h"
#include "tensor/stream.h"
#include "tensor/tensor.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const model_shape model_small = {.layers = 24,
                                 .width = 1024,
                                 .mlp = 3584,
                                 .vocab = 248320,
                                 .heads = 8,
                                 .kv_heads = 2,
                                 .head_dim = 256,
                                 .k_heads = 16,
                                 .v_heads = 16,
                                 .k_dim = 128,
                                 .v_dim = 128};

enum { CONV = 4, NUMBERS = 1 << 20 };

/* The header of the tensors while it is written. */
typedef struct header {
    FILE *to;
    int64_t bytes; /* of the tensors so far */
} header;

static FILE *open_in(const char *folder, const char *name, const char *mode)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, mode);
    if (!file) perror(path);
    return file;
}

/* ---- config.json ---- */

static bool write_config(const char *folder, const model_shape *m)
{
    FILE *to = open_in(folder, "config.json", "w");
    if (!to) return false;
    fprintf(to,
            "{\"model_type\": \"qwen3_5_text\", \"num_hidden_layers\": %lld, \"hidden_size\": "
            "%lld, \"intermediate_size\": %lld, \"vocab_size\": %lld,\n",
            (long long)m->layers, (long long)m->width, (long long)m->mlp, (long long)m->vocab);
    fprintf(to,
            "\"num_attention_heads\": %lld, \"num_key_value_heads\": %lld, \"head_dim\": %lld, "
            "\"full_attention_interval\": 4, \"tie_word_embeddings\": true,\n",
            (long long)m->heads, (long long)m->kv_heads, (long long)m->head_dim);
    fprintf(to,
            "\"linear_num_key_heads\": %lld, \"linear_num_value_heads\": %lld, "
            "\"linear_key_head_dim\": %lld, \"linear_value_head_dim\": %lld, "
            "\"linear_conv_kernel_dim\": %d,\n",
            (long long)m->k_heads, (long long)m->v_heads, (long long)m->k_dim, (long long)m->v_dim,
            CONV);
    fprintf(to, "\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 10000000, "
                "\"partial_rotary_factor\": 0.25}}\n");
    return fclose(to) == 0;
}

/* ---- model.safetensors ---- */

static void add(header *h, int64_t layer, const char *name, int64_t rows, int64_t columns)
{
    const int64_t end = h->bytes + 2 * rows * (columns ? columns : 1);
    fprintf(h->to, "%c\"model.", h->bytes ? ',' : '{');
    if (layer >= 0) fprintf(h->to, "layers.%lld.", (long long)layer);
    fprintf(h->to, "%s\":{\"dtype\":\"BF16\",\"shape\":[%lld", name, (long long)rows);
    if (columns == CONV)
        fprintf(h->to, ",1,%d", CONV);
    else if (columns)
        fprintf(h->to, ",%lld", (long long)columns);
    fprintf(h->to, "],\"data_offsets\":[%lld,%lld]}", (long long)h->bytes, (long long)end);
    h->bytes = end;
}

static void add_linear(header *h, const model_shape *m, int64_t i)
{
    const int64_t K = m->k_heads * m->k_dim, V = m->v_heads * m->v_dim;
    add(h, i, "linear_attn.A_log", m->v_heads, 0);
    add(h, i, "linear_attn.dt_bias", m->v_heads, 0);
    add(h, i, "linear_attn.conv1d.weight", 2 * K + V, CONV);
    add(h, i, "linear_attn.in_proj_qkv.weight", 2 * K + V, m->width);
    add(h, i, "linear_attn.in_proj_z.weight", V, m->width);
    add(h, i, "linear_attn.in_proj_a.weight", m->v_heads, m->width);
    add(h, i, "linear_attn.in_proj_b.weight", m->v_heads, m->width);
    add(h, i, "linear_attn.norm.weight", m->v_dim, 0);
    add(h, i, "linear_attn.out_proj.weight", m->width, V);
}

static void add_full(header *h, const model_shape *m, int64_t i)
{
    add(h, i, "self_attn.q_proj.weight", 2 * m->heads * m->head_dim, m->width);
    add(h, i, "self_attn.k_proj.weight", m->kv_heads * m->head_dim, m->width);
    add(h, i, "self_attn.v_proj.weight", m->kv_heads * m->head_dim, m->width);
    add(h, i, "self_attn.q_norm.weight", m->head_dim, 0);
    add(h, i, "self_attn.k_norm.weight", m->head_dim, 0);
    add(h, i, "self_attn.o_proj.weight", m->width, m->heads * m->head_dim);
}

/* The text of the header, for free(), and the bytes of the tensors; NULL: out of memory. */
static char *make_header(const model_shape *m, size_t *size, int64_t *bytes)
{
    header h = {.to = pal_stream_open()};
    if (!h.to) return NULL;
    add(&h, -1, "embed_tokens.weight", m->vocab, m->width);
    for (int64_t i = 0; i < m->layers; i++) {
        add(&h, i, "input_layernorm.weight", m->width, 0);
        if ((i + 1) % 4 == 0)
            add_full(&h, m, i);
        else
            add_linear(&h, m, i);
        add(&h, i, "post_attention_layernorm.weight", m->width, 0);
        add(&h, i, "mlp.gate_proj.weight", m->mlp, m->width);
        add(&h, i, "mlp.up_proj.weight", m->mlp, m->width);
        add(&h, i, "mlp.down_proj.weight", m->width, m->mlp);
    }
    add(&h, -1, "norm.weight", m->width, 0);
    fputc('}', h.to);
    *bytes = h.bytes;
    return pal_stream_close(h.to, size);
}

/* bf16 of either sign from 2^-6 to 2^-5, about as large as real ones. */
static void draw(uint16_t *to, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    for (int i = 0; i < NUMBERS; i += 4) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        for (int j = 0; j < 4; j++) to[i + j] = (uint16_t)(0x3c80u | ((x >> (16 * j)) & 0x807fu));
    }
}

static bool write_tensors(const char *folder, const model_shape *m)
{
    size_t size;
    int64_t bytes;
    char *text = make_header(m, &size, &bytes);
    uint16_t *part = malloc(NUMBERS * sizeof *part);
    FILE *to = text && part ? open_in(folder, "model.safetensors", "wb") : NULL;
    bool good = to != NULL;
    if (good) {
        unsigned char length[8];
        for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)size >> (8 * i));
        good = fwrite(length, 1, 8, to) == 8 && fwrite(text, 1, size, to) == size;
        for (int64_t at = 0; at < bytes && good; at += 2 * NUMBERS) {
            const int64_t left = bytes - at, n = left < 2 * NUMBERS ? left : 2 * NUMBERS;
            draw(part, (uint64_t)at + 1);
            good = fwrite(part, 1, (size_t)n, to) == (size_t)n;
        }
        good = fclose(to) == 0 && good;
    }
    free(text);
    free(part);
    if (!good) fprintf(stderr, "%s: the model cannot be written\n", folder);
    return good;
}

bool folder_write(const char *folder, const model_shape *shape)
{
    return write_config(folder, shape) && write_tensors(folder, shape);
}

void folder_remove(const char *folder)
{
    static const char *const names[] = {"config.json", "model.safetensors"};
    char path[PATH_MAX];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

void folder_warm(const char *folder)
{
    static const char end[] = ".safetensors";
    DIR *all = opendir(folder);
    char *part = malloc(1 << 20);
    for (struct dirent *e; all && part && (e = readdir(all));) {
        const size_t n = strlen(e->d_name);
        if (n < sizeof end || strcmp(e->d_name + n - strlen(end), end) != 0) continue;
        FILE *file = open_in(folder, e->d_name, "rb");
        while (file && fread(part, 1, 1 << 20, file) > 0) {
        }
        if (file) fclose(file);
    }
    if (all) closedir(all);
    free(part);
}
