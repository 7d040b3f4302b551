/*
 * test_plain.c - kernels on memory of the caller (layers/kernel.h) against the operations on a
 * tape: the same bits, forward and backward, for strided and packed inputs, states in and out, any
 * number of threads; decoding in place; what a call must refuse; and that a call takes no memory.
 */
#include "tests/support/check.h"
#include "tests/support/plain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- The same bits ---- */

START_TEST(bits_of_the_tape)
{
    const plain_problem *p = &plain_problems[_i / 2];
    plain_arrays a = plain_draw(p, _i % 2 ? PAL_F64 : PAL_F32);
    plain_on_tape(p, &a);
    for (int threads = 1; threads <= 3; threads++)
        for (int strided = 0; strided < 2; strided++) {
            char how[64];
            plain_run r;
            snprintf(how, sizeof how, "problem %d, %d threads%s", _i / 2, threads,
                     strided ? ", strided" : "");
            plain_begin(p, &a, strided, threads, &r);
            plain_give_memory(&r, true);
            plain_must(pal_kernel_forward, &a, &r);
            plain_compare(&a, &r, false, how);
            memset(r.call.scratch, 0xff, r.call.scratch_bytes);
            plain_must(pal_kernel_backward, &a, &r);
            plain_compare(&a, &r, true, how);
            r.call.keep = NULL; /* without it */
            plain_must(pal_kernel_forward, &a, &r);
            plain_compare(&a, &r, false, how);
            plain_end(&r);
        }
    plain_free(&a);
}
END_TEST

/* Each gradient alone, and under each result's gradient alone. */
START_TEST(some_gradients)
{
    const plain_problem *p = &plain_problems[_i];
    plain_arrays a = plain_draw(p, PAL_F64);
    plain_run r;
    plain_on_tape(p, &a);
    plain_begin(p, &a, false, 2, &r);
    plain_give_memory(&r, true);
    plain_must(pal_kernel_forward, &a, &r);
    for (int i = 0; i < a.nin; i++) {
        if (!r.call.din[i]) continue;
        plain_run one = r;
        memset(one.call.din, 0, sizeof one.call.din);
        one.call.din[i] = r.call.din[i];
        pal_error e;
        ck_assert_int_eq(pal_kernel_backward(a.kernel, &one.call, &e), PAL_OK);
        plain_compare(&a, &one, true, "one gradient");
    }
    /* The sum over results of what each gives. */
    pal_array sum[PAL_KERNEL_IN];
    for (int i = 0; i < a.nin; i++)
        if (r.call.din[i]) sum[i] = plain_copy(&a.din[i]), pal_array_fill(&sum[i], 0);
    for (int j = 0; j < a.nout; j++) {
        plain_run one = r;
        memset(one.call.dout, 0, sizeof one.call.dout);
        one.call.dout[j] = &a.dout[j];
        pal_error e;
        ck_assert_int_eq(pal_kernel_backward(a.kernel, &one.call, &e), PAL_OK);
        for (int i = 0; i < a.nin; i++)
            for (int64_t n = 0; r.call.din[i] && n < pal_array_count(&sum[i]); n++)
                ((double *)sum[i].data)[n] += ((const double *)r.din[i].data)[n];
    }
    for (int i = 0; i < a.nin; i++) {
        for (int64_t n = 0; r.call.din[i] && n < pal_array_count(&sum[i]); n++) {
            const double x = ((const double *)a.din[i].data)[n];
            ck_assert_msg(fabs(((const double *)sum[i].data)[n] - x) <= 1e-11 * (1 + fabs(x)),
                          "%s: %s", p->name, pal_kernel_input(a.kernel, i));
        }
        if (r.call.din[i]) free(sum[i].data);
    }
    plain_end(&r);
    plain_free(&a);
}
END_TEST

/* ---- Decoding ---- */

/* Token t of an input [B,T,..], where it has one. */
static pal_array token_of(const plain_problem *p, int i, const pal_array *x, int64_t t)
{
    const char *axes = plain_axes(p, i);
    pal_array y = *x;
    if (!axes || strncmp(axes, "BT", 2)) return y;
    y.shape[1] = 1;
    y.data = (char *)x->data + (size_t)(t * x->stride[1]) * pal_dtype_size(x->dtype);
    return y;
}

