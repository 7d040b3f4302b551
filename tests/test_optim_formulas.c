/*
 * test_optim_formulas.c - every optimiser against its published formulas, in plain loops of
 * doubles, with groups and without.
 */
#include "tests/support/check.h"
#include "tests/support/isa.h"
#include "tests/support/optim_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- The formulas ---- */

enum { MOST = 64 };
typedef struct plain {
    int rows, columns, size;
    double x[MOST], m[MOST], v[MOST];
} plain;

/* What an optimiser is told of one step of one parameter. */
typedef struct told {
    double lr, decay;
    int t;
    bool matrix; /* Muon's */
} told;
typedef void plain_fn(plain *p, const double *g, told s);

static void adam(plain *p, const double *g, told s, double beta2, bool coupled)
{
    for (int i = 0; i < p->size; i++) {
        double gi = coupled ? g[i] + s.decay * p->x[i] : g[i];
        if (!coupled) p->x[i] -= s.lr * s.decay * p->x[i];
        p->m[i] = 0.9 * p->m[i] + (1 - 0.9) * gi;
        p->v[i] = beta2 * p->v[i] + (1 - beta2) * gi * gi;
        double m_hat = p->m[i] / (1 - pow(0.9, s.t)), v_hat = p->v[i] / (1 - pow(beta2, s.t));
        p->x[i] -= s.lr * m_hat / (sqrt(v_hat) + 1e-8);
    }
}
static void plain_adamw(plain *p, const double *g, told s) { adam(p, g, s, 0.999, false); }
static void plain_adam(plain *p, const double *g, told s) { adam(p, g, s, 0.98, true); }

static void sgd(plain *p, const double *g, told s, double momentum, bool nesterov)
{
    for (int i = 0; i < p->size; i++) {
        double d = g[i] + s.decay * p->x[i];
        if (momentum != 0) {
            p->m[i] = s.t == 1 ? d : momentum * p->m[i] + d;
            d = nesterov ? d + momentum * p->m[i] : p->m[i];
        }
        p->x[i] -= s.lr * d;
    }
}
static void plain_sgd(plain *p, const double *g, told s) { sgd(p, g, s, 0, false); }
static void plain_momentum(plain *p, const double *g, told s) { sgd(p, g, s, 0.9, false); }
static void plain_nesterov(plain *p, const double *g, told s) { sgd(p, g, s, 0.8, true); }

static void plain_lion(plain *p, const double *g, told s)
{
    for (int i = 0; i < p->size; i++) {
        double c = 0.9 * p->m[i] + (1 - 0.9) * g[i];
        p->x[i] -= s.lr * ((c > 0) - (c < 0) + s.decay * p->x[i]);
        p->m[i] = 0.99 * p->m[i] + (1 - 0.99) * g[i];
    }
}

/* C [n,m] = A [n,k] B [k,m]. */
static void product(int n, int k, int m, const double *A, const double *B, double *C)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < m; j++) {
            double sum = 0;
            for (int q = 0; q < k; q++) sum += A[i * k + q] * B[q * m + j];
            C[i * m + j] = sum;
        }
}

static void transpose(int rows, int columns, const double *A, double *B)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) B[j * rows + i] = A[i * columns + j];
}

/* As it is printed: the wide one of X and its transpose, A = X X^T, X <- a X + (b A + c A^2) X. */
static void newton_schulz(int rows, int columns, double *U)
{
    double X[MOST], T[MOST], A[MOST], B[MOST], Y[MOST], norm = 0;
    int n = rows < columns ? rows : columns, m = rows < columns ? columns : rows;
    for (int i = 0; i < n * m; i++) norm += U[i] * U[i];
    if (rows > columns)
        transpose(rows, columns, U, X);
    else
        memcpy(X, U, sizeof X);
    for (int i = 0; i < n * m; i++) X[i] /= fmax(sqrt(norm), 1e-7);
    for (int step = 0; step < 5; step++) {
        transpose(n, m, X, T);
        product(n, m, n, X, T, A);
        product(n, n, n, A, A, B);
        for (int i = 0; i < n * n; i++) B[i] = -4.7750 * A[i] + 2.0315 * B[i];
        product(n, n, m, B, X, Y);
        for (int i = 0; i < n * m; i++) X[i] = 3.4445 * X[i] + Y[i];
    }
    if (rows > columns)
        transpose(n, m, X, U);
    else
        memcpy(U, X, (size_t)(n * m) * sizeof *U);
}

static void muon(plain *p, const double *g, told s, bool rms)
{
    double U[MOST] = {0}, rows = p->rows, columns = p->columns;
    if (!s.matrix) {
        if (!rms) s.lr *= 0.015;
        adam(p, g, s, 0.95, false);
        return;
    }
    for (int i = 0; i < p->size; i++) {
        p->m[i] = 0.95 * p->m[i] + g[i];
        U[i] = rms ? p->m[i] : g[i] + 0.95 * p->m[i];
    }
    newton_schulz(p->rows, p->columns, U);
    double scale = rms ? 0.2 * sqrt(fmax(rows, columns)) : sqrt(fmax(1, rows / columns));
    for (int i = 0; i < p->size; i++)
        p->x[i] = p->x[i] - s.lr * s.decay * p->x[i] - s.lr * scale * U[i];
}
static void plain_muon(plain *p, const double *g, told s) { muon(p, g, s, false); }
static void plain_muon_rms(plain *p, const double *g, told s) { muon(p, g, s, true); }

