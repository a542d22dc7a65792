/* SPDX-License-Identifier: MIT */
#include "core/base/msgpack.h"

#include <string.h>

#include "core/base/error.h"

/* Numbers are big-endian. */
static uint8_t *
put(uint8_t *at, uint8_t head, uint64_t value, int bytes)
{
    *at++ = head;
    for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8)
        *at++ = (uint8_t)(value >> shift);
    return at;
}

uint8_t *
aco_mp_nil(uint8_t *at)
{
    *at = 0xc0;
    return at + 1;
}

uint8_t *
aco_mp_bool(uint8_t *at, bool value)
{
    *at = value ? 0xc3 : 0xc2;
    return at + 1;
}

uint8_t *
aco_mp_int(uint8_t *at, int64_t value)
{
    uint64_t bits = (uint64_t)value;

    if (value >= -32 && value <= 127) {
        *at = (uint8_t)bits;
        return at + 1;
    }
    if (value > 0) {
        if (value <= UINT8_MAX) return put(at, 0xcc, bits, 1);
        if (value <= UINT16_MAX) return put(at, 0xcd, bits, 2);
        if (value <= UINT32_MAX) return put(at, 0xce, bits, 4);
        return put(at, 0xcf, bits, 8);
    }
    if (value >= INT8_MIN) return put(at, 0xd0, bits, 1);
    if (value >= INT16_MIN) return put(at, 0xd1, bits, 2);
    if (value >= INT32_MIN) return put(at, 0xd2, bits, 4);
    return put(at, 0xd3, bits, 8);
}

uint8_t *
aco_mp_float(uint8_t *at, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return put(at, 0xcb, bits, 8);
}

uint8_t *
aco_mp_str(uint8_t *at, uint32_t size)
{
    if (size < 32) {
        *at = (uint8_t)(0xa0 | size);
        return at + 1;
    }
    if (size <= UINT8_MAX) return put(at, 0xd9, size, 1);
    if (size <= UINT16_MAX) return put(at, 0xda, size, 2);
    return put(at, 0xdb, size, 4);
}

uint8_t *
aco_mp_bin(uint8_t *at, uint32_t size)
{
    if (size <= UINT8_MAX) return put(at, 0xc4, size, 1);
    if (size <= UINT16_MAX) return put(at, 0xc5, size, 2);
    return put(at, 0xc6, size, 4);
}

uint8_t *
aco_mp_array(uint8_t *at, uint32_t count)
{
    if (count < 16) {
        *at = (uint8_t)(0x90 | count);
        return at + 1;
    }
    return count <= UINT16_MAX ? put(at, 0xdc, count, 2) : put(at, 0xdd, count, 4);
}

uint8_t *
aco_mp_map(uint8_t *at, uint32_t count)
{
    if (count < 16) {
        *at = (uint8_t)(0x80 | count);
        return at + 1;
    }
    return count <= UINT16_MAX ? put(at, 0xde, count, 2) : put(at, 0xdf, count, 4);
}

uint8_t *
aco_mp_ext(uint8_t *at, int8_t type, uint32_t size)
{
    switch (size) {
    case 1:
    case 2:
    case 4:
    case 8:
    case 16:
        *at = (uint8_t)(0xd4 + __builtin_ctz(size));
        at++;
        break;
    default:
        if (size <= UINT8_MAX)
            at = put(at, 0xc7, size, 1);
        else if (size <= UINT16_MAX)
            at = put(at, 0xc8, size, 2);
        else
            at = put(at, 0xc9, size, 4);
    }
    *at = (uint8_t)type;
    return at + 1;
}

uint8_t *
aco_mp_ext_open(uint8_t *at, int8_t type)
{
    at = put(at, 0xc9, 0, 4);
    *at = (uint8_t)type;
    return at + 1;
}

void
aco_mp_ext_size(uint8_t *at, uint32_t size)
{
    put(at, 0xc9, size, 4);
}

/* Take a big-endian number; false when the bytes end before. */
static bool
take(aco_mp_reader *r, int bytes, uint64_t *value)
{
    if (r->end - r->at < bytes) return false;
    *value = 0;
    for (; bytes > 0; bytes--)
        *value = *value << 8 | *r->at++;
    return true;
}

static int
take_data(aco_mp_reader *r, aco_mp_item *item, enum aco_mp_type type, uint64_t size)
{
    if (size > (uint64_t)(r->end - r->at)) return ACO_EPROTOCOL;
    item->type = type;
    item->size = (uint32_t)size;
    item->u.data = r->at;
    r->at += size;
    return ACO_OK;
}

static int
take_ext(aco_mp_reader *r, aco_mp_item *item, uint64_t size)
{
    if (r->at == r->end) return ACO_EPROTOCOL;
    item->ext = (int8_t)*r->at++;
    return take_data(r, item, ACO_MP_EXT, size);
}

/* Each of count values (pairs) takes a byte (two) at least. */
static int
take_count(const aco_mp_reader *r, aco_mp_item *item, enum aco_mp_type type, uint64_t count)
{
    uint64_t left = (uint64_t)(r->end - r->at);

    if (count > (type == ACO_MP_MAP ? left / 2 : left)) return ACO_EPROTOCOL;
    item->type = type;
    item->size = (uint32_t)count;
    return ACO_OK;
}

static int
give_int(aco_mp_item *item, int64_t value)
{
    item->type = ACO_MP_INT;
    item->u.integer = value;
    return ACO_OK;
}

