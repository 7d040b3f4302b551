/*
 * params.c - parameters: named tensors that outlive the steps, in blocks that never move.
 *
 * Values and gradients lie in blocks of one dtype each, in the order of creation, so that an
 * optimiser is one loop over blocks. Tensors that have only a value (pal_keep) have blocks of
 * their own, without gradients. Padding between parameters is zero and stays zero.
 *
 * Gradients take no memory before they are needed, so inference holds only the values. The first
 * time they are needed, the gradients of all blocks get one piece of memory. Blocks that are added
 * later get another one at the next need.
 */
#include "autograd/internal.h"
#include "tensor/team.h"

#include <fnmatch.h>
#include <string.h>

typedef struct block {
    struct block *next;
    pal_param_block b;
    size_t used, capacity; /* bytes */
} block;

typedef struct entry {
    struct entry *next;
    pal_node value, grad;
    block *block; /* where it lies */
    pal_span span;
    int64_t room; /* elements that the memory has: more than span.count if it has been resized */
    bool decay, frozen, kept;
    char name[]; /* terminated */
} entry;

/* The gradients of some blocks, which follow this head in the same memory. */
typedef struct gradients {
    struct gradients *next;
    size_t size; /* of all of it */
} gradients;

struct pal_params {
    pal_owner owner; /* first: a node's owner is its parameters */
    pal_arena arena; /* entries and layers */
    entry *first, *last;
    block *first_block, *last_block;
    gradients *gradients;
    entry **index; /* entries in order of creation */
    int count, room, blocks;
    int64_t size, most; /* elements of all, and how many there may be */
    bool lacking;       /* a block has no gradients yet */
    bool narrow;        /* weights of products are stored in bf16 */
    pal_grad_fn *on_grad;
    void *on_grad_user;
};

enum { BLOCK_BYTES = 1 << 20 };

/* ---- Life ---- */

pal_params *pal_params_new(void)
{
    pal_params *p = pal_malloc(sizeof *p);
    if (!p) {
        pal_fail_nowhere(PAL_ENOMEM, "params_new: out of memory");
        return NULL;
    }
    memset(p, 0, sizeof *p);
    p->most = INT64_MAX;
    pal_owner_init(&p->owner, false);
    return p;
}

void pal_params_free(pal_params *p)
{
    if (!p) return;
    for (entry *e = p->first; e; e = e->next) pal_params_drop_narrow(&e->value);
    for (block *b = p->first_block, *next; b; b = next) {
        next = b->next;
        pal_free(b->b.value, b->capacity);
        pal_free(b, sizeof *b);
    }
    for (gradients *g = p->gradients, *next; g; g = next) {
        next = g->next;
        pal_free(g, g->size);
    }
    pal_free(p->index, (size_t)p->room * sizeof(entry *));
    pal_arena_free(&p->arena);
    pal_free(p, sizeof *p);
}

void pal_params_limit(pal_params *p, int64_t elements) { p->most = elements; }

void pal_params_store(pal_params *p, pal_dtype weights) { p->narrow = weights == PAL_BF16; }
pal_dtype pal_params_stored(const pal_params *p, pal_dtype dtype)
{
    return p->narrow && dtype == PAL_F32 ? PAL_BF16 : dtype;
}

pal_status pal_params_status(const pal_params *p) { return p->owner.error.status; }

void *pal_params_alloc(pal_params *p, size_t size)
{
    void *memory = pal_arena_zeroed(&p->arena, size);
    if (!memory) pal_fail(&p->owner, PAL_ENOMEM, "params_alloc: out of memory for %zu bytes", size);
    return memory;
}

/* ---- Storage ---- */

static block *new_block(pal_params *p, pal_dtype dtype, size_t bytes, bool kept)
{
    block *b = pal_malloc(sizeof *b);
    size_t capacity = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
    if (!b) return NULL;
    *b = (block){.capacity = capacity, .b.dtype = dtype, .b.kept = kept};
    b->b.value = pal_malloc(capacity);
    if (!b->b.value) {
        pal_free(b, sizeof *b);
        return NULL;
    }
    if (p->last_block)
        p->last_block->next = b;
    else
        p->first_block = b;
    p->last_block = b;
    p->blocks++;
    p->lacking = p->lacking || !kept;
    return b;
}

/* Finds room for `bytes` after the last entry of this kind; *span says where. Zeros are written as
 * room is taken: a page of a block that nobody uses is never touched. */
