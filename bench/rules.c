/*
 * rules.c - what the rules reach on this machine, as a share of its matrix product.
 *
 *     build/bench/rules [--rule LIST] [--mode LIST] [--direction LIST] [--threads LIST]
 *                       [--B N] [--H N] [--K N] [--V N] [--T LIST] [--chunk LIST] [--keep-every N]
 *                       [--long] [--runs N] [--quick] [--precision f32|bf16] [--csv FILE]
 *
 * Every kernel is first compared with the composed rule in f64; one that is wrong is not timed, and
 * the program ends with status 1. Then each line is a rule, a mode, a direction and a number of
 * threads, in f32: ns a token and head (wall time of the whole call over B T H), with quartiles;
 * GFLOP/s; and the share of the rate of sgemm (2048^3, same threads), which takes turns with what
 * is timed (measure.c). Directions:
 *
 *     forward            gradients off: inference
 *     forward-train      the same call with gradients on, which keeps what backward needs
 *     forward+backward   that call and the gradients of all inputs, from a given one of the output
 *     decode             one token through each of 24 states in turn, in place; ns a head and step
 *
 * The count of flops is the same for every rule and mode, so that shares compare speeds: 7 K V a
 * token and head forward. That is the recurrence of the delta rule with a K x V state: K V for the
 * decay, 2 K V to read what is erased, 2 K V to write, and 2 K V to read the output. Backward
 * counts twice that: forward+backward is 21 K V. What a chunked kernel does more (products inside
 * the chunk) or Mamba-2 less (it erases nothing) is not counted. For Mamba-2 K is the state size
 * and V the width of a head. Mamba-3 with R rows a token (mamba3/R) is counted by what a chunk of C
 * tokens has to do: 4 R K V + R^2 (C + 1) (K + V) forward, and backward 8 R K V + R^2 (C + 1) (3 K
 * + 2 V) more; decoding (6 R + 1) K V.
 *
 * With --precision bf16 the tape is that of a run whose products are in bf16. The rules compute in
 * f32 there too, so the times say whether they stay what they are; the column bf16 is the rate as a
 * share of a product of 2048^3 in bf16 by whichever library multiplies these.
 *
 * Decoding is bound by memory, so besides its row there is a line with its rate as a share of a
 * plain x = a x + b over the same states. The last column is the most that a call adds to the tape,
 * in bytes a token and head: outputs, what is saved, scratch, and the gradients.
 *
 * After the rows of a shape a line says which part of the time of forward and backward each kernel
 * of the chunk form takes (stages.c).
 *
 * The default set is the table below; --long is 8192 to 65536 tokens instead. The column chunk is
 * what was asked for, or the library's choice. --csv FILE gets a row for each line.
 */
#include "bench/rules/rules.h"
#include "layers/rules/fused/fused.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is timed unless shapes are given. The first of a rule lends what is not given, and is
 * decoded too. */
typedef struct entry {
    int rule;
    dims d;
} entry;
static const entry entries[] = {
    {RULE_gdn2, {1, 2048, 16, 128, 128, 1}},  {RULE_kda, {1, 2048, 16, 128, 128, 1}},
    {RULE_gdn, {1, 2048, 16, 128, 128, 1}},   {RULE_deltanet, {1, 2048, 16, 128, 128, 1}},
    {RULE_mamba2, {1, 2048, 32, 128, 64, 1}}, {RULE_mamba3, {1, 2048, 32, 128, 64, 1}},
    {RULE_mamba3, {1, 2048, 32, 128, 64, 4}}, {RULE_gdn2, {1, 2048, 8, 64, 64, 1}},
    {RULE_kda, {1, 2048, 8, 64, 64, 1}},      {RULE_gdn, {1, 2048, 8, 64, 64, 1}},
};
enum { ENTRIES = sizeof entries / sizeof *entries, COMPOSED_TOKENS = 128 };

typedef struct bench {
    options o;
    FILE *csv;                /* NULL: none */
    pal_tape *data, *squares; /* numbers of the rule that is timed, and those of sgemm */
    sgemm gemm;
    /* Flops a second, by the number in o.threads; 0: not measured. */
    double sgemm_rate[MAX_LIST], bf16_rate[MAX_LIST];
    bool valid[RULES][MODES]; /* of auto: decoding */
    bool failed;              /* anything */
} bench;

