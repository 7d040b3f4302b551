/*
 * backward.c - the walk over the record in reverse.
 *
 * A pass is planned before it runs. Planning visits the records once. It finds which gradients are
 * needed and between which two records each one lives. It lays them out in one block, in which
 * memory is used again as soon as it is free. Nothing changes before that block is reserved.
 *
 * A gradient is summed in the order of the record, so it does not depend on threads.
 */
#include "autograd/internal.h"
#include "autograd/ops/shape.h"

#include <stdatomic.h>
#include <string.h>

/* ---- Planning ---- */

/* The free parts of the block, in order of their offsets. Adjacent ones are merged. */
typedef struct holes {
    size_t (*at)[2]; /* offset, size */
    int64_t count, room;
    size_t end; /* nothing beyond this offset is in use */
} holes;

static bool make_hole(pal_arena *arena, holes *h, size_t offset, size_t size)
{
    int64_t i = 0;
    while (i < h->count && h->at[i][0] < offset) i++;
    bool left = i > 0 && h->at[i - 1][0] + h->at[i - 1][1] == offset;
    bool right = i < h->count && offset + size == h->at[i][0];
    if (left) {
        h->at[i - 1][1] += size;
        if (!right) return true;
        h->at[i - 1][1] += h->at[i][1];
        memmove(h->at + i, h->at + i + 1, (size_t)(--h->count - i) * sizeof *h->at);
        return true;
    }
    if (right) {
        h->at[i][0] = offset;
        h->at[i][1] += size;
        return true;
    }
    if (h->count == h->room) {
        int64_t room = h->room ? 2 * h->room : 64;
        void *more = pal_arena_take(arena, (size_t)room * sizeof *h->at);
        if (!more) return false;
        if (h->count) memcpy(more, h->at, (size_t)h->count * sizeof *h->at);
        h->at = more;
        h->room = room;
    }
    memmove(h->at + i + 1, h->at + i, (size_t)(h->count++ - i) * sizeof *h->at);
    h->at[i][0] = offset;
    h->at[i][1] = size;
    return true;
}

/* Takes the smallest hole that is large enough, or room at the end of the block. */
static size_t place(holes *h, size_t size)
{
    int64_t best = -1;
    for (int64_t i = 0; i < h->count; i++)
        if (h->at[i][1] >= size && (best < 0 || h->at[i][1] < h->at[best][1])) best = i;
    if (best < 0) {
        size_t offset = h->end;
        h->end += size;
        return offset;
    }
    size_t offset = h->at[best][0];
    h->at[best][0] += size;
    h->at[best][1] -= size;
    if (!h->at[best][1])
        memmove(h->at + best, h->at + best + 1, (size_t)(--h->count - best) * sizeof *h->at);
    return offset;
}

static size_t gradient_bytes(const pal_node *n)
{
    return pal_shape_bytes(pal_gradient_dtype(n->a.dtype), pal_array_shape(&n->a));
}

static size_t slot_bytes(const pal_node *n)
{
    size_t size = gradient_bytes(n);
    return pal_round_up(size ? size : 1, PAL_ALIGN);
}

/* Makes the tensor that pal_grad returns for a wanted node. It is zero at first, unless backward
 * will write to it directly. */
static bool make_grad(pal_tape *tape, pal_node *n)
{
    pal_node *g = pal_node_new(tape, "backward");
    if (!g) return false;
    g->a = n->a;
    if (!pal_node_allocate(tape, g)) return false;
    g->is_gradient = true;
    n->grad = g;
    if (n->maker)
        memset(g->a.data, 0, gradient_bytes(g));
    else
        n->fixed = g->a.data;
    return true;
}

/* A parameter's gradient memory, which comes with the first pass. */
static bool make_param_grad(pal_tape *tape, const pal_node *n)
{
    if (n->param < 0 || n->fixed) return true;
    pal_params *params = (pal_params *)(void *)n->owner;
    if (pal_params_make_gradients(params)) return true;
    pal_fail(&tape->owner, PAL_ENOMEM,
             "backward: out of memory for the gradients of %lld numbers in %d parameters",
             (long long)pal_params_size(params), pal_params_count(params));
    return false;
}

