/* SPDX-License-Identifier: MIT */
#include "core/net/secure.h"
#include "core/base/error.h"
#include "core/base/random.h"
#include "core/io/certificate.h"
#include "core/io/tls_bio.h"
#include "core/io/tls_error.h"
#include "core/net/interface.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NONCE = 32, PROOF = 32, RECORD = 16 * 1024, GATHER = 128 * 1024 };

/* The proof of mode K: what is to be sent, and what has come, of the step under way. */
struct proof {
    uint8_t mine[NONCE], theirs[NONCE];
    uint8_t out[NONCE + PROOF], in[NONCE + PROOF];
    size_t out_size, sent, in_size, got;
    int step;
};

struct aco_secure {
    aco_secret *secret; /* owned reference */
    int fd;
    bool server, shaken;
    uint8_t preface[ACO_PREFACE_SIZE];
    uint16_t port;
    char *host;  /* owned */
    char *error; /* owned; NULL: `what` */
    const char *what;
    struct proof *proof; /* mode K, until it is done */
    SSL *ssl;            /* the other modes */
    aco_tls_wire wire;
    uint8_t *gather; /* RECORD bytes, from the first write of small pieces on */
};

static int
fail(aco_secure *s, int err, const char *what)
{
    s->what = what;
    return err;
}

static int
errno_fail(aco_secure *s, int errnum)
{
    free(s->error);
    s->error = strdup(strerror(errnum));
    return aco_err_from_errno(errnum);
}

const char *
aco_secure_error(const aco_secure *s)
{
    if (s->error != NULL) return s->error;
    return s->what != NULL ? s->what : "not enough memory";
}

/* The key file's proof ------------------------------------------------------------------------- */

/* Of the server, or of the client. Whoever only passes bytes on between two processes listens at
 * another port than the one that was meant. */
static void
proof_make(const aco_secure *s, bool server, uint8_t out[PROOF])
{
    uint8_t key[ACO_SECRET_KEY], text[128];
    const char *label = server ? "asyncoro server" : "asyncoro client";
    const struct proof *p = s->proof;
    uint8_t *at = text;
    unsigned size = PROOF;

    memcpy(at, label, 15);
    memcpy(at += 15, s->preface, sizeof s->preface);
    at += sizeof s->preface;
    *at++ = (uint8_t)(s->port >> 8);
    *at++ = (uint8_t)s->port;
    memcpy(at, s->server ? p->theirs : p->mine, NONCE);
    memcpy(at + NONCE, s->server ? p->mine : p->theirs, NONCE);
    at += 2 * NONCE;
    aco_secret_key(s->secret, "asyncoro key", key);
    HMAC(EVP_sha256(), key, sizeof key, text, (size_t)(at - text), out, &size);
    OPENSSL_cleanse(key, sizeof key);
}

/* This mode is for one machine: both ends must be at a loopback address (or of a local pair). */
static bool
is_local(int fd)
{
    aco_address address;

    for (int peer = 0; peer < 2; peer++) {
        if (aco_address_of(&address, fd, peer) != ACO_OK) return false;
        if (address.storage.ss_family != AF_UNIX && !aco_address_is_loopback(&address))
            return false;
    }
    return true;
}

