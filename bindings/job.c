/* SPDX-License-Identifier: MIT */
#include "bindings/job.h"
#include "bindings/reach.h"

#define JOB_NAME "asyncoro.job"

static int
job_gc(lua_State *L)
{
    aco_job **box = lua_touserdata(L, 1);

    if (*box != NULL) aco_job_unref(*box);
    *box = NULL;
    return 0;
}

aco_job **
acl_job_box(lua_State *L)
{
    aco_job **box = lua_newuserdatauv(L, sizeof *box, 0);

    *box = NULL;
    if (luaL_newmetatable(L, JOB_NAME)) {
        lua_pushcfunction(L, job_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return box;
}

int
acl_job_submit(acl_engine *e, aco_job *job)
{
    aco_pool *pool = aco_process_pool(e->reach->process);

    return pool != NULL ? aco_job_submit(pool, &e->loop, job) : ACO_ENOMEM;
}

int
acl_job_park(lua_State *L, acl_engine *e, aco_job *job, aco_time deadline, lua_KContext ctx,
             lua_KFunction k)
{
    aco_wait_begin(&e->current->task, ACO_WAIT_JOB);
    aco_wait_on(&e->current->task, &job->waiters);
    return acl_park(L, e, e->current, deadline, ctx, k);
}
