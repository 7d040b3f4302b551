/*
 * golden_op.c - files of one rule: inputs as they are, output o and final state ht.
 */
#include "tests/support/golden.h"
#include "tests/support/rules.h"

#include <string.h>

enum { INPUTS = PAL_TEST_RULE_INPUTS + PAL_RULE_STATES + 1 };

static pal_tensor transposed_if(bool yes, pal_tensor t)
{
    return yes && !pal_is_none(t) ? pal_transpose(t, -1, -2) : t;
}

/* How files call part i of the state, before the rule (0) and after it (t): the first is h. */
static const char *state_name(const pal_rule *r, int i, char when)
{
    static char names[2][PAL_RULE_STATES][8];
    char *name = names[when == 't'][i];
    snprintf(name, sizeof names[0][0], "%s%c", i ? pal_rule_state(r, i) : "h", when);
    return name;
}

static int states(const pal_rule *r)
{
    int n = 0;
    while (pal_rule_state(r, n)) n++;
    return n;
}

/* The operands of the rule, whose number is returned; then the parts of the state, and offsets. */
static int read_inputs(golden *g, const pal_rule *r, const char *names[INPUTS],
                       pal_tensor in[INPUTS])
{
    int n = 0;
    for (; pal_rule_operand(r, n); n++) names[n] = pal_rule_operand(r, n);
    const int last = n + states(r);
    for (int i = n; i < last; i++) names[i] = state_name(r, i - n, '0');
    names[last] = "cu_seqlens";
    golden_expect_only(g, "in", last + 1, names);
    for (int i = 0; i <= last; i++) {
        char path[64];
        snprintf(path, sizeof path, "in/%s", names[i]);
        in[i] = golden_leaf(g, path, i < last);
    }
    return n;
}

static pal_pair pair_of(golden *g, const pal_rule *r)
{
    char pair[16] = "adjacent";
    if (strcmp(pal_rule_name(r), "mamba3") == 0 && !golden_text(g, "pair", pair, sizeof pair))
        golden_fail(g, "there is no attribute pair");
    if (strcmp(pair, "adjacent") != 0 && strcmp(pair, "half") != 0)
        golden_fail(g, "there is no pair \"%s\"", pair);
    return strcmp(pair, "half") == 0 ? PAL_PAIR_HALF : PAL_PAIR_ADJACENT;
}

golden_verdict golden_op(golden *g)
{
    char name[64] = "";
    golden_text(g, "rule", name, sizeof name);
    const pal_rule *r = pal_rule_find(name);
    if (!r) {
        printf("  there is no rule \"%s\"\n", name);
        return GOLDEN_CANNOT;
    }
    static const char *const attributes[] = {"kind", "note", "rule", "scale", "pair"};
    const int parts = states(r);
    golden_expect_attributes(g, parts > 1 ? 5 : 4, attributes);
    pal_rule_opts opts = {
        .mode = g->mode, .scale = golden_number(g, "scale"), .pair = pair_of(g, r)};
    const char *inputs[INPUTS], *names[1 + PAL_RULE_STATES] = {"o"};
    pal_tensor in[INPUTS], outputs[1 + PAL_RULE_STATES];
    const int operands = read_inputs(g, r, inputs, in);
    /* These files have states as [..,P,N]. */
    const bool transposed = strncmp(name, "mamba", 5) == 0;
    opts.state = transposed_if(transposed, in[operands]);
    for (int i = 1; i < parts; i++) opts.more[i - 1] = in[operands + i];
    opts.offsets = in[operands + parts];
    pal_rule_out out = pal_rule_call(r, in, opts);

    outputs[0] = out.o, outputs[1] = transposed_if(transposed, out.state);
    for (int i = 0; i < parts; i++) names[1 + i] = state_name(r, i, 't');
    for (int i = 1; i < parts; i++) outputs[1 + i] = out.more[i - 1];
    golden_backward(g, 1 + parts, names, outputs);
    golden_result results[INPUTS];
    for (int i = 0; i <= parts; i++) results[i] = golden_result_of(names[i], pal_value(outputs[i]));
    golden_compare(g, "out", 1 + parts, results);
    int n = 0;
    for (int i = 0; i < operands + parts; i++)
        if (!pal_is_none(in[i]))
            results[n++] = golden_result_of(inputs[i], golden_gradient(g, in[i]));
    golden_compare(g, "grad", n, results);
    return g->failed ? GOLDEN_FAIL : GOLDEN_PASS;
}
