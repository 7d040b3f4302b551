/*
 * apply.c - how an operation runs: check the handles, infer, allocate, compute, record.
 *
 * An operation's outputs outlive it. Its record and saved tensors do so only if a gradient is
 * wanted, and its scratch never does. They are taken from the arenas in that order, so that a
 * rewind gives back exactly what is no longer needed.
 */
#include "autograd/internal.h"
#include "tensor/number.h"
#include "tensor/team.h"

#include <math.h>
#include <string.h>

/* ---- What infer calls ---- */

static pal_record *record_of(pal_call *call) { return (pal_record *)(void *)call; }

pal_status pal_call_out(pal_call *call, int i, pal_dtype dtype, pal_shape shape)
{
    if (!pal_dtype_known(dtype))
        return pal_call_error(call, PAL_EDTYPE, "%d is not a dtype", (int)dtype);
    if (pal_shape_count(shape) < 0)
        return pal_call_error(call, PAL_ESHAPE, "the result has too many dimensions or elements");
    *call->out[i] = pal_array_of(dtype, shape, NULL);
    return PAL_OK;
}

pal_status pal_call_save(pal_call *call, pal_dtype dtype, pal_shape shape)
{
    if (call->nsaved == PAL_MAX_SAVED)
        return pal_call_error(call, PAL_EVALUE, "saves more than %d tensors", PAL_MAX_SAVED);
    if (!pal_dtype_known(dtype))
        return pal_call_error(call, PAL_EDTYPE, "%d is not a dtype", (int)dtype);
    if (pal_shape_count(shape) < 0)
        return pal_call_error(call, PAL_ESHAPE, "a saved tensor has too many elements");
    if (!call->saved) { /* most operations save nothing, so a record has no room for it */
        pal_arena *heads = &pal_tape_level(record_of(call)->tape)->heads;
        call->saved = pal_arena_take(heads, PAL_MAX_SAVED * sizeof *call->saved);
        if (!call->saved) return pal_call_error(call, PAL_ENOMEM, "out of memory");
    }
    call->saved[call->nsaved++] = pal_array_of(dtype, shape, NULL);
    return PAL_OK;
}

pal_status pal_call_scratch(pal_call *call, size_t forward_bytes, size_t backward_bytes)
{
    record_of(call)->forward_scratch = forward_bytes;
    record_of(call)->backward_scratch = backward_bytes;
    return PAL_OK;
}

void pal_call_work(pal_call *call, int64_t work) { record_of(call)->work = work; }

int pal_call_team(pal_call *call, int64_t work)
{
    const pal_record *r = record_of(call);
    const pal_plain *plain = r->tape ? NULL : (const pal_plain *)(const void *)r;
    pal_call_work(call, work);
    if (plain && plain->measures)
        call->team = pal_team_most(work, plain->threads);
    else
        call->team = pal_team_of(work, plain ? plain->threads : 0);
    return call->team;
}

bool pal_call_fresh(const pal_call *call, int i)
{
    return i < 32 && (((const pal_record *)(const void *)call)->fresh >> i & 1);
}

void pal_arg_name(const char *args, int i, char name[32])
{
    const char *word = args ? args : "argument";
    for (const char *space; i > 0 && (space = strchr(word, ' ')); i--) word = space + 1;
    size_t n = strcspn(word, " ");
    snprintf(name, 32, "%.*s", (int)(n < 31 ? n : 31), word);
}

/* Appends " (a f32[2,3], b f32[4])" to a message. */
static void append_arguments(pal_error *e, const pal_call *call)
{
    size_t used = strlen(e->message), room = sizeof e->message;
    for (int i = 0; i < call->nin && used < room; i++) {
        char name[32], shape[128];
        pal_arg_name(call->op->args, i, name);
        int n =
            snprintf(e->message + used, room - used, "%s%s %s", i ? ", " : " (", name,
                     call->in[i] ? pal_array_describe(call->in[i], shape, sizeof shape) : "none");
        used += (size_t)(n > 0 ? n : 0);
    }
    if (used + 1 < room) strcpy(e->message + used, ")");
}

pal_status pal_call_error(pal_call *call, pal_status status, const char *format, ...)
{
    pal_tape *tape = record_of(call)->tape;
    if (tape && tape->owner.error.status != PAL_OK) return tape->owner.error.status;
    pal_error e = {.status = status};
    int n = snprintf(e.message, sizeof e.message, "%s: ", call->op->name);
    va_list args;
    va_start(args, format);
    pal_vsnprintf(e.message + n, sizeof e.message - (size_t)n, format, args);
    va_end(args);
    append_arguments(&e, call);
    if (!tape) {
        pal_error *to = ((pal_plain *)(void *)call)->error;
        return to->status != PAL_OK ? to->status : pal_error_set(to, status, "%s", e.message);
    }
    return pal_fail(&tape->owner, status, "%s", e.message);
}

/* ---- Running ---- */

const char *pal_operand_problem(const pal_tape *tape, pal_tensor t)
{
    const char *problem = pal_handle_problem(t);
    if (problem) return problem;
    if (pal_tape_of(t.node) && pal_tape_of(t.node) != tape)
        return "lives on another tape; bring it over by pal_on";
    return NULL;
}

