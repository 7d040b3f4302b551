/*
 * shards.c - model.safetensors.index.json beside two files of tensors: an index that is taken lists
 * just their tensors.
 */
#include "tensor/files/weights.h"
#include "tests/fuzz/frame/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void make_shard(const char *name, const char *header, size_t bytes)
{
    uint8_t all[512] = {0};
    const size_t n = strlen(header);
    all[0] = (uint8_t)n;
    all[1] = (uint8_t)(n >> 8);
    memcpy(all + 8, header, n);
    fuzz_file(name, all, 8 + n + bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool made;
    pal_weights *w;
    pal_error error = {0};
    if (!made) {
        make_shard("one", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
        make_shard("two",
                   "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                   "\"c\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[4,5]}}",
                   5);
        made = true;
    }
    fuzz_file("model.safetensors.index.json", data, size);
    const pal_status s = pal_weights_open(&w, fuzz_folder(), &error);
    fuzz_refused(s, &error);
    if (s == PAL_OK) {
        const int files = pal_weights_files(w);
        const int64_t want = files == 2                                        ? 3
                             : files == 0                                      ? 0
                             : strcmp(pal_weights_file_name(w, 0), "one") == 0 ? 1
                                                                               : 2;
        fuzz_must(files <= 2 && pal_weights_count(w) == want, "each tensor of its files");
        for (int64_t i = 0; i < pal_weights_count(w); i++)
            fuzz_must(pal_weights_find(w, pal_weights_at(w, i)->name) == i, "is found by its name");
    }
    pal_weights_close(w);
    fuzz_forget();
    return 0;
}
