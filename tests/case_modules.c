/*
 * case_modules.c - compares log_decay, gated_rms_norm, short_conv and the MLP with plain loops.
 */
#include "layers/layers.h"
#include "tests/support/case.h"
#include "tests/support/node.h"

#include <math.h>

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* ---- log_decay: f, A_log, dt_bias; option: lower_bound ---- */

static void decay_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_log_decay(in[0], in[1], in[2], v->option[0]);
}

static void decay_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int64_t H = in[1].shape[0], K = in[0].ndim == 4 ? in[0].shape[3] : 1;
    pal_ref_shape(out, pal_array_shape(&in[0]));
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        double x = pal_ref_get(&in[0], i) + pal_ref_get(&in[2], i % (H * K));
        double rate = exp(pal_ref_get(&in[1], i / K % H));
        ((double *)out->data)[i] =
            v->option[0] < 0 ? v->option[0] * sigmoid(rate * x) : -rate * log1p(exp(x));
    }
}

#define DECAY(n) .name = n, .nin = 3, .nout = 1, .build = decay_build, .reference = decay_reference
static const pal_variant log_decay[] = {
    {DECAY("one number a head"),
     .in = {{.shape = PAL_DIMS(2, 3, 4)}, {.shape = PAL_DIMS(4)}, {.shape = PAL_DIMS(4)}}},
    {DECAY("channels"),
     .in = {{.shape = PAL_DIMS(2, 3, 2, 5)}, {.shape = PAL_DIMS(2)}, {.shape = PAL_DIMS(10)}}},
    {DECAY("bounded"),
     .in = {{.shape = PAL_DIMS(2, 3, 2, 5)}, {.shape = PAL_DIMS(2)}, {.shape = PAL_DIMS(10)}},
     .option = {-5}},
    {DECAY("T = 0"),
     .in = {{.shape = PAL_DIMS(2, 0, 2, 5)}, {.shape = PAL_DIMS(2)}, {.shape = PAL_DIMS(10)}}},
};
const pal_case pal_case_log_decay = {"log_decay", sizeof log_decay / sizeof *log_decay, log_decay};

/* ---- gated_rms_norm: x, gate, weight; options: gate, gate_first, groups ---- */

static void norm_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    pal_gated_norm_opts opts = {.eps = 1e-3,
                                .gate = (pal_gate)v->option[0],
                                .gate_first = v->option[1] != 0,
                                .groups = (int64_t)v->option[2]};
    out[0] = pal_gated_rms_norm(in[0], in[1], in[2], opts);
}

static double gate_of(const pal_variant *v, const pal_array *gate, int64_t i)
{
    if ((pal_gate)v->option[0] == PAL_GATE_NONE) return 1;
    double z = pal_ref_get(gate, i);
    return (pal_gate)v->option[0] == PAL_GATE_SIGMOID ? sigmoid(z) : z * sigmoid(z);
}

static void norm_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int64_t n = in[0].shape[in[0].ndim - 1], G = v->option[2] > 0 ? (int64_t)v->option[2] : 1;
    bool first = v->option[1] != 0;
    pal_ref_shape(out, pal_array_shape(&in[0]));
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        int64_t start = i / (n / G) * (n / G);
        double square = 0;
        for (int64_t j = start; j < start + n / G; j++) {
            double x = pal_ref_get(&in[0], j) * (first ? gate_of(v, &in[1], j) : 1);
            square += x * x;
        }
        ((double *)out->data)[i] = pal_ref_get(&in[0], i) * gate_of(v, &in[1], i) *
                                   (in[2].data ? pal_ref_get(&in[2], i % n) : 1) /
                                   sqrt(square / (double)(n / G) + 1e-3);
    }
}

#define NORM(n) .name = n, .nin = 3, .nout = 1, .build = norm_build, .reference = norm_reference
#define ROWS                        \
    {                               \
        .shape = PAL_DIMS(2, 3, 12) \
    }
