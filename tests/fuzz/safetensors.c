/*
 * safetensors.c - files of named tensors: what is read has each byte of its numbers once, and is
 * read as the same again after it was written.
 *
 * An input that begins with { is a header, and behind its first NUL the numbers; what else is in
 * front of a file's header is put there. Any other input is a file as it is.
 */
#include "tensor/files/safetensors.h"
#include "tests/fuzz/frame/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void make_file(const uint8_t *data, size_t size)
{
    if (size == 0 || data[0] != '{') {
        fuzz_file("in", data, size);
        return;
    }
    const uint8_t *end = memchr(data, 0, size);
    const size_t header = end ? (size_t)(end - data) : size, rest = end ? size - header - 1 : 0;
    uint8_t *all = malloc(8 + size);
    for (int i = 0; i < 8; i++) all[i] = (uint8_t)((uint64_t)header >> 8 * i);
    memcpy(all + 8, data, header);
    if (rest) memcpy(all + 8 + header, data + header + 1, rest);
    fuzz_file("in", all, 8 + header + rest);
    free(all);
}

static void check_bytes(const pal_safetensors *f)
{
    const int64_t n = pal_safetensors_count(f);
    size_t at = n ? pal_safetensors_at(f, 0)->begin : 0;
    unsigned sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const pal_stored *t = pal_safetensors_at(f, i);
        fuzz_must(t->begin == at && *t->name && strlen(t->name) <= 400, "tensors lie side by side");
        for (size_t b = 0; b < t->bytes; b++) sum += t->data[b];
        at += t->bytes;
        if (t->type != PAL_EL_OTHER)
            fuzz_must((size_t)pal_shape_count(t->shape) * pal_element_size(t->type) == t->bytes,
                      "a shape has its bytes");
    }
    fuzz_must(sum < UINT32_MAX, "all bytes can be read");
}

static void write_again(const pal_safetensors *f, const char *path)
{
    pal_safetensors_out *out;
    pal_safetensors *again;
    pal_error error;
    const int64_t n = pal_safetensors_count(f);
    char *metadata = pal_safetensors_metadata(f);
    pal_status s =
        pal_safetensors_create(&out, path, n, pal_safetensors_at(f, 0), metadata, &error);
    fuzz_must(s == PAL_OK, "a file is begun");
    for (int64_t i = 0; i < n && s == PAL_OK; i++)
        s = pal_safetensors_put(out, pal_safetensors_at(f, i)->data,
                                pal_safetensors_at(f, i)->bytes, &error);
    fuzz_must(pal_safetensors_commit(out, s, &error) == PAL_OK, "it is written");
    fuzz_must(pal_safetensors_open(&again, path, &error) == PAL_OK, "it is read again");
    fuzz_must(pal_safetensors_count(again) == n, "with as many tensors");
    for (int64_t i = 0; i < n; i++) {
        const pal_stored *a = pal_safetensors_at(f, i), *b = pal_safetensors_at(again, i);
        fuzz_must(strcmp(a->name, b->name) == 0 && strcmp(a->dtype, b->dtype) == 0 &&
                      pal_shape_equal(a->shape, b->shape) && a->bytes == b->bytes &&
                      (a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0),
                  "which are the same");
    }
    pal_safetensors_close(again);
    free(metadata);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pal_safetensors *f;
    pal_error error = {0};
    char in[256], out[256];
    snprintf(in, sizeof in, "%s/in", fuzz_folder());
    snprintf(out, sizeof out, "%s/out", fuzz_folder());
    make_file(data, size);
    const pal_status s = pal_safetensors_open(&f, in, &error);
    fuzz_refused(s, &error);
    if (s == PAL_OK) {
        check_bytes(f);
        write_again(f, out);
    }
    pal_safetensors_close(f);
    fuzz_forget();
    return 0;
}
