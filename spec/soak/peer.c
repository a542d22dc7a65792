/* SPDX-License-Identifier: MIT */
#include "spec/soak/peer.h"

#include "core/base/clock.h"
#include "core/base/msgpack.h"
#include "core/net/location.h"
#include "core/net/offer.h"
#include "core/net/transfer.h"
#include "spec/core/side.h"

#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

/* What the coros of the target understand: {slot, life, number, what, ...}. */
enum { MESSAGE_COUNT, MESSAGE_ECHO, MESSAGE_CHECK, MESSAGE_JOIN };
enum { FLIGHT = 16, PADDING = 1500 };

#define PATIENCE (90 * ACO_SECOND) /* for any answer; the target may be busy */

enum { TOKEN_LOCATE = 1000, TOKEN_CALL, TOKEN_CHECK, TOKEN_PASS };

/* A coro of the target. */
struct box {
    aco_export *x;
    unsigned sent, echoed, echo_wanted;
};

struct flight {
    unsigned box, number; /* number 0: none */
    aco_time since;
};

struct life {
    const struct soak_plan *plan;
    struct soak_slot *slot;
    struct soak_tally *tally;
    unsigned number, life, span, step, round;
    uint32_t seed;
    unsigned due[SOAK_SPAN]; /* what the life before this one had confirmed */
    struct side side;
    struct box boxes[SOAK_SPAN];
    struct flight flights[FLIGHT];
    unsigned flying;
    unsigned call_box, call_number; /* number 0: none */
    aco_post *answer;               /* to a locate, a check */
    aco_transfer *transfer;
    bool broken; /* the target was lost */
};

static unsigned
dice(struct life *p, unsigned sides)
{
    p->seed = p->seed * 1664525 + 1013904223;
    return (p->seed >> 8) % sides;
}

static void
complain(struct life *p, atomic_ulong *counter, const char *format, ...)
{
    va_list args;
    char text[200];

    if (atomic_fetch_add(counter, 1) >= 20) return; /* they will be alike */
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "peer %u, life %u: %s\n", p->number, p->life, text);
}

static unsigned
box_number(const struct life *p, unsigned i)
{
    return (p->number * p->step + i) % p->plan->boxes + 1;
}

/* Messages ------------------------------------------------------------------------------------- */

static aco_parcel *
message(struct life *p, unsigned life, unsigned number, int what, bool padded,
        const aco_return *reply)
{
    uint8_t bytes[128 + ACO_HANDLE_VALUE_MAX + PADDING], *at = bytes;
    bool with_handle = what == MESSAGE_ECHO || what == MESSAGE_JOIN;

    at = aco_mp_array(at, with_handle || padded ? 5 : 4);
    at = aco_mp_int(at, p->number);
    at = aco_mp_int(at, life);
    at = aco_mp_int(at, number);
    at = aco_mp_int(at, what);
    if (with_handle) {
        at += aco_export_value(p->side.coro, at);
    } else if (padded) {
        uint32_t size = dice(p, PADDING);
        at = aco_mp_bin(at, size);
        memset(at, 'x', size);
        at += size;
    }
    aco_msg *msg = aco_msg_new(bytes, (size_t)(at - bytes));
    aco_parcel *parcel = aco_parcel_new(msg, reply);
    aco_msg_unref(msg);
    return parcel;
}

static bool
put(struct life *p, aco_export *x, aco_parcel *parcel, enum aco_put how)
{
    int err = aco_export_put(x, parcel, (int)how, NULL);

    if (err == ACO_OK || err == ACO_PENDING) return true;
    aco_parcel_free(parcel);
    if (err == ACO_EBUSY) return false;
    complain(p, &p->tally->lost, "a message to %s: %s", x->name, aco_err_text(err));
    p->broken = true;
    return false;
}

static aco_return
here(const struct life *p, uint64_t token)
{
    return (aco_return){.inbox = p->side.inbox, .task = 1, .token = token};
}

/* What comes ----------------------------------------------------------------------------------- */

