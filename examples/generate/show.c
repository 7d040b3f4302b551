/*
 * show.c - the text as it is written.
 *
 * It goes through a stream of the tokenizer, which knows the prompt, so that it is what all tokens
 * together stand for. The prompt itself is shown as it was given, but for its last bytes if they
 * are not text yet.
 */
#include "examples/generate/generate.h"

#include <stdlib.h>

static void add(pal_token_ids *to, int64_t id)
{
    if (to->count == to->room) {
        to->room = to->room ? 2 * to->room : 16;
        to->id = gen_memory(realloc(to->id, (size_t)to->room * sizeof *to->id));
    }
    to->id[to->count++] = id;
}

/* Hands a token to the stream, and shows what becomes text. */
static void push(gen_sequence *s, int64_t token, bool shown)
{
    pal_error error;
    const char *text;
    int64_t size;
    gen_need(pal_tokenizer_stream_put(s->stream, token, &text, &size, &error), &error);
    if (shown) fwrite(text, 1, (size_t)size, s->to);
    if (pal_tokenizer_stream_held(s->stream) == 0)
        s->held.count = 0;
    else
        add(&s->held, token);
}

static void flush(gen_sequence *s)
{
    pal_error error;
    const char *text;
    int64_t size;
    gen_need(pal_tokenizer_stream_end(s->stream, &text, &size, &error), &error);
    fwrite(text, 1, (size_t)size, s->to);
    s->held.count = 0;
}

void gen_begin_text(gen_all *g, gen_sequence *s, bool again)
{
    const pal_stream_opts how = {
        .specials = g->o.special, .inside = again, .raw = g->o.raw || g->bytes};
    s->stream = gen_memory(pal_tokenizer_stream_new(g->file.tokenizer, how));
    pal_token_ids before = s->held;
    s->held = (pal_token_ids){NULL, 0, 0};
    /* What they make now was shown by the call that kept them. */
    for (int64_t i = 0; i < before.count; i++) push(s, before.id[i], false);
    pal_token_ids_free(&before);
    if (s->prompt.count == 0) return;
    flush(s); /* the prompt is encoded by itself */
    for (int64_t i = 0; i < s->prompt.count; i++) push(s, s->prompt.id[i], false);
    if (g->o.chat) return; /* only the answer is shown */
    const int64_t held = pal_tokenizer_stream_held(s->stream);
    if (held < s->text.size) fwrite(s->text.byte, 1, (size_t)(s->text.size - held), s->to);
    if (s->to == stdout) fflush(stdout);
}

void gen_put_token(gen_all *g, gen_sequence *s, int64_t token)
{
    (void)g;
    push(s, token, true);
    if (s->to == stdout && fflush(stdout) != 0) exit(EXIT_FAILURE); /* flags/streams.c says why */
}

void gen_end_text(gen_all *g, gen_sequence *s)
{
    if (!g->o.save) flush(s);
    if (s->to == stdout && fflush(stdout) != 0) exit(EXIT_FAILURE);
}
