/* SPDX-License-Identifier: MIT */
#include "core/engine/watchdog.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/error.h"

/* It looks so often while the watched thread is busy. */
#define TICK (5 * ACO_SECOND / 1000)

/* A turn that has lasted so long may be interrupted for what other threads have posted. */
#define INBOX_DELAY (20 * ACO_SECOND / 1000)

/* What the watchdog knows of the turn that it saw last. */
/* The thread is left alone when it has blocked for so many looks: waking it up costs more than they
 * do. */
enum { QUIET = 20 };

struct sight {
    uint64_t turn;
    aco_time since;
    unsigned quiet; /* looks since the last turn */
    unsigned told;  /* alarms of this turn that were sent once and for all */
};

static void
alarm_send(aco_watchdog *dog, uint64_t turn, unsigned alarms)
{
    const union sigval value = {.sival_ptr = dog->owner};

    if (atomic_load(&dog->alarm_turn) != turn) {
        atomic_store(&dog->alarms, 0);
        atomic_store(&dog->alarm_turn, turn);
    }
    atomic_fetch_or(&dog->alarms, alarms);
    pthread_sigqueue(dog->watched, dog->signal, value);
}

static void
look(aco_watchdog *dog, struct sight *sight)
{
    uint64_t turn = atomic_load_explicit(&dog->turn, memory_order_relaxed);
    aco_time now = aco_now();
    unsigned alarms = 0;

    if (turn != sight->turn) *sight = (struct sight){.turn = turn, .since = now};
    if ((turn & 1) == 0) {
        sight->quiet++;
        return;
    }
    if (now - sight->since >= dog->stall) alarms |= ACO_ALARM_STALL;
    alarms &= ~sight->told;
    sight->told |= alarms;
    if (atomic_load(&dog->deadline_turn) == turn && now >= atomic_load(&dog->deadline))
        alarms |= ACO_ALARM_DEADLINE;
    if (now - sight->since >= INBOX_DELAY && !aco_inbox_empty(dog->inbox))
        alarms |= ACO_ALARM_INBOX;
    if (alarms != 0) alarm_send(dog, turn, alarms);
}

/* Wait for the next look; under the lock. While the watched thread blocks there is none. */
static void
rest(aco_watchdog *dog, const struct sight *sight)
{
    struct timespec until;

    if (atomic_load(&dog->idle) && sight->quiet >= QUIET) {
        atomic_store(&dog->asleep, true);
        while (atomic_load(&dog->idle) && !dog->stop)
            pthread_cond_wait(&dog->wake, &dog->lock);
        atomic_store(&dog->asleep, false);
    }
    aco_time next = aco_now() + TICK;
    until.tv_sec = (time_t)(next / ACO_SECOND);
    until.tv_nsec = (long)(next % ACO_SECOND);
    if (!dog->stop) pthread_cond_timedwait(&dog->wake, &dog->lock, &until);
}

static void *
watch(void *arg)
{
    aco_watchdog *dog = arg;
    struct sight sight = {.turn = 0};

    pthread_mutex_lock(&dog->lock);
    while (!dog->stop) {
        rest(dog, &sight);
        if (!dog->stop) look(dog, &sight);
    }
    pthread_mutex_unlock(&dog->lock);
    return NULL;
}

static void
dog_init(aco_watchdog *dog)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&dog->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&dog->wake, &attr);
    pthread_condattr_destroy(&attr);
    atomic_store(&dog->alarms, 0);
    atomic_store(&dog->idle, false);
    atomic_store(&dog->asleep, false);
    atomic_store(&dog->deadline_turn, 0);
    dog->stop = false;
}

int
aco_watchdog_start(aco_watchdog *dog, aco_time stall, int signal, void *owner, aco_inbox *inbox)
{
    sigset_t all, old;

    dog_init(dog);
    dog->stall = stall;
    dog->signal = signal;
    dog->owner = owner;
    dog->inbox = inbox;
    dog->watched = pthread_self();
    sigfillset(&all); /* signals of the process are for its other threads */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&dog->thread, NULL, watch, dog);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    dog->running = err == 0;
    if (dog->running) return ACO_OK;
    pthread_mutex_destroy(&dog->lock);
    pthread_cond_destroy(&dog->wake);
    return err == ENOMEM ? ACO_ENOMEM : ACO_ESYSTEM;
}

void
aco_watchdog_stop(aco_watchdog *dog)
{
    if (!dog->running) return;
    pthread_mutex_lock(&dog->lock);
    dog->stop = true;
    pthread_cond_signal(&dog->wake);
    pthread_mutex_unlock(&dog->lock);
    pthread_join(dog->thread, NULL);
    pthread_mutex_destroy(&dog->lock);
    pthread_cond_destroy(&dog->wake);
    dog->running = false;
}

void
aco_watchdog_deadline(aco_watchdog *dog, aco_time deadline)
{
    atomic_store_explicit(&dog->deadline, deadline, memory_order_relaxed);
    atomic_store_explicit(&dog->deadline_turn,
                          atomic_load_explicit(&dog->turn, memory_order_relaxed),
                          memory_order_release);
}

void
aco_watchdog_idle(aco_watchdog *dog, bool idle)
{
    if (!dog->running) return;
    atomic_store(&dog->idle, idle);
    if (idle || !atomic_load(&dog->asleep)) return;
    pthread_mutex_lock(&dog->lock);
    pthread_cond_signal(&dog->wake);
    pthread_mutex_unlock(&dog->lock);
}

unsigned
aco_watchdog_alarms(aco_watchdog *dog)
{
    if (!aco_watchdog_alarmed(dog)) return 0;
    return atomic_exchange(&dog->alarms, 0);
}

bool
aco_watchdog_alarmed(aco_watchdog *dog)
{
    return atomic_load_explicit(&dog->alarms, memory_order_relaxed) != 0 &&
           atomic_load(&dog->alarm_turn) == atomic_load_explicit(&dog->turn, memory_order_relaxed);
}