/* Token by token, with the state replaced in place, to the numbers of all tokens at once. */
START_TEST(step_by_step)
{
    const plain_problem *p = &plain_problems[_i];
    if (p->packed || !p->state) return;
    plain_arrays a = plain_draw(p, PAL_F64);
    plain_run r;
    plain_on_tape(p, &a);
    plain_begin(p, &a, false, 2, &r);
    plain_give_memory(&r, false);
    const int64_t T = p->size['T'];
    for (int j = 1; j < a.nout; j++)
        for (int i = a.nin - 1; i >= 0; i--)
            if (!strcmp(pal_kernel_input(a.kernel, i), pal_kernel_output(a.kernel, j))) {
                ck_assert_int_eq(pal_array_copy(&r.out[j], &a.in[i], NULL), PAL_OK);
                r.in[i] = r.out[j];
                break;
            }
    pal_array all = plain_copy(&a.out[0]);
    for (int64_t t = 0; t < T; t++) {
        pal_array in[PAL_KERNEL_IN], to = all;
        for (int i = 0; i < a.nin; i++) {
            if (!a.given[i]) continue;
            in[i] = token_of(p, i, &r.in[i], t);
            r.call.in[i] = &in[i];
        }
        to.shape[1] = 1;
        pal_array o = plain_new_array(to.dtype, pal_array_shape(&to));
        r.call.out[0] = &o;
        plain_must(pal_kernel_forward, &a, &r);
        to.data = (char *)all.data + (size_t)(t * all.stride[1]) * 8;
        ck_assert_int_eq(pal_array_copy(&to, &o, NULL), PAL_OK);
        free(o.data);
    }
    for (int64_t n = 0; n < pal_array_count(&all); n++)
        ck_assert_double_eq_tol(((double *)all.data)[n], ((double *)a.out[0].data)[n], 1e-11);
    for (int j = 1; j < a.nout; j++)
        for (int64_t n = 0; n < pal_array_count(&a.out[j]); n++)
            ck_assert_double_eq_tol(((double *)r.out[j].data)[n], ((double *)a.out[j].data)[n],
                                    1e-11);
    free(all.data);
    plain_end(&r);
    plain_free(&a);
}
END_TEST

/* A result that is not wanted changes nothing in the others. */
START_TEST(without_states)
{
    const plain_problem *p = &plain_problems[_i];
    plain_arrays a = plain_draw(p, PAL_F32);
    plain_run r;
    plain_on_tape(p, &a);
    plain_begin(p, &a, false, 2, &r);
    const pal_array *first = r.call.out[0];
    memset(r.call.out, 0, sizeof r.call.out);
    pal_error e;
    ck_assert_int_eq(pal_kernel_measure(a.kernel, &r.call, &r.sizes, &e), PAL_OK);
    r.call.out[0] = first;
    plain_give_memory(&r, false);
    plain_must(pal_kernel_forward, &a, &r);
    plain_compare(&a, &r, false, "without states");
    plain_end(&r);
    plain_free(&a);
}
END_TEST

/* ---- Errors ---- */

static void refused(const plain_arrays *a, const pal_kernel_call *call, bool back,
                    pal_status status, const char *words)
{
    pal_error e = {.status = PAL_OK};
    pal_status got =
        back ? pal_kernel_backward(a->kernel, call, &e) : pal_kernel_forward(a->kernel, call, &e);
    ck_assert_msg(got == status && e.status == status && strstr(e.message, words),
                  "status %d, \"%s\" instead of \"%s\"", got, e.message, words);
    ck_assert_int_eq(back ? pal_kernel_backward(a->kernel, call, NULL)
                          : pal_kernel_forward(a->kernel, call, NULL),
                     status);
}

/* Does `change` to a copy of the call, which is then refused. */
#define REFUSED(change, back, status, words)  \
    do {                                      \
        pal_kernel_call c = r.call;           \
        pal_array x = r.in[0], y = r.out[0];  \
        change;                               \
        refused(&a, &c, back, status, words); \
        (void)x, (void)y;                     \
    } while (0)

