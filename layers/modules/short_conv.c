/*
 * short_conv.c - causal depthwise convolution over a few tokens, with bias and SiLU, in one pass.
 *
 * A row of channels is made from W rows: those of x, of the tail before the sequence, or zeros.
 * Work is divided into blocks of tokens and channels. Backward makes the gradient of what SiLU was
 * given row by row in a ring of W rows, from the convolution again (nothing is kept), and from the
 * ring the rows of dx; a block does the W-1 rows behind its last once more. Gradients of weight and
 * bias are summed in a block's own row, and the blocks are added in their order, in double.
 *
 * f32, W = 4 with SiLU, one thread of an AMD EPYC (Zen 3), the shortest of 25 calls in a program of
 * its own, in ns an element of x: at [8,256,256] 2.1 forward and 4.3 backward, at [8,256,1024] 2.3
 * and 4.8; as W shifted products 6.0 and 10.2, 6.6 and 13.0. Only SiLU takes 1.6.
 */
#include "autograd/ops/lines.h"
#include "layers/lane.h"
#include "layers/modules/module_ops.h"
#include "layers/parts.h"

#include <omp.h>
#include <string.h>

enum { TOKENS = 128, CHANNELS = 1024 };
enum {
    X = PAL_CONV_X,
    WEIGHT = PAL_CONV_WEIGHT,
    BIAS = PAL_CONV_BIAS,
    TAIL = PAL_CONV_TAIL,
    OFFSETS = PAL_CONV_OFFSETS
};

typedef struct conv {
    const pal_call *call;
    const pal_kernels *k;
    bool silu;
    size_t size;
    int64_t B, T, n, W;
    pal_sequences seq;
    int64_t tokens, steps; /* of a block, and blocks of a batch */
    int64_t parts;         /* blocks of channels */
    char *weight, *bias;   /* [W][n], [n] */
    char *zeros;           /* [CHANNELS] */
    char *own;             /* of each thread: `room` bytes */
    size_t room;
    char *sums;    /* of each block: [W + 1][n], of weight and bias */
    double *total; /* [W + 1][n] */
} conv;

/* ---- Memory ---- */

static bool wants(const pal_call *call, int i) { return call->din && call->din[i]; }

/* Scratch from base, or, with NULL, how much there has to be. */
static size_t lay_out(conv *c, char *base, int team, bool backward)
{
    pal_carver m = {base, 0};
    const int64_t rows = backward ? c->W * CHANNELS : 0;
    c->weight = pal_carve(&m, (size_t)(c->W * c->n) * c->size);
    c->bias = pal_carve(&m, (size_t)c->n * c->size);
    c->zeros = pal_carve(&m, CHANNELS * c->size);
    c->room = pal_round_up((size_t)(2 * c->W) * sizeof(void *), PAL_ALIGN) +
              pal_round_up((size_t)rows * c->size, PAL_ALIGN);
    c->own = pal_carve(&m, (size_t)team * c->room);
    if (!backward) return m.used;
    c->sums = pal_carve(&m, (size_t)(c->B * c->steps * (c->W + 1) * c->n) * c->size);
    c->total = pal_carve(&m, (size_t)((c->W + 1) * c->n) * sizeof(double));
    return m.used;
}

static conv describe(const pal_call *call)
{
    const pal_array *x = call->in[X];
    conv c = {.call = call,
              .k = pal_kernels_for(x->dtype),
              .silu = *(const bool *)call->opts,
              .size = pal_dtype_size(x->dtype),
              .B = x->shape[0],
              .T = x->shape[1],
              .n = x->shape[2],
              .W = call->in[WEIGHT]->shape[2],
              .seq = pal_sequences_of(call->in[OFFSETS], x->shape[0], x->shape[1])};
    c.tokens = 4 * c.W < TOKENS ? TOKENS : 4 * c.W;
    c.steps = c.T > 0 ? (c.T + c.tokens - 1) / c.tokens : 1;
    c.parts = (c.n + CHANNELS - 1) / CHANNELS;
    return c;
}

