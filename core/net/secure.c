/* SPDX-License-Identifier: MIT */
#include "core/net/secure.h"
#include "core/base/error.h"
#include "core/io/certificate.h"
#include "core/io/tls_bio.h"
#include "core/io/tls_error.h"
#include "core/net/proof.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A record of TLS; how many bytes one call encrypts, and receives; what an idle end may keep. */
enum { RECORD = 16 * 1024, GATHER = 128 * 1024, RECEIVE = 4 * 16 * 1024, IDLE = 4 * 1024 };
enum { PROTOCOL = 12 }; /* the size of "asyncoro/1 M" */

struct aco_secure {
    aco_secret *secret; /* owned reference */
    int fd;
    bool server, shaken;
    bool more;    /* a read may give bytes that were received already */
    bool ended;   /* this side has said that it sends no more */
    uint8_t kind; /* of the preface */
    char *host;   /* owned */
    char *error;  /* owned; NULL: `what` */
    const char *what;
    aco_proof *proof; /* mode K, until it is done */
    SSL *ssl;         /* the other modes */
    int broken;       /* why reads will fail, once what came before was given */
    aco_tls_wire wire;
    uint8_t *gather; /* RECORD bytes, from the first write of small pieces on */
};

static int
fail(aco_secure *s, int err, const char *what)
{
    free(s->error);
    s->error = NULL;
    s->what = what;
    return err;
}

static int
errno_fail(aco_secure *s, int errnum)
{
    char text[128];

    (void)fail(s, ACO_OK, NULL);
    s->error = strdup(strerror_r(errnum, text, sizeof text));
    return aco_err_from_errno(errnum);
}

const char *
aco_secure_error(const aco_secure *s)
{
    if (s->error != NULL) return s->error;
    return s->what != NULL ? s->what : "not enough memory";
}

/* What goes wrong under TLS -------------------------------------------------------------------- */

#define ALERT(number) (SSL_AD_REASON_OFFSET + (number))

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
    case ALERT(SSL_AD_ILLEGAL_PARAMETER):
    case ALERT(SSL_AD_HANDSHAKE_FAILURE):
    case ALERT(SSL_AD_DECRYPT_ERROR):
    case ALERT(SSL_AD_UNKNOWN_PSK_IDENTITY):
    case ALERT(SSL_AD_BAD_CERTIFICATE):
    case ALERT(SSL_AD_UNKNOWN_CA):
        return true;
    default:
        return false;
    }
}

/* What has other words here than with a stream of TLS, where the options have other names. */
static const char *
special(int reason)
{
    switch (reason) {
    case ALERT(TLS13_AD_CERTIFICATE_REQUIRED):
        return "the other side wants a certificate, and this side gave none: set certfile and "
               "keyfile";
    case ALERT(SSL_AD_UNKNOWN_CA):
        return "the other side does not know who issued this side's certificate: put that "
               "authority into its cafile";
    case ALERT(SSL_AD_BAD_CERTIFICATE):
        return "the other side refuses this side's certificate: is it for the host by which this "
               "side is known there?";
    case ALERT(SSL_AD_CERTIFICATE_EXPIRED):
        return "the other side refuses this side's certificate, as it has expired: renew it (or a "
               "clock is wrong)";
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case ALERT(SSL_AD_NO_APPLICATION_PROTOCOL):
        return "the two sides want different things of the connection: something on the way has "
               "changed its first bytes";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "the other side gave no certificate: set certfile and keyfile there";
    default:
        return NULL;
    }
}

