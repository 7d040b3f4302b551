/*
 * gradcheck.c - compares gradients with differences.
 *
 * L(x) = sum_i <cotangent_i, out_i(x)> with random cotangents. Its derivative along d is computed
 * from four points, (L(-2h) - 8 L(-h) + 8 L(h) - L(2h)) / 12h, with an error of order h^4. Outputs
 * are subtracted before they are summed, so a large constant in them costs no digits.
 */
#include "autograd/internal.h"

#include <math.h>
#include <string.h>

typedef struct check {
    pal_gradcheck_fn *f;
    void *context;
    int nin, nout;
    pal_array *x;     /* contiguous copies of the inputs; they are moved and then restored */
    double *gradient; /* of the input that is checked */
    double *direction;
    double *cotangent, *difference; /* over all outputs */
    int64_t outputs;                /* elements of all outputs */
    pal_tape *tape;
    pal_gradcheck_opts *opts;
    pal_error *error;
    pal_rng rng;
} check;

/* Runs f on the present inputs, with or without recording. On failure it sets *error and returns
 * false. */
static bool evaluate(check *c, pal_tensor *in, pal_tensor *out, bool record)
{
    pal_tape_reset(c->tape);
    pal_set_grad(c->tape, record);
    for (int i = 0; i < c->nin; i++) {
        in[i] = pal_from_array(c->tape, &c->x[i]);
        if (c->x[i].dtype == PAL_F64) pal_want_grad(in[i]);
    }
    if (pal_tape_status(c->tape) == PAL_OK) c->f(c->context, in, out);
    if (pal_tape_status(c->tape) == PAL_OK) return true;
    pal_error_set(c->error, pal_tape_status(c->tape), "gradcheck: %s", pal_tape_message(c->tape));
    return false;
}

/* difference += weight * outputs at the present inputs. */
static bool add_outputs(check *c, pal_tensor *in, pal_tensor *out, double weight)
{
    if (!evaluate(c, in, out, false)) return false;
    double *d = c->difference;
    for (int i = 0; i < c->nout; i++) {
        pal_array y = pal_value(pal_contiguous(out[i]));
        int64_t n = pal_array_count(&y);
        if (y.dtype == PAL_I64) continue;
        for (int64_t j = 0; j < n; j++) *d++ += weight * ((const double *)y.data)[j];
    }
    return true;
}

/* x += step * direction for input i. */
static void move(check *c, int i, double step)
{
    double *x = c->x[i].data;
    int64_t n = pal_array_count(&c->x[i]);
    for (int64_t j = 0; j < n; j++) x[j] += step * c->direction[j];
}

/* The derivative along c->direction of input i. `saved` holds the original value of the input. */
static bool differentiate(check *c, int i, double h, const double *saved, pal_tensor *in,
                          pal_tensor *out, double *result)
{
    static const double at[4] = {-2, -1, 1, 2}, weight[4] = {1, -8, 8, -1};
    size_t bytes = (size_t)pal_array_count(&c->x[i]) * sizeof(double);
    memset(c->difference, 0, (size_t)c->outputs * sizeof(double));
    for (int k = 0; k < 4; k++) {
        move(c, i, at[k] * h);
        bool good = add_outputs(c, in, out, weight[k]);
        memcpy(c->x[i].data, saved, bytes);
        if (!good) return false;
    }
    double sum = 0;
    for (int64_t j = 0; j < c->outputs; j++) sum += c->cotangent[j] * c->difference[j];
    *result = sum / (12 * h);
    return true;
}

/* Compares one derivative; `what` names it in the message. */
static bool compare(check *c, int i, const char *what, int64_t entry, double numeric,
                    double analytic, double rms)
{
    double scale = fmax(fmax(fabs(numeric), fabs(analytic)), rms);
    double error = fabs(numeric - analytic);
    double ratio = error == 0 ? 0 : error / scale;
    c->opts->compared++;
    if (!(ratio <= c->opts->worst)) c->opts->worst = ratio;
    if (ratio <= c->opts->tolerance) return true; /* a NaN fails */
    pal_error_set(c->error, PAL_EGRAD,
                  "gradcheck: input %d, %s %lld: numeric %.12g, analytic %.12g, error %.3g of the "
                  "scale %.3g (tolerance %.3g)",
                  i, what, (long long)entry, numeric, analytic, ratio, scale, c->opts->tolerance);
    return false;
}

static bool check_input(check *c, int i, double *saved, pal_tensor *in, pal_tensor *out)
{
    int64_t n = pal_array_count(&c->x[i]);
    double rms = 0, numeric;
    for (int64_t j = 0; j < n; j++) rms += c->gradient[j] * c->gradient[j];
    rms = sqrt(rms / (double)n);
    memcpy(saved, c->x[i].data, (size_t)n * sizeof(double));
    pal_array direction = pal_array_of(PAL_F64, PAL_SHAPE(n), c->direction);
    for (int k = 0; k < c->opts->directions; k++) {
        double norm = 0, analytic = 0;
        pal_rng_normal(&c->rng, &direction, 0, 1);
        for (int64_t j = 0; j < n; j++) norm += c->direction[j] * c->direction[j];
        for (int64_t j = 0; j < n; j++) {
            c->direction[j] /= sqrt(norm);
            analytic += c->gradient[j] * c->direction[j];
        }
        if (!differentiate(c, i, c->opts->step, saved, in, out, &numeric)) return false;
        if (!compare(c, i, "direction", k, numeric, analytic, rms)) return false;
    }
    for (int k = 0; k < c->opts->entries && k < n; k++) {
        int64_t j = n <= c->opts->entries ? k : pal_rng_below(&c->rng, n);
        memset(c->direction, 0, (size_t)n * sizeof(double));
        c->direction[j] = 1;
        double h = c->opts->step * fmax(1, fabs(saved[j]));
        if (!differentiate(c, i, h, saved, in, out, &numeric)) return false;
        if (!compare(c, i, "entry", j, numeric, c->gradient[j], rms)) return false;
    }
    return true;
}