static pal_status infer(pal_call *call)
{
    const pal_array *x = call->in[X];
    conv c = describe(call);
    pal_status status = pal_call_out(call, 0, x->dtype, pal_array_shape(x));
    if (status == PAL_OK && call->nout > 1)
        status = pal_call_out(call, 1, x->dtype, PAL_SHAPE(c.seq.count, c.W - 1, c.n));
    if (status != PAL_OK) return status;
    const int64_t work = 4 * c.B * c.T * c.n + 1;
    const int team = pal_call_team(call, work);
    const size_t before = lay_out(&c, NULL, team, false);
    return pal_call_scratch(call, before, lay_out(&c, NULL, team, true));
}

/* The same numbers as rows of taps, and the bias as a run. */
static void read_weights(conv *c)
{
    const pal_array *w = c->call->in[WEIGHT], *bias = c->call->in[BIAS];
    pal_array taps = pal_array_of(w->dtype, PAL_SHAPE(c->W, c->n), c->weight), from = taps;
    from.data = w->data;
    from.stride[0] = w->stride[2], from.stride[1] = w->stride[0];
    pal_status fits = pal_array_copy(&taps, &from, NULL);
    pal_array run = pal_array_of(w->dtype, PAL_SHAPE(c->n), c->bias);
    if (bias)
        fits = pal_array_copy(&run, bias, NULL);
    else
        c->bias = NULL;
    (void)fits; /* infer has seen the shapes */
    memset(c->zeros, 0, CHANNELS * c->size);
}

/* ---- Where rows are ---- */

/* The sequence that a token belongs to: its number, first token and end. */
typedef struct place {
    int64_t number, start, end;
} place;

static place sequence(const conv *c, int64_t number)
{
    const int64_t first = pal_sequence_first(&c->seq, number);
    return (place){number, first, first + pal_sequence_length(&c->seq, number)};
}

/* Moves to the sequence of token t. A place of zeros is before the first sequence. */
static void move_to(const conv *c, int64_t b, int64_t t, place *p)
{
    int64_t number = c->seq.offsets ? p->number : b;
    while (c->seq.offsets && c->seq.offsets[number + 1] <= t) number++;
    *p = sequence(c, number);
}

/* Channels from `from` on of row (i, j) of an array whose channels are next to each other. */
static char *at(const conv *c, const pal_array *a, int64_t i, int64_t j, int64_t from)
{
    return (char *)a->data + (size_t)(i * a->stride[0] + j * a->stride[1] + from) * c->size;
}

/* Input t of a sequence, which may lie before its start. */
static const char *input(const conv *c, int64_t b, const place *p, int64_t t, int64_t from)
{
    if (t >= p->start) return at(c, c->call->in[X], b, t, from);
    const pal_array *tail = c->call->in[TAIL];
    return tail ? at(c, tail, p->number, c->W - 1 + t - p->start, from) : c->zeros;
}

/* The rows that token t is made from. */
static void find_taps(const conv *c, int64_t b, const place *p, int64_t t, int64_t from,
                      const void **taps)
{
    for (int64_t j = 0; j < c->W; j++) taps[j] = input(c, b, p, t - c->W + 1 + j, from);
}

/* One block: tokens first .. last of batch b, and count channels. */
typedef struct block {
    int64_t b, number, first, last, from, count;
    const void **taps, **ring; /* W pointers each */
    char *rows;                /* of the ring */
} block;

static block block_of(const conv *c, int64_t i)
{
    int64_t part = i % c->parts, step = i / c->parts % c->steps;
    block k = {.b = i / c->parts / c->steps,
               .number = i / c->parts,
               .first = step * c->tokens,
               .from = part * CHANNELS};
    k.last = k.first + c->tokens < c->T ? k.first + c->tokens : c->T;
    k.count = c->n - k.from < CHANNELS ? c->n - k.from : CHANNELS;
    char *own = c->own + (size_t)omp_get_thread_num() * c->room;
    k.taps = (const void **)(void *)own;
    k.ring = k.taps + c->W;
    k.rows = own + pal_round_up((size_t)(2 * c->W) * sizeof(void *), PAL_ALIGN);
    return k;
}

static const char *weight_at(const conv *c, const block *k)
{
    return c->weight + (size_t)k->from * c->size;
}

static const char *bias_at(const conv *c, const block *k)
{
    return c->bias ? c->bias + (size_t)k->from * c->size : NULL;
}

