/*
 * layers.h - linear attention: the rules, the modules around them, and a small language model.
 *
 * From the bottom up, each on what is before it:
 *
 * - rules: pal_gdn2, pal_kda, pal_gdn, pal_deltanet, pal_mamba2, pal_mamba3; one recurrence each,
 * an operation on tensors without parameters;
 * - attention: softmax attention, full or in a window, and rotary positions;
 * - modules: linear, norms, short convolution, SwiGLU; a few parameters and a function;
 * - mixers: the layers of the papers (projections, convolutions, gates, a rule, a norm, a
 *   projection), made from text such as "gdn2:num_heads=4:head_dim=32";
 * - blocks of a mixer and an MLP, and a trunk of several, for models of one's own;
 * - the model: embedding, blocks of mixer and MLP, norm, head; a loss, and logits token by token.
 *
 * Letters in shapes: B batch, T time, H key heads, HV value heads (a multiple of H), K key width,
 * V value width, N packed sequences, d model width; in attention H query heads, HKV heads of keys
 * and values, D head width, S keys. The state S of a head is K x V everywhere.
 * Parameters carry the names of flash-linear-attention, so that its checkpoints fit.
 */
#ifndef PAL_LAYERS_H
#define PAL_LAYERS_H

#include "layers/rules.h"
#include "layers/modules.h"
#include "layers/kernel.h"
#include "layers/mixers.h"
#include "layers/own.h"
#include "layers/blocks.h"
#include "layers/model.h"
#include "layers/probe.h"

#endif
