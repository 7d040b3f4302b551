/* stop.c - signals that ask a loop to stop. The handler only notes the first of them. */
#include "optim/train.h"

#include <signal.h>

/* Global, because signals belong to the process. */
static volatile sig_atomic_t requested;

static const int numbers[] = {SIGINT, SIGTERM, SIGUSR1, SIGXFSZ, SIGPIPE};
enum { SIGNALS = sizeof numbers / sizeof numbers[0] };
static struct sigaction before[SIGNALS];
static bool installed;

static void note(int number)
{
    if (!requested) requested = number;
}

void pal_stop_install(void)
{
    requested = 0;
    for (int i = 0; i < SIGNALS; i++) {
        bool ignored = numbers[i] == SIGXFSZ || numbers[i] == SIGPIPE;
        struct sigaction how = {.sa_handler = ignored ? SIG_IGN : note, .sa_flags = SA_RESTART};
        /* After one SIGINT the default action is back and will end the process. */
        if (numbers[i] == SIGINT) how.sa_flags |= (int)SA_RESETHAND;
        sigemptyset(&how.sa_mask);
        sigaction(numbers[i], &how, installed ? NULL : &before[i]);
    }
    installed = true;
}

void pal_stop_remove(void)
{
    if (!installed) return;
    for (int i = 0; i < SIGNALS; i++) sigaction(numbers[i], &before[i], NULL);
    installed = false;
}

int pal_stop_requested(void) { return requested; }