/* ---- Forward ---- */

static void forward_block(const conv *c, const block *k)
{
    place p = {0};
    for (int64_t t = k->first; t < k->last; t++) {
        move_to(c, k->b, t, &p);
        find_taps(c, k->b, &p, t, k->from, k->taps);
        c->k->conv_row(k->count, c->W, k->taps, weight_at(c, k), c->n, bias_at(c, k), c->silu,
                       false, at(c, c->call->out[0], k->b, t, k->from));
    }
}

/* The last W - 1 inputs of each sequence; where it is shorter, the end of the tail before it. */
static void write_tails(const conv *c)
{
    for (int64_t s = 0; s < c->seq.count; s++) {
        const place p = sequence(c, s);
        for (int64_t j = 0; j < (c->W - 1) * c->parts; j++) {
            int64_t row = j / c->parts, from = j % c->parts * CHANNELS;
            int64_t count = c->n - from < CHANNELS ? c->n - from : CHANNELS;
            /* The tail may be the one that was given (layers/kernel.h): a row comes from itself, or
             * from a later one. */
            memmove(at(c, c->call->out[1], s, row, from),
                    input(c, pal_sequence_batch(&c->seq, s), &p, p.end - c->W + 1 + row, from),
                    (size_t)count * c->size);
        }
    }
}

static void forward(const pal_call *call)
{
    conv c = describe(call);
    lay_out(&c, call->scratch, call->team, false);
    read_weights(&c);
    const int64_t blocks = c.B * c.steps * c.parts;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < blocks; i++) {
        block k = block_of(&c, i);
        forward_block(&c, &k);
    }
    if (call->nout > 1) write_tails(&c);
}

/* ---- Backward ---- */

/* The gradient of the convolution at token t, before SiLU: a row of the ring, or dy itself. */
static const void *make_gradient(const conv *c, const block *k, const place *p, int64_t t)
{
    const pal_array *dy = c->call->dout[0];
    if (!dy) return c->zeros;
    const char *g = at(c, dy, k->b, t, k->from);
    if (!c->silu) return g;
    void *row = k->rows + (size_t)(t % c->W * CHANNELS) * c->size;
    find_taps(c, k->b, p, t, k->from, k->taps);
    c->k->conv_row(k->count, c->W, k->taps, weight_at(c, k), c->n, bias_at(c, k), false, false,
                   row);
    c->k->d_silu(k->count, row, g, row);
    return row;
}

/*
 * The gradient of input s of a sequence: tap j went to token s + W - 1 - j, and what is beyond the
 * sequence counts 0. The last W - 1 inputs also went to the tail after it.
 */
static void give_input(const conv *c, const block *k, const place *p, int64_t s,
                       const void *const *gradient, bool add, void *to)
{
    for (int64_t j = 0; j < c->W; j++) {
        int64_t t = s + c->W - 1 - j;
        k->taps[j] = t >= p->start && t < p->end ? gradient[t % c->W] : c->zeros;
    }
    c->k->conv_row(k->count, c->W, k->taps, weight_at(c, k), c->n, NULL, false, add, to);
    const pal_array *dtail = c->call->nout > 1 ? c->call->dout[1] : NULL;
    int64_t row = s - (p->end - c->W + 1);
    if (dtail && row >= 0) c->k->accumulate(k->count, at(c, dtail, p->number, row, k->from), to);
}

static void give_weights(const conv *c, const block *k, const place *p, int64_t t, const void *g)
{
    const int64_t rows = k->number * (c->W + 1);
    char *dweight = c->sums + (size_t)(rows * c->n + k->from) * c->size;
    char *dbias = dweight + (size_t)(c->W * c->n) * c->size;
    find_taps(c, k->b, p, t, k->from, k->taps);
    c->k->d_conv_row(k->count, c->W, k->taps, g, c->n, wants(c->call, WEIGHT) ? dweight : NULL,
                     dbias);
}

