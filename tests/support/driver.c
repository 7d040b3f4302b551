/*
 * driver.c - checks one variant of a case: see case.h for what is checked.
 *
 * A run puts outputs and gradients into doubles, whatever its type, so that runs compare with each
 * other and with the reference by one function.
 */
#include "autograd/internal.h"
#include "tests/support/check.h"
#include "tests/support/inputs.h"
#include "tests/support/isa.h"
#include "tests/support/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct result {
    pal_array out[PAL_CASE_OUTPUTS]; /* contiguous f64 */
    double *grad[PAL_CASE_INPUTS];   /* NULL: not wanted */
} result;

typedef struct setting {
    const pal_case *c;
    const pal_variant *v;
    const pal_array *x;
    uint64_t seed;
    bool gradients; /* there are some, and no NaN in the inputs */
} setting;

/* ---- Helpers ---- */

double pal_ref_get(const pal_array *a, int64_t i)
{
    int64_t index[PAL_MAX_DIMS];
    for (int d = a->ndim - 1; d >= 0; d--) {
        index[d] = i % a->shape[d];
        i /= a->shape[d];
    }
    return pal_array_get(a, index);
}

double pal_ref_broadcast(const pal_array *a, const pal_array *shape, int64_t i)
{
    int64_t index[PAL_MAX_DIMS];
    int added = shape->ndim - a->ndim;
    for (int d = shape->ndim - 1; d >= 0; d--) {
        int64_t at = i % shape->shape[d];
        i /= shape->shape[d];
        if (d >= added) index[d - added] = a->shape[d - added] == 1 ? 0 : at;
    }
    return pal_array_get(a, index);
}

void pal_ref_shape(const pal_array *out, pal_shape shape)
{
    char got[128], want[128];
    pal_array like = pal_array_of(out->dtype, shape, NULL);
    ck_assert_msg(pal_shape_equal(pal_array_shape(out), shape), "the result is %s, not %s",
                  pal_array_describe(out, got, sizeof got),
                  pal_array_describe(&like, want, sizeof want));
}

double pal_case_error(int64_t n, const double *x, const double *ref)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i]) && isnan(ref[i])) continue;
        if (!isfinite(x[i]) || !isfinite(ref[i])) {
            if (x[i] == ref[i]) continue;
            return INFINITY;
        }
        difference += (x[i] - ref[i]) * (x[i] - ref[i]);
        norm += ref[i] * ref[i];
    }
    if (difference == 0) return 0;
    return sqrt(difference) / fmax(sqrt(norm), 0.01 * sqrt((double)n));
}

/* Errors of the library end the test, but for where they are provoked. */
static void complain(const pal_error *e, void *user)
{
    const setting *s = user;
    ck_abort_msg("%s, %s: %s", s->c->name, s->v->name, e->message);
}

static double *doubles(const pal_array *a)
{
    int64_t n = pal_array_count(a);
    double *x = malloc((size_t)n * sizeof *x + 8);
    pal_array to = pal_array_of(PAL_F64, pal_array_shape(a), x);
    pal_error e;
    ck_assert(x != NULL);
    ck_assert_msg(pal_array_copy(&to, a, &e) == PAL_OK, "%s", e.message);
    return x;
}

static void free_result(const setting *s, result *r)
{
    for (int i = 0; i < s->v->nout; i++) free(r->out[i].data);
    for (int i = 0; i < s->v->nin; i++) free(r->grad[i]);
}

/* ---- One run ---- */

/* How inputs reach the operation: as leaves, as views of leaves, or as results of another one,
 * whose gradient buffer is fresh where that of a leaf is added to. */
typedef enum route { PLAIN, STRIDED, CHAINED } route;

