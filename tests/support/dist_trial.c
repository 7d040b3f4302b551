/*
 * dist_trial.c - compares parts of sequences on several ranks with whole sequences.
 */
#include "tests/support/dist_trial.h"
#include "tests/support/node.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Relative; of a norm below LEAST, which is rounding of a gradient that is 0, absolute. */
static const double F64 = 1e-10, F32 = 1e-5, LEAST = 1e-4;

pal_dist *dist;

/* ---- Layouts ---- */

static const char *const cut_names[] = {
    "even", "the last rank without a token", "the first rank without a token",
    "one token on all ranks but the last", "a rank between without a token"};

bool dist_cut(dist_layout *l, int kind)
{
    const int P = pal_dist_size(dist);
    if (kind >= (P == 1 ? 1 : P == 2 ? 4 : 5)) return false;
    for (int r = 0; r <= P; r++) {
        const int64_t even[] = {l->T * r / P, r == P ? l->T : l->T * r / (P > 1 ? P - 1 : 1),
                                r == 0 ? 0 : l->T * (r - 1) / (P > 1 ? P - 1 : 1),
                                r == P ? l->T : r, 0};
        l->cut[r] = even[kind];
    }
    for (int r = 0; r <= P && kind == 4; r++)
        l->cut[r] = r < 2 ? l->T * r / (P - 1) : l->T * (r - 1) / (P - 1);
    return true;
}

/* This rank's part: its rows of states, by piece or by batch. */
typedef struct part {
    int64_t from, to;
    bool continued;
    int rows;
    int sequence[DIST_SEQUENCES];
    bool begins[DIST_SEQUENCES], ends[DIST_SEQUENCES];
    int64_t offsets[DIST_SEQUENCES + 1];
} part;

static void add_piece(part *p, int sequence, bool begins, bool ends, int64_t end)
{
    p->sequence[p->rows] = sequence, p->begins[p->rows] = begins, p->ends[p->rows] = ends;
    p->offsets[++p->rows] = end;
}

static part part_of(const dist_layout *l, int rank, int size)
{
    part p = {.from = l->cut[rank], .to = l->cut[rank + 1]};
    const int64_t n = p.to - p.from;
    const bool last = rank == size - 1;
    for (int b = 0; b < l->B && !l->sequences; b++) add_piece(&p, b, rank == 0, last, n);
    for (int s = 0; s < l->sequences; s++) {
        const int64_t begin = l->offsets[s], end = l->offsets[s + 1];
        const bool begins = begin >= p.from && (begin < p.to || (last && begin == p.to));
        const bool before = begin < p.from && end > p.from;
        if (!begins && !before) continue;
        if (before) p.continued = true;
        const bool ends = begin == end || (end > p.from && end <= p.to);
        add_piece(&p, s, begins, ends, (end < p.to ? end : p.to) - p.from);
    }
    if (l->sequences && p.rows == 0) { /* between two sequences: passes the first one on */
        p.continued = true;
        add_piece(&p, 0, false, false, 0);
    }
    return p;
}

static part whole_of(const dist_layout *l)
{
    dist_layout all = *l;
    all.cut[0] = 0, all.cut[1] = l->T;
    return part_of(&all, 0, 1);
}

/* ---- Arrays ---- */

static pal_array new_array(pal_dtype dtype, pal_shape shape)
{
    return pal_array_of(dtype, shape, calloc((size_t)pal_shape_count(shape) + 1, sizeof(double)));
}

/* Numbers per row of axis 0 or, for tokens, per token. */
static int64_t inner(const pal_array *x, dist_axis axis)
{
    int64_t n = 1;
    for (int d = axis == DIST_TOKENS ? 2 : 1; d < x->ndim; d++) n *= x->shape[d];
    return n;
}

/* This part's share of x. What a state is that nobody reads is `unread`. */
static pal_array take(const pal_array *x, dist_axis axis, const part *p, const bool *rows,
                      double unread)
{
    pal_shape shape = pal_array_shape(x);
    if (axis == DIST_TOKENS) shape.dim[1] = p->to - p->from;
    if (axis == DIST_STATES) shape.dim[0] = p->rows;
    pal_array y = new_array(x->dtype, shape);
    const int64_t n = inner(x, axis), m = p->to - p->from;
    const size_t size = sizeof(double); /* f64 and i64 */
    const char *from = x->data;
    char *to = y.data;
    if (axis == DIST_ALL) memcpy(to, from, (size_t)pal_array_count(x) * size);
    for (int64_t b = 0; axis == DIST_TOKENS && b < x->shape[0]; b++)
        memcpy(to + (size_t)(b * m * n) * size,
               from + (size_t)((b * x->shape[1] + p->from) * n) * size, (size_t)(m * n) * size);
    for (int r = 0; axis == DIST_STATES && r < p->rows; r++)
        for (int64_t i = 0; i < n; i++)
            ((double *)y.data)[r * n + i] =
                rows[r] ? ((const double *)x->data)[p->sequence[r] * n + i] : unread;
    return y;
}

