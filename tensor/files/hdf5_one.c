/*
 * hdf5_one.c - files in a build without MPI: one process builds each. It takes the place of
 * hdf5_mpi.c; a file is never shared here.
 */
#include "tensor/files/hdf5_private.h"

bool pal_h5_owns(const pal_h5 *file) { return (void)file, true; }
bool pal_h5_is_shared(const pal_h5 *file) { return (void)file, false; }
void pal_h5_owner(pal_h5 *file, int rank) { (void)file, (void)rank; }
void pal_h5_spread(const pal_h5 *file, void *data, size_t size)
{
    (void)file, (void)data, (void)size;
}

pal_status pal_h5_agree(const pal_h5 *file, pal_status status, pal_error *error)
{
    return (void)file, (void)error, status;
}

pal_status pal_h5_agree_later(pal_h5 *file, pal_status status, pal_error *error)
{
    return (void)file, (void)error, status;
}

/* Files of one process are built in memory: there is nothing to reserve on the disk. */
pal_status pal_h5_reserve(pal_h5 *file, size_t bytes, pal_error *error)
{
    return (void)file, (void)bytes, (void)error, PAL_OK;
}

pal_status pal_h5_end_shared(pal_h5 *file, bool commit, pal_error *error)
{
    return (void)file, (void)commit, (void)error, PAL_OK;
}