static void
delivered(struct life *p, struct flight *f, int err)
{
    aco_time took = aco_now() - f->since;
    unsigned long slowest = atomic_load(&p->tally->slowest);

    if (err != ACO_OK) {
        complain(p, &p->tally->lost, "a delivery: %s", aco_err_text(err));
        p->broken = true;
    } else {
        atomic_fetch_add(&p->tally->delivered, 1);
        if (f->number > atomic_load(&p->slot->confirmed[f->box]))
            atomic_store(&p->slot->confirmed[f->box], f->number);
        while ((unsigned long)took > slowest &&
               !atomic_compare_exchange_weak(&p->tally->slowest, &slowest, (unsigned long)took))
            continue;
    }
    f->number = 0;
    p->flying--;
}

static bool
is_integer(aco_msg *msg, int64_t wanted)
{
    aco_mp_item item;

    if (msg == NULL) return false;
    const uint8_t *data = aco_msg_data(msg);
    aco_mp_reader reader = {.at = data, .end = data + aco_msg_size(msg)};
    return aco_mp_next(&reader, &item) == ACO_OK && item.type == ACO_MP_INT &&
           item.u.integer == wanted;
}

static void
called(struct life *p, const aco_post *post)
{
    if (post->err != ACO_OK) {
        complain(p, &p->tally->lost, "a call: %s", aco_err_text(post->err));
        p->broken = true;
    } else if (!is_integer(post->msg, p->call_number)) {
        complain(p, &p->tally->faults, "the answer to call %u is wrong", p->call_number);
    } else {
        atomic_fetch_add(&p->tally->called, 1);
    }
    p->call_number = 0;
}

static void
sent_file(struct life *p)
{
    aco_transfer *t = p->transfer;

    p->transfer = NULL;
    if (t->err == ACO_OK)
        atomic_fetch_add(&p->tally->files, 1);
    else if (t->err == ACO_EBUSY || t->err == ACO_EREFUSED) /* too many at once */
        atomic_fetch_add(&p->tally->busy, 1);
    else
        complain(p, &p->tally->faults, "a file: %s", t->why);
    aco_job_unref(&t->job);
}

static void
post_take(struct life *p, aco_post *post)
{
    if (post->kind == ACO_POST_MAIL) {
        aco_mailbox_unref(aco_mailbox_noticed(post));
        return;
    }
    if (post->kind == ACO_POST_JOB && p->transfer != NULL && post->object == &p->transfer->job)
        sent_file(p);
    if (post->kind == ACO_POST_REPLY && post->token < FLIGHT) {
        delivered(p, &p->flights[post->token], post->err);
    } else if (post->kind == ACO_POST_REPLY && post->token == TOKEN_CALL) {
        called(p, post);
    } else if (post->kind == ACO_POST_REPLY) {
        if (p->answer != NULL) aco_post_free(p->answer);
        p->answer = post;
        return;
    }
    aco_post_free(post);
}

/* An echo is {box, number}. Those of a box come in order, none is missing. */
static void
echo_take(struct life *p, aco_msg *msg)
{
    const uint8_t *data = aco_msg_data(msg);
    aco_mp_reader reader = {.at = data, .end = data + aco_msg_size(msg)};
    aco_mp_item item, from, number;

    if (aco_mp_next(&reader, &item) != ACO_OK || item.type != ACO_MP_ARRAY || item.size != 2 ||
        aco_mp_next(&reader, &from) != ACO_OK || aco_mp_next(&reader, &number) != ACO_OK)
        return; /* the target's call that is never answered */
    for (unsigned i = 0; i < p->span; i++) {
        struct box *box = &p->boxes[i];
        if (from.u.integer != box_number(p, i)) continue;
        if (number.u.integer != box->echoed + 1)
            complain(p, &p->tally->faults, "echo %d of box %d after %u", (int)number.u.integer,
                     (int)from.u.integer, box->echoed);
        box->echoed = (unsigned)number.u.integer;
        atomic_fetch_add(&p->tally->echoed, 1);
    }
}

