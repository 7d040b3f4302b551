/*
 * part_sums.c - sums over the ranks before a part.
 *
 * Rank r has a number v_r and says whether its part stops: then nothing of before counts behind
 * it. Two neighbouring parts are one, and so are their sums:
 *
 *     (v2, stop2) o (v1, stop1) = (v2 + v1 or, if stop2, v2; stop2 or stop1)
 *
 * Backward is the same from the last rank to the first. The gradient of v_r is the sum of what
 * later ranks made of it: those up to the next one that stops, whose sum still has v_r.
 */
#include "layers/parts.h"

#include <string.h>

typedef struct sums_opts {
    const pal_comm *comm;
    bool continued;
    bool stops[PAL_PART_SUMS];
} sums_opts;

/* A message: for each sum 1 if it stops, else 0; then its numbers. */
static int64_t numbers(const pal_call *call)
{
    int64_t n = call->nin;
    for (int i = 0; i < call->nin; i++) n += pal_array_count(call->in[i]);
    return n;
}

static void compose(const void *user, void *second, void *first, void *out)
{
    const pal_call *call = user;
    const double *near = second, *far = first;
    double *to = out;
    int64_t at = call->nin;
    for (int i = 0; i < call->nin; i++) {
        const bool stops = near[i] != 0;
        const int64_t end = at + pal_array_count(call->in[i]);
        to[i] = stops || far[i] != 0;
        for (; at < end; at++) to[at] = stops ? near[at] : near[at] + far[at];
    }
}

static pal_status infer(pal_call *call)
{
    const size_t bytes = (size_t)numbers(call) * sizeof(double);
    pal_carver c = {NULL, 0};
    pal_status status = PAL_OK;
    for (int i = 0; i < 4; i++) pal_carve(&c, bytes);
    for (int i = 0; i < call->nin && status == PAL_OK; i++)
        status = pal_call_out(call, i, call->in[i]->dtype, pal_array_shape(call->in[i]));
    return status == PAL_OK ? pal_call_scratch(call, c.used, c.used) : status;
}

static void copy(const pal_array *to, const pal_array *from)
{
    pal_status same_shape = pal_array_copy(to, from, NULL);
    (void)same_shape; /* cannot fail */
}

/* An array of doubles in a message, with the shape of x. */
static pal_array doubles(const pal_array *x, double *at)
{
    return pal_array_of(PAL_F64, pal_array_shape(x), at);
}

/* The messages of this rank, with the numbers of `from` (NULL: 0). */
static pal_composition messages(const pal_call *call, const pal_array *const *from, bool stop)
{
    const sums_opts *o = call->opts;
    const size_t bytes = (size_t)numbers(call) * sizeof(double);
    pal_carver c = {call->scratch, 0};
    pal_composition x = {.compose = compose, .user = call, .bytes = bytes};
    double *own = x.own = pal_carve(&c, bytes), *at = own + call->nin;
    for (int i = 0; i < 3; i++) x.spare[i] = pal_carve(&c, bytes);
    memset(own, 0, bytes);
    for (int i = 0; i < call->nin; i++) {
        own[i] = stop || o->stops[i];
        const pal_array to = doubles(call->in[i], at);
        at += pal_array_count(call->in[i]);
        if (from && from[i]) copy(&to, from[i]);
    }
    return x;
}

static void forward(const pal_call *call)
{
    const sums_opts *o = call->opts;
    const pal_composition x = messages(call, call->in, false);
    double *before = pal_part_compose(o->comm, false, &x);
    double *at = before ? before + call->nin : NULL;
    for (int i = 0; i < call->nin; i++) {
        if (!o->continued || !at) {
            pal_array_fill(call->out[i], 0);
            continue;
        }
        const pal_array from = doubles(call->out[i], at);
        at += pal_array_count(call->out[i]);
        copy(call->out[i], &from);
    }
}

/* What this rank made of the sums, which is nothing unless a sequence continues here. */
static void backward(const pal_call *call)
{
    const sums_opts *o = call->opts;
    const pal_composition x = messages(call, o->continued ? call->dout : NULL, !o->continued);
    double *behind = pal_part_compose(o->comm, true, &x);
    double *at = behind ? behind + call->nin : NULL;
    for (int i = 0; i < call->nin && at; i++) {
        const pal_array d = doubles(call->in[i], at);
        at += pal_array_count(call->in[i]);
        if (!call->din[i]) continue;
        /* Sums are in double, and gradients in the dtype of the input. */
        pal_array rounded = pal_array_of(call->in[i]->dtype, pal_array_shape(&d), x.own);
        copy(&rounded, &d);
        pal_array_add(call->din[i], &rounded);
    }
}

static const pal_op sums_op = {.name = "part_sums",
                               .args = "own",
                               .infer = infer,
                               .forward = forward,
                               .backward = backward,
                               .unread_in = (1u << PAL_PART_SUMS) - 1,
                               .unread_out = (1u << PAL_PART_SUMS) - 1};

void pal_part_sums(const pal_part *s, int n, const pal_tensor *own, const bool *stops,
                   pal_tensor *before)
{
    sums_opts o = {.comm = s->comm, .continued = s->continued};
    memcpy(o.stops, stops, (size_t)n * sizeof *stops);
    pal_apply(&sums_op, &o, sizeof o, n, own, n, before);
}
