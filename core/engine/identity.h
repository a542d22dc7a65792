/* SPDX-License-Identifier: MIT */
/* identity.h -- which coro, channel or RCI, of all that there are: the identity, the handle in
 * which it travels, and the message that tells of its end. Any thread. */
#ifndef ACO_IDENTITY_H
#define ACO_IDENTITY_H

#include "core/base/buf.h"

/** What a record stands for. */
enum aco_kind { ACO_KIND_CORO, ACO_KIND_CHANNEL, ACO_KIND_RCI };

/** Which coro, channel or RCI: in which process, in which engine, with which serial. */
typedef struct aco_identity {
    uint8_t process[16];
    uint32_t engine;
    uint64_t serial;
} aco_identity;

/** The form in which it travels: the fields in this order, the numbers big-endian. What follows it
 * in a handle is the route to the process, and no part of the identity. */
enum { ACO_IDENTITY_SIZE = 28 };
void aco_identity_write(const aco_identity *identity, uint8_t out[ACO_IDENTITY_SIZE]);
void aco_identity_read(aco_identity *identity, const uint8_t in[ACO_IDENTITY_SIZE]);

/** A handle, as it travels inside values: the identity, the route to the process, the name; the
 * texts with their sizes in a byte before them, what is too long cut (a name) or left out. */
enum { ACO_ROUTE_MAX = 255, ACO_NAME_MAX = 64, ACO_HANDLE_MAX = 352 };
size_t aco_handle_write(const uint8_t key[ACO_IDENTITY_SIZE], const char *route, const char *name,
                        uint8_t out[ACO_HANDLE_MAX]);

/** Read one: false when it is malformed. `route` and `name` have room for their sizes and a 0. */
bool aco_handle_read(const void *data, size_t size, aco_identity *identity,
                     char route[ACO_ROUTE_MAX + 1], char name[ACO_NAME_MAX + 1]);

/** The exit message of a coro: an instance of the class asyncoro.exit with its handle, the reason
 * and, when not NULL, the error; NULL without memory. */
aco_msg *aco_exit_new(const uint8_t key[ACO_IDENTITY_SIZE], const char *route, const char *name,
                      const char *reason, const char *error);

#endif
