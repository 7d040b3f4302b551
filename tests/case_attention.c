/*
 * case_attention.c - compares attention, fused and composed, and rotary positions with plain loops.
 */
#include "layers/layers.h"
#include "tests/support/case.h"
#include "tests/support/node.h"

#include <math.h>

/* Packed sequences, 20 tokens in all: some are empty, one has length 1, and some do not begin at a
 * multiple of a block. */
enum { SEQUENCES = 6 };
static const int64_t packed[SEQUENCES + 1] = {0, 0, 5, 6, 6, 20, 20};

static pal_tensor offsets_of(bool wanted, pal_tensor x)
{
    if (!wanted) return PAL_NONE;
    return pal_from(tape_of(x), PAL_I64, PAL_SHAPE(SEQUENCES + 1), packed);
}

/* The first token of the sequence that token t belongs to. */
static int64_t sequence_start(bool is_packed, int64_t t)
{
    int64_t start = 0;
    for (int n = 0; n <= SEQUENCES && is_packed; n++)
        if (packed[n] <= t) start = packed[n];
    return start;
}

/* ---- attention: q, k, v; options: window, packed, composed, scale ---- */

static void attention_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    pal_attention_opts opts = {.window = (int64_t)v->option[0],
                               .offsets = offsets_of(v->option[1] != 0, in[0]),
                               .composed = v->option[2] != 0,
                               .scale = v->option[3]};
    out[0] = pal_attention(in[0], in[1], in[2], opts);
}

/* o [D] of one query: the softmax of its scores with the keys first .. last, times their values. */
static void query(const pal_variant *v, const pal_array *in, int64_t b, int64_t t, int64_t h,
                  double *o)
{
    int64_t T = in[0].shape[1], H = in[0].shape[2], D = in[0].shape[3];
    int64_t S = in[1].shape[1], J = in[1].shape[2], j = h / (H / J);
    int64_t last = t + S - T, first = sequence_start(v->option[1] != 0, t);
    double w = v->option[0], scale = v->option[3] != 0 ? v->option[3] : 1 / sqrt((double)D);
    double most = -HUGE_VAL, sum = 0, score[512];
    if (w > 0 && (double)first < (double)last - w + 1) first = last - (int64_t)w + 1;
    for (int64_t s = first; s <= last; s++) {
        score[s] = 0;
        for (int64_t c = 0; c < D; c++)
            score[s] += scale * pal_ref_get(&in[0], ((b * T + t) * H + h) * D + c) *
                        pal_ref_get(&in[1], ((b * S + s) * J + j) * D + c);
        most = fmax(most, score[s]);
    }
    for (int64_t s = first; s <= last; s++) sum += exp(score[s] - most);
    for (int64_t c = 0; c < D; c++) {
        o[c] = 0;
        for (int64_t s = first; s <= last; s++)
            o[c] += exp(score[s] - most) / sum * pal_ref_get(&in[2], ((b * S + s) * J + j) * D + c);
    }
}

static void attention_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int64_t B = in[0].shape[0], T = in[0].shape[1], H = in[0].shape[2], D = in[0].shape[3];
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < B * T * H; i++)
        query(v, in, i / H / T, i / H % T, i % H, (double *)out->data + i * D);
}

/* B, T, H, S, HKV, D */
#define ATTENTION(n, b, t, h, s, j, d)                                                          \
    .name = n, .nin = 3, .nout = 1, .build = attention_build, .reference = attention_reference, \
    .in = {{.shape = PAL_DIMS(b, t, h, d)},                                                     \
           {.shape = PAL_DIMS(b, s, j, d)},                                                     \
           {.shape = PAL_DIMS(b, s, j, d)}}
