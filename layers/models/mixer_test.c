/*
 * mixer_test.c - the checks of pal_mixer_test.
 *
 * Every check makes the mixer anew, with parameters drawn from the same seed, and compares two ways
 * to the same numbers: y, the parts of the state, or the gradients of a weighted sum of all these.
 */
#include "layers/models/mixer_test.h"
#include "tensor/internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { B = PAL_TRIAL_ROWS, T = PAL_TRIAL_TOKENS };

/* ---- Numbers ---- */

double *pal_trial_draw(uint64_t stream, int64_t n)
{
    double *x = calloc((size_t)n + 1, sizeof *x);
    pal_rng rng = pal_rng_new(17, stream);
    const pal_array to = pal_array_of(PAL_F64, PAL_SHAPE(n), x);
    if (x) pal_rng_uniform(&rng, &to, -1, 1);
    for (int64_t i = 0; x && i < n; i++) x[i] = (float)x[i];
    return x;
}

static double *copy_of(pal_tensor t, int64_t *n)
{
    const pal_array from = pal_value(t);
    *n = pal_array_count(&from);
    double *x = calloc((size_t)*n + 1, sizeof *x);
    pal_array to = pal_array_of(PAL_F64, pal_array_shape(&from), x);
    if (x && pal_array_copy(&to, &from, NULL) != PAL_OK) *n = 0;
    return x;
}

void pal_numbers_add(pal_numbers *all, pal_tensor t)
{
    int64_t n;
    if (pal_is_none(t)) return;
    double *x = copy_of(t, &n), *more = realloc(all->x, (size_t)(all->n + n + 1) * sizeof *more);
    if (x && more) {
        memcpy(more + all->n, x, (size_t)n * sizeof *x);
        all->n += n;
    }
    if (more) all->x = more;
    free(x);
}

double pal_numbers_apart(const pal_numbers *a, const pal_numbers *b)
{
    double most = 0, apart = 0;
    if (a->n != b->n || a->n == 0) return HUGE_VAL;
    for (int64_t i = 0; i < a->n; i++) {
        most = fmax(most, fabs(b->x[i]));
        const double d = fabs(a->x[i] - b->x[i]);
        if (!(d <= apart)) apart = d; /* NaN too */
    }
    return apart / (most > 0 ? most : 1);
}

/* ---- A mixer on trial ---- */

bool pal_trial_make(pal_trial *t, const pal_mixer_trial *of, pal_dtype dtype)
{
    pal_rng rng = pal_rng_new(5, 0);
    *t = (pal_trial){.of = of, .dtype = dtype, .params = pal_params_new()};
    t->mixer = pal_mixer_new(t->params, "", of->width, dtype, of->text, &rng);
    for (int i = 0; t->mixer && i < pal_params_count(t->params); i++) {
        const pal_array value = pal_params_array(t->params, i);
        double *x = pal_trial_draw(100 + (uint64_t)i, pal_array_count(&value));
        for (int64_t j = 0; x && j < pal_array_count(&value); j++) x[j] = (float)(0.4 * x[j] + 0.1);
        const pal_array source = pal_array_of(PAL_F64, pal_array_shape(&value), x);
        pal_assign(pal_params_at(t->params, i), &source);
        free(x);
    }
    t->tape = pal_tape_new();
    return t->mixer != NULL;
}

void pal_trial_free(pal_trial *t)
{
    pal_tape_free(t->tape);
    pal_params_free(t->params);
}

pal_tensor pal_trial_input(pal_trial *t, pal_shape shape, const double *x)
{
    const pal_array from = pal_array_of(PAL_F64, shape, (void *)(uintptr_t)x);
    pal_tensor leaf = pal_zeros(t->tape, t->dtype, shape);
    if (pal_tape_status(t->tape) != PAL_OK) return leaf;
    pal_array to = leaf.node->a;
    return pal_array_copy(&to, &from, NULL) == PAL_OK ? pal_want_grad(leaf) : leaf;
}

