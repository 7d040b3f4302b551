/*
 * test_threads.c - what docs/threads.md allows several threads to do at once: a tape for each
 * thread, in threads of the program and inside its parallel regions; shared parameters that are
 * only read; errors that a thread keeps to itself; what a child by fork can do; and a number of
 * threads that changes from one moment to the next.
 */
#include <palimpsest.h>

#include "tensor/internal.h"
#include "tests/support/check.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* libgomp is not built for the thread sanitizer, which does not see how a team waits for its
 * threads.
 */
#ifdef __SANITIZE_THREAD__
enum { TEAM = 1 };
#else
enum { TEAM = 2 };
#endif
enum { MODELS = 5, STEPS = 3, B = 2, T = 24, VOCAB = 19 };

static const char *const mixers[MODELS] = {
    "gdn2:num_heads=2:head_dim=8", "kda:num_heads=2:head_dim=8", "mamba2", "attn:num_heads=2",
    "mamba3:head_dim=8:state_size=8:is_mimo=true"};

/* ---- A model that one thread trains ---- */

typedef struct job {
    int number;
    pal_params *params;
    pal_lm *lm;
    pal_optim *optim;
    pal_tape *tape;
    double loss;
} job;

static job begin(int number)
{
    pal_rng rng = {.seed = 7};
    job j = {.number = number, .params = pal_params_new(), .tape = pal_tape_new()};
    j.lm = pal_lm_new(
        j.params,
        (pal_lm_opts){
            .vocab = VOCAB, .width = 32, .layers = 1, .mixers = mixers[number], .dtype = PAL_F32},
        &rng);
    j.optim = number % 2 ? pal_adamw_new(j.params, (pal_adamw_opts){0})
                         : pal_muon_new(j.params, (pal_muon_opts){0});
    return j;
}

static pal_tensor tokens_of(const job *j, int step)
{
    int64_t tokens[B * T];
    for (int i = 0; i < B * T; i++) tokens[i] = (i * 5 + step * 3 + j->number + i * i) % VOCAB;
    return pal_from(j->tape, PAL_I64, PAL_SHAPE(B, T), tokens);
}

static void step(job *j, int number)
{
    pal_tape_reset(j->tape);
    pal_tensor x = tokens_of(j, number), y = tokens_of(j, number + 1);
    pal_tensor loss = pal_lm_loss(j->lm, x, y, (pal_run_opts){0});
    j->loss = pal_item(loss);
    pal_backward(loss);
    pal_clip_grad_norm(j->params, 1);
    pal_optim_step(j->optim, 1e-3);
    pal_params_zero_grad(j->params);
}

static void end(job *j)
{
    pal_optim_free(j->optim);
    pal_tape_free(j->tape);
    pal_params_free(j->params);
}

/* The bits of all parameters or gradients, as one number. */
static uint32_t bits_of(const job *j, bool gradients)
{
    uint32_t crc = 0;
    for (int b = 0; b < pal_params_blocks(j->params); b++) {
        const pal_param_block block = pal_params_block(j->params, b);
        crc = pal_crc32c(crc, gradients ? block.grad : block.value,
                         (size_t)block.count * sizeof(float));
    }
    return crc;
}

static uint32_t train(int number)
{
    job j = begin(number);
    for (int i = 0; i < STEPS; i++) step(&j, i);
    const uint32_t crc = bits_of(&j, false);
    end(&j);
    return crc;
}

static uint32_t wanted[MODELS];

static void setup(void)
{
    pal_team_from(1 << 12);
    pal_set_threads(TEAM);
    for (int i = 0; i < MODELS; i++) wanted[i] = train(i);
}

static void *train_in_thread(void *number)
{
    static uint32_t crc[2 * MODELS];
    const int i = *(const int *)number;
    crc[i] = train(i % MODELS);
    return &crc[i];
}

START_TEST(a_tape_for_each_thread)
{
    pthread_t thread[2 * MODELS];
    int number[2 * MODELS];
    for (int i = 0; i < 2 * MODELS; i++) {
        number[i] = i;
        ck_assert_int_eq(pthread_create(&thread[i], NULL, train_in_thread, &number[i]), 0);
    }
    for (int i = 0; i < 2 * MODELS; i++) {
        void *crc;
        pthread_join(thread[i], &crc);
        ck_assert_uint_eq(*(uint32_t *)crc, wanted[i % MODELS]);
    }
}
END_TEST

START_TEST(inside_a_parallel_region)
{
    uint32_t crc[2 * MODELS];
    int most = 0;
#pragma omp parallel for num_threads(4) schedule(dynamic) reduction(max : most)
    for (int i = 0; i < 2 * MODELS; i++) {
        crc[i] = train(i % MODELS);
        most = pal_team(INT64_C(1) << 40);
    }
    for (int i = 0; i < 2 * MODELS; i++) ck_assert_uint_eq(crc[i], wanted[i % MODELS]);
    ck_assert_int_eq(most, 1); /* no team in a team */
}
END_TEST

