/*
 * prompts.c - the texts that are continued.
 *
 * ChatML is the form in which the models that have <|im_start|> and <|im_end|> have read
 * conversations: every part is <|im_start|>WHO, a line end, what was said, <|im_end|> and a line
 * end.
 */
#include "examples/generate/generate.h"

#include <stdlib.h>
#include <string.h>

static const char START[] = "<|im_start|>", END[] = "<|im_end|>";

static void add_sequence(gen_all *g, const char *byte, int64_t size)
{
    for (int64_t i = 0; i < g->o.batch; i++) {
        const size_t room = (size_t)(g->sequences + 1) * sizeof *g->sequence;
        g->sequence = gen_memory(realloc(g->sequence, room));
        gen_sequence *s = &g->sequence[g->sequences++];
        *s = (gen_sequence){.next = -1, .text = {gen_memory(malloc((size_t)size + 1)), size}};
        if (size) memcpy(s->text.byte, byte, (size_t)size);
    }
}

/* Every line that is not empty is a prompt. */
static void add_lines(gen_all *g, const lm_text *file)
{
    const char *at = (const char *)file->byte, *const end = at + file->size;
    while (at < end) {
        const char *stop_at = memchr(at, '\n', (size_t)(end - at));
        const char *next = stop_at ? stop_at + 1 : end;
        int64_t size = (stop_at ? stop_at : end) - at;
        if (size > 0 && at[size - 1] == '\r') size--;
        if (size > 0) add_sequence(g, at, size);
        at = next;
    }
    if (g->sequences == 0) gen_stop("--prompts: %s has no line with a prompt", g->o.prompts);
}

/* The text of a conversation in which it is the model's turn. After a state, the model has read or
 * written its own last turn; `closed`: with the token that ends it. */
static void wrap(gen_all *g, gen_sequence *s, bool again, bool closed)
{
    char *text = NULL;
    size_t size;
    FILE *to = gen_memory(open_memstream(&text, &size));
    if (again) fprintf(to, "%s\n", closed ? "" : END);
    if (g->o.system && !again) fprintf(to, "%ssystem\n%s%s\n", START, g->o.system, END);
    fprintf(to, "%suser\n", START);
    fwrite(s->text.byte, 1, (size_t)s->text.size, to);
    fprintf(to, "%s\n%sassistant\n", END, START);
    if (fclose(to) != 0) gen_memory(NULL);
    lm_text_free(&s->text);
    s->text = (lm_text){(unsigned char *)text, (int64_t)size};
}

void gen_read_prompts(gen_all *g)
{
    pal_error error;
    lm_text text = {NULL, 0};
    if (g->o.prompts) {
        gen_need(lm_text_read(&text, g->o.prompts, &error), &error);
        add_lines(g, &text);
    } else {
        if (g->o.prompt)
            gen_need(lm_text_copy(&text, g->o.prompt, &error), &error);
        else if (!g->o.load)
            gen_need(lm_text_read(&text, "-", &error), &error);
        add_sequence(g, (const char *)text.byte, text.size);
    }
    lm_text_free(&text);
    if (!g->o.chat) return;
    if (pal_tokenizer_special(g->file.tokenizer, START) >= 0 &&
        pal_tokenizer_special(g->file.tokenizer, END) >= 0)
        return;
    g->o.chat = false;
    fprintf(stderr, "note    the tokenizer has no %s and %s, so the prompt is read as it is\n",
            START, END);
}

void gen_encode(gen_all *g, gen_sequence *s)
{
    pal_error error;
    const bool again = g->o.load != NULL;
    if (g->o.chat && (s->text.size > 0 || !again))
        wrap(g, s, again, s->next == pal_tokenizer_special(g->file.tokenizer, END));
    const pal_encode_opts how = {.begin = !again && !g->o.plain, .plain = g->o.plain};
    gen_need(pal_tokenizer_encode_with(g->file.tokenizer, s->text.byte, s->text.size, how,
                                       &s->prompt, &error),
             &error);
    if (s->prompt.count == 0 && !again) gen_stop("the prompt is empty");
}
