/* probe.c - statistics of what a hook is shown, head by head. */
#include "layers/probe.h"
#include "autograd/internal.h"

#include <math.h>
#include <string.h>

enum { NAMES = 32, LABEL = 96, KINDS = 3, NOTES = 16 };
static const char *const kinds[KINDS] = {"mean", "dev", "grad"};

/* A tensor that was shown. */
typedef struct seen {
    int64_t layer;
    int name; /* which of the names */
    pal_tensor t;
} seen;

struct pal_probe {
    int names, count, room; /* count: tensors that were seen since the last look */
    char *name[NAMES];
    seen *seen;
    int notes;
    struct {
        char name[LABEL];
        double value;
    } note[NOTES];
    int fields, field_room;
    pal_field *field;
    char (*label)[LABEL]; /* of the fields */
    char *columns;
    size_t columns_size, size; /* of allocations */
    char text[];
};

/* ---- Life ---- */

pal_probe *pal_probe_new(const char *names)
{
    const size_t length = names ? strlen(names) : 0, size = sizeof(pal_probe) + length + 1;
    int count = 1;
    bool empty = length == 0 || names[0] == ',' || names[length - 1] == ',';
    for (size_t i = 0; i < length; i++) {
        count += names[i] == ',';
        empty = empty || (names[i] == ',' && names[i + 1] == ',');
    }
    if (empty || count > NAMES) {
        pal_fail_nowhere(PAL_EVALUE, "probe_new: \"%.100s\" is no list of 1 to %d names",
                         names ? names : "", NAMES);
        return NULL;
    }
    pal_probe *p = pal_malloc(size);
    if (!p) {
        pal_fail_nowhere(PAL_ENOMEM, "probe_new: out of memory");
        return NULL;
    }
    *p = (pal_probe){.size = size};
    memcpy(p->text, names, length + 1);
    for (char *at = p->text, *end; at; at = end ? end + 1 : NULL) {
        p->name[p->names++] = at;
        end = strchr(at, ',');
        if (end) *end = '\0';
    }
    return p;
}

void pal_probe_free(pal_probe *p)
{
    if (!p) return;
    if (p->seen) pal_free(p->seen, (size_t)p->room * sizeof *p->seen);
    if (p->field) pal_free(p->field, (size_t)p->field_room * sizeof *p->field);
    if (p->label) pal_free(p->label, (size_t)p->field_room * sizeof *p->label);
    if (p->columns) pal_free(p->columns, p->columns_size);
    pal_free(p, p->size);
}

/* More room for a list, which keeps what it has; false after telling the handler. */
static bool grow(void **list, int *room, int wanted, size_t each)
{
    if (wanted <= *room) return true;
    int more = *room ? *room : 64;
    while (more < wanted) more *= 2;
    char *fresh = pal_malloc((size_t)more * each);
    if (!fresh) {
        pal_fail_nowhere(PAL_ENOMEM, "probe: out of memory for %d statistics", wanted);
        return false;
    }
    if (*list) {
        memcpy(fresh, *list, (size_t)*room * each);
        pal_free(*list, (size_t)*room * each);
    }
    *list = fresh, *room = more;
    return true;
}

/* ---- The hook ---- */

bool pal_probe_hook(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    pal_probe *p = user;
    int i = 0;
    while (i < p->names && strcmp(p->name[i], name) != 0) i++;
    if (i == p->names || !pal_node_of(*t, "probe", name)) return true;
    if (!grow((void **)&p->seen, &p->room, p->count + 1, sizeof *p->seen)) return true;
    pal_tape *tape = pal_tape_of(t->node);
    if (tape && tape->grad && t->node->needs_grad) *t = pal_want_grad(*t);
    p->seen[p->count++] = (seen){layer, i, *t};
    return true;
}

void pal_probe_note(pal_probe *p, const char *name, double value)
{
    if (p->notes == NOTES) return;
    snprintf(p->note[p->notes].name, LABEL, "%s", name);
    p->note[p->notes++].value = value;
}

/* ---- Statistics ---- */

/* The axis that counts heads; -1: there is none. */
static int head_axis(const char *name, const pal_array *a)
{
    if (strcmp(name, "state") == 0) return a->ndim > 1 ? 1 : -1;
    if (!strcmp(name, "x") || !strcmp(name, "y") || !strcmp(name, "om")) return -1;
    if (!strcmp(name, "gate") && a->ndim < 4) return -1;
    if (a->ndim == 5 && (!strcmp(name, "q") || !strcmp(name, "k"))) return 3; /* Mamba-3 */
    return a->ndim > 2 ? 2 : -1;
}

