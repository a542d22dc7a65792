/* SPDX-License-Identifier: MIT */
/* job.h -- jobs of the pool, as coros wait for them. */
#ifndef ACL_JOB_H
#define ACL_JOB_H

#include "bindings/acl.h"

#include "core/engine/pool.h"

/** Push a box that owns a job: an empty one, to be filled by the caller at once with what it
 * allocates. */
aco_job **acl_job_box(lua_State *L);

/** Let the job be run. ACO_ENOMEM, ACO_ESYSTEM. [-] */
ACO_MUSTUSE int acl_job_submit(acl_engine *e, aco_job *job);

/** Park until the job is done, or the deadline: `k` calls acl_wait_end. The job must be held by a
 * box on the stack. */
int acl_job_park(lua_State *L, acl_engine *e, aco_job *job, aco_time deadline, lua_KContext ctx,
                 lua_KFunction k);

#endif
