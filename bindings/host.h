/* SPDX-License-Identifier: MIT */
/* host.h -- what the host binary's main() needs of the engine. */
#ifndef ACL_HOST_H
#define ACL_HOST_H

#include <lua.h>
#include <stdbool.h>

struct acl_host_opts {
    bool ignore_env; /* LUA_PATH and its like do not count */
};

/** A state with everything open, its engine ready; NULL, said on stderr, when there is no memory.
 */
lua_State *acl_host_open(const struct acl_host_opts *opts);

/** Run the function below nargs arguments on the stack as the main coro until the program is over:
 * SIGINT and SIGTERM cancel it meanwhile, a second one ends the process at once. What failed has
 * been said on stderr. Returns the exit code: 0; 1 after an error; 2 after a deadlock; 128 + the
 * signal. */
int acl_host_run(lua_State *L, int nargs);

void acl_host_close(lua_State *L);

#endif