START_TEST(what_is_refused)
{
    const plain_problem *p = &plain_problems[4]; /* gdn: q k v g beta state offsets A_log dt_bias */
    plain_arrays a = plain_draw(p, PAL_F32);
    plain_run r;
    plain_on_tape(p, &a);
    plain_begin(p, &a, false, 2, &r);
    plain_give_memory(&r, true);
    plain_must(pal_kernel_forward, &a, &r);
    char before[64];
    memcpy(before, r.out[0].data, sizeof before);
    REFUSED(c.in[0] = NULL, false, PAL_ESTALE, "gdn: argument q is empty");
    REFUSED((x.shape[3]++, c.in[1] = &x), false, PAL_ESHAPE, "argument k is f32[1,65,1,25]");
    REFUSED((x.dtype = PAL_F64, c.in[1] = &x), false, PAL_EDTYPE, "argument k is f64");
    REFUSED((x.data = NULL, c.in[0] = &x), false, PAL_EVALUE, "argument q has no memory");
    REFUSED((x.shape[0] = -1, c.in[0] = &x), false, PAL_ESHAPE, "sizes below 0");
    REFUSED((x.ndim = 99, c.in[0] = &x), false, PAL_ESHAPE, "sizes below 0 or too large");
    REFUSED((x.shape[1] = INT64_MAX / 2, c.in[0] = &x), false, PAL_ESHAPE, "too large");
    REFUSED(c.in[7] = &x, false, PAL_EVALUE, "A_log and dt_bias are given together");
    REFUSED(c.in[12] = &x, false, PAL_EVALUE, "inputs");
    REFUSED(c.opts.window = 3, false, PAL_EVALUE, "no option window");
    REFUSED(c.opts.chunk = 17, false, PAL_EVALUE, "chunk is 17");
    REFUSED(c.opts.mode = PAL_RULE_COMPOSED, false, PAL_EVALUE, "composed");
    REFUSED(c.opts.mode = (pal_rule_mode)9, false, PAL_EVALUE, "no mode 9");
    REFUSED(c.threads = -1, false, PAL_EVALUE, "threads");
    REFUSED(c.scratch = NULL, false, PAL_EVALUE, "scratch has");
    REFUSED(c.scratch_bytes = 64, false, PAL_EVALUE, "scratch has 64 bytes");
    REFUSED(c.scratch = (char *)c.scratch + 8, false, PAL_EVALUE, "aligned to 64");
    REFUSED(c.keep_bytes -= 64, false, PAL_EVALUE, "keep has");
    REFUSED(c.out[0] = NULL, false, PAL_EVALUE, "result o is NULL");
    REFUSED((y.shape[1]++, c.out[0] = &y), false, PAL_ESHAPE, "result o is f32[1,66,3,8]");
    REFUSED((y.stride[3] = 2, c.out[0] = &y), false, PAL_ESHAPE, "contiguous");
    REFUSED(c.out[1] = c.in[5], false, PAL_EVALUE, "state is replaced, but keep is given");
    ck_assert_int_eq(memcmp(before, r.out[0].data, sizeof before), 0);
    REFUSED(c.din[6] = &x, true, PAL_EGRAD, "no gradient of offsets");
    REFUSED(c.din[7] = &x, true, PAL_EGRAD, "no gradient of A_log");
    REFUSED((x.stride[1] = 0, c.din[0] = &x), true, PAL_ESHAPE, "the gradient of q is f32");
    REFUSED((x.shape[1]++, c.din[0] = &x), true, PAL_ESHAPE, "the gradient of q is f32[1,66");
    REFUSED((y.shape[1]++, c.dout[0] = &y), true, PAL_ESHAPE, "the gradient of o is f32");
    REFUSED(c.keep = NULL, true, PAL_EVALUE, "keep has");
    REFUSED(c.scratch_bytes = 0, true, PAL_EVALUE, "scratch has 0 bytes");
    plain_end(&r);
    plain_free(&a);
}
END_TEST

