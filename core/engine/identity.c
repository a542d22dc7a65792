/* SPDX-License-Identifier: MIT */
#include "core/engine/identity.h"
#include "core/base/msgpack.h"

#include <string.h>

#define EXIT_CLASS "asyncoro.exit"

enum { EXT_CORO = 1, EXT_INSTANCE = 6, ERROR_MAX = 256 };

static void
put_big(uint8_t *out, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

static uint64_t
get_big(const uint8_t *in, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value = value << 8 | in[i];
    return value;
}

void
aco_identity_write(const aco_identity *identity, uint8_t out[ACO_IDENTITY_SIZE])
{
    memcpy(out, identity->process, sizeof identity->process);
    put_big(out + 16, identity->engine, 4);
    put_big(out + 20, identity->serial, 8);
}

void
aco_identity_read(aco_identity *identity, const uint8_t in[ACO_IDENTITY_SIZE])
{
    memcpy(identity->process, in, sizeof identity->process);
    identity->engine = (uint32_t)get_big(in + 16, 4);
    identity->serial = get_big(in + 20, 8);
}

/* A text of `size` bytes, at most `max`: not cut in the middle of a character. */
static size_t
cut(const char *text, size_t size, size_t max)
{
    if (size <= max) return size;
    size = max;
    while (size > 0 && ((uint8_t)text[size] & 0xc0) == 0x80)
        size--;
    return size;
}

size_t
aco_handle_write(const uint8_t key[ACO_IDENTITY_SIZE], const char *route, const char *name,
                 uint8_t out[ACO_HANDLE_MAX])
{
    size_t route_size = strlen(route), name_size = cut(name, strlen(name), ACO_NAME_MAX);
    uint8_t *at = out + ACO_IDENTITY_SIZE;

    if (route_size > ACO_ROUTE_MAX) route_size = 0;
    memcpy(out, key, ACO_IDENTITY_SIZE);
    *at++ = (uint8_t)route_size;
    memcpy(at, route, route_size);
    at += route_size;
    *at++ = (uint8_t)name_size;
    memcpy(at, name, name_size);
    return (size_t)(at + name_size - out);
}

/* Take a text that has its size in a byte before it; false when it is too long. */
static bool
take_text(const uint8_t **at, const uint8_t *end, char *out, size_t max)
{
    if (*at == end || **at > max || end - *at <= **at) return false;
    size_t size = *(*at)++;
    memcpy(out, *at, size);
    out[size] = '\0';
    *at += size;
    return memchr(out, '\0', size) == NULL;
}

bool
aco_handle_read(const void *data, size_t size, aco_identity *identity,
                char route[ACO_ROUTE_MAX + 1], char name[ACO_NAME_MAX + 1])
{
    const uint8_t *at = data, *end = at + size;

    if (size < ACO_IDENTITY_SIZE) return false;
    aco_identity_read(identity, at);
    at += ACO_IDENTITY_SIZE;
    return take_text(&at, end, route, ACO_ROUTE_MAX) && take_text(&at, end, name, ACO_NAME_MAX) &&
           at == end;
}

static uint8_t *
put_text(uint8_t *at, const char *text, size_t size)
{
    at = aco_mp_str(at, (uint32_t)size);
    memcpy(at, text, size);
    return at + size;
}

aco_msg *
aco_exit_new(const uint8_t key[ACO_IDENTITY_SIZE], const char *route, const char *name,
             const char *reason, const char *error)
{
    uint8_t bytes[ACO_HANDLE_MAX + ERROR_MAX + 128], handle[ACO_HANDLE_MAX], *at = bytes;
    size_t handle_size = aco_handle_write(key, route, name, handle);

    at = aco_mp_ext_open(at, EXT_INSTANCE);
    uint8_t *content = at;
    at = put_text(at, EXIT_CLASS, strlen(EXIT_CLASS));
    at = aco_mp_map(at, error != NULL ? 3 : 2);
    at = put_text(at, "coro", 4);
    at = aco_mp_ext(at, EXT_CORO, (uint32_t)handle_size);
    memcpy(at, handle, handle_size);
    at = put_text(at + handle_size, "reason", 6);
    at = put_text(at, reason, strlen(reason));
    if (error != NULL)
        at = put_text(put_text(at, "error", 5), error, cut(error, strlen(error), ERROR_MAX));
    aco_mp_ext_size(bytes, (uint32_t)(at - content));
    return aco_msg_new(bytes, (size_t)(at - bytes));
}