/* The row that is being measured. */
typedef struct row {
    const pal_rule *rule;
    pal_rule_mode mode;
    direction direction;
    int thread_index; /* in o.threads */
    dims d;
    int64_t chunk;
} row;

/* Of Mamba-3 as docs/kernels.md counts them: what a chunk has to do. */
static double mamba3_flops(const row *r)
{
    const double R = r->d.R ? (double)r->d.R : 1, K = (double)r->d.K, V = (double)r->d.V;
    const double asked = r->chunk ? (double)r->chunk : PAL_DEFAULT_CHUNK;
    const double C = asked < 256 / R ? asked : 256 / R, products = R * R * (C + 1);
    if (r->direction == DECODE) return (6 * R + 1) * K * V;
    const double forward = 4 * R * K * V + products * (K + V);
    return r->direction == FORWARD_BACKWARD ? forward + 8 * R * K * V + products * (3 * K + 2 * V)
                                            : forward;
}

/* By the common count, in one direction. */
static double flops(const row *r)
{
    if (number_of(r->rule) == RULE_mamba3) return mamba3_flops(r);
    return (r->direction == FORWARD_BACKWARD ? 21.0 : 7.0) * (double)(r->d.K * r->d.V);
}

/* One line on the screen and one in the file. */
static void report(const bench *b, const row *r, quartiles ns, double share, double bytes)
{
    int threads = (int)b->o.threads.at[r->thread_index];
    const char *mode = mode_name((int)r->mode), *way = direction_name((int)r->direction);
    const char *precision = b->o.bf16 ? "bf16" : "f32";
    char name[32], text[16];
    snprintf(name, sizeof name, r->d.R > 1 ? "%s/%d" : "%s", pal_rule_name(r->rule), (int)r->d.R);
    long long B = r->d.B, H = r->d.H, K = r->d.K, V = r->d.V, T = r->d.T;
    long long chunk = r->chunk ? r->chunk : PAL_DEFAULT_CHUNK;
    double gflops = flops(r) / ns.median, bf16 = 1e-9 * b->bf16_rate[r->thread_index];
    const double of_bf16 = bf16 > 0 ? gflops / bf16 : 0;
    printf("%-8s %-9s %-16s %4s %3d %3lld %3lld %4lld %4lld %6lld %5lld %9.2f %9.2f %9.2f %8.2f "
           "%6.3f %6s %9.0f\n",
           name, mode, way, precision, threads, B, H, K, V, T, chunk, ns.median, ns.low, ns.high,
           gflops, share, share_text(text, of_bf16, true), bytes);
    if (!b->csv) return;
    fprintf(b->csv, "%s,%s,%s,%s,%d,%lld,%lld,%lld,%lld,%lld,%lld,%.6g,%.6g,%.4g,%s\n", name, mode,
            way, precision, threads, B, H, K, V, T, chunk, ns.median, gflops, share,
            share_text(text, of_bf16, false));
}

static void print_head(const bench *b)
{
    printf("%-8s %-9s %-16s %4s %3s %3s %3s %4s %4s %6s %5s %9s %9s %9s %8s %6s %6s %9s\n", "rule",
           "mode", "direction", "prec", "thr", "B", "H", "K", "V", "T", "chunk", "ns", "quartile",
           "quartile", "GFLOP/s", "share", "bf16", "bytes");
    if (b->csv)
        fprintf(b->csv, "rule,mode,direction,precision,threads,B,H,K,V,T,chunk,ns,gflops,share,"
                        "share_of_bf16\n");
}

static void row_failed(bench *b, const row *r)
{
    b->failed = true;
    note(b->csv, "FAILED: %s %s %s", pal_rule_name(r->rule), mode_name((int)r->mode),
         direction_name((int)r->direction));
}

/* ---- Rows ---- */

static quartiles scaled(quartiles q, double by)
{
    return (quartiles){q.low * by, q.median * by, q.high * by};
}

static pal_tape *tape_of(const bench *b)
{
    pal_tape *tape = pal_tape_new();
    pal_tape_precision(tape, b->o.bf16 ? PAL_BF16 : PAL_F32);
    return tape;
}

