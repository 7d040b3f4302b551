/*
 * files.h - the files of a command line: standard input by its names, and outputs that must not be
 * inputs.
 */
#ifndef FLAGS_FILES_H
#define FLAGS_FILES_H

#include <palimpsest.h>

/* A file that a program reads or writes. */
typedef struct flags_file {
    const char *flag;         /* what messages call it: --out */
    const char *path;         /* NULL or empty: there is none */
    const char *const *names; /* of a folder: patterns (fnmatch) of the files that the program
                                 writes there, the last of them NULL. NULL: path is a file */
} flags_file;

/* Whether a path stands for standard input: "-", /dev/stdin, /dev/fd/0 and /proc/self/fd/0. It is
 * then read as descriptor 0 and never opened by its name, which fails for sockets and for files
 * of another user. */
bool flags_is_stdin(const char *path);

/*
 * Refuses an output that is also an input or another output, whatever name it has there (hard
 * links, symbolic links): files are compared by device and inode. Standard output counts as an
 * output if it is a file. An output file that exists has to be a regular one. Nothing is opened but
 * the folders of outputs. Errors: PAL_EVALUE, with both flags.
 */
PAL_CHECKED pal_status flags_files_check(const flags_file *in, int ins, const flags_file *out,
                                         int outs, pal_error *error);

/*
 * The lock of a folder (pal_run_lock) whose files are replaced under names that another process
 * would use too. It is held for seconds, which are waited for: 30 of them. Errors: those of
 * pal_run_lock.
 */
PAL_CHECKED pal_status flags_files_lock(pal_lock **lock, const char *folder, pal_error *error);

#endif
