/* SPDX-License-Identifier: MIT */
/* msgpack_test.c -- every form of MessagePack at its borders, there and back; what is cut short or
 * malformed; UTF-8. */
#include "core/base/error.h"
#include "core/base/msgpack.h"
#include "spec/core/check.h"

#include <math.h>
#include <string.h>

enum { LARGE = 70000 };

static uint8_t bytes[ACO_MP_HEAD + LARGE + 1];

/* Read the one piece of `size` bytes; no shorter part of it can be read. The parts are copies, so
 * that reading beyond their end is seen by a sanitizer. */
static aco_mp_item
read_all(size_t size)
{
    aco_mp_item item;

    for (size_t cut = 0; cut < size; cut += cut < 32 ? 1 : 977) {
        uint8_t *part = malloc(cut ? cut : 1);
        CHECK(part != NULL);
        memcpy(part, bytes, cut);
        aco_mp_reader reader = {part, part + cut};
        CHECK(aco_mp_next(&reader, &item) == ACO_EPROTOCOL);
        CHECK(reader.at <= reader.end);
        free(part);
    }
    aco_mp_reader reader = {bytes, bytes + size};
    memset(&item, 0xee, sizeof item);
    CHECK(aco_mp_next(&reader, &item) == ACO_OK);
    if (item.type != ACO_MP_ARRAY && item.type != ACO_MP_MAP) CHECK(reader.at == reader.end);
    return item;
}

static void
test_plain(void)
{
    CHECK(aco_mp_nil(bytes) == bytes + 1);
    CHECK(read_all(1).type == ACO_MP_NIL);
    for (int value = 0; value < 2; value++) {
        CHECK(aco_mp_bool(bytes, value) == bytes + 1);
        aco_mp_item item = read_all(1);
        CHECK(item.type == ACO_MP_BOOL && item.u.boolean == (bool)value);
    }
}

static void
test_int(void)
{
    static const struct {
        int64_t value;
        size_t size;
    } table[] = {
        {0, 1},
        {127, 1},
        {128, 2},
        {UINT8_MAX, 2},
        {UINT8_MAX + 1, 3},
        {UINT16_MAX, 3},
        {UINT16_MAX + 1, 5},
        {UINT32_MAX, 5},
        {(int64_t)UINT32_MAX + 1, 9},
        {INT64_MAX, 9},
        {-1, 1},
        {-32, 1},
        {-33, 2},
        {INT8_MIN, 2},
        {INT8_MIN - 1, 3},
        {INT16_MIN, 3},
        {INT16_MIN - 1, 5},
        {INT32_MIN, 5},
        {(int64_t)INT32_MIN - 1, 9},
        {INT64_MIN, 9},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        CHECK(aco_mp_int(bytes, table[i].value) == bytes + table[i].size);
        aco_mp_item item = read_all(table[i].size);
        CHECK(item.type == ACO_MP_INT && item.u.integer == table[i].value);
    }
}

static void
test_float(void)
{
    static const double table[] = {0.0, -0.0, 1.5, -1e308, 5e-324, INFINITY, -INFINITY};

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        CHECK(aco_mp_float(bytes, table[i]) == bytes + 9);
        aco_mp_item item = read_all(9);
        CHECK(item.type == ACO_MP_FLOAT);
        CHECK(memcmp(&item.u.number, &table[i], sizeof(double)) == 0);
    }
    aco_mp_float(bytes, NAN);
    CHECK(isnan(read_all(9).u.number));
}

