/*
 * hdf5.c - HDF5 itself, which all files of a process share, and opening and closing files of named
 * arrays.
 */
#include "tensor/files/hdf5_private.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Shared ---- */

static pthread_mutex_t turn = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

/*
 * HDF5 1.10 crashes when it gets no memory, in the call or later at exit. So there is a reserve of
 * address space, which is lent to HDF5 for each call, and for its work at exit. What takes more,
 * and what can fail, asks first (pal_h5_room).
 */
enum { RESERVE = 8 << 20 };
static void *reserve; /* NULL: it is lent, or there was no memory for it */
static int lent;      /* how many calls it is lent to */

static void lend(void)
{
    if (reserve != NULL) munmap(reserve, RESERVE);
    reserve = NULL;
}

static void take_back(void)
{
    reserve = mmap(NULL, RESERVE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (reserve == MAP_FAILED) reserve = NULL;
}

/*
 * HDF5's end. After an error, mostly of a damaged file, HDF5 1.10 cannot free all that it took: it
 * prints "infinite loop closing library" or crashes. So it is left as it is then.
 */
static bool failed;

/* Files on disk that the program itself has opened for writing are whole only when they are
 * flushed. What this library builds is in memory, or belongs to several ranks. */
static void flush_files(void)
{
    enum { FILES = 256 };
    hid_t file[FILES];
    const ssize_t count = H5Fget_obj_ids(H5F_OBJ_ALL, H5F_OBJ_FILE, FILES, file);
    for (ssize_t i = 0; i < count; i++) {
        unsigned intent = 0;
        const hid_t how = H5Fget_access_plist(file[i]);
        if (H5Pget_driver(how) == H5FD_SEC2 && H5Fget_intent(file[i], &intent) >= 0 &&
            (intent & H5F_ACC_RDWR))
            H5Fflush(file[i], H5F_SCOPE_GLOBAL);
        H5Pclose(how);
    }
}

/* It takes the turn for ever: a thread that still reads, such as one that reads ahead, ends its
 * call before, and begins no other. */
static void end(void)
{
    (void)pal_h5_hush();
    if (failed)
        flush_files();
    else
        H5close();
}

/* If the program has started HDF5 before, HDF5 ends by itself. */
static bool start(void)
{
    static bool started;
    if (started) return true;
    H5dont_atexit();
    started = H5open() >= 0 && atexit(end) == 0;
    return started;
}

pal_status pal_h5_room(const char *path, size_t bytes, pal_error *error)
{
    pthread_mutex_lock(&turn);
    const bool good = pal_memory_left(bytes + (reserve == NULL ? RESERVE : 1)) && start();
    pthread_mutex_unlock(&turn);
    if (good) return PAL_OK;
    return pal_error_set(error, PAL_ENOMEM, "%s: out of memory for HDF5", path);
}

void pal_h5_begin(void) { (void)pal_h5_room("HDF5", 0, NULL); }

/* HDF5 calls this after each of its functions that fails. */
static herr_t note_failure(hid_t stack, void *user)
{
    (void)stack, (void)user;
    failed = true;
    return 0;
}

pal_h5_voice pal_h5_hush(void)
{
    pal_h5_voice voice = {0};
    pthread_mutex_lock(&turn);
    if (lent++ == 0) lend();
    H5Eget_auto2(H5E_DEFAULT, &voice.fn, &voice.data);
    H5Eset_auto2(H5E_DEFAULT, note_failure, NULL);
    return voice;
}

void pal_h5_speak(pal_h5_voice voice)
{
    H5Eset_auto2(H5E_DEFAULT, voice.fn, voice.data);
    if (--lent == 0) take_back();
    pthread_mutex_unlock(&turn);
}

void pal_h5_drop(hid_t id)
{
    if (id >= 0) H5Idec_ref(id);
}

static herr_t take_first(unsigned n, const H5E_error2_t *entry, void *reason)
{
    if (n == 0 && entry->desc != NULL)
        snprintf(((pal_h5_reason *)reason)->text, sizeof(pal_h5_reason), "%s", entry->desc);
    return 0;
}

pal_h5_reason pal_h5_why(void)
{
    pal_h5_reason reason = {"HDF5 gave no reason"};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &reason);
    return reason;
}

pal_h5 *pal_h5_new(const char *path, pal_error *error)
{
    size_t length = strlen(path) + 1, size = sizeof(pal_h5) + length + PAL_H5_GROUP;
    if (pal_h5_room(path, 0, error) != PAL_OK) return NULL;
    pal_h5 *file = pal_malloc(size);
    if (file == NULL) {
        pal_error_set(error, PAL_ENOMEM, "%s: no memory for the file's handle", path);
        return NULL;
    }
    *file = (pal_h5){.id = -1, .size = size, .group = file->path + length};
    memcpy(file->path, path, length);
    file->group[0] = '\0';
    return file;
}

void pal_h5_release(pal_h5 *file)
{
    pal_h5_drop(file->id);
    pal_free(file, file->size);
}

int pal_h5_depth(const char *path)
{
    int names = 0;
    for (size_t i = 0; path[i]; i++) names += path[i] != '/' && (i == 0 || path[i - 1] == '/');
    return names;
}

bool pal_h5_is_in_group(const pal_h5 *file, const char *name)
{
    const size_t length = strlen(file->group);
    return length > 0 && strncmp(name, file->group, length) == 0 && name[length] == '/';
}

