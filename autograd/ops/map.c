/*
 * map.c - elementwise loops over broadcast, strided arrays.
 *
 * The elements of the result are numbered in row-major order and cut into blocks of BLOCK. An
 * operand that is one run of memory within a block is read in place; any other is first gathered
 * into a buffer on the stack, where it stays in the first-level cache. So one contiguous kernel
 * serves all layouts. Axes are merged beforehand wherever every operand allows it.
 *
 * Gradients of operands that broadcast: the elements of the result are cut into groups. Each group
 * is summed in order, and the sums are added in the order of the groups. How many groups there are
 * depends only on the shapes.
 */
#include "autograd/ops/map.h"

#include <omp.h>
#include <string.h>

enum { BLOCK = 512, OPERANDS = 3 };

/* One array of the loop: its strides along the loop's axes. */
typedef struct operand {
    char *data;
    pal_dtype dtype;
    int64_t size; /* bytes of one element */
    int64_t stride[PAL_MAX_DIMS];
    bool dense;    /* element i of the loop is data[i] */
    bool constant; /* all strides are 0 */
    bool convert;  /* to the loop's dtype, or to 1 and 0 */
    bool condition;
} operand;

typedef struct loop {
    const pal_map_fn *fn;
    const pal_kernels *k; /* of the loop's dtype; only where something is added */
    pal_dtype dtype;
    size_t size; /* of one element */
    int ndim;
    int64_t dim[PAL_MAX_DIMS], count;
    int nin;
    operand in[OPERANDS], dst;
    bool add; /* else dst is written, and dense */
} loop;

/* ---- Making a loop ---- */

/* Strides of an array that broadcasts to ndim dimensions. */
static void set_operand(operand *l, const pal_array *a, const loop *p, int ndim, bool condition)
{
    int added = ndim - a->ndim;
    l->data = a->data;
    l->dtype = a->dtype;
    l->size = (int64_t)pal_dtype_size(a->dtype);
    l->condition = condition && a->dtype != p->dtype;
    l->convert = a->dtype != p->dtype;
    for (int d = 0; d < ndim; d++)
        l->stride[d] = d < added || a->shape[d - added] == 1 ? 0 : a->stride[d - added];
}

static bool merges(const operand *l, int outer, int inner, int64_t dim)
{
    return l->stride[outer] == l->stride[inner] * dim;
}

/* Moves axis `from` of all operands to `to`. */
static void move_axis(loop *p, int to, int from)
{
    for (int i = 0; i < p->nin; i++) p->in[i].stride[to] = p->in[i].stride[from];
    p->dst.stride[to] = p->dst.stride[from];
}

/* Drops axes of 1 and merges neighbours that are one run in every operand. */
static void merge_axes(loop *p, const pal_array *shape)
{
    int m = 0;
    for (int d = 0; d < shape->ndim; d++) {
        int64_t n = shape->shape[d];
        if (n == 1) continue;
        bool merge = m > 0 && merges(&p->dst, m - 1, d, n);
        for (int i = 0; i < p->nin && merge; i++) merge = merges(&p->in[i], m - 1, d, n);
        if (merge) n *= p->dim[--m];
        p->dim[m] = n;
        move_axis(p, m++, d);
    }
    if (m == 0) { /* one element */
        for (int i = 0; i < p->nin; i++) p->in[i].stride[0] = 0;
        p->dst.stride[0] = 1;
        p->dim[m++] = 1;
    }
    p->ndim = m;
}

static void classify(const loop *p, operand *l)
{
    int64_t expected = 1;
    l->dense = !l->convert;
    l->constant = true;
    for (int d = p->ndim - 1; d >= 0; d--) {
        l->dense = l->dense && l->stride[d] == expected;
        l->constant = l->constant && l->stride[d] == 0;
        expected *= p->dim[d];
    }
}

/* A loop over `shape` (an array for its shape alone). */
static loop make_loop(const pal_map_fn *fn, const pal_array *const *x, const pal_array *dst,
                      const pal_array *shape, bool add)
{
    loop p;
    p.fn = fn;
    p.dtype = dst->dtype;
    p.k = p.dtype == PAL_I64 ? NULL : pal_kernels_for(p.dtype);
    p.size = pal_dtype_size(p.dtype);
    p.nin = fn->nin;
    p.count = pal_array_count(shape);
    p.add = add;
    for (int i = 0; i < p.nin; i++)
        set_operand(&p.in[i], x[i], &p, shape->ndim, fn->conditions >> i & 1);
    set_operand(&p.dst, dst, &p, shape->ndim, false);
    merge_axes(&p, shape);
    for (int i = 0; i < p.nin; i++) classify(&p, &p.in[i]);
    classify(&p, &p.dst);
    return p;
}