/* Forms that others write and we do not. */
static void
test_foreign(void)
{
    static const struct {
        uint8_t bytes[9], size;
        aco_mp_item item;
    } table[] = {
        {{0xcc, 1}, 2, {.type = ACO_MP_INT, .u.integer = 1}},
        {{0xcd, 0, 1}, 3, {.type = ACO_MP_INT, .u.integer = 1}},
        {{0xce, 0, 0, 0, 1}, 5, {.type = ACO_MP_INT, .u.integer = 1}},
        {{0xcf, 0, 0, 0, 0, 0, 0, 0, 1}, 9, {.type = ACO_MP_INT, .u.integer = 1}},
        {{0xd0, 1}, 2, {.type = ACO_MP_INT, .u.integer = 1}},
        {{0xd1, 0, 1}, 3, {.type = ACO_MP_INT, .u.integer = 1}},
        {{0xd2, 0, 0, 0, 1}, 5, {.type = ACO_MP_INT, .u.integer = 1}},
        {{0xd3, 0, 0, 0, 0, 0, 0, 0, 1}, 9, {.type = ACO_MP_INT, .u.integer = 1}},
        {{0xca, 0x3f, 0xc0, 0, 0}, 5, {.type = ACO_MP_FLOAT, .u.number = 1.5}},
        {{0xcf, 0x80}, 9, {.type = ACO_MP_FLOAT, .u.number = 0x1p63}},
        {{0xcf, 255, 255, 255, 255, 255, 255, 255, 255},
         9,
         {.type = ACO_MP_FLOAT, .u.number = 0x1p64}},
        {{0xd9, 1, 'x'}, 3, {.type = ACO_MP_STR, .size = 1}},
        {{0xda, 0, 1, 'x'}, 4, {.type = ACO_MP_STR, .size = 1}},
        {{0xdb, 0, 0, 0, 1, 'x'}, 6, {.type = ACO_MP_STR, .size = 1}},
        {{0xc5, 0, 1, 'x'}, 4, {.type = ACO_MP_BIN, .size = 1}},
        {{0xc6, 0, 0, 0, 1, 'x'}, 6, {.type = ACO_MP_BIN, .size = 1}},
        {{0xc7, 1, 5, 'x'}, 4, {.type = ACO_MP_EXT, .ext = 5, .size = 1}},
        {{0xc8, 0, 1, 5, 'x'}, 5, {.type = ACO_MP_EXT, .ext = 5, .size = 1}},
        {{0xdc, 0, 1, 0xc0}, 4, {.type = ACO_MP_ARRAY, .size = 1}},
        {{0xdd, 0, 0, 0, 1, 0xc0}, 6, {.type = ACO_MP_ARRAY, .size = 1}},
        {{0xde, 0, 1, 0xc0, 0xc0}, 5, {.type = ACO_MP_MAP, .size = 1}},
        {{0xdf, 0, 0, 0, 1, 0xc0, 0xc0}, 7, {.type = ACO_MP_MAP, .size = 1}},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        memcpy(bytes, table[i].bytes, table[i].size);
        aco_mp_item item = read_all(table[i].size), expected = table[i].item;
        CHECK(item.type == expected.type);
        if (item.type == ACO_MP_INT)
            CHECK(item.u.integer == expected.u.integer);
        else if (item.type == ACO_MP_FLOAT)
            CHECK(item.u.number == expected.u.number);
        else
            CHECK(item.size == expected.size);
        if (item.type == ACO_MP_EXT) CHECK(item.ext == expected.ext);
        if (item.type >= ACO_MP_STR && item.type != ACO_MP_ARRAY && item.type != ACO_MP_MAP)
            CHECK(*item.u.data == 'x');
    }
}

/* Something with `size` bytes, or values of a byte each, behind a head of `head` bytes. */
static void
check_sized(uint8_t *end, size_t head, enum aco_mp_type type, uint32_t size)
{
    size_t body = type == ACO_MP_MAP ? 2 * (size_t)size : size;

    CHECK(end == bytes + head);
    memset(end, 0x2a, sizeof bytes - head);
    if (body > sizeof bytes - head) return;
    aco_mp_item item = read_all(head + body);
    CHECK(item.type == type && item.size == size);
    if (type != ACO_MP_ARRAY && type != ACO_MP_MAP) CHECK(item.u.data == bytes + head);
}

static void
test_sized(void)
{
    static const struct {
        uint32_t size, str, bin, array, map, ext;
    } table[] = {
        {0, 1, 2, 1, 1, 3},     {1, 1, 2, 1, 1, 2},     {2, 1, 2, 1, 1, 2},
        {3, 1, 2, 1, 1, 3},     {4, 1, 2, 1, 1, 2},     {5, 1, 2, 1, 1, 3},
        {7, 1, 2, 1, 1, 3},     {8, 1, 2, 1, 1, 2},     {9, 1, 2, 1, 1, 3},
        {15, 1, 2, 1, 1, 3},    {16, 1, 2, 3, 3, 2},    {17, 1, 2, 3, 3, 3},
        {31, 1, 2, 3, 3, 3},    {32, 2, 2, 3, 3, 3},    {255, 2, 2, 3, 3, 3},
        {256, 3, 3, 3, 3, 4},   {65535, 3, 3, 3, 3, 4}, {65536, 5, 5, 5, 5, 6},
        {LARGE, 5, 5, 5, 5, 6},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint32_t size = table[i].size;
        check_sized(aco_mp_str(bytes, size), table[i].str, ACO_MP_STR, size);
        check_sized(aco_mp_bin(bytes, size), table[i].bin, ACO_MP_BIN, size);
        check_sized(aco_mp_array(bytes, size), table[i].array, ACO_MP_ARRAY, size);
        check_sized(aco_mp_map(bytes, size), table[i].map, ACO_MP_MAP, size);
        for (int type = -128; type < 128; type += 51) {
            check_sized(aco_mp_ext(bytes, (int8_t)type, size), table[i].ext, ACO_MP_EXT, size);
            CHECK(read_all(table[i].ext + size).ext == type);
        }
    }
    check_sized(aco_mp_ext_open(bytes, -7), 6, ACO_MP_EXT, 0);
    aco_mp_ext_size(bytes, 300);
    aco_mp_item item = read_all(306);
    CHECK(item.type == ACO_MP_EXT && item.ext == -7 && item.size == 300);
}

