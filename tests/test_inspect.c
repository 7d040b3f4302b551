/*
 * test_inspect.c - what examples/inspect computes: singular values, and the implied attention of
 * every rule, which has to give the rule's own output. What it sees of layers is in
 * test_inspect_layers.c, and sequences made by hand are in test_inspect_script.c.
 */
#include "examples/inspect/look.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void near(double x, double wanted, double within, const char *what)
{
    if (!(fabs(x - wanted) <= within)) ck_abort_msg("%s is %.17g, not %.17g", what, x, wanted);
}

static void draw(double *x, int64_t n, double low, double high, pal_rng *rng)
{
    for (int64_t i = 0; i < n; i++) x[i] = low + (high - low) * pal_rng_next(rng);
}

/* ---- Singular values ---- */

START_TEST(known_matrices)
{
    double s[3];
    ob_singular((double[]){3, 0, 0, -4}, 2, 2, s); /* a diagonal matrix */
    near(s[0], 4, 1e-15, "diagonal"), near(s[1], 3, 1e-15, "diagonal");
    ob_singular((double[]){1, 2, 3, 2, 4, 6}, 2, 3, s); /* (1,2) (1,2,3)^T */
    near(s[0], sqrt(70), 1e-14, "rank one"), near(s[1], 0, 1e-14, "rank one");
    ob_singular((double[]){1, 1, 0, 1}, 2, 2, s); /* has the golden ratio and its inverse */
    near(s[0], (1 + sqrt(5)) / 2, 1e-15, "shear"), near(s[1], (sqrt(5) - 1) / 2, 1e-15, "shear");
    ob_singular((double[9]){0}, 3, 3, s);
    near(s[0], 0, 0, "zeros");
    ob_singular((double[]){3e-200, 4e-200}, 1, 2, s);
    near(s[0] / 5e-200, 1, 1e-15, "tiny");
    ob_singular((double[]){3e200, 4e200}, 2, 1, s);
    near(s[0] / 5e200, 1, 1e-15, "large");
}
END_TEST

/* Q [n,m] with orthonormal columns, by Gram-Schmidt, done twice for accuracy. */
static void orthonormal(double *Q, int64_t n, int64_t m, pal_rng *rng)
{
    draw(Q, n * m, -1, 1, rng);
    for (int64_t j = 0; j < m; j++)
        for (int twice = 0; twice < 2; twice++) {
            double norm = 0;
            for (int64_t p = 0; p < j; p++) {
                double dot = 0;
                for (int64_t i = 0; i < n; i++) dot += Q[i * m + p] * Q[i * m + j];
                for (int64_t i = 0; i < n; i++) Q[i * m + j] -= dot * Q[i * m + p];
            }
            for (int64_t i = 0; i < n; i++) norm += Q[i * m + j] * Q[i * m + j];
            for (int64_t i = 0; i < n; i++) Q[i * m + j] /= sqrt(norm);
        }
}

/* The singular values of M = U diag(s) V^T are s, for any shape, and for values that are far apart
 * or 0. */
START_TEST(built_matrices)
{
    static const int64_t shapes[][2] = {{1, 1}, {1, 9}, {9, 1}, {5, 5}, {12, 7}, {7, 12}, {33, 40}};
    pal_rng rng = pal_rng_new(5, 0);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const int64_t n = shapes[k][0], p = shapes[k][1], m = n < p ? n : p;
        double *U = ob_reals(n * m), *V = ob_reals(p * m), *M = ob_reals(n * p);
        double wanted[64], found[64];
        orthonormal(U, n, m, &rng);
        orthonormal(V, p, m, &rng);
        for (int64_t r = 0; r < m; r++)
            wanted[r] = r > 3 && r == m - 1 ? 0 : 10 * pow(0.3, (double)r);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < p; j++)
                for (int64_t r = 0; r < m; r++)
                    M[i * p + j] += U[i * m + r] * wanted[r] * V[j * m + r];
        ob_singular(M, n, p, found);
        for (int64_t r = 0; r < m; r++) near(found[r], wanted[r], 1e-13, "a built matrix");
        free(U), free(V), free(M);
    }
}
END_TEST

