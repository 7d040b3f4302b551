/*
 * blas.c - matrix products: a library computes large ones (products.h; blis.c is the usual one), a
 * kernel of our own small ones.
 *
 * Threads. The threads of BLIS spin without a bound when they wait for each other: beside a busy
 * process a product takes a thousand times as long. So this file cuts a product into pieces, and
 * our threads take them. Each element is the same sum in the same order wherever the cuts are, or
 * the cuts depend on nothing but the shape (products.h).
 *
 * Small products. A call costs 3 us of packing and set-up before the first multiplication, and a
 * matrix-vector product packs the whole matrix (7 to 10 times slower than reading it once). The
 * composed rules consist of such products, so these go to kernels/product.k.c. The choice depends
 * only on shapes and strides.
 */
#include "tensor/products.h"

#include <math.h>
#include <omp.h>

/* ---- One product ---- */

typedef pal_product product;

/*
 * Up to how many multiplications our kernel is faster than the set-up of BLIS, and the least number
 * of rows or columns of C that a thread takes of our kernel's work.
 */
enum { SMALL = 8192, LOOP_UNIT = 64 };

static void run_loop(pal_dtype dtype, const product *p, const void *a, const void *b, void *c)
{
    if (dtype == PAL_BF16)
        pal_kernels_for(PAL_F32)->product_bf16(p, a, b, c);
    else
        pal_kernels_for(dtype)->product(p, a, b, c);
}

/*
 * BLIS wants strides that could belong to a matrix: not 0 (a broadcast view), not negative, not
 * equal. The stride of an axis of length 1 is never used, and becomes one that fits.
 */
static bool fit_strides(int64_t rows, int64_t cols, int64_t *rs, int64_t *cs)
{
    if (rows == 1 && cols == 1) *rs = *cs = 1;
    if (rows == 1) *rs = cols * (*cs > 0 ? *cs : 1);
    if (cols == 1) *cs = rows * (*rs > 0 ? *rs : 1);
    return *rs > 0 && *cs > 0 && (*rs != *cs || rows == 1 || cols == 1);
}

/* C = A B as C' = B' A'. */
static product transposed(const product *p)
{
    return (product){p->n,   p->m,   p->k,   p->alpha, p->beta, p->csb,
                     p->rsb, p->csa, p->rsa, p->csc,   p->rsc};
}

static bool is_small(int64_t m, int64_t n, int64_t k)
{
    return m <= SMALL && n <= SMALL && k <= SMALL && m * n <= SMALL && m * n * k <= SMALL;
}

/* ---- Dividing a product ---- */

/* Bytes of an element of C, which is f32 for operands of bf16. */
static int64_t result_size(pal_dtype dtype)
{
    return (int64_t)pal_dtype_size(pal_gradient_dtype(dtype));
}

/* A grid of pieces. All consist of whole units, except in the last row and column of the grid. */
typedef struct grid {
    int64_t unit, units_m, units_n, pieces_m, pieces_n;
} grid;

static int64_t divide_up(int64_t x, int64_t by) { return (x + by - 1) / by; }

/* How many whole units there are along an axis; what is left over belongs to the last one. */
static int64_t whole_units(int64_t size, int64_t unit) { return size < unit ? 1 : size / unit; }

/* A grid of about so many pieces, by shape alone. */
static grid fixed_grid(int64_t m, int64_t n, int64_t unit, int64_t count)
{
    grid g = {unit, whole_units(m, unit), whole_units(n, unit), 1, 1};
    while (g.pieces_m * g.pieces_n < count) {
        const bool rows = g.pieces_m * 2 <= g.units_m, columns = g.pieces_n * 2 <= g.units_n;
        if (rows && (!columns || g.units_m * g.pieces_n >= g.units_n * g.pieces_m))
            g.pieces_m *= 2;
        else if (columns)
            g.pieces_n *= 2;
        else
            break;
    }
    return g;
}

/* The grid of at most `threads` pieces whose largest piece takes the least time. A thread packs all
 * of A and B that its piece needs; an element of them costs about as much as PACK multiplications.
 */
static grid choose_grid(int64_t m, int64_t n, int64_t unit, int threads)
{
    enum { PACK = 32 };
    grid g = {.unit = unit, .units_m = divide_up(m, unit), .units_n = divide_up(n, unit)};
    double least = INFINITY;
    for (int64_t pm = 1; pm <= threads && pm <= g.units_m; pm++) {
        int64_t pn = threads / pm < g.units_n ? threads / pm : g.units_n;
        double rows = (double)(divide_up(g.units_m, pm) * unit);
        double columns = (double)(divide_up(g.units_n, pn) * unit);
        double cost = rows * columns + PACK * (rows + columns);
        if (cost >= least) continue;
        least = cost;
        g.pieces_m = pm;
        g.pieces_n = pn;
    }
    return g;
}

