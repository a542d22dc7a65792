/* SPDX-License-Identifier: MIT */
/* peers.c -- many peers of one process, in a few processes of the system, some of which are killed
 * now and then.
 *
 *   soak_peers LOCATION [--peers N] [--boxes N] [--groups N] [--folder PATH] [--secret FILE]
 *              [--tick S] [--pace S] [--life S] [--kill S] [--idle] [--no-calls]
 *
 * Every --tick seconds it prints a line "tick NAME=NUMBER ...". It obeys lines: "pass" (with
 * --idle: each peer delivers one message; then "passed COUNT SECONDS"), "quit" (all leave; then
 * "end NAME=NUMBER ..."). */
#include "spec/soak/peer.h"

#include "core/base/clock.h"
#include "core/base/error.h"
#include "spec/core/check.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GROUPS = 100 };

struct crowd {
    struct soak_plan plan;
    unsigned groups;
    aco_time tick, kill; /* kill 0: never */
    pid_t pids[GROUPS];
    const char *secret_file;
};

/* A group -------------------------------------------------------------------------------------- */

static void
group_main(const struct crowd *c, unsigned group)
{
    struct soak_plan plan = c->plan;
    struct soak_peer *peers = calloc(plan.peers, sizeof *peers);
    pthread_t *threads = calloc(plan.peers, sizeof *threads);
    pthread_attr_t attr;
    unsigned count = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 << 10);
    for (unsigned number = group; number < plan.peers; number += c->groups) {
        peers[count] = (struct soak_peer){.plan = &plan, .number = number};
        CHECK(pthread_create(&threads[count], &attr, soak_peer_run, &peers[count]) == 0);
        count++;
    }
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    pthread_attr_destroy(&attr);
    free(peers);
    free(threads);
    exit(0);
}

static void
group_start(struct crowd *c, unsigned group)
{
    fflush(stdout);
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) group_main(c, group);
    c->pids[group] = pid;
}

static void
group_kill(struct crowd *c, unsigned group)
{
    struct soak_tally *t = &c->plan.shared->tally;

    kill(c->pids[group], SIGKILL);
    waitpid(c->pids[group], NULL, 0);
    atomic_fetch_add(&t->killed, (c->plan.peers - group + c->groups - 1) / c->groups);
    group_start(c, group);
}

/* One that ended by itself has failed. */
static void
groups_look(struct crowd *c)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        fprintf(stderr, "a group of peers ended by itself: status %x\n", (unsigned)status);
        atomic_fetch_add(&c->plan.shared->tally.faults, 1);
        for (unsigned i = 0; i < c->groups; i++)
            if (c->pids[i] == pid) group_start(c, i);
    }
}

/* All of them -----------------------------------------------------------------------------------
 */

static void
print(const struct crowd *c, const char *word)
{
    struct soak_tally *t = &c->plan.shared->tally;

    printf("%s joined=%lu left=%lu killed=%lu busy=%lu sent=%lu delivered=%lu called=%lu "
           "echoed=%lu located=%lu files=%lu lost=%lu faults=%lu stuck=%lu slowest=%.3f\n",
           word, atomic_load(&t->joined), atomic_load(&t->left), atomic_load(&t->killed),
           atomic_load(&t->busy), atomic_load(&t->sent), atomic_load(&t->delivered),
           atomic_load(&t->called), atomic_load(&t->echoed), atomic_load(&t->located),
           atomic_load(&t->files), atomic_load(&t->lost), atomic_load(&t->faults),
           atomic_load(&t->stuck), (double)atomic_exchange(&t->slowest, 0) / ACO_SECOND);
    fflush(stdout);
}

static void
pass(struct crowd *c)
{
    struct soak_shared *shared = c->plan.shared;
    aco_time start = aco_now();

    atomic_store(&shared->passed, 0);
    atomic_fetch_add(&shared->round, 1);
    while (atomic_load(&shared->passed) < c->plan.peers && aco_now() < start + 30 * ACO_SECOND)
        poll(NULL, 0, 10);
    printf("passed %lu %.2f\n", atomic_load(&shared->passed),
           (double)(aco_now() - start) / ACO_SECOND);
    fflush(stdout);
}

/* False: it is over. */
static bool
obey(struct crowd *c)
{
    char line[64];

    if (fgets(line, sizeof line, stdin) == NULL) return false;
    if (strcmp(line, "pass\n") != 0) return false;
    pass(c);
    return true;
}

