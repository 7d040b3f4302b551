/*
 * recompute.c - activation checkpointing: forget what a segment computes, and compute it again.
 *
 * A segment runs one level deeper than its caller. Each level has its own arenas, so that all
 * memory of the segment can be given back at once, wherever the memory of its caller lies. The
 * first run records as usual, for two reasons. It finds the parameters that the segment reads,
 * which become inputs of its record. And it plans its own backward pass, so that the outer pass can
 * reserve the memory before it changes a gradient. Source: Chen et al., arXiv 1604.06174.
 */
#include "autograd/internal.h"

#include <string.h>

/* This op only has a name for messages and dumps; pal_apply never runs it. */
static const pal_op recompute_op = {.name = "recompute", .args = "input"};

/* ---- Running the segment ---- */

/* Makes a leaf on the segment's level that stands for input x of the caller. */
static pal_node *make_proxy(pal_tape *tape, const pal_node *x)
{
    pal_node *n = pal_node_new(tape, "recompute");
    if (!n) return NULL;
    n->a = x->a;
    n->needs_grad = x->needs_grad;
    n->label = x->label;
    return n;
}

typedef struct run_state {
    pal_node **proxy; /* of each input */
    pal_tensor *in, *out;
} run_state;

/* Goes one level down and runs the segment there. On failure the tape is sticky and it returns
 * false. */
static bool enter(pal_tape *tape, const pal_segment *s, int nout, run_state *state)
{
    if (tape->depth + 1 == PAL_MAX_LEVELS) {
        pal_fail(&tape->owner, PAL_EVALUE, "recompute: segments nest more than %d deep",
                 PAL_MAX_LEVELS - 1);
        return false;
    }
    tape->depth++;
    pal_level *l = pal_tape_level(tape);
    l->nodes.peak = l->heads.peak = l->values.peak = 0;
    l->first_id = tape->owner.next_id;
    size_t nin = (size_t)s->nin;
    state->proxy = pal_arena_zeroed(&l->heads, (nin + 1) * sizeof(pal_node *));
    state->in = pal_arena_zeroed(&l->heads, (nin + 1) * sizeof(pal_tensor));
    state->out = pal_arena_zeroed(&l->heads, (size_t)nout * sizeof(pal_tensor));
    if (!state->proxy || !state->in || !state->out) {
        pal_fail(&tape->owner, PAL_ENOMEM, "recompute: out of memory for a segment");
        return false;
    }
    for (int i = 0; i < s->nin; i++) {
        if (!s->in[i].node) continue;
        if (!(state->proxy[i] = make_proxy(tape, s->in[i].node))) return false;
        state->in[i] = pal_handle(state->proxy[i]);
    }
    s->run(s->context, state->in, state->out);
    return tape->owner.error.status == PAL_OK;
}

/* Goes back up one level and forgets all that was made below. */
static void leave(pal_tape *tape)
{
    pal_level *l = pal_tape_level(tape);
    pal_nodes_forget(l, NULL);
    pal_arena_reset(&l->nodes);
    pal_arena_reset(&l->heads);
    pal_arena_reset(&l->values);
    pal_arena_reset(&l->grads);
    l->first = l->last = NULL;
    tape->depth--;
}

/* Checks the outputs of a run; on failure it reports an error and returns false. */
static bool check_outputs(pal_tape *tape, int nout, const pal_tensor *out)
{
    for (int i = 0; i < nout; i++) {
        const char *problem = pal_handle_problem(out[i]);
        pal_status status = PAL_ESTALE;
        if (!problem && pal_tape_of(out[i].node) != tape) problem = "is not on the segment's tape";
        if (!problem && tape->grad && pal_comes_from_outside(tape, out[i].node)) {
            status = PAL_EGRAD;
            problem = "comes from outside the segment and wants a gradient; pass it as one of the "
                      "segment's inputs";
        }
        if (problem) {
            pal_fail(&tape->owner, status, "recompute: output %d of the segment %s", i, problem);
            return false;
        }
    }
    return true;
}

/* Checks the inputs of a segment; on failure it reports an error and returns false. */
static bool check_inputs(pal_tape *tape, int nin, const pal_tensor *in)
{
    for (int i = 0; i < nin; i++) {
        const char *problem = in[i].node ? pal_operand_problem(tape, in[i]) : NULL;
        pal_status status = PAL_ESTALE;
        if (!problem && in[i].node && tape->grad && pal_comes_from_outside(tape, in[i].node)) {
            status = PAL_EGRAD;
            problem = "comes from outside the recomputed segment around it and wants a gradient; "
                      "pass it as one of that segment's inputs";
        }
        if (problem) {
            pal_fail(&tape->owner, status, "recompute: argument input %d %s", i, problem);
            return false;
        }
    }
    return true;
}