static int
bytes_send(aco_secure *s, struct proof *p)
{
    while (p->sent < p->out_size) {
        ssize_t n = send(s->fd, p->out + p->sent, p->out_size - p->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return ACO_EBUSY;
        if (n < 0) return errno_fail(s, errno);
        p->sent += (size_t)n;
    }
    return ACO_OK;
}

static int
bytes_get(aco_secure *s, struct proof *p)
{
    while (p->got < p->in_size) {
        ssize_t n = recv(s->fd, p->in + p->got, p->in_size - p->got, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return ACO_EBUSY;
        if (n < 0) return errno_fail(s, errno);
        if (n == 0)
            return fail(
                s, ACO_EAUTH,
                "the other side closed during the handshake: its key file is another one, "
                "it is another user's process or another home folder's; give both a secret");
        p->got += (size_t)n;
    }
    return ACO_OK;
}

static void
step(struct proof *p, size_t out_size, size_t in_size)
{
    p->out_size = out_size;
    p->in_size = in_size;
    p->sent = p->got = 0;
    p->step++;
}

static int
proof_check(aco_secure *s, const uint8_t *theirs)
{
    uint8_t expected[PROOF];

    proof_make(s, !s->server, expected);
    if (CRYPTO_memcmp(expected, theirs, PROOF) == 0) return ACO_OK;
    return fail(s, ACO_EAUTH,
                "the other side has another key file: it is another user's process, or has another "
                "home folder; give both a secret");
}

static int
client_step(aco_secure *s, struct proof *p)
{
    if (p->step == 0) {
        memcpy(p->out, p->mine, NONCE);
        step(p, NONCE, NONCE + PROOF);
        return ACO_OK;
    }
    if (p->step == 2) return ACO_EEXISTS; /* done */
    memcpy(p->theirs, p->in, NONCE);
    int err = proof_check(s, p->in + NONCE);
    if (err != ACO_OK) return err;
    proof_make(s, false, p->out);
    step(p, PROOF, 0);
    return ACO_OK;
}

static int
server_step(aco_secure *s, struct proof *p)
{
    if (p->step == 0) {
        step(p, 0, NONCE);
        return ACO_OK;
    }
    if (p->step == 1) {
        memcpy(p->theirs, p->in, NONCE);
        memcpy(p->out, p->mine, NONCE);
        proof_make(s, true, p->out + NONCE);
        step(p, NONCE + PROOF, PROOF);
        return ACO_OK;
    }
    int err = proof_check(s, p->in);
    return err == ACO_OK ? ACO_EEXISTS : err;
}

static int
proof_shake(aco_secure *s)
{
    struct proof *p = s->proof;
    int err;

    if (p->step == 0 && !is_local(s->fd))
        return fail(s, ACO_EAUTH,
                    "without a secret only processes of the same machine may connect: give both "
                    "sides a secret");
    do {
        err = bytes_send(s, p);
        if (err == ACO_OK) err = bytes_get(s, p);
        if (err == ACO_OK) err = s->server ? server_step(s, p) : client_step(s, p);
    } while (err == ACO_OK);
    if (err != ACO_EEXISTS) return err;
    OPENSSL_cleanse(p, sizeof *p);
    free(p);
    s->proof = NULL;
    return ACO_OK;
}

/* TLS ------------------------------------------------------------------------------------------ */

/* The wanted kind of connection is a part of what both sides agree upon. */
static void
protocol_name(const aco_secure *s, uint8_t name[13])
{
    memcpy(name, "\014asyncoro/1 ", 12);
    name[12] = s->preface[4];
}

static int
protocol_choose(SSL *ssl, const unsigned char **chosen, unsigned char *size,
                const unsigned char *offered, unsigned int offered_size, void *arg)
{
    const aco_secure *s = SSL_get_app_data(ssl);
    uint8_t name[13];

    (void)arg;
    protocol_name(s, name);
    if (offered_size != sizeof name || memcmp(offered, name, sizeof name) != 0)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *chosen = offered + 1;
    *size = 12;
    return SSL_TLSEXT_ERR_OK;
}

/* What is wrong with a certificate is said while it is looked at. */
static int
certificate_look(int good, X509_STORE_CTX *check)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
    aco_secure *s = SSL_get_app_data(ssl);

    if (good) return 1;
    if (aco_secret_mode(s->secret) == ACO_MODE_CERTIFICATES && s->error == NULL)
        s->error = aco_certificate_complaint(check, s->host);
    return 0;
}

static bool
host_expect(aco_secure *s)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(s->ssl);

    if (s->server || aco_secret_mode(s->secret) != ACO_MODE_CERTIFICATES) return true;
    if (s->host == NULL) return false;
    if (X509_VERIFY_PARAM_set1_ip_asc(param, s->host) == 1) return true;
    ERR_clear_error();
    return SSL_set1_host(s->ssl, s->host) == 1 && SSL_set_tlsext_host_name(s->ssl, s->host) == 1;
}

static bool
tls_open(aco_secure *s)
{
    uint8_t name[13];

    s->ssl = aco_secret_connection(s->secret, s->server);
    if (s->ssl == NULL || SSL_set_app_data(s->ssl, s) != 1 ||
        !aco_tls_wire_init(&s->wire, s->fd, s->ssl) || !host_expect(s))
        return false;
    protocol_name(s, name);
    SSL_set_verify(s->ssl, SSL_get_verify_mode(s->ssl), certificate_look);
    if (s->server) {
        SSL_CTX_set_alpn_select_cb(SSL_get_SSL_CTX(s->ssl), protocol_choose, NULL);
        SSL_set_accept_state(s->ssl);
        return true;
    }
    SSL_set_connect_state(s->ssl);
    return SSL_set_alpn_protos(s->ssl, name, sizeof name) == 0;
}

