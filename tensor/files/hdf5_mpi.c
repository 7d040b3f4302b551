/*
 * hdf5_mpi.c - files that several processes build together, by HDF5's MPI-IO driver.
 *
 * All processes hold the same metadata and make every call; the elements of a dataset come from its
 * owner. The file grows under a temporary name, and the first process renames it.
 *
 * HDF5 1.10 cannot recover when it fails to write metadata: the file stays open, and the process
 * crashes at exit. So such failures are prevented. Before anything is added, the system is asked to
 * reserve the room (posix_fallocate), and each process checks its limit on file sizes. A full disk
 * is then reported before HDF5 begins, and what HDF5 has begun fits in the reserved room. Elements
 * are never cached, and a failure to write them is only an error. What remains is a disk that fails
 * (EIO) while metadata are written.
 */
#include "tensor/files/hdf5_private.h"

#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct pal_h5_shared {
    MPI_Comm comm;
    int rank, owner;
    int fd; /* of the first process, which reserves, flushes and renames; -1 in the others */
    uint64_t bytes,
        reserved; /* upper limit of the file's size so far, without SLACK; bytes reserved on disk */
    char name[4096];
    pal_error late; /* a failure of this process that the others have not been told; PAL_OK: none */
};

/* ---- The same outcome and data in all processes ---- */

/* The others may still write or flush, which takes long on a busy machine: with
 * OMP_WAIT_POLICY=passive this process sleeps meanwhile. */
static void wait_for(MPI_Request *request)
{
    const char *policy = getenv("OMP_WAIT_POLICY");
    const struct timespec nap = {.tv_nsec = 50000};
    int done = 0;
    if (!policy || strcasecmp(policy, "passive") != 0) MPI_Wait(request, MPI_STATUS_IGNORE);
    while (*request != MPI_REQUEST_NULL) {
        MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (!done) nanosleep(&nap, NULL);
    }
}

pal_status pal_mpi_agree(const void *mpi_comm, pal_status status, pal_error *error)
{
    const MPI_Comm comm = *(const MPI_Comm *)mpi_comm;
    pal_error why = {.status = status};
    int rank, size, mine, first;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    mine = status == PAL_OK ? size : rank;
    MPI_Request request;
    MPI_Iallreduce(&mine, &first, 1, MPI_INT, MPI_MIN, comm, &request);
    wait_for(&request);
    if (first == size) return PAL_OK;
    if (rank == first && error) why = *error;
    MPI_Ibcast(&why, (int)sizeof why, MPI_BYTE, first, comm, &request);
    wait_for(&request);
    return pal_error_set(error, why.status, "%s", why.message);
}

bool pal_h5_owns(const pal_h5 *file)
{
    return file->shared == NULL || file->shared->rank == file->shared->owner;
}

pal_status pal_h5_agree(const pal_h5 *file, pal_status status, pal_error *error)
{
    const pal_h5_shared *s = file->shared;
    if (!s) return status;
    if (status == PAL_OK && s->late.status != PAL_OK)
        status = pal_error_set(error, s->late.status, "%s", s->late.message);
    return pal_mpi_agree(&s->comm, status, error);
}

pal_status pal_h5_agree_later(pal_h5 *file, pal_status status, pal_error *error)
{
    pal_h5_shared *s = file->shared;
    if (!s) return status;
    if (status != PAL_OK && s->late.status == PAL_OK) {
        s->late.status = status;
        if (error) s->late = *error;
    }
    return PAL_OK;
}

void pal_h5_spread(const pal_h5 *file, void *data, size_t size)
{
    const pal_h5_shared *s = file->shared;
    enum { MOST = 1 << 30 }; /* MPI counts are int */
    for (char *at = data; s && size > 0;) {
        int n = size < MOST ? (int)size : MOST;
        MPI_Request request;
        MPI_Ibcast(at, n, MPI_BYTE, s->owner, s->comm, &request);
        wait_for(&request);
        at += n;
        size -= (size_t)n;
    }
}

void pal_h5_owner(pal_h5 *file, int rank)
{
    if (file->shared) file->shared->owner = rank;
}

bool pal_h5_is_shared(const pal_h5 *file) { return file->shared != NULL; }

/* ---- Room on disk ---- */

/* HDF5 does not say how long a file is while it is built, so an upper limit is counted. */
enum {
    EACH = 4096, /* more than HDF5 adds to a dataset or an attribute, on average */
    SLACK =
        1 << 20,   /* more than the blocks of names and attributes that HDF5 allocates in advance */
    STEP = 1 << 20 /* reserved at a time, so that small additions need not ask each time */
};

/* This process's share of the reservation. Returns 0 or an errno. */
static int reserve(const pal_h5_shared *s, uint64_t bytes)
{
    struct rlimit limit;
    int why;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes) return EFBIG;
    if (s->fd < 0) return 0;
    do why = posix_fallocate(s->fd, (off_t)s->reserved, (off_t)(bytes - s->reserved));
    while (why == EINTR);
    return why;
}

pal_status pal_h5_reserve(pal_h5 *file, size_t bytes, pal_error *error)
{
    pal_h5_shared *s = file->shared;
    if (!s) return PAL_OK;
    s->bytes += bytes + EACH;
    if (s->bytes + SLACK <= s->reserved) return PAL_OK;
    const uint64_t wanted = s->bytes + SLACK + STEP;
    errno = reserve(s, wanted);
    if (errno != 0) return pal_h5_refused(file->path, "write", error);
    s->reserved = wanted;
    return PAL_OK;
}

