/*
 * golden_op.c - files of one rule: inputs as they are, output o and final state ht.
 */
#include "tests/support/golden.h"
#include "tests/support/rules.h"

#include <string.h>

enum { INPUTS = PAL_TEST_RULE_INPUTS + 2 };

static pal_tensor transposed_if(bool yes, pal_tensor t)
{
    return yes && !pal_is_none(t) ? pal_transpose(t, -1, -2) : t;
}

/* The operands of the rule, whose number is returned; then the initial state and the offsets. */
static int read_inputs(golden *g, const pal_rule *r, const char *names[INPUTS],
                       pal_tensor in[INPUTS])
{
    int n = 0;
    for (; pal_rule_operand(r, n); n++) names[n] = pal_rule_operand(r, n);
    names[n] = "h0", names[n + 1] = "cu_seqlens";
    golden_expect_only(g, "in", n + 2, names);
    for (int i = 0; i < n + 2; i++) {
        char path[64];
        snprintf(path, sizeof path, "in/%s", names[i]);
        in[i] = golden_leaf(g, path, i <= n);
    }
    return n;
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
    static const char *const attributes[] = {"kind", "note", "rule", "scale"};
    golden_expect_attributes(g, 4, attributes);
    pal_rule_opts opts = {.mode = g->mode, .scale = golden_number(g, "scale")};
    const char *inputs[INPUTS];
    pal_tensor in[INPUTS];
    const int operands = read_inputs(g, r, inputs, in);
    bool transposed = strcmp(name, "mamba2") == 0; /* these files have states as [..,P,N] */
    opts.state = transposed_if(transposed, in[operands]);
    opts.offsets = in[operands + 1];
    pal_rule_out out = pal_rule_call(r, in, opts);

    const char *const names[2] = {"o", "ht"};
    const pal_tensor outputs[2] = {out.o, transposed_if(transposed, out.state)};
    golden_backward(g, 2, names, outputs);
    golden_result results[INPUTS];
    for (int i = 0; i < 2; i++) results[i] = golden_result_of(names[i], pal_value(outputs[i]));
    golden_compare(g, "out", 2, results);
    int n = 0;
    for (int i = 0; i <= operands; i++)
        if (!pal_is_none(in[i]))
            results[n++] = golden_result_of(inputs[i], golden_gradient(g, in[i]));
    golden_compare(g, "grad", n, results);
    return g->failed ? GOLDEN_FAIL : GOLDEN_PASS;
}
