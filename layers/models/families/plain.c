/*
 * plain.c - a file of tensors alone, under the names of this library (which are those of
 * flash-linear-attention) or of a Mamba-2 model.
 */
#include "layers/models/families/family.h"

static const pal_spelling spellings[] = {
    {NULL, "*", "*"},
    {NULL, "model.embeddings.weight", "backbone.embeddings.weight"},
    {NULL, "model.embeddings.weight", "backbone.embedding.weight"},
    {NULL, "model.norm.weight", "backbone.norm_f.weight"},
    {NULL, "lm_head.weight", "lm_head.weight"},
    {NULL, ".attn_norm.weight", ".norm.weight"},
    {NULL, ".attn.*", ".mixer.*"},
    {NULL, ".*", ".*"},
};

const pal_family pal_family_plain = {
    .name = "any kind",
    .spellings = spellings,
    .spelling_count = (int)(sizeof spellings / sizeof *spellings),
    .prefixes = "backbone.",
};