typedef pal_product_run run_fn;

static void run_piece(run_fn *run, pal_dtype dtype, const product *p, const grid *g, int64_t piece,
                      const char *a, const char *b, char *c)
{
    const int64_t size = (int64_t)pal_dtype_size(dtype), wide = result_size(dtype);
    const int64_t row = piece / g->pieces_n, column = piece % g->pieces_n;
    const int64_t i = row * g->units_m / g->pieces_m * g->unit;
    const int64_t j = column * g->units_n / g->pieces_n * g->unit;
    const int64_t below = (row + 1) * g->units_m / g->pieces_m * g->unit;
    const int64_t right = (column + 1) * g->units_n / g->pieces_n * g->unit;
    product part = *p;
    part.m = (row + 1 < g->pieces_m ? below : p->m) - i;
    part.n = (column + 1 < g->pieces_n ? right : p->n) - j;
    run(dtype, &part, a + i * p->rsa * size, b + j * p->csb * size,
        c + (i * p->rsc + j * p->csc) * wide);
}

/* Computes all pieces of a product by one function, which was chosen for the whole product. So the
 * cuts change no element, or do not depend on the threads (products.h). */
static void run_divided(run_fn *run, const grid *g, pal_dtype dtype, const product *p,
                        const void *a, const void *b, void *c, int threads)
{
    const int64_t pieces = g->pieces_m * g->pieces_n;
    if (pieces == 1) { /* no thread is woken for nothing */
        run(dtype, p, a, b, c);
        return;
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < pieces; i++) run_piece(run, dtype, p, g, i, a, b, c);
}

static pal_product_cut cut_of(const pal_product_maker *maker, pal_dtype dtype, const product *p)
{
    return maker && maker->cut ? maker->cut(dtype, p) : (pal_product_cut){0, false};
}

static grid grid_of(const pal_product_maker *maker, pal_dtype dtype, const product *p, int threads)
{
    if (!maker) return choose_grid(p->m, p->n, LOOP_UNIT, threads);
    const int64_t unit = maker->unit(dtype, p->beta);
    const pal_product_cut cut = cut_of(maker, dtype, p);
    if (!cut.pieces) return choose_grid(p->m, p->n, unit, threads);
    if (!cut.by_rows) return fixed_grid(p->m, p->n, unit, cut.pieces);
    grid g = {unit, whole_units(p->m, unit), whole_units(p->n, unit), cut.pieces, 1};
    if (g.pieces_m > g.units_m) g.pieces_m = g.units_m;
    return g;
}

void pal_gemm(pal_dtype dtype, int64_t m, int64_t n, int64_t k, double alpha, const void *a,
              int64_t rsa, int64_t csa, const void *b, int64_t rsb, int64_t csb, double beta,
              void *c, int64_t rsc, int64_t csc, int threads)
{
    product p = {m, n, k, alpha, beta, rsa, csa, rsb, csb, rsc, csc};
    if (m <= 0 || n <= 0) return;
    /* A single column is a single row of the transpose; a column-major C is a row-major C'. */
    if (m > 1 && (n == 1 || (rsc == 1 && csc != 1))) {
        const void *swap = a;
        p = transposed(&p);
        a = b;
        b = swap;
    }
    bool row = p.m == 1 && ((p.csb == 1 && p.csc == 1) || pal_product_along_k(&p));
    bool loop = row || k <= 0 || is_small(m, n, k) || !fit_strides(p.m, k, &p.rsa, &p.csa) ||
                !fit_strides(k, p.n, &p.rsb, &p.csb) || !fit_strides(p.m, p.n, &p.rsc, &p.csc);
    /* Operations have asked before. Without memory for BLIS the slow kernel does it. */
    if (!loop && !pal_blas_ready()) loop = true;
    if (!loop && dtype == PAL_BF16 && !pal_widen_ready()) loop = true;
    const pal_product_maker *maker = loop ? NULL : pal_product_maker_for(dtype, &p);
    run_fn *run = loop ? run_loop : maker->run;
    if (threads < 1 || omp_in_parallel()) threads = 1;
    if (threads == 1 && cut_of(maker, dtype, &p).pieces == 0) {
        run(dtype, &p, a, b, c);
        return;
    }
    const grid g = grid_of(maker, dtype, &p, threads);
    run_divided(run, &g, dtype, &p, a, b, c, threads);
}

