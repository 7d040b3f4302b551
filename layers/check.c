/*
 * check.c - argument checks of composed operations.
 *
 * A composed operation has no infer function, and an error that named one of its inner steps would
 * not help the caller. So its arguments are checked first, against a short text that has one letter
 * for each axis; equal letters stand for equal sizes.
 */
#include "layers/check.h"
#include "tensor/number.h"

#include <string.h>

void pal_frame_init(pal_frame *f, const char *op)
{
    *f = (pal_frame){.op = op};
    for (size_t i = 0; i < sizeof f->size / sizeof *f->size; i++) f->size[i] = -1;
}

pal_tensor pal_frame_poison(const pal_frame *f)
{
    return f->tape ? pal_poison(&f->tape->owner) : pal_poison_nowhere();
}

bool pal_frame_fail(pal_frame *f, pal_status status, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    pal_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (f->error)
        pal_error_set(f->error, status, "%s: %s", f->op, text);
    else if (f->tape)
        pal_fail(&f->tape->owner, status, "%s: %s", f->op, text);
    else
        pal_fail_nowhere(status, "%s: %s", f->op, text);
    return false;
}

/* How messages call an axis. */
static char shown_as(const pal_frame *f, char letter)
{
    for (const char *c = f->shown; c && *c; c += 2)
        if (*c == letter) return c[1];
    return letter;
}

/* "[B=2,T=5,HV,K=8]": sizes where they are known. */
static void describe_dims(const pal_frame *f, const char *dims, char *text, size_t room)
{
    size_t n = (size_t)snprintf(text, room, "[");
    for (const char *c = dims; *c && n < room; c++) {
        const char letter[2] = {shown_as(f, *c), 0};
        const char *name = *letter == 'J' ? "HV" : *letter == 'h' ? "nh" : letter;
        n += (size_t)snprintf(text + n, room - n, "%s%s", c == dims ? "" : ",", name);
        if (f->size[(int)*c] >= 0 && n < room)
            n += (size_t)snprintf(text + n, room - n, "=%lld", (long long)f->size[(int)*c]);
    }
    if (n < room) snprintf(text + n, room - n, "]");
}

static bool fit(pal_frame *f, const pal_arg *arg, const pal_array *a)
{
    bool good = a->ndim == (int)strlen(arg->dims);
    for (int d = 0; d < a->ndim && good; d++) {
        int64_t size = f->size[(int)arg->dims[d]];
        good = size < 0 || size == a->shape[d];
    }
    if (!good) {
        char have[128], want[128];
        describe_dims(f, arg->dims, want, sizeof want);
        return pal_frame_fail(f, PAL_ESHAPE, "argument %s is %s and should be %s", arg->name,
                              pal_array_describe(a, have, sizeof have), want);
    }
    for (int d = 0; d < a->ndim; d++) f->size[(int)arg->dims[d]] = a->shape[d];
    return true;
}

pal_tensor pal_plain_tensor(const pal_array *x, pal_node *node)
{
    if (!x) return PAL_NONE;
    *node = (pal_node){.a = *x};
    return (pal_tensor){node, 0};
}

/* An array of a caller is checked before anything reads its sizes. */
static bool sound(pal_frame *f, const pal_arg *arg)
{
    const pal_array *a = &arg->t.node->a;
    int64_t count = -1;
    if (a->ndim >= 0 && a->ndim <= PAL_MAX_DIMS) count = pal_shape_count(pal_array_shape(a));
    if (count < 0)
        return pal_frame_fail(f, PAL_ESHAPE, "argument %s has sizes below 0 or too large",
                              arg->name);
    if (count > 0 && !a->data)
        return pal_frame_fail(f, PAL_EVALUE, "argument %s has no memory (NULL)", arg->name);
    return true;
}

/* Brings a tensor onto the tape. */
static bool bring(pal_frame *f, pal_arg *arg)
{
    if (!pal_node_of(arg->t, f->op, arg->name)) return false;
    arg->t = pal_on(f->tape, arg->t);
    return f->tape->owner.error.status == PAL_OK;
}

static bool add(pal_frame *f, pal_arg *arg, bool first)
{
    if (pal_is_none(arg->t)) {
        return arg->optional || pal_frame_fail(f, PAL_ESTALE, "argument %s is empty (%s)",
                                               arg->name, f->error ? "NULL" : "PAL_NONE");
    }
    if (!(f->error ? sound(f, arg) : bring(f, arg))) return false;
    const pal_array *a = &arg->t.node->a;
    if (first) f->dtype = a->dtype;
    const bool taken = pal_dtype_real(a->dtype) || (f->narrow && a->dtype == PAL_BF16);
    if (a->dtype != f->dtype || !taken) {
        return pal_frame_fail(f, PAL_EDTYPE, "argument %s is %s; all must be %s", arg->name,
                              pal_dtype_name(a->dtype),
                              pal_dtype_real(f->dtype) ? pal_dtype_name(f->dtype) : "f32 or f64");
    }
    return fit(f, arg, a);
}

bool pal_frame_add(pal_frame *f, int n, pal_arg *args)
{
    const bool first = !f->started;
    for (int i = 0; i < n && !f->tape && !f->error; i++)
        if (args[i].t.node) f->tape = pal_tape_of(args[i].t.node);
    if (!f->tape && !f->error)
        return pal_frame_fail(f, PAL_EVALUE,
                              "no operand is on a tape; bring a parameter onto one by pal_on");
    if (f->tape && f->tape->owner.error.status != PAL_OK) return false;
    f->started = true;
    for (int i = 0; i < n; i++)
        if (!add(f, &args[i], first && i == 0)) return false;
    return true;
}

bool pal_frame_groups(pal_frame *f, char many, char few)
{
    int64_t m = f->size[(int)many], g = f->size[(int)few];
    if (g > 0 && m % g == 0) return true;
    return pal_frame_fail(f, PAL_ESHAPE, "%lld heads cannot share %lld evenly", (long long)m,
                          (long long)g);
}

const int64_t *pal_frame_offsets(pal_frame *f, pal_tensor offsets, int64_t batch, int64_t T,
                                 int64_t *sequences)
{
    if (!f->error && !pal_node_of(offsets, f->op, "offsets")) return NULL;
    const pal_array *a = &offsets.node->a;
    char text[128];
    if (a->dtype != PAL_I64 || a->ndim != 1 || a->shape[0] < 2 || !pal_array_contiguous(a) ||
        (f->error && !a->data)) {
        pal_frame_fail(f, PAL_ESHAPE, "argument offsets is %s and should be i64[N+1]",
                       pal_array_describe(a, text, sizeof text));
        return NULL;
    }
    if (batch != 1) {
        pal_frame_fail(f, PAL_ESHAPE, "packed sequences need B = 1, and B is %lld",
                       (long long)batch);
        return NULL;
    }
    const int64_t *o = a->data;
    *sequences = a->shape[0] - 1;
    bool good = o[0] == 0 && o[*sequences] == T;
    for (int64_t n = 0; n < *sequences; n++) good = good && o[n] <= o[n + 1];
    if (good) return o;
    pal_frame_fail(f, PAL_EVALUE, "offsets must run from 0 to T = %lld without a decrease",
                   (long long)T);
    return NULL;
}
