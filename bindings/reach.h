/* SPDX-License-Identifier: MIT */
/* reach.h -- how far an engine reaches: its seat among the engines of its process, its coros that
 * are known beyond it (export.c), those of others that it knows (remote.c), what others post
 * (drain.c). */
#ifndef ACL_REACH_H
#define ACL_REACH_H

#include "bindings/acl.h"
#include "core/engine/process.h"

struct acl_isolate;

struct acl_reach {
    aco_process *process; /* owned reference */
    aco_seat *seat;
    uint32_t number;              /* of the engine */
    aco_post *todo;               /* taken from the inbox, not acted on */
    aco_link exports;             /* records of coros that live, by their `home` */
    size_t exported;              /* how many */
    bool away;                    /* coros of it are subscribed to channels of others */
    size_t waits;                 /* coros that wait for something of another engine */
    aco_waitq names;              /* coros that wait for a name */
    size_t name_waits;            /* how many */
    int locals_ref;               /* serial -> handle, weak: of coros that were exported */
    int remotes_ref;              /* identity -> handle, weak: of coros of others */
    int watched_ref;              /* address of a record -> handle, until the end of the coro */
    int rcis_ref;                 /* identity -> RCI, weak */
    int served_ref;               /* serial -> RCI, of those that are registered */
    aco_time linger;              /* at the end of the network that this engine has started */
    bool has_started;             /* it has started the network */
    bool asks_first;              /* no network starts unless the program asks for it */
    struct acl_isolate *isolates; /* that this engine has started */
    struct acl_isolate *self;     /* that this engine is; NULL */
    bool leashed;                 /* from prefork on: the leash was on, with this limit */
    aco_time stall;
};

/* A coro of another engine, or one of this engine that is no more: a userdata whose methods are
 * those of coros. Or an RCI of any engine (rci.c). */
typedef struct acl_remote {
    struct acl_remote *self; /* its own address, by which it is known from other userdata */
    uint8_t key[ACO_IDENTITY_SIZE];
    uint8_t kind;     /* enum aco_kind */
    bool home;        /* an RCI that this engine has made */
    unsigned names;   /* under which that is registered */
    aco_export *x;    /* owned reference; NULL: nothing is known of it any more */
    aco_waitq enders; /* coros that wait for its end */
    bool watched;     /* the end will be posted */
    bool isolate;     /* started by this engine: an error that nobody observes is reported here */
} acl_remote;

/* reach.c */
void acl_reach_open(lua_State *L, acl_engine *e); /* a seat; raises */
void acl_reach_close(acl_engine *e); /* [-] isolates are joined, coros have ended for all others */
void acl_reach_of(lua_State *L,
                  aco_process *process); /* the process of a state about to be opened */

/* The running coro's wait that follows at once, as others refer to it; and who refers to it, NULL
 * when that wait is over. [-] */
aco_return acl_return_here(acl_engine *e, const acl_coro *c);
void acl_return_forget(acl_engine *e, const acl_coro *c,
                       aco_export *x); /* c's last wait, for x, is over: it waits no more [-] */
bool acl_reach_has_gate(const acl_engine *e); /* [-] there is a way to other processes */
acl_coro *acl_return_find(const acl_engine *e, uint64_t task, uint64_t token);

/* export.c */
aco_export *acl_export(lua_State *L, acl_engine *e,
                       int handle); /* of a local coro, made on demand */
aco_mailbox *acl_export_mailbox(lua_State *L, acl_engine *e, int handle); /* of a live one */
aco_export **acl_export_box(lua_State *L); /* pushes an empty box that owns a reference */
void acl_export_local(lua_State *L, acl_engine *e, uint64_t serial); /* pushes the handle, or nil */
aco_msg *acl_exit_plain(const aco_export *x, const char *reason, const char *error); /* [-] */

/* remote.c */
#define ACL_REMOTE_META "asyncoro.remote"           /* its metatable in the registry */
acl_remote *acl_remote_any(lua_State *L, int idx);  /* [-] of any kind; NULL when it is none */
acl_remote *acl_remote_test(lua_State *L, int idx); /* [-] NULL when it is no remote handle */
acl_remote *acl_remote_check(lua_State *L, int idx);
void acl_remote_push(lua_State *L, acl_engine *e, const aco_identity *identity, const char *route,
                     const char *name);
void acl_remote_push_export(lua_State *L, acl_engine *e, const aco_export *x);
bool acl_remote_watch(lua_State *L, acl_engine *e, int idx); /* false: it has ended */
int acl_remote_outcome(lua_State *L, acl_remote *r); /* pushes what finish gives; how many */
const char *acl_remote_name(const acl_remote *r);    /* [-] */
const char *acl_remote_text(lua_State *L, const acl_remote *r); /* pushes "coro NAME at PLACE" */
bool acl_remote_is_far(const acl_remote *r);                    /* [-] of another process */
bool acl_remote_lives(const acl_remote *r);                     /* [-] as far as is known */
int acl_remote_lost(lua_State *L, const acl_remote *r, const char *what); /* pushes a failure */
/* The record of an identity, a reference of the caller's; NULL when nothing is known of it. [-] */
aco_export *acl_export_known(const acl_engine *e, const aco_identity *identity, enum aco_kind kind,
                             const char *route, const char *name);
/* Its handle, as it travels. [-] */
size_t acl_export_write(const acl_engine *e, const aco_export *x, uint8_t payload[ACO_HANDLE_MAX]);
void acl_msg_box(lua_State *L, aco_msg *msg);  /* pushes a userdata that takes over the reference */
aco_msg *acl_msg_unbox(lua_State *L, int idx); /* [-] still the box's */
int acl_msg_open(
    lua_State *L); /* decodes the box on top, which goes: ACO_OK and the value, or a text */

/* dispatch.c: methods of remote handles */
int acl_remote_send(lua_State *L);
int acl_remote_deliver(lua_State *L);
int acl_remote_call(lua_State *L);

/* request.c */
int acl_request(lua_State *L,
                const char *method); /* of the handle at 1, with the arguments above */
void acl_request_serve(lua_State *L, acl_engine *e, aco_post *post); /* [-] */
/* {method, arguments from stack index `first` on}: as acl_encode. */
int acl_ask_encode(lua_State *L, const char *method, int first, aco_msg **msg);
/* Post the boxed request on top to the engine of x; `waits`: the answer ends the wait that follows
 * at once. */
int acl_ask_post(lua_State *L, acl_engine *e, aco_export *x, bool waits);
/* The boxed answer on top: pushes the results. */
int acl_ask_results(lua_State *L, const char *method);
/* After a wait that ended with `err`: why, in words. */
const char *acl_ask_words(lua_State *L, int err);

/* names.c */
void acl_open_names(lua_State *L, acl_engine *e);

/* isolate.c */
void acl_isolate_ended(acl_engine *e, uint64_t token, int end); /* [-] an ACO_POST_ENDED came */
void
acl_isolate_tell(const acl_engine *e); /* [-] let the engine that started this one look again */
bool acl_isolate_set_daemon(acl_engine *e, bool daemon); /* [-] false: this engine is none */
void acl_isolates_join(acl_engine *e);                   /* [-] at the end of the engine */

#endif
