/*
 * split.c - a text into pretokens: added tokens, normalizers, added tokens again, then UTF-8 and
 * what is not, then the pre_tokenizers.
 *
 * Every pre_tokenizer cuts the pieces of the one before, and sees no further than its piece. After
 * a ByteLevel that others follow, pieces are spelled in the alphabet of bytes.
 */
#include "tensor/text/internal.h"
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

/*
 * GPT-2's pattern: an English contraction; letters, digits or other characters, each with one space
 * before them; white space up to the last before a word; the rest of it.
 */
const char pal_bpe_gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?"
                                    "[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

typedef struct splitter {
    pal_tokenizer *b;
    pal_bpe_piece_fn *fn;
    void *user;
    bool plain;
    bool first; /* nothing came before the text that is being cut */
    pal_error *error;
} splitter;

static pal_status no_memory(const splitter *s)
{
    return pal_error_set(s->error, PAL_ENOMEM, "pal_tokenizer_encode: out of memory");
}

/* ---- The pre_tokenizers ---- */

static pal_status stage(const splitter *s, int number, const char *text, int64_t size, bool first);

/* A piece that all pre_tokenizers have cut; a spelled one becomes bytes again. */
static pal_status last(const splitter *s, const char *text, int64_t size)
{
    if (!s->b->spelled_pieces) return s->fn(s->user, text, size, -1, s->error);
    char *byte = malloc((size_t)size);
    if (!byte) return no_memory(s);
    const int64_t n = pal_bpe_unspell(text, size, byte);
    pal_status status = n < 0 ? pal_bpe_bad(s->error, "a spelled piece has other characters")
                              : s->fn(s->user, byte, n, -1, s->error);
    free(byte);
    return status;
}

/* Where a stage stands in its piece. */
typedef struct cutter {
    const splitter *s;
    int number;
    const char *text;
    bool first;
    int64_t begin, end; /* the piece that the next span may belong to; begin -1: none */
    bool match;         /* whether the span before was a match */
} cutter;

static pal_status hand_on(cutter *c)
{
    const int64_t begin = c->begin, end = c->end;
    c->begin = -1;
    if (begin < 0 || begin == end) return PAL_OK;
    return stage(c->s, c->number + 1, c->text + begin, end - begin, c->first && begin == 0);
}

/* The next span, a match or what lies between matches; spans follow each other without a gap. */
static pal_status span(cutter *c, pal_bpe_behavior behavior, int64_t begin, int64_t end, bool match)
{
    pal_status status = PAL_OK;
    const bool was = c->match;
    bool joins = false;
    if (behavior == PAL_BPE_PREVIOUS) joins = match && !was;
    if (behavior == PAL_BPE_NEXT) joins = !match && was;
    if (behavior == PAL_BPE_CONTIGUOUS) joins = match == was;
    c->match = match;
    if (joins && c->begin >= 0) {
        c->end = end;
    } else {
        status = hand_on(c);
        c->begin = behavior == PAL_BPE_REMOVED && match ? -1 : begin;
        c->end = end;
    }
    return status;
}

static pal_status cut(const splitter *s, int number, const char *text, int64_t size, bool first)
{
    pal_tokenizer *b = s->b;
    const pal_bpe_stage *how = &b->stage[number];
    cutter c = {.s = s, .number = number, .text = text, .first = first, .begin = -1};
    pal_bpe_search search = {
        .last = -1, .code = how->code, .where = "pre_tokenizer", .number = number};
    int64_t done = 0;
    pal_status status = PAL_OK;
    for (bool found = true; found && status == PAL_OK;) {
        status = pal_bpe_next(b, &search, text, size, &found, s->error);
        if (status != PAL_OK) break;
        const int64_t begin = found ? search.begin : size, end = search.end;
        if (done < begin) status = span(&c, how->behavior, done, begin, how->invert);
        if (status == PAL_OK && found) status = span(&c, how->behavior, begin, end, !how->invert);
        done = end;
    }
    return status == PAL_OK ? hand_on(&c) : status;
}