static const pal_variant attention[] = {
    {ATTENTION("full", 2, 9, 2, 9, 2, 5)},
    /* A single key has the weight 1 whatever q and k are, so the gradients of q and k are 0. */
    {ATTENTION("one token", 1, 1, 1, 1, 1, 1), .in[0].constant = true, .in[1].constant = true},
    {ATTENTION("groups and a window", 1, 21, 6, 21, 2, 8), .option = {7}},
    {ATTENTION("a window of one token", 1, 11, 2, 11, 1, 4), .option = {1}, .in[0].constant = true,
     .in[1].constant = true},
    {ATTENTION("keys before the queries", 2, 5, 2, 70, 2, 6)},
    {ATTENTION("keys before the queries, in a window", 1, 5, 2, 70, 1, 6), .option = {9}},
    {ATTENTION("one query", 2, 1, 4, 67, 2, 16), .option = {0, 0, 0, 0.7}},
    {ATTENTION("packed", 1, 20, 2, 20, 1, 6), .option = {0, 1}},
    {ATTENTION("packed, in a window", 1, 20, 2, 20, 2, 6), .option = {3, 1}},
    {ATTENTION("large scores", 1, 70, 1, 70, 1, 4), .option = {0, 0, 0, 40}, .f32 = 2e-5,
     .f64 = 1e-12, .gradient = 1e-5},
    {ATTENTION("two blocks", 1, 140, 2, 140, 2, 8)},
    {ATTENTION("T = 0", 2, 0, 2, 3, 1, 4)},
    {ATTENTION("no heads", 2, 3, 0, 3, 1, 4)},
    {ATTENTION("composed", 2, 9, 4, 9, 2, 5), .option = {0, 0, 1}},
    {ATTENTION("composed, in a window", 1, 3, 2, 9, 1, 4), .option = {2, 0, 1}},
    {ATTENTION("composed, packed", 1, 20, 2, 20, 1, 3), .option = {0, 1, 1}},
};
const pal_case pal_case_attention = {"attention", sizeof attention / sizeof *attention, attention};

/* ---- rotary: x; options: start, packed, base, channels, interleaved ---- */

static void rotary_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    out[0] = pal_rotary(in[0], (pal_rotary_opts){.start = (int64_t)v->option[0],
                                                 .offsets = offsets_of(v->option[1] != 0, in[0]),
                                                 .base = v->option[2],
                                                 .channels = (int64_t)v->option[3],
                                                 .interleaved = v->option[4] != 0});
}

static void rotary_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    int64_t T = in->shape[1], H = in->shape[2], D = in->shape[3];
    int64_t R = v->option[3] > 0 ? (int64_t)v->option[3] : D;
    double base = v->option[2] > 0 ? v->option[2] : 10000, *y = out->data;
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < pal_array_count(out); i++) {
        int64_t t = i / D / H % T, j = i % D, mates = v->option[4] != 0;
        int64_t c = mates ? j / 2 : j % (R / 2), first = mates ? j - j % 2 : c;
        int64_t second = mates ? first + 1 : c + R / 2;
        double p = v->option[0] + (double)(t - sequence_start(v->option[1] != 0, t));
        double angle = p * pow(base, -2 * (double)c / (double)R);
        y[i] = pal_ref_get(in, i);
        if (j >= R) continue;
        double low = pal_ref_get(in, i / D * D + first), high = pal_ref_get(in, i / D * D + second);
        y[i] = j == first ? low * cos(angle) - high * sin(angle)
                          : high * cos(angle) + low * sin(angle);
    }
}

#define ROTARY(n, ...)                                                                    \
    .name = n, .nin = 1, .nout = 1, .build = rotary_build, .reference = rotary_reference, \
    .in = {{.shape = PAL_DIMS(__VA_ARGS__)}}
static const pal_variant rotary[] = {
    {ROTARY("a batch", 2, 5, 3, 6)},
    {ROTARY("one pair", 1, 3, 1, 2)},
    {ROTARY("from a position on", 1, 5, 2, 8), .option = {37}},
    {ROTARY("another base", 1, 70, 1, 20), .option = {0, 0, 500}},
    {ROTARY("packed", 1, 20, 2, 6), .option = {0, 1}},
    {ROTARY("packed, from a position on", 1, 20, 2, 6), .option = {3, 1}},
    {ROTARY("a quarter", 2, 5, 2, 16), .option = {0, 0, 1e7, 4}},
    {ROTARY("a part, packed", 1, 20, 2, 6), .option = {2, 1, 0, 4}},
    {ROTARY("interleaved", 2, 5, 3, 10), .option = {2, 0, 0, 0, 1}},
    {ROTARY("interleaved, a part", 1, 9, 2, 7), .option = {0, 0, 0, 4, 1}},
    {ROTARY("T = 0", 1, 0, 2, 4)},
    {ROTARY("large", 2, 150, 4, 32)},
    {ROTARY("large, a part", 2, 150, 4, 32), .option = {0, 0, 0, 8}},
};
const pal_case pal_case_rotary = {"rotary", sizeof rotary / sizeof *rotary, rotary};
