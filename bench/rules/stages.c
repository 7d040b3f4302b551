/*
 * stages.c - where the time of a chunked rule goes: its kernels called one by one on one thread, as
 * the files of layers/rules/fused call them, each with a clock around it.
 */
#include "bench/rules/rules.h"
#include "layers/rules/fused/fused.h"

#include <stdlib.h>
#include <string.h>

enum { PREPARE, SCAN, PREPARE_AGAIN, SOLVE_AGAIN, SCAN_BACK, GRADIENT, STAGES };
static const char *const names[STAGES] = {"prepare",     "scan",      "prepare again",
                                          "solve again", "scan back", "gradient"};

/* A rule's call without its tape, and the memory of one lane. */
typedef struct stand {
    pal_array in[PAL_RULE_INPUTS], o;
    const pal_array *ins[PAL_RULE_INPUTS];
    pal_array *outs[1];
    pal_fused_opts opts;
    pal_call call;
    pal_fused f;
    pal_chunk chunk;
    pal_chunk_back back;
    char *S, *dS; /* states before each chunk, and the gradient of one */
    double *ends; /* Mamba-3: the gradient of the final angles, twice; zeros */
    void *memory;
} stand;

static void carve(stand *x, pal_carver *c, int64_t chunks)
{
    const pal_rule_shape *s = &x->f.shape;
    size_t panels = (size_t)(s->C * s->Vp) * x->f.size;
    x->chunk = pal_carve_chunk(c, &x->f);
    x->back = pal_carve_back(c, &x->f);
    x->back.dO = pal_carve(c, panels), x->back.dX = pal_carve(c, panels);
    x->back.U = pal_carve(c, panels);
    x->dS = pal_carve(c, pal_fused_state_bytes(&x->f));
    x->S = pal_carve(c, (size_t)(chunks + 1) * pal_fused_state_bytes(&x->f));
    x->f.angles = pal_carve(c, (size_t)pal_fused_angle_count(&x->f) * sizeof(double));
    x->ends = pal_carve(c, (size_t)(2 * s->angles) * sizeof(double));
}

/* Outputs [B,T,H,R,V] as the operation has them, [B,T R,H,V]; their values do not matter here. */
static pal_array rows_of(pal_array o)
{
    if (o.ndim < 5) return o;
    const int64_t R = o.shape[3], H = o.shape[2], V = o.shape[4];
    o.ndim = 4;
    o.shape[1] *= R, o.shape[3] = V;
    o.stride[3] = 1, o.stride[2] = V, o.stride[1] = H * V, o.stride[0] = o.shape[1] * H * V;
    return o;
}

static bool stand_up(stand *x, const subject *s, int64_t chunk)
{
    pal_tensor in[PAL_RULE_INPUTS] = {{NULL, 0}};
    for (int i = 0; i < operands(s->rule); i++) {
        in[i] = s->in[i];
        x->in[i] = pal_value(s->in[i]);
        x->ins[i] = &x->in[i];
    }
    pal_rule_opts opts = {.mode = PAL_RULE_CHUNK, .chunk = chunk};
    x->opts = pal_fused_options(s->rule, in, &opts);
    x->o = rows_of(pal_value(s->cotangent[0]));
    x->outs[0] = &x->o;
    x->call =
        (pal_call){.opts = &x->opts, .nin = pal_rule_inputs(s->rule), .in = x->ins, .out = x->outs};
    x->f = pal_fused_of(&x->call, 1);
    pal_carver c = {NULL, 0};
    carve(x, &c, pal_fused_chunks(&x->f, 0));
    x->memory = aligned_alloc(PAL_ALIGN, pal_round_up(c.used, PAL_ALIGN));
    if (!x->memory) return false;
    memset(x->memory, 0, c.used);
    c = (pal_carver){x->memory, 0};
    carve(x, &c, pal_fused_chunks(&x->f, 0));
    return true;
}

/* ---- One head, chunk by chunk ---- */

static double since(double *clock)
{
    double now = seconds(), passed = now - *clock;
    *clock = now;
    return passed;
}

