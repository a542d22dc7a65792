/* SPDX-License-Identifier: MIT */
/* stream.h -- streams as Lua sees them: one type for sockets, pipes, terminals, files and TLS. */
#ifndef ACL_STREAM_H
#define ACL_STREAM_H

#include "bindings/acl.h"

#include "core/io/address.h"
#include "core/io/stream.h"

/** Push a stream that is closed, and return it: aco_stream_open or aco_stream_init come next. So
 * the userdata exists before the descriptor, and owns it when anything raises. */
aco_stream *acl_stream_new(lua_State *L, acl_engine *e);

/** Push the metatable. */
void acl_stream_meta(lua_State *L);

/** The stream at idx; NULL when it is none, the other raises. */
aco_stream *acl_stream_test(lua_State *L, int idx); /* [-] */
aco_stream *acl_stream_check(lua_State *L, int idx);

/** The engine that a stream is of. [-] */
static inline acl_engine *
acl_stream_engine(const aco_stream *s)
{
    return ACO_CONTAINER_OF(s->loop, acl_engine, loop);
}

/** What messages call it: "127.0.0.1:80", a path. Pushes nothing; `text` is used if need be. [-] */
const char *acl_stream_where(const aco_stream *s, char text[ACO_ADDRESS_TEXT]);

/** It will be closed: messages shall go on calling it what they called it. [-] */
void acl_stream_remember(aco_stream *s);

/** nil, "WHAT WHERE: why", code. */
int acl_stream_fail(lua_State *L, aco_stream *s, const char *what, int err);

/* What handles of descriptors have in common: their number, nil when there is none; the time-out of
 * each operation (a time, or ACO_NEVER), as set by a number or nil at idx. */
int acl_fd_push(lua_State *L, int fd);
aco_time acl_timeout_check(lua_State *L, int idx);
int acl_timeout_push(lua_State *L, aco_time timeout);

/** How long operations of this stream may take: the time-out at idx, or the stream's own. */
aco_time acl_stream_deadline(lua_State *L, const aco_stream *s, int idx);

/** After a wait that ended with ACO_ETIMEOUT: it was not the operation's own deadline. */
bool acl_stream_early(const aco_stream *s, aco_time deadline);

/** The end of an operation that had `results` and did not wait: gives the other coros a turn now
 * and then. Use as: return acl_io_done(L, e, results); */
int acl_io_done(lua_State *L, acl_engine *e, int results);

/** Memory for bytes on their way, until the next wait; NULL without memory. [-] */
enum { ACL_SCRATCH = 65536 };
uint8_t *acl_scratch(acl_engine *e);

void acl_open_stream(lua_State *L, acl_engine *e);

#endif