bool pal_h5_reachable(const pal_h5 *file, const char *name)
{
    char part[PAL_H5_PATH];
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof part || pal_h5_depth(name) > PAL_H5_DEPTH) return false;
    const size_t known = pal_h5_is_in_group(file, name) ? strlen(file->group) : 0;
    for (size_t i = known + 1; i <= length; i++) {
        H5L_info_t info;
        if (i < length && name[i] != '/') continue;
        memcpy(part, name, i);
        part[i] = '\0';
        if (strcmp(part, "/") == 0) continue;
        if (H5Lexists(file->id, part, H5P_DEFAULT) <= 0) return false;
        if (H5Lget_info(file->id, part, &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD)
            return false;
    }
    const char *last = strrchr(name, '/');
    const size_t above = last ? (size_t)(last - name) : 0;
    if (above > known && above < PAL_H5_GROUP) {
        memcpy(file->group, name, above);
        file->group[above] = '\0';
    }
    return true;
}

/* ---- Opening and closing ---- */

static const char format[] = "palimpsest arrays ";
enum { FORMAT = 1 }; /* the version of the format */

pal_status pal_h5_sign(pal_h5 *file, pal_error *error)
{
    char text[64];
    snprintf(text, sizeof text, "%s%d", format, FORMAT);
    pal_status s = pal_h5_put_text(file, "/", "creator", "palimpsest " PAL_VERSION, error);
    return s == PAL_OK ? pal_h5_put_text(file, "/", "format", text, error) : s;
}

/* Files of this library state their format. Other libraries may put anything in that attribute. */
static pal_status check_format(pal_h5 *file, pal_error *error)
{
    char text[64];
    const size_t length = sizeof format - 1;
    if (!pal_h5_text_is_fixed(file, "/", "format")) return PAL_OK;
    if (pal_h5_get_text(file, "/", "format", text, sizeof text, NULL) != PAL_OK) return PAL_OK;
    if (strncmp(text, format, length) != 0 || strtol(text + length, NULL, 10) <= FORMAT)
        return PAL_OK;
    return pal_error_set(error, PAL_EFORMAT,
                         "%s: is of a later format, '%s', than '%s%d', the latest that is known "
                         "here",
                         file->path, text, format, FORMAT);
}

static pal_file_check_fn *file_check;
static void *file_check_user;

void pal_set_file_check(pal_file_check_fn *fn, void *user)
{
    file_check = fn;
    file_check_user = user;
}

/* Whether the descriptor is of a file that begins as HDF5 does. Anything else is not shown to HDF5,
 * which would look for a beginning further on. */
static pal_status begins_well(int fd, const char *path, pal_error *error)
{
    char begin[8];
    struct stat is;
    if (fstat(fd, &is) != 0) return pal_h5_refused(path, "look at it", error);
    if (!S_ISREG(is.st_mode))
        return pal_error_set(error, PAL_EFORMAT, "%s: not a readable HDF5 file: it is no file",
                             path);
    const ssize_t n = pread(fd, begin, sizeof begin, 0);
    if (n == sizeof begin && pal_bytes_are_hdf5(begin, sizeof begin)) return PAL_OK;
    return pal_error_set(error, PAL_EFORMAT,
                         "%s: not a readable HDF5 file: it begins with other bytes", path);
}

/* HDF5 takes a name. That of the descriptor means what was checked, whatever has got the path
 * since. */
static pal_status open_descriptor(pal_h5 *file, int fd, pal_error *error)
{
    char name[32];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    const hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
    /* A chunk is decoded once, however small the pieces are that are read. */
    if (H5Pset_fclose_degree(fapl, H5F_CLOSE_STRONG) >= 0 &&
        H5Pset_cache(fapl, 0, 521, PAL_H5_CHUNK, 1) >= 0)
        file->id = H5Fopen(access(name, R_OK) == 0 ? name : file->path, H5F_ACC_RDONLY, fapl);
    const pal_h5_reason why = pal_h5_why();
    pal_h5_drop(fapl);
    if (file->id >= 0) return PAL_OK;
    if (flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return pal_error_set(error, PAL_EIO, "%s: another process has locked it; try again",
                             file->path);
    return pal_error_set(error, PAL_EFORMAT, "%s: not a readable HDF5 file: %s", file->path,
                         why.text);
}

static pal_status open_checked(pal_h5 **file, int fd, const char *path, pal_error *error)
{
    pal_status status = begins_well(fd, path, error);
    if (status == PAL_OK && file_check) status = file_check(fd, path, file_check_user, error);
    if (status != PAL_OK) return status;
    pal_h5 *f = pal_h5_new(path, error);
    if (f == NULL) return PAL_ENOMEM;
    status = open_descriptor(f, fd, error);
    if (status == PAL_OK) status = check_format(f, error);
    if (status == PAL_OK)
        *file = f;
    else
        pal_h5_release(f);
    return status;
}

pal_status pal_h5_open(pal_h5 **file, const char *path, pal_error *error)
{
    *file = NULL;
    /* A pipe would be waited for. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return pal_error_set(error, PAL_EIO, "%s: cannot be read: %s", path, strerror(errno));
    pal_status status = pal_h5_room(path, 0, error); /* starts HDF5, so it comes first */
    if (status == PAL_OK) {
        pal_h5_voice voice = pal_h5_hush();
        status = open_checked(file, fd, path, error);
        pal_h5_speak(voice);
    }
    close(fd);
    return status;
}

void pal_h5_close(pal_h5 *file)
{
    if (file == NULL) return;
    pal_h5_voice voice = pal_h5_hush();
    if (file->shared) (void)pal_h5_end_shared(file, false, NULL);
    pal_h5_release(file);
    pal_h5_speak(voice);
}