static void forward(stand *x, const pal_head *h, const pal_rows *o, double time[STAGES])
{
    const pal_fused *f = &x->f;
    const size_t size = pal_fused_state_bytes(f);
    for (int64_t i = 0; i < pal_fused_chunks(f, 0); i++) {
        char *S = x->S + (size_t)i * size;
        pal_rows to = pal_rows_from(f, *o, i * f->shape.C);
        x->chunk.rows = pal_fused_rows(f, 0, i);
        double clock = seconds();
        f->rule->prepare(&f->shape, h, i * f->tokens, &x->chunk);
        time[PREPARE] += since(&clock);
        memcpy(S + size, S, size);
        clock = seconds();
        for (int64_t p = 0; p < pal_fused_panels(f); p++)
            f->table->scan(&f->shape, &x->chunk, p, S + size, S + size, NULL, &to, NULL, 0);
        time[SCAN] += since(&clock);
    }
}

static void backward(stand *x, const pal_head *h, const pal_rows *dO, double time[STAGES])
{
    const pal_fused *f = &x->f;
    pal_head_grad none = {.add = 0};
    double sums[2], late; /* of A and D, which are wanted like what comes by token */
    if (f->at[PAL_IN_A] >= 0) none.sums = sums;
    none.late = &late, none.end_angles = x->ends, none.whole_turn = x->ends + f->shape.angles;
    x->back.dS0 = x->dS;
    for (int64_t i = pal_fused_chunks(f, 0) - 1; i >= 0; i--) {
        char *S = x->S + (size_t)i * pal_fused_state_bytes(f);
        pal_rows rows = pal_rows_from(f, *dO, i * f->shape.C);
        x->chunk.rows = pal_fused_rows(f, 0, i);
        double clock = seconds();
        f->rule->prepare(&f->shape, h, i * f->tokens, &x->chunk);
        time[PREPARE_AGAIN] += since(&clock);
        for (int64_t p = 0; p < pal_fused_panels(f); p++)
            f->table->scan(&f->shape, &x->chunk, p, S, NULL, x->back.U, NULL, NULL, 0);
        time[SOLVE_AGAIN] += since(&clock);
        for (int64_t p = 0; p < pal_fused_panels(f); p++)
            f->table->scan_back(&f->shape, &x->chunk, p, &rows, x->dS, x->dS, &x->back);
        time[SCAN_BACK] += since(&clock);
        f->rule->gradient(&f->shape, h, i * f->tokens, &x->chunk, &x->back, S, x->dS, &none);
        time[GRADIENT] += since(&clock);
    }
}

/* Flops of a chunk's products in the two scans (scan.k.c), a token and head; 0: no such count. */
static double flops_of(const pal_rule_shape *s, int stage)
{
    const double KV = (double)(s->ranks * s->Kp * s->Vp), CV = (double)(s->ranks * s->C * s->Vp);
    if (stage == SCAN) return s->erase ? 6 * KV + 2 * CV : 4 * KV + CV;
    if (stage == SCAN_BACK) return s->erase ? 6 * KV + 2 * CV : 4 * KV + CV;
    return 0;
}

static void print_stages(FILE *f, const stand *x, const char *name, const double time[STAGES])
{
    const double tokens = (double)(x->f.seq.T * (x->f.HV > 1 ? x->f.HV - 1 : 1));
    double all = 0;
    for (int i = 0; i < STAGES; i++) all += time[i];
    fprintf(f, "# stages: %s", name);
    if (x->f.shape.ranks > 1) fprintf(f, "/%lld", (long long)x->f.shape.ranks);
    fprintf(f, " C %lld", (long long)x->f.tokens);
    for (int i = 0; i < STAGES; i++) {
        const double ns = 1e9 * time[i] / tokens, flops = flops_of(&x->f.shape, i);
        fprintf(f, "%s %s %.1f%% %.0f ns", i ? "," : ":", names[i], 100 * time[i] / all, ns);
        if (flops > 0) fprintf(f, " %.1f GFLOP/s", flops / ns);
    }
    fprintf(f, "\n");
}

bool stages_print(FILE *const *files, int n, const subject *s, int64_t chunk)
{
    stand x = {.memory = NULL};
    double time[STAGES] = {0};
    if (!stand_up(&x, s, chunk)) return false;
    for (int64_t lane = 0; lane < x.f.HV; lane++) {
        pal_head h = pal_fused_head(&x.f, lane);
        if (x.f.shape.trapezoid) pal_fused_lane_begin(&x.f, lane, &h);
        pal_rows o = pal_fused_out_rows(&x.f, &x.o, lane);
        if (lane == 1) memset(time, 0, sizeof time); /* the first one warmed up */
        forward(&x, &h, &o, time);
        backward(&x, &h, &o, time);
    }
    for (int i = 0; i < n; i++) print_stages(files[i], &x, pal_rule_name(s->rule), time);
    free(x.memory);
    return true;
}
