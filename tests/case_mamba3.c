/*
 * case_mamba3.c - Mamba-3 against its recurrence in loops, in every mode.
 */
#include "tests/support/case.h"
#include "tests/support/node.h"
#include "tests/support/rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The inputs in the order of the call, then the parts of the state. */
enum { X, DT, G, LAM, OM, BM, CM, B_BIAS, C_BIAS, SKIP, MIMO_X, H0, TH0, K0, X0, INPUTS };
/* What option[i] of a variant is. Mode 0 is composed here. */
enum { PACKED, SCALE, MODE, PAIR };

/* An empty sequence in front, one of a single token, one of four, an empty one, one of two. */
static const int64_t offsets[] = {0, 0, 1, 5, 5, 7};
enum { SEQUENCES = sizeof offsets / sizeof *offsets - 1 };

static void build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    pal_rule_opts opts = {.mode = (pal_rule_mode)v->option[MODE],
                          .scale = v->option[SCALE],
                          .pair = (pal_pair)v->option[PAIR],
                          .state = in[H0],
                          .more = {in[TH0], in[K0], in[X0]},
                          .chunk = 16};
    if (opts.mode == PAL_RULE_AUTO) opts.mode = PAL_RULE_COMPOSED;
    if (v->option[PACKED] != 0)
        opts.offsets = pal_from(tape_of(in[0]), PAL_I64, PAL_SHAPE(SEQUENCES + 1), offsets);
    pal_rule_out r = pal_mamba3(in[X], in[DT], in[G], in[LAM], in[OM], in[BM], in[CM], in[B_BIAS],
                                in[C_BIAS], in[SKIP], in[MIMO_X], opts);
    out[0] = r.o, out[1] = r.state;
    for (int i = 0; i < 3; i++) out[2 + i] = r.more[i];
}

/* ---- The reference ---- */

typedef struct sizes {
    int64_t B, T, H, P, J, R, Gs, N, S;
    const pal_variant *v;
    const pal_array *in;
} sizes;

/* Element i of an input; `absent` if it is left out. */
static double at(const sizes *z, int input, int64_t i, double absent)
{
    return z->in[input].data ? pal_ref_get(&z->in[input], i) : absent;
}

/* Row r of B or C of head h at token bt, with its bias, turned by the angles th. */
static void row(const sizes *z, int input, int bias, int64_t bt, int64_t h, int64_t r,
                const double *th, double *to)
{
    const int64_t N = z->N, group = h / (z->H / z->Gs);
    for (int64_t c = 0; c < N; c++)
        to[c] = at(z, input, ((bt * z->R + r) * z->Gs + group) * N + c, 0) +
                at(z, bias, (h * z->R + r) * N + c, 0);
    for (int64_t j = 0; j < z->J; j++) {
        const bool half = z->v->option[PAIR] != 0;
        double *a = to + (half ? j : 2 * j), *b = half ? a + N / 2 : a + 1, p = *a, q = *b;
        *a = p * cos(th[j]) - q * sin(th[j]);
        *b = p * sin(th[j]) + q * cos(th[j]);
    }
}

static double up(const sizes *z, int64_t h, int64_t r, int64_t c)
{
    return at(z, MIMO_X, (h * z->R + r) * z->P + c, 1);
}

/* S [N,P] += factor sum over rows of k v^T. */
static void write(const sizes *z, double factor, int64_t h, const double *k, const double *x,
                  double *S)
{
    for (int64_t r = 0; r < z->R; r++)
        for (int64_t n = 0; n < z->N; n++)
            for (int64_t c = 0; c < z->P; c++)
                S[n * z->P + c] += factor * k[r * z->N + n] * up(z, h, r, c) * x[c];
}

static void one_token(const sizes *z, int64_t bt, int64_t h, double *S, double *th, double *k,
                      double *x, double *o)
{
    double q[64];
    const int64_t i = bt * z->H + h;
    const double dt = at(z, DT, i, 0), lam = at(z, LAM, i, 0);
    const double scale = z->v->option[SCALE] != 0 ? z->v->option[SCALE] : 1;
    write(z, (1 - lam) * dt, h, k, x, S);
    for (int64_t c = 0; c < z->N * z->P; c++) S[c] *= exp(at(z, G, i, 0));
    for (int64_t j = 0; j < z->J; j++) th[j] += dt * at(z, OM, bt * z->J + j, 0);
    for (int64_t c = 0; c < z->P; c++) x[c] = at(z, X, i * z->P + c, 0);
    for (int64_t r = 0; r < z->R; r++) row(z, BM, B_BIAS, bt, h, r, th, k + r * z->N);
    write(z, lam * dt, h, k, x, S);
    for (int64_t r = 0; r < z->R; r++) {
        row(z, CM, C_BIAS, bt, h, r, th, q);
        for (int64_t c = 0; c < z->P; c++) {
            double sum = 0;
            for (int64_t n = 0; n < z->N; n++) sum += scale * q[n] * S[n * z->P + c];
            o[(i * z->R + r) * z->P + c] = sum + at(z, SKIP, h, 0) * up(z, h, r, c) * x[c];
        }
    }
}

