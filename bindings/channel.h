/* SPDX-License-Identifier: MIT */
/* channel.h -- channels as Lua sees them: channel.c (the handles), subscribe.c (who is subscribed),
 * publish.c (send and deliver). */
#ifndef ACL_CHANNEL_H
#define ACL_CHANNEL_H

#include "bindings/acl.h"
#include "core/engine/channel.h"

/** Names of channels stand beside those of coros, with this before them. */
#define ACL_CHANNEL_PREFIX "channel "

/** A handle. Its user values: the transform, and, at home, a table of the handles of subscribed
 * channels, which it keeps. */
typedef struct acl_channel {
    struct acl_channel *self; /* its own address, by which it is known from other userdata */
    aco_channel *channel;     /* owned reference */
} acl_channel;

enum { ACL_CHANNEL_TRANSFORM = 1, ACL_CHANNEL_KEPT, ACL_CHANNEL_VALUES = ACL_CHANNEL_KEPT };

/** The channel of the handle at idx; NULL when it is none. [-] */
acl_channel *acl_channel_test(lua_State *L, int idx);
acl_channel *acl_channel_check(lua_State *L, int idx);

/** Push the handle of a channel, equal to any other of it; `route` and `name` as in
 * aco_channel_get. */
void acl_channel_push(lua_State *L, acl_engine *e, const aco_identity *identity, const char *route,
                      const char *name);

/** Write the payload of the handle at idx; its size, 0 when it is no channel's. */
size_t acl_channel_encode(lua_State *L, int idx, uint8_t payload[ACO_HANDLE_MAX]);

/** Push the transform of a channel of this engine; false, and nothing pushed: it has none. */
bool acl_channel_push_transform(lua_State *L, const aco_channel *channel);

/** Call the transform on top, which it pops, for the message at idx. False: the message is dropped;
 * else what is passed on is pushed. */
bool acl_channel_transform(lua_State *L, const aco_channel *channel, int idx);

/** Is this engine the home of the channel? [-] */
bool acl_channel_is_home(const acl_engine *e, const aco_channel *channel);

/** At home: keep the handle at idx, which becomes known elsewhere, until its channel is closed. */
void acl_channel_anchor(lua_State *L, acl_engine *e, int idx);

/** nil, message, code. */
int acl_channel_failed(lua_State *L, const aco_channel *channel, int err, const char *what);

/** Act on an ACO_POST_CHANNEL. */
void acl_channel_serve(lua_State *L, acl_engine *e, aco_post *post);

/* publish.c: methods */
int acl_channel_send(lua_State *L);
int acl_channel_deliver(lua_State *L);
void acl_open_publish(lua_State *L);

/* subscribe.c: methods */
int acl_channel_subscribe(lua_State *L);
int acl_channel_unsubscribe(lua_State *L);
void acl_open_subscribe(lua_State *L);

void acl_open_channel(lua_State *L, acl_engine *e);

#endif
