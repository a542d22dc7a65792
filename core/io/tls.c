/* SPDX-License-Identifier: MIT */
#include "core/io/tls.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/io/address.h"
#include "core/io/tls_bio.h"
#include "core/io/tls_error.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Small pieces are put into one record; so much is encrypted before it is sent. */
enum { RECORD = 16384, BATCH = 4 * RECORD, NAME_MAX_SIZE = 253 };

typedef struct tls {
    aco_tls_wire wire;
    SSL *ssl;
    aco_tls_context *context;
    char *name;      /* of the server, for a client */
    char *key;       /* under which its sessions are kept */
    char *complaint; /* about the other side's certificate */
    pid_t owner;     /* a fork's child says nothing on its parent's connection */
    int failed;      /* all operations give this error */
    int unsendable;  /* those that send give this one */
    bool server, established;
    bool checked; /* chain and name of the other side's certificate must be good */
} tls;

/* Ends and errors -------------------------------------------------------------------------------
 */

static void
tls_wake(aco_stream *s)
{
    aco_waitq_wake_all(s->loop, &s->reader.queue, ACO_OK);
    aco_waitq_wake_all(s->loop, &s->writer.queue, ACO_OK);
}

/* From now on everything gives this error; `text`, which may be NULL, is the stream's. Who waits in
 * the other direction is to see it too. */
static int
tls_fail(aco_stream *s, int err, char *text)
{
    tls *t = s->state;

    free(s->error);
    s->error = text;
    t->failed = err;
    if (!t->established && t->key != NULL) aco_tls_context_forget(t->context, t->key);
    tls_wake(s);
    return err;
}

static int
tls_broken(aco_stream *s, int errnum)
{
    s->errnum = errnum;
    return tls_fail(s, aco_err_from_errno(errnum), NULL);
}

/* Why a call of OpenSSL that gave `result` did not succeed: ACO_EBUSY: it wants to read. */
static int
tls_outcome(aco_stream *s, int result)
{
    tls *t = s->state;
    char *text = NULL;

    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return ACO_EBUSY;
    case SSL_ERROR_ZERO_RETURN:
        return ACO_EEOF;
    default:
        break;
    }
    if (t->wire.errnum != 0) return tls_broken(s, t->wire.errnum);
    if (t->complaint != NULL) {
        text = t->complaint;
        t->complaint = NULL;
        return tls_fail(s, ACO_EAUTH, text);
    }
    if (t->wire.ended) {
        text = strdup(t->established ? "the connection ended without the end of TLS: what was to "
                                       "follow may be missing"
                                     : "the other side closed the connection in the TLS handshake");
        return tls_fail(s, ACO_ETRUNCATED, text);
    }
    int err = aco_tls_error(&text, t->established);
    return tls_fail(s, err, text);
}

/* Send what OpenSSL has made. */
static int
tls_flush(aco_stream *s, aco_waitq **wait)
{
    tls *t = s->state;

    if (t->unsendable != ACO_OK) return t->unsendable;
    int err = aco_tls_wire_send(&t->wire);
    if (ACO_LIKELY(err == ACO_OK)) return ACO_OK;
    if (err == ACO_EBUSY) return aco_stream_await(&s->writer, wait);
    s->errnum = t->wire.send_errnum;
    t->unsendable = err;
    return err;
}

static int
tls_await_bytes(aco_stream *s, aco_waitq **wait)
{
    tls *t = s->state;

    aco_tls_wire_rest(&t->wire);
    return aco_stream_await(&s->reader, wait);
}

/* Handshake -------------------------------------------------------------------------------------
 */