static block *find_room(pal_params *p, pal_dtype dtype, size_t bytes, bool kept, pal_span *span)
{
    int number = 0, found = -1;
    block *at = NULL;
    for (block *b = p->first_block; b; b = b->next, number++) {
        if (b->b.dtype != dtype || b->b.kept != kept) continue;
        at = b->capacity - b->used >= bytes ? b : NULL;
        found = number;
    }
    if (!at) {
        at = new_block(p, dtype, bytes, kept);
        found = p->blocks - 1;
    }
    if (!at) return NULL;
    span->block = found;
    span->offset = (int64_t)(at->used / pal_dtype_size(dtype));
    pal_zero((char *)at->b.value + at->used, bytes);
    if (at->b.grad) pal_zero((char *)at->b.grad + at->used, bytes);
    at->used += bytes;
    at->b.count = (int64_t)(at->used / pal_dtype_size(dtype));
    return at;
}

static void bind_gradient(entry *e)
{
    const pal_param_block *b = &e->block->b;
    if (!b->grad) return;
    e->grad.a.data = (char *)b->grad + (size_t)e->span.offset * pal_dtype_size(b->dtype);
    e->value.fixed = e->grad.a.data;
}

static bool lacks_gradients(const block *b) { return !b->b.kept && !b->b.grad; }

bool pal_params_make_gradients(pal_params *p)
{
    const size_t head = pal_round_up(sizeof(gradients), PAL_ALIGN);
    size_t size = 0;
    if (!p->lacking) return true;
    for (const block *b = p->first_block; b; b = b->next)
        if (lacks_gradients(b)) size += pal_round_up(b->capacity, PAL_ALIGN);
    gradients *g = pal_malloc(head + size);
    if (!g) return false;
    *g = (gradients){.next = p->gradients, .size = head + size};
    p->gradients = g;
    char *at = (char *)g + head;
    for (block *b = p->first_block; b; b = b->next) {
        if (!lacks_gradients(b)) continue;
        b->b.grad = pal_zero(at, b->used);
        at += pal_round_up(b->capacity, PAL_ALIGN);
    }
    for (entry *e = p->first; e; e = e->next)
        if (!e->kept && !e->grad.a.data) bind_gradient(e);
    p->lacking = false;
    return true;
}

static bool grow_index(pal_params *p)
{
    if (p->count < p->room) return true;
    int room = p->room ? 2 * p->room : 64;
    entry **more = pal_malloc((size_t)room * sizeof *more);
    if (!more) return false;
    if (p->count) memcpy(more, p->index, (size_t)p->count * sizeof *more);
    pal_free(p->index, (size_t)p->room * sizeof *more);
    p->index = more;
    p->room = room;
    return true;
}

static entry *find(const pal_params *p, const char *name)
{
    for (entry *e = p->first; e; e = e->next)
        if (!strcmp(e->name, name)) return e;
    return NULL;
}

static void init_node(pal_params *p, pal_node *n, pal_dtype dtype, pal_shape shape, void *data)
{
    n->owner = &p->owner;
    n->id = p->owner.next_id++;
    n->base = n;
    n->param = -1;
    n->a = pal_array_of(dtype, shape, data);
}

/* Names are those of datasets in files, where one cannot be a group of another. */
static bool name_fits(pal_params *p, const char *op, const char *name)
{
    const char *trouble = pal_name_trouble(name);
    if (trouble) {
        pal_fail(&p->owner, PAL_EVALUE, "%s: the name \"%.400s\" %s, so no file can hold it", op,
                 name, trouble);
        return false;
    }
    for (const entry *e = p->first; e; e = e->next) {
        const bool same = strcmp(e->name, name) == 0;
        if (!same && !pal_name_within(name, e->name) && !pal_name_within(e->name, name)) continue;
        if (same)
            pal_fail(&p->owner, PAL_EVALUE, "%s: the name \"%s\" is taken", op, name);
        else
            pal_fail(&p->owner, PAL_EVALUE,
                     "%s: the name \"%s\" does not go with \"%s\": one would be a dataset and a "
                     "group of a file",
                     op, name, e->name);
        return false;
    }
    return true;
}

