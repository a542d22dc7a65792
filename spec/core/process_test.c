/* SPDX-License-Identifier: MIT */
/* process_test.c -- the registry of a process: records of coros, outcomes, names, who watches, and
 * when all engines wait for each other. */
#include "core/base/error.h"
#include "core/engine/loop.h"
#include "core/engine/process.h"
#include "spec/core/check.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* An engine as far as a process knows it. */
typedef struct engine {
    aco_loop loop;
    aco_seat *seat;
} engine;

static void
engine_open(engine *e, aco_process *process)
{
    CHECK(aco_loop_init(&e->loop, NULL) == ACO_OK);
    e->seat = aco_seat_take(process, e->loop.inbox);
    CHECK(e->seat != NULL);
}

static void
engine_close(engine *e)
{
    aco_seat_leave(e->seat);
    aco_loop_fini(&e->loop);
}

static aco_post *
take_one(engine *e, enum aco_post_kind kind)
{
    aco_post *post = aco_inbox_take(e->loop.inbox);

    CHECK(post != NULL && post->kind == kind && post->next == NULL);
    return post;
}

static aco_msg *
text(const char *s)
{
    return aco_msg_new(s, strlen(s));
}

static void
test_identity(aco_process *process)
{
    static const uint8_t tail[] = {0x01, 0x02, 0x03, 0x04, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c};
    aco_identity one = {.engine = 0x01020304, .serial = 0x0a0b0c}, two;
    uint8_t bytes[ACO_IDENTITY_SIZE];

    memcpy(one.process, aco_process_id(process), sizeof one.process);
    aco_identity_write(&one, bytes);
    CHECK(memcmp(bytes, one.process, 16) == 0 && memcmp(bytes + 16, tail, sizeof tail) == 0);
    aco_identity_read(&two, bytes);
    CHECK(memcmp(two.process, one.process, 16) == 0 && two.engine == one.engine &&
          two.serial == one.serial);
}

/* A record is found while the coro lives, and its outcome afterwards. */
static void
test_outcome(aco_process *process)
{
    engine home, away;
    aco_export *x, *found;

    engine_open(&home, process);
    engine_open(&away, process);
    CHECK(aco_seat_number(home.seat) != aco_seat_number(away.seat));
    CHECK(aco_export_find(process, aco_seat_number(home.seat), 1) == NULL);
    CHECK(aco_export_new(home.seat, ACO_KIND_CORO, 1, "name", NULL, &x) == ACO_OK);
    found = aco_export_find(process, aco_seat_number(home.seat), 1);
    CHECK(found == x && strcmp(found->name, "name") == 0);
    CHECK(aco_export_find(process, aco_seat_number(away.seat), 1) == NULL);
    CHECK(aco_export_exit(x) == NULL && atomic_load(&x->reason) == ACO_ALIVE);
    CHECK(aco_export_watch(x, away.seat) == ACO_OK);
    aco_post *post = calloc(1, sizeof *post);
    post->kind = ACO_POST_KILL;
    post->object = aco_export_ref(x);
    CHECK(aco_export_post(x, post) == ACO_OK);
    aco_post_free(take_one(&home, ACO_POST_KILL));

    aco_msg *exit = text("exit");
    aco_export_end(x, ACO_FAILED, exit);
    aco_msg_unref(exit);
    aco_export_unref(x);
    post = take_one(&away, ACO_POST_EXIT);
    CHECK(post->object == found);
    aco_post_free(post);
    CHECK(aco_export_watch(found, away.seat) == ACO_ENOTFOUND);
    CHECK(!aco_export_observed(found));
    exit = aco_export_exit(found);
    CHECK(exit != NULL && aco_msg_size(exit) == 4);
    aco_msg_unref(exit);
    post = calloc(1, sizeof *post);
    post->kind = ACO_POST_SPACE;
    CHECK(aco_export_post(found, post) == ACO_ENOTFOUND);
    aco_export_unref(found);
    engine_close(&home);
    found = aco_export_find(process, 1, 1); /* the engine has gone, what its coro left has not */
    CHECK(found != NULL && atomic_load(&found->reason) == ACO_FAILED);
    aco_export_unref(found);
    engine_close(&away);
}

/* Exit messages go into the mailboxes of monitors, past their limits; ended monitors are forgotten.
 */