START_TEST(two_tapes_in_turn)
{
    job j[MODELS];
    for (int i = 0; i < MODELS; i++) j[i] = begin(i);
    for (int s = 0; s < STEPS; s++)
        for (int i = 0; i < MODELS; i++) step(&j[i], s);
    for (int i = 0; i < MODELS; i++) {
        ck_assert_uint_eq(bits_of(&j[i], false), wanted[i]);
        end(&j[i]);
    }
}
END_TEST

/* ---- Shared parameters ---- */

static void *infer(void *shared)
{
    job j = *(const job *)shared;
    uint32_t *crc = malloc(sizeof *crc);
    j.tape = pal_tape_new();
    pal_set_grad(j.tape, false);
    pal_tensor logits = pal_lm_logits(j.lm, tokens_of(&j, 1), (pal_run_opts){0});
    *crc = pal_crc32c(0, pal_f32(logits), sizeof(float) * B * T * VOCAB);
    pal_tape_free(j.tape);
    return crc;
}

START_TEST(inference_with_shared_parameters)
{
    enum { THREADS = 4 };
    pthread_t thread[THREADS];
    for (int i = 0; i < MODELS; i++) {
        job j = begin(i);
        uint32_t *alone = infer(&j);
        for (int t = 0; t < THREADS; t++) pthread_create(&thread[t], NULL, infer, &j);
        for (int t = 0; t < THREADS; t++) {
            void *crc;
            pthread_join(thread[t], &crc);
            ck_assert_uint_eq(*(uint32_t *)crc, *alone);
            free(crc);
        }
        free(alone);
        end(&j);
    }
}
END_TEST

/* ---- Errors and files ---- */

static atomic_int heard, over;

static void hear(const pal_error *error, void *user)
{
    (void)error;
    if (user == &heard) atomic_fetch_add(&heard, 1);
}

/* The heads of the description do not divide its width: pal_lm_open says so to its caller. */
static void *open_bad_model(void *path)
{
    static int failures;
    failures = 0;
    do {
        pal_error error = {0};
        pal_lm_file file;
        if (pal_lm_open(&file, path, (pal_lm_open_opts){0}, &error) == PAL_OK) return NULL;
        if (strstr(error.message, "its configuration")) failures++;
    } while (!atomic_load(&over));
    return &failures;
}

START_TEST(errors_of_a_thread)
{
    char path[] = "/tmp/palimpsest-threads-XXXXXX";
    close(mkstemp(path));
    job j = begin(0);
    pal_error error;
    const pal_checkpoint c = {
        .params = j.params,
        .step = 1,
        .config = "vocab = 19\nwidth = 32\nlayers = 1\nmixers = attn:num_heads=5\n"};
    ck_assert_int_eq(pal_checkpoint_save(&c, path, &error), PAL_OK);
    pal_set_error_handler(hear, &heard);
    pthread_t opener;
    pthread_create(&opener, NULL, open_bad_model, path);
    int own = 0;
    for (int i = 0; i < 300; i++) {
        pal_set_error_handler(hear, &heard);
        pal_tape_reset(j.tape);
        pal_tensor x = pal_full(j.tape, PAL_F32, PAL_SHAPE(2), 1);
        pal_add(x, pal_full(j.tape, PAL_F32, PAL_SHAPE(3), 1));
        own++;
    }
    atomic_store(&over, 1);
    void *failures;
    pthread_join(opener, &failures);
    pal_set_error_handler(NULL, NULL);
    ck_assert_ptr_nonnull(failures);
    ck_assert_int_gt(*(int *)failures, 0);
    ck_assert_int_eq(atomic_load(&heard), own); /* none of the other thread's */
    end(&j);
    unlink(path);
}
END_TEST

static void *save_and_load(void *number)
{
    char path[64];
    pal_error error;
    job j = begin(*(int *)number);
    snprintf(path, sizeof path, "/tmp/palimpsest-threads-%d-%d", (int)getpid(), j.number);
    const uint32_t before = bits_of(&j, false);
    bool good = true;
    for (int i = 0; i < 5 && good; i++) {
        pal_checkpoint c = {.params = j.params, .optim = j.optim, .step = 1};
        good = pal_checkpoint_save(&c, path, &error) == PAL_OK &&
               pal_checkpoint_load(&c, path, &error) == PAL_OK && bits_of(&j, false) == before;
    }
    unlink(path);
    end(&j);
    return good ? number : NULL;
}

