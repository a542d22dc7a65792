/* SPDX-License-Identifier: MIT */
#include "core/io/http.h"
#include "core/base/error.h"

#include <llhttp.h>
#include <string.h>
#include <strings.h>

_Static_assert(sizeof(llhttp_t) <= sizeof((aco_http *)NULL)->parser, "ACO_HTTP_PARSER");

/* Empty lines before a request that are passed over. */
enum { EMPTY_LINES = 4 };

static llhttp_t *
parser_of(aco_http *h)
{
    return (llhttp_t *)(void *)h->parser;
}

static aco_http *
http_of(llhttp_t *parser)
{
    return parser->data;
}

/* What llhttp finds -----------------------------------------------------------------------------
 */

static aco_http_span
span_of(const aco_http_head *head, const char *at, size_t size)
{
    return (aco_http_span){.at = (uint32_t)((const uint8_t *)at - head->data),
                           .size = (uint32_t)size};
}

/* A span may come in several pieces, each behind the one before. */
static void
span_add(aco_http_span *span, const aco_http_head *head, const char *at, size_t size)
{
    if (span->size == 0)
        *span = span_of(head, at, size);
    else
        span->size += (uint32_t)size;
}

static int
on_target(llhttp_t *parser, const char *at, size_t size)
{
    aco_http_head *head = http_of(parser)->head;

    span_add(&head->target, head, at, size);
    return 0;
}

/* The fields behind a chunked body are passed over. */
static int
on_name(llhttp_t *parser, const char *at, size_t size)
{
    aco_http *h = http_of(parser);
    aco_http_head *head = h->head;

    if (head == NULL) return 0;
    if (h->value || head->count == 0) {
        if (head->count == head->capacity) {
            h->error = "too many header fields";
            h->answer = HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE;
            return -1;
        }
        head->fields[head->count++] = (aco_http_field){.name = {0, 0}, .value = {0, 0}};
        h->value = false;
    }
    span_add(&head->fields[head->count - 1].name, head, at, size);
    return 0;
}

static int
on_value(llhttp_t *parser, const char *at, size_t size)
{
    aco_http *h = http_of(parser);

    if (h->head == NULL || h->head->count == 0) return 0;
    h->value = true;
    span_add(&h->head->fields[h->head->count - 1].value, h->head, at, size);
    return 0;
}

/* 1: there will be no body. An upgrade that we have not agreed to is none. */
static int
on_head(llhttp_t *parser)
{
    aco_http *h = http_of(parser);
    aco_http_head *head = h->head;

    if (llhttp_should_keep_alive(parser)) head->flags |= ACO_HTTP_KEEP_ALIVE;
    if (parser->http_minor > 0) head->flags |= ACO_HTTP_MINOR_1;
    if (parser->flags & F_CHUNKED) head->flags |= ACO_HTTP_CHUNKED;
    if (parser->upgrade) head->flags |= ACO_HTTP_UPGRADE;
    if (parser->flags & F_CONTENT_LENGTH) head->flags |= ACO_HTTP_LENGTH;
    head->length = parser->content_length;
    head->status = parser->status_code;
    parser->upgrade = 0;
    return h->without_body;
}

static int
on_body(llhttp_t *parser, const char *at, size_t size)
{
    aco_http *h = http_of(parser);

    memmove(h->body + h->body_size, at, size);
    h->body_size += size;
    return 0;
}

