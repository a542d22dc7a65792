/* SPDX-License-Identifier: MIT */
/* msgpack.h -- the pieces of MessagePack (github.com/msgpack/msgpack/blob/master/spec.md).
 *
 * Writers put one piece at `at`, where ACO_MP_HEAD bytes must be free, and return its end; the
 * bytes of strings follow by the caller. The reader treats its bytes as hostile: it never looks
 * beyond their end, and a count it gives is never larger than the bytes that are left. */
#ifndef ACO_MSGPACK_H
#define ACO_MSGPACK_H

#include "core/base/defs.h"

enum { ACO_MP_HEAD = 9 };

uint8_t *aco_mp_nil(uint8_t *at);
uint8_t *aco_mp_bool(uint8_t *at, bool value);
uint8_t *aco_mp_int(uint8_t *at, int64_t value);
uint8_t *aco_mp_float(uint8_t *at, double value);
uint8_t *aco_mp_str(uint8_t *at, uint32_t size);
uint8_t *aco_mp_bin(uint8_t *at, uint32_t size);
uint8_t *aco_mp_array(uint8_t *at, uint32_t count);
uint8_t *aco_mp_map(uint8_t *at, uint32_t count);

/** The head of an extension value: the shortest form; and a form whose size, known later, is set by
 * aco_mp_ext_size at the same place. */
uint8_t *aco_mp_ext(uint8_t *at, int8_t type, uint32_t size);
uint8_t *aco_mp_ext_open(uint8_t *at, int8_t type);
void aco_mp_ext_size(uint8_t *at, uint32_t size);

enum aco_mp_type {
    ACO_MP_NIL,
    ACO_MP_BOOL,
    ACO_MP_INT,
    ACO_MP_FLOAT, /* also of integers beyond 63 bits */
    ACO_MP_STR,
    ACO_MP_BIN,
    ACO_MP_ARRAY, /* count values follow */
    ACO_MP_MAP,   /* count pairs follow */
    ACO_MP_EXT,
};

typedef struct aco_mp_item {
    enum aco_mp_type type;
    int8_t ext;    /* EXT: its type */
    uint32_t size; /* STR, BIN, EXT: bytes at data; ARRAY, MAP: the count */
    union {
        bool boolean;
        int64_t integer;
        double number;
        const uint8_t *data; /* inside the bytes that are read */
    } u;
} aco_mp_item;

typedef struct aco_mp_reader {
    const uint8_t *at, *end;
} aco_mp_reader;

/** Read the next piece. ACO_EPROTOCOL: the bytes end in the middle, or it is no MessagePack. */
ACO_MUSTUSE int aco_mp_next(aco_mp_reader *reader, aco_mp_item *item);

/** True for UTF-8 as RFC 3629 has it: no surrogates, no overlong forms, nothing above U+10FFFF. */
bool aco_utf8_valid(const uint8_t *data, size_t size);

#endif
