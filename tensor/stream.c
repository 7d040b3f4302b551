/* stream.c - texts of unknown length, through a file in memory. */
#include "tensor/stream.h"
#include "tensor/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

FILE *pal_stream_open(void)
{
    const int fd = memfd_create("text", MFD_CLOEXEC);
    FILE *stream = fd < 0 ? NULL : fdopen(fd, "w+");
    if (!stream && fd >= 0) {
        const int why = errno;
        close(fd);
        errno = why;
    }
    return stream;
}

char *pal_stream_close(FILE *stream, size_t *size)
{
    const bool written = fflush(stream) == 0 && !ferror(stream);
    const off_t length = written ? ftello(stream) : -1;
    char *text = length < 0 ? NULL : malloc((size_t)length + 1);
    if (text) rewind(stream);
    if (text && fread(text, 1, (size_t)length, stream) != (size_t)length) {
        const int why = errno;
        free(text);
        errno = why;
        text = NULL;
    }
    const int why = errno;
    fclose(stream);
    errno = why;
    if (text) text[length] = '\0';
    if (text && size) *size = (size_t)length;
    return text;
}

pal_status pal_stream_failed(const char *what, pal_error *error)
{
    return pal_error_set(error, errno == ENOMEM ? PAL_ENOMEM : PAL_EIO,
                         "%.200s: its text cannot be kept in memory: %s", what, strerror(errno));
}