/* ---- Recording it ---- */

/* If n is a trainable parameter (or a view of one) without the mark, counts it and writes it to
 * out. */
static int capture(pal_node *n, uint64_t mark, int count, pal_tensor *out)
{
    pal_node *base = n && n->needs_grad ? n->base : NULL;
    if (!base || base->param < 0 || base->pass == mark) return count;
    base->pass = mark;
    if (out) out[count] = pal_handle(base);
    return count + 1;
}

/* Marks the parameters that the records one level below read, or that are outputs there. */
static int mark_parameters(pal_tape *tape, int nout, const pal_tensor *inner, uint64_t mark,
                           pal_tensor *out)
{
    int n = 0;
    for (const pal_record *r = tape->level[tape->depth + 1].first; r; r = r->next)
        for (int i = 0; i < r->call.nin; i++) n = capture(r->in[i], mark, n, out);
    for (int i = 0; i < nout; i++) n = capture(inner[i].node, mark, n, out);
    return n;
}

/*
 * The distinct trainable parameters of the segment one level below. They are written to out unless
 * out is NULL. Returns their number. The mark is the number of no pass, and none is left
 * behind.
 */
static int captured(pal_tape *tape, int nout, const pal_tensor *inner, pal_tensor *out)
{
    int n = mark_parameters(tape, nout, inner, UINT64_MAX, out);
    mark_parameters(tape, nout, inner, 0, NULL);
    return n;
}

/* Copies the segment output `from` to a node of the caller's level. */
static pal_node *copy_out(pal_tape *tape, const pal_node *from)
{
    pal_node *n = pal_node_new(tape, "recompute");
    if (!n) return NULL;
    n->a = from->a;
    if (!pal_node_allocate(tape, n)) return NULL;
    n->needs_grad = tape->grad && from->needs_grad;
    n->is_gradient = from->is_gradient;
    pal_status same_shape = pal_array_copy(&n->a, &from->a, NULL);
    (void)same_shape; /* cannot fail */
    return n;
}

/* Copies the outputs up and links a record. The values of the segment still exist one level
 * below. */
static bool record_segment(pal_tape *tape, pal_segment *s, int nout, const pal_tensor *inner,
                           pal_tensor *out)
{
    pal_arena *heads = &pal_tape_level(tape)->heads;
    int nparam = captured(tape, nout, inner, NULL), nin = s->nin + nparam;
    pal_node **copy = pal_arena_zeroed(heads, (size_t)nout * sizeof(pal_node *));
    pal_tensor *all = pal_arena_zeroed(heads, (size_t)(nin + 1) * sizeof(pal_tensor));
    if (!copy || !all) return false;
    for (int i = 0; i < s->nin; i++) all[i] = s->in[i];
    s->in = all; /* the caller's array may no longer exist when backward runs */
    captured(tape, nout, inner, all + s->nin);
    bool grad = false;
    for (int i = 0; i < nout; i++) {
        if (!(copy[i] = copy_out(tape, inner[i].node))) return false;
        grad = grad || copy[i]->needs_grad;
        out[i] = pal_handle(copy[i]);
    }
    if (!grad) return true;
    pal_record *r = pal_record_new(tape, &recompute_op, s, sizeof *s, nin, all, nout, copy);
    if (!r) return false;
    r->segment = r->call.opts;
    for (int i = 0; i < nout; i++) copy[i]->maker = r;
    pal_record_link(tape, r);
    return true;
}

/* Plans backward through the segment that has just run, to find out how much memory it needs. */
static bool measure(pal_tape *tape, int nout, const pal_tensor *out)
{
    pal_level *l = pal_tape_level(tape);
    pal_node **seeds = pal_arena_zeroed(&l->heads, (size_t)nout * sizeof(pal_node *));
    int n = 0;
    if (!seeds) {
        pal_fail(&tape->owner, PAL_ENOMEM, "recompute: out of memory for a segment");
        return false;
    }
    for (int i = 0; i < nout; i++)
        if (out[i].node->needs_grad) seeds[n++] = out[i].node;
    pal_plan plan;
    if (pal_plan_backward(tape, n, seeds, &plan) != PAL_OK) return false;
    /* Backward also passes nout cotangents. Twice the present heads is more than it will take. */
    size_t heads = 2 * l->heads.peak, bytes = pal_plan_bytes(&plan);
    size_t nodes = 2 * l->nodes.peak;
    if (nodes > l->need_nodes) l->need_nodes = nodes;
    if (heads > l->need_heads) l->need_heads = heads;
    if (l->values.peak > l->need_values) l->need_values = l->values.peak;
    if (bytes > l->need_grads) l->need_grads = bytes;
    return true;
}