static pal_status backward(pal_tape *tape, const pal_variant *v, uint64_t seed,
                           const pal_tensor *out)
{
    pal_tensor from[PAL_CASE_OUTPUTS], cotangent[PAL_CASE_OUTPUTS];
    int n = 0;
    for (int i = 0; i < v->nout; i++) {
        if (pal_handle_problem(out[i])) return pal_tape_status(tape);
        if (!out[i].node->needs_grad) continue;
        pal_array shape = pal_array_of(PAL_F64, pal_shape_of(out[i]), NULL);
        int64_t count = pal_array_count(&shape);
        shape.data = malloc((size_t)count * sizeof(double) + 8);
        pal_draw_cotangent(seed + (uint64_t)i, count, shape.data);
        from[n] = out[i];
        cotangent[n++] = pal_input_leaf(tape, &shape, pal_dtype_of(out[i]), false, false);
        free(shape.data);
    }
    return n ? pal_backward_from(n, from, cotangent) : PAL_OK;
}

static bool bit(uint32_t bits, int i) { return i < 32 && (bits >> i & 1); }

/* Marks, in place of a pass, memory that the backward pass may read. */
static const uint64_t READ = UINT64_MAX;

static void mark_read(pal_tape *tape)
{
    for (const pal_record *r = pal_tape_level(tape)->first; r; r = r->next) {
        for (int i = 0; i < r->call.nin; i++)
            if (r->in[i] && !bit(r->call.op->unread_in, i)) r->in[i]->base->pass = READ;
        for (int i = 0; i < r->call.nout; i++)
            if (!bit(r->call.op->unread_out, i)) r->out[i]->base->pass = READ;
    }
}

/*
 * Fills what no operation on the tape says that it reads again: with NaN, and with the smallest
 * integer. An operation that reads it all the same has other gradients then.
 */
static void spoil_unread(pal_tape *tape)
{
    mark_read(tape);
    for (pal_node *n = pal_tape_level(tape)->newest; n; n = n->older) {
        if (n->base != n || n->pass == READ) continue;
        if (n->a.dtype == PAL_I64)
            for (int64_t i = 0; i < pal_array_count(&n->a); i++)
                ((int64_t *)n->a.data)[i] = INT64_MIN;
        else
            pal_array_fill(&n->a, NAN);
    }
}

/* spoiled: what is called unread is lost before backward. */
static result run_spoiled(const setting *s, pal_dtype dtype, route how, bool spoiled)
{
    const pal_variant *v = s->v;
    result r = {0};
    pal_tensor in[PAL_CASE_INPUTS] = {{0}}, given[PAL_CASE_INPUTS] = {{0}};
    pal_tensor out[PAL_CASE_OUTPUTS] = {{0}};
    pal_tape *tape = pal_tape_new();
    for (int i = 0; i < v->nin; i++) {
        bool wanted = s->gradients && pal_input_wants_grad(v, i);
        in[i] = pal_input_leaf(tape, &s->x[i], dtype, how == STRIDED, wanted);
        given[i] = how == CHAINED && wanted ? pal_affine(in[i], 1, 0) : in[i];
    }
    v->build(v, given, out);
    for (int i = 0; i < v->nout; i++) {
        pal_array a = pal_value(out[i]);
        r.out[i] = pal_array_of(PAL_F64, pal_array_shape(&a), doubles(&a));
    }
    if (spoiled) spoil_unread(tape);
    if (s->gradients) backward(tape, v, s->seed, out);
    for (int i = 0; i < v->nin && s->gradients; i++) {
        if (!pal_input_wants_grad(v, i)) continue;
        pal_tensor g = pal_grad(in[i]);
        if (pal_is_none(g)) g = pal_zeros(tape, dtype, pal_shape_of(in[i]));
        pal_array a = pal_value(g);
        r.grad[i] = doubles(&a);
    }
    pal_tape_free(tape);
    return r;
}

static result run(const setting *s, pal_dtype dtype, route how)
{
    return run_spoiled(s, dtype, how, false);
}

/* ---- Comparisons ---- */

static double or_default(double value, double otherwise) { return value > 0 ? value : otherwise; }