static const pal_variant gated_rms_norm[] = {
    {NORM("norm, then SiLU"), .in = {ROWS, ROWS, {.shape = PAL_DIMS(12)}}},
    {NORM("norm, then sigmoid"), .in = {ROWS, ROWS, {.shape = PAL_DIMS(12)}},
     .option = {PAL_GATE_SIGMOID}},
    {NORM("no gate"), .in = {ROWS, {.shape = PAL_DIMS(1), .absent = true}, {.shape = PAL_DIMS(12)}},
     .option = {PAL_GATE_NONE}},
    {NORM("gate, then norm"), .in = {ROWS, ROWS, {.shape = PAL_DIMS(12)}}, .option = {0, 1}},
    {NORM("gate, then norm in 3 groups"), .in = {ROWS, ROWS, {.shape = PAL_DIMS(12)}},
     .option = {0, 1, 3}},
    {NORM("norm in 2 groups, then gate, no weight"),
     .in = {ROWS, ROWS, {.shape = PAL_DIMS(1), .absent = true}}, .option = {0, 0, 2}},
    {NORM("gate, then norm, sigmoid"), .in = {ROWS, ROWS, {.shape = PAL_DIMS(12)}},
     .option = {PAL_GATE_SIGMOID, 1}},
    {NORM("no rows"),
     .in = {{.shape = PAL_DIMS(0, 5)}, {.shape = PAL_DIMS(0, 5)}, {.shape = PAL_DIMS(5)}}},
    {NORM("strong gates"), .in = {ROWS,
                                  {.shape = PAL_DIMS(2, 3, 12), .low = -300, .high = 300},
                                  {.shape = PAL_DIMS(12)}}},
    {NORM("large"), .in = {{.shape = PAL_DIMS(7, 90, 100)},
                           {.shape = PAL_DIMS(7, 90, 100)},
                           {.shape = PAL_DIMS(100)}}},
    {NORM("large, gate, then norm in 2 groups"),
     .in = {{.shape = PAL_DIMS(3, 100, 130)},
            {.shape = PAL_DIMS(3, 100, 130)},
            {.shape = PAL_DIMS(130)}},
     .option = {0, 1, 2}},
};
const pal_case pal_case_gated_rms_norm = {
    "gated_rms_norm", sizeof gated_rms_norm / sizeof *gated_rms_norm, gated_rms_norm};

/* ---- short_conv: x, weight, bias, tail; options: silu, pieces, packing ---- */

enum { PACKED = 5 };
static const int64_t packing[][PACKED + 1] = {{0}, {0, 0, 3, 3, 4, 9}, {0, 2, 140, 300, 300, 300}};

static void conv_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    pal_tensor tail = in[3], part[2];
    pal_short_conv_opts opts = {.silu = v->option[0] != 0, .tail = &tail};
    pal_tape *tape = tape_of(in[0]);
    int64_t cut = (int64_t)v->option[1], T = v->in[0].shape.dim[1];
    if (v->option[2] != 0)
        opts.offsets = pal_from(tape, PAL_I64, PAL_SHAPE(PACKED + 1), packing[(int)v->option[2]]);
    if (cut == 0) {
        out[0] = pal_short_conv(in[0], in[1], in[2], opts);
    } else {
        part[0] = pal_short_conv(pal_slice(in[0], 1, 0, cut, 1), in[1], in[2], opts);
        part[1] = pal_short_conv(pal_slice(in[0], 1, cut, T, 1), in[1], in[2], opts);
        out[0] = pal_concat(2, part, 1);
    }
    out[1] = tail;
}

/* Input t of channel c in sequence s, which starts at `start` of batch b. */
static double input(const pal_array *in, int64_t b, int64_t s, int64_t start, int64_t t, int64_t c)
{
    int64_t T = in[0].shape[1], C = in[0].shape[2], W = in[1].shape[2];
    if (t >= start) return pal_ref_get(&in[0], (b * T + t) * C + c);
    return in[3].data ? pal_ref_get(&in[3], (s * (W - 1) + W - 1 + t - start) * C + c) : 0;
}

static void conv_sequence(const pal_variant *v, const pal_array *in, const pal_array *out,
                          int64_t b, int64_t s, int64_t start, int64_t end)
{
    int64_t T = in[0].shape[1], C = in[0].shape[2], W = in[1].shape[2];
    double *y = out[0].data, *tail = out[1].data;
    for (int64_t c = 0; c < C; c++) {
        for (int64_t t = start; t < end; t++) {
            double sum = in[2].data ? pal_ref_get(&in[2], c) : 0;
            for (int64_t j = 0; j < W; j++)
                sum += pal_ref_get(&in[1], c * W + j) * input(in, b, s, start, t - W + 1 + j, c);
            y[(b * T + t) * C + c] = v->option[0] != 0 ? sum * sigmoid(sum) : sum;
        }
        for (int64_t j = 0; j < W - 1; j++)
            tail[(s * (W - 1) + j) * C + c] = input(in, b, s, start, end - W + 1 + j, c);
    }
}

static void conv_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int64_t B = in[0].shape[0], T = in[0].shape[1], C = in[0].shape[2], W = in[1].shape[2];
    int64_t packed = (int64_t)v->option[2], S = packed ? PACKED : B;
    pal_ref_shape(&out[0], PAL_SHAPE(B, T, C));
    pal_ref_shape(&out[1], PAL_SHAPE(S, W - 1, C));
    for (int64_t s = 0; s < S; s++)
        if (packed)
            conv_sequence(v, in, out, 0, s, packing[packed][s], packing[packed][s + 1]);
        else
            conv_sequence(v, in, out, s, s, 0, T);
}

