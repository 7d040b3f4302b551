/*
 * shared.c - gradients that several families of heads add to.
 *
 * All heads of Mamba-3 share the angles, and with one group also keys and queries. If they were one
 * family, one thread would do them all, and others would wait for it. So a family is a part of
 * them, and where other families add to the same gradient, each has a copy of its own. At the end
 * the copies are added in the order of heads. How many there are depends on the problem, not on the
 * team.
 */
#include "autograd/ops/shape.h"
#include "layers/rules/fused/fused.h"

/* The largest divisor of n that is at most `most`. */
static int64_t divisor(int64_t n, int64_t most)
{
    int64_t d = most < n ? most : n;
    while (n % d) d--;
    return d;
}

/* PAL_SIDE heads if possible, which is what a thread takes side by side. They are whole groups, or
 * a group is several of them. */
int64_t pal_fused_members(const pal_fused *f)
{
    const int64_t group = f->sharers[PAL_Q];
    if (!f->shape.trapezoid) return group;
    if (group < PAL_SIDE) return group * divisor(f->heads[PAL_Q], PAL_SIDE / group);
    int64_t d = divisor(group, PAL_SIDE);
    if (2 * d < PAL_SIDE)
        for (d = PAL_SIDE; group % d;) d++; /* few copies rather than few heads in each */
    return d;
}

/* The families that add to this gradient. */
static int64_t families(const pal_fused *f, int place)
{
    const int64_t heads = f->sharers[place];
    return f->shape.trapezoid && heads > f->members ? heads / f->members : 1;
}

/* The elements of all copies of a gradient. Which gradients are wanted is not known yet where
 * memory is asked for. */
static int64_t copies_count(const pal_fused *f, int place)
{
    const pal_array *x = pal_fused_in(f, place);
    return x && families(f, place) > 1 ? families(f, place) * pal_array_count(x) : 0;
}

pal_shared pal_carve_shared(pal_carver *c, const pal_fused *f)
{
    pal_shared s = {{NULL}};
    for (int i = 0; i < PAL_HEAD_ARGS; i++)
        if (copies_count(f, i)) s.copies[i] = pal_carve(c, (size_t)copies_count(f, i) * f->size);
    return s;
}

/* Copy i of the gradient at a place. */
static pal_array copy_of(const pal_fused *f, const pal_shared *s, int place, int64_t i)
{
    pal_array x = *pal_fused_in(f, place);
    const int64_t n = pal_array_count(&x);
    x.data = (char *)s->copies[place] + (size_t)(i * n) * f->size;
    int64_t stride = 1;
    for (int d = x.ndim - 1; d >= 0; stride *= x.shape[d--]) x.stride[d] = stride;
    return x;
}

pal_array pal_fused_family_grad(const pal_fused *f, const pal_shared *s, int place, int64_t lane,
                                bool *fresh)
{
    const int64_t head = pal_fused_value_head(f, lane) % f->sharers[place];
    if (!s->copies[place]) {
        *fresh = pal_call_fresh(f->call, f->at[place]) && head == 0;
        return *pal_fused_din(f, place);
    }
    *fresh = head % f->members == 0;
    return copy_of(f, s, place, head / f->members);
}

/* Adds tokens t .. t + n - 1 of row b of all copies. */
static void add_tokens(const pal_fused *f, const pal_shared *s, int place, int64_t b, int64_t t,
                       int64_t n)
{
    const pal_array *d = pal_fused_din(f, place);
    for (int64_t i = 0; i < families(f, place); i++) {
        pal_array from = copy_of(f, s, place, i), to = pal_axis_range(d, 0, b, 1, 1);
        from = pal_axis_range(&from, 0, b, 1, 1);
        to = pal_axis_range(&to, 1, t, n, 1), from = pal_axis_range(&from, 1, t, n, 1);
        if (i == 0 && pal_call_fresh(f->call, f->at[place]))
            pal_array_assign(&to, &from);
        else
            pal_array_add(&to, &from);
    }
}

void pal_fused_add_shared(const pal_fused *f, const pal_shared *s)
{
    enum { TOKENS = 16 };
    for (int place = 0; place < PAL_HEAD_ARGS; place++) {
        if (!s->copies[place] || !pal_fused_din(f, place)) continue;
        const pal_array *d = pal_fused_din(f, place);
        const int64_t B = d->shape[0], T = d->shape[1], blocks = (T + TOKENS - 1) / TOKENS;
#pragma omp parallel for num_threads(f->team) schedule(static) if (f->team > 1)
        for (int64_t i = 0; i < B * blocks; i++) {
            const int64_t t = i % blocks * TOKENS, left = T - t;
            add_tokens(f, s, place, i / blocks, t, left < TOKENS ? left : TOKENS);
        }
    }
}