static int
take_number(aco_mp_reader *r, aco_mp_item *item, uint8_t head)
{
    static const uint8_t widths[] = {4, 8, 1, 2, 4, 8, 1, 2, 4, 8}; /* from 0xca */
    uint64_t bits;
    float single;
    uint32_t low;

    if (!take(r, widths[head - 0xca], &bits)) return ACO_EPROTOCOL;
    switch (head) {
    case 0xca:
        low = (uint32_t)bits;
        memcpy(&single, &low, sizeof single);
        item->type = ACO_MP_FLOAT;
        item->u.number = (double)single;
        return ACO_OK;
    case 0xcb:
        item->type = ACO_MP_FLOAT;
        memcpy(&item->u.number, &bits, sizeof bits);
        return ACO_OK;
    case 0xcf:
        if (bits <= INT64_MAX) return give_int(item, (int64_t)bits);
        item->type = ACO_MP_FLOAT;
        item->u.number = (double)bits;
        return ACO_OK;
    case 0xd0:
        return give_int(item, (int8_t)bits);
    case 0xd1:
        return give_int(item, (int16_t)bits);
    case 0xd2:
        return give_int(item, (int32_t)bits);
    default: /* unsigned ones, and 64 bits signed */
        return give_int(item, (int64_t)bits);
    }
}

/* The heads with a size of 1, 2 or 4 bytes behind them. */
static int
take_sized(aco_mp_reader *r, aco_mp_item *item, uint8_t head)
{
    static const struct {
        uint8_t head, width;
        enum aco_mp_type type;
    } forms[] = {
        {0xc4, 1, ACO_MP_BIN},   {0xc5, 2, ACO_MP_BIN},   {0xc6, 4, ACO_MP_BIN},
        {0xc7, 1, ACO_MP_EXT},   {0xc8, 2, ACO_MP_EXT},   {0xc9, 4, ACO_MP_EXT},
        {0xd9, 1, ACO_MP_STR},   {0xda, 2, ACO_MP_STR},   {0xdb, 4, ACO_MP_STR},
        {0xdc, 2, ACO_MP_ARRAY}, {0xdd, 4, ACO_MP_ARRAY}, {0xde, 2, ACO_MP_MAP},
        {0xdf, 4, ACO_MP_MAP},
    };
    uint64_t size;

    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (forms[i].head != head) continue;
        if (!take(r, forms[i].width, &size)) return ACO_EPROTOCOL;
        if (forms[i].type == ACO_MP_EXT) return take_ext(r, item, size);
        if (forms[i].type == ACO_MP_ARRAY || forms[i].type == ACO_MP_MAP)
            return take_count(r, item, forms[i].type, size);
        return take_data(r, item, forms[i].type, size);
    }
    return ACO_EPROTOCOL; /* 0xc1 */
}

int
aco_mp_next(aco_mp_reader *r, aco_mp_item *item)
{
    if (r->at == r->end) return ACO_EPROTOCOL;
    uint8_t head = *r->at++;
    if (head <= 0x7f || head >= 0xe0) return give_int(item, (int8_t)head);
    if (head <= 0x8f) return take_count(r, item, ACO_MP_MAP, head & 0x0f);
    if (head <= 0x9f) return take_count(r, item, ACO_MP_ARRAY, head & 0x0f);
    if (head <= 0xbf) return take_data(r, item, ACO_MP_STR, head & 0x1f);
    if (head == 0xc0) {
        item->type = ACO_MP_NIL;
        return ACO_OK;
    }
    if (head == 0xc2 || head == 0xc3) {
        item->type = ACO_MP_BOOL;
        item->u.boolean = head == 0xc3;
        return ACO_OK;
    }
    if (head >= 0xca && head <= 0xd3) return take_number(r, item, head);
    if (head >= 0xd4 && head <= 0xd8) return take_ext(r, item, UINT64_C(1) << (head - 0xd4));
    return take_sized(r, item, head);
}

/* The length of the valid sequence that begins here with a byte of 0x80 or more; 0 for none. */
static size_t
utf8_sequence(const uint8_t *s, size_t left)
{
    uint8_t low = 0x80, high = 0xbf;
    size_t length;

    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        length = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        length = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        length = 4;
    else
        return 0;
    if (left < length) return 0;
    if (s[0] == 0xe0) low = 0xa0;
    if (s[0] == 0xed) high = 0x9f;
    if (s[0] == 0xf0) low = 0x90;
    if (s[0] == 0xf4) high = 0x8f;
    if (s[1] < low || s[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    return length;
}

/* Of eight bytes, none of which is ASCII. */
#define HIGH_BITS UINT64_C(0x8080808080808080)

bool
aco_utf8_valid(const uint8_t *data, size_t size)
{
    size_t at = 0;

    while (at < size) {
        uint64_t eight[4];
        if (size - at >= sizeof eight) { /* ASCII, many bytes at a time */
            memcpy(eight, data + at, sizeof eight);
            if (((eight[0] | eight[1] | eight[2] | eight[3]) & HIGH_BITS) == 0) {
                at += sizeof eight;
                continue;
            }
        }
        if (size - at >= sizeof *eight) {
            memcpy(eight, data + at, sizeof *eight);
            if ((*eight & HIGH_BITS) == 0) {
                at += sizeof *eight;
                continue;
            }
        }
        size_t length = data[at] < 0x80 ? 1 : utf8_sequence(data + at, size - at);
        if (length == 0) return false;
        at += length;
    }
    return true;
}
