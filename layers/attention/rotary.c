/*
 * rotary.c - rotary positions. A rotation's gradient is the rotation back.
 */
#include "layers/attention/attention.h"
#include "layers/rules.h"
#include "layers/parts.h"

#include <math.h>
#include <omp.h>

typedef struct rotary_opts {
    double base;
    int64_t channels; /* that are turned */
    bool interleaved;
    int64_t start, before; /* positions of the first sequence begin at start + before */
} rotary_opts;

enum { TOKENS = 64 }; /* tokens of a block; only its first angles are made by cos and sin */

/* ---- Angles ---- */

/* Memory of one thread, in double: cosine and sine of the angles of the current position and of one
 * step. c and s are those of the position in the kernel's type. */
typedef struct angles {
    double *cosine, *sine, *step_cosine, *step_sine;
    void *c, *s;
} angles;

static angles carve(pal_carver *c, int64_t half)
{
    void *line[6];
    for (int i = 0; i < 6; i++) line[i] = pal_carve(c, (size_t)half * sizeof(double));
    return (angles){line[0], line[1], line[2], line[3], line[4], line[5]};
}

static size_t angle_bytes(int64_t half)
{
    pal_carver c = {NULL, 0};
    carve(&c, half);
    return c.used;
}

static void begin(angles *a, int64_t half, double base, int64_t position)
{
    for (int64_t c = 0; c < half; c++) {
        double step = pow(base, -(double)c / (double)half);
        a->step_cosine[c] = cos(step), a->step_sine[c] = sin(step);
        a->cosine[c] = cos((double)position * step), a->sine[c] = sin((double)position * step);
    }
}

/* Goes on by one position. Within a block this adds a few roundings of a double. */
static void advance(angles *a, int64_t half)
{
    for (int64_t c = 0; c < half; c++) {
        double x = a->cosine[c], y = a->sine[c];
        a->cosine[c] = x * a->step_cosine[c] - y * a->step_sine[c];
        a->sine[c] = y * a->step_cosine[c] + x * a->step_sine[c];
    }
}

static void narrow(const angles *a, pal_dtype dtype, int64_t half)
{
    for (int64_t c = 0; c < half; c++) {
        pal_element_set(dtype, a->c, c, a->cosine[c]);
        pal_element_set(dtype, a->s, c, a->sine[c]);
    }
}

/* ---- The operation ---- */

static pal_status infer(pal_call *call)
{
    const pal_array *x = call->in[0];
    const rotary_opts *o = call->opts;
    size_t each = angle_bytes(o->channels / 2),
           team = (size_t)pal_call_team(call, pal_array_count(x));
    pal_status status = pal_call_out(call, 0, x->dtype, pal_array_shape(x));
    return status == PAL_OK ? pal_call_scratch(call, team * each, team * each) : status;
}

/* The row's channels from `from` on. */
static pal_rows channels_from(pal_rows row, int64_t from, pal_dtype dtype)
{
    row.data = (char *)row.data + from * row.channel * (int64_t)pal_dtype_size(dtype);
    return row;
}

static pal_pairs pairs_of(const rotary_opts *o, pal_rows row, pal_dtype dtype)
{
    pal_pairs p = {row, channels_from(row, o->interleaved ? 1 : o->channels / 2, dtype)};
    if (o->interleaved) p.low.channel = p.high.channel = 2 * row.channel;
    return p;
}

/* Tokens t .. end - 1, the first of which has this position, of all rows of the batch. */
static void turn_block(const pal_call *call, const pal_array *x, const pal_array *y, bool back,
                       int64_t t, int64_t end, int64_t position)
{
    const rotary_opts *o = call->opts;
    const int64_t half = o->channels / 2, rest = x->shape[3] - o->channels;
    const pal_attention_table *k = pal_attention_table_for(x->dtype);
    const size_t own = (size_t)omp_get_thread_num() * angle_bytes(half);
    pal_carver c = {(char *)call->scratch + own, 0};
    angles a = carve(&c, half);
    begin(&a, half, o->base, position);
    for (;; advance(&a, half)) {
        narrow(&a, x->dtype, half);
        for (int64_t b = 0; b < x->shape[0]; b++)
            for (int64_t h = 0; h < x->shape[2]; h++) {
                const pal_rows from = pal_rows_at(x, b, t, h), to = pal_rows_at(y, b, t, h);
                k->rotate(half, a.c, a.s, back, pairs_of(o, from, x->dtype),
                          pairs_of(o, to, x->dtype), back);
                if (rest)
                    k->pass(rest, channels_from(from, o->channels, x->dtype),
                            channels_from(to, o->channels, x->dtype), back);
            }
        if (++t == end) return;
    }
}