/* ---- Runs: n elements along one axis ---- */

/* Element i of an array as a double; a condition as 1 or 0. Only conditions may be i64. */
static double element(const operand *l, const void *src, int64_t i)
{
    double v = pal_element_get(l->dtype, src, i);
    return l->condition ? (v != 0 ? 1 : 0) : v;
}

static void load(const loop *p, const operand *l, int64_t n, const char *src, int64_t stride,
                 void *dst)
{
    if (l->convert)
        for (int64_t i = 0; i < n; i++)
            pal_element_set(p->dtype, dst, i, element(l, src, i * stride));
    else
        pal_run_gather(p->dtype, n, src, stride, dst);
}

/* dst += src along one axis; stride 0 sums the run. */
static void add_run(const loop *p, int64_t n, const void *src, char *dst, int64_t stride)
{
    if (stride == 0)
        pal_element_add(p->dtype, dst, 0, p->k->sum(n, src));
    else if (stride == 1)
        p->k->accumulate(n, src, dst);
    else
        pal_run_add(p->dtype, n, src, dst, stride);
}

/* ---- Blocks ---- */

static void decode(const loop *p, int64_t at, int64_t *index)
{
    for (int d = p->ndim - 1; d > 0; d--) {
        index[d] = at % p->dim[d];
        at /= p->dim[d];
    }
    index[0] = at;
}

/* Address of the element at index. */
static char *locate(const loop *p, const operand *l, const int64_t *index)
{
    int64_t offset = 0;
    for (int d = 0; d < p->ndim; d++) offset += index[d] * l->stride[d];
    return l->data + offset * l->size;
}

/* Is the block of n elements at index one run of memory? */
static bool in_row(const loop *p, const operand *l, const int64_t *index, int64_t n)
{
    int last = p->ndim - 1;
    return !l->convert && l->stride[last] == 1 && index[last] + n <= p->dim[last];
}

/* Moves index to the start of the next row; `row` and the result are where the rows start. */
static char *next_row(const loop *p, const operand *l, int64_t *index, char *row)
{
    int d = p->ndim - 2;
    index[d + 1] = 0;
    if (d >= 0 && ++index[d] < p->dim[d]) return row + l->stride[d] * l->size;
    for (; d >= 0 && index[d] == p->dim[d]; d--) {
        index[d] = 0;
        if (d > 0) index[d - 1]++;
    }
    return locate(p, l, index);
}

/* The n elements at `start` as a run; in `buffer` if they are none. */
static const void *fetch(const loop *p, const operand *l, const int64_t *start, int64_t n,
                         char *buffer)
{
    int64_t index[PAL_MAX_DIMS], length = p->dim[p->ndim - 1], stride = l->stride[p->ndim - 1];
    memcpy(index, start, (size_t)p->ndim * sizeof *index);
    int64_t at = index[p->ndim - 1];
    index[p->ndim - 1] = 0;
    char *row = locate(p, l, index);
    for (int64_t done = 0; done < n; at = 0) {
        int64_t run = length - at < n - done ? length - at : n - done;
        load(p, l, run, row + at * stride * l->size, stride, buffer + done * (int64_t)p->size);
        done += run;
        row = next_row(p, l, index, row);
    }
    return buffer;
}

/* Adds the run src to the n elements of dst at `start`. */
static void add_block(const loop *p, const int64_t *start, int64_t n, const char *src)
{
    const operand *l = &p->dst;
    int64_t index[PAL_MAX_DIMS], length = p->dim[p->ndim - 1], stride = l->stride[p->ndim - 1];
    memcpy(index, start, (size_t)p->ndim * sizeof *index);
    int64_t at = index[p->ndim - 1];
    index[p->ndim - 1] = 0;
    char *row = locate(p, l, index);
    for (int64_t done = 0; done < n; at = 0) {
        int64_t run = length - at < n - done ? length - at : n - done;
        add_run(p, run, src + done * (int64_t)p->size, row + at * stride * l->size, stride);
        done += run;
        row = next_row(p, l, index, row);
    }
}

static void call_kernel(const pal_map_fn *fn, int64_t n, const void *const *x, void *y)
{
    if (fn->nin == 1 && fn->numbers)
        fn->f.one_p(n, x[0], fn->p, y);
    else if (fn->nin == 1)
        fn->f.one(n, x[0], y);
    else if (fn->nin == 2 && fn->numbers)
        fn->f.two_p(n, x[0], x[1], fn->p, y);
    else if (fn->nin == 2)
        fn->f.two(n, x[0], x[1], y);
    else
        fn->f.three(n, x[0], x[1], x[2], y);
}

