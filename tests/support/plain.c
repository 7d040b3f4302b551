/*
 * plain.c - see plain.h.
 */
#include "tests/support/plain.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

/* ---- A problem: a kernel with inputs ---- */

const pal_rule *plain_rule(const plain_problem *p) { return pal_rule_find(p->name); }

pal_array plain_new_array(pal_dtype dtype, pal_shape shape)
{
    const size_t n = (size_t)pal_shape_count(shape) * pal_dtype_size(dtype);
    return pal_array_of(dtype, shape, aligned_alloc(64, (n + 127) / 64 * 64));
}

/* The axes of an input, or NULL: the offsets. */
const char *plain_axes(const plain_problem *p, int i)
{
    static const char *const conv[] = {"BTC", "C1W", "C", "SLC", NULL};
    static const char *const norm[] = {"BTC", "BTC", "C"};
    static const char *const attention[] = {"BTHD", "BSJD", "BSJD", NULL};
    const pal_rule *rule = plain_rule(p);
    if (!rule) return *p->name == 's' ? conv[i] : *p->name == 'g' ? norm[i] : attention[i];
    int n = 0, m = 0;
    while (pal_rule_operand(rule, n)) n++;
    while (pal_rule_state(rule, m)) m++;
    if (i < n) return pal_rule_axes(rule, i);
    if (i < n + m) return pal_rule_state_axes(rule, i - n);
    /* A_log and dt_bias follow the offsets. */
    const bool channels = strcmp(p->name, "gdn") != 0;
    return i == n + m ? NULL : i == n + m + 1 ? "E" : channels ? "EK" : "E";
}

static pal_shape shape_of(const plain_problem *p, const char *axes)
{
    const bool attention = strcmp(p->name, "attention") == 0;
    pal_shape s = {0};
    for (const char *c = axes; *c; c++) {
        int64_t n = p->size[(int)*c];
        if (*c == 'E') n = p->size[p->gate_heads || strcmp(p->name, "gdn2") ? 'J' : 'H'];
        if (*c == 'L') n = p->size['W'] - 1;
        if (*c == '1') n = 1;
        if (*c == 'S' && !attention) n = p->packed ? p->size['N'] : p->size['B'];
        s.dim[s.ndim++] = n;
    }
    if (s.ndim == 2 && axes[0] == 'E') s = PAL_SHAPE(s.dim[0] * s.dim[1]); /* dt_bias */
    return s;
}

/* Log-decays and A are below 0, gates within 0 and 1, the others around 0. */
static void draw(const char *name, const pal_array *x, pal_rng *rng)
{
    double low = -1, high = 1;
    if (!strcmp(name, "g") || !strcmp(name, "A")) low = -2, high = 0;
    if (!strcmp(name, "beta") || !strcmp(name, "lam") || !strcmp(name, "dt")) low = 0;
    if (!strcmp(name, "th")) low = 0, high = 6;
    pal_rng_uniform(rng, x, low, high);
}

static void draw_offsets(const plain_problem *p, pal_array *x)
{
    const int64_t N = p->size['N'], T = p->size['T'];
    *x = plain_new_array(PAL_I64, PAL_SHAPE(N + 1));
    int64_t *o = x->data;
    for (int64_t n = 0; n <= N; n++)
        o[n] = n == N ? T : n * n * T / (N * N); /* the first is short */
}

/* Whether input i may be left out. */
static bool may_be_left_out(const char *name)
{
    static const char *const all = " offsets A_log dt_bias D B_bias C_bias mimo_x bias tail ";
    char word[32];
    snprintf(word, sizeof word, " %s ", name);
    return strstr(all, word) != NULL;
}

plain_arrays plain_draw(const plain_problem *p, pal_dtype dtype)
{
    plain_arrays a = {.kernel = pal_kernel_find(p->name)};
    pal_rng rng = pal_rng_new(5, 1);
    ck_assert_ptr_nonnull(a.kernel);
    const char *name;
    bool in_state = false; /* mamba3 calls an operand x and a part of the state, too */
    for (; (name = pal_kernel_input(a.kernel, a.nin)); a.nin++) {
        const char *axes = plain_axes(p, a.nin);
        in_state = in_state || !strcmp(name, "state") || !strcmp(name, "tail");
        bool given = p->optional || !may_be_left_out(name);
        if (in_state) given = p->state;
        if (!axes) given = p->packed;
        if (!strcmp(name, "A_log") || !strcmp(name, "dt_bias"))
            given = p->optional && strcmp(p->name, "deltanet") && strcmp(p->name, "mamba2");
        if (!(a.given[a.nin] = given)) continue;
        if (!axes) {
            draw_offsets(p, &a.in[a.nin]);
            continue;
        }
        a.in[a.nin] = plain_new_array(dtype, shape_of(p, axes));
        draw(name, &a.in[a.nin], &rng);
        a.din[a.nin] = plain_new_array(dtype, shape_of(p, axes));
    }
    return a;
}

