/* SPDX-License-Identifier: MIT */
/* version.c -- versions, asked from the libraries themselves and not from their headers. */
#include "core/base/version.h"

#include <event2/event.h>
#include <openssl/crypto.h>

const char *
aco_version(void)
{
    return ASYNCORO_VERSION;
}

const char *
aco_version_libevent(void)
{
    return event_get_version();
}

const char *
aco_version_openssl(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}