/* ---- The rules ---- */

/* A head with random contents that its rule can have: gates of one number if it has such, and keys
 * of unit length if it erases. */
static ob_head *drawn_head(observation *ob, ob_rule rule, int64_t K, int64_t V, pal_rng *rng)
{
    ob_head *h;
    const int64_t T = ob->T;
    ck_assert_int_eq(ob_model(ob, ob_rule_name(rule), NULL), PAL_OK);
    ck_assert_int_eq(ob_add(ob, (ob_head){.rule = rule, .K = K, .V = V}, &h, NULL), PAL_OK);
    draw(h->q, T * K, -1, 1, rng);
    draw(h->k, T * K, -1, 1, rng);
    draw(h->v, T * V, -1, 1, rng);
    draw(h->g, T * K, -0.5, 0, rng);
    draw(h->b, T * K, 0, 1, rng);
    draw(h->w, T * V, 0, 1, rng);
    h->scale = 0.7;
    for (int64_t t = 0; t < T; t++) {
        const double norm = ob_norm(h->k + t * K, K);
        for (int64_t i = 0; i < K; i++) {
            const int64_t c = t * K + i;
            if (rule != OB_MAMBA2) h->k[c] /= norm;
            if (rule != OB_GDN2) h->b[c] = rule == OB_MAMBA2 ? 0 : h->w[t * V];
            if (rule == OB_DELTANET) h->g[c] = 0;
            if (rule == OB_GDN || rule == OB_MAMBA2) h->g[c] = h->g[t * K];
        }
        for (int64_t i = 0; i < V && rule != OB_GDN2; i++) h->w[t * V + i] = h->w[t * V];
    }
    return h;
}

/* A head of Mamba-3 with random contents, R rows a token and J pairs; some steps are 0. */
static ob_head *drawn_turns(observation *ob, int64_t R, int64_t J, pal_pair pair, pal_rng *rng)
{
    ob_head *h;
    const int64_t T = ob->T, K = 6, V = 5;
    ck_assert_int_eq(ob_model(ob, "mamba3", NULL), PAL_OK);
    ck_assert_int_eq(
        ob_add(ob, (ob_head){.rule = OB_MAMBA3, .K = K, .V = V, .R = R, .turns = {J, .pair = pair}},
               &h, NULL),
        PAL_OK);
    draw(h->turns.dt, T, 0.1, 2, rng);
    draw(h->turns.lam, T, 0.1, 1, rng);
    draw(h->turns.om, T * J, -3, 3, rng);
    draw(h->turns.B, T * R * K, -1, 1, rng);
    draw(h->turns.C, T * R * K, -1, 1, rng);
    draw(h->turns.x, T * V, -1, 1, rng);
    draw(h->turns.mimo_x, R * V, -1, 1, rng);
    draw(h->g, T * K, -0.5, 0, rng);
    for (int64_t i = 0; i < T * K; i++) h->g[i] = h->g[i / K * K];
    h->turns.lam[3] = 0, h->turns.lam[4] = 1, h->turns.dt[7] = 0;
    h->decays = h->writes = 1;
    h->scale = 0.7;
    return h;
}

/* A row of keys in plain loops: angles add up, and a pair turns. */
static void plain_turned(const ob_head *h, const double *from, int64_t n, double *to)
{
    const ob_turns *r = &h->turns;
    memcpy(to, from + n * h->K, (size_t)h->K * sizeof *to);
    for (int64_t j = 0; j < r->J; j++) {
        const int64_t a = r->pair == PAL_PAIR_HALF ? j : 2 * j;
        const int64_t b = r->pair == PAL_PAIR_HALF ? j + h->K / 2 : 2 * j + 1;
        double phi = 0;
        for (int64_t t = 0; t <= n / h->R; t++) phi += r->dt[t] * r->om[t * r->J + j];
        const double x = to[a], y = to[b];
        to[a] = x * cos(phi) - y * sin(phi), to[b] = x * sin(phi) + y * cos(phi);
    }
}

