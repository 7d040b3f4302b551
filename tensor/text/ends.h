/* ends.h - which tokens end a text, as the files beside a released model's tokenizer.json say. */
#ifndef PAL_TENSOR_TEXT_ENDS_H
#define PAL_TENSOR_TEXT_ENDS_H

#include "tensor/text.h"

/*
 * Appends the ids of `eos_token_id` in the text of a config.json or generation_config.json: a
 * number or a list of them, of the whole or of its text_config. There may be none. PAL_EFORMAT if
 * the text is no JSON, or has something else there.
 */
PAL_CHECKED pal_status pal_ends_read(const char *json, int64_t size, pal_token_ids *to,
                                     pal_error *error);
/* Appends those that a tokenizer's special tokens have by common names, such as </s>, <|im_end|>
 * and <|endoftext|>; if it has none of these, its only special token. */
PAL_CHECKED pal_status pal_ends_named(const pal_tokenizer *b, pal_token_ids *to, pal_error *error);

#endif