static void
test_monitors(aco_process *process)
{
    engine home;
    aco_task task;
    aco_export *x;
    aco_entry entry;

    engine_open(&home, process);
    aco_task_init(&task, 1);
    aco_mailbox *mb = aco_mailbox_new(&task, 1);
    aco_mailbox_share(mb, home.loop.inbox);
    CHECK(aco_mailbox_push(mb, (aco_entry){.tag = 3}) == ACO_OK);
    CHECK(aco_export_new(home.seat, ACO_KIND_CORO, 1, "observed", NULL, &x) == ACO_OK);
    CHECK(aco_export_monitor(x, mb) == ACO_OK);
    CHECK(aco_export_monitor(x, mb) == ACO_OK);
    CHECK(aco_export_observed(x));
    for (int i = 0; i < 1000; i++) {
        aco_mailbox *brief = aco_mailbox_new(&task, 1);
        aco_mailbox_share(brief, home.loop.inbox);
        CHECK(aco_export_monitor(x, brief) == ACO_OK);
        aco_mailbox_close(&home.loop, brief);
        aco_mailbox_unref(brief);
    }
    CHECK(x->monitor_count < 100);
    aco_msg *exit = text("exit");
    aco_export_end(x, ACO_FINISHED, exit);
    aco_msg_unref(exit);
    aco_post_free(take_one(&home, ACO_POST_MAIL));
    CHECK(aco_mailbox_count(mb) == 2);
    CHECK(aco_mailbox_pop(&home.loop, mb, &entry) && entry.tag == 3);
    CHECK(aco_mailbox_pop(&home.loop, mb, &entry) && entry.tag == ACO_ENTRY_MSG);
    aco_entry_free(&entry);
    CHECK(aco_export_monitor(x, mb) == ACO_ENOTFOUND);
    aco_export_unref(x);
    aco_mailbox_close(&home.loop, mb);
    aco_mailbox_unref(mb);
    engine_close(&home);
}

static void
test_names(aco_process *process)
{
    engine home, away;
    aco_export *one, *two, *found;

    engine_open(&home, process);
    engine_open(&away, process);
    CHECK(aco_export_new(home.seat, ACO_KIND_CORO, 1, "one", NULL, &one) == ACO_OK);
    CHECK(aco_export_new(home.seat, ACO_KIND_CORO, 2, "two", NULL, &two) == ACO_OK);
    CHECK(aco_name_find(process, "a", 1) == NULL);
    aco_name_await(away.seat, true);
    CHECK(aco_name_register(one, "a", 1) == ACO_OK);
    aco_post_free(take_one(&away, ACO_POST_NAME));
    CHECK(aco_inbox_empty(home.loop.inbox));
    CHECK(aco_name_register(one, "a", 1) == ACO_OK);
    CHECK(aco_name_register(two, "a", 1) == ACO_EEXISTS);
    CHECK(aco_inbox_empty(away.loop.inbox));
    aco_name_await(away.seat, false);
    CHECK(aco_name_register(one, "b\0c", 3) == ACO_OK);
    CHECK(aco_inbox_empty(away.loop.inbox));
    found = aco_name_find(process, "b\0c", 3);
    CHECK(found == one);
    aco_export_unref(found);
    CHECK(aco_name_find(process, "b", 1) == NULL);
    CHECK(aco_name_unregister(two, "a", 1) == ACO_ENOTFOUND);
    CHECK(aco_name_unregister(one, "a", 1) == ACO_OK);
    CHECK(aco_name_register(two, "a", 1) == ACO_OK);
    aco_export_end(one, ACO_FINISHED, NULL);
    CHECK(aco_name_find(process, "b\0c", 3) == NULL);
    CHECK(aco_name_register(one, "b", 1) == ACO_ENOTFOUND);
    aco_export_end(two, ACO_TERMINATED, NULL);
    CHECK(aco_name_find(process, "a", 1) == NULL);
    aco_export_unref(one);
    aco_export_unref(two);
    engine_close(&home);
    engine_close(&away);
}

/* All are idle, and nothing is on its way: only then. */
static void
test_idle(void)
{
    aco_process *process = aco_process_new();
    engine one, two;

    engine_open(&one, process);
    engine_open(&two, process);
    CHECK(!aco_seat_idle(one.seat));
    CHECK(aco_seat_idle(two.seat));
    CHECK(aco_seat_idle(one.seat));
    aco_seat_busy(two.seat);
    CHECK(!aco_seat_idle(one.seat));
    aco_inbox_signal(one.loop.inbox, ACO_POST_NAME, 0, 0, 0);
    CHECK(!aco_seat_idle(two.seat));
    aco_post_free(take_one(&one, ACO_POST_NAME));
    CHECK(aco_seat_idle(two.seat));
    engine_close(&two);
    CHECK(aco_seat_idle(one.seat));
    CHECK(aco_process_engines(process) == 1);
    engine_close(&one);
    aco_process_unref(process);
}

