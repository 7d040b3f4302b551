/*
 * internal.h - tape, nodes and records, for the files of this floor and for tests.
 *
 * A node is a tensor: an array, and where its memory and gradient come from. A record is one
 * operation that backward may visit. Both live in the tape's arenas.
 *
 * Views are nodes without a record: a view shares the memory of its base, and its gradient is the
 * same view of its base's gradient. So cutting a sequence into T tokens costs T nodes and no
 * arithmetic in forward or backward.
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
    uint64_t id;     /* unique within the owner; 0: given back. A handle is valid if it has the same
                        number */
    pal_node *base;  /* the node whose memory and gradient this views; itself if it is not a view */
    pal_node *older; /* the node made before this one on its level (only on a tape) */
    pal_record *maker; /* the operation that computed it; NULL for leaves, views and parameters */
    const char *label; /* for messages; may be NULL */
    bool needs_grad;   /* backward has to pass a gradient through it */
    bool wanted;       /* the caller wants to see the gradient */
    bool is_gradient;  /* it is, or was computed from, a gradient */

    /* The rest is used only in a base. */
    int param;        /* index within its parameters; -1 on a tape */
    uint64_t version; /* number of writes to the memory through the interface */
    uint16_t *narrow; /* for a parameter: its bf16 copy (narrow.c), and the version that it is of */
    uint64_t narrow_version;
    pal_node *grad; /* for a parameter or wanted tensor: the tensor that holds its gradient */
    /* For one backward pass: */
    uint64_t pass; /* the last pass that reached it */
    size_t slot;   /* offset of the buffer in the block of the pass */
    void *fixed;   /* gradient memory that outlives a pass (for parameters and wanted leaves) */
    void *buffer;  /* the gradient while it is being summed */
    bool written;  /* the buffer has been written in this pass */
    pal_record *last_reader; /* the record that adds to it last, in the order of backward */
};

/* A tensor of pal_keep, or a parameter in bf16. Neither has a gradient, and the former takes
 * another size or other memory when it is kept again. */
static inline bool pal_node_kept(const pal_node *n) { return n->param >= 0 && !n->grad; }

/* What a tape and a set of parameters have in common. The poison node is the result of a failed
 * operation. */
struct pal_owner {
    bool is_tape;
    uint64_t next_id, first_live; /* ids below first_live belong to steps that have ended */
    pal_error error;              /* the first failure; while it is set the owner is sticky */
    pal_node poison;
};

enum { PAL_MAX_SAVED = 8 };

/* A segment of pal_recompute, with all that is needed to run it again. */
typedef struct pal_segment {
    pal_segment_fn *run;
    void *context;
    int nin; /* the first inputs of the record; its other inputs are captured parameters */
    const pal_tensor *in; /* the handles of these inputs */
    pal_rng before;       /* state of the tape's generator before the first run */
    pal_dtype products;   /* the tape's setting then */
} pal_segment;

typedef enum pal_in_bits {
    PAL_IN_WANTS = 1,   /* it wanted a gradient */
    PAL_IN_PLANNED = 2, /* this pass gives it one */
} pal_in_bits;

struct pal_record {
    pal_call call; /* what infer, forward and backward see */
    pal_record *prev, *next;
    pal_tape *tape;
    pal_node **in, **out; /* in[i] == NULL: the argument is left out */
    uint64_t *in_version; /* version of in[i]'s memory when it was read */
    /* Bits of pal_in_bits for each input. They say what held when the call was made, and what a
     * pass has planned: a program may freeze parameters at any time. */
    unsigned char *in_bits;
    size_t forward_scratch, backward_scratch;
    int64_t work;
    pal_dtype products; /* the tape's setting when the call was made; backward goes by it too */
    uint32_t fresh;     /* bit i: nothing has been added to din[i] yet */
    const pal_segment *segment; /* for a recompute record, else NULL */
};

/* A call on arrays of its caller, on no tape (plain.c): record.tape is NULL. */
typedef struct pal_plain {
    pal_record record;
    pal_array saved[PAL_MAX_SAVED]; /* call.saved: dtype and shape are infer's, data the caller's */
    pal_error *error;               /* where a failure is written */
    int threads;                    /* the most */
    bool measures; /* nothing is computed: the team is the largest that the call can ever have */
} pal_plain;