static int
tls_fail(aco_secure *s)
{
    int reason = ERR_GET_REASON(ERR_peek_error());
    const char *words = special(reason);
    char *text = NULL;

    if (!s->shaken && aco_secret_mode(s->secret) == ACO_MODE_SECRET && is_wrong_secret(reason)) {
        ERR_clear_error();
        return fail(s, ACO_EAUTH, "the secrets differ: give both processes the same one");
    }
    int err = aco_tls_error(&text, s->shaken);
    if (s->error != NULL) { /* the complaint about a certificate says more */
        free(text);
        return ACO_EAUTH;
    }
    if (words == NULL) {
        s->error = text;
        return err;
    }
    free(text);
    return fail(s, ACO_EAUTH, words);
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
        if (s->shaken) return fail(s, ACO_EEOF, "the other side closed the connection");
        s->wire.ended = true;
        break;
    default:
        break;
    }
    if (s->wire.errnum != 0) return errno_fail(s, s->wire.errnum);
    if (!s->wire.ended) return tls_fail(s);
    ERR_clear_error();
    return fail(s, ACO_ETRUNCATED,
                s->shaken ? "the connection ended without a word"
                          : "the other side closed during the handshake: it is no process of "
                            "asyncoro, has ended, or has too many connections");
}

/* Nothing can be sent any more. Why, the other side may have said before. */
static int
send_fail(aco_secure *s)
{
    uint8_t byte;
    size_t n;

    if (s->broken == ACO_OK && s->shaken) {
        ERR_clear_error();
        s->wire.drained = false;
        int result = SSL_peek_ex(s->ssl, &byte, 1, &n);
        int err = result == 1 ? ACO_EBUSY : tls_result(s, result);
        ERR_clear_error();
        if (err != ACO_EBUSY) s->broken = err;
    }
    if (s->broken == ACO_EAUTH || s->broken == ACO_EPROTOCOL) return s->broken;
    return errno_fail(s, s->wire.send_errnum);
}

/* The handshake of TLS ------------------------------------------------------------------------- */

/* The wanted kind of connection is a part of what both sides agree upon. The size of the name comes
 * before it. */
static void
protocol_name(const aco_secure *s, uint8_t name[1 + PROTOCOL])
{
    memcpy(name, "\014asyncoro/1 ", PROTOCOL);
    name[PROTOCOL] = s->kind;
}

int
aco_secure_choose(SSL *ssl, const uint8_t **chosen, uint8_t *size, const uint8_t *offered,
                  unsigned int offered_size, void *arg)
{
    const aco_secure *s = SSL_get_app_data(ssl);
    uint8_t name[1 + PROTOCOL];

    (void)arg;
    protocol_name(s, name);
    if (offered_size != sizeof name || memcmp(offered, name, sizeof name) != 0)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *chosen = offered + 1;
    *size = PROTOCOL;
    return SSL_TLSEXT_ERR_OK;
}

/* Did the other side name it too? */
static bool
protocol_is_chosen(const aco_secure *s)
{
    uint8_t name[1 + PROTOCOL];
    const unsigned char *chosen;
    unsigned int size;

    protocol_name(s, name);
    SSL_get0_alpn_selected(s->ssl, &chosen, &size);
    return size == PROTOCOL && memcmp(chosen, name + 1, PROTOCOL) == 0;
}

/* What is wrong with a certificate is said while it is looked at. */
static int
certificate_look(int good, X509_STORE_CTX *check)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
    aco_secure *s = SSL_get_app_data(ssl);

    if (good) return 1;
    if (aco_secret_mode(s->secret) == ACO_MODE_CERTIFICATES && s->error == NULL)
        s->error = aco_certificate_complaint(
            check, s->host, "cafile",
            "dial a name that it has, or have one issued that is for this name too");
    return 0;
}

/* To OpenSSL no host means that any will do; here it is an error, of the handshake. */
static bool
host_expect(aco_secure *s)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(s->ssl);

    if (s->server || aco_secret_mode(s->secret) != ACO_MODE_CERTIFICATES) return true;
    if (s->host != NULL) s->host[strcspn(s->host, "%")] = '\0'; /* "fe80::1%eth0" */
    if (s->host == NULL || s->host[0] == '\0') {
        s->broken = fail(s, ACO_EINVALID, "it is not known which host's certificate to expect");
        return true;
    }
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, s->host) == 1) return true;
    ERR_clear_error();
    return SSL_set1_host(s->ssl, s->host) == 1 && SSL_set_tlsext_host_name(s->ssl, s->host) == 1;
}