/* Notes that this pass sums a gradient for n, and where. */
static bool reach(pal_tape *tape, pal_node *n, uint64_t pass, holes *h)
{
    if (n->pass == pass) return true;
    const bool first = n->wanted && !n->grad;
    if (first && !make_grad(tape, n)) return false;
    if (!make_param_grad(tape, n)) return false;
    n->pass = pass;
    n->buffer = n->fixed;
    n->written = n->fixed && !first;
    if (!n->fixed) n->slot = place(h, slot_bytes(n));
    return true;
}

/* Reports an error if something that backward of r reads was written after r ran. */
static pal_status check_versions(pal_tape *tape, pal_record *r)
{
    const pal_op *op = r->call.op;
    for (int i = 0; i < r->call.nin; i++) {
        if (!r->in[i] || r->in[i]->base->version == r->in_version[i]) continue;
        if (i < 32 && (op->unread_in >> i & 1)) continue;
        const char *label = r->in[i]->base->label;
        char name[32];
        pal_arg_name(op->args, i, name);
        return pal_call_error(
            &r->call, PAL_ECHANGED,
            "argument %s%s%s%s was changed between the forward pass and backward, which needs it",
            name, label ? " \"" : "", label ? label : "", label ? "\"" : "");
    }
    for (int i = 0; i < r->call.nout; i++)
        if (r->out[i]->version && !(i < 32 && (op->unread_out >> i & 1)))
            return pal_fail(&tape->owner, PAL_ECHANGED,
                            "%s: its result was changed between the forward pass and backward, "
                            "which needs it",
                            op->name);
    return PAL_OK;
}

static bool is_reached(const pal_record *r, uint64_t pass)
{
    for (int i = 0; i < r->call.nout; i++)
        if (r->out[i]->pass == pass) return true;
    return false;
}

static bool plan_record(pal_tape *tape, pal_record *r, pal_plan *plan, holes *h)
{
    pal_arena *arena = &pal_tape_level(tape)->grads;
    for (int i = 0; i < r->call.nin; i++) {
        r->in_bits[i] &= (unsigned char)~PAL_IN_PLANNED;
        if (!(r->in_bits[i] & PAL_IN_WANTS) || !r->in[i]->base->needs_grad) continue;
        r->in_bits[i] |= PAL_IN_PLANNED;
        if (!reach(tape, r->in[i]->base, plan->pass, h)) return false;
        /* The parameters of a segment are inputs of its record, so the outer level handles them. */
        if (!tape->depth) r->in[i]->base->last_reader = r;
    }
    size_t arrays = (size_t)(r->call.nin + r->call.nout) * (sizeof(pal_array) + sizeof(void *));
    size_t scratch = pal_round_up(arrays, PAL_ALIGN) + r->backward_scratch;
    if (scratch > plan->scratch) plan->scratch = scratch;
    for (int i = 0; i < r->call.nout; i++) {
        pal_node *out = r->out[i];
        if (out->pass == plan->pass && !out->fixed)
            if (!make_hole(arena, h, out->slot, slot_bytes(out))) return false;
    }
    return true;
}

pal_status pal_plan_backward(pal_tape *tape, int n, pal_node *const *seeds, pal_plan *plan)
{
    static _Atomic uint64_t passes; /* of all tapes, because they share parameters */
    pal_level *level = pal_tape_level(tape);
    *plan = (pal_plan){.pass = 1 + atomic_fetch_add(&passes, 1)};
    /* Gradient tensors of wanted nodes must outlive the list of holes, so that list is in another
     * arena. */
    pal_arena_mark mark = pal_arena_save(&level->grads);
    holes h = {0};
    bool enough = true;
    for (int i = 0; i < n && enough; i++) enough = reach(tape, seeds[i]->base, plan->pass, &h);
    for (pal_record *r = level->last; r && enough; r = r->prev) {
        if (!is_reached(r, plan->pass)) continue;
        if (check_versions(tape, r) != PAL_OK) break;
        enough = plan_record(tape, r, plan, &h);
    }
    plan->planning = level->grads.live - mark.live;
    pal_arena_rewind(&level->grads, mark);
    plan->block = h.end;
    if (!enough && tape->owner.error.status == PAL_OK)
        pal_fail(&tape->owner, PAL_ENOMEM, "backward: out of memory for the plan of the pass");
    return tape->owner.error.status;
}

size_t pal_plan_bytes(const pal_plan *plan)
{
    size_t running = pal_round_up(plan->block, PAL_ALIGN) + pal_round_up(plan->scratch, PAL_ALIGN) +
                     2 * PAL_ALIGN;
    return running > plan->planning ? running : plan->planning;
}

