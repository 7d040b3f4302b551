/* dump.c - prints the record of a tape as text and as a graph. */
#include "autograd/internal.h"

#include <string.h>

/* Prints "%12 f32[2,3]" and, if there is one, the label of the tensor. */
static void print_node(FILE *file, const pal_node *n)
{
    char text[128];
    pal_array_describe(&n->a, text, sizeof text);
    if (n->label)
        fprintf(file, "%s %s", n->label, text);
    else
        fprintf(file, "%%%llu %s", (unsigned long long)n->id, text);
}

void pal_tape_print(const pal_tape *tape, FILE *file)
{
    for (const pal_record *r = tape->level[0].first; r; r = r->next) {
        for (int i = 0; i < r->call.nout; i++) {
            if (i) fprintf(file, ", ");
            print_node(file, r->out[i]);
        }
        fprintf(file, " = %s(", r->call.op->name);
        for (int i = 0; i < r->call.nin; i++) {
            if (i) fprintf(file, ", ");
            if (!r->in[i]) {
                fprintf(file, "none");
                continue;
            }
            print_node(file, r->in[i]);
            if (r->in[i]->base != r->in[i] && !r->in[i]->label)
                fprintf(file, " view of %%%llu", (unsigned long long)r->in[i]->base->id);
        }
        fprintf(file, ")\n");
    }
    pal_memory_print(file, pal_tape_memory(tape));
}

/* Prints text inside a quoted string of dot. */
static void print_quoted(FILE *file, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') fputc('\\', file);
        fputc(*text == '\n' ? ' ' : *text, file);
    }
}

/* Boxes are leaves and parameters, filled if a gradient is wanted. Ellipses are operations. */
static void dot_leaf(FILE *file, const pal_node *base)
{
    char text[128];
    fprintf(file, "  n%p [shape=box%s label=\"", (const void *)base,
            base->needs_grad ? " style=filled fillcolor=\"#cfe8cf\"" : "");
    print_quoted(file, base->label ? base->label : "leaf");
    fprintf(file, "\\n%s\"];\n", pal_array_describe(&base->a, text, sizeof text));
}

static void dot_record(FILE *file, const pal_record *r)
{
    char text[128];
    fprintf(file, "  r%p [label=\"", (const void *)r);
    print_quoted(file, r->call.op->name);
    for (int i = 0; i < r->call.nout; i++)
        fprintf(file, "\\n%s", pal_array_describe(&r->out[i]->a, text, sizeof text));
    fprintf(file, "\"];\n");
    for (int i = 0; i < r->call.nin; i++) {
        if (!r->in[i]) continue;
        const pal_node *base = r->in[i]->base;
        if (base->maker) {
            fprintf(file, "  r%p -> r%p", (const void *)base->maker, (const void *)r);
        } else {
            dot_leaf(file, base);
            fprintf(file, "  n%p -> r%p", (const void *)base, (const void *)r);
        }
        if (r->in[i] != base)
            fprintf(file, " [label=\"view %s\"]",
                    pal_array_describe(&r->in[i]->a, text, sizeof text));
        fprintf(file, ";\n");
    }
}

void pal_tape_dot(const pal_tape *tape, FILE *file)
{
    fprintf(file, "digraph tape {\n  node [fontname=\"Helvetica\" fontsize=10];\n");
    for (const pal_record *r = tape->level[0].first; r; r = r->next) dot_record(file, r);
    fprintf(file, "}\n");
}