/* Sums of f(x - center) over a head: of the numbers, or of their squares. */
static double sum_of(const pal_array *a, double center, bool squares)
{
    double sum = 0;
    int64_t at[PAL_MAX_DIMS] = {0};
    const int64_t n = pal_array_count(a);
    for (int64_t i = 0; i < n; i++) {
        const double x = pal_array_get(a, at) - center;
        sum += squares ? x * x : x;
        for (int d = a->ndim - 1; d >= 0 && ++at[d] == a->shape[d]; d--) at[d] = 0;
    }
    return sum;
}

/* Head h of an array; the array itself if it has none. */
static pal_array head_of(pal_array a, int axis, int64_t h)
{
    if (axis < 0) return a;
    a.data = (char *)a.data + h * a.stride[axis] * (int64_t)pal_dtype_size(a.dtype);
    a.shape[axis] = 1;
    return a;
}

static bool reserve_fields(pal_probe *p, int wanted)
{
    int room = p->field_room;
    return grow((void **)&p->field, &room, wanted, sizeof *p->field) &&
           grow((void **)&p->label, &p->field_room, wanted, sizeof *p->label);
}

static bool look(pal_probe *p, const seen *s)
{
    const char *name = p->name[s->name];
    if (!pal_node_of(s->t, "probe_fields", name)) return false;
    const pal_array a = pal_value(s->t);
    const int axis = head_axis(name, &a);
    const int64_t heads = axis < 0 ? 1 : a.shape[axis];
    const bool marked = s->t.node->base->wanted;
    const pal_tensor grad = marked ? pal_grad(s->t) : PAL_NONE;
    if (heads > 1 << 16 || !reserve_fields(p, p->fields + (int)heads * KINDS)) return false;
    for (int64_t h = 0; h < heads; h++) {
        const pal_array of = head_of(a, axis, h);
        const double n = (double)pal_array_count(&of);
        double value[KINDS] = {sum_of(&of, 0, false) / n, 0, 0};
        value[1] = sqrt(sum_of(&of, value[0], true) / n);
        if (!pal_is_none(grad)) {
            const pal_array g = head_of(pal_value(grad), axis, h);
            value[2] = sqrt(sum_of(&g, 0, true) / n);
        }
        for (int k = 0; k < KINDS; k++, p->fields++) {
            snprintf(p->label[p->fields], LABEL, "%.40s.%lld.%lld.%s", name, (long long)s->layer,
                     (long long)h, kinds[k]);
            p->field[p->fields].value = value[k];
        }
    }
    return true;
}

static bool join_names(pal_probe *p)
{
    size_t size = 1, used = 0;
    for (int i = 0; i < p->fields; i++) size += strlen(p->label[i]) + 1;
    if (size > p->columns_size) {
        char *fresh = pal_malloc(size);
        if (!fresh) {
            pal_fail_nowhere(PAL_ENOMEM, "probe: out of memory for the names of %d fields",
                             p->fields);
            return false;
        }
        if (p->columns) pal_free(p->columns, p->columns_size);
        p->columns = fresh, p->columns_size = size;
    }
    p->columns[0] = '\0';
    for (int i = 0; i < p->fields; i++) {
        p->field[i].name = p->label[i];
        used += (size_t)snprintf(p->columns + used, p->columns_size - used, "%s%s", i ? "," : "",
                                 p->label[i]);
    }
    return true;
}

int pal_probe_fields(pal_probe *p, const pal_field **fields)
{
    bool good = reserve_fields(p, p->notes);
    for (p->fields = 0; good && p->fields < p->notes; p->fields++) {
        snprintf(p->label[p->fields], LABEL, "%s", p->note[p->fields].name);
        p->field[p->fields].value = p->note[p->fields].value;
    }
    for (int i = 0; good && i < p->count; i++) good = look(p, &p->seen[i]);
    p->count = p->notes = 0;
    if (!good || !join_names(p)) p->fields = 0;
    *fields = p->field;
    return p->fields;
}

const char *pal_probe_columns(const pal_probe *p) { return p->columns ? p->columns : ""; }