static void rule_row(bench *b, const subject *s, row r)
{
    pairs p;
    job j = {.s = s,
             .direction = r.direction,
             .opts = {.mode = r.mode, .chunk = r.chunk, .keep_every = b->o.keep_every},
             .tape = tape_of(b)};
    double heads = (double)(r.d.B * r.d.T * r.d.H);
    if (measure_pairs(job_run, &j, sgemm_run, &b->gemm, b->o.runs, &p))
        report(b, &r, scaled(p.seconds, 1e9 / heads), p.ratio * flops(&r) * heads / SGEMM_FLOPS,
               (double)j.bytes / heads);
    else
        row_failed(b, &r);
    pal_tape_free(j.tape);
}

static void decode_row(bench *b, const subject *s, row r)
{
    pairs p;
    decoder d = decoder_new(s, b->gemm.threads);
    if (b->o.bf16) pal_tape_precision(d.tape, PAL_BF16);
    double states = (double)(r.d.B * r.d.H * LAYERS), steps = states * PASSES;
    if (measure_pairs(decoder_run, &d, decoder_sweep, &d, b->o.runs, &p)) {
        double rate = flops(&r) * steps / p.seconds.median;
        report(b, &r, scaled(p.seconds, 1e9 / steps), rate / b->sgemm_rate[r.thread_index], 0);
        note(b->csv,
             "decode: %s threads=%d is %.3f of a read-modify-write sweep over the same %.0f MB",
             pal_rule_name(r.rule), d.threads, p.ratio,
             states * (double)(r.d.K * r.d.V) * 4 / (1 << 20));
    } else {
        row_failed(b, &r);
    }
    decoder_free(&d);
}

static bool wants(const bench *b, const row *r)
{
    const bool *valid = b->valid[number_of(r->rule)];
    bool both = valid[PAL_RULE_RECURRENT] && valid[PAL_RULE_CHUNK]; /* auto is one of them */
    if (!(b->o.modes >> r->mode & 1) || !(b->o.directions >> r->direction & 1)) return false;
    if (r->mode == PAL_RULE_RECURRENT && r->direction != FORWARD && !b->o.directions_given)
        return false;
    if (r->direction == DECODE) return r->mode == PAL_RULE_AUTO && valid[PAL_RULE_AUTO];
    return r->mode == PAL_RULE_AUTO ? both : valid[r->mode];
}

static void use_threads(bench *b, int index)
{
    b->gemm.threads = (int)b->o.threads.at[index];
    pal_set_threads(b->gemm.threads);
}

static void mode_rows(bench *b, const subject *s, row r, unsigned modes)
{
    for (int m = 0; m < MODES; m++) {
        for (int i = 0; i < DECODE && modes >> m & 1; i++) {
            r.mode = (pal_rule_mode)m, r.direction = (direction)i;
            if (wants(b, &r)) rule_row(b, s, r);
        }
    }
}

static void shape_rows(bench *b, const pal_rule *r, dims d, unsigned modes)
{
    pal_tape_reset(b->data);
    subject s = subject_draw(b->data, r, d);
    for (int t = 0; t < b->o.threads.n; t++) {
        use_threads(b, t);
        for (int c = 0; c < b->o.chunk.n; c++) {
            row at = {.rule = r, .thread_index = t, .d = d, .chunk = b->o.chunk.at[c]};
            mode_rows(b, &s, at, modes);
        }
    }
    FILE *const files[] = {stdout, b->csv};
    for (int c = 0; c < b->o.chunk.n && modes >> PAL_RULE_CHUNK & 1; c++)
        if (b->valid[number_of(r)][PAL_RULE_CHUNK])
            b->failed |= !stages_print(files, b->csv ? 2 : 1, &s, b->o.chunk.at[c]);
}

static void decode_rows(bench *b, const pal_rule *r, dims d)
{
    d.T = 1;
    pal_tape_reset(b->data);
    subject s = subject_draw(b->data, r, d);
    for (int t = 0; t < b->o.threads.n; t++) {
        row at = {.rule = r, .direction = DECODE, .thread_index = t, .d = d};
        use_threads(b, t);
        if (wants(b, &at)) decode_row(b, &s, at);
    }
}