static void
run(struct crowd *c)
{
    struct pollfd keys = {.fd = STDIN_FILENO, .events = POLLIN};
    aco_time tick = aco_now() + c->tick, strike = c->kill > 0 ? aco_now() + c->kill : ACO_NEVER;
    unsigned victim = 0;

    for (unsigned i = 0; i < c->groups; i++)
        group_start(c, i);
    for (;;) {
        aco_time now = aco_now(), next = tick < strike ? tick : strike;
        if (next > now && poll(&keys, 1, (int)((next - now) / (ACO_SECOND / 1000)) + 1) > 0 &&
            !obey(c))
            break;
        groups_look(c);
        now = aco_now();
        if (now >= strike) {
            group_kill(c, victim++ % c->groups);
            strike = now + c->kill;
        }
        if (now >= tick) {
            print(c, "tick");
            tick = now + c->tick;
        }
    }
    atomic_store(&c->plan.shared->stop, true);
    for (unsigned i = 0; i < c->groups; i++) {
        int status;
        waitpid(c->pids[i], &status, 0);
        if (status != 0) atomic_fetch_add(&c->plan.shared->tally.faults, 1);
    }
    print(c, "end");
}

/* The command line ----------------------------------------------------------------------------- */

/* Once, before there are groups: it takes its time. */
static void
secret_make(struct crowd *c)
{
    char text[256] = "", *why = NULL;
    struct aco_secret_options options = {.secret = NULL};
    FILE *file = c->secret_file != NULL ? fopen(c->secret_file, "r") : NULL;

    if (c->secret_file != NULL) {
        CHECK(file != NULL && fgets(text, sizeof text, file) != NULL);
        text[strcspn(text, "\r\n")] = '\0';
        fclose(file);
        options.secret = text;
        options.secret_size = strlen(text);
    }
    CHECK(aco_secret_new(&options, &c->plan.secret, &why) == ACO_OK);
}

static aco_time
seconds(const char *text)
{
    return (aco_time)(atof(text) * ACO_SECOND);
}

int
main(int argc, char **argv)
{
    static const struct option names[] = {
        {"peers", 1, NULL, 'p'}, {"boxes", 1, NULL, 'b'},    {"groups", 1, NULL, 'g'},
        {"pace", 1, NULL, 'a'},  {"life", 1, NULL, 'l'},     {"kill", 1, NULL, 'k'},
        {"tick", 1, NULL, 't'},  {"folder", 1, NULL, 'f'},   {"secret", 1, NULL, 's'},
        {"idle", 0, NULL, 'i'},  {"no-calls", 0, NULL, 'n'}, {NULL, 0, NULL, 0}};
    struct crowd c = {.plan = {.peers = 200,
                               .boxes = 1000,
                               .calls = true,
                               .folder = ".",
                               .pace = ACO_SECOND / 2,
                               .life = 40 * ACO_SECOND},
                      .groups = 20,
                      .tick = 5 * ACO_SECOND};

    for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        if (o == 'p') c.plan.peers = (unsigned)atoi(optarg);
        if (o == 'b') c.plan.boxes = (unsigned)atoi(optarg);
        if (o == 'g') c.groups = (unsigned)atoi(optarg);
        if (o == 'a') c.plan.pace = seconds(optarg);
        if (o == 'l') c.plan.life = seconds(optarg);
        if (o == 'k') c.kill = seconds(optarg);
        if (o == 't') c.tick = seconds(optarg);
        if (o == 'f') c.plan.folder = optarg;
        if (o == 's') c.secret_file = optarg;
        if (o == 'i') c.plan.idle = true;
        if (o == 'n') c.plan.calls = false;
        if (o == '?') return 1;
    }
    if (optind != argc - 1 || c.plan.peers == 0 || c.plan.peers > SOAK_PEERS || c.groups == 0 ||
        c.groups > GROUPS || c.plan.boxes == 0) {
        fprintf(stderr, "usage: soak_peers LOCATION [options]: see spec/soak/peers.c\n");
        return 1;
    }
    c.plan.target = argv[optind];
    secret_make(&c);
    c.plan.shared = mmap(NULL, sizeof *c.plan.shared, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(c.plan.shared != MAP_FAILED);
    run(&c);
    aco_secret_unref(c.plan.secret);
    return 0;
}