bool pal_comes_from_outside(const pal_tape *tape, const pal_node *n)
{
    return tape->depth && n->needs_grad && n->base->owner->is_tape &&
           n->base->id < tape->level[tape->depth].first_id;
}

/* The tape that the operands name. If there is none, or a handle is bad, it reports this and
 * returns NULL. */
static pal_tape *find_tape(const pal_op *op, int nin, const pal_tensor *in)
{
    pal_tape *tape = NULL;
    for (int i = 0; i < nin && !tape; i++)
        if (in[i].node) tape = pal_tape_of(in[i].node);
    if (!tape) {
        pal_fail_nowhere(PAL_EVALUE,
                         "%s: no operand is on a tape; bring a parameter onto one by pal_on",
                         op->name);
        return NULL;
    }
    if (tape->owner.error.status != PAL_OK) return tape;
    for (int i = 0; i < nin; i++) {
        if (!in[i].node) continue; /* infer decides whether the argument may be left out */
        char name[32]; /* looked up only for an error: this code runs for every operand of every
                          call */
        const char *problem = pal_operand_problem(tape, in[i]);
        if (problem) {
            pal_arg_name(op->args, i, name);
            pal_fail(&tape->owner, PAL_ESTALE, "%s: argument %s %s", op->name, name, problem);
            break;
        }
        if (tape->grad && pal_comes_from_outside(tape, in[i].node)) {
            pal_arg_name(op->args, i, name);
            pal_fail(&tape->owner, PAL_EGRAD,
                     "%s: argument %s comes from outside the recomputed segment and wants a "
                     "gradient; pass it as one of the segment's inputs",
                     op->name, name);
            break;
        }
    }
    return tape;
}

static bool any_needs_grad(int nin, const pal_tensor *in)
{
    for (int i = 0; i < nin; i++)
        if (in[i].node && in[i].node->needs_grad) return true;
    return false;
}

/* Takes room for n elements of a type from one allocation. */
static void *carve(unsigned char **at, size_t size)
{
    void *p = *at;
    *at += pal_round_up(size, 16);
    return p;
}

pal_record *pal_record_new(pal_tape *tape, const pal_op *op, const void *opts, size_t size, int nin,
                           const pal_tensor *in, int nout, pal_node *const *out)
{
    size_t ins = (size_t)nin, outs = (size_t)nout;
    size_t bytes = sizeof(pal_record) + size + (3 * ins + 2 * outs) * sizeof(void *) + ins + 9 * 16;
    pal_arena *heads = &pal_tape_level(tape)->heads;
    unsigned char *at = pal_arena_zeroed(heads, bytes);
    if (!at) return NULL;
    pal_record *r = carve(&at, sizeof *r);
    r->tape = tape;
    r->products = tape->products;
    r->in = carve(&at, ins * sizeof *r->in);
    r->in_version = carve(&at, ins * sizeof *r->in_version);
    r->in_bits = carve(&at, ins);
    r->out = carve(&at, outs * sizeof *r->out);
    const pal_array **in_array = carve(&at, ins * sizeof *in_array);
    pal_array **out_array = carve(&at, outs * sizeof *out_array);
    for (int i = 0; i < nin; i++) {
        if (!in[i].node) continue;
        r->in[i] = in[i].node;
        r->in_version[i] = in[i].node->base->version;
        if (tape->grad && in[i].node->needs_grad) r->in_bits[i] = PAL_IN_WANTS;
        in_array[i] = &in[i].node->a;
        if (!pal_node_kept(in[i].node)) continue;
        pal_array *own = pal_arena_take(heads, sizeof *own);
        if (!own) return NULL;
        *own = in[i].node->a; /* the shape that backward goes by */
        in_array[i] = own;
    }
    for (int i = 0; i < nout; i++) {
        r->out[i] = out[i];
        out_array[i] = &out[i]->a;
    }
    r->call.op = op;
    r->call.nin = nin;
    r->call.nout = nout;
    r->call.in = in_array;
    r->call.out = out_array;
    if (size) r->call.opts = memcpy(carve(&at, size), opts, size);
    return r;
}

static bool allocate_outputs(pal_tape *tape, pal_record *r, bool grad)
{
    bool gradient = false;
    for (int i = 0; i < r->call.nin; i++)
        gradient = gradient || (r->in[i] && r->in[i]->is_gradient);
    for (int i = 0; i < r->call.nout; i++) {
        if (!pal_node_allocate(tape, r->out[i])) return false;
        r->out[i]->needs_grad = grad && pal_dtype_carries(r->out[i]->a.dtype);
        r->out[i]->is_gradient = gradient;
        if (grad) r->out[i]->maker = r;
    }
    return true;
}

static bool allocate_rest(pal_tape *tape, pal_record *r, pal_arena_mark *before_scratch)
{
    pal_arena *values = &pal_tape_level(tape)->values;
    for (int i = 0; i < r->call.nsaved; i++) {
        pal_array *s = &r->call.saved[i];
        s->data = pal_arena_take(values, pal_shape_bytes(s->dtype, pal_array_shape(s)));
        if (!s->data) return false;
    }
    *before_scratch = pal_arena_save(values);
    if (!r->forward_scratch) return true;
    r->call.scratch = pal_arena_take(values, r->forward_scratch);
    return r->call.scratch != NULL;
}