static bool
tls_open(aco_secure *s)
{
    uint8_t name[1 + PROTOCOL];

    s->ssl = aco_secret_connection(s->secret, s->server);
    if (s->ssl == NULL || SSL_set_app_data(s->ssl, s) != 1 ||
        !aco_tls_wire_init(&s->wire, s->fd, s->ssl) || !host_expect(s))
        return false;
    s->wire.impatient = true;
    protocol_name(s, name);
    SSL_set_verify(s->ssl, SSL_get_verify_mode(s->ssl), certificate_look);
    if (s->server) {
        SSL_set_accept_state(s->ssl);
        return true;
    }
    SSL_set_connect_state(s->ssl);
    return SSL_set_alpn_protos(s->ssl, name, sizeof name) == 0;
}

static int
tls_shake(aco_secure *s)
{
    ERR_clear_error();
    s->wire.drained = false;
    int result = SSL_do_handshake(s->ssl);
    int flushed = aco_tls_wire_send(&s->wire); /* an alert, too */
    if (result != 1) return tls_result(s, result);
    if (aco_secret_mode(s->secret) == ACO_MODE_SECRET && !SSL_session_reused(s->ssl))
        return fail(s, ACO_EAUTH, "the other side did not use the secret: it is no peer");
    if (!protocol_is_chosen(s))
        return fail(s, ACO_EPROTOCOL, "the other side does not speak asyncoro's protocol");
    s->shaken = true;
    s->more = SSL_has_pending(s->ssl);
    SSL_set_default_read_buffer_len(s->ssl, RECEIVE); /* not before it is known who it is */
    return flushed == ACO_OK || flushed == ACO_EBUSY ? ACO_OK : send_fail(s);
}

/* The key file's ------------------------------------------------------------------------------- */

static int
proof_shake(aco_secure *s)
{
    const char *why = NULL;
    int err = aco_proof_shake(s->proof, s->fd, &why);

    if (err == ACO_EBUSY) return err;
    if (err != ACO_OK) return why != NULL ? fail(s, err, why) : errno_fail(s, errno);
    aco_proof_free(s->proof);
    s->proof = NULL;
    s->shaken = true;
    return ACO_OK;
}

/* Both ----------------------------------------------------------------------------------------- */

aco_secure *
aco_secure_new(aco_secret *secret, int fd, bool server, const uint8_t preface[ACO_PREFACE_SIZE],
               const char *host, uint16_t port)
{
    aco_secure *s = calloc(1, sizeof *s);

    if (s == NULL) return NULL;
    s->secret = aco_secret_ref(secret);
    s->fd = fd;
    s->server = server;
    s->kind = preface[4];
    if (host != NULL && (s->host = strdup(host)) == NULL) {
        aco_secure_free(s);
        return NULL;
    }
    if (aco_secret_mode(secret) == ACO_MODE_KEY) {
        s->proof = aco_proof_new(secret, server, preface, port);
        if (s->proof != NULL) return s;
    } else if (tls_open(s)) {
        return s;
    }
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
    aco_proof_free(s->proof);
    aco_secret_unref(s->secret);
    free(s->gather);
    free(s->host);
    free(s->error);
    free(s);
}

int
aco_secure_shake(aco_secure *s)
{
    if (s->shaken) return ACO_OK;
    if (s->broken != ACO_OK) return s->broken;
    int err = s->ssl != NULL ? tls_shake(s) : proof_shake(s);
    if (err != ACO_OK && err != ACO_EBUSY) s->broken = err;
    return err;
}