/* ---- The optimisers ---- */

static plain_fn *const formulas[OPTIM_KINDS] = {plain_adamw,    plain_adam,     plain_sgd,
                                                plain_momentum, plain_nesterov, plain_lion,
                                                plain_muon,     plain_muon_rms};

/* Matrices that are tall, wide and square, what only looks like one, and the flags. What a group
 * makes of each is written beside it. */
static const struct param {
    const char *name;
    pal_shape shape;
    bool matrix, no_decay, frozen;
    double rate, decay; /* with the groups */
} params[] = {{"embed", {2, {6, 4}}, false, false, false, 1, 0.1},
              {"tall", {2, {9, 5}}, true, false, false, 0.5, 0.3},
              {"twin", {2, {4, 4}}, true, false, false, 1, 0},
              {"wide", {2, {5, 9}}, true, false, false, 1, 0.1},
              {"bias", {1, {7}}, false, true, false, 2, 0},
              {"gain", {1, {7}}, false, false, false, 2, 0.2},
              {"frozen", {2, {4, 4}}, true, false, true, 1, 0.1},
              {"conv", {3, {5, 1, 4}}, false, false, false, 1, 0.1},
              {"none", {2, {0, 4}}, true, false, false, 1, 0.1},
              {"lm_head.weight", {2, {4, 6}}, false, false, false, 1, 0.1}};
enum { PARAMS = sizeof params / sizeof *params };
/* "twin" matches the first two, and the first wins for "tall". */
static const pal_group groups[] = {{.pattern = "ta*", .rate = 0.5, .decay = 0.3},
                                   {.pattern = "t*", .no_decay = true},
                                   {.pattern = "[bg]*", .rate = 2, .decay = 0.2}};

static pal_params *make_params(pal_dtype dtype)
{
    pal_params *p = pal_params_new();
    for (int i = 0; i < PARAMS; i++) {
        pal_tensor t = pal_param(p, params[i].name, dtype, params[i].shape);
        optim_fill_value(t, (uint64_t)i + 1);
        if (params[i].no_decay) pal_no_decay(t);
        if (params[i].frozen) pal_freeze(t, true);
    }
    return p;
}

static plain plain_of(const pal_params *p, int i)
{
    pal_array a = pal_params_array(p, i);
    plain one = {.rows = (int)a.shape[0],
                 .columns = (int)(a.ndim > 1 ? a.shape[1] : 1),
                 .size = (int)pal_array_count(&a)};
    ck_assert_int_le(one.size, MOST);
    for (int j = 0; j < one.size; j++) one.x[j] = optim_at(a, j);
    return one;
}

/* Ten steps; what differs is measured against the largest element of the parameter. */
static void against_the_formula(int r, pal_dtype dtype, bool grouped, double tolerance)
{
    pal_params *p = make_params(dtype);
    const optim_kind *kind = &optim_kinds[r];
    pal_optim *o = kind->make(p, grouped ? groups : NULL, grouped ? 3 : 0);
    plain want[PARAMS];
    ck_assert_ptr_nonnull(o);
    for (int i = 0; i < PARAMS; i++) want[i] = plain_of(p, i);
    for (int t = 1; t <= 10; t++) {
        optim_fill_grad(p, (uint64_t)t);
        for (int i = 0; i < PARAMS; i++) {
            const struct param *q = &params[i];
            told s = {.lr = 0.01 * t, .decay = q->no_decay ? 0 : 0.1, .t = t, .matrix = q->matrix};
            if (grouped) s.lr *= q->rate, s.decay = q->decay;
            double g[MOST];
            for (int j = 0; j < want[i].size; j++) g[j] = optim_grad_at(p, i, j);
            if (!q->frozen && want[i].size) formulas[r](&want[i], g, s);
        }
        ck_assert_int_eq(pal_optim_step(o, 0.01 * t), PAL_OK);
    }
    for (int i = 0; i < PARAMS; i++) {
        double largest = 0;
        for (int j = 0; j < want[i].size; j++) largest = fmax(largest, fabs(want[i].x[j]));
        for (int j = 0; j < want[i].size; j++) {
            double got = optim_at(pal_params_array(p, i), j);
            if (!(fabs(got - want[i].x[j]) <= (params[i].frozen ? 0 : tolerance) * largest))
                ck_abort_msg("%s, %s[%d] is %.17g where the formula gives %.17g", kind->name,
                             params[i].name, j, got, want[i].x[j]);
        }
    }
    ck_assert_int_eq(pal_optim_steps(o), 10);
    ck_assert_str_eq(pal_optim_name(o), kind->name);
    pal_optim_free(o);
    pal_params_free(p);
}

START_TEST(ten_steps_follow_the_formula)
{
    /* Muon's iteration raises a singular value, and its error, by up to 3.4445 each time. */
    bool muon = formulas[_i] == plain_muon || formulas[_i] == plain_muon_rms;
    for (int isa = 0; isa < ISAS; isa++) {
        if (!isa_select(isa)) continue;
        for (int grouped = 0; grouped < 2; grouped++) {
            against_the_formula(_i, PAL_F64, grouped, 1e-12);
            against_the_formula(_i, PAL_F32, grouped, muon ? 3e-5 : 3e-6);
        }
    }
    isa_select_best();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("optim_formulas");
    TCase *c = tcase_create("optim_formulas");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, optim_setup, optim_teardown);
    tcase_add_loop_test(c, ten_steps_follow_the_formula, 0, OPTIM_KINDS);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
