/*
 * internal.h - tape, nodes and records, for the files of this floor and for tests.
 *
 * A node is a tensor: an array and where its memory and gradient come from. A record is one
 * operation that backward may visit. Both live in the tape's arenas.
 *
 * Views are nodes without a record: a view shares the memory of its base, and its gradient is the
 * same view of its base's gradient. So cutting a sequence into T tokens costs T nodes and no
 * arithmetic in either direction.
 */
#ifndef PAL_AUTOGRAD_INTERNAL_H
#define PAL_AUTOGRAD_INTERNAL_H

#include "autograd/autograd.h"
#include "tensor/internal.h"

typedef struct pal_record pal_record;
typedef struct pal_owner pal_owner;

struct pal_node {
    pal_array a;      /* the value */
    pal_owner *owner; /* a tape or a set of parameters */
    uint64_t id;     /* unique within the owner; 0: given back. A handle is good while they agree */
    pal_node *base;  /* whose memory and gradient this is a view of; itself if it is none */
    pal_node *older; /* the node made before this one on its level (tape only) */
    pal_record *maker; /* the operation that computed it; NULL for leaves, views and parameters */
    const char *label; /* for messages; may be NULL */
    bool needs_grad;   /* a gradient has to flow through it */
    bool wanted;       /* the caller wants to see the gradient */
    bool is_gradient;  /* it is, or was computed from, a gradient */

    /* The rest is meaningful for a base only. */
    int param;        /* index within its parameters, -1 on a tape */
    uint64_t version; /* how often the memory has been written through the interface */
    pal_node *grad;   /* parameter or wanted tensor: the tensor that holds its gradient */
    /* One backward pass: */
    uint64_t pass;           /* the last pass that reached it */
    size_t slot;             /* where the buffer lies in the pass's block */
    void *fixed;             /* gradient memory that outlives a pass (parameters, wanted leaves) */
    void *buffer;            /* the gradient while it is being summed */
    bool written;            /* buffer holds something */
    pal_record *last_reader; /* the last record, in backward's order, that adds to it */
};

/* What a tape and a set of parameters have in common. The poison node stands for a failed result.
 */
struct pal_owner {
    bool is_tape;
    uint64_t next_id, first_live; /* ids below first_live belong to steps that are over */
    pal_error error;              /* sticky: the first failure */
    pal_node poison;
};

enum { PAL_MAX_SAVED = 8 };

/* A segment of pal_recompute: how to run it again. */
typedef struct pal_segment {
    pal_segment_fn *run;
    void *context;
    int nin;              /* the first inputs of the record; the others are captured parameters */
    const pal_tensor *in; /* their handles */
    pal_rng before;       /* the tape's generator when it first ran */
} pal_segment;

struct pal_record {
    pal_call call; /* what infer, forward and backward see */
    pal_record *prev, *next;
    pal_tape *tape;
    pal_node **in, **out; /* in[i] == NULL: left out */
    uint64_t *in_version; /* of in[i]'s memory when it was read */
    size_t forward_scratch, backward_scratch;
    int64_t work;
    uint32_t fresh;             /* inputs whose din holds nothing yet */
    const pal_segment *segment; /* of a recompute record */
};

/* Values and records of one depth of recomputation; level 0 is the step itself. */
enum { PAL_MAX_LEVELS = 8 };
typedef struct pal_level {
    /* Nodes alone: slots of one size, so that whatever a stale handle points at is a node, and can
     * tell that the handle is stale. Readable for the same reason. */
    pal_arena nodes;
    pal_arena heads;  /* records and what belongs to them */
    pal_arena values; /* memory of tensors */
    pal_arena grads;  /* the block of a running backward pass */
    pal_record *first, *last;
    pal_node *newest; /* the start of the chain of nodes */
    size_t need_nodes, need_heads, need_values,
        need_grads;    /* the most that a segment at this level takes */
    uint64_t first_id; /* older nodes are outside the running segment */
} pal_level;

struct pal_tape {
    pal_owner owner; /* first: a node's owner is its tape */
    pal_level level[PAL_MAX_LEVELS];
    int depth;
    bool grad;           /* recording */
    bool check_numerics; /* PAL_CHECK=numerics */
    bool in_backward;
    uint64_t passes;
    size_t peak;
    int64_t ops;
    pal_rng rng;
    pal_between_fn *between; /* NULL: none */
    void *between_user;
    struct pal_profile *profile; /* NULL: never asked for */
};

static inline pal_level *pal_tape_level(pal_tape *tape) { return &tape->level[tape->depth]; }
static inline pal_tape *pal_tape_of(const pal_node *n)
{
    return n->owner && n->owner->is_tape ? (pal_tape *)(void *)n->owner : NULL;
}
static inline pal_tensor pal_handle(pal_node *n) { return (pal_tensor){n, n->id}; }

/* ---- Errors (tape.c) ---- */

/* Makes the owner sticky with its first error and tells the handler. Returns the status. */
pal_status pal_fail(pal_owner *owner, pal_status status, const char *format, ...) PAL_PRINTF(3, 4);
/* The same without an owner: only tells the handler. */
pal_status pal_fail_nowhere(pal_status status, const char *format, ...) PAL_PRINTF(2, 3);
pal_tensor pal_poison(pal_owner *owner);
/* What to return when there is not even an owner. */
pal_tensor pal_poison_nowhere(void);
static inline bool pal_is_poison(const pal_node *n) { return n == &n->owner->poison; }
void pal_owner_init(pal_owner *owner, bool is_tape);