pal_tensor pal_trial_tokens(pal_trial *t, int64_t rows, int64_t first, int64_t last)
{
    const int64_t d = t->of->width, n = last - first;
    double *all = pal_trial_draw(1, B * T * d), *x = calloc((size_t)(rows * n * d) + 1, sizeof *x);
    for (int64_t b = 0; all && x && b < rows; b++)
        memcpy(x + b * n * d, all + (b * T + first) * d, (size_t)(n * d) * sizeof *x);
    pal_tensor leaf = pal_trial_input(t, PAL_SHAPE(rows, n, d), x);
    free(all), free(x);
    return leaf;
}

/* The sum of <c, t> for cotangents c that depend on the number of t only. */
static pal_tensor weigh(pal_trial *t, pal_tensor sum, pal_tensor of, uint64_t number)
{
    if (pal_is_none(of) || pal_count(of) == 0) return sum;
    double *c = pal_trial_draw(1000 + number, pal_count(of));
    pal_tensor w = pal_detach(pal_trial_input(t, pal_shape_of(of), c));
    free(c);
    return pal_add(sum, pal_sum(pal_mul(w, of), PAL_ALL, false));
}

pal_tensor pal_trial_loss(pal_trial *t, pal_tensor y, const pal_mixer_state *state)
{
    pal_tensor sum = weigh(t, pal_scalar(t->tape, t->dtype, 0), y, 0);
    for (int i = 0; state && i < PAL_MIXER_PARTS && state->part[i].name; i++)
        sum = weigh(t, sum, state->part[i].tensor, 1 + (uint64_t)i);
    return sum;
}

/* ---- The report ---- */

void pal_trial_said(pal_mixer_trial *of, const char *what, double error, double most)
{
    const bool wrong = of->raised || !(error <= most);
    of->failed += wrong;
    if (of->raised)
        fprintf(of->report, "FAIL %-24s %s\n", what, of->error.message);
    else
        fprintf(of->report, "%s %-24s %.1e, at most %.1e\n", wrong ? "FAIL" : "ok  ", what, error,
                most);
    of->raised = false;
}

static void heard(const pal_error *error, void *user)
{
    pal_mixer_trial *of = user;
    if (!of->raised) of->error = *error;
    of->raised = true;
}

/* ---- One call against itself ---- */

/* y, the state, and all gradients of one call with a state; threads 0: as they are. */
static pal_numbers everything(pal_mixer_trial *of, pal_dtype dtype, int threads)
{
    pal_numbers all = {0};
    pal_trial t;
    const int before = pal_threads();
    if (threads) pal_set_threads(threads);
    if (pal_trial_make(&t, of, dtype)) {
        pal_mixer_state state = {.seen = 0};
        const bool keeps = !(of->refuses & PAL_NO_STATE);
        pal_tensor x = pal_trial_tokens(&t, B, 0, T);
        pal_tensor y = pal_mixer_forward(t.mixer, x, keeps ? &state : NULL, (pal_run_opts){0});
        pal_tensor loss = pal_trial_loss(&t, y, keeps ? &state : NULL);
        if (pal_backward(loss) == PAL_OK) {
            pal_numbers_add(&all, y);
            for (int i = 0; keeps && i < PAL_MIXER_PARTS; i++)
                pal_numbers_add(&all, state.part[i].name ? state.part[i].tensor : PAL_NONE);
            pal_numbers_add(&all, pal_grad(x));
            for (int i = 0; i < pal_params_count(t.params); i++)
                pal_numbers_add(&all, pal_grad(pal_params_at(t.params, i)));
        }
    }
    pal_trial_free(&t);
    pal_set_threads(before);
    return all;
}