static void backward_block(const conv *c, const block *k)
{
    const bool weights = wants(c->call, WEIGHT) || wants(c->call, BIAS), x = wants(c->call, X);
    const bool add = !pal_call_fresh(c->call, X);
    const int64_t end = x ? k->last + c->W - 1 : k->last;
    place of_t = {0}, of_s = {0};
    for (int64_t j = 0; j <= c->W && weights; j++)
        memset(c->sums + (size_t)((k->number * (c->W + 1) + j) * c->n + k->from) * c->size, 0,
               (size_t)k->count * c->size);
    for (int64_t t = k->first; t < end; t++) {
        if (t < c->T) {
            move_to(c, k->b, t, &of_t);
            const void *g = k->ring[t % c->W] = make_gradient(c, k, &of_t, t);
            if (weights && t < k->last) give_weights(c, k, &of_t, t, g);
        }
        const int64_t s = t - c->W + 1;
        if (!x || s < k->first) continue;
        move_to(c, k->b, s, &of_s);
        give_input(c, k, &of_s, s, k->ring, add, at(c, c->call->din[X], k->b, s, k->from));
    }
}

/* The gradient of the tail before a sequence, which its first W - 1 tokens have read. */
static void give_tail(const conv *c, const block *k, const place *p)
{
    for (int64_t i = 0; i < c->W - 1; i++) {
        const int64_t t = p->start + i;
        if (t < p->end) k->ring[t % c->W] = make_gradient(c, k, p, t);
        give_input(c, k, p, t - c->W + 1, k->ring, true,
                   at(c, c->call->din[TAIL], p->number, i, k->from));
    }
}

static void tail_gradients(const conv *c)
{
    const int64_t items = c->seq.count * c->parts;
#pragma omp parallel for num_threads(c->call->team) schedule(static) if (c->call->team > 1)
    for (int64_t i = 0; i < items; i++) {
        block k = block_of(c, i % c->parts);
        place p = sequence(c, i / c->parts);
        k.b = pal_sequence_batch(&c->seq, p.number);
        give_tail(c, &k, &p);
    }
}

/* Sums of the blocks, in their order and in double, into the gradients of weight and bias. */
static void add_sums(const conv *c)
{
    const int64_t n = (c->W + 1) * c->n, parts = (n + CHANNELS - 1) / CHANNELS;
    const pal_dtype dtype = c->call->in[X]->dtype;
    memset(c->total, 0, (size_t)n * sizeof(double));
#pragma omp parallel for num_threads(c->call->team) schedule(static) if (c->call->team > 1)
    for (int64_t i = 0; i < parts; i++) {
        int64_t from = i * CHANNELS, count = n - from < CHANNELS ? n - from : CHANNELS;
        for (int64_t k = 0; k < c->B * c->steps; k++)
            c->k->widen_add(count, c->sums + (size_t)(k * n + from) * c->size, c->total + from);
        for (int64_t j = from; j < from + count; j++)
            pal_element_set(dtype, c->sums, j, c->total[j]);
    }
    pal_array sum = pal_array_of(dtype, PAL_SHAPE(c->W, c->n), c->sums);
    if (wants(c->call, WEIGHT)) {
        const pal_array *dw = c->call->din[WEIGHT];
        pal_array to = sum;
        to.data = dw->data;
        to.stride[0] = dw->stride[2], to.stride[1] = dw->stride[0];
        pal_array_add(&to, &sum);
    }
    sum = pal_array_of(dtype, PAL_SHAPE(c->n), c->sums + (size_t)(c->W * c->n) * c->size);
    if (wants(c->call, BIAS)) pal_array_add(c->call->din[BIAS], &sum);
}

static void backward(const pal_call *call)
{
    conv c = describe(call);
    lay_out(&c, call->scratch, call->team, true);
    read_weights(&c);
    const int64_t blocks = c.B * c.steps * c.parts;
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t i = 0; i < blocks; i++) {
        block k = block_of(&c, i);
        backward_block(&c, &k);
    }
    if (wants(call, TAIL)) tail_gradients(&c);
    if (blocks > 0 && (wants(call, WEIGHT) || wants(call, BIAS))) add_sums(&c);
}

/* ---- The operation ---- */

const pal_op pal_short_conv_op = {.name = "short_conv",
                                  .args = "x weight bias tail offsets",
                                  .infer = infer,
                                  .forward = forward,
                                  .backward = backward,
                                  .unread_out = 3,
                                  .overwrites = 1};

