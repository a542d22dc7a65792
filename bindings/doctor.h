/* SPDX-License-Identifier: MIT */
/* doctor.h -- what `asyncoro doctor` calls. */
#ifndef ACL_DOCTOR_H
#define ACL_DOCTOR_H

#include "bindings/acl.h"

/** Add doctor and versions to the module's table, which is on top. */
void acl_open_doctor(lua_State *L, acl_engine *e);

#endif
