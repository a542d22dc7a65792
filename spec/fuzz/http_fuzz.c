/* SPDX-License-Identifier: MIT */
/* http_fuzz.c -- hostile bytes as HTTP messages: heads and chunked bodies are read or refused, and
 * it makes no difference in which pieces the bytes come. */
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/io/http.h"
#include "spec/core/check.h"

#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS = 20, LIMIT = 2048 };

/* What has been read of an input. */
typedef struct result {
    uint64_t digest; /* of heads, and of bodies that came to their end */
    uint64_t body;   /* of the body that is being read */
    int err;
    size_t heads;
} result;

static uint64_t
mix(uint64_t digest, const void *data, size_t size)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < size; i++)
        digest = (digest ^ bytes[i]) * UINT64_C(1099511628211);
    return (digest ^ size) * UINT64_C(1099511628211);
}

static void
check_span(const aco_http_head *head, aco_http_span span)
{
    CHECK(span.at <= head->size && span.size <= head->size - span.at);
    for (uint32_t i = 0; i < span.size; i++) {
        uint8_t c = head->data[span.at + i];
        CHECK(c != '\r' && c != '\n' && c != '\0');
    }
}

static void
head_done(result *r, const aco_http *h, const aco_http_head *head)
{
    bool chunked = (head->flags & ACO_HTTP_CHUNKED) != 0;

    CHECK(head->size >= 4 && head->size <= LIMIT && head->count <= FIELDS);
    CHECK(memcmp(head->data + head->size - 4, "\r\n\r\n", 4) == 0);
    CHECK(!(chunked && (head->flags & (ACO_HTTP_LENGTH | ACO_HTTP_UNTIL_END))));
    CHECK(h->response || (head->method != NULL && !(head->flags & ACO_HTTP_UNTIL_END)));
    check_span(head, head->target);
    r->digest = mix(r->digest, &head->flags, sizeof head->flags);
    r->digest = mix(r->digest, head->data + head->target.at, head->target.size);
    for (uint32_t i = 0; i < head->count; i++) {
        CHECK(head->fields[i].name.size > 0);
        check_span(head, head->fields[i].name);
        check_span(head, head->fields[i].value);
        r->digest = mix(r->digest, head->data + head->fields[i].name.at, head->fields[i].name.size);
        r->digest =
            mix(r->digest, head->data + head->fields[i].value.at, head->fields[i].value.size);
    }
    r->heads++;
}

/* Read as much as can be of what has come. How many bytes that took. */
static size_t
step(result *r, aco_http *h, bool *in_body, size_t *scanned, uint8_t *data, size_t size)
{
    aco_http_field fields[FIELDS];
    aco_http_head head = {.fields = fields, .capacity = FIELDS};
    size_t taken = 0, got = 0;

    if (*in_body) {
        r->err = size > 0 ? aco_http_read_chunked(h, data, size, &taken, &got) : ACO_EBUSY;
        if (r->err != ACO_OK) return 0;
        CHECK(taken <= size && got <= taken && (taken == size || h->over));
        for (size_t i = 0; i < got; i++) /* byte by byte: the pieces are not alike */
            r->body = (r->body ^ data[i]) * UINT64_C(1099511628211);
        if (h->over) {
            r->digest = mix(r->digest, &r->body, sizeof r->body);
            *in_body = false;
        }
        return taken;
    }
    r->err = aco_http_read_head(h, data, size, LIMIT, scanned, &head, &taken);
    CHECK(*scanned <= size);
    if (r->err != ACO_OK) return 0;
    CHECK(taken > 0 && taken <= size && head.size <= taken);
    head_done(r, h, &head);
    *scanned = 0;
    *in_body = (head.flags & ACO_HTTP_CHUNKED) != 0;
    r->body = 0;
    if (!*in_body && (head.flags & ACO_HTTP_LENGTH)) /* the body is nobody's matter here */
        taken += head.length < size - taken ? (size_t)head.length : size - taken;
    return taken;
}

/* Read the input, which comes in pieces of so many bytes. */
static result
run(const uint8_t *data, size_t size, bool response, size_t piece)
{
    result r = {.digest = UINT64_C(14695981039346656037), .err = ACO_EBUSY};
    aco_buf have = {0};
    aco_http h;
    bool in_body = false;
    size_t scanned = 0;

    aco_http_init(&h, response);
    for (size_t at = 0; at < size && r.err == ACO_EBUSY; at += piece) {
        size_t more = piece < size - at ? piece : size - at;
        CHECK(aco_buf_add(&have, data + at, more) == ACO_OK);
        do {
            size_t taken = step(&r, &h, &in_body, &scanned, have.data, have.size);
            have.size -= taken;
            memmove(have.data, have.data + taken, have.size);
        } while (r.err == ACO_OK);
    }
    CHECK(r.err == ACO_EBUSY || (h.error != NULL && h.answer >= 400));
    aco_buf_free(&have);
    return r;
}

/* Bodies of a known length end with what has come: only inputs without them can be compared. */
static bool
has_length(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i + 7 <= size; i++)
        if (strncasecmp((const char *)data + i, "length:", 7) == 0) return true;
    return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    bool response = data[0] & 1;
    size_t piece = 1 + (data[0] >> 1) % 64;
    result whole = run(data + 1, size - 1, response, size);
    result parts = run(data + 1, size - 1, response, piece);
    if (size > LIMIT || has_length(data, size)) return 0;
    CHECK(whole.err == parts.err && whole.heads == parts.heads && whole.digest == parts.digest);
    return 0;
}