/* Values and records of one depth of recomputation. Level 0 is the step itself. */
enum { PAL_MAX_LEVELS = 8 };
typedef struct pal_level {
    /* Only nodes, in slots of one size. So a stale handle still points at a node, which shows that
     * the handle is stale. The arena is `readable` for the same reason. */
    pal_arena nodes;
    pal_arena heads;  /* records and what belongs to them */
    pal_arena values; /* memory of the tensors */
    pal_arena grads;  /* the block of the backward pass that is running */
    pal_record *first, *last;
    pal_node *newest; /* the first node of the chain `older` */
    /* the most that a segment at this level needs */
    size_t need_nodes, need_heads, need_values, need_grads;
    uint64_t first_id; /* nodes with smaller ids are outside of the running segment */
} pal_level;

struct pal_tape {
    pal_owner owner; /* must come first: a node's owner is its tape */
    pal_level level[PAL_MAX_LEVELS];
    int depth;
    bool grad;           /* whether operations are recorded */
    bool check_numerics; /* PAL_CHECK=numerics */
    pal_dtype products;  /* of the operands of products of f32: PAL_F32 or PAL_BF16 */
    bool in_backward;
    size_t peak;
    int64_t ops;
    pal_rng rng;
    pal_between_fn *between; /* called between operations of backward; NULL: none */
    void *between_user;
    struct pal_profile *profile; /* NULL: no profile was asked for */
};

static inline pal_level *pal_tape_level(pal_tape *tape) { return &tape->level[tape->depth]; }
static inline pal_tape *pal_tape_of(const pal_node *n)
{
    return n->owner && n->owner->is_tape ? (pal_tape *)(void *)n->owner : NULL;
}
static inline pal_tensor pal_handle(pal_node *n) { return (pal_tensor){n, n->id}; }

/* ---- Errors (tape.c) ---- */

/* Makes the owner sticky if this is its first error, and tells the handler. Returns the status. */
pal_status pal_fail(pal_owner *owner, pal_status status, const char *format, ...) PAL_PRINTF(3, 4);
/* The same without an owner: it only tells the handler. */
pal_status pal_fail_nowhere(pal_status status, const char *format, ...) PAL_PRINTF(2, 3);
pal_tensor pal_poison(pal_owner *owner);
/* The tensor to return if there is no owner. */
pal_tensor pal_poison_nowhere(void);
static inline bool pal_is_poison(const pal_node *n) { return n == &n->owner->poison; }
void pal_owner_init(pal_owner *owner, bool is_tape);

/*
 * The node of a handle. If the handle is empty, stale or poisoned it returns NULL and reports an
 * error of operation `op` and argument `arg`. A poisoned handle is not reported again.
 */
pal_node *pal_node_of(pal_tensor t, const char *op, const char *arg);
/* NULL if the handle can be used, else the reason ("is stale: ..."). */
const char *pal_handle_problem(pal_tensor t);

/* ---- Nodes (tape.c) ---- */

/* Makes a node on the tape's current level, without memory for the value. If memory is short, it
 * reports this for `op` and returns NULL. */
pal_node *pal_node_new(pal_tape *tape, const char *op);
/* Gives node n a contiguous value of this dtype and shape. If memory is short, it returns false and
 * reports nothing. */
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
/* A view of the memory of `from` with the given array, without a record. Errors name `op`. */
pal_tensor pal_view(const char *op, pal_tape *tape, const pal_node *from, const pal_array *a);
/* The same view of the base's gradient buffer. */
pal_array pal_gradient_view(const pal_node *n, void *base_buffer);

/* ---- Calls on no tape (plain.c) ---- */

/*
 * Begins a call of an operation on arrays that the caller has; *p must not move after this. The
 * arrays of out need memory only before forward. infer may be called again after *p was begun
 * again. opts are not copied. Nothing is allocated.
 */
void pal_plain_begin(pal_plain *p, const pal_op *op, const void *opts, int nin,
                     const pal_array *const *in, int nout, pal_array *const *out, int threads,
                     pal_error *error);
/* Runs infer, which fills in dtypes and shapes of out and saved, and the sizes of scratch in the
 * record. */