/* The tape's gradient of <cotangent, out> for input i, in c->gradient. */
static bool analytic_gradient(check *c, int i, pal_tensor *in, pal_tensor *out)
{
    if (!evaluate(c, in, out, true)) return false;
    enum { MOST = 64 };
    pal_tensor output[MOST], weight[MOST];
    const double *cot = c->cotangent;
    int used = 0;
    for (int k = 0; k < c->nout && used < MOST; k++) {
        if (pal_dtype_of(out[k]) == PAL_I64) continue;
        if (out[k].node->needs_grad) {
            output[used] = out[k];
            weight[used++] = pal_from(c->tape, PAL_F64, pal_shape_of(out[k]), cot);
        }
        cot += pal_count(out[k]);
    }
    if (used && pal_backward_from(used, output, weight) != PAL_OK) {
        pal_error_set(c->error, pal_tape_status(c->tape), "gradcheck: %s",
                      pal_tape_message(c->tape));
        return false;
    }
    int64_t n = pal_array_count(&c->x[i]);
    pal_tensor g = pal_grad(in[i]);
    if (pal_is_none(g))
        memset(c->gradient, 0, (size_t)n * sizeof(double)); /* not reached: the gradient is zero,
                                                               and the differences must be too */
    else
        memcpy(c->gradient, pal_f64(g), (size_t)n * sizeof(double));
    return true;
}

/* Counts the elements of the outputs by running f once. */
static bool count_outputs(check *c, pal_tensor *in, pal_tensor *out)
{
    if (!evaluate(c, in, out, false)) return false;
    c->outputs = 0;
    for (int i = 0; i < c->nout; i++) {
        if (pal_dtype_of(out[i]) == PAL_I64) continue;
        if (pal_dtype_of(out[i]) != PAL_F64) {
            pal_error_set(c->error, PAL_EDTYPE, "gradcheck: output %d is not f64", i);
            return false;
        }
        c->outputs += pal_count(out[i]);
    }
    return true;
}

static bool run_check(check *c, pal_arena *arena, const pal_array *inputs)
{
    size_t nin = (size_t)c->nin;
    pal_tensor *in = pal_arena_take(arena, nin * sizeof *in);
    pal_tensor *out = pal_arena_take(arena, (size_t)c->nout * sizeof *out);
    int64_t largest = 1;
    c->x = pal_arena_take(arena, nin * sizeof *c->x);
    bool enough = in && out && c->x;
    for (int i = 0; i < c->nin && enough; i++) {
        pal_shape shape = pal_array_shape(&inputs[i]);
        void *data = pal_arena_take(arena, pal_shape_bytes(PAL_F64, shape));
        if (!data)
            enough = false;
        else {
            c->x[i] = pal_array_of(inputs[i].dtype, shape, data);
            if (pal_array_copy(&c->x[i], &inputs[i], c->error) != PAL_OK) return false;
            int64_t n = pal_array_count(&c->x[i]);
            if (n > largest) largest = n;
        }
    }
    if (enough && !count_outputs(c, in, out)) return false;
    size_t bytes = (size_t)largest * sizeof(double);
    double *saved = pal_arena_take(arena, bytes);
    c->gradient = pal_arena_take(arena, bytes);
    c->direction = pal_arena_take(arena, bytes);
    c->cotangent = pal_arena_take(arena, (size_t)c->outputs * sizeof(double));
    c->difference = pal_arena_take(arena, (size_t)c->outputs * sizeof(double));
    if (!enough || !saved || !c->gradient || !c->direction || !c->cotangent || !c->difference) {
        pal_error_set(c->error, PAL_ENOMEM, "gradcheck: out of memory");
        return false;
    }
    pal_array cot = pal_array_of(PAL_F64, PAL_SHAPE(c->outputs), c->cotangent);
    pal_rng_normal(&c->rng, &cot, 0, 1);
    for (int i = 0; i < c->nin; i++) {
        if (c->x[i].dtype == PAL_I64 || !pal_array_count(&c->x[i])) continue;
        if (!analytic_gradient(c, i, in, out) || !check_input(c, i, saved, in, out)) return false;
    }
    return true;
}

bool pal_gradcheck(pal_gradcheck_fn *f, void *context, int nin, const pal_array *inputs, int nout,
                   pal_gradcheck_opts *opts, pal_error *error)
{
    pal_gradcheck_opts o = opts ? *opts : (pal_gradcheck_opts){0};
    if (o.tolerance == 0) o.tolerance = 1e-7;
    if (o.step == 0) o.step = 1e-3;
    if (!o.directions) o.directions = 2;
    if (!o.entries) o.entries = 8;
    o.worst = 0;
    o.compared = 0;
    for (int i = 0; i < nin; i++) {
        if (inputs[i].dtype != PAL_F32) continue;
        pal_error_set(error, PAL_EDTYPE, "gradcheck: input %d is f32; differences need f64", i);
        return false;
    }
    pal_arena arena = {0};
    check c = {.f = f,
               .context = context,
               .nin = nin,
               .nout = nout,
               .opts = &o,
               .error = error,
               .tape = pal_tape_new(),
               .rng = pal_rng_new(o.seed, 0x67726164)};
    bool good = c.tape && run_check(&c, &arena, inputs);
    pal_tape_free(c.tape);
    pal_arena_free(&arena);
    if (opts) {
        opts->worst = o.worst;
        opts->compared = o.compared;
    }
    return good;
}
