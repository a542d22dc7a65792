/* SPDX-License-Identifier: MIT */
#include "core/io/lookup.h"
#include "core/base/error.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

static int
lookup_err(int code)
{
    switch (code) {
    case EAI_NONAME:
#ifdef EAI_NODATA
    case EAI_NODATA:
#endif
#ifdef EAI_ADDRFAMILY
    case EAI_ADDRFAMILY:
#endif
        return ACO_ENOTFOUND;
    case EAI_AGAIN:
        return ACO_EUNREACHABLE;
    case EAI_MEMORY:
        return ACO_ENOMEM;
    case EAI_SYSTEM:
        return aco_err_from_errno(errno);
    default:
        return ACO_ESYSTEM;
    }
}

static bool
lookup_room(aco_lookup *l, size_t count)
{
    l->addresses = calloc(count, sizeof *l->addresses);
    if (l->addresses != NULL) return true;
    l->err = ACO_ENOMEM;
    l->text = aco_err_text(l->err);
    return false;
}

static void
lookup_fill(aco_lookup *l, const struct addrinfo *found)
{
    aco_address address;

    if (!lookup_room(l, ACO_LOOKUP_MOST)) return;
    for (; found != NULL && l->count < ACO_LOOKUP_MOST; found = found->ai_next) {
        memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
        address.size = found->ai_addrlen;
        aco_address_host(&address, l->addresses[l->count++]);
    }
}

static void
lookup_failed(aco_lookup *l, int code)
{
    l->err = lookup_err(code);
    l->text = code == EAI_AGAIN ? "no name server has answered" : gai_strerror(code);
}

static void
lookup_name(aco_lookup *l)
{
    aco_address address;
    int code = EAI_NONAME;

    if (!lookup_room(l, 1)) return;
    if (aco_address_parse(&address, l->host, 0) == ACO_OK)
        code = getnameinfo((const struct sockaddr *)&address.storage, address.size, l->addresses[0],
                           ACO_ADDRESS_TEXT, NULL, 0, NI_NAMEREQD);
    if (code != 0) {
        lookup_failed(l, code);
        return;
    }
    l->count = 1;
}

static void
lookup_run(aco_job *job)
{
    aco_lookup *l = (aco_lookup *)job;

    if (l->family == ACO_LOOKUP_NAME) {
        lookup_name(l);
        return;
    }
    const struct addrinfo hints = {.ai_family = l->family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(l->host, NULL, &hints, &found);

    if (code != 0) {
        lookup_failed(l, code);
        return;
    }
    lookup_fill(l, found);
    freeaddrinfo(found);
}

static void
lookup_free(aco_job *job)
{
    aco_lookup *l = (aco_lookup *)job;

    free(l->addresses);
    free(l);
}

aco_lookup *
aco_lookup_new(const char *host, int family)
{
    size_t size = strlen(host) + 1;
    aco_lookup *l = calloc(1, sizeof *l + size);

    if (l == NULL) return NULL;
    aco_job_init(&l->job, lookup_run, lookup_free);
    l->job.slow = ACO_JOB_NETWORK;
    l->family = family;
    memcpy(l->host, host, size);
    return l;
}
