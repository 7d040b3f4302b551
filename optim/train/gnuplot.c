/*
 * gnuplot.c - runs gnuplot on a script in memory, and puts the pictures into place.
 *
 * gnuplot reads the script from a file without a name (memfd_create), and what it says goes to a
 * second one. With pipes a gnuplot that ends early would be a SIGPIPE, and one that says much would
 * have to be read while it is written to.
 */
#include "optim/train/gnuplot.h"
#include "optim/train/run_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- The script ---- */

/* In single quotes only the quote itself has a meaning, and is doubled. */
static void put_text(FILE *to, const char *text)
{
    for (const char *c = text; *c; c++) {
        if (*c == '\'') fputc('\'', to);
        fputc(*c == '\n' ? ' ' : *c, to);
    }
}

void pal_script_quote(FILE *to, const char *text, ...)
{
    va_list more;
    va_start(more, text);
    fputc('\'', to);
    for (; text; text = va_arg(more, const char *)) put_text(to, text);
    fputc('\'', to);
    va_end(more);
}

/* gnuplot runs a file name that begins with | or < as a command, and ~ is a home. */
static void put_path(const pal_script *script, const char *name, const char *end)
{
    const bool plain = strchr("/.", script->folder[0]) != NULL;
    pal_script_quote(script->to, plain ? "" : "./", script->folder, "/", name, end, (char *)NULL);
}

void pal_script_path(const pal_script *script, const char *name) { put_path(script, name, ""); }

void pal_script_picture(pal_script *script, const char *name, const char *terminal)
{
    char **names = realloc(script->name, sizeof *names * (size_t)(script->names + 1));
    char *copy = strdup(name);
    if (names) script->name = names;
    if (!names || !copy) {
        script->failed = true;
        free(copy);
        return;
    }
    names[script->names++] = copy;
    fprintf(script->to, "reset\nset terminal %s\nset encoding utf8\nset output ", terminal);
    put_path(script, name, ".tmp"); /* as pal_fresh_path has it */
    fputc('\n', script->to);
}

/* ---- The program ---- */

/* The gnuplot that a shell would run; NULL: there is none, or errno is ENOMEM. */
static char *find(void)
{
    const char *path = getenv("PATH");
    for (const char *at = path ? path : "/usr/bin:/bin";; at++) {
        const size_t n = strcspn(at, ":");
        char *program = NULL;
        struct stat status;
        if (asprintf(&program, "%.*s/gnuplot", n ? (int)n : 1, n ? at : ".") < 0) return NULL;
        if (stat(program, &status) == 0 && S_ISREG(status.st_mode) && access(program, X_OK) == 0)
            return program;
        free(program);
        at += n;
        errno = ENOENT;
        if (!*at) return NULL;
    }
}

static pal_status missing(pal_error *error)
{
    if (errno == ENOMEM) return pal_error_set(error, PAL_ENOMEM, "out of memory for plots");
    return pal_error_set(error, PAL_EIO, "gnuplot is not installed: no plots");
}

pal_status pal_gnuplot_find(pal_error *error)
{
    char *program = find();
    if (!program) return missing(error);
    free(program);
    return PAL_OK;
}

/* Whether a variable of the environment changes what gnuplot draws or says. */
static bool matters(const char *variable)
{
    static const char *const prefixes[] = {"GNUTERM=",    "GNUHELP=", "GNUPLOT_", "FIT_", "LANG=",
                                           "GDFONTPATH=", "LANGUAGE", "LOCPATH=", "LC_"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0) return true;
    return false;
}

/* Our environment with a locale of ours. Where there is no C.UTF-8 the locale is C. */
static char **make_environment(void)
{
    static char locale[] = "LC_ALL=C.UTF-8";
    size_t n = 0;
    while (environ && environ[n]) n++;
    char **made = malloc((n + 2) * sizeof *made);
    if (!made) return NULL;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!matters(environ[i])) made[kept++] = environ[i];
    made[kept++] = locale;
    made[kept] = NULL;
    return made;
}

/* Starts it with the script for input; 0, or an error number. No signal is blocked or ignored. */
static int start(char *program, int script, int said, pid_t *pid)
{
    char name[] = "gnuplot", no_settings[] = "-d";
    char *const arguments[] = {name, no_settings, NULL};
    char **environment = make_environment();
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t none, broken_pipe;
    if (!environment) return ENOMEM;
    sigemptyset(&none);
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    int why = posix_spawn_file_actions_init(&files);
    if (why == 0 && (why = posix_spawnattr_init(&how)) != 0)
        posix_spawn_file_actions_destroy(&files);
    if (why == 0) {
        posix_spawnattr_setsigmask(&how, &none);
        posix_spawnattr_setsigdefault(&how, &broken_pipe);
        posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        why = posix_spawn_file_actions_adddup2(&files, script, STDIN_FILENO);
        if (why == 0) why = posix_spawn_file_actions_adddup2(&files, said, STDOUT_FILENO);
        if (why == 0) why = posix_spawn_file_actions_adddup2(&files, said, STDERR_FILENO);
        if (why == 0) why = posix_spawn(pid, program, &files, &how, arguments, environment);
        posix_spawnattr_destroy(&how);
        posix_spawn_file_actions_destroy(&files);
    }
    free(environment);
    return why;
}