static int
read_bytes(const void *data, size_t size)
{
    aco_mp_reader reader = {data, (const uint8_t *)data + size};
    aco_mp_item item;
    int err = aco_mp_next(&reader, &item);

    CHECK(reader.at <= reader.end);
    return err;
}

static void
test_malformed(void)
{
    CHECK(read_bytes("", 0) == ACO_EPROTOCOL);
    CHECK(read_bytes("\xc1\0\0\0\0\0\0\0\0\0\0", 12) == ACO_EPROTOCOL);
    CHECK(read_bytes("\xdb\xff\xff\xff\xff", 6) == ACO_EPROTOCOL);
    CHECK(read_bytes("\xc6\xff\xff\xff\xff", 6) == ACO_EPROTOCOL);
    CHECK(read_bytes("\xc9\xff\xff\xff\xff\5x", 8) == ACO_EPROTOCOL);
    CHECK(read_bytes("\xdd\xff\xff\xff\xff", 6) == ACO_EPROTOCOL);
    CHECK(read_bytes("\xdf\xff\xff\xff\xff", 6) == ACO_EPROTOCOL);
    CHECK(read_bytes("\x92\xc0", 2) == ACO_EPROTOCOL); /* more values than bytes */
    CHECK(read_bytes("\x81\xc0", 2) == ACO_EPROTOCOL);
    CHECK(read_bytes("\x92\xc0\xc0", 3) == ACO_OK);
    CHECK(read_bytes("\x81\xc0\xc0", 3) == ACO_OK);
}

static void
test_utf8(void)
{
    static const struct {
        const char *text;
        bool valid;
    } table[] = {
        {"", true},
        {"plain text, longer than a word", true},
        {"\x7f", true},
        {"\x80", false},
        {"\xbf", false},
        {"\xc0\x80", false}, /* overlong */
        {"\xc1\xbf", false},
        {"\xc2", false},
        {"\xc2\x80", true},
        {"\xdf\xbf", true},
        {"\xc2\x7f", false},
        {"\xc2\xc0", false},
        {"\xe0\x9f\xbf", false}, /* overlong */
        {"\xe0\xa0\x80", true},
        {"\xe1\x80", false},
        {"\xe1\x80\xc0", false},
        {"\xec\xbf\xbf", true},
        {"\xed\x9f\xbf", true},
        {"\xed\xa0\x80", false}, /* surrogates */
        {"\xed\xbf\xbf", false},
        {"\xee\x80\x80", true},
        {"\xef\xbf\xbf", true},
        {"\xf0\x8f\xbf\xbf", false}, /* overlong */
        {"\xf0\x90\x80\x80", true},
        {"\xf1\x80\x80", false},
        {"\xf3\xbf\xbf\xbf", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\xf4\x90\x80\x80", false}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", false},
        {"\xff", false},
        {"\xfe", false},
        {"gr\xc3\xbc\xc3\x9f dich, \xe2\x82\xac, \xf0\x9f\x98\x80", true},
    };

    CHECK(aco_utf8_valid((const uint8_t *)"a\0b", 3));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t size = strlen(table[i].text);
        for (size_t before = 0; before < 42; before++) { /* at every place of a word */
            for (size_t after = 0; after < 42; after += 8 + (before & 1)) {
                uint8_t *copy =
                    malloc(before + size + after + 1); /* ends are seen by a sanitizer */
                CHECK(copy != NULL);
                memset(copy, 'x', before + size + after);
                memcpy(copy + before, table[i].text, size);
                uint8_t *exact = realloc(copy, before + size + after ? before + size + after : 1);
                CHECK(exact != NULL);
                CHECK(aco_utf8_valid(exact, before + size + after) == table[i].valid);
                free(exact);
            }
        }
    }
}

int
main(void)
{
    test_plain();
    test_int();
    test_float();
    test_foreign();
    test_sized();
    test_malformed();
    test_utf8();
    return 0;
}