/* y = x rotated, or y += x rotated back. */
static void turn(const pal_call *call, const pal_array *x, const pal_array *y, bool back)
{
    const rotary_opts *o = call->opts;
    const int64_t whole[2] = {0, x->shape[1]};
    const int64_t *offsets = call->in[1] ? call->in[1]->data : whole;
    const int64_t sequences = call->in[1] ? call->in[1]->shape[0] - 1 : 1;
    if (pal_array_count(x) == 0) return;
#pragma omp parallel num_threads(call->team) if (call->team > 1)
    for (int64_t n = 0; n < sequences; n++) {
        const int64_t first = offsets[n], end = offsets[n + 1];
#pragma omp for schedule(static) nowait
        for (int64_t t = first; t < end; t += TOKENS)
            turn_block(call, x, y, back, t, t + TOKENS < end ? t + TOKENS : end,
                       o->start + (n ? 0 : o->before) + t - first);
    }
}

static void forward(const pal_call *call) { turn(call, call->in[0], call->out[0], false); }
static void backward(const pal_call *call) { turn(call, call->dout[0], call->din[0], true); }

static const pal_op op = {.name = "rotary",
                          .args = "x offsets",
                          .infer = infer,
                          .forward = forward,
                          .backward = backward,
                          .unread_in = 1,
                          .unread_out = 1};

pal_tensor pal_rotary(pal_tensor x, pal_rotary_opts opts)
{
    pal_frame f;
    pal_arg a = {"x", "BTHD", x, false};
    rotary_opts o = {.base = opts.base != 0 ? opts.base : 10000,
                     .interleaved = opts.interleaved,
                     .start = opts.start};
    const int64_t *offsets = NULL;
    int64_t sequences = 0;
    pal_frame_init(&f, "rotary");
    if (!pal_frame_add(&f, 1, &a)) return pal_frame_poison(&f);
    bool good = true;
    o.channels = opts.channels ? opts.channels : f.size['D'];
    if (opts.channels && (o.channels < 0 || o.channels % 2 || o.channels > f.size['D']))
        good = pal_frame_fail(&f, PAL_EVALUE,
                              "channels is %lld and should be even and at most the %lld of a head",
                              (long long)o.channels, (long long)f.size['D']);
    else if (o.channels % 2)
        good = pal_frame_fail(&f, PAL_ESHAPE, "heads of %lld channels cannot be halved",
                              (long long)f.size['D']);
    else if (!(o.base > 0) || !isfinite(o.base) || o.start < 0)
        good = pal_frame_fail(&f, PAL_EVALUE, "base is %g and start %lld; both should be above 0",
                              o.base, (long long)o.start);
    else if (!pal_is_none(opts.offsets))
        good = (offsets = pal_frame_offsets(&f, opts.offsets, f.size['B'], f.size['T'],
                                            &sequences)) != NULL;
    if (!good) return pal_frame_poison(&f);
    const pal_part part = pal_part_of(opts.parts, opts.continued, sequences);
    if (part.comm) {
        const int64_t first = offsets ? offsets[sequences - 1] : 0;
        const pal_offer *offers = pal_part_offers(&f, &part, f.size['T'] - first);
        if (!offers) return pal_frame_poison(&f);
        o.before = pal_part_before(offers, part.comm->rank, INT64_MAX);
    }
    const pal_tensor in[] = {a.t, opts.offsets};
    pal_tensor out;
    pal_apply(&op, &o, sizeof o, 2, in, 1, &out);
    return out;
}