static void
pump(struct life *p, aco_time until)
{
    struct pollfd door = {.fd = aco_inbox_fd(p->side.inbox), .events = POLLIN};
    aco_time rest = until - aco_now();
    aco_entry entry;

    if (rest > 0 && aco_inbox_sleep(p->side.inbox))
        poll(&door, 1, (int)(rest / (ACO_SECOND / 1000)) + 1);
    aco_inbox_awake(p->side.inbox);
    aco_inbox_drain(p->side.inbox);
    for (aco_post *post = aco_inbox_take(p->side.inbox), *next; post != NULL; post = next) {
        next = post->next;
        post_take(p, post);
    }
    while (aco_mailbox_pop(NULL, p->side.mailbox, &entry)) {
        echo_take(p, entry.tag == ACO_ENTRY_PARCEL ? entry.u.parcel->msg : entry.u.msg);
        aco_entry_free(&entry);
    }
}

/* The answer to a locate or a check; NULL: none in time. */
static aco_post *
answer_await(struct life *p, uint64_t token)
{
    aco_time end = aco_now() + PATIENCE;

    while (aco_now() < end) {
        aco_post *post = p->answer;
        p->answer = NULL;
        if (post != NULL && post->token == token) return post;
        if (post != NULL) aco_post_free(post);
        pump(p, end);
    }
    complain(p, &p->tally->stuck, "an answer has not come");
    p->broken = true;
    return NULL;
}

/* A life --------------------------------------------------------------------------------------- */

static void
life_open(struct life *p)
{
    struct aco_net_options options = {
        .secret = p->plan->secret, .host = "127.0.0.1", .dest_path = ""};
    char name[32];

    snprintf(name, sizeof name, "peer %u", p->number);
    options.name = name;
    side_start(&p->side, 1, 0, &options);
    for (unsigned i = 0; i < p->span; i++)
        p->due[i] = atomic_exchange(&p->slot->confirmed[i], 0);
    p->life = atomic_fetch_add(&p->slot->life, 1) + 1;
}

static void
life_close(struct life *p)
{
    size_t unsent = aco_net_close(p->side.net, aco_now() + 20 * ACO_SECOND);
    if (unsent > 0) complain(p, &p->tally->stuck, "%zu bytes were not sent at the end", unsent);
    if (p->answer != NULL) aco_post_free(p->answer);
    for (unsigned i = 0; i < p->span; i++)
        aco_export_unref(p->boxes[i].x);
    side_end(&p->side);
}

/* A name of the target; ACO_EPEERDOWN: it is too busy to let anybody in just now. */
static int
locate(struct life *p, const char *name, aco_export **x)
{
    aco_gate *gate = aco_process_gate(p->side.process);
    aco_return me = here(p, TOKEN_LOCATE);
    int err = gate->ops->locate(gate, p->plan->target, name, strlen(name), false, &me);

    *x = NULL;
    if (err != ACO_OK && err != ACO_PENDING) return err;
    aco_post *post = answer_await(p, TOKEN_LOCATE);
    if (post == NULL) return ACO_ETIMEOUT;
    err = post->err;
    if (err == ACO_OK) {
        aco_identity identity;
        char route[ACO_ROUTE_MAX + 1], coro[ACO_NAME_MAX + 1];
        const uint8_t *data = aco_msg_data(post->msg);
        aco_mp_reader reader = {.at = data, .end = data + aco_msg_size(post->msg)};
        aco_mp_item item;
        CHECK(aco_mp_next(&reader, &item) == ACO_OK && item.type == ACO_MP_EXT && item.ext == 1);
        CHECK(aco_handle_read(item.u.data, item.size, &identity, route, coro));
        *x = aco_export_far(p->side.process, &identity, ACO_KIND_CORO, route, name);
        atomic_fetch_add(&p->tally->located, 1);
    }
    aco_post_free(post);
    return err;
}

/* Get in, as often as it takes: the target lets in so many at once. */
static bool
life_join(struct life *p)
{
    char name[32];
    aco_export *x = NULL;
    int err;

    while ((err = locate(p, "watcher", &x)) != ACO_OK) {
        if (atomic_load(&p->plan->shared->stop) || p->broken) return false;
        if (err == ACO_ENOTFOUND) complain(p, &p->tally->faults, "there is no watcher");
        atomic_fetch_add(&p->tally->busy, 1);
        pump(p, aco_now() + ACO_SECOND / 10 + dice(p, 400) * (ACO_SECOND / 1000));
    }
    if (!p->plan->idle) put(p, x, message(p, p->life, 0, MESSAGE_JOIN, false, NULL), ACO_PUT_SEND);
    aco_export_unref(x);
    for (unsigned i = 0; i < p->span; i++) {
        snprintf(name, sizeof name, "box %u", box_number(p, i));
        err = locate(p, name, &p->boxes[i].x);
        if (err == ACO_OK) continue;
        complain(p, &p->tally->lost, "locating %s: %s", name, aco_err_text(err));
        p->broken = true;
        return false;
    }
    atomic_fetch_add(&p->tally->joined, 1);
    return true;
}