START_TEST(what_others_refuse)
{
    for (int i = 0; i < PLAIN_PROBLEMS; i++) {
        const plain_problem *p = &plain_problems[i];
        if (plain_rule(p)) continue;
        plain_arrays a = plain_draw(p, PAL_F32);
        plain_run r;
        plain_on_tape(p, &a);
        plain_begin(p, &a, false, 1, &r);
        plain_give_memory(&r, true);
        const bool conv = !strcmp(p->name, "short_conv"), norm = *p->name == 'g';
        char words[64];
        snprintf(words, sizeof words, "%s: argument %s is f32[] and should be", p->name,
                 pal_kernel_input(a.kernel, 0));
        REFUSED((x.ndim = 0, c.in[0] = &x), false, PAL_ESHAPE, words);
        REFUSED(c.opts.chunk = 16, false, PAL_EVALUE, "no option chunk");
        if (conv) REFUSED((x.stride[2] = 2, c.in[0] = &x), false, PAL_ESHAPE, "next to each other");
        if (norm) REFUSED(c.opts.groups = 7, false, PAL_ESHAPE, "7 groups");
        if (norm) REFUSED(c.in[1] = NULL, false, PAL_EVALUE, "gate");
        if (!conv && !norm) REFUSED(c.opts.window = -1, false, PAL_EVALUE, "window is -1");
        if (!conv && !norm) {
            plain_must(pal_kernel_forward, &a, &r);
            REFUSED(c.out[0] = NULL, true, PAL_EVALUE, "backward reads result o");
        }
        plain_end(&r);
        plain_free(&a);
    }
}
END_TEST

/* ---- Memory ---- */

static int asked;
static void *count_allocations(void *memory, size_t old_size, size_t size, void *user)
{
    (void)old_size, (void)user;
    asked++;
    if (size) return aligned_alloc(64, (size + 63) / 64 * 64);
    free(memory);
    return NULL;
}

START_TEST(nothing_is_allocated)
{
    const plain_problem *p = &plain_problems[_i];
    plain_arrays a = plain_draw(p, PAL_F32);
    plain_run r;
    plain_on_tape(p, &a);
    pal_set_allocator(count_allocations, NULL);
    plain_begin(p, &a, true, 2, &r);
    plain_give_memory(&r, true);
    plain_must(pal_kernel_forward, &a, &r);
    plain_must(pal_kernel_backward, &a, &r);
    pal_set_allocator(NULL, NULL);
    ck_assert_int_eq(asked, 0);
    plain_end(&r);
    plain_free(&a);
}
END_TEST

/* No tokens: the state is handed on, and its gradient back. */
START_TEST(no_tokens)
{
    plain_problem p = plain_problems[_i];
    const bool shares = !strcmp(p.name, "attention");
    p.size['T'] = 0;
    if (shares) p.size['S'] = 0;
    plain_arrays a = plain_draw(&p, PAL_F64);
    plain_run r;
    plain_on_tape(&p, &a);
    plain_begin(&p, &a, false, 2, &r);
    plain_give_memory(&r, true);
    plain_must(pal_kernel_forward, &a, &r);
    plain_must(pal_kernel_backward, &a, &r);
    plain_compare(&a, &r, true, "no tokens");
    plain_end(&r);
    plain_free(&a);
}
END_TEST

START_TEST(names)
{
    int n = 0;
    for (const pal_kernel *k; (k = pal_kernel_at(n)); n++) {
        ck_assert_ptr_eq(pal_kernel_find(pal_kernel_name(k)), k);
        int in = 0, out = 0;
        while (pal_kernel_input(k, in)) in++;
        while (pal_kernel_output(k, out)) out++;
        ck_assert(in >= 3 && in <= PAL_KERNEL_IN && out >= 1 && out <= PAL_KERNEL_OUT);
        ck_assert_ptr_null(pal_kernel_input(k, -1));
    }
    for (int i = 0; pal_rule_at(i); i++)
        ck_assert_ptr_nonnull(pal_kernel_find(pal_rule_name(pal_rule_at(i))));
    ck_assert_int_ge(n, 9);
    ck_assert_ptr_null(pal_kernel_find("gdn3"));
    ck_assert_ptr_null(pal_kernel_find(NULL));
    ck_assert_ptr_null(pal_kernel_at(-1));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("plain");
    TCase *tc = tcase_create("kernels on plain memory");
    tcase_add_loop_test(tc, bits_of_the_tape, 0, 2 * PLAIN_PROBLEMS);
    tcase_add_loop_test(tc, some_gradients, 0, PLAIN_PROBLEMS);
    tcase_add_loop_test(tc, step_by_step, 0, PLAIN_PROBLEMS);
    tcase_add_loop_test(tc, without_states, 0, PLAIN_PROBLEMS);
    tcase_add_loop_test(tc, nothing_is_allocated, 0, PLAIN_PROBLEMS);
    tcase_add_loop_test(tc, no_tokens, 0, PLAIN_PROBLEMS);
    tcase_add_test(tc, what_is_refused);
    tcase_add_test(tc, what_others_refuse);
    tcase_add_test(tc, names);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