/* The end of what gnuplot said, as much as there is room for. */
static void read_end(int from, char *text, size_t size)
{
    const off_t end = lseek(from, 0, SEEK_END), room = (off_t)size - 1;
    const ssize_t n = pread(from, text, size - 1, end > room ? end - room : 0);
    text[n > 0 ? n : 0] = '\0';
}

/* The last line that is not blank. */
static const char *last_line(char *text)
{
    size_t n = strlen(text);
    while (n && strchr(" \t\n", text[n - 1])) text[--n] = '\0';
    const char *begin = strrchr(text, '\n');
    begin = begin ? begin + 1 : text;
    return begin + strspn(begin, " \t");
}

/* Waits for it and tells how it ended. */
static pal_status finish(pid_t pid, int said, const char *folder, pal_error *error)
{
    char text[4096];
    int status;
    pid_t ended;
    do ended = waitpid(pid, &status, 0);
    while (ended < 0 && errno == EINTR);
    if (ended < 0)
        return pal_error_set(error, PAL_EIO, "%.400s: how gnuplot ended cannot be known: %s",
                             folder, strerror(errno));
    read_end(said, text, sizeof text);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        fputs(text, stderr);
        return PAL_OK;
    }
    const char *why = last_line(text);
    return pal_error_set(
        error, PAL_EIO, "%.400s: gnuplot ended with %s %d and made no plots%s%.300s", folder,
        WIFSIGNALED(status) ? "signal" : "status",
        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), *why ? ": " : "", why);
}

static pal_status run(int script, const char *folder, pal_error *error)
{
    char *program = find();
    if (!program) return missing(error);
    const int said = memfd_create("gnuplot-says", MFD_CLOEXEC);
    pid_t pid;
    int why = said < 0 ? errno : start(program, script, said, &pid);
    free(program);
    pal_status s = why ? pal_error_set(error, PAL_EIO, "gnuplot cannot be run: %s", strerror(why))
                       : finish(pid, said, folder, error);
    if (said >= 0) close(said);
    return s;
}

/* ---- Pictures ---- */

/* The script of the pictures into a file without a name, which is read from its beginning. */
static pal_status write_script(pal_script *script, pal_draw_fn *draw, const void *what,
                               pal_error *error)
{
    PAL_C_LOCALE;
    draw(script, what);
    if (script->failed) return pal_error_set(error, PAL_ENOMEM, "gnuplot: out of memory");
    for (int i = 0; i < script->names; i++)
        if (strchr(script->name[i], '\n') || strchr(script->folder, '\n'))
            return pal_error_set(error, PAL_EVALUE,
                                 "%.400s/%.100s: gnuplot takes no name of two "
                                 "lines",
                                 script->folder, script->name[i]);
    if (fflush(script->to) != 0 || ferror(script->to) || fseeko(script->to, 0, SEEK_SET) != 0)
        return pal_error_set(error, PAL_EIO, "the script of gnuplot cannot be written: %s",
                             strerror(errno));
    return PAL_OK;
}

/* All of them have been made; then they are renamed. */
static pal_status take_over(const pal_script *script, pal_error *error)
{
    pal_status s = PAL_OK;
    char path[PAL_PATH];
    for (int i = 0; s == PAL_OK && i < script->names; i++) {
        s = pal_fresh_path(path, script->folder, script->name[i], error);
        if (s == PAL_OK && access(path, F_OK) != 0)
            s = pal_error_set(error, PAL_EIO, "%.400s: gnuplot ended, and has not made %.100s",
                              script->folder, script->name[i]);
        if (s == PAL_OK) s = pal_fresh_flush(script->folder, script->name[i], error);
    }
    for (int i = 0; s == PAL_OK && i < script->names; i++)
        s = pal_fresh_rename(script->folder, script->name[i], error);
    return s;
}

pal_status pal_gnuplot_draw(const char *folder, pal_draw_fn *draw, const void *what,
                            pal_error *error)
{
    pal_status s = pal_gnuplot_find(error);
    if (s != PAL_OK) return s;
    pal_script script = {.folder = folder};
    const int fd = memfd_create("gnuplot", MFD_CLOEXEC);
    script.to = fd < 0 ? NULL : fdopen(fd, "w+");
    if (!script.to) {
        s = pal_error_set(error, PAL_EIO, "gnuplot cannot be run: %s", strerror(errno));
        if (fd >= 0) close(fd);
        return s;
    }
    s = write_script(&script, draw, what, error);
    if (s == PAL_OK) s = run(fileno(script.to), folder, error);
    if (s == PAL_OK) s = take_over(&script, error);
    for (int i = 0; i < script.names; i++) {
        if (s != PAL_OK) pal_fresh_drop(folder, script.name[i]);
        free(script.name[i]);
    }
    free(script.name);
    fclose(script.to);
    return s;
}