/* ---- Batches ---- */

/* A batch of products over nb leading axes; strides in elements. */
typedef struct batch {
    pal_dtype dtype;
    product p;
    int nb;
    int64_t dim[PAL_MAX_DIMS], sa[PAL_MAX_DIMS], sb[PAL_MAX_DIMS], sc[PAL_MAX_DIMS];
    const char *a, *b;
    char *c;
} batch;

/* Stride of x along the axis that c's axis i is aligned with; 0 where x broadcasts. */
static int64_t stride_along(const pal_array *x, const pal_array *c, int i)
{
    int j = i - (c->ndim - x->ndim);
    return j < 0 || x->shape[j] == 1 ? 0 : x->stride[j];
}

static batch plan_batch(double alpha, const pal_array *a, const pal_array *b, double beta,
                        const pal_array *c)
{
    int i = a->ndim - 2, j = b->ndim - 2, l = c->ndim - 2;
    batch t = {.dtype = a->dtype, .a = a->data, .b = b->data, .c = c->data};
    const int64_t *as = a->stride + i, *bs = b->stride + j, *cs = c->stride + l;
    t.p = (product){c->shape[l], c->shape[l + 1], a->shape[i + 1], alpha, beta, as[0],
                    as[1],       bs[0],           bs[1],           cs[0], cs[1]};
    for (int d = 0; d < l; d++) {
        if (c->shape[d] == 1) continue;
        t.dim[t.nb] = c->shape[d];
        t.sa[t.nb] = stride_along(a, c, d);
        t.sb[t.nb] = stride_along(b, c, d);
        t.sc[t.nb++] = stride_along(c, c, d);
    }
    return t;
}

/* x[..., m, k] times one matrix is a product of more rows when the rows of all batches lie evenly:
 * one large product instead of many small ones. */
static void fold_rows(batch *t)
{
    while (t->nb > 0) {
        int d = t->nb - 1;
        bool even = t->sa[d] == t->p.m * t->p.rsa && t->sc[d] == t->p.m * t->p.rsc;
        if (t->p.m == 1) { /* its row strides mean nothing */
            t->p.rsa = t->sa[d];
            t->p.rsc = t->sc[d];
            even = t->sa[d] != 0;
        }
        if (t->sb[d] != 0 || !even) return;
        t->p.m *= t->dim[d];
        t->nb--;
    }
}

static void run_item(const batch *t, int64_t item, int threads)
{
    int64_t a = 0, b = 0, c = 0, size = (int64_t)pal_dtype_size(t->dtype);
    const int64_t wide = result_size(t->dtype);
    const product *p = &t->p;
    for (int d = t->nb - 1; d >= 0; d--) {
        int64_t i = item % t->dim[d];
        item /= t->dim[d];
        a += i * t->sa[d];
        b += i * t->sb[d];
        c += i * t->sc[d];
    }
    pal_gemm(t->dtype, p->m, p->n, p->k, p->alpha, t->a + a * size, p->rsa, p->csa, t->b + b * size,
             p->rsb, p->csb, p->beta, t->c + c * wide, p->rsc, p->csc, threads);
}

/* What pal_team counts, about a nanosecond each: flops at the rate of large products, and elements,
 * which take longer where a product reads much and computes little. */
static int64_t team_work(const product *p, int64_t items)
{
    enum { FLOPS = 64, ELEMENTS = 4 };
    const double m = (double)p->m, n = (double)p->n, k = (double)p->k;
    const double work =
        (double)items * (2 * m * n * k / FLOPS + (m * k + k * n + m * n) / ELEMENTS);
    return work < 0x1p62 ? (int64_t)work : INT64_MAX;
}

void pal_matmul_arrays(double alpha, const pal_array *a, const pal_array *b, double beta,
                       const pal_array *c)
{
    if (pal_array_count(c) == 0) return;
    batch t = plan_batch(alpha, a, b, beta, c);
    fold_rows(&t);
    int64_t items = 1;
    for (int d = 0; d < t.nb; d++) items *= t.dim[d];
    const int team = pal_team(team_work(&t.p, items));
    if (team <= 1 || items == 1 || (items < team && pal_team(team_work(&t.p, 1)) > 1)) {
        for (int64_t i = 0; i < items; i++) run_item(&t, i, team);
        return;
    }
#pragma omp parallel for num_threads(team) schedule(static)
    for (int64_t i = 0; i < items; i++) run_item(&t, i, 1);
}
