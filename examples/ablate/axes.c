/*
 * axes.c - axes of a study: a line `axis.NAME = 8, 16, 32` makes variants for each value.
 *
 * If NAME is an option of a variant (width, layers, steps, lr, ..), every variant X becomes X-8,
 * X-16, .. with that option. Otherwise ${NAME} stands in the lines of variants, and each variant
 * that has it becomes several; ${2NAME} is twice the value. Axes multiply: a second one makes
 * X-8-64. Lines are replaced before anything is made of them, so a mistake still has its line.
 */
#include "examples/ablate/axes.h"
#include "examples/lm/text.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_VALUES = 16 };

typedef struct axis {
    const char *name;
    int line, values;
    char value[MOST_VALUES][PAL_NUMBER_TEXT];
    bool option; /* of variants */
} axis;

static const char VARIANT[] = "variant.";

/* ---- ${NAME} ---- */

/* The first ${..NAME} of a text: how long it is, and by which number the value is multiplied. */
static const char *find(const char *text, const char *name, size_t *length, long *times)
{
    for (const char *at = text; (at = strstr(at, "${")); at++) {
        const char *digits = at + 2;
        const size_t n = strspn(digits, "0123456789");
        if (strncmp(digits + n, name, strlen(name)) || digits[n + strlen(name)] != '}') continue;
        *length = 2 + n + strlen(name) + 1;
        *times = n ? strtol(digits, NULL, 10) : 1;
        return at;
    }
    return NULL;
}

static bool mentions(const axes_lines *l, const char *whose, size_t n, const axis *a)
{
    size_t length;
    long times;
    for (int i = 0; i < l->n; i++) {
        const char *name = l->line[i].name;
        if (strncmp(name, VARIANT, strlen(VARIANT))) continue;
        name += strlen(VARIANT);
        if (strcspn(name, ".") == n && strncmp(name, whose, n) == 0 &&
            (a->option || find(l->line[i].value, a->name, &length, &times)))
            return true;
    }
    return false;
}

static char *keep(const char *path, const char *text)
{
    char *copy = strdup(text);
    if (!copy) stop("%s: out of memory", path);
    char *kept = (char *)(uintptr_t)lm_keep(copy, strlen(copy));
    free(copy);
    return kept;
}

/* A text with each ${NAME} replaced. */
static char *replaced(const axes_lines *l, const axes_line *from, const axis *a, int value)
{
    char text[4096], number[PAL_NUMBER_TEXT];
    size_t used = 0, length;
    long times;
    const char *at = from->value;
    for (const char *hit; (hit = find(at, a->name, &length, &times)); at = hit + length) {
        double x = 0;
        if (!pal_number_read(a->value[value], &x) && times != 1)
            stop("%s: line %d: %s is no number, so there is no multiple of it", l->path,
                 from->number, a->value[value]);
        used += (size_t)snprintf(text + used, sizeof text - used, "%.*s%s", (int)(hit - at), at,
                                 times == 1 ? a->value[value]
                                            : pal_number_print(x * (double)times, number));
        if (used >= sizeof text) stop("%s: line %d: it is too long", l->path, from->number);
    }
    if ((size_t)snprintf(text + used, sizeof text - used, "%s", at) >= sizeof text - used)
        stop("%s: line %d: it is too long", l->path, from->number);
    return keep(l->path, text);
}

/* ---- Lines ---- */

static void put(axes_lines *to, axes_line line)
{
    if (to->n == AXES_LINES)
        stop("%s: line %d: with all axes it has more than %d lines", to->path, line.number,
             AXES_LINES);
    to->line[to->n++] = line;
}

/* A line of variant X once for each value, as a line of X-VALUE. */
static void put_each(const axes_lines *l, axes_lines *to, const axes_line *from, size_t n,
                     const axis *a)
{
    const char *name = from->name + strlen(VARIANT);
    char text[512];
    for (int i = 0; i < a->values; i++) {
        axes_line line = *from;
        if (!line.base) line.base = n;
        snprintf(text, sizeof text, "%s%.*s-%s%.200s", VARIANT, (int)n, name, a->value[i],
                 name + n);
        line.name = keep(l->path, text);
        line.value = replaced(l, from, a, i);
        put(to, line);
        if (!a->option || name[n]) continue;
        snprintf(text, sizeof text, "%s%.*s-%s.%.100s", VARIANT, (int)n, name, a->value[i],
                 a->name);
        put(to, (axes_line){a->line, keep(l->path, text), keep(l->path, a->value[i]), false, 0});
    }
}

static void multiply(axes_lines *l, const axis *a)
{
    static axes_lines to;
    bool used = false;
    to = (axes_lines){.path = l->path};
    for (int i = 0; i < l->n; i++) {
        const axes_line *line = &l->line[i];
        const char *name = line->name + strlen(VARIANT);
        const bool is = strncmp(line->name, VARIANT, strlen(VARIANT)) == 0;
        const size_t n = is ? strcspn(name, ".") : 0;
        if (is && mentions(l, name, n, a)) {
            put_each(l, &to, line, n, a);
            used = true;
        } else {
            put(&to, *line);
        }
    }
    if (!used)
        stop("%s: line %d: no variant has ${%s}, and %s is no option of variants", l->path, a->line,
             a->name, a->name);
    *l = to;
}

static axis read_axis(const axes_lines *l, const axes_line *line)
{
    axis a = {.name = line->name + strlen("axis."), .line = line->number};
    a.option = pal_keys_find(&settings_keys, a.name) >= 0;
    for (const char *at = line->value; *at;) {
        at += strspn(at, ", \t");
        const size_t n = strcspn(at, ", \t");
        if (!n) break;
        if (a.values == MOST_VALUES || n >= PAL_NUMBER_TEXT)
            stop("%s: line %d: %s has more than %d values, or a long one", l->path, line->number,
                 line->name, MOST_VALUES);
        snprintf(a.value[a.values++], PAL_NUMBER_TEXT, "%.*s", (int)n, at);
        at += n;
    }
    if (!*a.name || a.values < 1)
        stop("%s: line %d: %s should have a name and a list of values", l->path, line->number,
             line->name);
    return a;
}

void axes_expand(axes_lines *l)
{
    for (int i = 0; i < l->n;) {
        if (strncmp(l->line[i].name, "axis.", 5)) {
            i++;
            continue;
        }
        const axis a = read_axis(l, &l->line[i]);
        memmove(&l->line[i], &l->line[i + 1], (size_t)(--l->n - i) * sizeof *l->line);
        multiply(l, &a);
        i = 0;
    }
}
