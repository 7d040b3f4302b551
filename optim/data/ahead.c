/*
 * ahead.c - a thread that draws batches before they are asked for.
 *
 * While it runs only this thread draws; pal_batches_next only waits for it. It opens no parallel
 * region, allocates no memory and receives no signals. After an error or the end of validation it
 * waits until it is started again.
 */
#include "optim/data/batches.h"

#include <signal.h>
#include <unistd.h>

static void *draw_ahead(void *user)
{
    pal_batches *b = user;
    pal_ahead *a = &b->ahead;
    pthread_mutex_lock(&a->lock);
    for (;;) {
        while (!a->stop && (a->pause || a->waiting || a->count == b->slots))
            pthread_cond_wait(&a->change, &a->lock);
        if (a->stop) break;
        pal_slot *slot = &b->slot[(a->first + a->count) % b->slots];
        pal_position at = a->at;
        a->drawing = true;
        pthread_mutex_unlock(&a->lock);
        pal_batches_draw(b, at, slot);
        pthread_mutex_lock(&a->lock);
        a->drawing = false;
        a->at = slot->after;
        a->count++;
        a->waiting = slot->status != PAL_OK || slot->end;
        pthread_cond_broadcast(&a->change);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

bool pal_ahead_start(pal_batches *b)
{
    pal_ahead *a = &b->ahead;
    sigset_t all, before;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->change, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    a->process = getpid();
    a->running = pthread_create(&a->thread, NULL, draw_ahead, b) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return a->running;
}

void pal_ahead_stop(pal_batches *b)
{
    pal_ahead *a = &b->ahead;
    if (!a->running || a->process != getpid()) return;
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_broadcast(&a->change);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    pthread_cond_destroy(&a->change);
    pthread_mutex_destroy(&a->lock);
    a->running = false;
}

pal_slot *pal_ahead_wait(pal_batches *b)
{
    pal_ahead *a = &b->ahead;
    pthread_mutex_lock(&a->lock);
    while (a->count == 0) pthread_cond_wait(&a->change, &a->lock);
    pal_slot *slot = &b->slot[a->first];
    pthread_mutex_unlock(&a->lock);
    return slot;
}

void pal_ahead_release(pal_batches *b)
{
    pal_ahead *a = &b->ahead;
    pthread_mutex_lock(&a->lock);
    a->first = (a->first + 1) % b->slots;
    a->count--;
    pthread_cond_broadcast(&a->change);
    pthread_mutex_unlock(&a->lock);
}

void pal_ahead_restart(pal_batches *b)
{
    pal_ahead *a = &b->ahead;
    pthread_mutex_lock(&a->lock);
    a->pause = true; /* no other slot is begun, whatever the outcome of this one */
    while (a->drawing) pthread_cond_wait(&a->change, &a->lock);
    a->first = a->count = 0;
    a->at = b->at;
    a->waiting = a->pause = false;
    pthread_cond_broadcast(&a->change);
    pthread_mutex_unlock(&a->lock);
}