static void types_and_threads(pal_mixer_trial *of)
{
    pal_numbers one = everything(of, PAL_F64, 1), narrow = everything(of, PAL_F32, 1);
    pal_trial_said(of, "f32 as f64", pal_numbers_apart(&narrow, &one), 1e-4);
    for (int threads = 2; threads <= 3; threads++) {
        pal_numbers many = everything(of, PAL_F64, threads);
        pal_trial_said(of, threads == 2 ? "2 threads, same bits" : "3 threads, same bits",
                       pal_numbers_apart(&many, &one), 0);
        free(many.x);
    }
    free(one.x), free(narrow.x);
}

static pal_numbers output(pal_mixer_trial *of, int64_t row, int64_t rows, int64_t tokens)
{
    pal_numbers all = {0};
    pal_trial t;
    if (pal_trial_make(&t, of, PAL_F64)) {
        pal_tensor x = pal_slice(pal_trial_tokens(&t, B, 0, tokens), 0, row, row + rows, 1);
        pal_numbers_add(&all, pal_mixer_forward(t.mixer, x, NULL, (pal_run_opts){0}));
    }
    pal_trial_free(&t);
    return all;
}

static void rows_and_time(pal_mixer_trial *of)
{
    pal_numbers whole = output(of, 0, B, T);
    const int64_t a_row = whole.n / B, d = of->width;
    for (int64_t b = 0; b < B && whole.n > 0; b++) {
        pal_numbers row = output(of, b, 1, T), same = {whole.x + b * a_row, a_row};
        pal_trial_said(of, b ? "row 1 by itself" : "row 0 by itself",
                       pal_numbers_apart(&row, &same), of->tolerance);
        free(row.x);
    }
    for (int64_t n = 1; n < T && whole.n > 0; n += 2) { /* no token sees a later one */
        pal_numbers row = output(of, 0, 1, n), same = {whole.x, n * d};
        char what[40];
        snprintf(what, sizeof what, "the first %d tokens", (int)n);
        pal_trial_said(of, what, pal_numbers_apart(&row, &same), of->tolerance);
        free(row.x);
    }
    free(whole.x);
}

/* ---- A state handed on ---- */

/* y of all tokens in pieces: the first `cut`, then one after another; and the state at the end. */
static pal_numbers in_pieces(pal_mixer_trial *of, int64_t cut)
{
    pal_numbers all = {0};
    pal_trial t;
    if (pal_trial_make(&t, of, PAL_F64)) {
        pal_mixer_state state = {.seen = 0};
        pal_tensor y[T];
        int pieces = 0;
        for (int64_t at = 0; at < T; at = at == 0 ? cut : at + 1)
            y[pieces++] =
                pal_mixer_forward(t.mixer, pal_trial_tokens(&t, B, at, at == 0 ? cut : at + 1),
                                  &state, (pal_run_opts){0});
        pal_numbers_add(&all, pal_concat(pieces, y, 1));
        for (int i = 0; i < PAL_MIXER_PARTS && state.part[i].name; i++)
            pal_numbers_add(&all, state.part[i].tensor);
    }
    pal_trial_free(&t);
    return all;
}

static void pieces(pal_mixer_trial *of)
{
    pal_numbers whole = in_pieces(of, T);
    for (int64_t cut = 1; cut < T; cut += 2) {
        pal_numbers cuts = in_pieces(of, cut);
        char what[40];
        snprintf(what, sizeof what, "%d tokens, then singly", (int)cut);
        pal_trial_said(of, what, pal_numbers_apart(&cuts, &whole), of->tolerance);
        free(cuts.x);
    }
    free(whole.x);
}

/* ---- Packed sequences ---- */