/* Kernels walk along channels. */
static pal_tensor with_channels_together(pal_tensor t)
{
    return pal_is_none(t) || t.node->a.stride[2] == 1 ? t : pal_contiguous(t);
}

/* The tails before the sequences, [S,L,C]. The tail of a sequence that began on an earlier rank has
 * the tokens before this part. */
static pal_tensor tails_of_parts(pal_frame *f, const pal_part *s, pal_tensor x, pal_tensor given,
                                 const int64_t *offsets)
{
    const int64_t rows = f->size['L'], T = f->size['T'], pieces = offsets ? f->size['S'] : 1;
    const int64_t first = offsets ? offsets[pieces - 1] : 0;
    const int64_t begin = T - first > rows ? T - rows : first;
    pal_tensor offered = pal_slice(x, 1, begin, T, 1);
    if (!s->through && !pal_is_none(given)) {
        pal_tensor last = offsets ? pal_slice(given, 0, pieces - 1, pieces, 1) : given;
        offered = pal_concat(2, (pal_tensor[]){last, offered}, 1);
        offered = pal_slice(offered, 1, pal_dim(offered, 1) - rows, pal_dim(offered, 1), 1);
    }
    const pal_offer *offers = pal_part_offers(f, s, pal_dim(offered, 1));
    if (!offers) return pal_frame_poison(f);
    pal_tensor before = pal_before(s, offers, offered, rows);
    const pal_tensor none =
        pal_zeros(f->tape, f->dtype, PAL_SHAPE(f->size['S'], rows, f->size['C']));
    if (pal_is_none(given)) given = none;
    pal_tensor tail = s->continued ? none : given;
    if (offsets) tail = pal_slice(tail, 0, 0, 1, 1);
    tail = pal_slice(tail, 1, pal_part_before(offers, s->comm->rank, rows), rows, 1);
    tail = pal_concat(2, (pal_tensor[]){tail, before}, 1);
    if (pieces == 1) return tail;
    return pal_concat(2, (pal_tensor[]){tail, pal_slice(given, 0, 1, pieces, 1)}, 0);
}

pal_tensor pal_short_conv(pal_tensor x, pal_tensor weight, pal_tensor bias,
                          pal_short_conv_opts opts)
{
    pal_frame f;
    pal_arg a[] = {
        {"x", "BTC", x, false},
        {"weight", "C1W", weight, false},
        {"bias", "C", bias, true},
        {"tail", "SLC", opts.tail ? *opts.tail : PAL_NONE, true},
    };
    pal_frame_init(&f, "short_conv");
    f.size['1'] = 1;
    if (!pal_frame_add(&f, 3, a)) return pal_frame_poison(&f);
    if (f.size['W'] < 1) {
        pal_frame_fail(&f, PAL_ESHAPE, "the weight has no taps");
        return pal_frame_poison(&f);
    }
    f.size['L'] = f.size['W'] - 1;
    f.size['S'] = f.size['B'];
    const int64_t *offsets = NULL;
    if (!pal_is_none(opts.offsets)) {
        offsets = pal_frame_offsets(&f, opts.offsets, f.size['B'], f.size['T'], &f.size['S']);
        if (!offsets) return pal_frame_poison(&f);
    }
    if (!pal_frame_add(&f, 1, a + 3)) return pal_frame_poison(&f);
    const pal_part part = pal_part_of(opts.parts, opts.continued, offsets ? f.size['S'] : 0);
    if (part.comm && f.size['L'] > 0) a[3].t = tails_of_parts(&f, &part, a[0].t, a[3].t, offsets);
    if (pal_tape_status(f.tape) != PAL_OK) return pal_frame_poison(&f);
    pal_tensor in[PAL_CONV_INPUTS] = {with_channels_together(a[0].t), a[1].t, a[2].t,
                                      with_channels_together(a[3].t), opts.offsets};
    pal_tensor out[2];
    pal_apply(&pal_short_conv_op, &opts.silu, sizeof opts.silu, PAL_CONV_INPUTS, in,
              opts.tail ? 2 : 1, out);
    if (opts.tail) *opts.tail = out[1];
    return out[0];
}