static void compare(const setting *s, const char *what, int i, pal_dtype dtype, int64_t n,
                    const double *x, const double *ref, double tolerance)
{
    double error = pal_case_error(n, x, ref);
    if (error <= tolerance) return;
    int64_t at = 0;
    while (at < n && (x[at] == ref[at] || fabs(x[at] - ref[at]) <= tolerance * fabs(ref[at]) ||
                      (isnan(x[at]) && isnan(ref[at]))))
        at++;
    ck_abort_msg("%s, %s: %s %d in %s on %s: error %.3g, tolerance %.3g; entry %lld is %.9g, not "
                 "%.9g",
                 s->c->name, s->v->name, what, i, pal_dtype_name(dtype),
                 pal_isa_name(pal_isa_selected()), error, tolerance, (long long)at,
                 at < n ? x[at] : 0, at < n ? ref[at] : 0);
}

/* Outputs and gradients against those of another run, or of the reference (no gradients). */
static void compare_all(const setting *s, const char *what, pal_dtype dtype, const result *r,
                        const result *ref)
{
    const pal_variant *v = s->v;
    double tolerance = dtype == PAL_F32 ? or_default(v->f32, 2e-6) : or_default(v->f64, 1e-13);
    char name[64];
    for (int i = 0; i < v->nout; i++) {
        pal_ref_shape(&r->out[i], pal_array_shape(&ref->out[i]));
        snprintf(name, sizeof name, "%s output", what);
        compare(s, name, i, dtype, pal_array_count(&r->out[i]), r->out[i].data, ref->out[i].data,
                tolerance);
    }
    for (int i = 0; i < v->nin; i++) {
        if (!r->grad[i] || !ref->grad[i]) continue;
        snprintf(name, sizeof name, "%s gradient of input", what);
        compare(s, name, i, dtype, pal_array_count(&s->x[i]), r->grad[i], ref->grad[i],
                10 * tolerance);
    }
}

static result reference(const setting *s, const result *shapes)
{
    result r = {0};
    for (int i = 0; i < s->v->nout; i++) {
        r.out[i] = shapes->out[i];
        int64_t n = pal_array_count(&r.out[i]);
        double *x = r.out[i].data = malloc((size_t)n * sizeof(double) + 8);
        ck_assert(x != NULL);
        for (int64_t j = 0; j < n; j++) x[j] = 12345.678; /* to see what is not written */
    }
    s->v->reference(s->v, s->x, r.out);
    return r;
}

/* `how` says what was different in run r: "with 3 threads". */
static void check_same_bits(const setting *s, const char *how, pal_dtype dtype, const result *r,
                            const result *plain)
{
    const pal_variant *v = s->v;
    for (int i = 0; i < v->nout; i++)
        ck_assert_msg(memcmp(r->out[i].data, plain->out[i].data,
                             (size_t)pal_array_count(&r->out[i]) * sizeof(double)) == 0,
                      "%s, %s: output %d in %s has other bits %s", s->c->name, v->name, i,
                      pal_dtype_name(dtype), how);
    for (int i = 0; i < v->nin; i++)
        if (r->grad[i])
            ck_assert_msg(memcmp(r->grad[i], plain->grad[i],
                                 (size_t)pal_array_count(&s->x[i]) * sizeof(double)) == 0,
                          "%s, %s: the gradient of input %d in %s has other bits %s", s->c->name,
                          v->name, i, pal_dtype_name(dtype), how);
}

/* Threads, and what is lost between forward and backward, change no bit. Variant and type choose
 * one number of threads; PAL_TEST_ALL=1 takes all. */
static void check_bits(const setting *s, pal_dtype dtype)
{
    static const int threads[] = {2, 3, 16};
    char how[64];
    pal_set_threads(1);
    result one = run(s, dtype, PLAIN);
    for (int i = 0; i < 3; i++) {
        if (!test_all() && (uint64_t)i != (s->seed / 3 + dtype) % 3) continue;
        pal_set_threads(threads[i]);
        result r = run(s, dtype, PLAIN);
        snprintf(how, sizeof how, "with %d threads than with 1", threads[i]);
        check_same_bits(s, how, dtype, &r, &one);
        free_result(s, &r);
    }
    pal_set_threads(1);
    if (s->gradients) {
        result r = run_spoiled(s, dtype, PLAIN, true);
        check_same_bits(s, "when what backward is said not to read is lost", dtype, &r, &one);
        free_result(s, &r);
    }
    free_result(s, &one);
}