START_TEST(files_in_several_threads)
{
    pthread_t thread[MODELS];
    int number[MODELS];
    for (int i = 0; i < MODELS; i++) {
        number[i] = i;
        pthread_create(&thread[i], NULL, save_and_load, &number[i]);
    }
    for (int i = 0; i < MODELS; i++) {
        void *good;
        pthread_join(thread[i], &good);
        ck_assert_ptr_nonnull(good);
    }
}
END_TEST

/* ---- After fork ---- */

/* The parent has had a team, which the child does not have. */
START_TEST(a_child_trains)
{
    int status;
    ck_assert_int_eq(pal_team(INT64_C(1) << 40), TEAM);
    const pid_t child = fork();
    if (child == 0) {
        alarm(120);
        _exit(pal_team(INT64_C(1) << 40) == 1 && train(0) == wanted[0] ? 0 : 1);
    }
    waitpid(child, &status, 0);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_uint_eq(train(0), wanted[0]); /* the parent goes on with its team */
}
END_TEST

static pal_tensor loss_of(job *j)
{
    pal_tape_reset(j->tape);
    pal_params_zero_grad(j->params);
    return pal_lm_loss(j->lm, tokens_of(j, 0), tokens_of(j, 1), (pal_run_opts){0});
}

/* The parent has recorded the tape, and chose a team for its operations. */
START_TEST(a_child_goes_backward)
{
    int status;
    for (int i = 0; i < MODELS; i++) {
        job j = begin(i);
        pal_backward(loss_of(&j));
        const uint32_t parent = bits_of(&j, true);
        pal_tensor loss = loss_of(&j);
        const pid_t child = fork();
        if (child == 0) {
            alarm(120);
            pal_backward(loss);
            _exit(pal_tape_status(j.tape) == PAL_OK && bits_of(&j, true) == parent ? 0 : 1);
        }
        waitpid(child, &status, 0);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        end(&j);
    }
}
END_TEST

/* ---- The team of a call ---- */

/* Other programs come and go at any time, and with them the team that work gets. */
static const int64_t ALWAYS = 1, NEVER = INT64_MAX;
static int64_t later; /* from how much work on there is a team once infer has asked */
static int asked, calls;

static pal_status asking_infer(pal_call *call)
{
    asked = pal_call_team(call, 1 << 20);
    pal_team_from(later);
    pal_status status = pal_call_out(call, 0, PAL_F32, pal_array_shape(call->in[0]));
    return status == PAL_OK ? pal_call_scratch(call, 64 * (size_t)asked, 64 * (size_t)asked)
                            : status;
}

static void asking_forward(const pal_call *call)
{
    ck_assert_int_eq(call->team, asked);
    pal_array_fill(call->out[0], 0);
    calls++;
}

static void asking_backward(const pal_call *call)
{
    ck_assert_int_eq(call->team, asked);
    calls++;
}

static const pal_op asking = {.name = "asking",
                              .infer = asking_infer,
                              .forward = asking_forward,
                              .backward = asking_backward};

START_TEST(a_call_keeps_its_team)
{
    for (int grows = 0; grows < 2; grows++) {
        pal_tape *tape = pal_tape_new();
        pal_tensor x = pal_full(tape, PAL_F32, PAL_SHAPE(4), 1), y;
        pal_want_grad(x);
        later = grows ? ALWAYS : NEVER;
        pal_team_from(grows ? NEVER : ALWAYS);
        pal_apply(&asking, NULL, 0, 1, &x, 1, &y);
        ck_assert_int_eq(asked, grows ? 1 : TEAM);
        pal_backward(pal_sum(y, 0, false));
        ck_assert_int_eq(pal_tape_status(tape), PAL_OK);
        pal_tape_free(tape);
    }
    ck_assert_int_eq(calls, 4);
}
END_TEST

static void *change_teams(void *end)
{
    for (int i = 0; !atomic_load((atomic_int *)end); i++) pal_team_from(i % 2 ? ALWAYS : NEVER);
    return NULL;
}

START_TEST(teams_change_at_any_time)
{
    atomic_int end = 0;
    pthread_t changes;
    pthread_create(&changes, NULL, change_teams, &end);
    for (int i = 0; i < 4 * MODELS; i++) ck_assert_uint_eq(train(i % MODELS), wanted[i % MODELS]);
    atomic_store(&end, 1);
    pthread_join(changes, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads");
    TCase *tc = tcase_create("threads");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, a_tape_for_each_thread);
    if (TEAM > 1) tcase_add_test(tc, inside_a_parallel_region);
    tcase_add_test(tc, two_tapes_in_turn);
    tcase_add_test(tc, inference_with_shared_parameters);
    tcase_add_test(tc, errors_of_a_thread);
    tcase_add_test(tc, files_in_several_threads);
    tcase_add_test(tc, a_child_trains);
    tcase_add_test(tc, a_child_goes_backward);
    tcase_add_test(tc, a_call_keeps_its_team);
    tcase_add_test(tc, teams_change_at_any_time);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
