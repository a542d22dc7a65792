/* SPDX-License-Identifier: MIT */
#include "bindings/digest.h"

#include "core/base/digest.h"

/*** The digest of a string.
Does not wait; a long string keeps the engine as long as it takes.
@function digest
@tparam string algorithm "sha256", "sha1", "md5", "sha512" or any other name that OpenSSL knows
@tparam string data
@treturn string lower-case hexadecimal digits
@raise on an algorithm that this OpenSSL does not have
@usage asyncoro.digest("sha256", "abc") */
static int
acl_digest(lua_State *L)
{
    static const char digits[] = "0123456789abcdef";
    const char *name = luaL_checkstring(L, 1);
    size_t length, size;
    const char *data = luaL_checklstring(L, 2, &length);
    uint8_t bytes[ACO_DIGEST_MAX];
    char text[2 * ACO_DIGEST_MAX];

    if (aco_digest(name, data, length, bytes, &size) != ACO_OK)
        return luaL_error(
            L, "digest: OpenSSL has no '%s' here (sha256, sha512, sha1 and md5 are usual)", name);
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    lua_pushlstring(L, text, 2 * size);
    return 1;
}

void
acl_open_digest(lua_State *L, acl_engine *e)
{
    static const luaL_Reg funcs[] = {{"digest", acl_digest}, {NULL, NULL}};

    acl_setfuncs(L, e, funcs);
}