/* ---- The set ---- */

static void entry_rows(bench *b, const entry *e, bool first)
{
    const options *o = &b->o;
    const pal_rule *r = pal_rule_at(e->rule);
    const unsigned composed = 1u << PAL_RULE_COMPOSED;
    dims d = {.B = o->B ? o->B : e->d.B,
              .H = o->H ? o->H : e->d.H,
              .K = o->K ? o->K : e->d.K,
              .V = o->V ? o->V : e->d.V,
              .R = e->d.R};
    for (int i = 0; i < (o->T.n ? o->T.n : 1); i++) {
        d.T = o->T.n ? o->T.at[i] : e->d.T;
        if (o->modes & ~composed) shape_rows(b, r, d, ~composed);
        if (d.T > COMPOSED_TOKENS) d.T = COMPOSED_TOKENS;
        if (o->modes & composed) shape_rows(b, r, d, composed);
    }
    if (first && (o->directions_given || !o->shape_given)) decode_rows(b, r, d);
}

static void all_rows(bench *b)
{
    unsigned seen = 0; /* rules, as bits */
    print_head(b);
    for (const entry *e = entries; e < entries + ENTRIES; e++) {
        bool first = !(seen >> e->rule & 1);
        seen |= 1u << e->rule;
        if (b->o.rules >> e->rule & 1 && (first || !b->o.shape_given)) entry_rows(b, e, first);
    }
    for (int i = 0; i < RULES; i++) { /* those that have no entry */
        const entry e = {i, {1, 2048, 16, 128, 128, 1}};
        if (!(seen >> i & 1) && b->o.rules >> i & 1) entry_rows(b, &e, true);
    }
}

/* ---- The program ---- */

/* Compares with f64 what may be timed. */
static void validate_rule(bench *b, int i)
{
    bool automatic = b->o.modes >> PAL_RULE_AUTO & 1;
    for (int m = 0; m < MODES; m++) {
        bool asked = b->o.modes >> m & 1 || automatic; /* auto may be any kernel */
        unsigned directions = m == PAL_RULE_AUTO ? 1u << DECODE : (1u << DECODE) - 1;
        b->valid[i][m] = m == PAL_RULE_COMPOSED; /* it is the reference */
        if (b->valid[i][m] || !asked || !(b->o.directions & directions)) continue;
        b->valid[i][m] = validate(pal_rule_at(i), (pal_rule_mode)m, &b->o.chunk);
        b->failed |= !b->valid[i][m];
    }
}

static void measure_products(bench *b)
{
    note_products(b->csv, b->o.bf16);
    for (int t = 0; t < b->o.threads.n; t++) {
        use_threads(b, t);
        b->sgemm_rate[t] = note_sgemm(b->csv, &b->gemm, b->o.runs);
        if (b->o.bf16) b->bf16_rate[t] = note_bf16(b->csv, b->gemm.threads, b->o.runs);
    }
}

/* Errors of the library are reported and end in a failed row; its tape says that there was one. */
static void on_error(const pal_error *error, void *user)
{
    (void)user;
    fprintf(stderr, "rules: %s\n", error->message);
}

int main(int argc, char **argv)
{
    bench b = {.o = options_parse(argc, argv)};
    if (b.o.csv && !(b.csv = fopen(b.o.csv, "w"))) {
        perror(b.o.csv);
        return EXIT_FAILURE;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* a long run can be watched through a pipe */
    if (b.csv) setvbuf(b.csv, NULL, _IOLBF, 0);
    pal_set_error_handler(on_error, NULL);
    b.data = pal_tape_new();
    b.squares = pal_tape_new();
    pal_set_grad(b.data, false);
    b.gemm = sgemm_new(b.squares);
    use_threads(&b, (int)b.o.threads.n - 1);
    note_machine(b.csv);
    for (int i = 0; i < RULES; i++)
        if (b.o.rules >> i & 1) validate_rule(&b, i);
    measure_products(&b);
    all_rows(&b);
    pal_tape_free(b.squares);
    pal_tape_free(b.data);
    if (b.csv && fclose(b.csv)) {
        perror(b.o.csv);
        b.failed = true;
    }
    return b.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