/* ---- Running ---- */

/* The gradient memory of a reached base. */
static void *buffer_of(pal_node *base, unsigned char *block)
{
    if (!base->buffer) base->buffer = block + base->slot;
    return base->buffer;
}

static bool appears_twice(const pal_record *r, const pal_node *base)
{
    int times = 0;
    for (int i = 0; i < r->call.nin; i++) times += r->in[i] && r->in[i]->base == base;
    return times > 1;
}

/* Points dout and din of a call at the gradient buffers, and clears new ones. */
static void bind_gradients(pal_record *r, const pal_plan *plan, unsigned char *block,
                           unsigned char *scratch)
{
    int nin = r->call.nin, nout = r->call.nout;
    pal_array *arrays = (pal_array *)(void *)scratch;
    pal_array **pointers = (pal_array **)(void *)(arrays + nin + nout);
    r->fresh = 0;
    for (int i = 0; i < nin; i++) {
        pointers[i] = NULL;
        if (!(r->in_bits[i] & PAL_IN_PLANNED)) continue;
        pal_node *base = r->in[i]->base;
        void *buffer = buffer_of(base, block);
        if (!base->written) {
            bool overwrite = i < 32 && (r->call.op->overwrites >> i & 1) && r->in[i] == base &&
                             !appears_twice(r, base);
            if (overwrite)
                r->fresh |= 1u << i;
            else
                memset(buffer, 0, gradient_bytes(base));
            base->written = true;
        }
        arrays[i] = pal_gradient_view(r->in[i], buffer);
        pointers[i] = &arrays[i];
    }
    for (int i = 0; i < nout; i++) {
        pointers[nin + i] = NULL;
        if (r->out[i]->pass != plan->pass) continue;
        arrays[nin + i] = pal_gradient_view(r->out[i], buffer_of(r->out[i], block));
        pointers[nin + i] = &arrays[nin + i];
    }
    r->call.din = pointers;
    r->call.dout = (const pal_array *const *)(pointers + nin);
    size_t used = (size_t)(nin + nout) * (sizeof(pal_array) + sizeof(void *));
    r->call.scratch = scratch + pal_round_up(used, PAL_ALIGN);
}

static bool finite(const pal_array *a) { return !a || pal_array_finite(a); }

static void check_numerics(pal_record *r)
{
    for (int i = 0; i < r->call.nin; i++) {
        if (finite(r->call.din[i])) continue;
        for (int j = 0; j < r->call.nout; j++)
            if (!finite(r->call.dout[j])) return;
        pal_call_error(&r->call, PAL_ENUMERIC,
                       "backward makes a gradient of input %d that is not finite", i);
        return;
    }
}

/* Runs after the last addition to a gradient: it fills the tensor that the caller reads and calls
 * the callback of the parameters. */
static void finish_record(pal_record *r, const pal_plan *plan, bool outermost)
{
    for (int i = 0; i < r->call.nout; i++) {
        pal_node *out = r->out[i];
        if (out->grad && out->wanted && out->pass == plan->pass)
            pal_array_add(&out->grad->a, r->call.dout[i]);
    }
    for (int i = 0; i < r->call.nin && outermost; i++) {
        if (!(r->in_bits[i] & PAL_IN_PLANNED)) continue;
        pal_node *base = r->in[i]->base;
        if (base->param < 0 || base->last_reader != r) continue;
        base->last_reader = NULL;
        pal_params_grad_ready(base);
    }
}

static void seed(pal_node *n, const pal_array *cotangent, unsigned char *block)
{
    void *buffer = buffer_of(n->base, block);
    const pal_array g = pal_gradient_view(n, buffer);
    const bool all = pal_array_has_all(&g, pal_array_count(&n->base->a));
    if (!n->base->written && all) {
        pal_array_assign(&g, cotangent);
    } else {
        if (!n->base->written) memset(buffer, 0, gradient_bytes(n->base));
        pal_array_add(&g, cotangent);
    }
    n->base->written = true;
}