static pal_numbers packed(pal_mixer_trial *of, bool together)
{
    static const int64_t offsets[] = {0, 3, 3, 4, T};
    enum { N = sizeof offsets / sizeof *offsets - 1 };
    const bool states = !(of->refuses & (PAL_NO_STATE | PAL_NO_PACKED_STATE));
    pal_numbers all = {0};
    pal_trial t;
    if (pal_trial_make(&t, of, PAL_F64)) {
        pal_mixer_state state = {.seen = 0};
        pal_tensor x = pal_trial_tokens(&t, 1, 0, T), y[N];
        int n = 0;
        if (together) {
            pal_run_opts run = {.offsets = pal_from(t.tape, PAL_I64, PAL_SHAPE(N + 1), offsets)};
            y[n++] = pal_mixer_forward(t.mixer, x, states ? &state : NULL, run);
        }
        for (int i = 0; i < N && !together; i++)
            if (offsets[i + 1] > offsets[i])
                y[n++] = pal_mixer_forward(t.mixer, pal_slice(x, 1, offsets[i], offsets[i + 1], 1),
                                           NULL, (pal_run_opts){0});
        pal_tensor joined = n == 1 ? y[0] : pal_concat(n, y, 1);
        pal_numbers_add(&all, joined);
        if (pal_backward(pal_trial_loss(&t, joined, NULL)) == PAL_OK) {
            pal_numbers_add(&all, pal_grad(x));
            for (int i = 0; i < pal_params_count(t.params); i++)
                pal_numbers_add(&all, pal_grad(pal_params_at(t.params, i)));
        }
    }
    pal_trial_free(&t);
    return all;
}

static void packing(pal_mixer_trial *of)
{
    pal_numbers apart = packed(of, false), together = packed(of, true);
    pal_trial_said(of, "packed sequences", pal_numbers_apart(&together, &apart), of->tolerance);
    free(apart.x), free(together.x);
}

/* ---- What is refused ---- */

static void refusal(pal_mixer_trial *of, pal_mixer_refuses what)
{
    static const int64_t offsets[] = {0, 2, T};
    pal_mixer_state state = {.seen = 0};
    pal_comm comm = {.rank = 0, .size = 2};
    pal_run_opts run = {0};
    pal_trial t;
    if (!pal_trial_make(&t, of, PAL_F64)) return;
    pal_tensor x = pal_trial_tokens(&t, 1, 0, T);
    if (what & (PAL_NO_PACKED | PAL_NO_PACKED_STATE))
        run.offsets = pal_from(t.tape, PAL_I64, PAL_SHAPE(3), offsets);
    if (what == PAL_NO_PARTS) run.parts = &comm;
    const bool keeps = what == PAL_NO_STATE || what == PAL_NO_PACKED_STATE;
    pal_mixer_forward(t.mixer, x, keeps ? &state : NULL, run);
    const bool refused = of->raised;
    of->raised = false;
    pal_trial_said(of, "refuses what it says", refused ? 0 : HUGE_VAL, 0);
    pal_trial_free(&t);
}

int pal_mixer_test(const char *text, pal_mixer_test_opts opts)
{
    pal_mixer_trial of = {.text = text,
                          .width = opts.width ? opts.width : 12,
                          .tolerance = opts.tolerance > 0 ? opts.tolerance : 1e-9,
                          .report = opts.report ? opts.report : stdout};
    const pal_listener before = pal_listen((pal_listener){heard, &of});
    pal_trial t;
    const bool made = pal_trial_make(&t, &of, PAL_F64);
    if (made) of.refuses = t.mixer->refuses;
    pal_trial_free(&t);
    pal_trial_said(&of, text, made ? 0 : HUGE_VAL, 0);
    if (made) {
        pal_trial_gradients(&of);
        types_and_threads(&of);
        rows_and_time(&of);
        if (!(of.refuses & PAL_NO_STATE)) pieces(&of);
        if (!(of.refuses & PAL_NO_PACKED)) packing(&of);
        pal_trial_models(&of);
        if (!(of.refuses & PAL_NO_PARTS)) pal_trial_ranks(&of);
        for (unsigned bit = 1; bit <= PAL_NO_PACKED_STATE; bit *= 2)
            if (of.refuses & bit) refusal(&of, (pal_mixer_refuses)bit);
    }
    pal_listen(before);
    fprintf(of.report, "%s: %d checks failed\n", text, of.failed);
    return of.failed;
}