void plain_free(plain_arrays *a)
{
    for (int i = 0; i < a->nin; i++) free(a->in[i].data), free(a->din[i].data);
    for (int i = 0; i < a->nout; i++) free(a->out[i].data), free(a->dout[i].data);
}

/* ---- On a tape ---- */

static int call_on_tape(const plain_problem *p, const pal_tensor *in, pal_tensor *out)
{
    const pal_kernel_opts *x = &p->opts;
    const pal_rule *rule = plain_rule(p);
    if (!strcmp(p->name, "short_conv")) {
        pal_tensor tail = in[3];
        out[0] =
            pal_short_conv(in[0], in[1], in[2],
                           (pal_short_conv_opts){.silu = x->silu, .tail = &tail, .offsets = in[4]});
        out[1] = tail;
        return 2;
    }
    if (!strcmp(p->name, "gated_rms_norm")) {
        const pal_gated_norm_opts o = {x->eps, x->gate, x->gate_first, x->groups};
        out[0] = pal_gated_rms_norm(in[0], in[1], in[2], o);
        return 1;
    }
    if (!strcmp(p->name, "attention")) {
        const pal_attention_opts o = {.scale = x->scale, .window = x->window, .offsets = in[3]};
        out[0] = pal_attention(in[0], in[1], in[2], o);
        return 1;
    }
    int n = 0, m = 0;
    while (pal_rule_operand(rule, n)) n++;
    while (pal_rule_state(rule, m)) m++;
    pal_rule_opts o = {.mode = x->mode,
                       .scale = x->scale,
                       .chunk = x->chunk,
                       .keep_every = x->keep_every,
                       .normalize = x->normalize,
                       .lower_bound = x->lower_bound,
                       .pair = x->pair,
                       .state = in[n],
                       .offsets = in[n + m]};
    for (int i = 1; i < m; i++) o.more[i - 1] = in[n + i];
    if (pal_kernel_input(pal_kernel_find(p->name), n + m + 1))
        o.A_log = in[n + m + 1], o.dt_bias = in[n + m + 2];
    pal_rule_out r = pal_rule_call(rule, in, o);
    out[0] = m > 1 ? pal_transpose(r.o, 2, 3) : r.o; /* [B,T,R,nh,P] */
    out[1] = r.state;
    for (int i = 1; i < m; i++) out[1 + i] = r.more[i - 1];
    return 1 + m;
}

pal_array plain_copy(const pal_array *x)
{
    pal_array y = plain_new_array(x->dtype, pal_array_shape(x));
    ck_assert_int_eq(pal_array_copy(&y, x, NULL), PAL_OK);
    return y;
}

/* Fills in out, dout and din. */
void plain_on_tape(const plain_problem *p, plain_arrays *a)
{
    pal_tape *tape = pal_tape_new();
    pal_rng rng = pal_rng_new(6, 1);
    pal_tensor in[PAL_KERNEL_IN] = {PAL_NONE}, out[PAL_KERNEL_OUT], seeds[PAL_KERNEL_OUT];
    for (int i = 0; i < a->nin; i++) {
        if (!a->given[i]) continue;
        in[i] = pal_from_array(tape, &a->in[i]);
        if (a->in[i].dtype != PAL_I64) in[i] = pal_want_grad(in[i]);
    }
    a->nout = call_on_tape(p, in, out);
    for (int i = 0; i < a->nout; i++) {
        const pal_array value = pal_value(out[i]);
        a->out[i] = plain_copy(&value);
        a->dout[i] = plain_new_array(value.dtype, pal_array_shape(&value));
        pal_rng_uniform(&rng, &a->dout[i], -1, 1);
        seeds[i] = pal_from_array(tape, &a->dout[i]);
    }
    ck_assert_int_eq(pal_backward_from(a->nout, out, seeds), PAL_OK);
    for (int i = 0; i < a->nin; i++) {
        if (!a->given[i] || a->in[i].dtype == PAL_I64) continue;
        const pal_array d = pal_value(pal_grad(in[i]));
        ck_assert_int_eq(pal_array_copy(&a->din[i], &d, NULL), PAL_OK);
    }
    pal_tape_free(tape);
}

