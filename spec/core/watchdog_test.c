/* SPDX-License-Identifier: MIT */
/* watchdog_test.c -- a turn that takes too long, or past its deadline, is signalled; short ones and
 * an idle thread are not. */
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/engine/inbox.h"
#include "core/engine/watchdog.h"
#include "spec/core/check.h"

#include <signal.h>
#include <time.h>

#define MILLI (ACO_SECOND / 1000)
#define LONG (20 * ACO_SECOND) /* a failure, never waited for */

static volatile sig_atomic_t signals; /* the handler's */
static void *volatile owner;

static void
on_signal(int number, siginfo_t *info, void *context)
{
    aco_watchdog *dog = info->si_value.sival_ptr;

    (void)number;
    (void)context;
    owner = dog;
    aco_watchdog_alarmed(dog); /* async-signal-safe */
    signals = signals + 1;
}

static void
dog_start(aco_watchdog *dog, aco_time stall, aco_inbox *inbox)
{
    *dog = (aco_watchdog){.running = false};
    signals = 0;
    owner = NULL;
    CHECK(aco_watchdog_start(dog, stall, SIGUSR1, dog, inbox) == ACO_OK && dog->running);
}

static void
dog_stop(aco_watchdog *dog)
{
    aco_watchdog_stop(dog);
    CHECK(!dog->running);
    aco_watchdog_stop(dog); /* harmless */
}

/* Be busy, without a turn's end, until a signal has come. */
static void
await_signal(void)
{
    aco_time until = aco_now() + LONG;

    while (signals == 0)
        CHECK(aco_now() < until);
}

static void
pause_for(aco_time time)
{
    const struct timespec ts = {.tv_nsec = (long)time};

    nanosleep(&ts, NULL);
}

static void
test_deadline(aco_inbox *inbox)
{
    aco_watchdog dog;

    dog_start(&dog, LONG, inbox);
    aco_watchdog_begin(&dog);
    aco_time deadline = aco_now() + MILLI;
    aco_watchdog_deadline(&dog, deadline);
    await_signal();
    CHECK(aco_now() >= deadline && owner == &dog);
    CHECK(aco_watchdog_alarmed(&dog));
    CHECK(aco_watchdog_alarms(&dog) == ACO_ALARM_DEADLINE);
    aco_watchdog_deadline(&dog, ACO_NEVER); /* a new one: peace */
    pause_for(12 * MILLI);
    (void)aco_watchdog_alarms(&dog); /* one may have been on its way */
    signals = 0;
    pause_for(12 * MILLI);
    CHECK(signals == 0 && !aco_watchdog_alarmed(&dog));

    aco_watchdog_deadline(&dog, 0);
    await_signal();
    aco_watchdog_end(&dog); /* alarms and deadline are of that turn only */
    CHECK(!aco_watchdog_alarmed(&dog) && aco_watchdog_alarms(&dog) == 0);
    aco_watchdog_begin(&dog);
    CHECK(aco_watchdog_alarms(&dog) == 0);
    pause_for(12 * MILLI);
    CHECK(aco_watchdog_alarms(&dog) == 0);
    aco_watchdog_end(&dog);
    dog_stop(&dog);
}

/* The limit is reported once per turn. */
static void
test_stall(aco_inbox *inbox)
{
    aco_watchdog dog;

    dog_start(&dog, 2 * MILLI, inbox);
    for (int turn = 0; turn < 2; turn++) {
        signals = 0;
        aco_watchdog_begin(&dog);
        await_signal();
        CHECK(aco_watchdog_alarms(&dog) == ACO_ALARM_STALL);
        pause_for(15 * MILLI);
        CHECK(signals == 1 && aco_watchdog_alarms(&dog) == 0);
        aco_watchdog_end(&dog);
    }
    signals = 0; /* without a turn there is no limit, and posts are taken soon */
    CHECK(aco_inbox_signal(inbox, ACO_POST_NAME, 1, 1, ACO_OK) == ACO_OK);
    pause_for(45 * MILLI);
    CHECK(signals == 0 && aco_watchdog_alarms(&dog) == 0);
    aco_post_free(aco_inbox_take(inbox));
    dog_stop(&dog);
}

/* A long turn hears of posts. */
static void
test_inbox(aco_inbox *inbox)
{
    aco_watchdog dog;

    dog_start(&dog, LONG, inbox);
    aco_watchdog_begin(&dog);
    CHECK(aco_inbox_signal(inbox, ACO_POST_NAME, 1, 1, ACO_OK) == ACO_OK);
    await_signal();
    CHECK(aco_watchdog_alarms(&dog) == ACO_ALARM_INBOX);
    aco_post_free(aco_inbox_take(inbox));
    aco_watchdog_end(&dog);
    dog_stop(&dog);
}

/* Between turns, in short turns and while it blocks a thread is left alone. */
static void
test_peace(aco_inbox *inbox)
{
    aco_watchdog dog;

    dog_start(&dog, 4 * ACO_SECOND, inbox);
    aco_time until = aco_now() + 15 * MILLI;
    while (aco_now() < until) {
        aco_watchdog_begin(&dog);
        aco_watchdog_deadline(&dog, aco_now() + 4 * ACO_SECOND);
        aco_watchdog_end(&dog);
    }
    CHECK(signals == 0);
    aco_watchdog_begin(&dog); /* its deadline passes after it has ended */
    aco_watchdog_deadline(&dog, aco_now() + MILLI);
    aco_watchdog_end(&dog);
    pause_for(12 * MILLI);
    aco_watchdog_idle(&dog, true);
    for (aco_time end = aco_now() + LONG; !atomic_load(&dog.asleep);) {
        CHECK(aco_now() < end); /* the watchdog goes to sleep too */
        pause_for(MILLI);
    }
    CHECK(signals == 0);
    aco_watchdog_idle(&dog, false); /* and is back in time */
    aco_watchdog_begin(&dog);
    aco_watchdog_deadline(&dog, 0);
    await_signal();
    aco_watchdog_end(&dog);
    aco_watchdog_idle(&dog, true);
    dog_stop(&dog); /* while it sleeps */
}

int
main(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    aco_inbox *inbox = aco_inbox_new();

    CHECK(inbox != NULL && sigaction(SIGUSR1, &action, NULL) == 0);
    test_deadline(inbox);
    test_stall(inbox);
    test_inbox(inbox);
    test_peace(inbox);
    aco_inbox_unref(inbox);
    return 0;
}
