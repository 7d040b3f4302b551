/*
 * tokens.c - the store of tokens: an HDF5 file (docs/data.md) that is written as a whole and read
 * by ranges.
 */
#include "optim/data.h"
#include "tensor/internal.h"
#include "tensor/number.h"

#include <string.h>

enum { VERSION = 1, NAME_BYTES = 256, BLOCKS = 16 };

/* Names of the datasets. */
static const char TOKENS[] = "/tokens", OFFSETS[] = "/offsets", LENGTHS[] = "/token_bytes",
                  TOKENIZER[] = "/tokenizer";

static const int64_t MOST_VOCAB = INT64_C(1) << 31;

int pal_tokens_width(int64_t vocab) { return vocab <= 1 << 8 ? 1 : vocab <= 1 << 16 ? 2 : 4; }

/* Whether offsets run from 0 to count and never decrease. If not, *bad is the index of a
 * wrong one. */
static bool check_offsets(const int64_t *offsets, int64_t documents, int64_t count, int64_t *bad)
{
    for (*bad = 0; *bad <= documents; ++*bad)
        if (offsets[*bad] < (*bad ? offsets[*bad - 1] : 0) || offsets[*bad] > count ||
            (*bad == 0 && offsets[0] != 0) || (*bad == documents && offsets[*bad] != count))
            return false;
    return true;
}

/* ---- Writing ---- */

static int64_t token_at(const void *tokens, int width, int64_t i)
{
    return width == 1   ? ((const uint8_t *)tokens)[i]
           : width == 2 ? ((const uint16_t *)tokens)[i]
                        : ((const uint32_t *)tokens)[i];
}

/* Checks the source, whose defaults are filled in, and sums its bytes of text. */
static pal_status check_source(const pal_tokens_source *s, int64_t *bytes, pal_error *error)
{
    int64_t bad;
    if (s->vocab < 1 || s->vocab > MOST_VOCAB)
        return pal_error_set(error, PAL_EVALUE, "tokens_write: a vocabulary of %lld",
                             (long long)s->vocab);
    if (s->count < 0 || (s->count > 0 && s->tokens == NULL))
        return pal_error_set(error, PAL_EVALUE, "tokens_write: %lld tokens", (long long)s->count);
    if (s->documents < 1 || !check_offsets(s->offsets, s->documents, s->count, &bad))
        return pal_error_set(error, PAL_EVALUE,
                             "tokens_write: the offsets of %lld documents do not run from 0 to "
                             "%lld without a decrease",
                             (long long)s->documents, (long long)s->count);
    if (strlen(s->name) >= NAME_BYTES || s->name[0] == '\0')
        return pal_error_set(error, PAL_EVALUE,
                             "tokens_write: the tokenizer's name is empty or too long");
    const int width = pal_tokens_width(s->vocab);
    *bytes = 0;
    for (int64_t i = 0; i < s->count; i++) {
        int64_t token = token_at(s->tokens, width, i);
        if (token >= s->vocab)
            return pal_error_set(error, PAL_EVALUE,
                                 "tokens_write: token %lld is %lld in a vocabulary of %lld",
                                 (long long)i, (long long)token, (long long)s->vocab);
        *bytes += s->lengths ? s->lengths[token] : 1;
    }
    return PAL_OK;
}

static pal_status put_all(pal_h5 *file, const pal_tokens_source *s, int64_t bytes, pal_error *error)
{
    const pal_array offsets =
        pal_array_of(PAL_I64, PAL_SHAPE(s->documents + 1), (void *)(uintptr_t)s->offsets);
    pal_status status =
        pal_h5_put_uints(file, TOKENS, pal_tokens_width(s->vocab), s->count, s->tokens, error);
    if (status == PAL_OK) status = pal_h5_put(file, OFFSETS, &offsets, error);
    if (status == PAL_OK && s->lengths)
        status = pal_h5_put_uints(file, LENGTHS, 4, s->vocab, s->lengths, error);
    if (status == PAL_OK && s->tokenizer)
        status = pal_h5_put_uints(file, TOKENIZER, 1, (int64_t)strlen(s->tokenizer), s->tokenizer,
                                  error);
    if (status == PAL_OK) status = pal_h5_put_number(file, "/", "tokens", VERSION, error);
    if (status == PAL_OK) status = pal_h5_put_number(file, "/", "vocab", (double)s->vocab, error);
    if (status == PAL_OK) status = pal_h5_put_number(file, "/", "bytes", (double)bytes, error);
    if (status == PAL_OK) status = pal_h5_put_text(file, "/", "tokenizer", s->name, error);
    return status;
}

pal_status pal_tokens_write(const char *path, const pal_tokens_source *source, pal_error *error)
{
    pal_tokens_source s = *source;
    const int64_t one[2] = {0, s.count};
    int64_t bytes = 0;
    if (s.vocab == 0) s.vocab = 256;
    if (s.name == NULL) s.name = "bytes";
    if (s.offsets == NULL) s.offsets = one, s.documents = 1;
    pal_h5 *file;
    pal_status status = check_source(&s, &bytes, error);
    if (status == PAL_OK) status = pal_h5_create(&file, path, error);
    if (status != PAL_OK) return status;
    status = put_all(file, &s, bytes, error);
    if (status == PAL_OK) return pal_h5_commit(file, error);
    pal_h5_close(file);
    return status;
}