/* Has the certificate one of the pins, where there are any? If not, keeps the complaint. */
static bool
pin_fits(tls *t, const X509 *cert)
{
    const struct aco_tls_config *config = aco_tls_context_config(t->context);
    char subject[ACO_CERTIFICATE_TEXT], coded[2 * ACO_CERTIFICATE_HASH];
    uint8_t pin[ACO_CERTIFICATE_HASH];

    if (config->pin_count == 0 || t->server) return true;
    if (cert == NULL || !aco_certificate_pin(cert, pin)) return false;
    for (size_t i = 0; i < config->pin_count; i++)
        if (memcmp(config->pins + i * ACO_TLS_PIN, pin, ACO_TLS_PIN) == 0) return true;
    aco_certificate_subject(cert, subject);
    EVP_EncodeBlock((unsigned char *)coded, pin, ACO_CERTIFICATE_HASH);
    free(t->complaint);
    if (asprintf(&t->complaint,
                 "the key of the certificate of %s has none of the pins given: its pin is "
                 "sha256//%s; if its owner has changed it, give that pin",
                 subject, coded) < 0)
        t->complaint = NULL;
    return false;
}

/* Pins are looked at in the handshake, so that the other side is told; of a session that was
 * resumed here. */
static int
check_pins(aco_stream *s)
{
    tls *t = s->state;
    X509 *peer = SSL_get_peer_certificate(t->ssl);
    bool fits = pin_fits(t, peer);
    char *text = t->complaint;

    X509_free(peer);
    if (fits) return ACO_OK;
    t->complaint = NULL;
    return tls_fail(s, ACO_EAUTH, text);
}

static int
handshake_done(aco_stream *s)
{
    tls *t = s->state;
    int err = check_pins(s);

    if (err != ACO_OK) return err;
    t->established = true;
    s->limit = ACO_NEVER;
    tls_wake(s); /* bytes that others wait for may have come with it */
    return ACO_OK;
}

/* It cannot be sent: perhaps the other side has said why before it went. */
static int
handshake_broken(aco_stream *s)
{
    tls *t = s->state;
    int err = t->unsendable, errnum = s->errnum;

    ERR_clear_error();
    aco_tls_wire_rest(&t->wire);
    int outcome = tls_outcome(s, SSL_do_handshake(t->ssl));
    if (outcome == ACO_EAUTH || outcome == ACO_EPROTOCOL) return outcome;
    s->errnum = errnum;
    return tls_fail(s, err, NULL);
}

static int
handshake_too_long(aco_stream *s)
{
    return tls_fail(s, ACO_ETIMEOUT, strdup("the TLS handshake took too long"));
}

/* The wait must not be longer than a handshake may be. */
static void
handshake_limit(aco_stream *s)
{
    const tls *t = s->state;
    aco_time most = aco_tls_context_config(t->context)->handshake;

    if (s->limit == ACO_NEVER && most != ACO_NEVER) s->limit = aco_now() + most;
}

static int
handshake_step(aco_stream *s, aco_waitq **wait)
{
    tls *t = s->state;

    handshake_limit(s);
    if (s->limit != ACO_NEVER && aco_now() >= s->limit) return handshake_too_long(s);
    int sent = tls_flush(s, wait);
    if (sent == ACO_EBUSY) return sent;
    ERR_clear_error();
    int result = SSL_do_handshake(t->ssl);
    int err = result == 1 ? ACO_OK : tls_outcome(s, result);
    if (sent == ACO_OK) sent = tls_flush(s, wait);
    if (err == ACO_EEOF) return tls_fail(s, ACO_ETRUNCATED, strdup("the other side broke off"));
    if (err != ACO_OK && err != ACO_EBUSY) return err;
    if (sent == ACO_EBUSY) return sent;
    if (sent != ACO_OK) return handshake_broken(s);
    return err == ACO_OK ? handshake_done(s) : tls_await_bytes(s, wait);
}

int
aco_tls_handshake(aco_stream *s, aco_waitq **wait)
{
    const tls *t = s->state;

    if (s->transport == NULL) return ACO_ECLOSED;
    if (t->failed != ACO_OK || t->established) return t->failed;
    return handshake_step(s, wait);
}

/* The transport ---------------------------------------------------------------------------------
 */

static int
tls_read(aco_stream *s, void *data, size_t size, size_t *got, aco_waitq **wait)
{
    tls *t = s->state;
    int err = aco_tls_handshake(s, wait);
    size_t n;

    if (err != ACO_OK) return err;
    *got = 0;
    ERR_clear_error();
    while (*got < size && SSL_read_ex(t->ssl, (uint8_t *)data + *got, size - *got, &n) == 1)
        *got += n;
    if (*got == size) return ACO_OK;
    err = tls_outcome(s, 0);
    if (*got > 0) return ACO_OK; /* an end, or an error, is there the next time too */
    if (err != ACO_EBUSY) return err;
    if (aco_tls_wire_holds(&t->wire)) (void)!tls_flush(s, wait); /* an answer to a key update */
    return tls_await_bytes(s, wait);
}

