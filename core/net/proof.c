/* SPDX-License-Identifier: MIT */
#include "core/net/proof.h"
#include "core/base/error.h"
#include "core/base/random.h"
#include "core/net/interface.h"

#include <errno.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

enum { NONCE = 32, PROOF = 32, LABEL = 15, HOST = 16 };

struct aco_proof {
    uint8_t key[ACO_SECRET_KEY], preface[ACO_PREFACE_SIZE];
    uint8_t host[HOST]; /* to which the client connected, as one of IPv6 */
    uint16_t port;
    bool server;
    int step;
    uint8_t mine[NONCE], theirs[NONCE];
    uint8_t out[NONCE + PROOF], in[NONCE + PROOF]; /* what is sent, and has come, of the step */
    size_t out_size, sent, in_size, got;
};

aco_proof *
aco_proof_new(const aco_secret *secret, bool server, const uint8_t preface[ACO_PREFACE_SIZE],
              uint16_t port)
{
    aco_proof *p = calloc(1, sizeof *p);

    if (p == NULL) return NULL;
    p->server = server;
    p->port = port;
    memcpy(p->preface, preface, sizeof p->preface);
    aco_secret_key(secret, "asyncoro key", p->key);
    if (aco_random(p->mine, NONCE) == ACO_OK) return p;
    aco_proof_free(p);
    return NULL;
}

void
aco_proof_free(aco_proof *proof)
{
    if (proof == NULL) return;
    OPENSSL_cleanse(proof, sizeof *proof);
    free(proof);
}

bool
aco_proof_holds(const aco_proof *proof)
{
    return proof->sent < proof->out_size;
}

/* Of the server, or of the client. Whoever stands between two processes and passes their bytes on
 * listens at another address or port than the one that was meant. */
static void
proof_make(const aco_proof *p, bool server, uint8_t out[PROOF])
{
    uint8_t text[LABEL + ACO_PREFACE_SIZE + HOST + 2 + 2 * NONCE], *at = text;
    unsigned size = PROOF;

    memcpy(at, server ? "asyncoro server" : "asyncoro client", LABEL);
    memcpy(at += LABEL, p->preface, ACO_PREFACE_SIZE);
    memcpy(at += ACO_PREFACE_SIZE, p->host, HOST);
    at += HOST;
    *at++ = (uint8_t)(p->port >> 8);
    *at++ = (uint8_t)p->port;
    memcpy(at, p->server ? p->theirs : p->mine, NONCE);
    memcpy(at + NONCE, p->server ? p->mine : p->theirs, NONCE);
    HMAC(EVP_sha256(), p->key, sizeof p->key, text, sizeof text, out, &size);
}

static int
fail(const char **why, int err, const char *text)
{
    *why = text;
    return err;
}

static int
proof_check(const aco_proof *p, const uint8_t *theirs, const char **why)
{
    uint8_t expected[PROOF];

    proof_make(p, !p->server, expected);
    if (CRYPTO_memcmp(expected, theirs, PROOF) == 0) return ACO_OK;
    return fail(why, ACO_EAUTH,
                "the key files differ: the other side is another user's process, has another home "
                "folder, or was reached through a forwarded port; give both the same secret");
}

static void
host_put(uint8_t host[HOST], const aco_address *address)
{
    aco_address mapped = *address;

    if (address->storage.ss_family == AF_INET) aco_address_map(address, &mapped);
    memcpy(host, &((const struct sockaddr_in6 *)&mapped.storage)->sin6_addr, HOST);
}

/* This mode is for one machine: both ends must be at a loopback address (or of a local pair). Keeps
 * the one to which the client connected. */
static int
ends_look(aco_proof *p, int fd, const char **why)
{
    aco_address address;

    for (int peer = 0; peer < 2; peer++) {
        int err = aco_address_of(&address, fd, peer);
        if (err != ACO_OK) return fail(why, err, NULL);
        if (address.storage.ss_family == AF_UNIX) continue;
        if (!aco_address_is_loopback(&address))
            return fail(why, ACO_EAUTH,
                        "without a secret only processes of the same machine may connect: give "
                        "both sides the same secret");
        if (p->server != peer) host_put(p->host, &address);
    }
    return ACO_OK;
}

static int
bytes_send(aco_proof *p, int fd, const char **why)
{
    while (p->sent < p->out_size) {
        ssize_t n = send(fd, p->out + p->sent, p->out_size - p->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return ACO_EBUSY;
        if (n < 0) return fail(why, aco_err_from_errno(errno), NULL);
        p->sent += (size_t)n;
    }
    return ACO_OK;
}

static int
bytes_get(aco_proof *p, int fd, const char **why)
{
    while (p->got < p->in_size) {
        ssize_t n = recv(fd, p->in + p->got, p->in_size - p->got, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return ACO_EBUSY;
        if (n < 0) return fail(why, aco_err_from_errno(errno), NULL);
        if (n == 0)
            return fail(why, ACO_EAUTH,
                        "the other side closed during the handshake: most likely its key file is "
                        "another one, as it is another user's or has another home folder; give "
                        "both the same secret");
        p->got += (size_t)n;
    }
    return ACO_OK;
}

static void
step(aco_proof *p, size_t out_size, size_t in_size)
{
    p->out_size = out_size;
    p->in_size = in_size;
    p->sent = p->got = 0;
    p->step++;
}

/* ACO_EEXISTS: it is done. */
static int
client_step(aco_proof *p, const char **why)
{
    if (p->step == 0) {
        memcpy(p->out, p->mine, NONCE);
        step(p, NONCE, NONCE + PROOF);
        return ACO_OK;
    }
    if (p->step == 2) return ACO_EEXISTS;
    memcpy(p->theirs, p->in, NONCE);
    int err = proof_check(p, p->in + NONCE, why);
    if (err != ACO_OK) return err;
    proof_make(p, false, p->out);
    step(p, PROOF, 0);
    return ACO_OK;
}

static int
server_step(aco_proof *p, const char **why)
{
    if (p->step == 0) {
        step(p, 0, NONCE);
        return ACO_OK;
    }
    if (p->step == 1) {
        memcpy(p->theirs, p->in, NONCE);
        memcpy(p->out, p->mine, NONCE);
        proof_make(p, true, p->out + NONCE);
        step(p, NONCE + PROOF, PROOF);
        return ACO_OK;
    }
    int err = proof_check(p, p->in, why);
    return err == ACO_OK ? ACO_EEXISTS : err;
}

int
aco_proof_shake(aco_proof *p, int fd, const char **why)
{
    int err = p->step == 0 ? ends_look(p, fd, why) : ACO_OK;

    if (err != ACO_OK) return err;
    do {
        err = bytes_send(p, fd, why);
        if (err == ACO_OK) err = bytes_get(p, fd, why);
        if (err == ACO_OK) err = p->server ? server_step(p, why) : client_step(p, why);
    } while (err == ACO_OK);
    return err == ACO_EEXISTS ? ACO_OK : err;
}