static entry *add_entry(pal_params *p, const char *op, const char *name, pal_dtype dtype,
                        pal_shape shape, bool kept)
{
    if (p->owner.error.status != PAL_OK) return NULL;
    int64_t count = pal_shape_count(shape);
    if (!name_fits(p, op, name ? name : "")) return NULL;
    if (count < 0 || (!kept && !pal_dtype_real(dtype))) {
        pal_fail(&p->owner, count < 0 ? PAL_ESHAPE : PAL_EDTYPE, "%s: \"%s\": %s%s", op, name,
                 count < 0 ? "a negative or too large size"
                           : "a parameter is f32, f64 or bf16, not ",
                 count < 0 ? "" : pal_dtype_name(dtype));
        return NULL;
    }
    if (count > p->most - p->size) {
        pal_fail(&p->owner, PAL_EVALUE, "%s: with \"%s\" there would be more than %lld numbers", op,
                 name, (long long)p->most);
        return NULL;
    }
    size_t length = strlen(name) + 1, bytes = pal_shape_bytes(dtype, shape);
    entry *e = pal_arena_zeroed(&p->arena, sizeof *e + length);
    pal_span span = {.count = count};
    bool enough = e && grow_index(p);
    block *b = enough ? find_room(p, dtype, pal_round_up(bytes ? bytes : 1, PAL_ALIGN), kept, &span)
                      : NULL;
    if (!b) {
        pal_fail(&p->owner, PAL_ENOMEM, "%s: out of memory for \"%s\" (%zu bytes)", op, name,
                 bytes);
        return NULL;
    }
    memcpy(e->name, name, length);
    e->block = b;
    e->span = span;
    e->room = count;
    e->kept = e->frozen = kept;
    e->decay = !kept;
    size_t at = (size_t)span.offset * pal_dtype_size(dtype);
    init_node(p, &e->value, dtype, shape, (char *)b->b.value + at);
    e->value.label = e->name;
    e->value.param = p->count;
    if (!kept) {
        init_node(p, &e->grad, dtype, shape, NULL);
        e->grad.is_gradient = true;
        e->value.grad = &e->grad;
        e->value.needs_grad = true;
        bind_gradient(e);
    }
    if (p->last)
        p->last->next = e;
    else
        p->first = e;
    p->last = e;
    p->index[p->count++] = e;
    p->size += count;
    return e;
}

pal_tensor pal_param(pal_params *p, const char *name, pal_dtype dtype, pal_shape shape)
{
    entry *e = add_entry(p, "param", name, dtype, shape, dtype == PAL_BF16);
    return e ? pal_handle(&e->value) : pal_poison(&p->owner);
}

/* Gives a kept tensor another size. If it does not fit, it gets new memory of twice the size
 * needed, so that a growing tensor leaves behind less memory than it has. */
static bool resize(pal_params *p, entry *e, pal_shape shape)
{
    pal_dtype dtype = e->value.a.dtype;
    int64_t count = pal_shape_count(shape);
    void *data = e->value.a.data;
    if (count > e->room) {
        size_t bytes = pal_round_up(2 * pal_shape_bytes(dtype, shape), PAL_ALIGN);
        pal_span span = e->span;
        block *b = find_room(p, dtype, bytes, true, &span);
        if (!b) {
            pal_fail(&p->owner, PAL_ENOMEM, "keep: out of memory for \"%s\" (%zu bytes)", e->name,
                     bytes);
            return false;
        }
        e->block = b;
        e->span = span;
        e->room = 2 * count;
        data = (char *)b->b.value + (size_t)span.offset * pal_dtype_size(dtype);
    }
    e->span.count = count;
    e->value.a = pal_array_of(dtype, shape, data);
    return true;
}

pal_tensor pal_keep(pal_params *p, const char *name, pal_tensor t)
{
    pal_node *n = pal_node_of(t, "keep", "t");
    if (!n || p->owner.error.status != PAL_OK) return pal_poison(&p->owner);
    pal_shape shape = pal_array_shape(&n->a);
    entry *e = name ? find(p, name) : NULL;
    char have[128], give[128];
    if (e && (!e->kept || e->value.a.dtype != n->a.dtype || e->value.a.ndim != shape.ndim)) {
        pal_fail(&p->owner, PAL_ESHAPE, "keep: \"%s\" is %s %s, and t is %s", name,
                 e->kept ? "a kept tensor" : "a parameter",
                 pal_array_describe(&e->value.a, have, sizeof have),
                 pal_array_describe(&n->a, give, sizeof give));
        return pal_poison(&p->owner);
    }
    if (!e) e = add_entry(p, "keep", name, n->a.dtype, shape, true);
    if (!e) return pal_poison(&p->owner);
    bool same = pal_shape_equal(pal_array_shape(&e->value.a), shape);
    /* Another view of what is there would be read while it is written. */
    if (n->base == &e->value && !(same && pal_array_contiguous(&n->a)))
        n = pal_node_of(pal_affine(t, 1, 0), "keep", "t");
    if (!n || (!same && !resize(p, e, shape))) return pal_poison(&p->owner);
    e->value.version++;
    pal_status same_shape = pal_array_copy(&e->value.a, &n->a, NULL);
    (void)same_shape; /* cannot fail */
    return pal_handle(&e->value);
}

/* ---- What is there ---- */