/* Read without taking: is there anything, an end and an error included? */
static int
tls_ready(aco_stream *s, aco_waitq **wait)
{
    tls *t = s->state;
    int err = aco_tls_handshake(s, wait);
    uint8_t byte;
    size_t n;

    if (err == ACO_OK) {
        ERR_clear_error();
        aco_tls_wire_rest(&t->wire);
        if (SSL_peek_ex(t->ssl, &byte, 1, &n) != 1 && tls_outcome(s, 0) == ACO_EBUSY)
            return tls_await_bytes(s, wait);
    }
    return err == ACO_EBUSY ? err : ACO_OK;
}

/* Encrypt one record's worth; a large piece as it lies, small ones side by side. How much. */
static size_t
tls_encrypt(SSL *ssl, const struct iovec **piece, const struct iovec *end, size_t *offset)
{
    uint8_t block[RECORD];
    size_t size = 0, done = 0;
    const uint8_t *data = (const uint8_t *)(*piece)->iov_base + *offset;

    if ((*piece)->iov_len - *offset >= RECORD || *piece + 1 == end) {
        size = (*piece)->iov_len - *offset;
        if (size > RECORD) size = RECORD;
        *offset += size;
        if (*offset == (*piece)->iov_len) {
            ++*piece;
            *offset = 0;
        }
        return SSL_write_ex(ssl, data, size, &done) == 1 ? done : 0;
    }
    while (*piece < end && size < RECORD) {
        size_t part = (*piece)->iov_len - *offset;
        if (part > RECORD - size) part = RECORD - size;
        memcpy(block + size, (const uint8_t *)(*piece)->iov_base + *offset, part);
        size += part;
        *offset += part;
        if (*offset < (*piece)->iov_len) break;
        ++*piece;
        *offset = 0;
    }
    return SSL_write_ex(ssl, block, size, &done) == 1 ? done : 0;
}

/* What has been encrypted counts as put: it waits in the wire, and goes out before all else. */
static int
tls_write(aco_stream *s, const struct iovec *pieces, int count, size_t *put, aco_waitq **wait)
{
    tls *t = s->state;
    const struct iovec *piece = pieces, *end = pieces + count;
    size_t offset = 0, done = 1;
    int err = aco_tls_handshake(s, wait);

    if (err == ACO_OK) err = tls_flush(s, wait);
    if (err != ACO_OK) return err;
    ERR_clear_error();
    for (*put = 0; piece < end && *put < BATCH && done > 0; *put += done)
        done = tls_encrypt(t->ssl, &piece, end, &offset);
    if (done == 0 && *put == 0) {
        err = tls_outcome(s, 0);
        return err == ACO_EBUSY ? tls_await_bytes(s, wait) : err;
    }
    (void)!tls_flush(s, wait); /* else by the next write, or by aco_stream_flush */
    return ACO_OK;
}

static int
tls_shutdown(aco_stream *s, aco_waitq **wait)
{
    tls *t = s->state;
    int err = aco_tls_handshake(s, wait);

    if (err != ACO_OK) return err;
    ERR_clear_error();
    if (!(SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN)) SSL_shutdown(t->ssl);
    return tls_flush(s, wait);
}

/* Say the end, as far as that goes at once. What was received and not read would make the system
 * reset the connection, and our last words with it. */
static void
tls_farewell(tls *t)
{
    uint8_t unread[4096];

    if (t->established && t->failed == ACO_OK) {
        ERR_clear_error();
        SSL_shutdown(t->ssl);
    }
    if (t->unsendable == ACO_OK) (void)!aco_tls_wire_send(&t->wire);
    for (int i = 0; i < 16 && recv(t->wire.fd, unread, sizeof unread, MSG_DONTWAIT) > 0; i++)
        ;
    ERR_clear_error();
}