/* ---- Reading ---- */

struct pal_tokens {
    pal_h5 *file;
    pal_h5_reader *reader;
    const char *path; /* stored behind the structure */
    char name[NAME_BYTES];
    int64_t count, documents, vocab, bytes;
    int64_t *offsets;
    uint32_t *lengths; /* NULL: 1 each */
    char *tokenizer;   /* NULL: bytes */
    int64_t tokenizer_bytes;
    uint32_t checksum;
    size_t size; /* of this allocation */
};

static pal_status PAL_PRINTF(3, 4)
    unfit(const pal_tokens *t, pal_error *error, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    pal_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return pal_error_set(error, PAL_EFORMAT, "%s: not a store of tokens: %s", t->path, text);
}

static pal_status short_of_memory(const pal_tokens *t, pal_error *error)
{
    return pal_error_set(error, PAL_ENOMEM, "%s: no memory to open the store", t->path);
}

/* Reads a whole number within low .. high from an attribute of the file. */
static pal_status read_number(pal_tokens *t, const char *name, int64_t low, int64_t high,
                              int64_t *value, pal_error *error)
{
    double x;
    pal_status s = pal_h5_get_number(t->file, "/", name, &x, error);
    if (s != PAL_OK) return s;
    if (!(x >= (double)low && x <= (double)high) || (double)(int64_t)x != x)
        return unfit(t, error, "%s is %g", name, x);
    *value = (int64_t)x;
    return PAL_OK;
}

/*
 * Opens a dataset of whole numbers and allocates room for `count` of them, of `each` bytes, and for
 * one zero behind them. count = -1 means as many as there are. Its checksum joins that of the
 * store.
 */
static pal_status open_part(pal_tokens *t, const char *name, int64_t *count, size_t each,
                            pal_h5_reader **reader, void **memory, pal_error *error)
{
    pal_status s = pal_h5_reader_open(reader, t->file, name, 1, error);
    if (s != PAL_OK) return s;
    int64_t has = pal_h5_reader_count(*reader);
    const uint32_t sum = pal_h5_reader_sum(*reader);
    if (*count >= 0 && *count != has)
        return unfit(t, error, "%s has %lld entries and should have %lld", name, (long long)has,
                     (long long)*count);
    if (has > 0 && sum == 0) return unfit(t, error, "%s has no checksums", name);
    t->checksum = pal_crc32c(t->checksum, &sum, sizeof sum);
    *count = has;
    *memory = pal_malloc((size_t)(has + 1) * each);
    return *memory ? PAL_OK : short_of_memory(t, error);
}

static pal_status read_offsets(pal_tokens *t, pal_error *error)
{
    int64_t entries = -1, bad;
    pal_h5_reader *reader = NULL;
    void *memory = NULL;
    pal_status s = open_part(t, OFFSETS, &entries, sizeof(int64_t), &reader, &memory, error);
    t->offsets = memory;
    t->documents = entries - 1;
    if (s == PAL_OK && entries < 2) s = unfit(t, error, "it has no document");
    if (s == PAL_OK) s = pal_h5_reader_get(reader, 0, entries, t->offsets, error);
    if (s == PAL_OK && !check_offsets(t->offsets, t->documents, t->count, &bad))
        s = unfit(t, error, "offset %lld is %lld, of %lld documents and %lld tokens",
                  (long long)bad, (long long)t->offsets[bad], (long long)t->documents,
                  (long long)t->count);
    pal_h5_reader_close(reader);
    return s;
}

/* Reads the lengths of tokens (4 bytes each) or the tokenizer's text (1 byte each), a piece at a
 * time. */
static pal_status read_small(pal_tokens *t, pal_h5_reader *reader, const char *name, int64_t count,
                             void *memory, size_t each, pal_error *error)
{
    int64_t piece[1024];
    pal_status s = PAL_OK;
    for (int64_t i = 0; i < count && s == PAL_OK; i += 1024) {
        int64_t n = count - i < 1024 ? count - i : 1024;
        s = pal_h5_reader_get(reader, i, n, piece, error);
        for (int64_t j = 0; j < n && s == PAL_OK; j++) {
            if (piece[j] < 0 || piece[j] > (each == 1 ? UINT8_MAX : UINT32_MAX) ||
                (each == 1 && piece[j] == 0))
                s = unfit(t, error, "entry %lld of %s is %lld", (long long)(i + j), name,
                          (long long)piece[j]);
            else if (each == 1)
                ((char *)memory)[i + j] = (char)piece[j];
            else
                ((uint32_t *)memory)[i + j] = (uint32_t)piece[j];
        }
    }
    if (each == 1) ((char *)memory)[count] = '\0';
    return s;
}

