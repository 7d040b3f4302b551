/*
 * fuzz.h - what the fuzzers of text parsers share.
 *
 * A fuzzer is a file tests/fuzz/X.c with the function LLVMFuzzerTestOneInput, which libFuzzer and
 * driver.c call with one input after the other. An input may be refused, with a message. It must
 * not crash, hang, leak memory or break what the fuzzer demands by fuzz_must.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <palimpsest.h>

#include <setjmp.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program if a demand is not met; `what` says which. */
void fuzz_must(bool met, const char *what);
/* A status other than PAL_OK has to come with a message that is text of one piece. */
void fuzz_refused(pal_status status, const pal_error *error);

/*
 * The input as a text that ends in NUL, in memory of exactly that size. A NUL within the input
 * ends it earlier for functions of C. fuzz_forget frees all such texts and all that lm_keep kept;
 * each fuzzer calls it before it returns.
 */
char *fuzz_text(const uint8_t *data, size_t size);
void fuzz_forget(void);

/* A folder for files, in memory where the system has that; it is removed when the program ends. */
const char *fuzz_folder(void);
/* Writes the input to a file of this folder. */
void fuzz_file(const char *name, const uint8_t *data, size_t size);

/* Loads a tokenizer.json in which $BYTES, or $FALLBACK, stands for the tokens of the 256 bytes. */
pal_status fuzz_tokenizer(pal_tokenizer **out, const char *json, pal_error *error);
/* What is encoded has known ids, which are text in whole characters, and is decoded to the same
 * bytes if the tokenizer is exact: FUZZ_EXACT; with spaces that add_prefix_space put in:
 * FUZZ_SPACES; unless the tokenizer's own patterns give up: FUZZ_ANY. */
typedef enum fuzz_trip { FUZZ_EXACT, FUZZ_SPACES, FUZZ_ANY } fuzz_trip;
void fuzz_round_trip(pal_tokenizer *b, const void *text, int64_t size, fuzz_trip trip);

/* Writes the input to a file of this name and opens it as a dataset: what is not refused is read,
 * and read again as the same. */
void fuzz_dataset(const char *name, const uint8_t *data, size_t size);

/* stop() of examples/ablate ends the program; here it jumps to the place that setjmp set. */
extern jmp_buf fuzz_stopped;

#endif
