/* error.c - writes error messages and passes them to the one replaceable handler. */
#include "tensor/internal.h"
#include "tensor/number.h"

#include <stdlib.h>
#include <string.h>

/* The program sets these, and they are read when something fails. The only other global state of
 * the library is the allocator (arena.c) and the choice of kernels (cpu.c). */
static pal_error_fn *handler;
static void *handler_user;
static pal_exit_fn *end_process;

void pal_set_error_handler(pal_error_fn *fn, void *user)
{
    handler = fn;
    handler_user = user;
}

pal_error_fn *pal_error_handler(void **user)
{
    *user = handler_user;
    return handler;
}

void pal_set_exit(pal_exit_fn *fn) { end_process = fn; }

void pal_raise(const pal_error *error)
{
    if (handler) {
        handler(error, handler_user);
        return;
    }
    if (end_process) end_process(error->message);
    fprintf(stderr, "palimpsest: %s\n", error->message);
    exit(EXIT_FAILURE);
}

pal_status pal_error_set(pal_error *error, pal_status status, const char *format, ...)
{
    if (error) {
        va_list args;
        va_start(args, format);
        error->status = status;
        pal_vsnprintf(error->message, sizeof error->message, format, args);
        va_end(args);
    }
    return status;
}

void pal_error_add(pal_error *error, const char *format, ...)
{
    if (!error) return;
    size_t used = strlen(error->message);
    va_list args;
    va_start(args, format);
    pal_vsnprintf(error->message + used, sizeof error->message - used, format, args);
    va_end(args);
}

const char *pal_status_name(pal_status status)
{
    switch (status) {
    case PAL_OK:
        return "ok";
    case PAL_ESHAPE:
        return "shape";
    case PAL_EDTYPE:
        return "dtype";
    case PAL_EVALUE:
        return "value";
    case PAL_ENOMEM:
        return "out of memory";
    case PAL_ESTALE:
        return "stale tensor";
    case PAL_ECHANGED:
        return "changed tensor";
    case PAL_EGRAD:
        return "gradient";
    case PAL_ENUMERIC:
        return "not finite";
    case PAL_EIO:
        return "input or output";
    case PAL_EFORMAT:
        return "file format";
    }
    return "unknown status";
}