/* With a secret there are few ways to fail, and most of them are that the secrets differ. */
static bool
is_wrong_secret(int reason)
{
    switch (reason) {
    case SSL_R_BINDER_DOES_NOT_VERIFY:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_BAD_PSK_IDENTITY:
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_AD_REASON_OFFSET + SSL_AD_ILLEGAL_PARAMETER:
    case SSL_AD_REASON_OFFSET + SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_REASON_OFFSET + SSL_AD_DECRYPT_ERROR:
    case SSL_AD_REASON_OFFSET + SSL_AD_UNKNOWN_PSK_IDENTITY:
        return true;
    default:
        return false;
    }
}

static int
tls_fail(aco_secure *s)
{
    unsigned long code = ERR_peek_error();
    char *text = NULL;

    if (!s->shaken && aco_secret_mode(s->secret) == ACO_MODE_SECRET &&
        is_wrong_secret(ERR_GET_REASON(code))) {
        ERR_clear_error();
        return fail(s, ACO_EAUTH, "the secrets differ: give both processes the same one");
    }
    int err = aco_tls_error(&text, s->shaken);
    if (s->error == NULL)
        s->error = text;
    else
        free(text);
    return err;
}

/* What a call of OpenSSL that did not succeed means. */
static int
tls_result(aco_secure *s, int result)
{
    switch (SSL_get_error(s->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        if (!s->wire.ended) return ACO_EBUSY;
        break;
    case SSL_ERROR_WANT_WRITE:
        return ACO_EBUSY;
    case SSL_ERROR_ZERO_RETURN:
        return fail(s, ACO_EEOF, "the other side closed the connection");
    default:
        break;
    }
    if (s->wire.errnum != 0) return errno_fail(s, s->wire.errnum);
    if (!s->wire.ended) return tls_fail(s);
    ERR_clear_error();
    return fail(s, ACO_ETRUNCATED,
                s->shaken ? "the connection ended without a word"
                          : "the other side closed during the handshake");
}

int
aco_secure_flush(aco_secure *s)
{
    if (s->ssl == NULL) return ACO_OK;
    int err = aco_tls_wire_send(&s->wire);
    return err == ACO_OK || err == ACO_EBUSY ? err : errno_fail(s, s->wire.send_errnum);
}

static int
tls_shake(aco_secure *s)
{
    ERR_clear_error();
    s->wire.drained = false;
    int result = SSL_do_handshake(s->ssl);
    int flushed = aco_secure_flush(s); /* an alert, too */
    if (result != 1) return tls_result(s, result);
    if (aco_secret_mode(s->secret) == ACO_MODE_SECRET && !SSL_session_reused(s->ssl))
        return fail(s, ACO_EAUTH, "the other side did not use the secret");
    return flushed == ACO_EBUSY ? ACO_OK : flushed;
}

/* Both ----------------------------------------------------------------------------------------- */

aco_secure *
aco_secure_new(aco_secret *secret, int fd, bool server, const uint8_t preface[ACO_PREFACE_SIZE],
               const char *host, uint16_t port)
{
    aco_secure *s = calloc(1, sizeof *s);
    bool made;

    if (s == NULL) return NULL;
    s->secret = aco_secret_ref(secret);
    s->fd = fd;
    s->server = server;
    s->port = port;
    memcpy(s->preface, preface, sizeof s->preface);
    if (host != NULL) s->host = strdup(host);
    if (aco_secret_mode(secret) == ACO_MODE_KEY) {
        s->proof = calloc(1, sizeof *s->proof);
        made = s->proof != NULL && aco_random(s->proof->mine, NONCE) == ACO_OK;
    } else {
        made = tls_open(s);
    }
    if (made && (host == NULL || s->host != NULL)) return s;
    ERR_clear_error();
    aco_secure_free(s);
    return NULL;
}

void
aco_secure_free(aco_secure *s)
{
    if (s == NULL) return;
    SSL_free(s->ssl);
    aco_tls_wire_fini(&s->wire);
    aco_secret_unref(s->secret);
    free(s->proof);
    free(s->gather);
    free(s->host);
    free(s->error);
    free(s);
}

int
aco_secure_shake(aco_secure *s)
{
    if (s->shaken) return ACO_OK;
    int err = s->ssl != NULL ? tls_shake(s) : proof_shake(s);
    s->shaken = err == ACO_OK;
    return err;
}

short
aco_secure_wants(const aco_secure *s)
{
    bool out = s->ssl != NULL     ? aco_tls_wire_holds(&s->wire)
               : s->proof != NULL ? s->proof->sent < s->proof->out_size
                                  : false;

    return (short)(POLLIN | (out ? POLLOUT : 0));
}

bool
aco_secure_plain(const aco_secure *s)
{
    return s->ssl == NULL;
}

bool
aco_secure_holds(const aco_secure *s)
{
    return s->ssl != NULL && SSL_has_pending(s->ssl);
}

static int
plain_read(aco_secure *s, void *data, size_t size, size_t *got)
{
    ssize_t n = recv(s->fd, data, size, 0);

    if (n > 0) {
        *got = (size_t)n;
        return ACO_OK;
    }
    if (n == 0) return fail(s, ACO_EEOF, "the other side closed the connection");
    return errno == EAGAIN || errno == EINTR ? ACO_EBUSY : errno_fail(s, errno);
}

/* As many records as are there: one call of OpenSSL gives one. */
static int
tls_read(aco_secure *s, uint8_t *data, size_t size, size_t *got)
{
    size_t total = 0, n = 0;
    int result = 1;

    ERR_clear_error();
    s->wire.drained = false;
    while (total < size && (result = SSL_read_ex(s->ssl, data + total, size - total, &n)) == 1)
        total += n;
    *got = total;
    if (total > 0) {
        ERR_clear_error(); /* what ended it comes again */
        return ACO_OK;
    }
    return tls_result(s, result);
}

int
aco_secure_read(aco_secure *s, void *data, size_t size, size_t *got)
{
    return s->ssl != NULL ? tls_read(s, data, size, got) : plain_read(s, data, size, got);
}

static int
plain_write(aco_secure *s, const struct iovec *pieces, int count, size_t *put)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)pieces,
                             .msg_iovlen = (size_t)count};
    ssize_t n = sendmsg(s->fd, &message, MSG_NOSIGNAL);

    if (n >= 0) {
        *put = (size_t)n;
        return ACO_OK;
    }
    return errno == EAGAIN || errno == EINTR ? ACO_EBUSY : errno_fail(s, errno);
}

