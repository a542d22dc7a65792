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

static void
lookup_fill(aco_lookup *l, const struct addrinfo *found)
{
    aco_address address;

    l->addresses = calloc(ACO_LOOKUP_MOST, sizeof *l->addresses);
    if (l->addresses == NULL) {
        l->err = ACO_ENOMEM;
        l->text = aco_err_text(l->err);
        return;
    }
    for (; found != NULL && l->count < ACO_LOOKUP_MOST; found = found->ai_next) {
        memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
        address.size = found->ai_addrlen;
        aco_address_host(&address, l->addresses[l->count++]);
    }
}

static void
lookup_run(aco_job *job)
{
    aco_lookup *l = (aco_lookup *)job;
    const struct addrinfo hints = {.ai_family = l->family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(l->host, NULL, &hints, &found);

    if (code != 0) {
        l->err = lookup_err(code);
        l->text = code == EAI_AGAIN ? "no name server has answered" : gai_strerror(code);
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
    l->family = family;
    memcpy(l->host, host, size);
    return l;
}
