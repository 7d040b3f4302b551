/* study.c - studies. A mistake ends the program, so what study.c allocates is freed here. */
#include "tests/fuzz/frame/fuzz.h"
#include "examples/lm/text.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 16 };
static void *block[BLOCKS]; /* of the input that is read */

static void *memory_of(size_t count, size_t size)
{
    int i = 0;
    while (i < BLOCKS && block[i]) i++;
    fuzz_must(i < BLOCKS, "a study allocates a few blocks");
    return block[i] = calloc(count, size);
}

static void give(void *memory)
{
    for (int i = 0; i < BLOCKS; i++)
        if (block[i] == memory) block[i] = NULL;
    free(memory);
}

static pal_status read_text(lm_text *text, const char *path, int64_t most, pal_error *error)
{
    const pal_status s = lm_text_read_most(text, path, most, error);
    unsigned char *byte = text->byte;
    if (s != PAL_OK) return s;
    text->byte = memory_of((size_t)text->size + 1, 1);
    memcpy(text->byte, byte, (size_t)text->size);
    free(byte);
    return s;
}

static void free_text(lm_text *text) { give(text->byte); }

#define lm_text_read_most read_text
#define lm_text_free      free_text
#define malloc(size)      memory_of(1, size)
#define calloc            memory_of
#define free              give
#include "examples/ablate/study.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static study s;
    char path[256];
    fuzz_file("fuzz.study", data, size);
    snprintf(path, sizeof path, "%s/fuzz.study", fuzz_folder());
    s.tasks = 0;
    if (setjmp(fuzz_stopped) == 0) {
        study_read(&s, path, NULL);
        fuzz_must(s.tasks > 0 && s.variants > 0, "a study has tasks and variants");
        study_shrink(&s);
    }
    study_free(&s);
    for (int i = 0; i < BLOCKS; i++) give(block[i]);
    fuzz_forget();
    return 0;
}
