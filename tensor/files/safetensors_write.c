/*
 * safetensors_write.c - writing files of named tensors, whole or not at all.
 */
#include "tensor/files/safetensors.h"
#include "tensor/files/temporary.h"
#include "tensor/internal.h"
#include "tensor/number.h"
#include "tensor/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct pal_safetensors_out {
    int fd;
    size_t wanted; /* bytes of numbers that are still to come */
    bool more;     /* than wanted were put */
    char *path, *temporary;
};

static void put_name(FILE *to, const char *name)
{
    fputc('"', to);
    for (; *name; name++) {
        if (*name == '"' || *name == '\\') fputc('\\', to);
        fputc(*name, to);
    }
    fputc('"', to);
}

/* The header; *wanted becomes the bytes of numbers behind it. */
static char *header_text(int64_t n, const pal_stored *tensors, const char *metadata, size_t *length,
                         size_t *wanted)
{
    *wanted = 0;
    FILE *to = pal_stream_open();
    if (!to) return NULL;
    fputc('{', to);
    if (metadata) fprintf(to, "\"__metadata__\":%s", metadata);
    for (int64_t i = 0; i < n; i++) {
        const pal_stored *t = &tensors[i];
        if (i || metadata) fputc(',', to);
        put_name(to, t->name);
        fprintf(to, ":{\"dtype\":\"%s\",\"shape\":[", t->dtype);
        for (int d = 0; d < t->shape.ndim; d++)
            fprintf(to, "%s%lld", d ? "," : "", (long long)t->shape.dim[d]);
        fprintf(to, "],\"data_offsets\":[%zu,%zu]}", *wanted, *wanted + t->bytes);
        *wanted += t->bytes;
    }
    fputc('}', to);
    return pal_stream_close(to, length);
}

static pal_status begin(pal_safetensors_out *o, int64_t n, const pal_stored *tensors,
                        const char *metadata, pal_error *error)
{
    size_t length;
    char *text = header_text(n, tensors, metadata, &length, &o->wanted);
    if (!text) return pal_stream_failed("a header", error);
    static const char blanks[] = "       ";
    const size_t padded = pal_round_up(length, 8);
    unsigned char size[8];
    for (int i = 0; i < 8; i++) size[i] = (unsigned char)((uint64_t)padded >> 8 * i);
    const bool good = pal_write_all(o->fd, (const char *)size, 8) &&
                      pal_write_all(o->fd, text, length) &&
                      pal_write_all(o->fd, blanks, padded - length);
    free(text);
    return good ? PAL_OK : pal_h5_refused(o->path, "write", error);
}

static void release(pal_safetensors_out *o)
{
    free(o->path);
    free(o->temporary);
    free(o);
}

pal_status pal_safetensors_create(pal_safetensors_out **out, const char *path, int64_t n,
                                  const pal_stored *tensors, const char *metadata, pal_error *error)
{
    const size_t room = strlen(path) + PAL_H5_SUFFIX;
    *out = NULL;
    for (int64_t i = 0; i < n; i++) {
        const char *trouble = pal_text_trouble(tensors[i].name);
        if (trouble)
            return pal_error_set(error, PAL_EVALUE, "%.400s: the name of tensor %lld %s", path,
                                 (long long)i, trouble);
    }
    pal_safetensors_out *o = calloc(1, sizeof *o);
    if (o) o->path = strdup(path);
    if (o) o->temporary = malloc(room);
    if (!o || !o->path || !o->temporary) {
        if (o) release(o);
        return pal_error_set(error, PAL_ENOMEM, "%.400s: out of memory", path);
    }
    o->fd = pal_h5_open_temporary(path, false, o->temporary, room);
    if (o->fd < 0) {
        const pal_status s = pal_h5_refused(path, "make a temporary file in its folder", error);
        release(o);
        return s;
    }
    const pal_status s = begin(o, n, tensors, metadata, error);
    if (s != PAL_OK) return pal_safetensors_commit(o, s, error);
    *out = o;
    return PAL_OK;
}

pal_status pal_safetensors_put(pal_safetensors_out *o, const void *data, size_t bytes,
                               pal_error *error)
{
    if (bytes > o->wanted) {
        o->more = true;
        return pal_error_set(error, PAL_EVALUE, "%.400s: more bytes than its tensors have",
                             o->path);
    }
    if (!pal_write_all(o->fd, data, bytes)) return pal_h5_refused(o->path, "write", error);
    o->wanted -= bytes;
    return PAL_OK;
}

pal_status pal_safetensors_commit(pal_safetensors_out *o, pal_status so_far, pal_error *error)
{
    pal_status s = so_far;
    if (s == PAL_OK && (o->wanted > 0 || o->more))
        s = pal_error_set(error, PAL_EVALUE, "%.400s: %s bytes than its tensors have", o->path,
                          o->more ? "more" : "fewer");
    s = pal_h5_publish(o->fd, o->temporary, o->path, s, error);
    release(o);
    return s;
}