/* A place in what is to be written. */
struct cursor {
    const struct iovec *piece, *end;
    size_t taken; /* of the piece */
};

/* The bytes of the next record, RECORD at most: where they lie, or, of small pieces, together. */
static const void *
record_next(aco_secure *s, struct cursor *at, size_t *size)
{
    size_t filled = 0;

    while (at->piece < at->end && filled < RECORD) {
        const uint8_t *data = (const uint8_t *)at->piece->iov_base + at->taken;
        size_t left = at->piece->iov_len - at->taken;
        if (filled == 0 && (left >= RECORD || (left > 0 && at->piece + 1 == at->end))) {
            *size = left < RECORD ? left : RECORD;
            at->taken += *size;
            return data;
        }
        if (left > RECORD - filled) left = RECORD - filled;
        memcpy(s->gather + filled, data, left);
        filled += left;
        at->taken += left;
        if (at->taken == at->piece->iov_len) {
            at->piece++;
            at->taken = 0;
        }
    }
    *size = filled;
    return s->gather;
}

static int
tls_write(aco_secure *s, const struct iovec *pieces, int count, size_t *put)
{
    struct cursor at = {.piece = pieces, .end = pieces + count};
    size_t total = 0, size, n;
    int result = 1;

    if (s->gather == NULL && (s->gather = malloc(RECORD)) == NULL) return ACO_ENOMEM;
    int err = aco_secure_flush(s);
    if (err != ACO_OK) return err;
    ERR_clear_error();
    while (total < GATHER) {
        const void *data = record_next(s, &at, &size);
        if (size == 0 || (result = SSL_write_ex(s->ssl, data, size, &n)) != 1) break;
        total += n;
        if (n < size) break;
    }
    if (total == 0) return size == 0 ? ACO_OK : tls_result(s, result);
    *put = total;
    err = aco_secure_flush(s);
    return err == ACO_EBUSY ? ACO_OK : err;
}

int
aco_secure_write(aco_secure *s, const struct iovec *pieces, int count, size_t *put)
{
    *put = 0;
    return s->ssl != NULL ? tls_write(s, pieces, count, put) : plain_write(s, pieces, count, put);
}
