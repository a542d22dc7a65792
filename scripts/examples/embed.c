/* SPDX-License-Identifier: MIT */
/* embed.c -- a C program with asyncoro inside: it has a poll loop of its own, in which a Lua script
 * takes part; a thread of the program sends numbers to a coro, whose answers come back through a
 * mailbox that lives in C.
 *
 *   cc embed.c $(pkg-config --cflags --libs asyncoro) -pthread -o embed
 */
#include <asyncoro.h>

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char script[] =
    "local asyncoro = require 'asyncoro'\n"
    "local results = asyncoro.locate 'results'\n"
    "local adder = asyncoro.spawn(function()\n"
    "    local sum = 0\n"
    "    for number in asyncoro.messages() do\n" /* until the nil that ends it */
    "        sum = sum + number\n"
    "        results:send(sum)\n"
    "    end\n"
    "end)\n"
    "adder:register 'adder'\n"
    "asyncoro.locate('ready'):send(true)\n";

enum { NUMBERS = 5, NIL = 0xc0 };

static void
fail(const char *what, const char *why)
{
    fprintf(stderr, "embed: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

static void
on_error(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "embed: %s\n", text);
}

/* A thread of the program: small integers are their own MessagePack. */
static void *
post_numbers(void *arg)
{
    asyncoro_handle *adder = arg;
    unsigned char byte;

    for (byte = 1; byte <= NUMBERS; byte++)
        asyncoro_post(adder, &byte, 1);
    byte = NIL;
    asyncoro_post(adder, &byte, 1);
    asyncoro_handle_unref(adder);
    return NULL;
}

/* Print what has come; how many messages. */
static int
print_results(asyncoro_mailbox *results)
{
    asyncoro_message *message;
    int count = 0;

    while (asyncoro_mailbox_take(results, 0, &message) == ASYNCORO_OK) {
        const unsigned char *bytes = asyncoro_message_data(message);
        printf("the sum is %d\n", bytes[0]);
        asyncoro_message_free(message);
        count++;
    }
    return count;
}

static void
start_thread(asyncoro *runtime, pthread_t *thread)
{
    asyncoro_handle *adder;
    int code = asyncoro_handle_find(runtime, "adder", &adder);

    if (code != ASYNCORO_OK) fail("adder", asyncoro_code_text(code));
    if (pthread_create(thread, NULL, post_numbers, adder) != 0) fail("thread", "cannot be started");
}

/* The program's own loop: descriptors of the program would be in the same poll. */
static void
loop(asyncoro *runtime, asyncoro_mailbox *ready, asyncoro_mailbox *results)
{
    struct pollfd fds[] = {{asyncoro_fd(runtime), POLLIN, 0},
                           {asyncoro_mailbox_fd(ready), POLLIN, 0},
                           {asyncoro_mailbox_fd(results), POLLIN, 0}};
    asyncoro_message *message;
    pthread_t thread;
    int goes_on = asyncoro_step(runtime, 0), started = 0;

    while (goes_on > 0) {
        poll(fds, 3, -1);
        if (!started && asyncoro_mailbox_take(ready, 0, &message) == ASYNCORO_OK) {
            asyncoro_message_free(message);
            start_thread(runtime, &thread);
            started = 1;
        }
        print_results(results);
        goes_on = asyncoro_step(runtime, 0);
    }
    print_results(results);
    if (started) pthread_join(thread, NULL);
}

int
main(void)
{
    asyncoro_options options;
    asyncoro_mailbox *ready, *results;

    asyncoro_options_init(&options, sizeof options);
    options.on_error = on_error;
    options.memory_limit = 64 << 20;
    asyncoro *runtime = asyncoro_new(&options);
    if (runtime == NULL) return EXIT_FAILURE; /* on_error has said why */

    int code = asyncoro_mailbox_new(runtime, "ready", 0, &ready);
    if (code == ASYNCORO_OK) code = asyncoro_mailbox_new(runtime, "results", 0, &results);
    if (code != ASYNCORO_OK) fail("mailbox", asyncoro_code_text(code));
    if (asyncoro_load(runtime, script, strlen(script), "script") != ASYNCORO_OK ||
        asyncoro_start(runtime, 0, NULL) != ASYNCORO_OK)
        fail("script", asyncoro_last_error(runtime));

    loop(runtime, ready, results);
    int end = asyncoro_result(runtime);
    printf("the program has %s\n", end == ASYNCORO_FINISHED ? "finished" : "failed");
    asyncoro_mailbox_close(results);
    asyncoro_mailbox_close(ready);
    asyncoro_close(runtime);
    return end;
}
