/* SPDX-License-Identifier: MIT */
#include "core/net/preface.h"

#include <string.h>

static const uint8_t magic[] = {'A', 'C', 'O'};

void
aco_preface_write(uint8_t out[ACO_PREFACE_SIZE], uint8_t kind, uint8_t mode, uint16_t server)
{
    memcpy(out, magic, sizeof magic);
    out[3] = ACO_PROTOCOL_VERSION;
    out[4] = kind;
    out[5] = mode;
    out[6] = (uint8_t)(server >> 8);
    out[7] = (uint8_t)server;
}

enum aco_preface_status
aco_preface_read(const uint8_t in[ACO_PREFACE_SIZE], struct aco_preface *p)
{
    *p = (struct aco_preface){
        .kind = in[4], .mode = in[5], .server = (uint16_t)(in[6] << 8 | in[7])};
    if (memcmp(in, magic, sizeof magic) != 0) return ACO_PREFACE_FOREIGN;
    if (in[3] != ACO_PROTOCOL_VERSION) return ACO_PREFACE_VERSION;
    return p->kind == ACO_PREFACE_MESSAGES || p->kind == ACO_PREFACE_FILE ? ACO_PREFACE_OK
                                                                          : ACO_PREFACE_KIND;
}

void
aco_preface_answer(uint8_t out[ACO_PREFACE_SIZE], enum aco_preface_status status, uint8_t mode)
{
    memcpy(out, magic, sizeof magic);
    out[3] = ACO_PROTOCOL_VERSION;
    out[4] = (uint8_t)status;
    out[5] = mode;
    out[6] = out[7] = 0;
}

bool
aco_preface_read_answer(const uint8_t in[ACO_PREFACE_SIZE], uint8_t *status, uint8_t *mode)
{
    *status = in[4];
    *mode = in[5];
    return memcmp(in, magic, sizeof magic) == 0;
}

/* What to say when the modes differ: who has what. */
static const char *
mode_text(uint8_t ours, uint8_t theirs)
{
    switch (theirs) {
    case 'K':
        return "it has neither secret nor certificates, so that it takes only processes of its own "
               "user and machine, and this process has them: give it the same, or take them away "
               "here";
    case 'S':
        return ours == 'K' ? "it wants a secret, and this process has none: set "
                             "ASYNCORO_SECRET_FILE or network{secret=}"
                           : "it wants a secret, and this process has certificates: both must have "
                             "the same kind";
    case 'C':
        return ours == 'K' ? "it wants certificates, and this process has none: set certfile, "
                             "keyfile and cafile"
                           : "it wants certificates, and this process has a secret: both must have "
                             "the same kind";
    default:
        return "it wants a kind of security that is not known here: bring asyncoro here up to date";
    }
}

const char *
aco_preface_text(uint8_t status, uint8_t version, uint8_t ours, uint8_t theirs)
{
    switch (status) {
    case ACO_PREFACE_OK:
        return "it goes on";
    case ACO_PREFACE_VERSION:
        return version < ACO_PROTOCOL_VERSION
                   ? "it speaks an older version of the protocol: bring asyncoro there up to date"
                   : "it speaks a newer version of the protocol: bring asyncoro here up to date";
    case ACO_PREFACE_MODE:
        return mode_text(ours, theirs);
    case ACO_PREFACE_SERVER:
        return "there is no such server behind its port";
    case ACO_PREFACE_BUSY:
        return "it has too many connections under way, or refused too many just now: try later";
    case ACO_PREFACE_IGNORED:
        return "it takes no peers";
    case ACO_PREFACE_KIND:
        return "it does not take what is wanted (files: it has no dest_path)";
    default:
        return "it refused for a reason of a later version";
    }
}