/* ---- Gradients by differences ---- */

/* gradcheck moves every real input it is given, so constants and integers stay here. */
static void build_checked(void *context, const pal_tensor *in, pal_tensor *out)
{
    const setting *s = context;
    pal_tensor all[PAL_CASE_INPUTS] = {{0}};
    pal_tape *tape = pal_tape_of(in[0].node);
    int used = 0;
    for (int i = 0; i < s->v->nin; i++)
        all[i] = pal_input_wants_grad(s->v, i)
                     ? in[used++]
                     : pal_input_leaf(tape, &s->x[i], PAL_F64, false, false);
    s->v->build(s->v, all, out);
}

static void check_gradient(const setting *s)
{
    pal_array moved[PAL_CASE_INPUTS];
    int n = 0;
    int64_t entries = 0;
    for (int i = 0; i < s->v->nin; i++) {
        if (!pal_input_wants_grad(s->v, i)) continue;
        entries += pal_array_count(&s->x[i]);
        moved[n++] = s->x[i];
    }
    if (!n) return;
    pal_gradcheck_opts o = {.tolerance = s->v->gradient, .step = s->v->step, .seed = s->seed};
    pal_error e = {0};
    bool good = pal_gradcheck(build_checked, (void *)(uintptr_t)s, n, moved, s->v->nout, &o, &e);
    ck_assert_msg(good, "%s, %s on %s: %s", s->c->name, s->v->name,
                  pal_isa_name(pal_isa_selected()), e.message);
    ck_assert_msg(entries == 0 || o.compared > 0, "%s, %s: no gradient was compared", s->c->name,
                  s->v->name);
}

/* ---- Everything ---- */

static void check_on_isa(const setting *s, bool strides)
{
    result f64 = run(s, PAL_F64, PLAIN), f32 = run(s, PAL_F32, PLAIN);
    if (s->v->reference) {
        result ref = reference(s, &f64);
        compare_all(s, "the", PAL_F64, &f64, &ref);
        compare_all(s, "the", PAL_F32, &f32, &ref);
        free_result(s, &ref);
    }
    compare_all(s, "the", PAL_F32, &f32, &f64);
    for (int i = 0; i < 4; i++) {
        route how = i < 2 ? CHAINED : STRIDED;
        pal_dtype dtype = i % 2 ? PAL_F64 : PAL_F32;
        if (how == STRIDED && !strides) continue;
        result r = run(s, dtype, how);
        compare_all(s, how == STRIDED ? "the strided" : "the chained", dtype, &r, &f64);
        free_result(s, &r);
    }
    free_result(s, &f64);
    free_result(s, &f32);
    check_bits(s, PAL_F32);
    check_bits(s, PAL_F64);
    if (s->gradients) check_gradient(s);
}

void pal_case_run(const pal_case *c, const pal_variant *v)
{
    pal_array x[PAL_CASE_INPUTS];
    uint64_t hash = pal_case_hash(c, v);
    pal_inputs_draw(v, hash, x);
    setting s = {.c = c, .v = v, .x = x, .seed = hash, .gradients = !v->no_gradient};
    for (int i = 0; i < v->nin; i++) s.gradients = s.gradients && !v->in[i].special;
    pal_set_error_handler(complain, &s);
    pal_set_allocator(pal_dirty_allocate, NULL);
    pal_set_threads(1); /* teams wait for each other, and a busy machine makes them wait long */
    pal_isa best = pal_isa_best();
    for (int isa = 0; isa <= (int)best; isa++) {
        bool chosen = test_all() || isa == (int)(hash % ((uint64_t)best + 1));
        if (chosen && pal_kernels_select((pal_isa)isa)) check_on_isa(&s, !v->keep_strides);
    }
    pal_case_sweep(c, v, x, s.gradients ? backward : NULL);
    pal_set_error_handler(NULL, NULL);
    pal_inputs_free(v, x);
}
