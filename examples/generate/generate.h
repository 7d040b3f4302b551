/*
 * generate.h - what the files of generate share: options, sequences, and groups of sequences that
 * go through the model together.
 */
#ifndef GENERATE_H
#define GENERATE_H

#include <palimpsest.h>
#include "examples/flags/flags.h"
#include "examples/lm/open.h"
#include "examples/lm/text.h"

typedef struct gen_options {
    flags flags; /* of the rows in generate.c, which set the rest */
    const char *checkpoint, *prompt, *prompts, *save, *load, *system, *end;
    int64_t tokens, top_k, seed, threads, batch;
    lm_dtype dtype; /* of stored weights */
    double temperature, top_p, repeat_penalty;
    bool score, last, chat, plain, no_end, raw, special;
} gen_options;

/* A text that is written. */
typedef struct gen_sequence {
    lm_text text; /* the prompt */
    pal_token_ids prompt;
    pal_rng rng;
    int64_t next;    /* a token that the model has not read yet; -1: none */
    int64_t written; /* tokens drawn */
    bool ended;      /* by a token that ends a text */
    bool *seen;      /* of each token, for the penalty: it was read or written */
    pal_tokenizer_stream *stream;
    pal_token_ids held; /* tokens whose text the stream keeps back */
    FILE *to;           /* where the text goes */
} gen_sequence;

/* Sequences that share a state: rows [first, first + count) of gen_all.sequence. */
typedef struct gen_group {
    int64_t first, count;
    pal_lm_state *state;
} gen_group;

typedef struct gen_all {
    gen_options o;
    pal_lm_file file;
    int64_t vocab; /* tokens of the tokenizer, which may be fewer than the model's */
    bool bytes;    /* they are the bytes */
    pal_token_ids end;
    gen_sequence *sequence;
    int64_t sequences;
    gen_group *group;
    int64_t groups;
    pal_tape *tape;
    double began, first, finished; /* seconds: the first prompt, the first token, the last */
    int64_t read; /* tokens of prompts that went through the model before the first was drawn */
} gen_all;

/* Ends the program with a sentence. */
void gen_stop(const char *format, ...) PAL_PRINTF(1, 2) __attribute__((noreturn));
void gen_need(pal_status status, const pal_error *error);
void *gen_memory(void *memory);
double gen_seconds(void);

/* ---- prompts.c ---- */

/* Makes the sequences: texts, in the model's template if --chat asks for it. */
void gen_read_prompts(gen_all *g);
/* Encodes the text of a sequence. The state, if one is loaded, is in its `next` already. */
void gen_encode(gen_all *g, gen_sequence *s);

/* ---- ends.c ---- */

/* Which tokens end a text: those of the folder, of the tokenizer by name, or of --end. */
void gen_find_ends(gen_all *g);
bool gen_is_end(const gen_all *g, int64_t token);

/* ---- show.c ---- */

/* Begins the text of a sequence with its prompt; `again`: a state was loaded. */
void gen_begin_text(gen_all *g, gen_sequence *s, bool again);
/* What a token adds to the text. */
void gen_put_token(gen_all *g, gen_sequence *s, int64_t token);
/* The end of the text, unless a state keeps what is not text yet. */
void gen_end_text(gen_all *g, gen_sequence *s);

/* ---- run.c ---- */

/* Puts sequences that follow each other together if they can share a state. */
void gen_make_groups(gen_all *g);
/* Reads all tokens of the prompts except the last of each. */
void gen_prefill(gen_all *g);
/* Draws tokens until all sequences have ended or are as long as --tokens. */
void gen_run(gen_all *g);
void gen_score(gen_all *g);
/* The times, on stderr. */
void gen_report(const gen_all *g);

/* ---- saved.c: the state of one sequence in a file ---- */

void gen_load(gen_all *g);
void gen_save(const gen_all *g);

#endif
