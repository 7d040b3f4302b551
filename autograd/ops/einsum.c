/*
 * einsum.c - Einstein's notation for two operands, as one batched product.
 *
 * A letter is of one of these kinds: in a, b and the result (a batch); in a and the result, or in b
 * and the result (rows, columns); in a and b alone (the inner axis of the product); in one operand
 * alone (summed beforehand). Axes of a kind are brought together, merged, and split again in the
 * result.
 */
#include "autograd/ops/shape.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { A, B, RESULT, PARTS };

typedef struct notation {
    const char *text;
    char letters[PARTS][PAL_MAX_DIMS + 1];
    int n[PARTS];
    pal_node *node[2];
} notation;

/* ---- Errors ---- */

static bool refuse(const notation *e, pal_status status, const char *what)
{
    char a[128], b[128];
    pal_fail(e->node[A]->owner, status, "einsum: %s in \"%.80s\" (a %s, b %s)", what, e->text,
             pal_array_describe(&e->node[A]->a, a, sizeof a),
             pal_array_describe(&e->node[B]->a, b, sizeof b));
    return false;
}

static bool refuse_letter(const notation *e, char letter, const char *what)
{
    char text[96];
    snprintf(text, sizeof text, "letter %c %s", letter, what);
    return refuse(e, PAL_EVALUE, text);
}

/* ---- The text ---- */

static bool has(const notation *e, int part, char letter)
{
    return memchr(e->letters[part], letter, (size_t)e->n[part]) != NULL;
}

static bool add_letter(notation *e, int part, char c)
{
    static const char *const where[] = {"is twice in a", "is twice in b", "is twice in the result"};
    char text[64];
    if (!isalpha((unsigned char)c)) {
        snprintf(text, sizeof text, "byte %d is no letter", (unsigned char)c);
        return refuse(e, PAL_EVALUE, text);
    }
    if (has(e, part, c)) return refuse_letter(e, c, where[part]);
    if (e->n[part] == PAL_MAX_DIMS) return refuse(e, PAL_EVALUE, "there are too many letters");
    e->letters[part][e->n[part]++] = c;
    return true;
}

static int by_letter(const void *a, const void *b) { return *(const char *)a - *(const char *)b; }

/* The letters that occur once, in alphabetical order. */
static bool imply_result(notation *e)
{
    for (int part = A; part <= B; part++)
        for (int i = 0; i < e->n[part]; i++) {
            char c = e->letters[part][i];
            if (!has(e, part == A ? B : A, c) && !add_letter(e, RESULT, c)) return false;
        }
    qsort(e->letters[RESULT], (size_t)e->n[RESULT], 1, by_letter);
    return true;
}

static bool parse(notation *e)
{
    int part = A;
    for (const char *c = e->text; *c; c++) {
        if (*c == ' ') continue;
        if (*c == ',' && part == A) {
            part = B;
        } else if (c[0] == '-' && c[1] == '>' && part == B) {
            part = RESULT;
            c++;
        } else if (!add_letter(e, part, *c)) {
            return false;
        }
    }
    if (part == A) return refuse(e, PAL_EVALUE, "there is no comma between two operands");
    return part == RESULT || imply_result(e);
}

/* ---- Sizes ---- */

static int64_t size_of(const notation *e, char letter)
{
    for (int part = A; part <= B; part++)
        for (int i = 0; i < e->n[part]; i++)
            if (e->letters[part][i] == letter) return e->node[part]->a.shape[i];
    return -1;
}

static bool check(const notation *e)
{
    char text[96];
    for (int part = A; part <= B; part++) {
        const pal_array *x = &e->node[part]->a;
        if (!pal_dtype_real(x->dtype)) {
            snprintf(text, sizeof text, "an operand is %s; see pal_cast", pal_dtype_name(x->dtype));
            return refuse(e, PAL_EDTYPE, text);
        }
        if (x->ndim != e->n[part]) {
            snprintf(text, sizeof text, "%s has %d axes and %d letters", part == A ? "a" : "b",
                     x->ndim, e->n[part]);
            return refuse(e, PAL_ESHAPE, text);
        }
    }
    if (e->node[A]->a.dtype != e->node[B]->a.dtype)
        return refuse(e, PAL_EDTYPE, "the dtypes differ");
    for (int i = 0; i < e->n[B]; i++) {
        char c = e->letters[B][i];
        int64_t a = size_of(e, c), b = e->node[B]->a.shape[i];
        if (a == b) continue;
        snprintf(text, sizeof text, "letter %c has size %lld in a and %lld in b", c, (long long)a,
                 (long long)b);
        return refuse(e, PAL_ESHAPE, text);
    }
    for (int i = 0; i < e->n[RESULT]; i++)
        if (size_of(e, e->letters[RESULT][i]) < 0)
            return refuse_letter(e, e->letters[RESULT][i], "of the result is in no operand");
    return true;
}

/* ---- The product ---- */

