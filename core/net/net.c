/* SPDX-License-Identifier: MIT */
#include "core/net/state.h"

#include "core/base/clock.h"
#include "core/net/interface.h"
#include "core/net/receiver.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS = 64 };

/* A loop that has not polled for so long is busy; one that waits for so long is idle. */
#define TAKE_OVER (ACO_SECOND / 1000)
#define PARK (ACO_SECOND / 100)

/* Codes ---------------------------------------------------------------------------------------- */

static const struct {
    uint8_t code;
    uint8_t err;
} codes[] = {{ACO_W_OK, ACO_OK},
             {ACO_W_NOTFOUND, ACO_ENOTFOUND},
             {ACO_W_CLOSED, ACO_ECLOSED},
             {ACO_W_TOOLARGE, ACO_ETOOLARGE},
             {ACO_W_DENIED, ACO_EDENIED},
             {ACO_W_PROTOCOL, ACO_EPROTOCOL},
             {ACO_W_UNSUPPORTED, ACO_EUNSUPPORTED},
             {ACO_W_BUSY, ACO_EBUSY},
             {ACO_W_TIMEOUT, ACO_ETIMEOUT},
             {ACO_W_AUTH, ACO_EAUTH},
             {ACO_W_DUPLICATE, ACO_EEXISTS},
             {ACO_W_SHUTDOWN, ACO_EPEERDOWN},
             {ACO_W_EXISTS, ACO_EEXISTS},
             {ACO_W_INVALID, ACO_EINVALID},
             {ACO_W_NOMEM, ACO_ENOMEM}};

int
aco_wire_error(uint8_t code)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == code) return codes[i].err;
    return ACO_EPROTOCOL;
}

uint8_t
aco_wire_code(int err)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].err == err) return codes[i].code;
    return ACO_W_PROTOCOL;
}

/* Descriptors and timers ----------------------------------------------------------------------- */

void
aco_net_watch_fd(aco_net *net, aco_source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    if (source->fd < 0 || source->events == events) return;
    int op = source->events == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    epoll_ctl(net->set, op, source->fd, &event);
    source->events = events;
}

/* Without memory for the timer the thread looks again at its next turn. */
void
aco_net_alarm(aco_net *net, aco_alarm *alarm, aco_time when)
{
    aco_timer_stop(&net->timers, &alarm->timer);
    if (when == ACO_NEVER) return;
    if (aco_timer_start(&net->timers, &alarm->timer, when) != ACO_OK) aco_net_kick(net);
}

/* Whoever polls shall look again: the loop that leads, and the thread, which has a door of its own:
 * the other one may have emptied the inbox's before it saw it. */
