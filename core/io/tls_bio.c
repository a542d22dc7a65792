/* SPDX-License-Identifier: MIT */
#include "core/io/tls_bio.h"
#include "core/base/error.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

static int
wire_read(BIO *bio, char *data, int size)
{
    aco_tls_wire *wire = BIO_get_data(bio);
    int flags = wire->impatient ? MSG_DONTWAIT : 0;
    ssize_t n = -1;

    BIO_clear_retry_flags(bio);
    errno = EAGAIN;
    while (!wire->drained && (n = recv(wire->fd, data, (size_t)size, flags)) < 0 && errno == EINTR)
        ;
    if (n < 0 && errno == EAGAIN) {
        wire->drained = true;
        BIO_set_retry_read(bio);
    } else if (n < 0) {
        wire->errnum = errno;
    } else {
        wire->ended = n == 0;
        wire->drained = n > 0 && n < size;
    }
    return (int)n;
}

static int
wire_write(BIO *bio, const char *data, int size)
{
    aco_tls_wire *wire = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (aco_buf_add(&wire->out, data, (size_t)size) == ACO_OK) return size;
    wire->errnum = ENOMEM;
    return -1;
}

static long
wire_ctrl(BIO *bio, int command, long number, void *arg)
{
    const aco_tls_wire *wire = BIO_get_data(bio);

    (void)number;
    (void)arg;
    if (command == BIO_CTRL_EOF) return wire->ended;
    return command == BIO_CTRL_FLUSH;
}

bool
aco_tls_wire_init(aco_tls_wire *wire, int fd, SSL *ssl)
{
    *wire = (aco_tls_wire){.fd = fd, .method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "asyncoro")};
    if (wire->method == NULL || BIO_meth_set_read(wire->method, wire_read) != 1 ||
        BIO_meth_set_write(wire->method, wire_write) != 1 ||
        BIO_meth_set_ctrl(wire->method, wire_ctrl) != 1)
        return false;
    BIO *bio = BIO_new(wire->method);
    if (bio == NULL) return false;
    BIO_set_data(bio, wire);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    return true;
}

void
aco_tls_wire_fini(aco_tls_wire *wire)
{
    BIO_meth_free(wire->method);
    aco_buf_free(&wire->out);
}

int
aco_tls_wire_send(aco_tls_wire *wire)
{
    while (wire->sent < wire->out.size) {
        ssize_t n = send(wire->fd, wire->out.data + wire->sent, wire->out.size - wire->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return ACO_EBUSY;
        if (n < 0) {
            wire->send_errnum = errno;
            return aco_err_from_errno(errno);
        }
        wire->sent += (size_t)n;
    }
    wire->out.size = wire->sent = 0;
    return ACO_OK;
}

void
aco_tls_wire_rest(aco_tls_wire *wire)
{
    wire->drained = false;
    if (wire->out.size == 0) aco_buf_free(&wire->out);
}