bool pal_array_finite(const pal_array *a)
{
    if (!pal_dtype_carries(a->dtype)) return true;
    int64_t n = pal_array_count(a), index[PAL_MAX_DIMS] = {0};
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(pal_array_get(a, index))) return false;
        for (int d = a->ndim - 1; d >= 0 && ++index[d] == a->shape[d]; d--) index[d] = 0;
    }
    return true;
}

/* With PAL_CHECK=numerics: finds the first operation that makes a number that is not finite out of
 * finite ones. */
static void check_forward(pal_call *call)
{
    for (int i = 0; i < call->nout; i++) {
        if (pal_array_finite(call->out[i])) continue;
        for (int j = 0; j < call->nin; j++)
            if (call->in[j] && !pal_array_finite(call->in[j])) return;
        pal_call_error(call, PAL_ENUMERIC, "the result holds a number that is not finite");
        return;
    }
}

void pal_record_link(pal_tape *tape, pal_record *r)
{
    pal_level *l = pal_tape_level(tape);
    r->prev = l->last;
    if (l->last)
        l->last->next = r;
    else
        l->first = r;
    l->last = r;
    tape->ops++;
}

static bool out_of_memory(pal_tape *tape, const pal_record *r, const pal_op *op)
{
    char text[128] = "its record";
    if (r && r->call.nout) pal_array_describe(r->call.out[0], text, sizeof text);
    pal_fail(&tape->owner, PAL_ENOMEM, "%s: out of memory for %s", op->name, text);
    return false;
}

/* All of an operation, from the checked handles to the finished nodes. */
static bool run(pal_tape *tape, const pal_op *op, const void *opts, size_t size, int nin,
                const pal_tensor *in, int nout, pal_node **out)
{
    pal_level *level = pal_tape_level(tape);
    for (int i = 0; i < nout; i++)
        if (!(out[i] = pal_node_new(tape, op->name))) return false;
    pal_arena_mark heads = pal_arena_save(&level->heads);
    pal_record *r = pal_record_new(tape, op, opts, size, nin, in, nout, out);
    if (!r) return out_of_memory(tape, r, op);
    pal_status status = op->infer(&r->call);
    if (status != PAL_OK) { /* an operation may return a status without a message */
        pal_call_error(&r->call, status, "the arguments do not fit");
        return false;
    }

    bool record = tape->grad && op->backward && any_needs_grad(nin, in);
    pal_arena_mark after_outputs, before_scratch;
    if (!allocate_outputs(tape, r, record)) return out_of_memory(tape, r, op);
    after_outputs = pal_arena_save(&level->values);
    if (!allocate_rest(tape, r, &before_scratch)) return out_of_memory(tape, r, op);

    int64_t elements = nout ? pal_array_count(&out[0]->a) : 0;
    if (!r->call.team) pal_call_team(&r->call, r->work ? r->work : elements);
    const double start = pal_profile_start(tape);
    op->forward(&r->call);
    pal_profile_stop(tape, op->name, start, false);
    pal_tape_note_peak(tape);
    if (tape->check_numerics) check_forward(&r->call);
    if (tape->owner.error.status != PAL_OK) return false;

    if (record) {
        pal_arena_rewind(&level->values, before_scratch);
        r->call.scratch = NULL;
        pal_record_link(tape, r);
    } else {
        pal_arena_rewind(&level->values, after_outputs);
        pal_arena_rewind(&level->heads, heads);
    }
    return true;
}

void pal_apply(const pal_op *op, const void *opts, size_t size, int nin, const pal_tensor *in,
               int nout, pal_tensor *out)
{
    enum { FEW = 16 };
    pal_node *few[FEW];
    pal_tape *tape = find_tape(op, nin, in);
    if (!tape) {
        for (int i = 0; i < nout; i++) out[i] = pal_poison_nowhere();
        return;
    }
    if (nout > FEW)
        pal_fail(&tape->owner, PAL_EVALUE, "%s: %d outputs; at most %d", op->name, nout, FEW);
    if (tape->owner.error.status == PAL_OK) {
        pal_level *level = pal_tape_level(tape);
        pal_arena_mark nodes = pal_arena_save(&level->nodes);
        pal_arena_mark heads = pal_arena_save(&level->heads);
        pal_arena_mark values = pal_arena_save(&level->values);
        pal_node *newest = level->newest;
        if (run(tape, op, opts, size, nin, in, nout, few)) {
            for (int i = 0; i < nout; i++) out[i] = pal_handle(few[i]);
            return;
        }
        pal_nodes_forget(level, newest);
        pal_arena_rewind(&level->values, values);
        pal_arena_rewind(&level->heads, heads);
        pal_arena_rewind(&level->nodes, nodes);
    }
    for (int i = 0; i < nout; i++) out[i] = pal_poison(&tape->owner);
}