static pal_status read_vocabulary(pal_tokens *t, pal_error *error)
{
    pal_status s = PAL_OK;
    void *memory = NULL;
    pal_h5_reader *reader = NULL;
    if (pal_h5_has(t->file, LENGTHS)) {
        int64_t count = t->vocab;
        s = open_part(t, LENGTHS, &count, sizeof(uint32_t), &reader, &memory, error);
        t->lengths = memory;
        if (s == PAL_OK) s = read_small(t, reader, LENGTHS, count, memory, sizeof(uint32_t), error);
        pal_h5_reader_close(reader);
    }
    if (s == PAL_OK && pal_h5_has(t->file, TOKENIZER)) {
        memory = NULL, reader = NULL;
        t->tokenizer_bytes = -1;
        s = open_part(t, TOKENIZER, &t->tokenizer_bytes, 1, &reader, &memory, error);
        t->tokenizer = memory;
        if (s == PAL_OK) s = read_small(t, reader, TOKENIZER, t->tokenizer_bytes, memory, 1, error);
        pal_h5_reader_close(reader);
    }
    return s;
}

static pal_status read_all(pal_tokens *t, pal_error *error)
{
    int64_t version = 0;
    const int64_t most = INT64_C(1) << 53;
    pal_status s = read_number(t, "tokens", 1, INT32_MAX, &version, error);
    if (s == PAL_OK && version > VERSION)
        return pal_error_set(error, PAL_EFORMAT,
                             "%s: is a store of version %lld, later than %d, the latest that is "
                             "known here",
                             t->path, (long long)version, VERSION);
    if (s == PAL_OK) s = read_number(t, "vocab", 1, MOST_VOCAB, &t->vocab, error);
    if (s == PAL_OK) s = read_number(t, "bytes", 0, most, &t->bytes, error);
    if (s == PAL_OK) s = pal_h5_get_text(t->file, "/", "tokenizer", t->name, sizeof t->name, error);
    if (s == PAL_OK) s = pal_h5_reader_open(&t->reader, t->file, TOKENS, BLOCKS, error);
    if (s != PAL_OK) return s;
    t->count = pal_h5_reader_count(t->reader);
    const uint32_t sum[2] = {pal_h5_reader_sum(t->reader), (uint32_t)t->vocab};
    t->checksum = pal_crc32c(0, sum, sizeof sum);
    if (t->count > 0 && sum[0] == 0) return unfit(t, error, "%s has no checksums", TOKENS);
    if (pal_h5_reader_width(t->reader) != pal_tokens_width(t->vocab))
        return unfit(t, error, "tokens of %d bytes for a vocabulary of %lld",
                     pal_h5_reader_width(t->reader), (long long)t->vocab);
    s = read_offsets(t, error);
    if (s == PAL_OK) s = read_vocabulary(t, error);
    return s;
}

pal_status pal_tokens_open(pal_tokens **store, const char *path, pal_error *error)
{
    const size_t length = strlen(path) + 1, size = sizeof(pal_tokens) + length;
    *store = NULL;
    pal_tokens *t = pal_malloc(size);
    if (t == NULL) return pal_error_set(error, PAL_ENOMEM, "%s: no memory to open the store", path);
    *t = (pal_tokens){.path = (char *)(t + 1), .size = size};
    memcpy(t + 1, path, length);
    pal_status s = pal_h5_open(&t->file, path, error);
    if (s == PAL_OK) s = read_all(t, error);
    if (s == PAL_OK)
        *store = t;
    else
        pal_tokens_close(t);
    return s;
}

void pal_tokens_close(pal_tokens *t)
{
    if (t == NULL) return;
    pal_h5_reader_close(t->reader);
    pal_h5_close(t->file);
    pal_free(t->offsets, (size_t)(t->documents + 2) * sizeof *t->offsets);
    pal_free(t->lengths, (size_t)(t->vocab + 1) * sizeof *t->lengths);
    pal_free(t->tokenizer, (size_t)(t->tokenizer_bytes + 1));
    pal_free(t, t->size);
}

int64_t pal_tokens_count(const pal_tokens *t) { return t->count; }
int64_t pal_tokens_documents(const pal_tokens *t) { return t->documents; }
const int64_t *pal_tokens_offsets(const pal_tokens *t) { return t->offsets; }
int64_t pal_tokens_vocab_size(const pal_tokens *t) { return t->vocab; }
int64_t pal_tokens_bytes(const pal_tokens *t) { return t->bytes; }
const uint32_t *pal_tokens_lengths(const pal_tokens *t) { return t->lengths; }
const char *pal_tokens_name(const pal_tokens *t) { return t->name; }
const char *pal_tokens_tokenizer(const pal_tokens *t) { return t->tokenizer; }
uint32_t pal_tokens_checksum(const pal_tokens *t) { return t->checksum; }

pal_status pal_tokens_read(pal_tokens *t, int64_t first, int64_t count, int64_t *out,
                           pal_error *error)
{
    pal_status s = pal_h5_reader_get(t->reader, first, count, out, error);
    for (int64_t i = 0; i < count && s == PAL_OK; i++)
        if (out[i] < 0 || out[i] >= t->vocab)
            s = pal_error_set(error, PAL_EFORMAT, "%s: token %lld is %lld in a vocabulary of %lld",
                              t->path, (long long)(first + i), (long long)out[i],
                              (long long)t->vocab);
    return s;
}
