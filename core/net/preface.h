/* SPDX-License-Identifier: MIT */
/* preface.h -- the first 8 bytes of a connection, and the 8 that answer them: what is wanted, of
 * which server behind a port, in which mode of security (docs/protocol.md). Any thread. */
#ifndef ACO_PREFACE_H
#define ACO_PREFACE_H

#include "core/base/defs.h"

enum {
    ACO_PROTOCOL_VERSION = 1,
    ACO_PREFACE_SIZE = 8,
    ACO_PREFACE_MESSAGES = 'M',
    ACO_PREFACE_FILE = 'F'
};

enum aco_preface_status {
    ACO_PREFACE_OK,
    ACO_PREFACE_VERSION, /* another version of the protocol */
    ACO_PREFACE_MODE,    /* another mode of security */
    ACO_PREFACE_SERVER,  /* no such server behind this port */
    ACO_PREFACE_BUSY,    /* too many connections are under way, or were refused just now */
    ACO_PREFACE_IGNORED,
    ACO_PREFACE_KIND,         /* what is wanted is not to be had here */
    ACO_PREFACE_FOREIGN = 255 /* no preface at all; it is not answered */
};

struct aco_preface {
    uint8_t kind, mode;
    uint16_t server;
};

void aco_preface_write(uint8_t out[ACO_PREFACE_SIZE], uint8_t kind, uint8_t mode, uint16_t server);

/** Read one: ACO_PREFACE_OK, _VERSION, _KIND or _FOREIGN; modes are not looked at. */
enum aco_preface_status aco_preface_read(const uint8_t in[ACO_PREFACE_SIZE], struct aco_preface *p);

void aco_preface_answer(uint8_t out[ACO_PREFACE_SIZE], enum aco_preface_status status,
                        uint8_t mode);

/** Read an answer; false: it is none. */
bool aco_preface_read_answer(const uint8_t in[ACO_PREFACE_SIZE], uint8_t *status, uint8_t *mode);

/** A refusal in words: `version` and `theirs` are those of the other side, `ours` our mode. */
const char *aco_preface_text(uint8_t status, uint8_t version, uint8_t ours, uint8_t theirs);

#endif
