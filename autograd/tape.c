/*
 * tape.c - the life of a tape and of its nodes, and what happens when something fails.
 *
 * Handles are checked by id. The id of a node is unique within its owner, and a reset moves
 * `first_live` past all ids that have been used. Memory of nodes is not returned to the allocator
 * before the tape is freed, so the node of a stale handle can always be read.
 */
#include "autograd/internal.h"
#include "tensor/number.h"

#include <stdlib.h>
#include <string.h>

/* ---- Errors ---- */

void pal_owner_init(pal_owner *owner, bool is_tape)
{
    owner->is_tape = is_tape;
    owner->next_id = owner->first_live = 1;
    owner->poison.owner = owner;
    owner->poison.base = &owner->poison;
    owner->poison.param = -1;
    owner->poison.label = "poison";
    /* With shape [0] there is nothing to read, and no operation takes it for a result. */
    owner->poison.a = (pal_array){.dtype = PAL_F32, .ndim = 1, .stride = {1}};
}

/* The owner to use while there is none; it is never written to. */
static pal_owner nobody = {
    .poison = {.a = {.ndim = 1}, .owner = &nobody, .base = &nobody.poison, .param = -1}};

pal_tensor pal_poison_nowhere(void) { return (pal_tensor){&nobody.poison, 0}; }

pal_tensor pal_poison(pal_owner *owner) { return (pal_tensor){&owner->poison, owner->first_live}; }

pal_status pal_fail(pal_owner *owner, pal_status status, const char *format, ...)
{
    if (owner->error.status != PAL_OK) return owner->error.status;
    va_list args;
    va_start(args, format);
    owner->error.status = status;
    pal_vsnprintf(owner->error.message, sizeof owner->error.message, format, args);
    va_end(args);
    pal_raise(&owner->error);
    return status;
}

pal_status pal_fail_nowhere(pal_status status, const char *format, ...)
{
    pal_error error = {.status = status};
    va_list args;
    va_start(args, format);
    pal_vsnprintf(error.message, sizeof error.message, format, args);
    va_end(args);
    pal_raise(&error);
    return status;
}

const char *pal_handle_problem(pal_tensor t)
{
    if (!t.node) return "is empty (PAL_NONE)";
    const pal_owner *o = t.node->owner;
    if (pal_is_poison(t.node)) {
        if (o == &nobody || t.generation == o->first_live) return "is the result of a failure";
        return "is stale: its tape has been reset since";
    }
    if (t.generation < o->first_live) return "is stale: its tape has been reset since";
    if (t.node->id != t.generation)
        return "is stale: it lived inside a recomputed segment or a failed operation";
    return NULL;
}

pal_node *pal_node_of(pal_tensor t, const char *op, const char *arg)
{
    const char *problem = pal_handle_problem(t);
    if (!problem) return t.node;
    if (!t.node || t.node->owner == &nobody)
        pal_fail_nowhere(PAL_ESTALE, "%s: argument %s %s", op, arg, problem);
    else /* The owner of a poisoned tensor is already sticky, so pal_fail would not report it again.
          */
        pal_fail(t.node->owner, PAL_ESTALE, "%s: argument %s %s", op, arg, problem);
    return NULL;
}

/* ---- Tape ---- */

pal_tape *pal_tape_new(void)
{
    pal_tape *tape = pal_malloc(sizeof *tape);
    if (!tape) {
        pal_fail_nowhere(PAL_ENOMEM, "tape_new: out of memory");
        return NULL;
    }
    memset(tape, 0, sizeof *tape);
    pal_owner_init(&tape->owner, true);
    tape->grad = true;
    for (int i = 0; i < PAL_MAX_LEVELS; i++) tape->level[i].nodes.readable = true;
    tape->rng = pal_rng_new(0, 0);
    const char *check = getenv("PAL_CHECK");
    tape->check_numerics = check && strstr(check, "numerics");
    return tape;
}

void pal_tape_reset(pal_tape *tape)
{
    for (int i = 0; i < PAL_MAX_LEVELS; i++) {
        pal_level *l = &tape->level[i];
        pal_arena_reset(&l->nodes);
        pal_arena_reset(&l->heads);
        pal_arena_reset(&l->values);
        pal_arena_reset(&l->grads);
        l->first = l->last = NULL;
        l->newest = NULL;
        l->need_nodes = l->need_heads = l->need_values = l->need_grads = 0;
        l->first_id = 0;
    }
    tape->depth = 0;
    tape->ops = 0;
    tape->in_backward = false;
    tape->owner.first_live = tape->owner.next_id;
    /* A reset makes every handle stale, also that of the poison node. */
    tape->owner.next_id++;
    tape->owner.first_live++;
    tape->owner.error = (pal_error){PAL_OK, ""};
}

