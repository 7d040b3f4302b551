/*
 * kernel.c - kernels on memory of the caller: measured, then run.
 *
 * Each call checks its arguments, lets the operation infer its sizes as on a tape, and gives it the
 * caller's memory. Results that are not wanted, and what is saved where nothing is kept, lie at the
 * beginning of scratch.
 */
#include "layers/kernel/kernel.h"

#include <math.h>
#include <string.h>

/* ---- The kernels ---- */

enum {
    OF_RULES = PAL_TAKES_SCALE | PAL_TAKES_BOUND | PAL_TAKES_CHUNK | PAL_TAKES_EVERY |
               PAL_TAKES_MODE | PAL_TAKES_PAIR | PAL_TAKES_NORMALIZE,
    OF_NORM = PAL_TAKES_EPS | PAL_TAKES_GROUPS | PAL_TAKES_GATE | PAL_TAKES_GATE_FIRST
};

static const pal_kernel kernels[] = {
#define PAL_RULE(name, test) \
    {#name, &pal_rule_##name, {NULL}, {NULL}, OF_RULES, pal_kernel_plan_rule},
#include "layers/layers.def"
    {"short_conv",
     NULL,
     {"x", "weight", "bias", "tail", "offsets"},
     {"y", "tail"},
     PAL_TAKES_SILU,
     pal_kernel_plan_conv},
    {"gated_rms_norm", NULL, {"x", "gate", "weight"}, {"y"}, OF_NORM, pal_kernel_plan_norm},
    {"attention",
     NULL,
     {"q", "k", "v", "offsets"},
     {"o"},
     PAL_TAKES_SCALE | PAL_TAKES_WINDOW,
     pal_kernel_plan_attention},
};
enum { KERNELS = sizeof kernels / sizeof *kernels };

const pal_kernel *pal_kernel_at(int i) { return i >= 0 && i < KERNELS ? &kernels[i] : NULL; }

const pal_kernel *pal_kernel_find(const char *name)
{
    for (int i = 0; i < KERNELS && name; i++)
        if (strcmp(kernels[i].name, name) == 0) return &kernels[i];
    return NULL;
}

const char *pal_kernel_name(const pal_kernel *kernel) { return kernel->name; }

static int count(const char *const *names)
{
    int n = 0;
    while (names[n]) n++;
    return n;
}
int pal_kernel_inputs(const pal_kernel *k)
{
    return k->rule ? pal_rule_inputs(k->rule) : count(k->in);
}
int pal_kernel_outputs(const pal_kernel *k)
{
    return k->rule ? 1 + pal_rule_states(k->rule) : count(k->out);
}

const char *pal_kernel_input(const pal_kernel *k, int i)
{
    if (i < 0 || i >= pal_kernel_inputs(k)) return NULL;
    return k->rule ? pal_rule_input(k->rule, i)->name : k->in[i];
}
const char *pal_kernel_output(const pal_kernel *k, int i)
{
    if (i < 0 || i >= pal_kernel_outputs(k)) return NULL;
    if (!k->rule) return k->out[i];
    return i ? pal_rule_state(k->rule, i - 1) : "o";
}

/* The input of the same name as result i; -1: there is none. */
static int replaced_by(const pal_kernel *k, int i)
{
    const char *name = pal_kernel_output(k, i);
    /* The last of this name: Mamba-3 also calls an operand x. */
    for (int j = pal_kernel_inputs(k) - 1; j >= 0 && i > 0; j--)
        if (strcmp(pal_kernel_input(k, j), name) == 0) return j;
    return -1;
}

/* ---- One call ---- */

typedef struct use {
    const pal_kernel *kernel;
    const pal_kernel_call *call;
    pal_frame frame; /* for messages */
    pal_kernel_plan plan;
    pal_array out[PAL_KERNEL_OUT]; /* as the operation has them */
    pal_array *to[PAL_KERNEL_OUT];
    const pal_array *in[PAL_KERNEL_IN];
    pal_plain plain;
    pal_error *error;
} use;

static const char *foreign_option(const pal_kernel *k, const pal_kernel_opts *o)
{
    const struct {
        bool set;
        const char *name;
    } option[] = {{o->scale != 0, "scale"},
                  {o->lower_bound != 0, "lower_bound"},
                  {o->eps != 0, "eps"},
                  {o->chunk != 0, "chunk"},
                  {o->keep_every != 0, "keep_every"},
                  {o->window != 0, "window"},
                  {o->groups != 0, "groups"},
                  {o->mode != PAL_RULE_AUTO, "mode"},
                  {o->pair != PAL_PAIR_ADJACENT, "pair"},
                  {o->gate != PAL_GATE_DEFAULT, "gate"},
                  {o->normalize, "normalize"},
                  {o->silu, "silu"},
                  {o->gate_first, "gate_first"}};
    for (size_t i = 0; i < sizeof option / sizeof *option; i++)
        if (option[i].set && !(k->takes >> i & 1)) return option[i].name;
    return NULL;
}

static pal_status fail(use *r, pal_status status, const char *text, const char *what)
{
    pal_frame_fail(&r->frame, status, text, what);
    return status;
}

/* Checks the call and makes its plan. */
static pal_status begin(use *r, const pal_kernel *k, const pal_kernel_call *call, bool records,
                        pal_error *error)
{
    *r = (use){.kernel = k, .call = call, .error = error};
    *error = (pal_error){.status = PAL_OK};
    pal_frame_init(&r->frame, k->name);
    r->frame.error = error;
    const char *foreign = foreign_option(k, &call->opts);
    if (foreign) return fail(r, PAL_EVALUE, "there is no option %s", foreign);
    if (call->threads < 0) return fail(r, PAL_EVALUE, "%s is below 0", "threads");
    for (int i = pal_kernel_inputs(k); i < PAL_KERNEL_IN; i++)
        if (call->in[i]) return fail(r, PAL_EVALUE, "there are %s inputs than given", "fewer");
    if (!k->plan(&r->frame, k, call, records, &r->plan)) return error->status;
    memcpy(r->in, call->in, sizeof r->in);
    for (int i = 0; i < PAL_KERNEL_OUT; i++) r->to[i] = &r->out[i];
    return PAL_OK;
}

/* Lets the operation infer its sizes for this number of threads, of a call that is made now or is
 * only measured. */
static pal_status infer(use *r, int threads, bool measures)
{
    pal_plain_begin(&r->plain, r->plan.op, &r->plan.opts, pal_kernel_inputs(r->kernel), r->in,
                    pal_kernel_outputs(r->kernel), r->to, threads, r->error);
    r->plain.measures = measures;
    return pal_plain_infer(&r->plain);
}

static size_t bytes_of(const pal_array *a)
{
    return pal_round_up(pal_shape_bytes(a->dtype, pal_array_shape(a)), PAL_ALIGN);
}

static size_t saved_bytes(const use *r)
{
    size_t n = 0;
    for (int i = 0; i < r->plain.record.call.nsaved; i++) n += bytes_of(&r->plain.saved[i]);
    return n;
}

/* The scratch of forward: results that are not wanted, what is saved, and the operation's own. */
static size_t forward_bytes(const use *r, bool keeps)
{
    size_t n = keeps ? 0 : saved_bytes(r);
    for (int i = 1; i < pal_kernel_outputs(r->kernel); i++)
        if (!r->call->out[i]) n += bytes_of(&r->out[i]);
    return n + pal_round_up(r->plain.record.forward_scratch, PAL_ALIGN);
}

/* The shape of a result as the caller sees it. */
static pal_shape shape_of(const use *r, int i)
{
    pal_shape s = pal_array_shape(&r->out[i]);
    if (i > 0 || r->plan.rows == 0) return s;
    return PAL_SHAPE(s.dim[0], s.dim[1] / r->plan.rows, r->plan.rows, s.dim[2], s.dim[3]);
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Inside a parallel region a call has one thread, wherever it was measured; so there is always
 * room for one. */
static pal_status measure(const pal_kernel *k, const pal_kernel_call *call, bool records,
                          pal_kernel_sizes *sizes, pal_error *error)
{
    use r;
    pal_status status = begin(&r, k, call, records, error);
    for (int one = 0; one < 2 && status == PAL_OK; one++) {
        if ((status = infer(&r, one ? 1 : call->threads, true)) != PAL_OK) break;
        sizes->forward = larger(sizes->forward, forward_bytes(&r, records));
        if (!records) continue;
        sizes->keep = saved_bytes(&r);
        sizes->backward =
            larger(sizes->backward, pal_round_up(r.plain.record.backward_scratch, PAL_ALIGN));
    }
    for (int i = 0; i < pal_kernel_outputs(k) && status == PAL_OK; i++)
        sizes->out[i] = shape_of(&r, i);
    return status;
}

pal_status pal_kernel_measure(const pal_kernel *kernel, const pal_kernel_call *call,
                              pal_kernel_sizes *sizes, pal_error *error)
{
    pal_error own;
    *sizes = (pal_kernel_sizes){.keep = 0};
    pal_status status = measure(kernel, call, true, sizes, error ? error : &own);
    if (status == PAL_OK) status = measure(kernel, call, false, sizes, error ? error : &own);
    return status;
}

/* ---- Memory ---- */

static pal_status need(use *r, const char *name, const void *memory, size_t have, size_t want)
{
    if (want == 0 || (memory && have >= want && (uintptr_t)memory % PAL_ALIGN == 0)) return PAL_OK;
    pal_frame_fail(&r->frame, PAL_EVALUE,
                   "%s has %zu bytes at %p, and should have %zu, aligned to %d", name, have, memory,
                   want, PAL_ALIGN);
    return PAL_EVALUE;
}

/* Checks a result, or the gradient of one. */
static pal_status fits(use *r, const char *kind, int i, const pal_array *a)
{
    char have[128], want[128];
    const pal_array like = pal_array_of(r->out[i].dtype, shape_of(r, i), NULL);
    if (a->dtype == like.dtype && a->ndim == like.ndim &&
        pal_shape_equal(pal_array_shape(a), pal_array_shape(&like)) && pal_array_contiguous(a) &&
        (a->data || pal_array_count(a) == 0))
        return PAL_OK;
    pal_frame_fail(&r->frame, PAL_ESHAPE, "%s %s is %s and should be %s, contiguous, with memory",
                   kind, pal_kernel_output(r->kernel, i), pal_array_describe(a, have, sizeof have),
                   pal_array_describe(&like, want, sizeof want));
    return PAL_ESHAPE;
}

/* Gives saved arrays their memory; returns what follows it. */
static char *place_saved(use *r, void *memory)
{
    char *at = memory;
    for (int i = 0; i < r->plain.record.call.nsaved; i++) {
        r->plain.saved[i].data = at;
        at += bytes_of(&r->plain.saved[i]);
    }
    return at;
}

/* Chooses the number of threads: those of the call, or one if there is room for no more. */
static pal_status infer_within(use *r, size_t (*bytes)(const use *r))
{
    pal_status status = infer(r, r->call->threads, false);
    if (status == PAL_OK && r->plain.record.call.team > 1 && bytes(r) > r->call->scratch_bytes)
        status = infer(r, 1, false);
    return status == PAL_OK ? need(r, "scratch", r->call->scratch, r->call->scratch_bytes, bytes(r))
                            : status;
}

/* ---- Forward ---- */

static size_t forward_need(const use *r) { return forward_bytes(r, r->call->keep != NULL); }

static pal_status check_results(use *r)
{
    const pal_kernel_call *c = r->call;
    if (!c->out[0])
        return fail(r, PAL_EVALUE, "result %s is NULL", pal_kernel_output(r->kernel, 0));
    for (int i = 0; i < pal_kernel_outputs(r->kernel); i++) {
        if (!c->out[i]) continue;
        pal_status status = fits(r, "result", i, c->out[i]);
        if (status != PAL_OK) return status;
        const int j = replaced_by(r->kernel, i);
        if (j < 0 || !c->in[j] || c->in[j]->data != c->out[i]->data || !c->out[i]->data) continue;
        if (c->keep)
            return fail(r, PAL_EVALUE, "%s is replaced, but keep is given",
                        pal_kernel_output(r->kernel, i));
        if (!pal_array_contiguous(c->in[j]))
            return fail(r, PAL_ESHAPE, "%s is replaced, and is not contiguous",
                        pal_kernel_output(r->kernel, i));
    }
    return PAL_OK;
}

static pal_status forward(const pal_kernel *kernel, const pal_kernel_call *call, pal_error *error)
{
    use r;
    pal_status status = begin(&r, kernel, call, call->keep != NULL, error);
    if (status == PAL_OK) status = infer_within(&r, forward_need);
    if (status == PAL_OK) status = check_results(&r);
    if (status == PAL_OK && call->keep)
        status = need(&r, "keep", call->keep, call->keep_bytes, saved_bytes(&r));
    if (status != PAL_OK) return status;
    char *at = call->scratch;
    if (call->keep)
        place_saved(&r, call->keep);
    else
        at = place_saved(&r, at);
    for (int i = 0; i < pal_kernel_outputs(kernel); i++) {
        r.out[i].data = call->out[i] ? call->out[i]->data : at;
        if (!call->out[i]) at += bytes_of(&r.out[i]);
    }
    pal_plain_forward(&r.plain, at);
    return PAL_OK;
}

pal_status pal_kernel_forward(const pal_kernel *kernel, const pal_kernel_call *call,
                              pal_error *error)
{
    pal_error own;
    return forward(kernel, call, error ? error : &own);
}

/* ---- Backward ---- */

static size_t backward_need(const use *r)
{
    return pal_round_up(r->plain.record.backward_scratch, PAL_ALIGN);
}

/* Checks where the gradient of input i goes. Elements that share memory would be written by several
 * threads; strides of 0 are the usual case. */
static pal_status check_gradient(use *r, int i)
{
    const pal_array *d = r->call->din[i], *x = i < pal_kernel_inputs(r->kernel) ? r->in[i] : NULL;
    const char *name = pal_kernel_input(r->kernel, i);
    char have[128], want[128];
    if (!x || !pal_dtype_real(x->dtype))
        return fail(r, PAL_EGRAD, "there is no gradient of %s", name ? name : "an input");
    bool good = d->dtype == x->dtype && pal_shape_equal(pal_array_shape(d), pal_array_shape(x)) &&
                (d->data || pal_array_count(d) == 0);
    for (int j = 0; j < d->ndim && good; j++) good = d->shape[j] <= 1 || d->stride[j] != 0;
    if (good) return PAL_OK;
    pal_frame_fail(&r->frame, PAL_ESHAPE,
                   "the gradient of %s is %s and should be %s, with memory for each element", name,
                   pal_array_describe(d, have, sizeof have),
                   pal_array_describe(x, want, sizeof want));
    return PAL_ESHAPE;
}

static pal_status check_gradients(use *r, bool *any)
{
    const pal_kernel_call *c = r->call;
    for (int i = 0; i < pal_kernel_outputs(r->kernel); i++) {
        const bool read = !(r->plan.op->unread_out >> i & 1);
        if (read && !c->out[i])
            return fail(r, PAL_EVALUE, "backward reads result %s, which is NULL",
                        pal_kernel_output(r->kernel, i));
        pal_status status = read ? fits(r, "result", i, c->out[i]) : PAL_OK;
        if (status == PAL_OK && c->dout[i]) status = fits(r, "the gradient of", i, c->dout[i]);
        if (status != PAL_OK) return status;
        *any = *any || c->dout[i];
    }
    for (int i = 0; i < PAL_KERNEL_IN; i++) {
        pal_status status = c->din[i] ? check_gradient(r, i) : PAL_OK;
        if (status != PAL_OK) return status;
    }
    return PAL_OK;
}

static pal_status backward(const pal_kernel *kernel, const pal_kernel_call *call, pal_error *error)
{
    use r;
    bool any = false;
    pal_array dout[PAL_KERNEL_OUT], din[PAL_KERNEL_IN];
    const pal_array *from[PAL_KERNEL_OUT] = {NULL};
    pal_array *to[PAL_KERNEL_IN] = {NULL};
    pal_status status = begin(&r, kernel, call, true, error);
    if (status == PAL_OK) status = infer_within(&r, backward_need);
    if (status == PAL_OK) status = check_gradients(&r, &any);
    if (status == PAL_OK) status = need(&r, "keep", call->keep, call->keep_bytes, saved_bytes(&r));
    if (status != PAL_OK) return status;
    place_saved(&r, call->keep);
    for (int i = 0; i < pal_kernel_outputs(kernel); i++) {
        if (call->out[i]) r.out[i].data = call->out[i]->data;
        if (!call->dout[i]) continue;
        dout[i] = r.out[i];
        dout[i].data = call->dout[i]->data;
        from[i] = &dout[i];
    }
    for (int i = 0; i < PAL_KERNEL_IN; i++) {
        if (!call->din[i]) continue;
        din[i] = *call->din[i];
        to[i] = &din[i];
        if (!any) pal_array_fill(to[i], 0);
    }
    if (any) pal_plain_backward(&r.plain, from, to, call->scratch);
    return PAL_OK;
}

pal_status pal_kernel_backward(const pal_kernel *kernel, const pal_kernel_call *call,
                               pal_error *error)
{
    pal_error own;
    return backward(kernel, call, error ? error : &own);
}