short
aco_secure_wants(const aco_secure *s)
{
    bool out = s->ssl != NULL     ? aco_tls_wire_holds(&s->wire)
               : s->proof != NULL ? aco_proof_holds(s->proof)
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
    return s->more;
}

/* Reading -------------------------------------------------------------------------------------- */

static int
plain_read(aco_secure *s, void *data, size_t size, size_t *got)
{
    ssize_t n = recv(s->fd, data, size, MSG_DONTWAIT);

    if (n > 0) {
        *got = (size_t)n;
        return ACO_OK;
    }
    if (n == 0) return fail(s, ACO_EEOF, "the other side closed the connection");
    return errno == EAGAIN || errno == EINTR ? ACO_EBUSY : errno_fail(s, errno);
}

/* An end that has nothing to do keeps no memory for it. */
static void
give_back(aco_secure *s)
{
    if (s->wire.out.size > 0 || s->wire.out.capacity <= IDLE) return;
    aco_buf_free(&s->wire.out);
    free(s->gather);
    s->gather = NULL;
}

/* As many records as are there: one call of OpenSSL gives one. */
static int
tls_read(aco_secure *s, uint8_t *data, size_t size, size_t *got)
{
    size_t total = 0, n = 0;
    int result = 1;

    if (s->broken != ACO_OK) {
        s->more = false;
        return s->broken;
    }
    ERR_clear_error();
    s->wire.drained = false;
    while (total < size && (result = SSL_read_ex(s->ssl, data + total, size - total, &n)) == 1)
        total += n;
    *got = total;
    if (result == 1) {
        s->more = SSL_has_pending(s->ssl);
        return ACO_OK;
    }
    int err = tls_result(s, result);
    if (err != ACO_EBUSY) s->broken = err;
    s->more = err != ACO_EBUSY && total > 0;
    if (err == ACO_EBUSY && total == 0) give_back(s);
    return total > 0 ? ACO_OK : err;
}

int
aco_secure_read(aco_secure *s, void *data, size_t size, size_t *got)
{
    *got = 0;
    return s->ssl != NULL ? tls_read(s, data, size, got) : plain_read(s, data, size, got);
}

/* Writing -------------------------------------------------------------------------------------- */

static int
plain_write(aco_secure *s, const struct iovec *pieces, int count, size_t *put)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)pieces,
                             .msg_iovlen = (size_t)count};
    ssize_t n = sendmsg(s->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

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

/* What OpenSSL makes of it gathers in memory, so it never takes only half of a record, and whoever
 * calls again may give other pointers. */
static int
tls_write(aco_secure *s, const struct iovec *pieces, int count, size_t *put)
{
    struct cursor at = {.piece = pieces, .end = pieces + count};
    size_t total = 0, size = 0, n = 0;
    int result = 1;

    if (s->gather == NULL && (s->gather = malloc(RECORD)) == NULL) return fail(s, ACO_ENOMEM, NULL);
    int err = aco_secure_flush(s);
    if (err != ACO_OK) return err;
    ERR_clear_error();
    while (total < GATHER) {
        const void *data = record_next(s, &at, &size);
        if (size == 0 || (result = SSL_write_ex(s->ssl, data, size, &n)) != 1) break;
        total += n;
        if (n < size) break;
    }
    if (result != 1) return tls_result(s, result);
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

int
aco_secure_flush(aco_secure *s)
{
    if (s->ssl == NULL) return ACO_OK;
    int err = aco_tls_wire_send(&s->wire);
    return err == ACO_OK || err == ACO_EBUSY ? err : send_fail(s);
}

int
aco_secure_end(aco_secure *s)
{
    if (s->ssl != NULL && !s->ended && s->shaken) {
        ERR_clear_error();
        (void)SSL_shutdown(s->ssl);
        ERR_clear_error();
        s->ended = true;
    }
    int err = aco_secure_flush(s);
    if (err == ACO_OK) (void)shutdown(s->fd, SHUT_WR);
    return err;
}
