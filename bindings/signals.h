/* SPDX-License-Identifier: MIT */
/* signals.h -- signals as something to read, for lua/asyncoro/signal.lua. */
#ifndef ACL_SIGNALS_H
#define ACL_SIGNALS_H

#include "bindings/acl.h"

/** In a forked child: signals to it are not its parent's any more. Before its event base is made
 * anew. An error from errno. */
ACO_MUSTUSE int acl_signals_after_fork(void);

void acl_open_signal(lua_State *L, acl_engine *e);

#endif
