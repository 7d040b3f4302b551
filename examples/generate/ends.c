/* ends.c - the tokens that end a text. */
#include "examples/generate/generate.h"
#include "tensor/text/ends.h"

#include <string.h>
#include <sys/stat.h>

/* What a file of the folder says, if it is there. */
static void read_file(gen_all *g, const char *name)
{
    char path[PAL_PATH];
    struct stat is;
    lm_text text;
    pal_error error, why;
    if (snprintf(path, sizeof path, "%s/%s", g->o.checkpoint, name) >= PAL_PATH) return;
    if (stat(path, &is) != 0) return;
    gen_need(lm_text_read(&text, path, &error), &error);
    const pal_status s = pal_ends_read((const char *)text.byte, text.size, &g->end, &why);
    lm_text_free(&text);
    if (s != PAL_OK) gen_stop("%s: %s", path, why.message);
}

void gen_find_ends(gen_all *g)
{
    pal_error error;
    pal_tokenizer *b = g->file.tokenizer;
    struct stat is;
    if (g->o.no_end) return;
    if (g->o.end) {
        gen_need(pal_tokenizer_encode(b, g->o.end, (int64_t)strlen(g->o.end), &g->end, &error),
                 &error);
        if (g->end.count != 1)
            gen_stop("--end: '%s' is %lld tokens of this tokenizer, and one is wanted", g->o.end,
                     (long long)g->end.count);
        return;
    }
    if (stat(g->o.checkpoint, &is) == 0 && S_ISDIR(is.st_mode)) {
        read_file(g, "generation_config.json");
        if (g->end.count == 0) read_file(g, "config.json");
    }
    if (g->end.count == 0) gen_need(pal_ends_named(b, &g->end, &error), &error);
    /* In a conversation a turn ends, too. */
    if (g->o.chat && !gen_is_end(g, pal_tokenizer_special(b, "<|im_end|>")))
        gen_need(pal_tokenizer_encode(b, "<|im_end|>", 10, &g->end, &error), &error);
}

bool gen_is_end(const gen_all *g, int64_t token)
{
    for (int64_t i = 0; i < g->end.count; i++)
        if (g->end.id[i] == token) return true;
    return false;
}