static void reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    const int64_t *x = in[X].shape, *b = in[BM].shape;
    sizes z = {.B = x[0],
               .T = x[1],
               .H = x[2],
               .P = x[3],
               .J = in[OM].shape[2],
               .R = b[2],
               .Gs = b[3],
               .N = b[4],
               .v = v,
               .in = in};
    const bool packed = v->option[PACKED] != 0;
    z.S = packed ? SEQUENCES : z.B;
    pal_ref_shape(&out[0], PAL_SHAPE(z.B, z.T, z.H, z.R, z.P));
    pal_ref_shape(&out[1], PAL_SHAPE(z.S, z.H, z.N, z.P));
    pal_ref_shape(&out[2], PAL_SHAPE(z.S, z.H, z.J));
    pal_ref_shape(&out[3], PAL_SHAPE(z.S, z.H, z.R, z.N));
    pal_ref_shape(&out[4], PAL_SHAPE(z.S, z.H, z.P));
    for (int64_t lane = 0; lane < z.S * z.H; lane++) {
        const int64_t s = lane / z.H, size[] = {z.N * z.P, z.J, z.R * z.N, z.P};
        double *part[4];
        for (int i = 0; i < 4; i++) {
            part[i] = (double *)out[1 + i].data + lane * size[i];
            for (int64_t c = 0; c < size[i]; c++)
                part[i][c] = at(&z, H0 + i, lane * size[i] + c, 0);
        }
        const int64_t from = packed ? offsets[s] : s * z.T,
                      to = packed ? offsets[s + 1] : from + z.T;
        for (int64_t bt = from; bt < to; bt++)
            one_token(&z, bt, lane % z.H, part[0], part[1], part[2], part[3], out[0].data);
        for (int64_t j = 0; j < z.J && to > from; j++)
            part[1][j] -= 2 * M_PI * floor(part[1][j] / (2 * M_PI));
    }
}

/* ---- Variants ---- */

#define REAL(...)                      \
    {                                  \
        .shape = PAL_DIMS(__VA_ARGS__) \
    }
#define FROM(a, b, ...)                                     \
    {                                                       \
        .shape = PAL_DIMS(__VA_ARGS__), .low = a, .high = b \
    }
#define NONE                                 \
    {                                        \
        .shape = PAL_DIMS(1), .absent = true \
    }
/* By token: B T, heads and groups, N and P, J and R. */
#define TOKENS(B, T, H, Gs, N, P, J, R)                                                   \
    REAL(B, T, H, P), FROM(0.1, 1, B, T, H), FROM(-1.5, 0, B, T, H), FROM(0, 1, B, T, H), \
        FROM(0.1, 0.6, B, T, J), FROM(-0.7, 0.7, B, T, R, Gs, N), FROM(-0.7, 0.7, B, T, R, Gs, N)
#define HEADS(H, N, P, R) REAL(H, R, N), REAL(H, R, N), REAL(H), REAL(H, R, P)
#define STATE(S, H, N, P, J, R) \
    REAL(S, H, N, P), FROM(0.1, 1, S, H, J), REAL(S, H, R, N), REAL(S, H, P)
#define ALL(S, B, T, H, Gs, N, P, J, R)                                             \
    {                                                                               \
        TOKENS(B, T, H, Gs, N, P, J, R), HEADS(H, N, P, R), STATE(S, H, N, P, J, R) \
    }
#define COMMON(n) \
    .name = n, .nin = INPUTS, .nout = 5, .build = build, .reference = reference, .f64 = 1e-12
/* Both fused modes. */
#define FUSED(n, packed, scale, pair, ...)                                                     \
    {COMMON("chunk, " n), .in = __VA_ARGS__, .option = {packed, scale, PAL_RULE_CHUNK, pair}}, \
    {                                                                                          \
        COMMON("recurrent, " n), .in = __VA_ARGS__, .option = {                                \
            packed,                                                                            \
            scale,                                                                             \
            PAL_RULE_RECURRENT,                                                                \
            pair                                                                               \
        }                                                                                      \
    }

static const pal_variant variants[] = {
    {COMMON("initial state"), .in = ALL(2, 2, 5, 2, 1, 4, 3, 1, 1)},
    {COMMON("two groups, every channel turned"), .in = ALL(1, 1, 4, 4, 2, 4, 2, 2, 1),
     .option = {0, 0.7}},
    {COMMON("three rows, halves"), .in = ALL(1, 1, 4, 2, 1, 6, 2, 2, 3), .option = {0, 0, 0, 1}},
    {COMMON("packed, two rows"), .in = ALL(SEQUENCES, 1, 7, 2, 1, 4, 2, 1, 2), .option = {1}},
    {COMMON("nothing optional, no angle"),
     .in = {TOKENS(1, 4, 2, 1, 3, 2, 0, 1), NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE}},
    {COMMON("T = 0"), .in = ALL(2, 2, 0, 2, 1, 4, 3, 2, 1)},
    FUSED("one row", 0, 0, 0, ALL(1, 1, 19, 2, 1, 4, 5, 1, 1)),
    FUSED("two groups, four rows", 0, 0.7, 1, ALL(1, 1, 19, 4, 2, 6, 3, 3, 4)),
    FUSED("packed, one row", 1, 0, 0, ALL(SEQUENCES, 1, 7, 2, 1, 4, 3, 2, 1)),
    FUSED("packed, eight rows", 1, 0, 1, ALL(SEQUENCES, 1, 7, 2, 1, 4, 3, 1, 8)),
    FUSED("nothing optional", 0, 0, 0,
          {TOKENS(1, 18, 2, 1, 3, 2, 1, 2), NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE}),
    FUSED("no token", 0, 0, 0, ALL(2, 2, 0, 2, 1, 4, 3, 2, 1)),
    FUSED("large", 0, 0, 0, ALL(2, 2, 34, 8, 4, 6, 64, 3, 1)),
};

const pal_case pal_case_mamba3 = {"mamba3", sizeof variants / sizeof *variants, variants};