/* What token s writes, `weight` times, with all its rows. */
static void plain_write(const ob_head *h, int64_t s, double weight, double *S)
{
    double k[6];
    for (int64_t i = 0; i < h->R && s >= 0; i++) {
        plain_turned(h, h->turns.B, s * h->R + i, k);
        for (int64_t n = 0; n < h->K * h->V; n++) {
            const int64_t c = n % h->V;
            S[n] += weight * k[n / h->V] * h->turns.mimo_x[i * h->V + c] * h->turns.x[s * h->V + c];
        }
    }
}

/* Mamba-3 in plain loops: S after `tokens` tokens. */
static void plain_turns(const ob_head *h, int64_t tokens, double *S)
{
    for (int64_t t = 0; t < tokens; t++) {
        const double dt = h->turns.dt[t], lam = h->turns.lam[t];
        plain_write(h, t - 1, (1 - lam) * dt, S);
        for (int64_t n = 0; n < h->K * h->V; n++) S[n] *= exp(h->g[t * h->K]);
        plain_write(h, t, lam * dt, S);
    }
}

/* The recurrence of observation.h in plain loops: S after `tokens` tokens. */
static void plain(const ob_head *h, int64_t tokens, double *S)
{
    if (h->rule == OB_MAMBA3) {
        plain_turns(h, tokens, S);
        return;
    }
    for (int64_t t = 0; t < tokens; t++) {
        const double *k = h->k + t * h->K, *b = h->b + t * h->K;
        for (int64_t c = 0; c < h->V; c++) {
            double erased = 0;
            for (int64_t i = 0; i < h->K; i++) {
                S[i * h->V + c] *= exp(h->g[t * h->K + i]);
                erased += b[i] * k[i] * S[i * h->V + c];
            }
            for (int64_t i = 0; i < h->K; i++)
                S[i * h->V + c] += k[i] * (h->w[t * h->V + c] * h->v[t * h->V + c] - erased);
        }
    }
}

/* Checks what the key of row n reads from S_t, r = S_t^T k / |k|^2, against z = w*v, which has been
 * written by then: the cosine of the two, and |r - z| / |z|. */
static void plain_reading(const ob_head *h, int64_t t, int64_t n)
{
    double S[30] = {0}, kk = 0, rr = 0, zz = 0, rz = 0, miss = 0, written = 1;
    const double *k = h->k + n * h->K;
    const int64_t s = n / h->R, at = t * h->T * h->R + n;
    if (h->rule == OB_MAMBA3) {
        const ob_turns *u = &h->turns;
        written = u->lam[s] * u->dt[s] + (s < t ? (1 - u->lam[s + 1]) * u->dt[s + 1] : 0);
    }
    plain(h, t + 1, S);
    for (int64_t i = 0; i < h->K; i++) kk += k[i] * k[i];
    for (int64_t c = 0; c < h->V; c++) {
        const double z = written * h->w[n * h->V + c] * h->v[n * h->V + c];
        double r = 0;
        for (int64_t i = 0; i < h->K; i++) r += S[i * h->V + c] * k[i] / kk;
        rr += r * r, zz += z * z, rz += r * z, miss += (r - z) * (r - z);
    }
    if (written == 0) {
        ck_assert_msg(isnan(h->cosine[at]) && isnan(h->error[at]), "nothing was written");
        return;
    }
    miss = sqrt(miss / zz);
    near(h->cosine[at], rz / sqrt(rr * zz), 1e-12, "the cosine of a reading");
    near(h->error[at], miss, 1e-12 * (1 + miss), "the error of a reading");
}

/* What is shown of Mamba-3 besides: keys, both writes, turns, angles; and the outputs of all rows.
 */