static double norm(const pal_array *x)
{
    double sum = 0;
    for (int64_t i = 0; i < pal_array_count(x); i++)
        sum += ((double *)x->data)[i] * ((double *)x->data)[i];
    return sqrt(sum);
}

/* Expects x, this part's share, to be that of `whole`; of states only these rows. With `turn` it
 * counts modulo 2 pi. */
static void compare(const dist_trial *t, const char *kind, const char *name, const pal_array *x,
                    const pal_array *whole, dist_axis axis, const part *p, const bool *rows,
                    bool turn)
{
    pal_array ref = take(whole, axis, p, rows, 0);
    const bool alike = pal_shape_equal(pal_array_shape(x), pal_array_shape(&ref));
    const int64_t n = inner(x, axis);
    for (int64_t i = 0; i < pal_array_count(x) && alike; i++) {
        const bool counts = axis != DIST_STATES || !rows || rows[i / n];
        double *r = (double *)ref.data + i;
        *r = counts ? ((double *)x->data)[i] - *r : 0;
        if (turn) *r = remainder(*r, 6.283185307179586);
    }
    const double error = norm(&ref), scale = fmax(norm(whole), LEAST);
    expect(alike && error <= (t->f32 ? F32 : F64) * scale, "%s: %s%s differs by %.3g of %.3g",
           t->name, kind, name, error, scale);
    free(ref.data);
}

/* ---- Running ---- */

typedef struct result {
    int outputs, params;
    pal_array out[DIST_OUTPUTS], din[DIST_INPUTS];
    pal_array *dparam;
} result;

static pal_array doubles(pal_tensor t)
{
    pal_array a = pal_value(t), x = new_array(PAL_F64, pal_array_shape(&a));
    if (pal_array_copy(&x, &a, NULL) != PAL_OK) abort();
    return x;
}

static pal_array gradient(pal_tensor t)
{
    const pal_tensor g = pal_grad(t);
    return pal_is_none(g) ? new_array(PAL_F64, pal_shape_of(t)) : doubles(g);
}

/* The cotangent of an output: of the whole, the same on every rank, this part's share. */
static pal_tensor cotangent(const dist_trial *t, pal_tape *tape, int i, pal_tensor out,
                            const part *p)
{
    const dist_axis axis = i ? DIST_STATES : DIST_TOKENS;
    pal_shape shape = pal_shape_of(out);
    if (i)
        shape.dim[0] = t->layout->sequences ? t->layout->sequences : t->layout->B;
    else
        shape.dim[1] = t->layout->T;
    pal_array all = new_array(PAL_F64, shape);
    pal_rng rng = pal_rng_new(77, (uint64_t)i);
    pal_rng_uniform(&rng, &all, -1, 1);
    pal_array mine = take(&all, axis, p, p->ends, 0);
    pal_tensor c = pal_from_array(tape, &mine);
    free(all.data), free(mine.data);
    return c;
}