pal_status pal_plain_infer(pal_plain *p);
/* Run forward, or backward, in this scratch. Backward overwrites the arrays din[i] that are not
 * NULL; one of dout is not NULL. */
void pal_plain_forward(pal_plain *p, void *scratch);
void pal_plain_backward(pal_plain *p, const pal_array *const *dout, pal_array *const *din,
                        void *scratch);

/* ---- Records (apply.c) ---- */

/* NULL if the handle can be an operand of an operation on this tape, else the reason. */
const char *pal_operand_problem(const pal_tape *tape, pal_tensor t);
/* Whether a tensor that wants a gradient is older than the running segment. The segment's backward
 * could not add to its gradient. */
bool pal_comes_from_outside(const pal_tape *tape, const pal_node *n);
/* Makes a record on the current level, which is not linked yet; opts are copied. If memory is
 * short, it returns NULL and reports nothing. */
pal_record *pal_record_new(pal_tape *tape, const pal_op *op, const void *opts, size_t size, int nin,
                           const pal_tensor *in, int nout, pal_node *const *out);
void pal_record_link(pal_tape *tape, pal_record *r);
/* Whether all numbers of the array are finite; integers always are. */
bool pal_array_finite(const pal_array *a);
/* Copies the i-th word of a list separated by spaces. The last word stands for all that follow. */
void pal_arg_name(const char *args, int i, char name[32]);

/* ---- Backward (backward.c) ---- */

typedef struct pal_plan {
    uint64_t pass;
    size_t block;    /* bytes of the gradient buffers */
    size_t planning; /* bytes that the planning used */
    size_t scratch;  /* the largest scratch of a backward function, with the arrays of its call */
} pal_plan;

/*
 * Lays out the gradient buffers of a pass that starts at the seeds and walks back over the records
 * of the current level. It changes marks in nodes but no gradient. It reports tensors that were
 * changed since they were read.
 */
pal_status pal_plan_backward(pal_tape *tape, int n, pal_node *const *seeds, pal_plan *plan);
/* Runs the pass that was just planned. All its memory has been reserved. */
pal_status pal_run_backward(pal_tape *tape, int n, pal_node *const *seeds,
                            const pal_array *const *cotangents, const pal_plan *plan);
size_t pal_plan_bytes(const pal_plan *plan);

/* Recomputes a segment and runs backward through it (recompute.c). */
pal_status pal_segment_backward(pal_record *r);

/* ---- Parameters (params.c) ---- */

/*
 * pal_params_get in two steps. The first reads everything. The second puts the new values in place
 * or drops them; it cannot fail, and does nothing if the first step failed.
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
                                                pal_progress progress, pal_error *error);

/* Refuses parameters (PAL_EVALUE) that together have more elements, so that what an untrusted file
 * says does not decide how much memory is taken. */
void pal_params_limit(pal_params *params, int64_t elements);
/* PAL_BF16: f32 weights that only products and embeddings read are stored in bf16 from now on. The
 * dtype in which such a weight is stored. */
void pal_params_store(pal_params *params, pal_dtype weights);
pal_dtype pal_params_stored(const pal_params *params, pal_dtype dtype);
/* Takes memory for the gradients, as zeros, of all parameters that have none yet; false, and
 * nothing has changed: out of memory (not reported). */
bool pal_params_make_gradients(pal_params *params);

/* Block b without taking memory: grad is NULL where there are no gradients, which are zeros. */
pal_param_block pal_params_block_as_is(const pal_params *params, int b);

/*
 * A bf16 copy of a contiguous f32 parameter, made again if the parameter was written to since.
 * NULL: out of memory (not reported). Several tapes may ask at once.
 */
uint16_t *pal_params_narrow(pal_node *param);
void pal_params_drop_narrow(pal_node *param);

void pal_params_grad_ready(pal_node *param); /* calls the callback of pal_params_on_grad */
/* That callback (NULL: none). A caller that replaces it can call it from its own callback. */
pal_grad_fn *pal_params_grad_fn(const pal_params *params, void **user);

/* dst += src (ops/map.c). dst is f32 or f64. src has the same dtype and broadcasts to dst. Both may
 * have any strides. */
void pal_array_add(const pal_array *dst, const pal_array *src);

#endif
