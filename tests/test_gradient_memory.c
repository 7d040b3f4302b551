/*
 * test_gradient_memory.c - when gradients take memory: not for inference, and once, at the first
 * need. Without enough memory nothing is lost.
 */
#include <palimpsest.h>

#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

enum { N = 1 << 19 }; /* elements of each of two f32 parameters, which get a block each */

/* An allocator that counts, and refuses allocations of `least` bytes and more. */
typedef struct budget {
    int64_t live, large; /* bytes that are in use; allocations of N elements or more */
    size_t least;        /* 0: nothing is refused */
} budget;

static void *allocate(void *old, size_t old_size, size_t size, void *user)
{
    budget *b = user;
    if (size && b->least && size >= b->least) return NULL;
    b->large += size >= N * sizeof(float);
    b->live += (int64_t)size - (old ? (int64_t)old_size : 0);
    if (size) return aligned_alloc(64, (size + 63) / 64 * 64);
    free(old);
    return NULL;
}

static budget b;
static pal_params *params;
static pal_tape *tape;
static pal_tensor w[2];
static pal_error heard;

static void hear(const pal_error *e, void *user)
{
    (void)user;
    heard = *e;
}

static void setup(void)
{
    b = (budget){0};
    heard = (pal_error){PAL_OK, ""};
    pal_set_allocator(allocate, &b);
    pal_set_error_handler(hear, NULL);
    params = pal_params_new();
    tape = pal_tape_new();
    w[0] = pal_fill(pal_param(params, "a", PAL_F32, PAL_SHAPE(N)), 2);
    w[1] = pal_fill(pal_param(params, "b", PAL_F32, PAL_SHAPE(N)), 3);
}

static void teardown(void)
{
    pal_tape_free(tape);
    pal_params_free(params);
    ck_assert_int_eq(b.live, 0);
    pal_set_allocator(NULL, NULL);
    pal_set_error_handler(NULL, NULL);
}

/* Backward of the sum of a parameter, whose gradient is ones. */
static pal_status backward(pal_tensor of)
{
    return pal_backward(pal_sum(pal_on(tape, of), PAL_ALL, false));
}

static float grad(int i, int64_t at) { return pal_f32(pal_grad(w[i]))[at]; }

START_TEST(come_in_one_piece_with_the_first_backward)
{
    ck_assert_int_eq(b.large, 2); /* the values of both */
    ck_assert(pal_item(pal_sum(pal_on(tape, w[0]), PAL_ALL, false)) == 2.0 * N);
    ck_assert_int_eq(b.large, 2);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(backward(w[0]), PAL_OK);
        pal_tape_reset(tape);
        ck_assert_int_eq(b.large, 3); /* the gradients of both, in one piece */
    }
    ck_assert(grad(0, 7) == 3 && grad(1, 7) == 0);
    const pal_param_block one = pal_params_block(params, 0), two = pal_params_block(params, 1);
    ck_assert(one.grad == pal_f32(pal_grad(w[0])) && two.grad == pal_f32(pal_grad(w[1])));
    ck_assert((char *)two.grad - (char *)one.grad == N * sizeof(float));
    ck_assert_int_eq(b.large, 3);
}
END_TEST

/* Parameters that are made later get their gradients at the next need. */
START_TEST(come_for_later_parameters)
{
    ck_assert_int_eq(backward(w[0]), PAL_OK);
    pal_tape_reset(tape);
    pal_tensor late = pal_param(params, "late", PAL_F32, PAL_SHAPE(N));
    ck_assert_int_eq(b.large, 4);
    ck_assert_int_eq(backward(late), PAL_OK);
    ck_assert_int_eq(b.large, 5);
    ck_assert(pal_f32(pal_grad(late))[N - 1] == 1 && grad(0, N - 1) == 1 && grad(1, 0) == 0);
    pal_params_zero_grad(params);
    ck_assert(pal_f32(pal_grad(late))[N - 1] == 0 && grad(0, N - 1) == 0);
}
END_TEST

START_TEST(are_zeros_before)
{
    ck_assert(pal_clip_grad_norm(params, 1) == 0);
    pal_params_zero_grad(params);
    ck_assert_int_eq(b.large, 2);
    ck_assert(grad(1, 5) == 0 && grad(1, N - 1) == 0);
    ck_assert_int_eq(b.large, 3);
}
END_TEST

/* A step before any backward has zero gradients, so only the decay changes the parameters. */
START_TEST(a_step_before_any_backward)
{
    pal_optim *o = pal_sgd_new(params, (pal_sgd_opts){.decay = 0.5});
    ck_assert_int_eq(b.large, 2);
    ck_assert_int_eq(pal_optim_step(o, 0.5), PAL_OK);
    ck_assert_int_eq(b.large, 3);
    ck_assert(pal_f32(w[0])[3] == 1.5f && pal_f32(w[1])[N - 1] == 2.25f);
    pal_optim_free(o);
}
END_TEST

/* If there is no memory for gradients, a backward pass changes nothing, and a later one works. */
START_TEST(without_memory)
{
    b.least = N * sizeof(float);
    ck_assert_int_eq(backward(w[1]), PAL_ENOMEM);
    ck_assert_msg(strstr(heard.message, "gradients of 1048576 numbers in 2 parameters") != NULL,
                  "%s", heard.message);
    ck_assert(pal_f32(w[0])[0] == 2 && pal_f32(w[1])[N - 1] == 3);
    pal_tape_reset(tape);
    heard.status = PAL_OK;
    pal_grad(w[0]);
    ck_assert_int_eq(heard.status, PAL_ENOMEM);
    heard.status = PAL_OK;
    ck_assert(pal_params_block(params, 0).grad == NULL &&
              pal_params_block(params, 0).value != NULL);
    ck_assert_int_eq(heard.status, PAL_ENOMEM);
    pal_optim *o = pal_sgd_new(params, (pal_sgd_opts){.decay = 0.5});
    ck_assert_int_eq(pal_optim_step(o, 0.5), PAL_ENOMEM);
    ck_assert_int_eq(pal_optim_steps(o), 0);
    ck_assert(pal_f32(w[0])[0] == 2);
    pal_optim_free(o);
    b.least = 0;
    ck_assert_int_eq(pal_params_status(params), PAL_OK);
    ck_assert_int_eq(backward(w[1]), PAL_OK);
    ck_assert(grad(0, 1) == 0 && grad(1, 1) == 1);
}
END_TEST

/* A kept tensor has no gradient, and a frozen parameter has zeros. */
START_TEST(of_kept_and_frozen)
{
    pal_tensor k = pal_keep(params, "k", pal_on(tape, w[0]));
    pal_freeze(w[0], true);
    ck_assert(pal_is_none(pal_grad(k)));
    ck_assert_int_eq(backward(w[1]), PAL_OK);
    ck_assert(grad(0, 0) == 0 && grad(1, 0) == 1);
    ck_assert(pal_params_block(params, 2).kept && pal_params_block(params, 2).grad == NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gradient_memory");
    TCase *tc = tcase_create("gradient_memory");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, come_in_one_piece_with_the_first_backward);
    tcase_add_test(tc, come_for_later_parameters);
    tcase_add_test(tc, are_zeros_before);
    tcase_add_test(tc, a_step_before_any_backward);
    tcase_add_test(tc, without_memory);
    tcase_add_test(tc, of_kept_and_frozen);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
