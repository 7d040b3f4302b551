/*
 * mixer_test.c - the checks of pal_mixer_test.
 *
 * Every check makes the mixer anew, with parameters drawn from the same seed, and compares two ways
 * to the same numbers: y, the parts of the state, or the gradients of a weighted sum of all these.
 */
#include "layers/models/mixer_test.h"
#include "tensor/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { B = PAL_TRIAL_ROWS, T = PAL_TRIAL_TOKENS };

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