/* The entry of a parameter's handle; NULL after an error was reported. */
static entry *entry_of(pal_tensor t, const char *op)
{
    pal_node *n = pal_node_of(t, op, "param");
    if (!n) return NULL;
    if (n->param < 0) {
        pal_fail(n->owner, PAL_EVALUE, "%s: argument param is not a parameter", op);
        return NULL;
    }
    return ((pal_params *)(void *)n->owner)->index[n->param];
}

pal_tensor pal_no_decay(pal_tensor param)
{
    entry *e = entry_of(param, "no_decay");
    if (e) e->decay = false;
    return param;
}

pal_tensor pal_freeze(pal_tensor param, bool frozen)
{
    entry *e = entry_of(param, "freeze");
    if (!e || e->kept) return param;
    e->frozen = frozen;
    e->value.needs_grad = !frozen;
    return param;
}

int pal_params_freeze(pal_params *p, const char *pattern, bool frozen)
{
    int matched = 0;
    for (int i = 0; i < p->count; i++) {
        entry *e = p->index[i];
        if (e->kept || !pattern || fnmatch(pattern, e->name, 0) != 0) continue;
        pal_freeze(pal_handle(&e->value), frozen);
        matched++;
    }
    if (!matched)
        pal_fail_nowhere(PAL_EVALUE, "params_freeze: no parameter's name matches \"%s\"",
                         pattern ? pattern : "");
    return matched;
}

pal_tensor pal_params_find(pal_params *p, const char *name)
{
    entry *e = find(p, name);
    return e ? pal_handle(&e->value) : PAL_NONE;
}

int pal_params_count(const pal_params *p) { return p->count; }

static entry *at(const pal_params *p, int i) { return i >= 0 && i < p->count ? p->index[i] : NULL; }

pal_tensor pal_params_at(pal_params *p, int i)
{
    return at(p, i) ? pal_handle(&p->index[i]->value) : PAL_NONE;
}
const char *pal_params_name(const pal_params *p, int i)
{
    return at(p, i) ? p->index[i]->name : "";
}
bool pal_params_decays(const pal_params *p, int i) { return at(p, i) && p->index[i]->decay; }
bool pal_params_frozen(const pal_params *p, int i) { return at(p, i) && p->index[i]->frozen; }
pal_span pal_params_span(const pal_params *p, int i)
{
    return at(p, i) ? p->index[i]->span : (pal_span){0};
}

pal_array pal_params_array(const pal_params *p, int i)
{
    return at(p, i) ? p->index[i]->value.a : p->owner.poison.a;
}

int64_t pal_params_size(const pal_params *p)
{
    int64_t n = 0;
    for (int i = 0; i < p->count; i++) n += p->index[i]->span.count;
    return n;
}

int pal_params_blocks(const pal_params *p) { return p->blocks; }

pal_param_block pal_params_block_as_is(const pal_params *p, int i)
{
    const block *b = p->first_block;
    while (b && i-- > 0) b = b->next;
    return b ? b->b : (pal_param_block){0};
}

/* Taking memory for zeros changes nothing that the caller can see, and happens once. */
pal_param_block pal_params_block(const pal_params *p, int i)
{
    if (!pal_params_make_gradients((pal_params *)(uintptr_t)p))
        pal_fail_nowhere(PAL_ENOMEM, "params_block: out of memory for the gradients");
    return pal_params_block_as_is(p, i);
}

void pal_params_print(const pal_params *p, FILE *file)
{
    for (int i = 0; i < p->count; i++) {
        const entry *e = p->index[i];
        char text[128];
        fprintf(file, "%-48s %-20s %12lld%s%s\n", e->name,
                pal_array_describe(&e->value.a, text, sizeof text), (long long)e->span.count,
                e->decay || e->kept ? "" : "  no decay",
                e->kept     ? "  kept"
                : e->frozen ? "  frozen"
                            : "");
    }
    fprintf(file, "%-48s %-20s %12lld\n", "total", "", (long long)pal_params_size(p));
}

/* ---- Between the steps ---- */

void pal_params_zero_grad(pal_params *p)
{
    for (const block *b = p->first_block; b; b = b->next)
        if (b->b.grad) pal_zero(b->b.grad, b->used);
}

void pal_params_touch(pal_params *p)
{
    for (int i = 0; i < p->count; i++) p->index[i]->value.version++;
}

void pal_params_on_grad(pal_params *p, pal_grad_fn *fn, void *user)
{
    p->on_grad = fn;
    p->on_grad_user = user;
}

pal_grad_fn *pal_params_grad_fn(const pal_params *p, void **user)
{
    *user = p->on_grad_user;
    return p->on_grad;
}

void pal_params_grad_ready(pal_node *param)
{
    pal_params *p = (pal_params *)(void *)param->owner;
    if (p->on_grad) p->on_grad(p, param->param, p->on_grad_user);
}