static void check_turns(const ob_head *h)
{
    const ob_turns *r = &h->turns;
    for (int64_t t = 0; t < h->T; t++) {
        double S[30] = {0}, row[6];
        plain(h, t + 1, S);
        near(r->now[t], r->lam[t] * r->dt[t], 0, "the write");
        near(r->late[t], (1 - r->lam[t]) * r->dt[t], 0, "the late write");
        for (int64_t j = 0; j < r->J; j++) {
            const double before = t ? r->angle[(t - 1) * r->J + j] : 0;
            near(r->turn[t * r->J + j], r->dt[t] * r->om[t * r->J + j], 0, "a turn");
            ck_assert(r->angle[t * r->J + j] >= 0 && r->angle[t * r->J + j] < 8 * atan(1));
            near(sin((r->angle[t * r->J + j] - before - r->turn[t * r->J + j]) / 2), 0, 1e-12,
                 "an angle");
        }
        for (int64_t n = t * h->R; n < (t + 1) * h->R; n++) {
            plain_turned(h, r->B, n, row);
            for (int c = 0; c < 6; c++) near(h->k[n * 6 + c], row[c], 1e-13, "a key");
            plain_turned(h, r->C, n, row);
            for (int64_t c = 0; c < h->V; c++) {
                double o = 0;
                for (int64_t i = 0; i < 6; i++) o += h->scale * S[i * h->V + c] * row[i];
                near(h->o[n * h->V + c], o, 1e-12, "an output");
            }
        }
    }
}

/* For every rule and in both modes: sum_s A[t,s] (w_s*v_s) = o_t within 1e-10, A is 0 above its
 * diagonal, and the state and what the keys read are those of the plain recurrence. */
START_TEST(implied_attention)
{
    pal_rng rng = pal_rng_new(7, 0);
    for (int mode = 0; mode < 2; mode++) {
        observation ob;
        ck_assert_int_eq(ob_begin(&ob, 19, NULL), PAL_OK);
        for (int r = 0; r < OB_MAMBA3; r++) drawn_head(&ob, (ob_rule)r, 6, 5, &rng);
        drawn_turns(&ob, mode ? 3 : 1, mode ? 2 : 3, mode ? PAL_PAIR_HALF : PAL_PAIR_ADJACENT,
                    &rng);
        ob_measure(&ob, mode ? PAL_RULE_COMPOSED : PAL_RULE_RECURRENT);
        for (int i = 0; i < ob.heads; i++) {
            const ob_head *h = &ob.head[i];
            double S[30] = {0}, norm = 0, change = 0, sum = 0, entropy = 0;
            near(h->A_error, 0, 1e-10, ob_rule_name(h->rule));
            plain(h, 19, S);
            for (int64_t c = 0; c < 30; c++) {
                near(h->S[18 * 30 + c], S[c], 1e-12, ob_rule_name(h->rule));
                norm += S[c] * S[c];
                change += pow(h->S[18 * 30 + c] - h->S[17 * 30 + c], 2);
            }
            near(h->update[0], h->norm[0], 1e-15, "the first change");
            near(h->update[18], sqrt(change), 1e-14, "the last change");
            for (int c = 0; c < 5; c++) sum += h->sigma[18 * 5 + c];
            for (int c = 0; c < 5; c++)
                entropy += h->sigma[18 * 5 + c] / sum * log(sum / h->sigma[18 * 5 + c]);
            near(h->rank[18], exp(entropy), 1e-12, "the effective rank");
            near(h->norm[18], sqrt(norm), 1e-12, "the norm");
            near(ob_norm(h->sigma + 18 * 5, 5), sqrt(norm), 1e-12, "the norm of sigma");
            const int64_t R = h->R, N = 19 * R;
            for (int64_t n = 0; n < N; n++)
                for (int64_t m = 0; m < N; m++)
                    if (m / R > n / R)
                        near(h->A[n * N + m], 0, 0, "A above its diagonal");
                    else if (n % R == 0)
                        plain_reading(h, n / R, m);
            if (h->rule == OB_MAMBA3) check_turns(h);
        }
        ob_free(&ob);
    }
}
END_TEST