void pal_tape_free(pal_tape *tape)
{
    if (!tape) return;
    for (int i = 0; i < PAL_MAX_LEVELS; i++) {
        pal_arena_free(&tape->level[i].nodes);
        pal_arena_free(&tape->level[i].heads);
        pal_arena_free(&tape->level[i].values);
        pal_arena_free(&tape->level[i].grads);
    }
    pal_free(tape->profile, sizeof *tape->profile);
    pal_free(tape, sizeof *tape);
}

pal_status pal_tape_status(const pal_tape *tape) { return tape->owner.error.status; }
const char *pal_tape_message(const pal_tape *tape) { return tape->owner.error.message; }

bool pal_set_grad(pal_tape *tape, bool on)
{
    bool before = tape->grad;
    tape->grad = on;
    return before;
}

pal_rng *pal_tape_rng(pal_tape *tape) { return &tape->rng; }

static size_t live_bytes(const pal_tape *tape)
{
    size_t live = 0;
    for (int i = 0; i < PAL_MAX_LEVELS; i++)
        live += tape->level[i].values.live + tape->level[i].grads.live + tape->level[i].heads.live +
                tape->level[i].nodes.live;
    return live;
}

void pal_tape_note_peak(pal_tape *tape)
{
    size_t live = live_bytes(tape);
    if (live > tape->peak) tape->peak = live;
}

pal_memory pal_tape_memory(const pal_tape *tape)
{
    pal_memory m = {.live = live_bytes(tape), .peak = tape->peak, .ops = tape->ops};
    for (int i = 0; i < PAL_MAX_LEVELS; i++)
        m.reserved += tape->level[i].values.reserved + tape->level[i].grads.reserved +
                      tape->level[i].heads.reserved + tape->level[i].nodes.reserved;
    if (m.live > m.peak) m.peak = m.live;
    return m;
}

void pal_memory_print(FILE *file, pal_memory m)
{
    PAL_C_LOCALE;
    fprintf(file, "tape: %.3f MiB live, %.3f MiB at the peak, %.3f MiB reserved, %lld operations\n",
            (double)m.live / 0x1p20, (double)m.peak / 0x1p20, (double)m.reserved / 0x1p20,
            (long long)m.ops);
}

/* ---- Nodes ---- */

pal_node *pal_node_new(pal_tape *tape, const char *op)
{
    pal_node *n = pal_arena_zeroed(&pal_tape_level(tape)->nodes, sizeof *n);
    if (!n) {
        pal_fail(&tape->owner, PAL_ENOMEM, "%s: out of memory for a tensor of the tape", op);
        return NULL;
    }
    n->owner = &tape->owner;
    n->id = tape->owner.next_id++;
    n->base = n;
    n->param = -1;
    n->older = pal_tape_level(tape)->newest;
    pal_tape_level(tape)->newest = n;
    return n;
}

bool pal_node_allocate(pal_tape *tape, pal_node *n)
{
    pal_shape shape = pal_array_shape(&n->a);
    void *data = pal_arena_take(&pal_tape_level(tape)->values, pal_shape_bytes(n->a.dtype, shape));
    if (!data) return false;
    n->a = pal_array_of(n->a.dtype, shape, data);
    return true;
}

void pal_nodes_forget(pal_level *level, pal_node *mark)
{
    for (; level->newest != mark; level->newest = level->newest->older) level->newest->id = 0;
}

pal_tensor pal_view(const char *op, pal_tape *tape, const pal_node *from, const pal_array *a)
{
    pal_node *n = pal_node_new(tape, op);
    if (!n) return pal_poison(&tape->owner);
    n->a = *a;
    n->base = from->base;
    n->needs_grad = from->needs_grad;
    n->is_gradient = from->is_gradient;
    return pal_handle(n);
}

pal_array pal_gradient_view(const pal_node *n, void *base_buffer)
{
    pal_array g = n->a;
    g.dtype = pal_gradient_dtype(n->a.dtype);
    ptrdiff_t offset = (char *)n->a.data - (char *)n->base->a.data;
    if (g.dtype != n->a.dtype)
        offset =
            offset / (ptrdiff_t)pal_dtype_size(n->a.dtype) * (ptrdiff_t)pal_dtype_size(g.dtype);
    g.data = (char *)base_buffer + offset;
    return g;
}
