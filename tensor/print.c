/*
 * print.c - prints arrays for people, in NumPy's layout.
 *
 * A first pass over the entries that will be shown chooses the notation and the column width; a
 * second pass prints them. Numbers have four decimals. They have an exponent if the largest is 1e5
 * or more, or if the smallest (zeros do not count) is below 1e-3. If all are whole numbers, they
 * have no decimals.
 */
#include "tensor/internal.h"
#include "tensor/number.h"

#include <inttypes.h>
#include <math.h>

enum { EDGE = 3, LONG_AXIS = 2 * EDGE, TEXT = 48 };

typedef struct style {
    const pal_array *a;
    FILE *file;
    bool whole, exponent;
    int width;
    double largest, smallest; /* of the magnitudes shown, without zeros and infinities */
} style;

static void format_entry(const style *s, int64_t offset, char *text)
{
    const void *data = s->a->data;
    if (s->a->dtype == PAL_I64) {
        snprintf(text, TEXT, "%" PRId64, ((const int64_t *)data)[offset]);
        return;
    }
    double x = pal_element_get(s->a->dtype, data, offset);
    if (isnan(x))
        snprintf(text, TEXT, "nan");
    else if (isinf(x))
        snprintf(text, TEXT, x < 0 ? "-inf" : "inf");
    else if (s->exponent)
        snprintf(text, TEXT, "%.4e", x);
    else
        snprintf(text, TEXT, s->whole ? "%.0f." : "%.4f", x);
}

typedef void entry_fn(style *s, int64_t offset);

static void measure_value(style *s, int64_t offset)
{
    if (s->a->dtype == PAL_I64) return;
    double x = fabs(pal_element_get(s->a->dtype, s->a->data, offset));
    if (!isfinite(x) || x == 0) return;
    if (x != floor(x)) s->whole = false;
    if (x > s->largest) s->largest = x;
    if (x < s->smallest) s->smallest = x;
}

static void measure_width(style *s, int64_t offset)
{
    char text[TEXT];
    format_entry(s, offset, text);
    int n = 0;
    while (text[n] != '\0') n++;
    if (n > s->width) s->width = n;
}

/* Visits the entries that are shown. */
static void visit(style *s, int axis, int64_t offset, entry_fn *fn)
{
    if (axis == s->a->ndim) {
        fn(s, offset);
        return;
    }
    int64_t n = s->a->shape[axis];
    for (int64_t i = 0; i < n; i++) {
        if (n > LONG_AXIS && i == EDGE) i = n - EDGE;
        visit(s, axis + 1, offset + i * s->a->stride[axis], fn);
    }
}

static void print_axis(const style *s, int axis, int64_t offset)
{
    if (axis == s->a->ndim) {
        char text[TEXT];
        format_entry(s, offset, text);
        fprintf(s->file, "%*s", s->width, text);
        return;
    }
    int64_t n = s->a->shape[axis];
    bool last = axis == s->a->ndim - 1;
    fputc('[', s->file);
    for (int64_t i = 0; i < n; i++) {
        if (i > 0 && last) fputc(' ', s->file);
        if (i > 0 && !last) { /* one more blank line for every axis further out */
            for (int d = axis; d < s->a->ndim - 1; d++) fputc('\n', s->file);
            fprintf(s->file, "%*s", axis + 1, "");
        }
        if (n > LONG_AXIS && i == EDGE) {
            fputs("...", s->file);
            i = n - EDGE - 1;
            continue;
        }
        print_axis(s, axis + 1, offset + i * s->a->stride[axis]);
    }
    fputc(']', s->file);
}

void pal_array_print(FILE *file, const char *name, const pal_array *a)
{
    PAL_C_LOCALE;
    char text[200];
    style s = {.a = a, .file = file, .whole = true, .smallest = INFINITY};
    if (name != NULL && name[0] != '\0') fprintf(file, "%s ", name);
    fprintf(file, "%s\n", pal_array_describe(a, text, sizeof text));
    if (pal_array_count(a) == 0) {
        fputs("[]\n", file);
        return;
    }
    visit(&s, 0, 0, measure_value);
    s.exponent = s.largest >= 1e5 || (!s.whole && s.smallest < 1e-3);
    visit(&s, 0, 0, measure_width);
    print_axis(&s, 0, 0);
    fputc('\n', file);
}
