/*
 * case_layers.c - the mixers with the options that change what they compute.
 */
#include "tests/support/layer_case.h"

static const char *const gdn2[] = {
    "gdn2",
    "gdn2:num_heads=2:head_dim=4:num_v_heads=4:expand_v=1.5:output_gate=sigmoid",
    "gdn2:num_heads=1:head_dim=3:allow_neg_eigval=true:erase=scalar:conv_bias=true:conv_size=2",
    "gdn2:num_heads=1:head_dim=4:use_short_conv=false:write=scalar:output_gate=none",
    "gdn2:num_heads=1:head_dim=3:num_v_heads=2:head_v_dim=5",
};
const pal_layer_case pal_layer_case_gdn2 = {"gdn2", sizeof gdn2 / sizeof *gdn2, gdn2};

static const char *const kda[] = {
    "kda",
    "kda:num_heads=1:head_dim=4:num_v_heads=3:lower_bound=-5:output_gate=silu",
    "kda:num_heads=2:head_dim=3:expand_v=2:allow_neg_eigval=true:conv_bias=true",
    "kda:num_heads=1:head_dim=4:use_short_conv=false:output_gate=none:norm_eps=1e-3",
    "kda:num_heads=1:head_dim=3:head_v_dim=4",
};
const pal_layer_case pal_layer_case_kda = {"kda", sizeof kda / sizeof *kda, kda};

static const char *const gdn[] = {
    "gdn",
    "gdn:num_heads=2:head_dim=3:num_v_heads=4:expand_v=1:use_gate=false",
    "gdn:num_heads=1:head_dim=4:allow_neg_eigval=true:conv_bias=true:conv_size=1",
    "gdn:num_heads=1:head_dim=4:use_short_conv=false",
    "gdn:num_heads=2:head_dim=3:num_v_heads=4:head_v_dim=5:allow_neg_eigval=true:norm_eps=1e-6",
    "gdn:num_heads=2:head_dim=3:output_gate=sigmoid",
    "gdn:num_heads=1:head_dim=3:output_gate=none",
};
const pal_layer_case pal_layer_case_gdn = {"gdn", sizeof gdn / sizeof *gdn, gdn};

static const char *const deltanet[] = {
    "deltanet",
    "deltanet:num_heads=2:head_dim=3:num_v_heads=4:expand_v=2:use_gate=true",
    "deltanet:num_heads=1:head_dim=4:allow_neg_eigval=true:conv_bias=true:conv_size=2",
    "deltanet:num_heads=1:head_dim=4:use_short_conv=false:norm_eps=1e-3",
    "deltanet:num_heads=2:head_dim=3:head_v_dim=2",
};
const pal_layer_case pal_layer_case_deltanet = {"deltanet", sizeof deltanet / sizeof *deltanet,
                                                deltanet};

static const char *const mamba2[] = {
    "mamba2:state_size=5",
    "mamba2:head_dim=6:state_size=3:n_groups=2:use_bias=true",
    "mamba2:head_dim=3:state_size=4:n_groups=4:norm_before_gate=true:use_conv_bias=false",
    "mamba2:head_dim=6:state_size=4:expand=1:rmsnorm=false:conv_kernel=3",
    "mamba2:state_size=3:head_dim=3:dt_min=0.01:dt_max=0.2",
    "mamba2:state_size=3:num_heads=5:head_dim=3:n_groups=5",
};
const pal_layer_case pal_layer_case_mamba2 = {"mamba2", sizeof mamba2 / sizeof *mamba2, mamba2};

static const char *const mamba3[] = {
    "mamba3:state_size=6",
    "mamba3:head_dim=6:state_size=5:n_groups=2:use_bias=true:rope_fraction=1",
    "mamba3:head_dim=6:state_size=4:is_mimo=true:mimo_rank=2:is_outproj_norm=true",
    "mamba3:head_dim=12:state_size=8:is_mimo=true:A_act=heavy_tail:A_floor=0.9:norm_eps=1e-3",
    "mamba3:head_dim=4:state_size=3:expand=1:A_act=heavy_tail",
};
const pal_layer_case pal_layer_case_mamba3 = {"mamba3", sizeof mamba3 / sizeof *mamba3, mamba3};

static const char *const attn[] = {
    "attn",
    "attn:num_heads=2:num_kv_heads=1:window_size=3:qkv_bias=true",
    "attn:num_heads=3:head_dim=6:num_kv_heads=1:qk_norm=true:rope_theta=100",
    "attn:num_heads=2:head_dim=5:rope=none:scale=0.3:o_bias=true",
    "attn:num_heads=2:head_dim=8:rope_fraction=0.5:rope=interleaved:output_gate=silu",
    "attn:num_heads=4:num_kv_heads=2:head_dim=8:qk_norm=true:norm_eps=1e-6:norm_plus_one=true:"
    "rope_fraction=0.25:rope_theta=1e7:output_gate=sigmoid:qkv_bias=true",
    "attn:num_heads=2:num_kv_heads=1:head_dim=4:qk_norm_whole=true:rope=none",
    "attn:num_heads=2:head_dim=3:qk_norm_whole=true:norm_plus_one=true:rope=none:"
    "output_gate=sigmoid",
};
const pal_layer_case pal_layer_case_attn = {"attn", sizeof attn / sizeof *attn, attn};

static const char *const swa[] = {"swa", "swa:num_heads=3:window_size=2:qk_norm=true"};
const pal_layer_case pal_layer_case_swa = {"swa", sizeof swa / sizeof *swa, swa};
