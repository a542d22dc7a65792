/* SPDX-License-Identifier: MIT */
/* msgpack_fuzz.c -- the reader of MessagePack walks over anything, and never beyond its end; what
 * it has read is written and read again. */
#include "core/base/error.h"
#include "core/base/msgpack.h"
#include "spec/core/check.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes of the input behind the head of this piece. */
static uint32_t
body_size(const aco_mp_item *item)
{
    return item->type == ACO_MP_STR || item->type == ACO_MP_BIN || item->type == ACO_MP_EXT
               ? item->size
               : 0;
}

static uint8_t *
write_head(uint8_t *at, const aco_mp_item *item)
{
    switch (item->type) {
    case ACO_MP_NIL:
        return aco_mp_nil(at);
    case ACO_MP_BOOL:
        return aco_mp_bool(at, item->u.boolean);
    case ACO_MP_INT:
        return aco_mp_int(at, item->u.integer);
    case ACO_MP_FLOAT:
        return aco_mp_float(at, item->u.number);
    case ACO_MP_STR:
        return aco_mp_str(at, item->size);
    case ACO_MP_BIN:
        return aco_mp_bin(at, item->size);
    case ACO_MP_ARRAY:
        return aco_mp_array(at, item->size);
    case ACO_MP_MAP:
        return aco_mp_map(at, item->size);
    default:
        return aco_mp_ext(at, item->ext, item->size);
    }
}

/* The piece in our own form, followed by the bytes that were left behind it, is the same piece. */
static void
check_again(const aco_mp_item *item, const uint8_t *end)
{
    uint8_t head[ACO_MP_HEAD];
    size_t head_size = (size_t)(write_head(head, item) - head);
    size_t body = body_size(item);
    const uint8_t *from = body ? item->u.data : end;
    size_t left = item->type == ACO_MP_ARRAY ? item->size
                  : item->type == ACO_MP_MAP ? 2 * (size_t)item->size
                                             : body;
    aco_mp_item again;

    if (left > 4096) return; /* to be quick */
    CHECK(head_size <= ACO_MP_HEAD);
    uint8_t *copy = malloc(head_size + left + 1);
    CHECK(copy != NULL);
    memcpy(copy, head, head_size);
    memcpy(copy + head_size, from, left);
    aco_mp_reader reader = {copy, copy + head_size + left};
    CHECK(aco_mp_next(&reader, &again) == ACO_OK);
    CHECK(reader.at == copy + head_size + body && again.type == item->type);
    if (item->type == ACO_MP_INT)
        CHECK(again.u.integer == item->u.integer);
    else if (item->type == ACO_MP_FLOAT) /* NaNs too */
        CHECK(memcmp(&again.u.number, &item->u.number, sizeof(double)) == 0);
    else if (item->type >= ACO_MP_STR)
        CHECK(again.size == item->size);
    free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aco_mp_reader reader = {data, data + size};
    aco_mp_item item;

    while (reader.at < reader.end) {
        const uint8_t *before = reader.at;
        if (aco_mp_next(&reader, &item) != ACO_OK) break;
        CHECK(reader.at > before && reader.at <= reader.end);
        uint32_t body = body_size(&item);
        CHECK(body <= (size_t)(reader.at - before));
        if (body > 0) CHECK(item.u.data > before && item.u.data + body == reader.at);
        if (item.type == ACO_MP_ARRAY) CHECK(item.size <= (size_t)(reader.end - reader.at));
        if (item.type == ACO_MP_MAP) CHECK(item.size <= (size_t)(reader.end - reader.at) / 2);
        if (item.type == ACO_MP_STR) (void)aco_utf8_valid(item.u.data, body);
        check_again(&item, reader.at);
    }
    CHECK(reader.at <= reader.end);
    return 0;
}
