/* SPDX-License-Identifier: MIT */
/* network.h -- the network of this process, as scripts start it, ask it, and end it. */
#ifndef ACL_NETWORK_H
#define ACL_NETWORK_H

#include "bindings/acl.h"

/** Functions and classes of other processes may come into this one. [-] */
bool acl_network_takes_code(const acl_engine *e);

/** Push the location of the process that has posted a request: nil when it is this one, without a
 * network; false when it has gone. */
void acl_network_push_asker(lua_State *L, const acl_engine *e, const aco_post *post);

/** Push a table of figures; false, and nothing pushed, while there is no network. */
bool acl_network_stats(lua_State *L, const acl_engine *e);

/** The network of this process runs. [-] */
bool acl_network_runs(const acl_engine *e);

/** End it, when this engine is no isolate: what is queued is sent for as long as `linger` says, and
 * what was not sent is reported. Blocks. [-] */
void acl_network_end(acl_engine *e);

/** This engine ends: the network goes on without it. */
void acl_network_leave(acl_engine *e);

void acl_open_network(lua_State *L, acl_engine *e);

#endif
