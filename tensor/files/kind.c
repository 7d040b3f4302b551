/*
 * kind.c - what a file is, told by its contents: the one place that does so.
 */
#include "tensor/files/checkpoint.h"

#include <string.h>
#include <sys/stat.h>

bool pal_file_kind_is_hdf5(pal_file_kind kind) { return kind >= PAL_FILE_CHECKPOINT; }

const char *pal_file_kind_name(pal_file_kind kind)
{
    static const char *const name[] = {
        "a file that is not there or cannot be read",
        "a folder",
        "no file but a pipe or a device",
        "a text or another file that is not HDF5",
        "a safetensors file",
        "a checkpoint",
        "a store of tokens",
        "a saved state",
        "a file of parameters only",
        "an HDF5 file of another kind",
    };
    return kind >= PAL_FILE_NONE && kind <= PAL_FILE_HDF5 ? name[kind] : "nothing known";
}

/* Checkpoints and stores have a version under their name; the others are known by their groups. */
static pal_file_kind kind_of_hdf5(pal_h5 *file)
{
    double version;
    if (pal_h5_get_number(file, "/", PAL_CHECKPOINT_MARK, &version, NULL) == PAL_OK)
        return PAL_FILE_CHECKPOINT;
    if (pal_h5_get_number(file, "/", "tokens", &version, NULL) == PAL_OK) return PAL_FILE_TOKENS;
    if (pal_h5_has(file, "/state")) return PAL_FILE_STATE;
    if (pal_h5_has(file, PAL_CHECKPOINT_PARAMS)) return PAL_FILE_PARAMS;
    return PAL_FILE_HDF5;
}

/* A safetensors file of so many bytes begins with the length of its header, a JSON object. */
static bool are_safetensors(const unsigned char *begin, size_t size, uint64_t bytes)
{
    uint64_t length = 0;
    for (int i = 7; i >= 0 && size > 8; i--) length = length << 8 | begin[i];
    return size > 8 && begin[8] == '{' && length > 0 && length <= bytes - 8;
}

pal_file_kind pal_file_kind_of(const char *path)
{
    unsigned char begin[9]; /* of a signature, or a length and a bracket */
    struct stat is;
    if (stat(path, &is) != 0) return PAL_FILE_NONE;
    if (S_ISDIR(is.st_mode)) return PAL_FILE_FOLDER;
    if (!S_ISREG(is.st_mode)) return PAL_FILE_SPECIAL;
    FILE *stream = fopen(path, "rb");
    if (!stream) return PAL_FILE_NONE;
    const size_t size = fread(begin, 1, sizeof begin, stream);
    fclose(stream);
    if (are_safetensors(begin, size, (uint64_t)is.st_size)) return PAL_FILE_TENSORS;
    if (!pal_bytes_are_hdf5(begin, size)) return PAL_FILE_OTHER;
    pal_h5 *file;
    if (pal_h5_open(&file, path, NULL) != PAL_OK) return PAL_FILE_HDF5;
    const pal_file_kind kind = kind_of_hdf5(file);
    pal_h5_close(file);
    return kind;
}
