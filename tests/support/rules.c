/*
 * rules.c - the rules of layers.def behind one signature.
 */
#include "tests/support/rules.h"

static pal_rule_out gdn2(const pal_tensor *in, pal_rule_opts opts)
{
    return pal_gdn2(in[0], in[1], in[2], in[3], in[4], in[5], opts);
}
static pal_rule_out kda(const pal_tensor *in, pal_rule_opts opts)
{
    return pal_kda(in[0], in[1], in[2], in[3], in[4], opts);
}
static pal_rule_out gdn(const pal_tensor *in, pal_rule_opts opts)
{
    return pal_gdn(in[0], in[1], in[2], in[3], in[4], opts);
}
static pal_rule_out deltanet(const pal_tensor *in, pal_rule_opts opts)
{
    return pal_deltanet(in[0], in[1], in[2], in[3], opts);
}
static pal_rule_out mamba2(const pal_tensor *in, pal_rule_opts opts)
{
    return pal_mamba2(in[0], in[1], in[2], in[3], in[4], in[5], opts);
}

const pal_test_rule pal_test_rules[RULES] = {
    {"gdn2", 6, {"q", "k", "v", "g", "b", "w"}, gdn2},
    {"kda", 5, {"q", "k", "v", "g", "beta"}, kda},
    {"gdn", 5, {"q", "k", "v", "g", "beta"}, gdn},
    {"deltanet", 4, {"q", "k", "v", "beta"}, deltanet},
    {"mamba2", 6, {"x", "dt", "A", "Bm", "Cm", "D"}, mamba2},
};