static int
on_end(llhttp_t *parser)
{
    http_of(parser)->over = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {.on_url = on_target,
                                           .on_status = on_target,
                                           .on_header_field = on_name,
                                           .on_header_value = on_value,
                                           .on_headers_complete = on_head,
                                           .on_body = on_body,
                                           .on_message_complete = on_end};

/* Heads -----------------------------------------------------------------------------------------
 */

void
aco_http_init(aco_http *h, bool response)
{
    *h = (aco_http){.response = response};
}

static int
refuse(aco_http *h, int err, int answer, const char *why)
{
    h->error = why;
    h->answer = (uint16_t)answer;
    return err;
}

static int
malformed(aco_http *h, const char *why)
{
    return refuse(h, ACO_EPROTOCOL, HTTP_STATUS_BAD_REQUEST, why);
}

/* Find the empty line; `*scanned` is the start of a line that has not ended. */
static int
head_end(aco_http *h, const uint8_t *data, size_t size, size_t *scanned, size_t *end)
{
    size_t at = *scanned;
    const uint8_t *line_end;

    while (at < size && (line_end = memchr(data + at, '\n', size - at)) != NULL) {
        const uint8_t *line = data + at;
        size_t length = (size_t)(line_end - line);
        if (length == 0 || line[length - 1] != '\r')
            return malformed(h, "a line that does not end in CR LF");
        length--;
        at += length + 2;
        if (length == 0) {
            *end = at;
            return ACO_OK;
        }
        if (memchr(line, '\r', length) != NULL) return malformed(h, "CR inside a line");
        if (line != data && (line[0] == ' ' || line[0] == '\t'))
            return malformed(h, "a header field that is continued on another line");
        if (line[0] == ':') return malformed(h, "a header field without a name");
    }
    *scanned = at;
    return ACO_EBUSY;
}

static bool
is_word(const aco_http_head *head, const aco_http_span *span, const char *word, size_t size)
{
    return span->size == size && strncasecmp((const char *)head->data + span->at, word, size) == 0;
}

#define IS_WORD(head, span, word) is_word(head, span, word, sizeof(word) - 1)

static void
trim(const aco_http_head *head, aco_http_span *value)
{
    while (value->size > 0) {
        uint8_t last = head->data[value->at + value->size - 1];
        if (last != ' ' && last != '\t') break;
        value->size--;
    }
}

/* Look at the fields that say where the message ends and whom it is for. */
static int
head_check(aco_http *h, aco_http_head *head)
{
    int hosts = 0, codings = 0;

    for (uint32_t i = 0; i < head->count; i++) {
        aco_http_field *field = &head->fields[i];
        trim(head, &field->value);
        switch (field->name.size) {
        case 4:
            hosts += IS_WORD(head, &field->name, "host");
            break;
        case 6:
            if (IS_WORD(head, &field->name, "expect")) {
                if (!IS_WORD(head, &field->value, "100-continue"))
                    return refuse(h, ACO_EUNSUPPORTED, HTTP_STATUS_EXPECTATION_FAILED,
                                  "an expectation other than 100-continue");
                if (head->flags & ACO_HTTP_MINOR_1) head->flags |= ACO_HTTP_EXPECT;
            }
            break;
        case 17:
            if (!IS_WORD(head, &field->name, "transfer-encoding")) break;
            if (++codings > 1 || !IS_WORD(head, &field->value, "chunked"))
                return refuse(h, ACO_EUNSUPPORTED, HTTP_STATUS_NOT_IMPLEMENTED,
                              "a transfer coding other than chunked");
            if (!(head->flags & ACO_HTTP_MINOR_1))
                return malformed(h, "a transfer coding in HTTP/1.0");
            break;
        default:
            break;
        }
    }
    if (h->response) return ACO_OK;
    if (hosts > 1) return malformed(h, "more than one Host");
    if (hosts == 0 && (head->flags & ACO_HTTP_MINOR_1)) return malformed(h, "no Host");
    return ACO_OK;
}

/* A request line has one blank behind the method and one behind the target, and no more. */
static bool
is_request_line(const aco_http_head *head)
{
    static const char version[] = " HTTP/1.";
    const char *data = (const char *)head->data;
    size_t method = strlen(head->method), end = (size_t)head->target.at + head->target.size;

    return head->target.at == method + 1 && head->size >= end + sizeof version + 2 &&
           memcmp(data + end, version, sizeof version - 1) == 0 &&
           memcmp(data + end + sizeof version, "\r\n", 2) == 0;
}

/* In words for those who read the log. */
static int
head_refuse(aco_http *h, llhttp_errno_t err)
{
    const llhttp_t *parser = parser_of(h);
    const char *why = llhttp_get_error_reason(parser);

    if (err == HPE_USER)
        return h->answer == HTTP_STATUS_BAD_REQUEST ? ACO_EPROTOCOL : ACO_ETOOLARGE;
    if (err == HPE_INVALID_VERSION)
        return refuse(h, ACO_EUNSUPPORTED, HTTP_STATUS_HTTP_VERSION_NOT_SUPPORTED,
                      "a version other than HTTP/1.0 and HTTP/1.1");
    return malformed(h, why != NULL && why[0] != '\0' ? why : llhttp_errno_name(err));
}

static int
head_parse(aco_http *h, aco_http_head *head)
{
    llhttp_t *parser = parser_of(h);

    llhttp_init(parser, h->response ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
    parser->data = h;
    h->head = head;
    h->value = h->over = false;
    h->overhead = 0;
    head->target = (aco_http_span){0, 0};
    head->count = head->flags = 0;
    llhttp_errno_t err = llhttp_execute(parser, (const char *)head->data, head->size);
    h->head = NULL;
    if (err == HPE_PAUSED || err == HPE_PAUSED_UPGRADE) h->over = true;
    if (err != HPE_OK && !h->over) return head_refuse(h, err);
    if (parser->http_major != 1 || parser->http_minor > 1)
        return head_refuse(h, HPE_INVALID_VERSION);
    if (!h->response) head->method = llhttp_method_name((llhttp_method_t)parser->method);
    if (!h->response && !is_request_line(head)) return malformed(h, "a malformed request line");
    if (!h->response && parser->method == HTTP_CONNECT)
        head->flags &= ~(uint32_t)ACO_HTTP_KEEP_ALIVE; /* what follows may be no HTTP */
    bool ends = h->over || (head->flags & (ACO_HTTP_CHUNKED | ACO_HTTP_LENGTH)) != 0;
    if (!ends) head->flags |= ACO_HTTP_UNTIL_END;
    if (h->without_body ||
        (h->response && (head->status / 100 == 1 || head->status == 204 || head->status == 304)))
        head->flags &= ~(uint32_t)(ACO_HTTP_CHUNKED | ACO_HTTP_LENGTH | ACO_HTTP_UNTIL_END);
    return head_check(h, head);
}

int
aco_http_read_head(aco_http *h, const uint8_t *data, size_t size, size_t limit, size_t *scanned,
                   aco_http_head *head, size_t *taken)
{
    size_t start = 0, end = 0;

    while (start + 1 < size && data[start] == '\r' && data[start + 1] == '\n') {
        if (h->response || start == 2 * EMPTY_LINES) return malformed(h, "empty lines");
        start += 2;
    }
    if (*scanned < start) *scanned = start;
    *scanned -= start;
    int err = head_end(h, data + start, size - start, scanned, &end);
    *scanned += start;
    if (err == ACO_EPROTOCOL) return err;
    if ((err == ACO_OK ? end : size - start) > limit)
        return refuse(h, ACO_ETOOLARGE, HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE,
                      "the header is too large");
    if (err != ACO_OK) return err;
    if (memchr(data + start, '\0', end) != NULL) return malformed(h, "NUL in the header");
    head->data = data + start;
    head->size = (uint32_t)end;
    *taken = start + end;
    return head_parse(h, head);
}

/* Chunked bodies --------------------------------------------------------------------------------
 */

int
aco_http_read_chunked(aco_http *h, uint8_t *data, size_t size, size_t *taken, size_t *got)
{
    llhttp_t *parser = parser_of(h);

    h->body = data;
    h->body_size = 0;
    llhttp_errno_t err = llhttp_execute(parser, (const char *)data, size);
    *taken = h->over ? (size_t)((const uint8_t *)llhttp_get_error_pos(parser) - data) : size;
    *got = h->body_size;
    h->body = NULL;
    if (err != HPE_OK && !h->over) return head_refuse(h, err);
    h->overhead = *got > 0 ? 0 : h->overhead + *taken;
    if (h->overhead > ACO_HTTP_OVERHEAD) return malformed(h, "a chunked body without content");
    return ACO_OK;
}
