/* SPDX-License-Identifier: MIT */
/* http_fuzz.c -- heads and chunked bodies out of any bytes: what is read does not depend on the
 * pieces in which they come, stays within them, and no more is taken than there is.
 *
 * The input: flags (1: a response, 2: the answer to a HEAD); the size of the pieces; the bytes. */
#include "core/io/http.h"
#include "core/base/error.h"
#include "spec/core/check.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS = 16, LIMIT = 2048 };

typedef struct reading {
    aco_http http;
    aco_http_head head;
    aco_http_field fields[FIELDS];
    size_t taken;
    int err;
} reading;

static void
check_span(const reading *r, aco_http_span span)
{
    CHECK(span.at <= r->head.size && span.size <= r->head.size - span.at);
}

static void
check_head(const reading *r, size_t size)
{
    CHECK(r->taken <= size && r->head.size <= r->taken && r->head.count <= FIELDS);
    check_span(r, r->head.target);
    for (uint32_t i = 0; i < r->head.count; i++) {
        check_span(r, r->head.fields[i].name);
        check_span(r, r->head.fields[i].value);
        CHECK(r->head.fields[i].name.size > 0);
        const uint8_t *value = r->head.data + r->head.fields[i].value.at;
        CHECK(memchr(value, '\n', r->head.fields[i].value.size) == NULL);
        CHECK(memchr(value, '\0', r->head.fields[i].value.size) == NULL);
    }
}

/* Read a head that comes in pieces of so many bytes. */
static void
read_head(reading *r, uint8_t flags, const uint8_t *data, size_t size, size_t piece)
{
    size_t have = 0, scanned = 0;

    memset(r, 0, sizeof *r);
    aco_http_init(&r->http, flags & 1);
    r->http.without_body = (flags & 3) == 3;
    r->head.fields = r->fields;
    r->head.capacity = FIELDS;
    do {
        have = size - have < piece ? size : have + piece;
        r->err = aco_http_read_head(&r->http, data, have, LIMIT, &scanned, &r->head, &r->taken);
    } while (r->err == ACO_EBUSY && have < size);
    if (r->err == ACO_OK) check_head(r, have);
    if (r->err != ACO_OK && r->err != ACO_EBUSY) CHECK(r->http.error != NULL);
}

/* Read a chunked body that comes in pieces of so many bytes; its content, and how it ended. */
static int
read_body(reading *r, const uint8_t *data, size_t size, size_t piece, uint8_t *out,
          size_t *out_size)
{
    uint8_t *buffer = malloc(piece + 1);
    int err = ACO_OK;

    CHECK(buffer != NULL);
    *out_size = 0;
    while (size > 0 && err == ACO_OK && !r->http.over) {
        size_t have = size < piece ? size : piece, taken = 0, got = 0;
        memcpy(buffer, data, have);
        err = aco_http_read_chunked(&r->http, buffer, have, &taken, &got);
        if (err != ACO_OK) break;
        CHECK(taken <= have && got <= taken && (taken > 0 || r->http.over));
        memcpy(out + *out_size, buffer, got);
        *out_size += got;
        data += taken;
        size -= taken;
    }
    free(buffer);
    return err;
}

static void
compare_bodies(reading *whole, reading *pieces, const uint8_t *data, size_t size, size_t piece)
{
    uint8_t *one = malloc(size + 1), *other = malloc(size + 1);
    size_t one_size, other_size;

    CHECK(one != NULL && other != NULL);
    int one_err = read_body(whole, data, size, size + 1, one, &one_size);
    int other_err = read_body(pieces, data, size, piece, other, &other_size);
    CHECK(one_err == other_err && whole->http.over == pieces->http.over);
    if (one_err == ACO_OK) CHECK(one_size == other_size && memcmp(one, other, one_size) == 0);
    free(one);
    free(other);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    reading whole, pieces;

    if (size < 2) return 0;
    uint8_t flags = data[0];
    size_t piece = (size_t)data[1] + 1;
    data += 2;
    size -= 2;
    read_head(&whole, flags, data, size, size + 1);
    read_head(&pieces, flags, data, size, piece);
    CHECK((whole.err == ACO_OK) == (pieces.err == ACO_OK));
    if (whole.err != ACO_OK) return 0;
    CHECK(whole.taken == pieces.taken && whole.head.flags == pieces.head.flags);
    CHECK(whole.head.count == pieces.head.count && whole.head.length == pieces.head.length);
    if (whole.head.flags & ACO_HTTP_CHUNKED)
        compare_bodies(&whole, &pieces, data + whole.taken, size - whole.taken, piece);
    return 0;
}
