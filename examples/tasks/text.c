/*
 * text.c - tasks as text, `name[:key=value...]`: one table of keys serves reading and writing.
 */
#include "examples/tasks/internal.h"
#include "tensor/number.h"

#include <string.h>

pal_status task_read_keys(task *t, const char *text, pal_error *error)
{
    const task_kind *kind = t->kind;
    char prefix[64];
    snprintf(prefix, sizeof prefix, "task %s: ", kind->name);
    pal_status s =
        pal_keys_read(&kind->keys, t, prefix, kind->standard, strlen(kind->standard), true, error);
    if (s == PAL_OK) s = pal_keys_read(&kind->keys, t, prefix, text, strlen(text), true, error);
    return s;
}

pal_status task_write_text(task *t, pal_error *error)
{
    const size_t n = (size_t)snprintf(t->text, sizeof t->text, "%s", t->kind->name);
    if (n + pal_keys_print(&t->kind->keys, t, t->text + n, sizeof t->text - n) < sizeof t->text)
        return PAL_OK;
    return task_wrong(error, t, "its text has more than %d characters", TASK_TEXT - 1);
}