/*
 * The node of a handle; NULL, after reporting on behalf of operation `op` and argument `arg`, if it
 * is empty, stale or poisoned. The last is not reported again.
 */
pal_node *pal_node_of(pal_tensor t, const char *op, const char *arg);
/* NULL if the handle can be used, else the reason as a phrase ("is stale: ..."). */
const char *pal_handle_problem(pal_tensor t);

/* ---- Nodes (tape.c) ---- */

/* A new node on the tape's current level; no memory for the value yet. NULL: out of memory,
 * reported for `op`. */
pal_node *pal_node_new(pal_tape *tape, const char *op);
/* Gives node n a contiguous value of this dtype and shape; false: out of memory (not reported). */
bool pal_node_allocate(pal_tape *tape, pal_node *n);

/* ---- Profile (profile.c) ---- */

enum { PAL_PROFILE_LINES = 256 }; /* of different names; what comes later is not counted */
typedef struct pal_profile {
    bool on;
    int n;
    pal_profile_line line[PAL_PROFILE_LINES];
} pal_profile;
/* Around an operation's forward or backward; without a profile they do nothing. */
double pal_profile_start(const pal_tape *tape);
void pal_profile_stop(pal_tape *tape, const char *name, double start, bool backward);
/* Makes the handles of all nodes of this level that are newer than `mark` stale. */
void pal_nodes_forget(pal_level *level, pal_node *mark);
void pal_tape_note_peak(pal_tape *tape);
/* A view of the memory of `from` with the given array; no record. `op` is named in errors. */
pal_tensor pal_view(const char *op, pal_tape *tape, const pal_node *from, const pal_array *a);
/* The same view of the base's gradient buffer. */
pal_array pal_gradient_view(const pal_node *n, void *base_buffer);

/* ---- Records (apply.c) ---- */

/* NULL if the handle can be an operand of an operation on this tape, else the reason as a phrase.
 */
const char *pal_operand_problem(const pal_tape *tape, pal_tensor t);
/* Whether a tensor that wants a gradient is older than the segment that is running: backward of the
 * segment could not add to its gradient. */
bool pal_comes_from_outside(const pal_tape *tape, const pal_node *n);
/* A record on the current level, not yet linked; opts are copied. NULL: out of memory (not
 * reported). */
pal_record *pal_record_new(pal_tape *tape, const pal_op *op, const void *opts, size_t size, int nin,
                           const pal_tensor *in, int nout, pal_node *const *out);
void pal_record_link(pal_tape *tape, pal_record *r);
/* false if a number in it is not finite; integers always are. */
bool pal_array_finite(const pal_array *a);
/* Copies the i-th word of a space-separated list, the last one standing for all behind it. */
void pal_arg_name(const char *args, int i, char name[32]);

/* ---- Backward (backward.c) ---- */

typedef struct pal_plan {
    uint64_t pass;
    size_t block;    /* bytes of the gradient buffers */
    size_t planning; /* bytes that planning itself took */
    size_t scratch;  /* the largest scratch of a backward function, and the arrays handed to it */
} pal_plan;

/* Lays out the gradient buffers of a pass over the records of the current level, from the seeds
 * back. Changes marks in nodes but no gradient. Reports stale versions. */
pal_status pal_plan_backward(pal_tape *tape, int n, pal_node *const *seeds, pal_plan *plan);
/* Runs the pass that was just planned; all memory has been reserved. */
pal_status pal_run_backward(pal_tape *tape, int n, pal_node *const *seeds,
                            const pal_array *const *cotangents, const pal_plan *plan);
size_t pal_plan_bytes(const pal_plan *plan);

/* Recomputes a segment and runs backward through it (recompute.c). */
pal_status pal_segment_backward(pal_record *r);

/* ---- Parameters (params.c) ---- */

/*
 * pal_params_get in two steps: everything is read, and then it takes the place of the values or is
 * forgotten. The second cannot fail; it does nothing where the first did.
 */
typedef struct pal_pending {
    pal_params *params;
    void *values;
    size_t bytes;
} pal_pending;
PAL_CHECKED pal_status pal_params_read(pal_params *params, pal_h5 *file, const char *group,
                                       pal_pending *pending, pal_error *error);
void pal_params_settle(pal_pending *pending, bool take);
/* The same in one step and without a second copy of the values; after a failure they are neither
 * the old ones nor the new ones. For parameters that are given up then. */
PAL_CHECKED pal_status pal_params_read_in_place(pal_params *params, pal_h5 *file, const char *group,
                                                pal_error *error);

/* Refuses parameters (PAL_EVALUE) that together have more elements, so that what an untrusted file
 * says does not decide how much memory is taken. */
void pal_params_limit(pal_params *params, int64_t elements);
/* Takes memory for the gradients, as zeros, of all parameters that have none yet; false, and
 * nothing has changed: out of memory (not reported). */
bool pal_params_make_gradients(pal_params *params);

/* Block b without taking memory: grad is NULL where there are no gradients, which are zeros. */
pal_block pal_params_block_as_is(const pal_params *params, int b);

void pal_params_grad_ready(pal_node *param); /* calls the callback of pal_params_on_grad */
/* That callback (NULL: none), so that another can call it in its own. */
pal_grad_fn *pal_params_grad_fn(const pal_params *params, void **user);

/* dst += src (ops/map.c): dst is f32 or f64, src of the same dtype broadcasts to it, any strides.
 */
void pal_array_add(const pal_array *dst, const pal_array *src);

#endif