#define CONV(n) .name = n, .nin = 4, .nout = 2, .build = conv_build, .reference = conv_reference
#define NONE                                 \
    {                                        \
        .shape = PAL_DIMS(1), .absent = true \
    }
static const pal_variant short_conv[] = {
    {CONV("bias and SiLU"),
     .in =
         {{.shape = PAL_DIMS(2, 7, 3)}, {.shape = PAL_DIMS(3, 1, 4)}, {.shape = PAL_DIMS(3)}, NONE},
     .option = {1}},
    {CONV("T < W, with a tail"), .in = {{.shape = PAL_DIMS(2, 2, 3)},
                                        {.shape = PAL_DIMS(3, 1, 4)},
                                        NONE,
                                        {.shape = PAL_DIMS(2, 3, 3)}}},
    {CONV("in pieces"),
     .in =
         {{.shape = PAL_DIMS(1, 5, 3)}, {.shape = PAL_DIMS(3, 1, 4)}, {.shape = PAL_DIMS(3)}, NONE},
     .option = {1, 1}},
    {CONV("W = 1"), .in = {{.shape = PAL_DIMS(1, 5, 3)}, {.shape = PAL_DIMS(3, 1, 1)}, NONE, NONE}},
    {CONV("T = 0"), .in = {{.shape = PAL_DIMS(1, 0, 3)},
                           {.shape = PAL_DIMS(3, 1, 4)},
                           NONE,
                           {.shape = PAL_DIMS(1, 3, 3)}}},
    {CONV("packed"),
     .in = {{.shape = PAL_DIMS(1, 9, 3)},
            {.shape = PAL_DIMS(3, 1, 4)},
            {.shape = PAL_DIMS(3)},
            {.shape = PAL_DIMS(5, 3, 3)}},
     .option = {1, 0, 1}},
    {CONV("packed, W = 3, no tail"),
     .in = {{.shape = PAL_DIMS(1, 9, 2)}, {.shape = PAL_DIMS(2, 1, 3)}, NONE, NONE},
     .option = {1, 0, 1}},
    {CONV("large"),
     .in = {{.shape = PAL_DIMS(2, 300, 67)},
            {.shape = PAL_DIMS(67, 1, 4)},
            {.shape = PAL_DIMS(67)},
            {.shape = PAL_DIMS(2, 3, 67)}},
     .option = {1}},
    {CONV("large, packed, W = 5"),
     .in = {{.shape = PAL_DIMS(1, 300, 1030)},
            {.shape = PAL_DIMS(1030, 1, 5)},
            NONE,
            {.shape = PAL_DIMS(5, 4, 1030)}},
     .option = {1, 0, 2}},
};
const pal_case pal_case_short_conv = {"short_conv", sizeof short_conv / sizeof *short_conv,
                                      short_conv};

/* ---- mlp: x, gate_proj, up_proj, down_proj ---- */

static void mlp_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    pal_mlp mlp = {.gate_proj = in[1], .up_proj = in[2], .down_proj = in[3]};
    out[0] = pal_mlp_forward(&mlp, in[0]);
}

/* The dot product of row i of w [..,d] and row r of x [..,d]. */
static double product(const pal_array *w, int64_t i, const pal_array *x, int64_t r, int64_t d)
{
    double sum = 0;
    for (int64_t c = 0; c < d; c++) sum += pal_ref_get(w, i * d + c) * pal_ref_get(x, r * d + c);
    return sum;
}

static void mlp_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int64_t n = in[1].shape[0], d = in[1].shape[1];
    pal_ref_shape(out, v->in[0].shape);
    double *y = out->data;
    for (int64_t r = 0; r < pal_array_count(out) / d; r++) {
        for (int64_t c = 0; c < d; c++) y[r * d + c] = 0;
        for (int64_t j = 0; j < n; j++) {
            double gate = product(&in[1], j, &in[0], r, d), up = product(&in[2], j, &in[0], r, d);
            for (int64_t c = 0; c < d; c++)
                y[r * d + c] += pal_ref_get(&in[3], c * n + j) * gate * sigmoid(gate) * up;
        }
    }
}

#define MLP(n, d, inner, ...)                                                       \
    .name = n, .nin = 4, .nout = 1, .build = mlp_build, .reference = mlp_reference, \
    .in = {{.shape = PAL_DIMS(__VA_ARGS__)},                                        \
           {.shape = PAL_DIMS(inner, d)},                                           \
           {.shape = PAL_DIMS(inner, d)},                                           \
           {.shape = PAL_DIMS(d, inner)}}
static const pal_variant mlp[] = {
    {MLP("a batch", 3, 5, 2, 4, 3)},
    {MLP("one row", 4, 7, 4)},
    {MLP("T = 0", 3, 5, 2, 0, 3)},
    {MLP("large", 24, 40, 3, 300, 24)},
};
const pal_case pal_case_mlp = {"mlp", sizeof mlp / sizeof *mlp, mlp};