void pal_recompute(pal_tape *tape, pal_segment_fn *segment, void *context, int nin,
                   const pal_tensor *in, int nout, pal_tensor *out)
{
    pal_segment s = {.run = segment, .context = context, .nin = nin, .in = in};
    s.before = tape->rng;
    s.products = tape->products;
    run_state state = {0};
    bool done = false;
    bool good = tape->owner.error.status == PAL_OK && check_inputs(tape, nin, in);
    if (good) {
        int depth = tape->depth;
        if (enter(tape, &s, nout, &state) && check_outputs(tape, nout, state.out) &&
            (!tape->grad || measure(tape, nout, state.out))) {
            tape->depth--; /* the copies are made on the caller's level */
            done = record_segment(tape, &s, nout, state.out, out);
            tape->depth++;
            if (!done)
                pal_fail(&tape->owner, PAL_ENOMEM, "recompute: out of memory for the outputs");
        }
        if (tape->depth > depth) leave(tape);
    }
    for (int i = 0; i < nout && !done; i++) out[i] = pal_poison(&tape->owner);
}

/* ---- Running it again ---- */

/* The cotangents that reached the record become the seeds of a pass on the segment's level. */
static bool collect_seeds(pal_tape *tape, const pal_record *r, const pal_tensor *out,
                          pal_node **seeds, const pal_array **cotangents, int *n)
{
    for (int i = 0; i < r->call.nout; i++) {
        if (!r->call.dout[i] || !out[i].node->needs_grad) continue;
        if (!pal_shape_equal(pal_array_shape(&out[i].node->a), pal_array_shape(r->call.out[i]))) {
            pal_fail(&tape->owner, PAL_ESHAPE,
                     "recompute: output %d has another shape than in the forward pass; a segment "
                     "must compute the same way each time",
                     i);
            return false;
        }
        seeds[*n] = out[i].node;
        cotangents[(*n)++] = r->call.dout[i];
    }
    return true;
}

static void backward_below(pal_tape *tape, const pal_record *r, const run_state *state)
{
    pal_arena *heads = &pal_tape_level(tape)->heads;
    size_t nout = (size_t)r->call.nout;
    pal_node **seeds = pal_arena_zeroed(heads, nout * sizeof(pal_node *));
    const pal_array **cotangents = pal_arena_zeroed(heads, nout * sizeof(pal_array *));
    int n = 0;
    if (!seeds || !cotangents) {
        pal_fail(&tape->owner, PAL_ENOMEM, "recompute: out of memory in backward");
        return;
    }
    if (!collect_seeds(tape, r, state->out, seeds, cotangents, &n)) return;
    /* The gradients of the inputs are added to where the caller wants them. */
    for (int i = 0; i < r->segment->nin; i++)
        if (state->proxy[i] && r->call.din[i]) state->proxy[i]->fixed = r->call.din[i]->data;
    pal_plan plan;
    if (pal_plan_backward(tape, n, seeds, &plan) == PAL_OK)
        pal_run_backward(tape, n, seeds, cotangents, &plan);
}

pal_status pal_segment_backward(pal_record *r)
{
    pal_tape *tape = r->tape;
    pal_rng now = tape->rng;
    const pal_dtype products = tape->products;
    bool grad = pal_set_grad(tape, true);
    int64_t ops = tape->ops;
    int depth = tape->depth;
    run_state state = {0};
    tape->rng = r->segment->before;
    tape->products = r->segment->products;
    if (enter(tape, r->segment, r->call.nout, &state)) {
        tape->rng = now;
        if (check_outputs(tape, r->call.nout, state.out)) backward_below(tape, r, &state);
    }
    if (tape->depth > depth) leave(tape);
    tape->rng = now;
    tape->products = products;
    tape->ops = ops;
    pal_set_grad(tape, grad);
    return tape->owner.error.status;
}