void
aco_net_kick(aco_net *net)
{
    uint64_t one = 1;

    aco_inbox_wake(net->inbox);
    if (!net->polls || net->kicked) return;
    net->kicked = true;
    while (write(net->door, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

/* Turns ---------------------------------------------------------------------------------------- */

static void
beacon_turn(aco_net *net, aco_time now)
{
    struct aco_sighting sighting;

    while (net->discovery != NULL && aco_discovery_turn(net->discovery, now, &sighting)) {
        if (net->ignores || sighting.kind == ACO_BEACON_LEAVE) continue;
        if (aco_peer_find(net, sighting.process) != NULL) continue;
        aco_place *place = aco_place_get(net, sighting.location);
        if (place != NULL) (void)aco_place_visit(place, NULL);
    }
    if (net->discovery != NULL)
        aco_net_alarm(net, &net->beacon_alarm, aco_discovery_next(net->discovery));
}

static void
source_event(aco_net *net, aco_source *source, uint32_t events, aco_time now)
{
    switch ((enum aco_source_kind)source->kind) {
    case ACO_SOURCE_INBOX:
        aco_inbox_drain(net->inbox);
        break;
    case ACO_SOURCE_LISTENER:
        aco_endpoint_accept(net, ACO_CONTAINER_OF(source, struct aco_listener, source));
        break;
    case ACO_SOURCE_CONNECTION:
        aco_connection_event(ACO_CONTAINER_OF(source, aco_connection, source), events);
        break;
    case ACO_SOURCE_INLET:
        aco_handover_take(net);
        break;
    case ACO_SOURCE_DISCOVERY:
        beacon_turn(net, now);
        break;
    }
}

static void
alarm_ring(aco_net *net, aco_alarm *alarm, aco_time now)
{
    switch ((enum aco_alarm_kind)alarm->kind) {
    case ACO_ALARM_CONNECTION:
        aco_connection_alarm(ACO_CONTAINER_OF(alarm, aco_connection, alarm), now);
        break;
    case ACO_ALARM_PLACE:
        aco_place_alarm(ACO_CONTAINER_OF(alarm, aco_place, alarm));
        break;
    case ACO_ALARM_DISCOVERY:
        beacon_turn(net, now);
        break;
    case ACO_ALARM_LISTENER:
        aco_endpoint_resume(net, ACO_CONTAINER_OF(alarm, struct aco_listener, alarm));
        break;
    }
}

static void
posts_take(aco_net *net)
{
    for (aco_post *post = aco_inbox_take(net->inbox); post != NULL;) {
        aco_post *next = post->next;
        if (post->kind == ACO_POST_JOB)
            aco_place_found(net, post->object);
        else
            aco_serve_post(net, post);
        aco_post_free(post);
        post = next;
    }
}

/* Write what there is, and what channels have to send since there is room. */
static void
dirty_flush(aco_net *net)
{
    do {
        atomic_store_explicit(&net->has_dirty, false, memory_order_relaxed);
        while (!aco_list_empty(&net->dirty)) {
            aco_connection *c = ACO_CONTAINER_OF(net->dirty.next, aco_connection, dirty_link);
            aco_link_remove(&c->dirty_link);
            c->dirty = false;
            if (!c->dead) aco_connection_flush(c);
        }
        aco_channels_give(net->process, aco_gate_cast);
    } while (!aco_list_empty(&net->dirty));
}

static void
dead_free(aco_net *net)
{
    while (!aco_list_empty(&net->dead))
        aco_connection_free(ACO_CONTAINER_OF(net->dead.next, aco_connection, link));
}

static void
turn(aco_net *net)
{
    struct epoll_event events[EVENTS];
    aco_time now = aco_now();

    int count = epoll_wait(net->set, events, EVENTS, 0);
    for (int i = 0; i < count; i++) {
        aco_source *source = events[i].data.ptr;
        if (source->events != 0) source_event(net, source, events[i].events, now);
    }
    posts_take(net);
    for (aco_timer *t; (t = aco_timers_pop(&net->timers, now)) != NULL;)
        alarm_ring(net, ACO_CONTAINER_OF(t, aco_alarm, timer), now);
    dirty_flush(net);
    dead_free(net);
    aco_serve_rest(net);
}

/* The loop that waits -------------------------------------------------------------------------- */

static void
companion_turn(void *arg)
{
    aco_net *net = arg;

    pthread_mutex_lock(&net->lock);
    if (net->running) turn(net);
    pthread_mutex_unlock(&net->lock);
}

static void
companion_flush(void *arg)
{
    aco_net *net = arg;

    if (!atomic_load_explicit(&net->has_dirty, memory_order_relaxed)) return;
    pthread_mutex_lock(&net->lock);
    if (net->running) dirty_flush(net);
    net->since = aco_now();
    pthread_mutex_unlock(&net->lock);
}

/* The loop has nothing to do: it leads from now on. A thread that polls just now will see that when
 * it wakes up. */
static bool
companion_idle(void *arg, aco_time *deadline)
{
    aco_net *net = arg;
    bool blocks = true;

    pthread_mutex_lock(&net->lock);
    if (net->running) {
        if (!net->polls) aco_inbox_awake(net->inbox); /* what was called for is done now */
        posts_take(net);
        dirty_flush(net);
        dead_free(net);
        blocks = aco_inbox_sleep(net->inbox);
        net->leads = true;
        net->since = aco_now();
        aco_time next = aco_timers_next(&net->timers);
        if (next < *deadline) *deadline = next;
    }
    pthread_mutex_unlock(&net->lock);
    return blocks;
}

static void
companion_busy(void *arg)
{
    aco_net *net = arg;

    pthread_mutex_lock(&net->lock);
    aco_time now = aco_now();
    if (net->running && aco_timers_next(&net->timers) <= now) turn(net);
    if (!net->polls)
        aco_inbox_awake(net->inbox);
    else if (!aco_inbox_sleep(net->inbox)) /* what is posted from now on wakes the thread */
        posts_take(net);
    net->leads = false;
    net->since = now;
    if (net->parked) pthread_cond_signal(&net->called);
    pthread_mutex_unlock(&net->lock);
}

int
aco_net_attach(aco_net *net, aco_loop *loop)
{
    pthread_mutex_lock(&net->lock);
    int err = !net->running ? ACO_EPEERDOWN : net->loop != NULL ? ACO_EEXISTS : ACO_OK;
    if (net->running && net->loop == loop) err = ACO_OK;
    if (err == ACO_OK && net->loop == NULL) {
        net->companion = (aco_companion){.fd = net->set,
                                         .turn = companion_turn,
                                         .flush = companion_flush,
                                         .idle = companion_idle,
                                         .busy = companion_busy,
                                         .arg = net};
        err = aco_loop_accompany(loop, &net->companion);
        if (err == ACO_OK) net->loop = loop;
        net->since = aco_now();
    }
    pthread_mutex_unlock(&net->lock);
    return err;
}

void
aco_net_detach(aco_net *net, aco_loop *loop)
{
    pthread_mutex_lock(&net->lock);
    if (net->loop == loop) {
        if (aco_loop_accompany(loop, NULL) == ACO_OK) net->loop = NULL;
        net->leads = false;
        pthread_cond_signal(&net->called);
    }
    pthread_mutex_unlock(&net->lock);
}

/* The thread ----------------------------------------------------------------------------------- */

static void
thread_wait(aco_net *net, aco_time deadline)
{
    struct pollfd doors[] = {{.fd = net->set, .events = POLLIN},
                             {.fd = net->door, .events = POLLIN}};
    struct timespec ts = {.tv_sec = 0};

    if (!aco_inbox_sleep(net->inbox)) return;
    if (deadline != ACO_NEVER) {
        aco_time left = deadline - aco_now();
        if (left < 0) left = 0;
        ts = (struct timespec){.tv_sec = left / ACO_SECOND, .tv_nsec = left % ACO_SECOND};
    }
    ppoll(doors, 2, deadline == ACO_NEVER ? NULL : &ts, NULL);
}

/* How long the thread may rest: while a loop leads, or has stopped doing so only just now. */
static aco_time
thread_rest(const aco_net *net)
{
    if (net->loop == NULL || net->closing) return 0;
    aco_time passed = aco_now() - net->since;
    if (net->leads) return passed < PARK ? TAKE_OVER : ACO_NEVER;
    return passed < TAKE_OVER ? TAKE_OVER - passed : 0;
}

static void
thread_park(aco_net *net, aco_time rest)
{
    struct timespec until;

    net->parked = rest == ACO_NEVER;
    if (net->parked) {
        pthread_cond_wait(&net->called, &net->lock);
    } else {
        aco_time end = aco_now() + rest;
        until = (struct timespec){.tv_sec = end / ACO_SECOND, .tv_nsec = end % ACO_SECOND};
        pthread_cond_timedwait(&net->called, &net->lock, &until);
    }
    net->parked = false;
}

static void
door_empty(aco_net *net)
{
    uint64_t count;

    if (net->kicked && read(net->door, &count, sizeof count) > 0) net->kicked = false;
}

static void *
thread_main(void *arg)
{
    aco_net *net = arg;

    pthread_mutex_lock(&net->lock);
    while (!net->stop) {
        aco_time rest = thread_rest(net);
        if (rest > 0) {
            thread_park(net, rest);
            continue;
        }
        turn(net);
        pthread_cond_broadcast(&net->changed);
        aco_time next = aco_timers_next(&net->timers);
        net->polls = true;
        pthread_mutex_unlock(&net->lock);
        thread_wait(net, next);
        pthread_mutex_lock(&net->lock);
        net->polls = false;
        door_empty(net);
        if (!net->leads) aco_inbox_awake(net->inbox);
    }
    pthread_mutex_unlock(&net->lock);
    return NULL;
}

static int
thread_start(aco_net *net)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&net->thread, NULL, thread_main, net);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err == 0 ? ACO_OK : ACO_ESYSTEM;
}

/* Start ---------------------------------------------------------------------------------------- */

static aco_net *
net_make(aco_process *process)
{
    aco_net *net = calloc(1, sizeof *net);
    pthread_condattr_t attr;

    if (net == NULL) return NULL;
    net->gate.ops = &aco_net_gate;
    net->process = process;
    net->set = net->door = -1;
    net->bell.fd = net->beacon.fd = -1;
    pthread_mutex_init(&net->lock, NULL);
    pthread_cond_init(&net->changed, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&net->called, &attr);
    pthread_condattr_destroy(&attr);
    net->inlet.source.fd = -1;
    aco_list_init(&net->servers);
    aco_list_init(&net->connections);
    aco_list_init(&net->dead);
    aco_list_init(&net->dirty);
    aco_list_init(&net->places);
    aco_list_init(&net->searches);
    aco_list_init(&net->peers);
    aco_list_init(&net->status);
    aco_timers_init(&net->timers);
    return net;
}

aco_net *
aco_net_of(aco_process *process)
{
    aco_gate *gate = aco_process_gate(process);

    return gate != NULL && gate->ops == &aco_net_gate ? (aco_net *)gate : NULL;
}

static void
why_set(char **why, const char *text)
{
    free(*why);
    *why = strdup(text);
}

static int
net_open_kernel(aco_net *net, char **why)
{
    if (net->set >= 0 && net->pid != getpid()) { /* the parent's */
        close(net->set);
        net->set = -1;
    }
    if (net->set < 0) net->set = epoll_create1(EPOLL_CLOEXEC);
    net->pid = getpid();
    net->inbox = aco_inbox_new();
    net->door = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    net->kicked = false;
    if (net->set < 0 || net->door < 0 || net->inbox == NULL) {
        why_set(why, "no descriptor is free for the network");
        return ACO_ELIMIT;
    }
    net->seat = aco_seat_take(net->process, net->inbox);
    if (net->seat == NULL) return ACO_ENOMEM;
    net->bell = (aco_source){.kind = ACO_SOURCE_INBOX, .fd = aco_inbox_fd(net->inbox)};
    aco_net_watch_fd(net, &net->bell, EPOLLIN);
    return ACO_OK;
}

static void
net_options(aco_net *net, const struct aco_net_options *options)
{
    net->heartbeat = options->heartbeat > 0 ? options->heartbeat : ACO_NET_HEARTBEAT;
    net->timeout = options->peer_timeout > 0 ? options->peer_timeout : 3 * net->heartbeat;
    net->queue_limit = options->queue_limit > 0 ? options->queue_limit : ACO_NET_QUEUE_LIMIT;
    net->code = options->code;
    net->ignores = false;
    net->secret = aco_secret_ref(options->secret);
    const char *name = options->name != NULL ? options->name : net->location;
    snprintf(net->name, sizeof net->name, "%.*s", ACO_NAME_MAX, name);
}

/* True when the program said at which address it listens. */
static bool
is_bound(const struct aco_net_options *options)
{
    return options->host != NULL && strcmp(options->host, "0.0.0.0") != 0 &&
           strcmp(options->host, "::") != 0;
}

/* Without a secret, and where only loopback listens, no other machine is to hear of it. */
static bool
is_local(const aco_net *net, const struct aco_net_options *options)
{
    aco_address at;

    return aco_secret_mode(net->secret) == ACO_MODE_KEY ||
           (is_bound(options) && aco_address_parse(&at, options->host, 0) == ACO_OK &&
            aco_address_is_loopback(&at));
}

static int
net_discovery(aco_net *net, const struct aco_net_options *options, char **why)
{
    struct aco_discovery_options d = {.broadcast = options->broadcast,
                                      .multicast = options->multicast,
                                      .guessed = options->advertise == NULL && !is_bound(options),
                                      .v4 = true,
                                      .v6 = net->has_v6,
                                      .port = options->discovery_port,
                                      .location = net->location,
                                      .name = net->name,
                                      .loopback = is_local(net, options)};

    if (!d.broadcast && !d.multicast) return ACO_OK;
    memcpy(d.process, aco_process_id(net->process), sizeof d.process);
    aco_secret_key(net->secret, "discovery", d.key);
    int err = aco_discovery_open(&d, &net->discovery, why);
    if (err != ACO_OK) return err;
    net->beacon =
        (aco_source){.kind = ACO_SOURCE_DISCOVERY, .fd = aco_discovery_fd(net->discovery)};
    net->beacon_alarm.kind = ACO_ALARM_DISCOVERY;
    aco_net_watch_fd(net, &net->beacon, EPOLLIN);
    aco_net_alarm(net, &net->beacon_alarm, aco_discovery_next(net->discovery));
    return ACO_OK;
}

static int
net_peers(aco_net *net, const struct aco_net_options *options, char **why)
{
    for (size_t i = 0; i < options->peer_count; i++) {
        aco_place *place = aco_place_get(net, options->peers[i]);
        if (place == NULL) {
            free(*why);
            if (asprintf(why, "'%s' is no location: host:port is expected", options->peers[i]) < 0)
                *why = NULL;
            return ACO_EINVALID;
        }
        place->permanent = true;
        (void)aco_place_visit(place, NULL);
    }
    return ACO_OK;
}

static int
net_files(aco_net *net, const struct aco_net_options *options, char **why)
{
    const struct aco_receiver_options files = {.dest_path = options->dest_path,
                                               .max_file_size = options->max_file_size,
                                               .secret = net->secret};

    free(*why);
    return aco_receiver_new(&files, &net->receiver, why);
}

/* Give back what a start, or a part of one, has taken. */
static void
net_free_parts(aco_net *net)
{
    if (net->discovery != NULL) {
        aco_net_watch_fd(net, &net->beacon, 0);
        aco_discovery_close(net->discovery);
    }
    net->discovery = NULL;
    net->beacon.fd = -1;
    net->beacon.events = 0;
    aco_endpoint_close(net);
    aco_places_free(net);
    aco_receiver_close(net->receiver);
    net->receiver = NULL;
    if (net->seat != NULL) aco_seat_leave(net->seat);
    net->seat = NULL;
    if (net->inbox != NULL) {
        aco_net_watch_fd(net, &net->bell, 0);
        aco_inbox_close(net->inbox);
        aco_inbox_unref(net->inbox);
    }
    net->inbox = NULL;
    aco_timers_fini(&net->timers);
    aco_timers_init(&net->timers);
    if (net->door >= 0) close(net->door);
    net->door = -1;
    net->bell.events = 0;
    aco_secret_unref(net->secret);
    net->secret = NULL;
}

static int
net_open(aco_net *net, const struct aco_net_options *options, char **why)
{
    int err = net_open_kernel(net, why);

    if (err != ACO_OK) return err;
    net->stop = net->closing = false; /* of the last one, perhaps */
    net->secret = aco_secret_ref(options->secret);
    err = aco_endpoint_open(net, options, why);
    if (err != ACO_OK) return err;
    aco_secret_unref(net->secret);
    net_options(net, options);
    err = net_files(net, options, why);
    if (err == ACO_OK) err = net_discovery(net, options, why);
    if (err == ACO_OK) err = net_peers(net, options, why);
    if (err == ACO_OK) err = aco_process_set_route(net->process, net->location);
    if (err == ACO_OK) err = thread_start(net);
    return err;
}

int
aco_net_start(aco_process *process, const struct aco_net_options *options, char **why)
{
    aco_net *net = aco_net_of(process);

    *why = NULL;
    if (net == NULL) {
        net = net_make(process);
        if (net == NULL) return ACO_ENOMEM;
        aco_process_set_gate(process, &net->gate);
    }
    pthread_mutex_lock(&net->lock);
    int err = net->running ? ACO_EEXISTS : net_open(net, options, why);
    if (err == ACO_OK)
        net->running = true;
    else if (err != ACO_EEXISTS)
        net_free_parts(net);
    pthread_mutex_unlock(&net->lock);
    return err;
}

bool
aco_net_running(aco_net *net)
{
    pthread_mutex_lock(&net->lock);
    bool running = net->running;
    pthread_mutex_unlock(&net->lock);
    return running;
}

bool
aco_net_dest_path(aco_net *net, char *path, size_t size)
{
    pthread_mutex_lock(&net->lock);
    bool known = net->receiver != NULL && aco_receiver_path(net->receiver, path, size);
    pthread_mutex_unlock(&net->lock);
    return known;
}

void
aco_net_stats(aco_net *net, struct aco_net_stats *stats)
{
    struct aco_receiver_stats files;

    pthread_mutex_lock(&net->lock);
    *stats = net->stats;
    stats->peers = 0;
    for (aco_link *l = net->peers.next; l != &net->peers; l = l->next)
        stats->peers += ACO_CONTAINER_OF(l, aco_peer, link)->up;
    if (net->receiver != NULL) {
        aco_receiver_stats(net->receiver, &files);
        stats->refused += files.refused;
        if (stats->refusal[0] == '\0' && files.refused > 0)
            snprintf(stats->refusal, sizeof stats->refusal, "a file: %.300s", files.refusal);
    }
    pthread_mutex_unlock(&net->lock);
}

aco_secret *
aco_net_secret(aco_net *net)
{
    pthread_mutex_lock(&net->lock);
    aco_secret *secret = net->secret != NULL ? aco_secret_ref(net->secret) : NULL;
    pthread_mutex_unlock(&net->lock);
    return secret;
}

void
aco_net_discover(aco_net *net)
{
    pthread_mutex_lock(&net->lock);
    if (net->discovery != NULL) {
        aco_discovery_ask(net->discovery);
        aco_net_alarm(net, &net->beacon_alarm, aco_discovery_next(net->discovery));
        aco_net_kick(net);
    }
    pthread_mutex_unlock(&net->lock);
}

void
aco_net_discovery_text(aco_net *net, char *text, size_t size)
{
    *text = '\0';
    pthread_mutex_lock(&net->lock);
    if (net->discovery != NULL) {
        const uint64_t refused = aco_discovery_refused(net->discovery);
        aco_discovery_describe(net->discovery, text, size);
        const size_t at = strlen(text);
        if (refused > 0 && at < size)
            snprintf(text + at, size - at, "; datagrams refused: %llu, last that of %s",
                     (unsigned long long)refused, aco_discovery_refusal(net->discovery));
    }
    pthread_mutex_unlock(&net->lock);
}

void
aco_net_ignore_peers(aco_net *net, bool ignore)
{
    pthread_mutex_lock(&net->lock);
    net->ignores = ignore;
    if (net->discovery != NULL) aco_discovery_mute(net->discovery, ignore);
    pthread_mutex_unlock(&net->lock);
}

/* End ------------------------------------------------------------------------------------------ */

static size_t
unsent(const aco_net *net)
{
    size_t bytes = 0;

    for (aco_link *l = net->peers.next; l != &net->peers; l = l->next)
        bytes += aco_outq_size(&ACO_CONTAINER_OF(l, aco_peer, link)->queue);
    return bytes;
}

/* Wait, without the lock, for the thread's next turn. */
static bool
turn_await(aco_net *net, aco_time deadline)
{
    struct timespec until;
    aco_time left = deadline - aco_now();

    if (left <= 0) return false;
    if (left > ACO_SECOND / 50) left = ACO_SECOND / 50;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += left % ACO_SECOND;
    if (until.tv_nsec >= ACO_SECOND) {
        until.tv_sec++;
        until.tv_nsec -= ACO_SECOND;
    }
    aco_net_kick(net);
    pthread_cond_timedwait(&net->changed, &net->lock, &until);
    return true;
}

static void
leave_all(aco_net *net)
{
    for (aco_link *l = net->connections.next, *next; l != &net->connections; l = next) {
        aco_connection *c = ACO_CONTAINER_OF(l, aco_connection, link);
        next = l->next;
        aco_connection_bye(c, ACO_W_SHUTDOWN, "the process ends its network");
    }
}

size_t
aco_net_close(aco_net *net, aco_time deadline)
{
    pthread_mutex_lock(&net->lock);
    if (!net->running || net->closing) {
        pthread_mutex_unlock(&net->lock);
        return 0;
    }
    net->closing = true;
    pthread_cond_signal(&net->called);
    aco_endpoint_close(net);
    posts_take(net); /* the ends of coros, and answers, of which others have to hear */
    while (unsent(net) > 0 && turn_await(net, deadline))
        continue;
    size_t lost = unsent(net);
    leave_all(net);
    while (!aco_list_empty(&net->connections) && turn_await(net, deadline))
        continue;
    while (!aco_list_empty(&net->connections))
        aco_connection_lose(ACO_CONTAINER_OF(net->connections.next, aco_connection, link),
                            ACO_EPEERDOWN, "the process ends its network");
    while (!aco_list_empty(&net->peers))
        aco_peer_lost(ACO_CONTAINER_OF(net->peers.next, aco_peer, link),
                      "this process ends its network");
    aco_searches_end(net);
    aco_serve_end(net);
    net->stop = true;
    aco_net_kick(net);
    pthread_mutex_unlock(&net->lock);
    pthread_join(net->thread, NULL);
    pthread_mutex_lock(&net->lock);
    dead_free(net);
    net->running = false;
    net_free_parts(net);
    pthread_mutex_unlock(&net->lock);
    aco_channels_flush(net->process); /* what is left for others is dropped */
    if (aco_process_set_route(net->process, "") != ACO_OK) return lost; /* it keeps the old one */
    return lost;
}

void
aco_net_free(aco_gate *gate)
{
    aco_net *net = (aco_net *)gate;

    while (!aco_list_empty(&net->status)) {
        struct aco_status *s = ACO_CONTAINER_OF(net->status.next, struct aco_status, link);
        aco_link_remove(&s->link);
        aco_mailbox_unref(s->mailbox);
        free(s);
    }
    aco_map_free(&net->by_id);
    aco_map_free(&net->by_serial);
    aco_map_free(&net->records);
    aco_map_free(&net->full);
    aco_timers_fini(&net->timers);
    aco_buf_free(&net->spare);
    if (net->set >= 0) close(net->set);
    pthread_cond_destroy(&net->changed);
    pthread_cond_destroy(&net->called);
    pthread_mutex_destroy(&net->lock);
    free(net);
}