pal_status pal_run_backward(pal_tape *tape, int n, pal_node *const *seeds,
                            const pal_array *const *cotangents, const pal_plan *plan)
{
    pal_level *level = pal_tape_level(tape);
    bool outermost = tape->depth == 0;
    pal_arena_mark mark = pal_arena_save(&level->grads);
    unsigned char *block = pal_arena_take(&level->grads, plan->block);
    unsigned char *scratch = pal_arena_take(&level->grads, plan->scratch);
    if (!block || !scratch)
        return pal_fail(&tape->owner, PAL_ENOMEM, "backward: out of memory for %zu bytes",
                        plan->block + plan->scratch);
    pal_tape_note_peak(tape);
    for (int i = 0; i < n; i++) seed(seeds[i], cotangents[i], block);
    for (pal_record *r = level->last; r && tape->owner.error.status == PAL_OK; r = r->prev) {
        if (!is_reached(r, plan->pass)) continue;
        bind_gradients(r, plan, block, scratch);
        const double start = pal_profile_start(tape);
        if (r->segment)
            pal_segment_backward(r);
        else
            r->call.op->backward(&r->call);
        if (!r->segment) pal_profile_stop(tape, r->call.op->name, start, true);
        if (tape->check_numerics && tape->owner.error.status == PAL_OK) check_numerics(r);
        finish_record(r, plan, outermost);
        if (tape->between) tape->between(tape->between_user);
        r->call.din = NULL;
        r->call.dout = NULL;
        r->call.scratch = NULL;
    }
    pal_arena_rewind(&level->grads, mark);
    return tape->owner.error.status;
}

void pal_tape_between(pal_tape *tape, pal_between_fn *fn, void *user)
{
    tape->between = fn;
    tape->between_user = user;
}

/* ---- Entry ---- */

/* Reserves everything that the pass, and the segments that it recomputes, will take. */
static bool reserve(pal_tape *tape, const pal_plan *plan)
{
    bool enough = pal_arena_reserve(&tape->level[0].grads, pal_plan_bytes(plan));
    for (int i = 1; i < PAL_MAX_LEVELS && enough; i++) {
        pal_level *l = &tape->level[i];
        enough = (!l->need_nodes || pal_arena_reserve(&l->nodes, l->need_nodes)) &&
                 (!l->need_heads || pal_arena_reserve(&l->heads, l->need_heads)) &&
                 (!l->need_values || pal_arena_reserve(&l->values, l->need_values)) &&
                 (!l->need_grads || pal_arena_reserve(&l->grads, l->need_grads));
    }
    return enough;
}

static pal_status check_seed(pal_tape *tape, const pal_node *n, const pal_node *cotangent)
{
    char text[128], other[128];
    if (!n->needs_grad && n->is_gradient)
        return pal_fail(&tape->owner, PAL_EGRAD,
                        "backward: the output was computed from a gradient; there are first "
                        "derivatives only");
    if (!n->needs_grad)
        return pal_fail(&tape->owner, PAL_EGRAD,
                        "backward: the output %s does not depend on any parameter or leaf whose "
                        "gradient is wanted, or was computed with gradients off",
                        pal_array_describe(&n->a, text, sizeof text));
    if (cotangent && (cotangent->a.dtype != pal_gradient_dtype(n->a.dtype) ||
                      !pal_shape_equal(pal_array_shape(&cotangent->a), pal_array_shape(&n->a))))
        return pal_fail(&tape->owner, PAL_ESHAPE, "backward: cotangent %s of an output %s",
                        pal_array_describe(&cotangent->a, other, sizeof other),
                        pal_array_describe(&n->a, text, sizeof text));
    return PAL_OK;
}

/* After a pass that failed: gradients that it made but has not written become zero. */
static void clear_unwritten(pal_tape *tape, uint64_t pass)
{
    for (pal_record *r = pal_tape_level(tape)->last; r; r = r->prev)
        for (int i = 0; i < r->call.nin; i++) {
            pal_node *base = r->in[i] ? r->in[i]->base : NULL;
            if (!base || base->pass != pass || !base->fixed || base->written) continue;
            memset(base->fixed, 0, gradient_bytes(base));
            base->written = true;
        }
}