/* All that the life before this one had confirmed must be there. */
static void
due_check(struct life *p)
{
    aco_return me = here(p, TOKEN_CHECK);

    for (unsigned i = 0; i < p->span && p->plan->calls && !p->broken; i++) {
        if (p->due[i] == 0) continue;
        if (!put(p, p->boxes[i].x, message(p, p->life - 1, p->due[i], MESSAGE_CHECK, false, &me),
                 ACO_PUT_CALL))
            continue;
        aco_post *post = answer_await(p, TOKEN_CHECK);
        if (post == NULL) return;
        if (post->err != ACO_OK)
            complain(p, &p->tally->lost, "a check: %s", aco_err_text(post->err));
        else if (!is_integer(post->msg, p->due[i]))
            complain(p, &p->tally->faults, "%u was confirmed by box %u and has not come", p->due[i],
                     box_number(p, i));
        aco_post_free(post);
    }
}

static void
send_one(struct life *p)
{
    struct box *box = &p->boxes[dice(p, p->span)];

    if (!put(p, box->x, message(p, p->life, box->sent + 1, MESSAGE_COUNT, true, NULL),
             ACO_PUT_SEND))
        return;
    box->sent++;
    atomic_fetch_add(&p->tally->sent, 1);
}

static void
deliver_one(struct life *p)
{
    unsigned i = dice(p, p->span), slot = 0;

    if (p->flying == FLIGHT) return;
    while (p->flights[slot].number != 0)
        slot++;
    struct box *box = &p->boxes[i];
    aco_return me = here(p, slot);
    p->flights[slot] = (struct flight){.box = i, .number = box->sent + 1, .since = aco_now()};
    p->flying++;
    if (put(p, box->x, message(p, p->life, box->sent + 1, MESSAGE_COUNT, true, &me),
            ACO_PUT_DELIVER)) {
        box->sent++;
        return;
    }
    p->flights[slot].number = 0;
    p->flying--;
}

static void
call_one(struct life *p)
{
    unsigned i = dice(p, p->span);
    struct box *box = &p->boxes[i];
    aco_return me = here(p, TOKEN_CALL);

    if (p->call_number != 0) return;
    if (!put(p, box->x, message(p, p->life, box->sent + 1, MESSAGE_COUNT, true, &me), ACO_PUT_CALL))
        return;
    p->call_number = ++box->sent;
}

static void
echo_one(struct life *p)
{
    struct box *box = &p->boxes[dice(p, p->span)];

    if (!put(p, box->x, message(p, p->life, box->sent + 1, MESSAGE_ECHO, false, NULL),
             ACO_PUT_SEND))
        return;
    box->sent++;
    box->echo_wanted++;
}

static void
locate_one(struct life *p)
{
    char name[32];
    aco_export *x;
    bool there = dice(p, 4) != 0;

    snprintf(name, sizeof name, there ? "box %u" : "nobody %u", dice(p, p->plan->boxes) + 1);
    int err = locate(p, name, &x);
    aco_export_unref(x);
    if (err != (there ? ACO_OK : ACO_ENOTFOUND))
        complain(p, &p->tally->faults, "locating %s: %s", name, aco_err_text(err));
}

