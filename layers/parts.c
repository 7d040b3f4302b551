/*
 * parts.c - brings the tokens that come before a part from the ranks that have them, and composes
 * messages over ranks.
 *
 * First the ranks tell each other how many tokens they have, so every rank knows which rank wants
 * what. Then the tokens go directly from the rank that has them, one distance between ranks after
 * the other.
 */
#include "layers/parts.h"

#include <string.h>

pal_part pal_part_of(const pal_comm *parts, bool continued, int64_t sequences)
{
    pal_part s = {.comm = parts && parts->size > 1 ? parts : NULL};
    if (!s.comm || s.comm->rank == 0) return s;
    s.continued = sequences == 0 || continued;
    s.through = s.continued && sequences <= 1;
    return s;
}

/* Each round doubles the number of offers that a rank has: first its own, then those of the ranks
 * after it. */
const pal_offer *pal_part_offers(pal_frame *f, const pal_part *s, int64_t tokens)
{
    const pal_comm *c = s->comm;
    const int P = c->size;
    pal_arena *heads = &pal_tape_level(f->tape)->heads;
    pal_offer *offers = pal_arena_zeroed(heads, 2 * (size_t)P * sizeof *offers), *turned;
    if (!offers) {
        pal_frame_fail(f, PAL_ENOMEM, "out of memory for %d processes", P);
        return NULL;
    }
    turned = offers + P; /* entry i is of rank + i */
    turned[0].tokens = tokens, turned[0].continued = s->continued, turned[0].through = s->through;
    for (int d = 1; d < P; d *= 2) {
        const size_t bytes = (size_t)(d < P - d ? d : P - d) * sizeof *turned;
        c->exchange(c, (c->rank - d + P) % P, turned, bytes, (c->rank + d) % P, turned + d, bytes);
    }
    for (int i = 0; i < P; i++) offers[(c->rank + i) % P] = turned[i];
    return offers;
}

/* How many tokens of rank `from` are among the last n before the part of `rank`. */
static int64_t taken_from(const pal_offer *offers, int rank, int from, int64_t n)
{
    if (from >= rank || !offers[rank].continued) return 0;
    for (int r = rank - 1;; r--) {
        const int64_t taken = offers[r].tokens < n ? offers[r].tokens : n;
        if (r == from) return taken;
        if (!offers[r].through) return 0;
        n -= taken;
    }
}

int64_t pal_part_before(const pal_offer *offers, int rank, int64_t n)
{
    int64_t sum = 0;
    for (int r = rank - 1; r >= 0; r--) sum += taken_from(offers, rank, r, n);
    return sum;
}

/* ---- What is composed over ranks ---- */

/* Recursive doubling. Before the round of distance d, `before` is the composition of the d - 1
 * nearest ranks. */
void *pal_part_compose(const pal_comm *c, bool back, const pal_composition *x)
{
    const int rank = back ? c->size - 1 - c->rank : c->rank;
    void *before = x->spare[0], *room = x->spare[1], *received = x->spare[2];
    bool any = false;
    for (int d = 1; d < c->size; d *= 2) {
        const int to = rank + d, from = rank - d;
        const bool sends = to < c->size, receives = from >= 0;
        if (sends && any) x->compose(x->user, x->own, before, room);
        c->exchange(c,
                    !sends ? -1
                    : back ? c->size - 1 - to
                           : to,
                    any ? room : x->own, x->bytes,
                    !receives ? -1
                    : back    ? c->size - 1 - from
                              : from,
                    received, x->bytes);
        if (!receives) continue;
        void *now = received;
        if (any) {
            x->compose(x->user, before, received, room);
            now = room, room = before;
        } else {
            received = before;
        }
        before = now, any = true;
    }
    return any ? before : NULL;
}

/* ---- The operation ---- */

typedef struct before_opts {
    const pal_comm *comm;
    const pal_offer *offers;
    int64_t n;
} before_opts;

/* What rank `to` takes of rank `from`; 0 if there is no such rank. */
static int64_t taken(const before_opts *o, int to, int from)
{
    if (from < 0 || to >= o->comm->size) return 0;
    return taken_from(o->offers, to, from, o->n);
}

/* Tokens of the largest block that this rank sends or receives. */
static int64_t largest(const before_opts *o)
{
    const int rank = o->comm->rank;
    int64_t most = 0;
    for (int d = 1; d < o->comm->size; d++) {
        const int64_t out = taken(o, rank + d, rank), in = taken(o, rank, rank - d);
        if (out > most) most = out;
        if (in > most) most = in;
    }
    return most;
}

