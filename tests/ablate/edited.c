/*
 * edited.c - models under the edits of ablate.
 */
#include "tests/ablate/edited.h"
#include "tests/support/check.h"
#include "tests/support/trial.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

/* Differences of logits in f64, relative to the largest logit: rounding, and the least change by an
 * edit. */
static const double CLOSE = 1e-12, FAR = 1e-3;

/* edits.c needs this function of the program. */
void stop(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ck_abort_msg("%s", text);
}

/* A model whose layer `layer` is the mixer `other`, and whose other layers are `text`. */
model_of edit_model(const char *text, const char *other, int layer)
{
    char mixers[512];
    pal_rng rng = pal_rng_new(1, 0);
    model_of m = {.params = pal_params_new()};
    snprintf(mixers, sizeof mixers, "%s,%s", layer == 0 ? other : text, layer == 1 ? other : text);
    m.lm = pal_lm_new(m.params,
                      (pal_lm_opts){.vocab = VOCAB,
                                    .width = WIDTH,
                                    .layers = LAYERS,
                                    .mixers = mixers,
                                    .no_mlp = true,
                                    .dtype = PAL_F64},
                      &rng);
    ck_assert_ptr_nonnull(m.lm);
    trial_draw(m.params, 5);
    return m;
}

void edit_fill(pal_params *params, const char *name, double value)
{
    for (int i = 0; i < pal_params_count(params); i++) {
        const pal_array a = pal_params_array(params, i);
        if (strcmp(pal_params_name(params, i), name)) continue;
        for (int64_t j = 0; j < pal_array_count(&a); j++) ((double *)a.data)[j] = value;
        pal_params_touch(params);
        return;
    }
    ck_abort_msg("no parameter %s", name);
}

/* Copies the weights of one model to another that has no further parameters. Those with another
 * shape stay as they are. */
void edit_take(const model_of *to, const model_of *from)
{
    for (int i = 0; i < pal_params_count(to->params); i++) {
        const char *name = pal_params_name(to->params, i);
        const pal_array a = pal_params_array(to->params, i);
        const size_t size = (size_t)pal_array_count(&a) * sizeof(double);
        bool found = false;
        for (int j = 0; j < pal_params_count(from->params) && !found; j++) {
            const pal_array b = pal_params_array(from->params, j);
            if (strcmp(pal_params_name(from->params, j), name)) continue;
            found = true;
            if (pal_array_count(&b) == pal_array_count(&a)) memcpy(a.data, b.data, size);
        }
        ck_assert_msg(found, "%s is in one model alone", name);
    }
    pal_params_touch(to->params);
}

void edit_pass(const model_of *m, pal_tape *tape, pal_run_opts how, double out[LOGITS])
{
    int64_t tokens[B * T];
    for (int i = 0; i < B * T; i++) tokens[i] = (i * i + 3 * i) % VOCAB;
    const pal_tensor y =
        pal_lm_logits(m->lm, pal_from(tape, PAL_I64, PAL_SHAPE(B, T), tokens), how);
    memcpy(out, pal_f64(y), LOGITS * sizeof *out);
    pal_tape_reset(tape);
}

/* The largest difference, relative to the largest logit; NaN if a logit is not finite. */
static double distance(const double *a, const double *b)
{
    double most = 0, difference = 0;
    for (int i = 0; i < LOGITS; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i])) return NAN;
        most = fmax(most, fabs(b[i]));
        difference = fmax(difference, fabs(a[i] - b[i]));
    }
    return difference / most;
}

void edit_run(const model_of *m, int layer, edit e, double out[LOGITS])
{
    double before[LOGITS], after[LOGITS];
    pal_tape *tape = pal_tape_new();
    pal_set_grad(tape, false);
    surgeon *s = surgeon_new(m->params, tape, LAYERS);
    surgeon_begin(s, -1, NOTHING);
    edit_pass(m, tape, surgeon_opts(s), before);
    surgeon_end(s);
    ck_assert(surgeon_can(s, layer, e));
    surgeon_begin(s, layer, e);
    for (int i = 0; i < surgeon_passes(s); i++) {
        surgeon_pass(s, i);
        edit_pass(m, tape, surgeon_opts(s), out);
    }
    surgeon_end(s);
    surgeon_begin(s, -1, NOTHING);
    edit_pass(m, tape, surgeon_opts(s), after);
    surgeon_end(s);
    surgeon_free(s);
    pal_tape_free(tape);
    ck_assert_msg(memcmp(before, after, sizeof before) == 0, "%s does not end", edit_name(e));
    ck_assert_msg(distance(out, before) >= FAR, "%s changes nothing", edit_name(e));
}

void edit_plain(const model_of *m, pal_run_opts how, int passes, double out[LOGITS])
{
    pal_tape *tape = pal_tape_new();
    pal_set_grad(tape, false);
    for (int i = 0; i < passes; i++) edit_pass(m, tape, how, out);
    pal_tape_free(tape);
}

void edit_agree(const double *is, const double *wanted, edit e, int layer)
{
    const double error = distance(is, wanted);
    ck_assert_msg(error <= CLOSE, "%s of layer %d is off by %g", edit_name(e), layer, error);
}