static void
tls_free(tls *t)
{
    SSL_free(t->ssl);
    aco_tls_wire_fini(&t->wire);
    aco_tls_context_unref(t->context);
    free(t->name);
    free(t->key);
    free(t->complaint);
    free(t);
}

static void
tls_close(aco_stream *s)
{
    tls *t = s->state;

    if (t->owner == getpid()) tls_farewell(t);
    close(s->fd);
    tls_free(t);
}

static bool
tls_holds(const aco_stream *s)
{
    const tls *t = s->state;

    return t->failed != ACO_OK || (t->established && SSL_has_pending(t->ssl) == 1);
}

static const aco_transport tls_transport = {.read = tls_read,
                                            .write = tls_write,
                                            .shutdown = tls_shutdown,
                                            .close = tls_close,
                                            .holds = tls_holds,
                                            .ready = tls_ready,
                                            .flush = tls_flush};

bool
aco_tls_is(const aco_stream *s)
{
    return s->transport == &tls_transport;
}

/* Beginning -------------------------------------------------------------------------------------
 */

/* Called for each certificate of the chain, the other side's own (depth 0) last; keeps the first
 * complaint. */
static int
verify(int good, X509_STORE_CTX *check)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
    const aco_stream *s = SSL_get_app_data(ssl);
    tls *t = s->state;

    if (!good && (t->server || t->checked)) {
        if (t->complaint == NULL)
            t->complaint = aco_certificate_complaint(
                check, t->name, "ca",
                "connect to a name that it has, or say which it must have with the option name");
        return 0;
    }
    if (X509_STORE_CTX_get_error_depth(check) > 0 ||
        pin_fits(t, X509_STORE_CTX_get_current_cert(check)))
        return 1;
    X509_STORE_CTX_set_error(check, X509_V_ERR_CERT_REJECTED);
    return 0;
}

int
aco_tls_new_session(SSL *ssl, SSL_SESSION *session)
{
    const aco_stream *s = SSL_get_app_data(ssl);
    const tls *t = s->state;

    if (t == NULL || t->server || t->key == NULL) return 0;
    return aco_tls_context_keep(t->context, t->key, session) ? 1 : 0;
}

/* What a server is called, without the dot at its end. */
static int
name_copy(tls *t, const char *name)
{
    size_t size = strlen(name);

    if (size > 1 && name[size - 1] == '.') size--;
    if (size == 0 || size > NAME_MAX_SIZE) return ACO_EINVALID;
    t->name = strndup(name, size);
    return t->name != NULL ? ACO_OK : ACO_ENOMEM;
}

/* The one place where a client says which name the certificate must have, and asks for it. */
static int
want_name(tls *t)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    aco_address address;
    bool done = true;

    if (aco_address_parse(&address, t->name, 0) == ACO_OK) {
        char *zone = strchr(t->name, '%');
        if (zone != NULL) *zone = '\0';
        if (t->checked) done = X509_VERIFY_PARAM_set1_ip_asc(param, t->name) == 1;
    } else {
        SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        if (t->checked) done = SSL_set1_host(t->ssl, t->name) == 1;
        if (done) done = SSL_set_tlsext_host_name(t->ssl, t->name) == 1;
    }
    return done ? ACO_OK : ACO_EINVALID;
}

static void
resume(tls *t, int fd)
{
    char where[ACO_ADDRESS_TEXT];
    aco_address peer;
    SSL_SESSION *session;

    if (aco_address_of(&peer, fd, true) != ACO_OK) return;
    aco_address_text(&peer, where);
    if (asprintf(&t->key, "%s %d %s", t->name != NULL ? t->name : "", aco_address_port(&peer),
                 aco_address_port(&peer) == 0 ? where : "") < 0)
        t->key = NULL;
    if (t->key != NULL && (session = aco_tls_context_session(t->context, t->key)) != NULL)
        SSL_set_session(t->ssl, session);
}