static result run(const dist_trial *t, const part *p, const pal_comm *comm)
{
    result r = {.outputs = 0};
    pal_tape *tape = pal_tape_new();
    pal_tensor in[DIST_INPUTS], given[DIST_INPUTS];
    pal_tensor out[DIST_OUTPUTS], from[DIST_OUTPUTS], c[DIST_OUTPUTS];
    pal_run_opts opts = {.mode = t->mode, .parts = comm, .continued = p->continued};
    int n = 0;
    if (t->layout->sequences)
        opts.offsets = pal_from(tape, PAL_I64, PAL_SHAPE(p->rows + 1), p->offsets);
    for (int i = 0; t->input[i].name; i++) {
        in[i] = PAL_NONE;
        if (!t->input[i].x.data) continue;
        pal_array x = take(&t->input[i].x, t->input[i].axis, p, p->begins, 7);
        in[i] = pal_from_array(tape, &x);
        if (x.dtype == PAL_F64) in[i] = pal_want_grad(in[i]);
        free(x.data);
    }
    for (int i = 0; t->input[i].name; i++) {
        const bool real = !pal_is_none(in[i]) && pal_dtype_of(in[i]) == PAL_F64;
        given[i] = t->f32 && real ? pal_cast(in[i], PAL_F32) : in[i];
    }
    r.outputs = t->fn(t->context, tape, given, opts, out);
    for (int i = 0; i < r.outputs; i++) {
        if (t->f32) out[i] = pal_cast(out[i], PAL_F64);
        r.out[i] = doubles(out[i]);
        if (!needs_grad(out[i])) continue; /* a state of zeros that an empty part hands on */
        from[n] = out[i];
        c[n++] = cotangent(t, tape, i, out[i], p);
    }
    if (pal_backward_from(n, from, c) != PAL_OK) abort();
    for (int i = 0; t->input[i].name; i++)
        r.din[i] = pal_is_none(in[i]) || pal_dtype_of(in[i]) == PAL_I64 ? (pal_array){.data = NULL}
                                                                        : gradient(in[i]);
    r.params = t->params ? pal_params_count(t->params) : 0;
    r.dparam = calloc((size_t)r.params + 1, sizeof *r.dparam);
    for (int i = 0; i < r.params; i++) r.dparam[i] = gradient(pal_params_at(t->params, i));
    if (t->params) pal_params_zero_grad(t->params);
    pal_tape_free(tape);
    return r;
}

static void release(result *r)
{
    for (int i = 0; i < r->outputs; i++) free(r->out[i].data);
    for (int i = 0; i < DIST_INPUTS; i++) free(r->din[i].data);
    for (int i = 0; i < r->params; i++) free(r->dparam[i].data);
    free(r->dparam);
}

static void sum(pal_array *x) { pal_dist_sum(dist, (int)pal_array_count(x), x->data); }

/* A comm of one process gives the bits of none. */
static void run_alone(const dist_trial *t, const part *all, const result *whole)
{
    const pal_comm one = {0, 1, NULL, NULL};
    result r = run(t, all, &one);
    for (int i = 0; i < r.outputs; i++)
        expect(memcmp(r.out[i].data, whole->out[i].data,
                      (size_t)pal_array_count(&r.out[i]) * sizeof(double)) == 0,
               "%s: output %d of one process has other bits", t->name, i);
    release(&r);
}

/* This rank's part, cut in one way, against the whole. */
static void run_part(const dist_trial *t, const result *whole)
{
    static const char *const names[DIST_OUTPUTS] = {"output", "state", "tail 0", "tail 1",
                                                    "tail 2"};
    const part mine = part_of(t->layout, pal_dist_rank(dist), pal_dist_size(dist));
    result r = run(t, &mine, pal_dist_sequence(dist));
    for (int i = 0; i < r.outputs; i++)
        compare(t, "", names[i], &r.out[i], &whole->out[i], i ? DIST_STATES : DIST_TOKENS, &mine,
                mine.ends, i > 0 && i == t->angles);
    for (int i = 0; t->input[i].name; i++) {
        if (!r.din[i].data) continue;
        if (t->input[i].axis == DIST_ALL) sum(&r.din[i]);
        compare(t, "the gradient of ", t->input[i].name, &r.din[i], &whole->din[i],
                t->input[i].axis, &mine, mine.begins, false);
        for (int s = 0; t->input[i].axis == DIST_STATES && s < mine.rows; s++) {
            const int64_t n = inner(&r.din[i], DIST_STATES);
            pal_array row = pal_array_of(PAL_F64, PAL_SHAPE(n), (double *)r.din[i].data + s * n);
            expect(mine.begins[s] || norm(&row) == 0, "%s: a state of another rank has a gradient",
                   t->name);
        }
    }
    for (int i = 0; i < r.params; i++) {
        sum(&r.dparam[i]);
        compare(t, "the gradient of ", pal_params_name(t->params, i), &r.dparam[i],
                &whole->dparam[i], DIST_ALL, &mine, NULL, false);
    }
    release(&r);
}

void dist_run(const dist_trial *trial)
{
    dist_layout l = *trial->layout;
    dist_trial t = *trial;
    char text[512];
    t.name = text, t.layout = &l;
    snprintf(text, sizeof text, "%s", trial->name);
    const part all = whole_of(&l);
    result whole = run(&t, &all, NULL);
    if (pal_dist_rank(dist) == 0) run_alone(&t, &all, &whole); /* all ranks would do the same */
    for (int kind = 0; dist_cut(&l, kind); kind++) {
        snprintf(text, sizeof text, "%s, %s", trial->name, cut_names[kind]);
        run_part(&t, &whole);
    }
    release(&whole);
}