/* Elements first <= i < last of the loop. */
static void run_range(const loop *p, int64_t first, int64_t last)
{
    _Alignas(64) char buffer[OPERANDS + 1][BLOCK * sizeof(double)];
    const void *x[OPERANDS] = {0};
    int64_t index[PAL_MAX_DIMS] = {0}, longest = last - first < BLOCK ? last - first : BLOCK;
    bool copies = p->nin == 1 && !p->fn->f.one, all_dense = p->dst.dense;
    for (int i = 0; i < p->nin; i++) {
        all_dense = all_dense && (p->in[i].dense || p->in[i].constant);
        if (!p->in[i].constant) continue;
        load(p, &p->in[i], longest, p->in[i].data, 0, buffer[i]);
        x[i] = buffer[i];
    }
    for (int64_t at = first; at < last; at += BLOCK) {
        int64_t n = last - at < BLOCK ? last - at : BLOCK;
        if (!all_dense) decode(p, at, index);
        for (int i = 0; i < p->nin; i++) {
            const operand *l = &p->in[i];
            if (l->constant) continue;
            x[i] = l->dense                 ? l->data + at * (int64_t)p->size
                   : in_row(p, l, index, n) ? locate(p, l, index)
                                            : fetch(p, l, index, n, buffer[i]);
        }
        char *run = p->dst.dense                   ? p->dst.data + at * (int64_t)p->size
                    : in_row(p, &p->dst, index, n) ? locate(p, &p->dst, index)
                                                   : NULL;
        char *target = p->add ? buffer[OPERANDS] : run;
        const void *y = copies ? x[0] : target;
        if (!copies) call_kernel(p->fn, n, x, target);
        if (!p->add && copies)
            memcpy(run, y, (size_t)n * p->size);
        else if (p->add && run)
            p->k->accumulate(n, y, run);
        else if (p->add)
            add_block(p, index, n, y);
    }
}

/* Every element of dst is met once, so any division of the blocks gives the same bits. */
static void run_all(const loop *p, int team)
{
    int64_t blocks = (p->count + BLOCK - 1) / BLOCK;
    if (team <= 1 || blocks < 2) {
        run_range(p, 0, p->count);
        return;
    }
#pragma omp parallel num_threads(team)
    {
        int64_t threads = omp_get_num_threads(), id = omp_get_thread_num();
        int64_t first = blocks * id / threads * BLOCK, last = blocks * (id + 1) / threads * BLOCK;
        if (last > p->count) last = p->count;
        if (first < last) run_range(p, first, last);
    }
}

/* ---- Forward ---- */

/* Are all operands plain runs of n elements of one dtype? Then no loop has to be made. */
static bool plain(const pal_map_fn *fn, const pal_array *const *x, const pal_array *dst, int64_t n)
{
    for (int i = 0; i < fn->nin; i++)
        if (x[i]->dtype != dst->dtype || pal_array_count(x[i]) != n || !pal_array_contiguous(x[i]))
            return false;
    return fn->nin > 1 || fn->f.one;
}

static void call_plain(const pal_map_fn *fn, const pal_array *const *x, int64_t n, void *y)
{
    const void *data[OPERANDS] = {0};
    for (int i = 0; i < fn->nin; i++) data[i] = x[i]->data;
    call_kernel(fn, n, data, y);
}

void pal_map_forward(const pal_map_fn *fn, const pal_array *const *x, const pal_array *out,
                     int team)
{
    int64_t n = pal_array_count(out);
    if (n == 0) return;
    if (team <= 1 && plain(fn, x, out, n)) {
        call_plain(fn, x, n, out->data);
        return;
    }
    loop p = make_loop(fn, x, out, out, false);
    run_all(&p, team);
}

/* ---- Backward ---- */

/* How a sum over broadcast axes is divided. */
typedef struct division {
    int64_t groups;
    bool apart; /* the groups add to different elements; else each needs a sum of its own */
} division;

