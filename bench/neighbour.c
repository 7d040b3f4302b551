/*
 * neighbour.c - what a busy neighbour costs a team of threads: training steps on one thread and on
 * several, with the machine to themselves and beside busy processes.
 *
 *     build/bench/neighbour [--threads N] [--busy N] [--runs N] [--steps N]
 *
 * The busy processes (one a processor) do nothing but count. They are stopped and continued for
 * each pair, and end with the program. A pair is --steps steps on one thread and as many on
 * several, alone and then beside; the ratios are those of all steps together. A team that waits by
 * spinning takes the processor from the thread that it waits for, and then several threads are many
 * times slower than one; the aim is
 *
 *     beside    N threads at most 1.3 times one thread
 *     N threads beside at most 3 times alone
 *
 * Both mean something only where nothing else runs: the load before the start is printed. The model
 * is small (two layers of width 96, 8 x 64 bytes), as regions are shortest there.
 */
#include "bench/measure/training.h"
#include "examples/flags/flags.h"

#include <argp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_BUSY = 256 };

typedef struct options {
    int threads, busy, runs, steps;
} options;

static const struct argp_option rows[] = {
    {"threads", 't', "N", 0, "threads of the team (2)", 0},
    {"busy", 'b', "N", 0, "busy processes (one a processor)", 0},
    {"runs", 'r', "N", 0, "pairs, alone and beside (5)", 0},
    {"steps", 's', "N", 0, "steps of a run (20)", 0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    options *o = state->input;
    int *field;
    switch (key) {
    case 't':
        field = &o->threads;
        break;
    case 'b':
        field = &o->busy;
        break;
    case 'r':
        field = &o->runs;
        break;
    case 's':
        field = &o->steps;
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    char *end;
    const long n = strtol(arg, &end, 10), most = key == 'b' ? MOST_BUSY : 100000;
    if (end == arg || *end || n < 1 || n > most)
        argp_error(state, "'%s' is not a number from 1 to %ld", arg, most);
    *field = (int)n;
    return 0;
}

/* ---- The neighbours ---- */

/* A process that counts for ever, stopped; it ends when this one does. */
static pid_t start_busy(void)
{
    const pid_t parent = getpid(), child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(0);
        raise(SIGSTOP);
        for (volatile unsigned long n = 0;; n++) {
        }
    }
    return child;
}

static void signal_all(const pid_t *pid, int count, int signal)
{
    for (int i = 0; i < count; i++) kill(pid[i], signal);
}

/* ---- The steps ---- */

/* Seconds of so many steps after two that do not count; negative if one fails. */
static double run(training *t, int steps, int threads)
{
    enum { WARM = 2 };
    double sum = 0;
    pal_set_threads(threads);
    for (int i = 0; i < WARM + steps; i++) {
        const double s = training_step(t);
        if (s < 0) return s;
        if (i >= WARM) sum += s;
    }
    return sum;
}

int main(int argc, char **argv)
{
    options o = {.threads = 2, .runs = 5, .steps = 20};
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    o.busy = processors < 1 ? 1 : processors > MOST_BUSY ? MOST_BUSY : (int)processors;
    const struct argp argp = {rows, parse, NULL, "Times training beside busy processes.", 0, 0, 0};
    flags_parse(&argp, argc, argv, &o);

    double load = 0, total[2][2] = {{0}}; /* alone and beside, one thread and several */
    getloadavg(&load, 1);
    note_machine(NULL);
    note(NULL, "load before the start %.2f, %d busy processes, %d steps a run", load, o.busy,
         o.steps);
    pid_t busy[MOST_BUSY];
    int started = 0; /* before there are threads */
    for (; started < o.busy && (busy[started] = start_busy()) > 0; started++) {
    }
    training t = training_new((setup){"gdn2", 96, 2, 8, 64});
    bool good = started == o.busy;
    if (!good) perror("neighbour: fork");
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("%4s %-7s %14s %14s %8s\n", "pair", "", "one thread ms", "several ms", "ratio");
    for (int i = 0; i < 2 * o.runs && good; i++) {
        const int beside = i % 2;
        if (beside) signal_all(busy, started, SIGCONT);
        const double one = run(&t, o.steps, 1), many = run(&t, o.steps, o.threads);
        if (beside) signal_all(busy, started, SIGSTOP);
        good = one >= 0 && many >= 0;
        total[beside][0] += one;
        total[beside][1] += many;
        printf("%4d %-7s %14.2f %14.2f %8.2f\n", i / 2 + 1, beside ? "beside" : "alone",
               1e3 * one / o.steps, 1e3 * many / o.steps, many / one);
    }
    if (good) {
        printf("%d threads by one, alone    %6.2f\n", o.threads, total[0][1] / total[0][0]);
        printf("%d threads by one, beside   %6.2f (aim: at most 1.3)\n", o.threads,
               total[1][1] / total[1][0]);
        printf("%d threads, beside by alone %6.2f (aim: at most 3)\n", o.threads,
               total[1][1] / total[0][1]);
    }
    signal_all(busy, started, SIGKILL);
    for (int i = 0; i < started; i++) waitpid(busy[i], NULL, 0);
    training_free(&t);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