/* ---- On plain memory ---- */

/* A view of the same shape with other strides: its axes lie in the opposite order in memory, and
 * are longer there. Axes of channels that a kernel wants together stay. *memory is the caller's. */
static pal_array spread(const pal_array *x, bool channels, void **memory)
{
    pal_array y = *x;
    int64_t count = 1;
    const int last = x->ndim - 1;
    if (channels) y.stride[last] = 1, count = x->shape[last];
    for (int d = 0; d <= last - channels; d++) {
        y.stride[d] = count;
        count *= x->shape[d] + 1;
    }
    *memory = malloc((size_t)count * pal_dtype_size(x->dtype) + 64);
    memset(*memory, 0xff, (size_t)count * pal_dtype_size(x->dtype)); /* NaN, between the elements */
    y.data = *memory;
    return y;
}

static void *block(plain_run *r, size_t bytes)
{
    void *x = aligned_alloc(64, (bytes + 64) / 64 * 64);
    memset(x, 0xff, (bytes + 64) / 64 * 64);
    return r->memory[r->blocks++] = x;
}

void plain_begin(const plain_problem *p, const plain_arrays *a, bool strided, int threads,
                 plain_run *r)
{
    *r = (plain_run){.call.opts = p->opts, .call.threads = threads};
    const bool conv = !strcmp(p->name, "short_conv");
    for (int i = 0; i < a->nin; i++) {
        if (!a->given[i]) continue;
        const char *name = pal_kernel_input(a->kernel, i);
        r->in[i] = a->in[i];
        const bool fixed = !strcmp(name, "offsets") || !strcmp(name, "dt_bias");
        const bool channels = conv && (i == 0 || i == 3);
        if (strided && !fixed) {
            r->in[i] = spread(&a->in[i], channels, &r->memory[r->blocks++]);
            ck_assert_int_eq(pal_array_copy(&r->in[i], &a->in[i], NULL), PAL_OK);
        }
        r->call.in[i] = &r->in[i];
        if (a->in[i].dtype == PAL_I64) continue;
        r->din[i] = a->in[i];
        if (strided)
            r->din[i] = spread(&a->in[i], channels, &r->memory[r->blocks++]);
        else
            r->din[i].data = block(r, (size_t)pal_array_count(&a->in[i]) * 8);
        r->call.din[i] = &r->din[i];
    }
    pal_error error;
    ck_assert_msg(pal_kernel_measure(a->kernel, &r->call, &r->sizes, &error) == PAL_OK, "%s",
                  error.message);
    for (int i = 0; i < a->nout; i++) {
        r->out[i] = pal_array_of(a->out[i].dtype, r->sizes.out[i], NULL);
        ck_assert(pal_shape_equal(r->sizes.out[i], pal_array_shape(&a->out[i])));
        r->out[i].data = block(r, (size_t)pal_array_count(&r->out[i]) * 8);
        r->call.out[i] = &r->out[i];
        r->call.dout[i] = &a->dout[i];
    }
}

void plain_end(plain_run *r)
{
    for (int i = 0; i < r->blocks; i++) free(r->memory[i]);
}

void plain_give_memory(plain_run *r, bool keep)
{
    const pal_kernel_sizes *n = &r->sizes;
    r->call.scratch_bytes = n->forward > n->backward ? n->forward : n->backward;
    r->call.scratch = block(r, r->call.scratch_bytes);
    r->call.keep_bytes = keep ? n->keep : 0;
    r->call.keep = keep ? block(r, n->keep) : NULL;
}

/* Whether all elements are equal; -0 is 0. */
static bool same(const pal_array *x, const pal_array *y)
{
    int64_t at[PAL_MAX_DIMS] = {0};
    for (int64_t i = 0; i < pal_array_count(x); i++) {
        if (!(pal_array_get(x, at) == pal_array_get(y, at))) return false;
        for (int d = x->ndim - 1; d >= 0 && ++at[d] == x->shape[d]; d--) at[d] = 0;
    }
    return true;
}