/* The reported error shows that A is wrong. */
START_TEST(wrong_gates)
{
    pal_rng rng = pal_rng_new(7, 0);
    observation ob;
    ck_assert_int_eq(ob_begin(&ob, 9, NULL), PAL_OK);
    ob_head *h = drawn_head(&ob, OB_KDA, 4, 4, &rng);
    h->b[5] += 0.1; /* KDA has one gate for both and does not read b */
    ob_measure(&ob, PAL_RULE_RECURRENT);
    ck_assert(ob.head[0].A_error > 1e-4);
    ob_free(&ob);
}
END_TEST

/* ---- Limits, tokens ---- */

START_TEST(limits)
{
    pal_error error;
    observation ob;
    ob_head *h;
    ck_assert_int_eq(ob_begin(&ob, OB_TOKENS + 1, &error), PAL_EVALUE);
    ck_assert(strstr(error.message, "513 tokens") != NULL);
    ck_assert_int_eq(ob_begin(&ob, 0, &error), PAL_EVALUE);
    ck_assert_int_eq(ob_begin(&ob, OB_TOKENS, &error), PAL_OK);
    ck_assert_int_eq(ob_model(&ob, "m", &error), PAL_OK);
    ck_assert_int_eq(ob_add(&ob, (ob_head){.K = OB_WIDTH + 1, .V = 1}, &h, &error), PAL_EVALUE);
    ck_assert_int_eq(ob_add(&ob, (ob_head){.K = 256, .V = 256}, &h, &error), PAL_EVALUE);
    ck_assert(strstr(error.message, "choose --layer, --head or fewer --tokens") != NULL);
    ck_assert_int_eq(ob_add(&ob, (ob_head){.K = 2, .V = 2, .R = OB_RANKS + 1}, &h, &error),
                     PAL_EVALUE);
    ck_assert(strstr(error.message, "17 rows a token; at most 16 are shown") != NULL);
    ck_assert_int_eq(ob_add(&ob, (ob_head){.K = 2, .V = 2, .R = OB_RANKS}, &h, &error), PAL_EVALUE);
    for (int i = 1; i < OB_MODELS; i++) ck_assert_int_eq(ob_model(&ob, "m", &error), PAL_OK);
    ck_assert_int_eq(ob_model(&ob, "m", &error), PAL_EVALUE);
    ob_free(&ob);
}
END_TEST

START_TEST(shown_words)
{
    static const struct {
        const char *byte, *shown;
    } all[] = {{"word", "word"},
               {" ", "\xe2\x90\xa3"},
               {" a b", " a b"},
               {"\n", "\\n"},
               {"\xc3\xa9", "\xc3\xa9"},
               {"\xc3", "\\xc3"},
               {"\x01\x7f", "\\x01\\x7f"},
               {"\xe2\x90", "\\xe2\\x90"},
               {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
               {"\xc2\x85", "\\xc2\\x85"},
               {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"}};
    observation ob;
    ck_assert_int_eq(ob_begin(&ob, 1, NULL), PAL_OK);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        ob_token(&ob, 0, all[i].byte, (int64_t)strlen(all[i].byte));
        ck_assert_str_eq(ob.token[0], all[i].shown);
    }
    /* All other texts are shown in the same way. */
    ob_about(&ob, "a\x1b\xff");
    ck_assert_str_eq(ob.about, "a\\x1b\\xff");
    ck_assert_int_eq(ob_model(&ob, "b\x1b[1m", NULL), PAL_OK);
    ck_assert_str_eq(ob.model[0], "b\\x1b[1m");
    char name[200];
    memset(name, 'm', sizeof name - 1), name[sizeof name - 1] = 0;
    ck_assert_int_eq(ob_model(&ob, name, NULL), PAL_OK);
    ck_assert_str_eq(ob.model[1], name);
    ob_free(&ob);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("inspect");
    TCase *tc = tcase_create("inspect");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, known_matrices);
    tcase_add_test(tc, built_matrices);
    tcase_add_test(tc, implied_attention);
    tcase_add_test(tc, wrong_gates);
    tcase_add_test(tc, limits);
    tcase_add_test(tc, shown_words);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
