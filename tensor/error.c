/* error.c - writes error messages and passes them to the one replaceable handler. */
#include "tensor/internal.h"
#include "tensor/number.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* The program sets these, and they are read when something fails. The only other global state of
 * the library is the allocator (arena.c) and the choice of kernels (cpu.c). The lock keeps function
 * and user together: a thread may set them while another fails. */
static pal_listener handler;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local pal_listener own; /* comes first where it is set */
static _Atomic(pal_exit_fn *) end_process;

void pal_set_error_handler(pal_error_fn *fn, void *user)
{
    pthread_mutex_lock(&lock);
    handler = (pal_listener){fn, user};
    pthread_mutex_unlock(&lock);
}

pal_listener pal_listen(pal_listener listener)
{
    const pal_listener before = own;
    own = listener;
    return before;
}

void pal_set_exit(pal_exit_fn *fn) { atomic_store(&end_process, fn); }

void pal_raise(const pal_error *error)
{
    pal_listener to = own;
    if (!to.fn) {
        pthread_mutex_lock(&lock);
        to = handler;
        pthread_mutex_unlock(&lock);
    }
    if (to.fn) {
        to.fn(error, to.user);
        return;
    }
    pal_exit_fn *const end = atomic_load(&end_process);
    if (end) end(error->message);
    fprintf(stderr, "palimpsest: %s\n", error->message);
    exit(EXIT_FAILURE);
}

/* Names in files may have any byte. One that would end the line or command a terminal is shown as a
 * question mark. */
static void show_controls(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 32 || *text == 127) *text = '?';
}

pal_status pal_error_set(pal_error *error, pal_status status, const char *format, ...)
{
    if (error) {
        va_list args;
        va_start(args, format);
        error->status = status;
        pal_vsnprintf(error->message, sizeof error->message, format, args);
        va_end(args);
        show_controls(error->message);
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
    show_controls(error->message + used);
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