static void
send_file(struct life *p)
{
    char path[512];
    aco_location where;

    if (p->transfer != NULL) return;
    CHECK(aco_location_parse(&where, p->plan->target, strlen(p->plan->target), NULL) == ACO_OK);
    struct aco_transfer_options options = {.host = where.host,
                                           .port = where.port,
                                           .secret = p->plan->secret,
                                           .flags = ACO_OFFER_OVERWRITE};
    snprintf(path, sizeof path, "%s/file %u", p->plan->folder, p->number % 20);
    char dir[32];
    snprintf(dir, sizeof dir, "of %u", p->number);
    options.dir = dir;
    p->transfer = aco_transfer_send(&options, path);
    CHECK(p->transfer != NULL);
    if (aco_job_post(aco_process_pool(p->side.process), p->side.inbox, &p->transfer->job) !=
        ACO_OK) {
        aco_job_unref(&p->transfer->job);
        p->transfer = NULL;
    }
}

static void
act(struct life *p)
{
    unsigned round = ++p->round;

    for (int i = 0; i < 3; i++)
        send_one(p);
    deliver_one(p);
    if (round % 20 == 0) locate_one(p);
    if (round % 40 == 10) send_file(p);
    if (!p->plan->calls) return;
    if (round % 3 == 0) call_one(p);
    if (round % 3 == 1) echo_one(p);
}

static bool
is_owed(const struct life *p)
{
    for (unsigned i = 0; i < p->span; i++)
        if (p->boxes[i].echoed < p->boxes[i].echo_wanted) return true;
    return p->flying > 0 || p->call_number != 0 || p->transfer != NULL;
}

/* Everything that was asked for is answered. */
static void
settle(struct life *p)
{
    aco_time end = aco_now() + PATIENCE;

    while ((is_owed(p) && !p->broken && aco_now() < end) ||
           (p->transfer != NULL && aco_now() < end))
        pump(p, aco_now() + ACO_SECOND / 10);
    if (!p->broken && is_owed(p))
        complain(p, &p->tally->stuck, "%u deliveries, call %u, or an echo: no end", p->flying,
                 p->call_number);
    for (unsigned i = 0; i < p->span && !p->broken; i++) /* all that was sent, not only confirmed */
        atomic_store(&p->slot->confirmed[i], p->boxes[i].sent);
}

static void
be_busy(struct life *p)
{
    aco_time end = aco_now() + p->plan->life / 4 + dice(p, 1000) * (p->plan->life * 3 / 4000);
    aco_time next = aco_now();

    while (!p->broken && aco_now() < end && !atomic_load(&p->plan->shared->stop)) {
        act(p);
        next += p->plan->pace / 2 + dice(p, 1000) * (p->plan->pace / 1000);
        while (!p->broken && aco_now() < next)
            pump(p, next);
        if (aco_now() > next + p->plan->pace) next = aco_now(); /* the machine is slow */
    }
    settle(p);
}

static void
be_idle(struct life *p)
{
    struct soak_shared *shared = p->plan->shared;
    unsigned round = atomic_load(&shared->round);

    while (!p->broken && !atomic_load(&shared->stop)) {
        pump(p, aco_now() + ACO_SECOND / 2);
        if (atomic_load(&shared->round) == round) continue;
        round = atomic_load(&shared->round);
        deliver_one(p);
        while (p->flying > 0 && !p->broken)
            pump(p, aco_now() + ACO_SECOND);
        atomic_fetch_add(&shared->passed, !p->broken);
    }
}

void *
soak_peer_run(void *arg)
{
    const struct soak_peer *peer = arg;
    const struct soak_plan *plan = peer->plan;
    unsigned step = plan->boxes / plan->peers, span = 2 * step;

    if (step == 0) step = 1;
    if (span == 0) span = 1;
    if (span > SOAK_SPAN) span = SOAK_SPAN;
    uint32_t seed = peer->number * 2654435761u + (uint32_t)getpid();
    while (!atomic_load(&plan->shared->stop)) {
        struct life p = {.plan = plan,
                         .slot = &plan->shared->slots[peer->number],
                         .tally = &plan->shared->tally,
                         .number = peer->number,
                         .step = step,
                         .span = plan->idle ? 1 : span,
                         .seed = seed};
        life_open(&p);
        bool in = life_join(&p);
        if (in && !plan->idle) due_check(&p);
        if (in && plan->idle) be_idle(&p);
        if (in && !plan->idle) be_busy(&p);
        seed = p.seed;
        life_close(&p);
        if (in) atomic_fetch_add(&plan->shared->tally.left, 1);
    }
    return NULL;
}