/* However many coros end with outcomes, only so many and so much is kept. */
static void
test_limits(aco_process *process)
{
    engine home;
    aco_export *x;
    size_t known = 0;

    engine_open(&home, process);
    for (uint64_t serial = 1; serial <= ACO_OUTCOME_COUNT + 1000; serial++) {
        CHECK(aco_export_new(home.seat, ACO_KIND_CORO, serial, "brief", NULL, &x) == ACO_OK);
        aco_export_end(x, ACO_FINISHED, NULL);
        aco_export_unref(x);
    }
    for (uint64_t serial = 1; serial <= ACO_OUTCOME_COUNT + 1000; serial++) {
        x = aco_export_find(process, aco_seat_number(home.seat), serial);
        if (x != NULL) known++;
        aco_export_unref(x);
    }
    CHECK(known == ACO_OUTCOME_COUNT);
    static char large[ACO_OUTCOME_BYTES / 4];
    for (uint64_t serial = 1000000; serial < 1000008; serial++) {
        aco_msg *exit = aco_msg_new(large, sizeof large);
        CHECK(aco_export_new(home.seat, ACO_KIND_CORO, serial, "large", NULL, &x) == ACO_OK);
        aco_export_end(x, ACO_FINISHED, exit);
        aco_msg_unref(exit);
        aco_export_unref(x);
    }
    CHECK(aco_export_find(process, aco_seat_number(home.seat), 1000002) == NULL);
    x = aco_export_find(process, aco_seat_number(home.seat), 1000007);
    CHECK(x != NULL);
    aco_export_unref(x);
    engine_close(&home);
}

/* Threads find, watch and monitor one coro's records while their owner makes and ends them. */
enum { THREADS = 3, ROUNDS = 3000 };

static struct {
    aco_process *process;
    _Atomic uint64_t newest;
    _Atomic uint32_t owner;
} shared;

static void *
look(void *arg)
{
    engine e;
    aco_task task;

    (void)arg;
    engine_open(&e, shared.process);
    aco_task_init(&task, 1);
    aco_mailbox *mb = aco_mailbox_new(&task, 1);
    aco_mailbox_share(mb, e.loop.inbox);
    while (atomic_load(&shared.newest) < ROUNDS) {
        aco_export *x = aco_export_find(shared.process, atomic_load(&shared.owner),
                                        atomic_load(&shared.newest));
        if (x == NULL) continue;
        CHECK(aco_export_monitor(x, mb) != ACO_ENOMEM);
        CHECK(aco_export_watch(x, e.seat) != ACO_ENOMEM);
        aco_msg_unref(aco_export_exit(x));
        aco_export_observed(x);
        aco_export_unref(x);
        x = aco_name_find(shared.process, "newest", 6);
        aco_export_unref(x);
        for (aco_post *post = aco_inbox_take(e.loop.inbox), *next; post != NULL; post = next) {
            next = post->next;
            if (post->kind == ACO_POST_MAIL)
                aco_mailbox_unref(aco_mailbox_noticed(post));
            else
                aco_post_free(post);
        }
        aco_seat_idle(e.seat);
        aco_seat_busy(e.seat);
    }
    aco_mailbox_close(&e.loop, mb);
    aco_mailbox_unref(mb);
    engine_close(&e);
    return NULL;
}

static void
test_threads(void)
{
    pthread_t threads[THREADS];
    engine home;

    shared.process = aco_process_new();
    engine_open(&home, shared.process);
    atomic_store(&shared.owner, aco_seat_number(home.seat));
    for (int t = 0; t < THREADS; t++)
        CHECK(pthread_create(&threads[t], NULL, look, NULL) == 0);
    for (uint64_t serial = 1; serial <= ROUNDS; serial++) {
        aco_export *x;
        aco_msg *exit = text("exit");
        CHECK(aco_export_new(home.seat, ACO_KIND_CORO, serial, "one", NULL, &x) == ACO_OK);
        atomic_store(&shared.newest, serial);
        CHECK(aco_name_register(x, "newest", 6) == ACO_OK);
        if (serial % 16 == 0) sched_yield();
        aco_export_end(x, ACO_FINISHED, exit);
        aco_msg_unref(exit);
        aco_export_unref(x);
    }
    for (int t = 0; t < THREADS; t++)
        CHECK(pthread_join(threads[t], NULL) == 0);
    engine_close(&home);
    aco_process_unref(shared.process);
}

static void
test_fork(aco_process *process)
{
    uint8_t before[16];
    int status;

    memcpy(before, aco_process_id(process), sizeof before);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(aco_process_renew(process) == ACO_OK);
        _exit(memcmp(before, aco_process_id(process), sizeof before) != 0 ? 0 : 1);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(memcmp(before, aco_process_id(process), sizeof before) == 0);
}

int
main(void)
{
    aco_process *process = aco_process_new(), *another = aco_process_new();

    CHECK(memcmp(aco_process_id(process), aco_process_id(another), 16) != 0);
    aco_process_unref(another);
    test_outcome(process);
    test_identity(process);
    test_monitors(process);
    test_names(process);
    test_idle();
    test_limits(process);
    test_threads();
    test_fork(process);
    aco_process_unref(process);
    return 0;
}
