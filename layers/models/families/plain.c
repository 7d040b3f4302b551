/*
 * plain.c - a file of tensors alone, under the names of this library (which are those of
 * flash-linear-attention) or of a model of Mamba-2 or Mamba-3.
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
    {NULL, ".mlp_norm.weight", ".norm2.weight"},
    {NULL, ".mlp.up_proj.weight .mlp.gate_proj.weight", ".mlp.fc1.weight"},
    {NULL, ".mlp.down_proj.weight", ".mlp.fc2.weight"},
    {NULL, ".*", ".*"},
};

const pal_family pal_family_plain = {
    .name = "any kind",
    .spellings = spellings,
    .spelling_count = (int)(sizeof spellings / sizeof *spellings),
    .prefixes = "backbone.",
};