static int
begin_client(tls *t, const char *name, int fd)
{
    const struct aco_tls_config *config = aco_tls_context_config(t->context);
    bool looks = !config->insecure || config->pin_count > 0;
    int err = name != NULL ? name_copy(t, name) : ACO_OK;

    if (err != ACO_OK) return err;
    t->checked = !config->insecure;
    if (t->checked && name == NULL) return ACO_EINVALID;
    SSL_set_connect_state(t->ssl);
    SSL_set_verify(t->ssl, looks ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, looks ? verify : NULL);
    if (t->name != NULL) err = want_name(t);
    if (err == ACO_OK) resume(t, fd);
    return err;
}

static int
begin_server(tls *t)
{
    static const int modes[] = {[ACO_TLS_NONE] = SSL_VERIFY_NONE,
                                [ACO_TLS_REQUEST] = SSL_VERIFY_PEER,
                                [ACO_TLS_REQUIRE] =
                                    SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT};

    enum aco_tls_verify wanted = aco_tls_context_config(t->context)->verify;
    t->server = true;
    t->checked = wanted != ACO_TLS_NONE;
    SSL_set_accept_state(t->ssl);
    SSL_set_verify(t->ssl, modes[wanted], verify);
    return ACO_OK;
}

static int
tls_new(tls **out, aco_stream *s, aco_tls_context *context, const char *name, bool server)
{
    tls *t = calloc(1, sizeof *t);

    if (t == NULL) return ACO_ENOMEM;
    ERR_clear_error();
    t->owner = getpid();
    t->context = aco_tls_context_ref(context);
    t->ssl = aco_tls_context_connection(context);
    int err = t->ssl != NULL && aco_tls_wire_init(&t->wire, s->fd, t->ssl) ? ACO_OK : ACO_ENOMEM;
    if (err == ACO_OK) {
        SSL_set_app_data(t->ssl, s);
        err = server ? begin_server(t) : begin_client(t, name, s->fd);
    }
    if (err == ACO_OK)
        *out = t;
    else
        tls_free(t);
    ERR_clear_error();
    return err;
}

int
aco_tls_start(aco_stream *s, aco_tls_context *context, const char *name, bool server)
{
    tls *t;

    if (s->transport == NULL || s->shut) return ACO_ECLOSED;
    if (s->transport != &aco_plain_transport || !s->socket) return ACO_EUNSUPPORTED;
    if (s->reading || s->writing) return ACO_EBUSY;
    if (aco_stream_size(s) > 0) return ACO_EPROTOCOL;
    int err = tls_new(&t, s, context, name, server);
    if (err != ACO_OK) return err;
    s->transport = &tls_transport;
    s->state = t;
    s->drained = false;
    return ACO_OK;
}

/* What is known ---------------------------------------------------------------------------------
 */

static void
info_peer(struct aco_tls_info *info, X509 *peer)
{
    info->peer = true;
    aco_certificate_subject(peer, info->subject);
    aco_certificate_issuer(peer, info->issuer);
    aco_certificate_span(peer, &info->not_before, &info->not_after);
    aco_certificate_hash(peer, info->fingerprint);
    aco_certificate_pin(peer, info->pin);
}

int
aco_tls_info(aco_stream *s, struct aco_tls_info *info)
{
    const tls *t = s->state;
    const unsigned char *alpn;
    unsigned int alpn_size;

    if (s->transport == NULL) return ACO_ECLOSED;
    if (!aco_tls_is(s)) return ACO_EUNSUPPORTED;
    if (t->failed != ACO_OK) return t->failed;
    if (!t->established) return ACO_EBUSY;
    *info = (struct aco_tls_info){.version = SSL_get_version(t->ssl),
                                  .cipher = SSL_get_cipher_name(t->ssl),
                                  .resumed = SSL_session_reused(t->ssl) == 1};
    SSL_get0_alpn_selected(t->ssl, &alpn, &alpn_size);
    if (alpn_size > 0 && alpn_size < sizeof info->alpn) memcpy(info->alpn, alpn, alpn_size);
    const char *sni = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
    if (sni != NULL) snprintf(info->sni, sizeof info->sni, "%s", sni);
    X509 *peer = SSL_get_peer_certificate(t->ssl);
    if (peer != NULL) info_peer(info, peer);
    info->verified = peer != NULL && t->checked && SSL_get_verify_result(t->ssl) == X509_V_OK;
    X509_free(peer);
    return ACO_OK;
}