void plain_compare(const plain_arrays *a, const plain_run *r, bool gradients, const char *how)
{
    for (int i = 0; i < a->nout; i++)
        ck_assert_msg(!r->call.out[i] || same(&r->out[i], &a->out[i]), "%s, %s: result %s",
                      pal_kernel_name(a->kernel), how, pal_kernel_output(a->kernel, i));
    for (int i = 0; i < a->nin && gradients; i++)
        ck_assert_msg(!r->call.din[i] || same(&r->din[i], &a->din[i]), "%s, %s: gradient of %s",
                      pal_kernel_name(a->kernel), how, pal_kernel_input(a->kernel, i));
}

void plain_must(kernel_fn *fn, const plain_arrays *a, const plain_run *r)
{
    pal_error error;
    ck_assert_msg(fn(a->kernel, &r->call, &error) == PAL_OK, "%s", error.message);
}

/* ---- The problems ---- */

/* clang-format off */
const plain_problem plain_problems[] = {
    {"gdn2", {['B'] = 2, ['T'] = 37, ['H'] = 1, ['J'] = 2, ['K'] = 8, ['V'] = 12}, .state = true},
    {"gdn2", {['B'] = 1, ['T'] = 70, ['H'] = 2, ['J'] = 4, ['K'] = 16, ['V'] = 20, ['N'] = 3}, .packed = true, .state = true, .gate_heads = true, .optional = true, .opts.normalize = true},
    {"kda", {['B'] = 2, ['T'] = 50, ['H'] = 2, ['J'] = 2, ['K'] = 16, ['V'] = 16}, .optional = true, .opts = {.normalize = true, .lower_bound = -5}},
    {"kda", {['B'] = 3, ['T'] = 1, ['H'] = 1, ['J'] = 2, ['K'] = 16, ['V'] = 16}, .state = true, .opts.normalize = true},
    {"gdn", {['B'] = 1, ['T'] = 65, ['H'] = 1, ['J'] = 3, ['K'] = 24, ['V'] = 8, ['N'] = 4}, .packed = true, .state = true, .opts = {.normalize = true, .chunk = 32, .keep_every = 1}},
    {"gdn", {['B'] = 2, ['T'] = 5, ['H'] = 2, ['J'] = 2, ['K'] = 8, ['V'] = 8}, .optional = true, .opts = {.normalize = true, .mode = PAL_RULE_RECURRENT, .scale = 0.5}},
    {"deltanet", {['B'] = 2, ['T'] = 40, ['H'] = 2, ['J'] = 2, ['K'] = 8, ['V'] = 8}, .state = true, .opts.normalize = true},
    {"mamba2", {['B'] = 2, ['T'] = 45, ['H'] = 1, ['J'] = 4, ['K'] = 16, ['V'] = 8}, .state = true, .optional = true},
    {"mamba2", {['B'] = 1, ['T'] = 33, ['H'] = 2, ['J'] = 2, ['K'] = 8, ['V'] = 8, ['N'] = 3}, .packed = true},
    {"mamba3", {['B'] = 2, ['T'] = 35, ['H'] = 1, ['J'] = 2, ['K'] = 16, ['V'] = 8, ['R'] = 2, ['A'] = 5}, .state = true, .optional = true, .opts.pair = PAL_PAIR_HALF},
    {"mamba3", {['B'] = 1, ['T'] = 40, ['H'] = 1, ['J'] = 2, ['K'] = 8, ['V'] = 8, ['R'] = 1, ['A'] = 4, ['N'] = 3}, .packed = true},
    {"short_conv", {['B'] = 2, ['T'] = 30, ['C'] = 20, ['W'] = 4}, .state = true, .optional = true, .opts.silu = true},
    {"short_conv", {['B'] = 1, ['T'] = 30, ['C'] = 7, ['W'] = 3, ['N'] = 4}, .packed = true},
    {"gated_rms_norm", {['B'] = 3, ['T'] = 9, ['C'] = 24}, .opts = {.groups = 2, .gate_first = true}},
    {"gated_rms_norm", {['B'] = 3, ['T'] = 40, ['C'] = 10}, .opts = {.gate = PAL_GATE_SIGMOID, .eps = 1e-3}},
    {"attention", {['B'] = 2, ['T'] = 20, ['S'] = 70, ['H'] = 4, ['J'] = 2, ['D'] = 12}, .opts.window = 40},
    {"attention", {['B'] = 1, ['T'] = 70, ['S'] = 70, ['H'] = 2, ['J'] = 1, ['D'] = 16, ['N'] = 3}, .packed = true, .opts.scale = 0.3},
};
/* clang-format on */