/* Letters of `part` that are in the other operand as `other` says, and in the result as `kept`
 * says. They are appended to `to`; returns how many there are then. */
static int pick(const notation *e, int part, bool other, bool kept, char *to, int n)
{
    for (int i = 0; i < e->n[part]; i++) {
        char c = e->letters[part][i];
        if (has(e, part == A ? B : A, c) == other && has(e, RESULT, c) == kept) to[n++] = c;
    }
    return n;
}

static int64_t product(const notation *e, const char *letters, int n)
{
    int64_t p = 1;
    for (int i = 0; i < n; i++) p *= size_of(e, letters[i]);
    return p;
}

/* Reorders the axes of x, which are `from`, to those of `to`. */
static pal_tensor reorder(pal_tensor x, const char *from, int n, const char *to)
{
    int axes[PAL_MAX_DIMS] = {0};
    for (int i = 0; i < n; i++)
        axes[i] = (int)((const char *)memchr(from, to[i], (size_t)n) - from);
    return pal_permute(x, axes);
}

/* Sums what only this operand has; the other letters stay in their order in `left`. */
static pal_tensor without_lone(const notation *e, int part, pal_tensor x, char *left, int *n)
{
    int axes[PAL_MAX_DIMS], lone = 0;
    *n = 0;
    for (int i = 0; i < e->n[part]; i++) {
        char c = e->letters[part][i];
        if (has(e, part == A ? B : A, c) || has(e, RESULT, c))
            left[(*n)++] = c;
        else
            axes[lone++] = i;
    }
    return lone ? pal_sum_over(x, lone, axes, false) : x;
}

static pal_tensor multiply(const notation *e, pal_tensor a, pal_tensor b)
{
    char left_a[PAL_MAX_DIMS], left_b[PAL_MAX_DIMS], order_a[PAL_MAX_DIMS], order_b[PAL_MAX_DIMS];
    char made[2 * PAL_MAX_DIMS];
    int na, nb;
    a = without_lone(e, A, a, left_a, &na);
    b = without_lone(e, B, b, left_b, &nb);
    int batch = pick(e, A, true, true, order_a, 0);
    int rows = pick(e, A, false, true, order_a, batch);
    pick(e, A, true, false, order_a, rows);
    memcpy(order_b, order_a, (size_t)batch);
    memcpy(order_b + batch, order_a + rows, (size_t)(na - rows));
    const int inner = na - rows;
    pick(e, B, false, true, order_b, batch + inner);
    a = reorder(a, left_a, na, order_a);
    b = reorder(b, left_b, nb, order_b);
    const int64_t m = product(e, order_a, batch), k = product(e, order_a + rows, inner);
    const int64_t p = product(e, order_a + batch, rows - batch);
    const int64_t q = product(e, order_b + batch + inner, nb - batch - inner);
    a = pal_reshape(a, batch ? PAL_SHAPE(m, p, k) : PAL_SHAPE(p, k));
    b = pal_reshape(b, batch ? PAL_SHAPE(m, k, q) : PAL_SHAPE(k, q));
    memcpy(made, order_a, (size_t)rows);
    memcpy(made + rows, order_b + batch + inner, (size_t)(nb - batch - inner));
    pal_shape shape = {.ndim = e->n[RESULT]};
    for (int i = 0; i < shape.ndim; i++) shape.dim[i] = size_of(e, made[i]);
    return reorder(pal_reshape(pal_matmul(a, b), shape), made, shape.ndim, e->letters[RESULT]);
}

pal_tensor pal_einsum(const char *text, pal_tensor a, pal_tensor b)
{
    notation e = {.text = text ? text : ""};
    pal_tensor other = pal_is_none(a) ? b : a;
    if ((pal_is_none(a) || pal_is_none(b)) && !pal_handle_problem(other)) {
        pal_fail(other.node->owner, PAL_EVALUE, "einsum: argument %s is missing",
                 pal_is_none(a) ? "a" : "b");
        return pal_poison(other.node->owner);
    }
    e.node[A] = pal_node_of(a, "einsum", "a");
    e.node[B] = pal_node_of(b, "einsum", "b");
    if (!e.node[A] || !e.node[B]) return pal_failed(e.node[A] ? b : a);
    pal_tape *tape = pal_tape_of(e.node[A]) ? pal_tape_of(e.node[A]) : pal_tape_of(e.node[B]);
    if (!tape) return pal_viewable(a, "einsum") ? a : pal_failed(a);
    if (!pal_tape_of(e.node[A])) a = pal_on(tape, a);
    if (!pal_tape_of(e.node[B])) b = pal_on(tape, b);
    e.node[A] = pal_node_of(a, "einsum", "a");
    e.node[B] = pal_node_of(b, "einsum", "b");
    if (!e.node[A] || !e.node[B] || tape->owner.error.status != PAL_OK || !parse(&e) || !check(&e))
        return pal_poison(&tape->owner);
    return multiply(&e, a, b);
}
