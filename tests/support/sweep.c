/*
 * sweep.c - every allocation fails in turn: reported each time, nothing leaks, gradients stay
 * whole.
 */
#include "tests/support/sweep.h"
#include "tests/support/check.h"
#include "tests/support/inputs.h"

#include <stdlib.h>
#include <string.h>

/* Counts what is alive, and refuses the fail_at-th request, or all from there on. */
typedef struct memory {
    int64_t live;
    int64_t requests, fail_at; /* 0: never */
    bool from_there_on, failed;
} memory;

void *pal_dirty_allocate(void *block, size_t old_size, size_t size, void *user)
{
    (void)old_size, (void)user;
    if (size == 0) {
        free(block);
        return NULL;
    }
    size_t bytes = (size + 63) / 64 * 64;
    void *p = aligned_alloc(64, bytes);
    return p ? memset(p, 0xff, bytes) : NULL; /* NaN, -1 */
}

static void *allocate(void *block, size_t old_size, size_t size, void *user)
{
    memory *m = user;
    if (size == 0) {
        m->live -= (int64_t)old_size;
    } else {
        m->requests++;
        bool now = m->from_there_on ? m->requests >= m->fail_at : m->requests == m->fail_at;
        if (m->fail_at && now) {
            m->failed = true;
            return NULL;
        }
        m->live += (int64_t)size;
    }
    return pal_dirty_allocate(block, old_size, size, NULL);
}

typedef struct heard {
    int count;
    pal_error first;
} heard;

static void hear(const pal_error *e, void *user)
{
    heard *h = user;
    if (h->count++ == 0) h->first = *e;
}

static const double MARK = 7; /* what every gradient is before a pass */

static void mark_gradients(pal_params *params)
{
    for (int b = 0; b < pal_params_blocks(params); b++) {
        pal_param_block block = pal_params_block(params, b);
        pal_array g = pal_array_of(block.dtype, PAL_SHAPE(block.count), block.grad);
        pal_array_fill(&g, MARK);
    }
}

static bool gradients_marked(pal_params *params)
{
    for (int b = 0; b < pal_params_blocks(params); b++) {
        pal_param_block block = pal_params_block(params, b);
        pal_array g = pal_array_of(block.dtype, PAL_SHAPE(block.count), block.grad);
        for (int64_t i = 0; i < block.count; i++)
            if (pal_array_get(&g, &i) != MARK) return false;
    }
    return true;
}

/* One build and backward pass on a new tape; false if it failed. */
static bool attempt(const pal_variant *v, const pal_array *x, const pal_tensor *parameter,
                    pal_sweep_backward *backward)
{
    pal_tape *tape = pal_tape_new();
    if (!tape) return false;
    pal_tensor in[PAL_CASE_INPUTS] = {{0}}, out[PAL_CASE_OUTPUTS] = {{0}};
    for (int i = 0; i < v->nin; i++)
        in[i] = pal_is_none(parameter[i]) ? pal_input_leaf(tape, &x[i], PAL_F32, false, false)
                                          : pal_on(tape, parameter[i]);
    v->build(v, in, out);
    pal_status status = backward ? backward(tape, v, 1, out) : PAL_OK;
    bool good = status == PAL_OK && pal_tape_status(tape) == PAL_OK;
    pal_tape_free(tape);
    return good;
}

/* A single refusal may be made good by a smaller request; a lasting one must be reported. */
static void check_outcome(const pal_case *c, const pal_variant *v, const memory *m, const heard *h,
                          int64_t k, bool good)
{
    const char *said = h->count ? h->first.message : "silence";
    if (good) {
        ck_assert_msg(!h->count && !(m->failed && m->from_there_on),
                      "%s, %s: allocation %lld failed and yet all went well (%s)", c->name, v->name,
                      (long long)k, said);
    } else {
        ck_assert_msg(m->failed && h->count && h->first.status == PAL_ENOMEM,
                      "%s, %s: allocation %lld %s, and was not reported as out of memory (%s)",
                      c->name, v->name, (long long)k, m->failed ? "failed" : "did not fail", said);
    }
}

static void sweep(const pal_case *c, const pal_variant *v, const pal_array *x,
                  pal_sweep_backward *backward, memory *m, heard *h, pal_params *params)
{
    pal_tensor parameter[PAL_CASE_INPUTS] = {{0}};
    char name[16];
    for (int i = 0; i < v->nin; i++) {
        if (!backward || !pal_input_wants_grad(v, i)) continue;
        snprintf(name, sizeof name, "x%d", i);
        parameter[i] = pal_param(params, name, PAL_F32, pal_array_shape(&x[i]));
        pal_assign(parameter[i], &x[i]);
    }
    mark_gradients(params);
    int64_t before = m->live;
    for (int64_t k = 1;; k++) {
        bool last = true;
        for (int mode = 0; mode < 2; mode++) {
            *m = (memory){.live = m->live, .fail_at = k, .from_there_on = mode == 1};
            h->count = 0;
            bool good = attempt(v, x, parameter, backward);
            m->fail_at = 0;
            ck_assert_msg(m->live == before, "%s, %s: %lld bytes leak when allocation %lld fails",
                          c->name, v->name, (long long)(m->live - before), (long long)k);
            check_outcome(c, v, m, h, k, good);
            ck_assert_msg(good || gradients_marked(params),
                          "%s, %s: a gradient changed though allocation %lld failed", c->name,
                          v->name, (long long)k);
            if (good) mark_gradients(params);
            last = last && !m->failed;
        }
        if (!last) continue;
        ck_assert_msg(k > 1, "%s, %s: there was no allocation to fail", c->name, v->name);
        return;
    }
}

void pal_case_sweep(const pal_case *c, const pal_variant *v, const pal_array *x,
                    pal_sweep_backward *backward)
{
    memory m = {0};
    heard h = {0};
    pal_set_allocator(allocate, &m);
    pal_set_error_handler(hear, &h);
    pal_params *params = pal_params_new();
    ck_assert(params != NULL);
    sweep(c, v, x, backward, &m, &h, params);
    pal_params_free(params);
    ck_assert_msg(m.live == 0, "%s, %s: %lld bytes leak with the parameters", c->name, v->name,
                  (long long)m.live);
    pal_set_allocator(NULL, NULL);
    pal_set_error_handler(NULL, NULL);
}