static pal_status backward(pal_tape *tape, int n, pal_node *const *seeds,
                           const pal_array *const *cotangents)
{
    pal_plan plan;
    if (tape->depth)
        return pal_fail(&tape->owner, PAL_EGRAD, "backward: called inside a recomputed segment");
    if (tape->in_backward)
        return pal_fail(&tape->owner, PAL_EGRAD, "backward: called inside a backward pass");
    pal_status status = pal_plan_backward(tape, n, seeds, &plan);
    if (status == PAL_OK && !reserve(tape, &plan))
        status = pal_fail(&tape->owner, PAL_ENOMEM,
                          "backward: out of memory for %zu bytes of gradients", plan.block);
    if (status == PAL_OK) {
        const bool grad = tape->grad;
        tape->in_backward = true;
        status = pal_run_backward(tape, n, seeds, cotangents, &plan);
        tape->in_backward = false;
        tape->grad = grad;
    }
    if (status != PAL_OK) clear_unwritten(tape, plan.pass);
    return status;
}

/* The status of the failure that made a handle unusable. */
static pal_status status_of(pal_tensor t)
{
    pal_status s = t.node ? t.node->owner->error.status : PAL_OK;
    return s != PAL_OK ? s : PAL_ESTALE;
}

pal_status pal_backward(pal_tensor loss)
{
    pal_node *n = pal_node_of(loss, "backward", "loss");
    if (!n) return status_of(loss);
    pal_tape *tape = pal_tape_of(n);
    char text[128];
    if (!tape)
        return pal_fail(n->owner, PAL_EGRAD, "backward: argument loss is a parameter, on no tape");
    if (tape->owner.error.status != PAL_OK) return tape->owner.error.status;
    if (pal_array_count(&n->a) != 1)
        return pal_fail(&tape->owner, PAL_ESHAPE,
                        "backward: argument loss %s has not one element; see pal_backward_from",
                        pal_array_describe(&n->a, text, sizeof text));
    if (check_seed(tape, n, NULL) != PAL_OK) return tape->owner.error.status;
    double memory; /* room for one element of any type */
    pal_array one = n->a;
    one.dtype = pal_gradient_dtype(n->a.dtype);
    one.data = &memory;
    pal_array_fill(&one, 1);
    return backward(tape, 1, &n, &(const pal_array *){&one});
}

pal_status pal_backward_from(int n, const pal_tensor *outputs, const pal_tensor *cotangents)
{
    enum { MOST = 64 };
    pal_node *seeds[MOST];
    const pal_array *given[MOST];
    pal_tape *tape = NULL;
    for (int i = 0; i < n && i < MOST; i++) {
        pal_node *out = pal_node_of(outputs[i], "backward_from", "output");
        if (!out) return status_of(outputs[i]);
        pal_node *cot = pal_node_of(cotangents[i], "backward_from", "cotangent");
        if (!cot) return status_of(cotangents[i]);
        tape = pal_tape_of(out);
        if (!tape || pal_tape_of(cot) != tape || (i && pal_tape_of(seeds[0]) != tape))
            return pal_fail(out->owner, PAL_EVALUE,
                            "backward_from: output and cotangent %d are not on one tape", i);
        if (tape->owner.error.status != PAL_OK) return tape->owner.error.status;
        if (check_seed(tape, out, cot) != PAL_OK) return tape->owner.error.status;
        seeds[i] = out;
        given[i] = &cot->a;
    }
    if (n < 1 || n > MOST)
        return pal_fail_nowhere(PAL_EVALUE, "backward_from: %d outputs; 1 to %d are possible", n,
                                MOST);
    return backward(tape, n, seeds, given);
}

pal_tensor pal_grad(pal_tensor t)
{
    pal_node *n = pal_node_of(t, "grad", "t");
    if (!n) return t.node ? t : pal_poison_nowhere();
    pal_node *g = n->base->grad;
    if (!g && n->owner->is_tape && !n->base->wanted) {
        char text[200];
        pal_fail_nowhere(PAL_EGRAD,
                         "grad: argument t %s was not asked for its gradient; call pal_want_grad "
                         "on it before the backward pass",
                         pal_array_describe(&n->a, text, sizeof text));
    }
    if (!g) return PAL_NONE;
    pal_tape *tape = pal_tape_of(n);
    if (!g->owner->is_tape && !pal_params_make_gradients((pal_params *)(void *)g->owner)) {
        pal_fail_nowhere(PAL_ENOMEM, "grad: out of memory for the gradients of the parameters");
        return pal_poison_nowhere();
    }
    if (n == n->base || !tape) return pal_handle(g);
    pal_array view = pal_gradient_view(n, g->a.data);
    return pal_view("grad", tape, g, &view);
}