/* `whole` has n elements and `small` broadcasts to it. */
static division divide(const pal_array *small, const pal_array *whole)
{
    enum { GROUP = 1 << 15, MOST = 16, ENOUGH = 8 };
    int64_t n = pal_array_count(whole), m = pal_array_count(small);
    division one = {.groups = 1, .apart = true};
    if (n < 2 * GROUP || m == 0) return one;
    int outer = 0;
    while (whole->shape[outer] == 1) outer++;
    int added = whole->ndim - small->ndim;
    bool kept = outer >= added && small->shape[outer - added] > 1;
    if (kept && whole->shape[outer] >= ENOUGH)
        return (division){whole->shape[outer] < 4 * MOST ? whole->shape[outer] : 4 * MOST, true};
    int64_t groups = n / GROUP < MOST ? n / GROUP : MOST;
    if (groups > n / m) groups = n / m; /* the sums together are no larger than what is summed */
    return groups > 1 ? (division){groups, false} : one;
}

static bool broadcasts(const pal_array *in, const pal_array *out)
{
    return pal_array_count(in) != pal_array_count(out);
}

pal_status pal_map_scratch(pal_call *call)
{
    size_t most = 0;
    for (int i = 0; i < call->nin; i++) {
        if (!call->in[i] || !broadcasts(call->in[i], call->out[0])) continue;
        division d = divide(call->in[i], call->out[0]);
        const pal_dtype dtype = pal_gradient_dtype(call->in[i]->dtype);
        size_t bytes = pal_shape_bytes(dtype, pal_array_shape(call->in[i]));
        if (!d.apart && (size_t)d.groups * bytes > most) most = (size_t)d.groups * bytes;
    }
    return pal_call_scratch(call, 0, most);
}

/* Adds group k of the elements of p to dst, or to the own sum of the group at `sums`. */
static void sum_group(const loop *p, const division *d, int64_t k, int64_t outer)
{
    int64_t unit = d->apart ? p->count / outer : 1, units = p->count / unit;
    run_range(p, units * k / d->groups * unit, units * (k + 1) / d->groups * unit);
}

static void sum_broadcast(const pal_call *call, const pal_array *din, const pal_map_fn *fn,
                          const pal_array *const *x)
{
    const pal_array *whole = call->out[0];
    division d = divide(din, whole);
    int64_t outer = 1;
    for (int i = 0; i < whole->ndim && outer == 1; i++) outer = whole->shape[i];
    if (d.apart) {
        loop p = make_loop(fn, x, din, whole, true);
        if (d.groups == 1 || call->team <= 1) {
            for (int64_t k = 0; k < d.groups; k++) sum_group(&p, &d, k, outer);
            return;
        }
#pragma omp parallel for num_threads(call->team) schedule(static)
        for (int64_t k = 0; k < d.groups; k++) sum_group(&p, &d, k, outer);
        return;
    }
    pal_array sums = pal_array_of(din->dtype, pal_array_shape(din), call->scratch);
    size_t bytes = pal_shape_bytes(din->dtype, pal_array_shape(din));
#pragma omp parallel for num_threads(call->team) schedule(static) if (call->team > 1)
    for (int64_t k = 0; k < d.groups; k++) {
        pal_array own = sums;
        own.data = (char *)sums.data + (size_t)k * bytes;
        memset(own.data, 0, bytes);
        loop p = make_loop(fn, x, &own, whole, true);
        sum_group(&p, &d, k, outer);
    }
    for (int64_t k = 0; k < d.groups; k++) {
        pal_array own = sums;
        own.data = (char *)sums.data + (size_t)k * bytes;
        pal_array_add(din, &own);
    }
}

void pal_map_backward(const pal_call *call, int i, const pal_map_fn *fn, const pal_array *const *x)
{
    const pal_array *din = call->din[i];
    if (!din) return;
    int64_t n = pal_array_count(call->out[0]);
    bool fresh = pal_call_fresh(call, i);
    if (broadcasts(din, call->out[0])) {
        if (fresh) pal_array_fill(din, 0);
        if (n > 0) sum_broadcast(call, din, fn, x);
        return;
    }
    if (n == 0) return;
    bool dense = pal_array_contiguous(din);
    if (fresh && !dense) {
        pal_array_fill(din, 0);
        fresh = false;
    }
    if (dense && (fresh || n <= BLOCK) && call->team <= 1 && plain(fn, x, din, n)) {
        double buffer[BLOCK];
        call_plain(fn, x, n, fresh ? din->data : buffer);
        if (!fresh) pal_kernels_for(din->dtype)->accumulate(n, buffer, din->data);
        return;
    }
    loop p = make_loop(fn, x, din, call->out[0], !fresh);
    run_all(&p, call->team);
}

void pal_array_add(const pal_array *dst, const pal_array *src)
{
    int64_t n = pal_array_count(dst);
    pal_map_fn copy = {.nin = 1};
    if (n == 0) return;
    loop p = make_loop(&copy, &src, dst, dst, true);
    run_all(&p, pal_team(n));
}
