/*
 * data.c - the store of a run, and what is measured and written with it.
 */
#include "examples/lm/data.h"
#include "examples/lm/text.h"
#include "examples/flags/files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLE_STREAM = 1, PROMPT = 80 };

/* ---- Opening ---- */

pal_status lm_data_check(pal_dist *dist, const char *path, pal_error *error)
{
    pal_h5 *file;
    pal_status s = PAL_OK;
    if (pal_dist_rank(dist) == 0 && lm_data_is_store(path)) {
        s = pal_h5_open(&file, path, error);
        pal_h5_close(file);
    }
    return pal_dist_agree(dist, s, error);
}

bool lm_data_is_store(const char *path)
{
    return !flags_is_stdin(path) && pal_file_kind_is_hdf5(pal_file_kind_of(path));
}

/* Says which flag an error belongs to. */
static pal_status said_of(const char *flag, pal_status status, pal_error *error)
{
    if (status == PAL_OK || !error) return status;
    const pal_error why = *error;
    return pal_error_set(error, status, "%s: %s", flag, why.message);
}

/* The bytes of a text as a store in the folder of the run, if no other run has it. */
static pal_status write_store(const char *store, const lm_options *o, pal_lock **lock,
                              pal_error *error)
{
    lm_text text;
    pal_status s = said_of("--data", lm_text_read(&text, o->data, error), error);
    if (s != PAL_OK) return s;
    if (text.size <= o->len)
        s = pal_error_set(error, PAL_EVALUE,
                          "--data: %.400s is too short: it needs more than --len bytes", o->data);
    const bool read = s == PAL_OK;
    if (s == PAL_OK) s = pal_run_make(o->out, error);
    if (s == PAL_OK && !*lock) s = pal_run_lock(lock, o->out, error);
    if (s == PAL_OK && pal_run_last(o->out, 0))
        s = pal_error_set(error, PAL_EVALUE, "%.400s holds a run already", o->out);
    if (s == PAL_OK)
        s = pal_tokens_write(store, &(pal_tokens_source){.tokens = text.byte, .count = text.size},
                             error);
    lm_text_free(&text);
    return read ? said_of("--out", s, error) : s;
}

static pal_batches *batches(const lm_data *d, const lm_options *o, bool validation)
{
    return pal_batches_new(d->store,
                           (pal_batches_opts){.kind = o->packed ? PAL_PACKED : PAL_WINDOWS,
                                              .batch = o->batch,
                                              .len = o->len,
                                              .seed = o->seed,
                                              .held_out = o->held_out,
                                              .validation = validation,
                                              .prefetch = !o->no_prefetch && !validation,
                                              .data_index = pal_dist_data_index(d->dist),
                                              .data_count = pal_dist_data_count(d->dist),
                                              .sequence_index = pal_dist_sequence_index(d->dist),
                                              .sequence_count = pal_dist_sequence_count(d->dist)});
}

pal_status lm_data_open(lm_data *d, const lm_options *o, bool resumes, pal_error *error)
{
    char path[PAL_PATH];
    pal_status s = lm_data_check(d->dist, o->data, error);
    if (s != PAL_OK) return s;
    const bool is_store = lm_data_is_store(o->data);
    snprintf(path, sizeof path, is_store ? "%s" : "%s/data.h5", is_store ? o->data : o->out);
    if (!is_store && !resumes && pal_dist_rank(d->dist) == 0)
        s = write_store(path, o, &d->lock, error);
    s = pal_dist_agree(d->dist, s, error);
    if (s != PAL_OK) return s;
    s = lm_data_check(d->dist, path, error);
    if (s == PAL_OK) s = pal_tokens_open(&d->store, path, error);
    if (s != PAL_OK && resumes && !is_store) {
        const pal_error why = *error;
        return pal_error_set(
            error, s,
            "--data: %.300s is no store that can be read (if it was moved, say where it is "
            "by --data), and the run has no copy of its own: %.600s",
            o->data, why.message);
    }
    if (s != PAL_OK) return said_of(is_store ? "--data" : "--out", s, error);
    const char *json = pal_tokens_tokenizer(d->store);
    s = pal_tokenizer_load(&d->tokenizer, json, json ? (int64_t)strlen(json) : 0, error);
    if (s != PAL_OK) return said_of("--data", s, error);
    snprintf(d->identity, sizeof d->identity, "%08x", (unsigned)pal_tokens_checksum(d->store));
    d->train = batches(d, o, false);
    if (o->held_out > 0) d->held = batches(d, o, true);
    return PAL_OK;
}

void lm_data_close(lm_data *d)
{
    pal_batches_free(d->train);
    pal_batches_free(d->held);
    pal_tokenizer_free(d->tokenizer);
    pal_tokens_close(d->store);
    pal_run_unlock(d->lock);
}

/* ---- Measuring ---- */

