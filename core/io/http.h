/* SPDX-License-Identifier: MIT */
/* http.h -- HTTP/1.1 messages: heads and chunked bodies out of received bytes, by llhttp.
 *
 * A head is read when all of it is there, in one piece. Bodies of a known length, and those that
 * end with the connection, are no matter of a parser. Beyond what llhttp refuses, every line must
 * end in CR LF, and lengths, codings and hosts that two readers might understand in two ways are
 * refused: that is how requests are smuggled. Any thread. */
#ifndef ACO_HTTP_H
#define ACO_HTTP_H

#include "core/base/defs.h"

enum {
    ACO_HTTP_FIELDS = 100, /* in a head, at most */
    ACO_HTTP_OVERHEAD =
        16 * 1024,       /* bytes of a chunked body without content, in one run, at most */
    ACO_HTTP_PARSER = 16 /* words that the library's record takes */
};

/** Bytes of a head, from its start. */
typedef struct aco_http_span {
    uint32_t at, size;
} aco_http_span;

typedef struct aco_http_field {
    aco_http_span name, value;
} aco_http_field;

enum aco_http_flag {
    ACO_HTTP_KEEP_ALIVE = 1, /* the connection may be used again after this message */
    ACO_HTTP_MINOR_1 = 2,    /* HTTP/1.1, not 1.0 */
    ACO_HTTP_CHUNKED = 4,    /* the body is chunked */
    ACO_HTTP_EXPECT = 8,     /* the client waits for "100 Continue" */
    ACO_HTTP_UPGRADE = 16,   /* the connection is to change its protocol, or has */
    ACO_HTTP_UNTIL_END = 32, /* the body ends with the connection */
    ACO_HTTP_LENGTH = 64     /* the length of the body is given */
};

/** What a head says. The spans count from `data`. The memory of the fields is the caller's. */
typedef struct aco_http_head {
    const uint8_t *data;
    const char *method;             /* of a request; static */
    aco_http_span target;           /* of a request; of a response the reason */
    uint64_t length;                /* of the body, with ACO_HTTP_LENGTH */
    uint32_t size, count, capacity; /* bytes; fields; fields that there is room for */
    uint32_t status;                /* of a response */
    uint32_t flags;                 /* enum aco_http_flag */
    aco_http_field *fields;
} aco_http_head;

/** The reader of one connection. Needs no clean-up. */
typedef struct aco_http {
    uint64_t parser[ACO_HTTP_PARSER];
    aco_http_head *head; /* while one is read */
    uint8_t *body;       /* while a piece of a body is read: where its content goes */
    size_t body_size;    /* of that content */
    size_t overhead;     /* bytes since the last content of a chunked body */
    const char *error;   /* what was wrong with it, static */
    uint16_t answer;     /* the status that says so to a client */
    bool response;       /* reads responses, not requests */
    bool without_body;   /* what is read next answers a HEAD */
    bool value, over;    /* the last span was a value; the message has ended */
} aco_http;

void aco_http_init(aco_http *h, bool response);

/** Read a head from the start of `data`; `*scanned` is 0 at first, then as it was left, `limit` how
 * many bytes it may have. head->fields and head->capacity are set by the caller. ACO_OK: it took
 * the first `*taken` bytes. ACO_EBUSY: it is not whole. ACO_EPROTOCOL, ACO_ETOOLARGE,
 * ACO_EUNSUPPORTED: h->error and h->answer say why. */
ACO_MUSTUSE int aco_http_read_head(aco_http *h, const uint8_t *data, size_t size, size_t limit,
                                   size_t *scanned, aco_http_head *head, size_t *taken);

/** Read a piece of a chunked body out of `data`, whose first `*taken` bytes it took; the content
 * among them is at the start of `data` then, `*got` bytes. h->over: it was the last. ACO_EPROTOCOL:
 * h->error. */
ACO_MUSTUSE int aco_http_read_chunked(aco_http *h, uint8_t *data, size_t size, size_t *taken,
                                      size_t *got);

#endif