static pal_shape block_shape(const pal_array *x, int64_t tokens)
{
    pal_shape shape = pal_array_shape(x);
    shape.dim[1] = tokens;
    return shape;
}

static pal_array block_at(const pal_array *x, int64_t tokens, void *data)
{
    return pal_array_of(x->dtype, block_shape(x, tokens), data);
}

static size_t block_bytes(const pal_array *x, int64_t tokens)
{
    return pal_shape_bytes(x->dtype, block_shape(x, tokens));
}

/* Tokens first .. first + count - 1 of x. */
static pal_array tokens_of(const pal_array *x, int64_t first, int64_t count)
{
    pal_array part = *x;
    part.shape[1] = count;
    part.data = (char *)x->data + first * x->stride[1] * (int64_t)pal_dtype_size(x->dtype);
    return part;
}

static void copy(const pal_array *to, const pal_array *from)
{
    pal_status same_shape = pal_array_copy(to, from, NULL);
    (void)same_shape; /* cannot fail */
}

static pal_status infer(pal_call *call)
{
    const before_opts *o = call->opts;
    const pal_array *x = call->in[0];
    const int64_t m = pal_part_before(o->offers, o->comm->rank, o->n);
    const size_t block = pal_round_up(block_bytes(x, largest(o)), PAL_ALIGN);
    pal_status status = pal_call_out(call, 0, x->dtype, block_shape(x, m));
    return status == PAL_OK ? pal_call_scratch(call, 2 * block, 2 * block) : status;
}

/*
 * The exchange over one distance. `given` goes to rank `to`. What comes from rank `from` is left in
 * the second block of scratch, as an array of the shape of `wanted`. False if nothing comes.
 */
static bool move(const pal_call *call, int to, const pal_array *given, int from, pal_array *wanted)
{
    const before_opts *o = call->opts;
    const pal_array *x = call->in[0];
    const int64_t out = given->shape[1], in = wanted->shape[1];
    char *send = call->scratch;
    char *receive = send + pal_round_up(block_bytes(x, largest(o)), PAL_ALIGN);
    if (out == 0 && in == 0) return false;
    pal_array block = block_at(x, out, send);
    if (out) copy(&block, given);
    o->comm->exchange(o->comm, out ? to : -1, send, block_bytes(x, out), in ? from : -1, receive,
                      block_bytes(x, in));
    *wanted = block_at(x, in, receive);
    return in > 0;
}

static void forward(const pal_call *call)
{
    const before_opts *o = call->opts;
    const pal_array *x = call->in[0], *y = call->out[0];
    const int rank = o->comm->rank;
    int64_t at = y->shape[1];
    for (int d = 1; d < o->comm->size; d++) {
        const int64_t out = taken(o, rank + d, rank), in = taken(o, rank, rank - d);
        const pal_array given = tokens_of(x, x->shape[1] - out, out);
        at -= in;
        pal_array to = tokens_of(y, at, in), from = to;
        if (move(call, rank + d, &given, rank - d, &from)) copy(&to, &from);
    }
}

/* The same ways back. */
static void backward(const pal_call *call)
{
    const before_opts *o = call->opts;
    const pal_array *dx = call->din[0], *dy = call->dout[0];
    const int rank = o->comm->rank;
    int64_t at = dy->shape[1];
    for (int d = 1; d < o->comm->size; d++) {
        const int64_t in = taken(o, rank + d, rank), out = taken(o, rank, rank - d);
        at -= out;
        const pal_array given = tokens_of(dy, at, out);
        pal_array to = tokens_of(dx, dx->shape[1] - in, in), from = to;
        if (move(call, rank - d, &given, rank + d, &from)) pal_array_add(&to, &from);
    }
}

static const pal_op before_op = {.name = "before",
                                 .args = "x",
                                 .infer = infer,
                                 .forward = forward,
                                 .backward = backward,
                                 .unread_in = 1,
                                 .unread_out = 1};

pal_tensor pal_before(const pal_part *s, const pal_offer *offers, pal_tensor offered, int64_t n)
{
    const before_opts o = {s->comm, offers, n};
    pal_tensor y;
    pal_apply(&before_op, &o, sizeof o, 1, &offered, 1, &y);
    return y;
}
