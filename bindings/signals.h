/* SPDX-License-Identifier: MIT */
/* signals.h -- signals as something to read, for lua/asyncoro/signal.lua. */
#ifndef ACL_SIGNALS_H
#define ACL_SIGNALS_H

#include "bindings/acl.h"

void acl_open_signal(lua_State *L, acl_engine *e);

#endif
