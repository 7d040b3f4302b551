/*
 * inputs.c - drawing the inputs of a variant, and bringing them onto a tape.
 */
#include "tests/support/inputs.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>

/* ---- Drawing ---- */

uint64_t pal_case_hash(const pal_case *c, const pal_variant *v)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (const char *s = c->name; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    for (const char *s = v->name; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h ^ h >> 32;
}

static double exact(double x) { return (double)(float)x; }

static double draw_real(const pal_input *in, double low, double high, pal_rng *rng)
{
    double x = exact(low + (high - low) * pal_rng_next(rng));
    while (in->away > 0 && fabs(x) < in->away) x = exact(low + (high - low) * pal_rng_next(rng));
    return x;
}

static void draw_distinct(int64_t n, double low, double high, double *x, pal_rng *rng)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = exact(low + (high - low) * ((double)i + 0.5) / (double)n);
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = pal_rng_below(rng, i + 1);
        double t = x[i];
        x[i] = x[j];
        x[j] = t;
    }
}

static void sprinkle(int64_t n, double *x, pal_rng *rng)
{
    const double some[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, 1e15, -1e15, 1e-15, 1, -1};
    for (int64_t i = 0; i < n; i++)
        if (pal_rng_below(rng, 2)) x[i] = exact(some[pal_rng_below(rng, 10)]);
}

void pal_inputs_draw(const pal_variant *v, uint64_t seed, pal_array *x)
{
    for (int i = 0; i < v->nin; i++) {
        const pal_input *in = &v->in[i];
        pal_rng rng = pal_rng_new(seed, (uint64_t)i);
        x[i] = (pal_array){.dtype = in->integer ? PAL_I64 : PAL_F64};
        if (in->absent) continue;
        int64_t n = pal_shape_count(in->shape);
        ck_assert_msg(n >= 0, "input %d has no shape", i);
        x[i] = pal_array_of(x[i].dtype, in->shape, malloc((size_t)n * 8 + 8));
        ck_assert(x[i].data != NULL);
        double low = in->low, high = in->high;
        if (low == 0 && high == 0) low = -1, high = 1;
        double *real = x[i].data;
        if (in->integer)
            for (int64_t j = 0; j < n; j++)
                ((int64_t *)x[i].data)[j] =
                    (int64_t)low + pal_rng_below(&rng, (int64_t)high - (int64_t)low);
        else if (in->distinct)
            draw_distinct(n, low, high, real, &rng);
        else
            for (int64_t j = 0; j < n; j++) real[j] = draw_real(in, low, high, &rng);
        if (in->special) sprinkle(n, real, &rng);
    }
}

void pal_inputs_free(const pal_variant *v, pal_array *x)
{
    for (int i = 0; i < v->nin; i++) free(x[i].data);
}

void pal_draw_cotangent(uint64_t seed, int64_t n, double *x)
{
    pal_rng rng = pal_rng_new(seed, 77);
    for (int64_t i = 0; i < n; i++) x[i] = exact(3 * pal_rng_next(&rng) - 1.5);
}

bool pal_input_wants_grad(const pal_variant *v, int i)
{
    const pal_input *in = &v->in[i];
    return !v->no_gradient && !in->integer && !in->constant && !in->absent;
}

/* ---- On a tape ---- */

static void must_copy(const pal_array *dst, const pal_array *src)
{
    pal_error e;
    ck_assert_msg(pal_array_copy(dst, src, &e) == PAL_OK, "%s", e.message);
}

static pal_tensor plain_leaf(pal_tape *tape, const pal_array *x, pal_dtype dtype, bool grad)
{
    pal_tensor t = pal_zeros(tape, dtype, pal_array_shape(x));
    pal_array a = pal_edit(t);
    if (pal_tape_status(tape) == PAL_OK) must_copy(&a, x);
    return grad ? pal_want_grad(t) : t;
}

/* Every second entry of the last axis of a leaf whose axes run backwards; NaN in between. */
static pal_tensor strided_leaf(pal_tape *tape, const pal_array *x, pal_dtype dtype, bool grad)
{
    pal_shape shape = {.ndim = x->ndim ? x->ndim : 1};
    int last = shape.ndim - 1, backwards[PAL_MAX_DIMS];
    for (int d = 0; d < shape.ndim; d++) {
        shape.dim[d] = x->ndim ? x->shape[last - d] : 1;
        backwards[d] = last - d;
    }
    shape.dim[last] *= 2;
    pal_tensor leaf = pal_full(tape, dtype, shape, NAN);
    if (grad) leaf = pal_want_grad(leaf);
    pal_tensor t = pal_slice(leaf, last, 1, shape.dim[last], 2);
    t = x->ndim ? pal_permute(t, backwards) : pal_select(t, 0, 0);
    pal_array a = pal_edit(t);
    must_copy(&a, x);
    return t;
}

pal_tensor pal_input_leaf(pal_tape *tape, const pal_array *x, pal_dtype dtype, bool strided,
                          bool grad)
{
    if (!x->data) return PAL_NONE;
    if (x->dtype == PAL_I64) dtype = PAL_I64;
    return strided ? strided_leaf(tape, x, dtype, grad) : plain_leaf(tape, x, dtype, grad);
}
