/* SPDX-License-Identifier: MIT */
/* call.h -- send, deliver, call and the functions that answer calls. */
#ifndef ACL_CALL_H
#define ACL_CALL_H

#include "bindings/acl.h"

/** Box a parcel: the userdata on top frees it. Frees the parcel and raises when there is no memory.
 */
void acl_parcel_box(lua_State *L, aco_parcel *parcel);

/** Take the parcel out of its box. [-] */
aco_parcel *acl_parcel_unbox(lua_State *L, int idx);

/** Make the boxed parcel on top the reply function to its sender. */
void acl_reply_push_remote(lua_State *L, acl_engine *e);

/** The receiver has ended: tell the caller of a parcel nobody will answer, and free it. */
void acl_parcel_refuse(aco_parcel *parcel);

/** The same of an entry that holds a parcel, or a message alone. [-] */
void acl_entry_refuse(const aco_entry *entry);

#endif