static bool spell(const char *text, int64_t size, pal_bpe_buffer *to)
{
    if (!pal_bpe_grow((void **)&to->byte, &to->room, 2 * size, 1)) return false;
    for (int64_t i = 0; i < size; i++)
        to->size += pal_bpe_spell((unsigned char)text[i], to->byte + to->size);
    return true;
}

/* The piece with other spaces, and one more at the beginning. */
static bool respace(const char *space, bool prefix, const char *text, int64_t size,
                    pal_bpe_buffer *to)
{
    const int64_t n = (int64_t)strlen(space);
    bool room = true;
    if (prefix && text[0] != ' ' && (size < n || memcmp(text, space, (size_t)n) != 0))
        room = pal_bpe_buffer_add(to, space, n);
    for (int64_t i = 0; i < size && room; i++) {
        const bool is_space = text[i] == ' ';
        room = pal_bpe_buffer_add(to, is_space ? space : text + i, is_space ? n : 1);
    }
    return room;
}

static pal_status stage(const splitter *s, int number, const char *text, int64_t size, bool first)
{
    pal_tokenizer *b = s->b;
    if (number == b->stages) return last(s, text, size);
    const pal_bpe_stage *how = &b->stage[number];
    pal_bpe_buffer made = {0};
    const bool prefix = how->prefix && (first || !how->first);
    const bool respaced = prefix || (how->space[0] && how->space[0] != ' ');
    bool room = true;
    if (how->spells) room = spell(text, size, &made);
    if (respaced) room = respace(how->space, prefix, text, size, &made);
    if (made.byte) text = made.byte, size = made.size;
    pal_status status = PAL_OK;
    if (!room)
        status = no_memory(s);
    else if (how->behavior == PAL_BPE_WHOLE)
        status = stage(s, number + 1, text, size, first);
    else
        status = cut(s, number, text, size, first);
    free(made.byte);
    return status;
}

/* ---- Parts of the text ---- */

/* Spans of UTF-8, and what lies between them, which no pattern can read. */
static pal_status spans(splitter *s, const char *text, int64_t size)
{
    pal_status status = PAL_OK;
    for (int64_t at = 0; at < size && status == PAL_OK;) {
        const int64_t begin = at;
        for (int n; at < size && (n = pal_utf8(text + at, size - at)) > 0;) at += n;
        if (at > begin) status = stage(s, 0, text + begin, at - begin, s->first && begin == 0);
        const int64_t bad = at;
        while (at < size && pal_utf8(text + at, size - at) == 0) at++;
        if (at > bad && status == PAL_OK)
            status = s->fn(s->user, text + bad, at - bad, -1, s->error);
    }
    return status;
}

static pal_status inner(void *user, const char *text, int64_t size, const pal_bpe_added *token,
                        pal_error *error)
{
    splitter *s = user;
    const pal_status status =
        token ? s->fn(s->user, token->text, token->size, token->id, error) : spans(s, text, size);
    s->first = false;
    return status;
}

static pal_status outer(void *user, const char *text, int64_t size, const pal_bpe_added *token,
                        pal_error *error)
{
    splitter *s = user;
    if (token) return inner(s, text, size, token, error);
    pal_tokenizer *b = s->b;
    if (b->steps == 0) return pal_bpe_find_added(b, true, s->plain, text, size, inner, s, error);
    pal_bpe_buffer made = {0};
    pal_status status = pal_bpe_normalize(b, text, size, &made, error);
    if (b->lost_start) s->first = false;
    if (status == PAL_OK)
        status = pal_bpe_find_added(b, true, s->plain, made.byte, made.size, inner, s, error);
    s->first = false;
    free(made.byte);
    return status;
}

pal_status pal_bpe_split(pal_tokenizer *b, const char *text, int64_t size, bool plain,
                         pal_bpe_piece_fn *fn, void *user, pal_error *error)
{
    splitter s = {b, fn, user, plain, true, error};
    pal_bpe_limit(b, size);
    return pal_bpe_find_added(b, false, plain, text, size, outer, &s, error);
}