double lm_data_entropy(pal_tokens *store)
{
    enum { PIECE = 1 << 16, PIECES = LM_LOOKED_AT / PIECE };
    const int64_t vocab = pal_tokens_vocab_size(store), all = pal_tokens_count(store);
    const uint32_t *length = pal_tokens_lengths(store);
    int64_t *count = calloc((size_t)vocab, sizeof *count), *piece = malloc(PIECE * sizeof *piece);
    int64_t seen = 0, n = 1;
    double bits = 0, bytes = 0;
    for (int i = 0; i < PIECES && n > 0 && count && piece; i++) {
        n = all - seen < PIECE ? all - seen : PIECE;
        if (n < 1 || pal_tokens_read(store, seen, n, piece, NULL) != PAL_OK) break;
        for (int64_t j = 0; j < n; j++) count[piece[j]]++;
        seen += n;
    }
    for (int64_t t = 0; seen && t < vocab; t++) {
        if (count[t]) bits -= (double)count[t] * log2((double)count[t] / (double)seen);
        bytes += (double)count[t] * (length ? length[t] : 1);
    }
    free(count);
    free(piece);
    return bytes > 0 ? bits / bytes : 0;
}

/* The loss over the own part of the next batch, in nats; *end at the end, or where a signal asks to
 * stop. */
static pal_status score_batch(const lm_data *d, pal_lm *lm, pal_tape *tape, double *nats,
                              double *bytes, bool *end, pal_error *error)
{
    pal_batch b;
    pal_status s = pal_batches_next(d->held, tape, &b, error);
    double stop = pal_stop_requested() != 0;
    if (pal_dist_sequence(d->dist)) { /* none waits for one that has given up */
        s = pal_dist_agree(d->dist, s, error);
        pal_dist_sum(d->dist, 1, &stop);
    }
    *end = s != PAL_OK || b.end || stop > 0;
    if (*end) return s;
    const pal_run_opts run = {
        .offsets = b.offsets, .parts = pal_dist_sequence(d->dist), .continued = b.continued};
    *nats += pal_item(pal_lm_loss(lm, b.tokens, b.targets, run)) * (double)b.counted;
    *bytes += (double)b.bytes;
    s = pal_tape_status(tape);
    if (s != PAL_OK) return pal_error_set(error, s, "%s", pal_tape_message(tape));
    pal_tape_reset(tape);
    return PAL_OK;
}

pal_status lm_data_score(const lm_data *d, pal_lm *lm, pal_tape *tape, double *value,
                         pal_error *error)
{
    enum { NATS, BYTES, STOP, N };
    double x[N] = {0};
    bool end = false;
    pal_status s = pal_batches_seek(d->held, (pal_position){0}, error);
    while (s == PAL_OK && !end) s = score_batch(d, lm, tape, &x[NATS], &x[BYTES], &end, error);
    x[STOP] = pal_stop_requested();
    s = pal_dist_agree(d->dist, s, error);
    pal_dist_sum(d->dist, N, x);
    *value = NAN;
    if (s == PAL_OK && x[BYTES] > 0 && x[STOP] == 0) *value = x[NATS] / log(2) / x[BYTES];
    return s;
}

/* ---- Writing ---- */

/* A part of a text; control characters are shown as question marks. */
static void put_text(const char *text, int64_t size, FILE *to)
{
    for (int64_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        bool plain = c == '\n' || c == '\t' || (c >= 32 && c != 127);
        fputc(plain ? c : '?', to);
    }
}

/* What a token adds to the text, or the end of it for token -1. Without memory nothing is shown. */
static void put_token(pal_tokenizer_stream *stream, int64_t token, FILE *to)
{
    const char *text;
    int64_t size;
    if (!stream) return;
    const pal_status s = token < 0 ? pal_tokenizer_stream_end(stream, &text, &size, NULL)
                                   : pal_tokenizer_stream_put(stream, token, &text, &size, NULL);
    if (s == PAL_OK) put_text(text, size, to);
}

/* The first line of the data, or as many tokens as there is room for. */
static int64_t prompt(const lm_data *d, int64_t token[PROMPT])
{
    int64_t n = pal_tokens_count(d->store);
    if (n > PROMPT) n = PROMPT;
    if (pal_tokens_read(d->store, 0, n, token, NULL) != PAL_OK) return 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t size;
        const char *byte = pal_tokenizer_token(d->tokenizer, token[i], &size);
        if (byte && memchr(byte, '\n', (size_t)size)) return i + 1;
    }
    return n;
}

void lm_data_sample(const lm_data *d, pal_lm *lm, pal_tape *tape, const lm_options *o, FILE *to)
{
    int64_t token[PROMPT], n = prompt(d, token);
    pal_rng rng = pal_rng_new(o->seed, SAMPLE_STREAM);
    pal_lm_state *state = pal_lm_state_new(lm);
    pal_tokenizer_stream *stream =
        pal_tokenizer_stream_new(d->tokenizer, (pal_stream_opts){.specials = true});
    for (int64_t i = 0; i < n; i++) put_token(stream, token[i], to);
    for (int64_t i = 0; n && state && i < o->sample; i++) {
        pal_tensor in = pal_from(tape, PAL_I64, PAL_SHAPE(1, n), token);
        pal_tensor logits = pal_lm_step(lm, state, in, (pal_run_opts){0});
        token[0] = pal_sample(logits, (pal_sample_opts){.temperature = 0.8, .top_k = 40}, &rng);
        pal_tape_reset(tape);
        put_token(stream, token[0], to);
        n = 1;
    }
    put_token(stream, -1, to);
    pal_tokenizer_stream_free(stream);
    pal_lm_state_free(state);
}
