/* SPDX-License-Identifier: MIT */
/* report.h -- what the engine has to say that no caller can be told. */
#ifndef ACL_REPORT_H
#define ACL_REPORT_H

#include "bindings/acl.h"

/** Say it: to the function of the embedder, else on stderr with "asyncoro: " before it. Raises
 * nothing. */
void acl_report(lua_State *L, acl_engine *e, const char *text);

/** Push a text for the error value at idx, as the lua program would show it. Raises only memory
 * errors. */
void acl_error_text(lua_State *L, int idx);

/** Report the errors of coros that nobody has observed; how many. */
size_t acl_report_unobserved(lua_State *L, acl_engine *e);

/** Push the text of a deadlock: the coros that are left and what they wait for. */
void acl_deadlock_text(lua_State *L, acl_engine *e);

#endif
