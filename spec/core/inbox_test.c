/* SPDX-License-Identifier: MIT */
/* inbox_test.c -- posts of many threads to one, which sleeps and is woken; closing; after a fork.
 */
#include "core/base/error.h"
#include "core/engine/inbox.h"
#include "spec/core/check.h"

#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, POSTS = 20000 };

static void *
poster(void *arg)
{
    aco_inbox *inbox = arg;

    for (uint64_t i = 1; i <= POSTS; i++)
        CHECK(aco_inbox_signal(inbox, ACO_POST_SPACE, (uint64_t)(uintptr_t)&i, i, ACO_OK) ==
              ACO_OK);
    aco_inbox_unref(inbox);
    return NULL;
}

static void
wait_readable(aco_inbox *inbox)
{
    struct pollfd fd = {.fd = aco_inbox_fd(inbox), .events = POLLIN};

    CHECK(poll(&fd, 1, 20000) == 1);
    aco_inbox_drain(inbox);
}

/* Every post comes, each thread's in order, and nobody sleeps through one. */
static void
test_threads(void)
{
    aco_inbox *inbox = aco_inbox_new();
    pthread_t threads[THREADS];
    uint64_t who[THREADS] = {0}, last[THREADS] = {0};
    int total = 0;

    for (int t = 0; t < THREADS; t++)
        CHECK(pthread_create(&threads[t], NULL, poster, aco_inbox_ref(inbox)) == 0);
    while (total < THREADS * POSTS) {
        aco_post *post = aco_inbox_take(inbox);
        if (post == NULL) {
            if (aco_inbox_sleep(inbox)) wait_readable(inbox);
            aco_inbox_awake(inbox);
            continue;
        }
        while (post != NULL) {
            aco_post *next = post->next;
            int t = 0;
            while (who[t] != 0 && who[t] != post->task)
                t++;
            who[t] = post->task;
            CHECK(post->kind == ACO_POST_SPACE && post->token == last[t] + 1);
            last[t] = post->token;
            total++;
            aco_post_free(post);
            post = next;
        }
    }
    for (int t = 0; t < THREADS; t++)
        CHECK(pthread_join(threads[t], NULL) == 0);
    CHECK(aco_inbox_empty(inbox) && aco_inbox_take(inbox) == NULL);
    aco_inbox_unref(inbox);
}

static void
test_close(void)
{
    aco_inbox *inbox = aco_inbox_new();

    CHECK(aco_inbox_signal(inbox, ACO_POST_NAME, 1, 2, 3) == ACO_OK);
    CHECK(!aco_inbox_empty(inbox) && !aco_inbox_sleep(inbox));
    aco_inbox_close(inbox);
    CHECK(aco_inbox_empty(inbox) && aco_inbox_take(inbox) == NULL);
    CHECK(aco_inbox_signal(inbox, ACO_POST_NAME, 1, 2, 3) == ACO_ECLOSED);
    aco_inbox_unref(inbox);
}

/* A wake-up of the child is not the parent's. */
static void
test_fork(void)
{
    aco_inbox *inbox = aco_inbox_new();
    struct pollfd fd = {.fd = aco_inbox_fd(inbox), .events = POLLIN};
    int status;

    CHECK(aco_inbox_sleep(inbox));
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(aco_inbox_after_fork(inbox) == ACO_OK);
        aco_inbox_wake(inbox);
        _exit(poll(&fd, 1, 0) == 1 ? 0 : 1);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(poll(&fd, 1, 0) == 0);
    aco_inbox_wake(inbox);
    CHECK(poll(&fd, 1, 0) == 1);
    aco_inbox_unref(inbox);
}

int
main(void)
{
    test_threads();
    test_close();
    test_fork();
    return 0;
}