/* ---- Beginning ---- */

/* The first process finds a temporary name and sends it to the others. */
static pal_status open_temporary(pal_h5 *file, pal_error *error)
{
    pal_h5_shared *s = file->shared;
    pal_status status = PAL_OK;
    if (strlen(file->path) + PAL_H5_SUFFIX > sizeof s->name)
        status = pal_error_set(error, PAL_EVALUE, "%.400s...: the path is too long", file->path);
    else if (s->rank == 0)
        s->fd = pal_h5_open_temporary(file->path, true, s->name, sizeof s->name);
    if (status == PAL_OK && s->rank == 0 && s->fd < 0)
        status = pal_h5_refused(file->path, "make a temporary file in its folder", error);
    status = pal_h5_agree(file, status, error);
    if (status == PAL_OK) pal_h5_spread(file, s->name, sizeof s->name);
    return status;
}

static hid_t create(const pal_h5_shared *s)
{
    hid_t id = -1, fapl = H5Pcreate(H5P_FILE_ACCESS), how = H5Pcreate(H5P_FILE_CREATE);
    if (H5Pset_fapl_mpio(fapl, s->comm, MPI_INFO_NULL) >= 0 &&
        H5Pset_coll_metadata_write(fapl, true) >= 0 &&
        H5Pset_libver_bounds(fapl, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) >= 0 &&
        H5Pset_fclose_degree(fapl, H5F_CLOSE_STRONG) >= 0 &&
        H5Pset_obj_track_times(how, false) >= 0)
        id = H5Fcreate(s->name, H5F_ACC_TRUNC, how, fapl);
    pal_h5_drop(how);
    pal_h5_drop(fapl);
    return id;
}

/* Creating the file cuts off the room that was reserved for it, so it is reserved again. */
static pal_status begin(pal_h5 *file, pal_error *error)
{
    pal_h5_shared *s = file->shared;
    pal_status status = open_temporary(file, error);
    if (status == PAL_OK) status = pal_h5_agree(file, pal_h5_reserve(file, 0, error), error);
    if (status != PAL_OK) return status;
    file->id = create(s);
    if (file->id < 0)
        status = pal_error_set(error, PAL_EIO, "%s: cannot build the file: %s", file->path,
                               pal_h5_why().text);
    s->reserved = 0;
    if (status == PAL_OK) status = pal_h5_reserve(file, 0, error);
    status = pal_h5_agree(file, status, error);
    return status == PAL_OK ? pal_h5_sign(file, error) : status;
}

pal_status pal_h5_create_shared(pal_h5 **file, const char *path, const void *mpi_comm,
                                pal_error *error)
{
    *file = NULL;
    pal_h5 *f = pal_h5_new(path, error);
    pal_h5_shared *s = f ? pal_malloc(sizeof *s) : NULL;
    pal_status status = PAL_OK;
    if (!s) status = pal_error_set(error, PAL_ENOMEM, "%s: no memory for the file's handle", path);
    status = pal_mpi_agree(mpi_comm, status, error);
    if (status != PAL_OK) {
        pal_free(s, sizeof *s);
        if (f) pal_h5_release(f);
        return status;
    }
    *s = (pal_h5_shared){.comm = *(const MPI_Comm *)mpi_comm, .fd = -1};
    MPI_Comm_rank(s->comm, &s->rank);
    f->shared = s;
    f->building = true;
    pal_h5_voice voice = pal_h5_hush();
    status = begin(f, error);
    if (status == PAL_OK) {
        *file = f;
    } else {
        (void)pal_h5_end_shared(f, false, NULL);
        pal_h5_release(f);
    }
    pal_h5_speak(voice);
    return status;
}

/* ---- The end ---- */

/* Flushes what this process wrote: the first process's flush does not cover other machines. */
static pal_status flush_own(const pal_h5 *file, pal_error *error)
{
    const int fd = open(file->shared->name, O_RDONLY | O_CLOEXEC);
    const bool good = fd >= 0 && pal_flush(fd);
    const int why = errno;
    if (fd >= 0) close(fd);
    if (good) return PAL_OK;
    return pal_error_set(error, PAL_EIO, "%s: cannot flush what was written: %s", file->path,
                         strerror(why));
}

pal_status pal_h5_end_shared(pal_h5 *file, bool commit, pal_error *error)
{
    pal_h5_shared *s = file->shared;
    pal_status status = PAL_OK;
    /* Closing writes the metadata, and cuts off what was reserved but not used. */
    if (file->id >= 0 && H5Fclose(file->id) < 0)
        status = pal_error_set(error, PAL_EIO, "%s: cannot finish the file: %s", file->path,
                               pal_h5_why().text);
    file->id = -1;
    if (commit && status == PAL_OK && s->fd < 0) status = flush_own(file, error);
    status = pal_h5_agree(file, status, error);
    if (s->fd >= 0 && commit && status == PAL_OK) {
        status = pal_h5_publish(s->fd, s->name, file->path, PAL_OK, error);
    } else if (s->fd >= 0) {
        close(s->fd);
        unlink(s->name);
    }
    status = pal_h5_agree(file, status, error);
    pal_free(s, sizeof *s);
    file->shared = NULL;
    return status;
}
