/*
 * jobs.c - starts the runs that are missing, each as a process of one thread, a few at a time.
 *
 * A run is this program again (ablate --run), so that one that crashes is one run that failed. It
 * knows nothing of MPI, even if this process is a rank. A process that is asked to stop passes that
 * on, and its runs leave nothing half done.
 */
#include "examples/ablate/ablate.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_JOBS = 256 };

typedef struct job {
    pid_t pid; /* 0: none */
    const run *run;
} job;

/* What says that this process is a rank; its runs are none. */
static void forget_ranks(void)
{
    extern char **environ;
    static const char *const prefixes[] = {"OMPI_", "PMIX_", "PMI_", "ORTE_"};
    for (char **e = environ; *e;) {
        char name[256];
        bool ours = false;
        const size_t n = strcspn(*e, "=");
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
            ours = ours || strncmp(*e, prefixes[i], strlen(prefixes[i])) == 0;
        if (!ours || n >= sizeof name) {
            e++;
            continue;
        }
        snprintf(name, sizeof name, "%.*s", (int)n, *e);
        unsetenv(name);
        e = environ;
    }
}

/* In the new process: becomes the run. What it prints goes to FOLDER/NAME.log. */
static void become(const run *r, const char *folder, int from, pid_t parent)
{
    char path[PAL_PATH];
    snprintf(path, sizeof path, "%s/%s.log", folder, r->name);
    const int log = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* who starts it does not leave it behind */
    if (log < 0 || getppid() != parent) _exit(EXIT_FAILURE);
    dup2(from, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    forget_ranks();
    setenv("OMP_NUM_THREADS", "1", 1);
    execl("/proc/self/exe", "ablate", "--run", r->name, "--out", folder, (char *)NULL);
    _exit(EXIT_FAILURE);
}

/* Its description fits into a pipe, so that nobody waits for a reader. */
static bool start(job *j, const run *r, const char *folder)
{
    int ends[2];
    const size_t n = strlen(r->text);
    if (pipe2(ends, O_CLOEXEC)) return false;
    fflush(NULL);
    const pid_t parent = getpid(), pid = fork();
    if (pid == 0) become(r, folder, ends[0], parent);
    const bool told = pid > 0 && write(ends[1], r->text, n) == (ssize_t)n;
    close(ends[0]);
    close(ends[1]);
    *j = (job){pid > 0 ? pid : 0, r};
    return told;
}

/* ---- How they end ---- */

/* The last line of the log, which says why. */
static void last_line(const char *folder, const run *r, char *text, size_t size)
{
    char path[PAL_PATH], line[1000];
    snprintf(path, sizeof path, "%s/%s.log", folder, r->name);
    FILE *log = fopen(path, "r");
    *text = '\0';
    while (log && fgets(line, sizeof line, log)) {
        line[strcspn(line, "\n")] = '\0';
        if (*line) snprintf(text, size, ": %s", line);
    }
    if (log) fclose(log);
}

static void remove_log(const char *folder, const run *r)
{
    char path[PAL_PATH];
    snprintf(path, sizeof path, "%s/%s.log", folder, r->name);
    unlink(path);
}

/* Tells how a run ended; false if it has no result. */
static bool ended(const run *r, const char *folder, int status, int number, int of,
                  const char *left)
{
    char why[1024];
    result *x = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? result_read(folder, r) : NULL;
    if (x) {
        if (x->failed)
            printf("[%d/%d] %-28s FAILED: the loss or the gradient of step %lld is not finite\n",
                   number, of, r->name, (long long)x->steps + 1);
        else
            printf("[%d/%d] %-28s %s %.4f, %lld steps, %.0f s%s\n", number, of, r->name,
                   r->bits ? "bits" : "accuracy", result_value(x, -1), (long long)x->steps,
                   x->seconds, left);
        remove_log(folder, r);
    } else if (WIFEXITED(status) ? WEXITSTATUS(status) == STOPPED : pal_stop_requested() != 0) {
        printf("[%d/%d] %-28s stopped\n", number, of, r->name);
    } else {
        last_line(folder, r, why, sizeof why);
        fprintf(stderr, "[%d/%d] %s FAILED with %s %d%s\n", number, of, r->name,
                WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), why);
    }
    const bool good = x != NULL;
    result_free(x);
    fflush(NULL);
    return good;
}

/* Whether the process of a job is there no more. */
static bool over(job *j, int *status)
{
    const pid_t pid = waitpid(j->pid, status, WNOHANG);
    if (pid == j->pid) return true;
    if (pid == 0 || errno == EINTR) return false;
    *status = EXIT_FAILURE << 8; /* nobody's child: it cannot be known */
    return true;
}

/* ---- All ---- */

static double clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ", about 12 min left", from the time that `done` of `of` runs took; "" after the last. */
static void put_left(char text[64], double seconds, int done, int of)
{
    const double left = seconds / done * (of - done);
    *text = '\0';
    if (done == of) return;
    if (left < 90)
        snprintf(text, 64, ", about %.0f s left", left);
    else if (left < 5400)
        snprintf(text, 64, ", about %.0f min left", left / 60);
    else
        snprintf(text, 64, ", about %.1f h left", left / 3600);
}

/* The share of a rank, in order: a run that another rank takes is passed over. */
typedef struct queue {
    const run *const *at;
    int n, next, taken;
} queue;

static void run_queue(queue *q, const char *folder, int jobs, int *failed)
{
    job at[MOST_JOBS] = {{0}};
    int running = 0, number = 0;
    bool told = false;
    char left[64];
    const double began = clock_now();
    while (running || (q->next < q->n && !pal_stop_requested())) {
        for (int i = 0; i < jobs; i++) {
            int status;
            if (at[i].pid && over(&at[i], &status)) {
                number++;
                put_left(left, clock_now() - began, number, q->n);
                *failed += !ended(at[i].run, folder, status, number, q->n, left);
                at[i].pid = 0;
                running--;
            }
            if (at[i].pid || q->next == q->n || pal_stop_requested()) continue;
            const run *r = q->at[q->next++];
            if (!start(&at[i], r, folder)) fprintf(stderr, "ablate: %s: no process\n", r->name);
            if (at[i].pid)
                running++;
            else
                ++*failed;
        }
        if (pal_stop_requested() && !told) {
            for (int i = 0; i < jobs; i++)
                if (at[i].pid) kill(at[i].pid, SIGTERM);
            told = true;
        }
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

int jobs_run(const runs *r, const char *folder, int jobs, pal_dist *dist)
{
    const int rank = pal_dist_rank(dist), ranks = pal_dist_size(dist);
    const run **mine = calloc((size_t)r->n + 1, sizeof *mine);
    if (!mine) stop("out of memory");
    queue q = {.at = mine};
    int missing = 0, failed = 0;
    for (int i = 0; i < r->n; i++) {
        result *x = result_read(folder, &r->at[i]);
        if (!x && missing++ % ranks == rank) mine[q.n++] = &r->at[i];
        if (x && rank == 0) remove_log(folder, &r->at[i]); /* of a process that was killed */
        result_free(x);
    }
    if (rank == 0)
        printf("%d runs, %d of them to be made, %d at a time\n", r->n, missing, jobs * ranks);
    pal_dist_barrier(dist); /* all have seen the folder before a run changes it */
    run_queue(&q, folder, jobs > MOST_JOBS ? MOST_JOBS : jobs, &failed);
    free(mine);
    return failed;
}
