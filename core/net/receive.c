/* SPDX-License-Identifier: MIT */
#include "core/net/receive.h"
#include "core/base/error.h"
#include "core/net/offer.h"
#include "core/net/part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* A file that has been offered. */
typedef struct incoming {
    aco_carrier *c;
    aco_receipt *r;
    aco_offer offer;
    aco_part part;
    aco_hash *hash; /* of what has come, when sums are compared */
    bool torn;      /* the connection broke off: what has come may be of use */
    char name[ACO_DEST_NAME_MAX + 1];
} incoming;

/* Answers ---------------------------------------------------------------------------------------
 */

static int
answer(aco_carrier *c, int err, int flags, const char *text)
{
    uint8_t body[ACO_CARRIER_BODY];
    size_t size = strlen(text);

    if (size > sizeof body - 1) size = sizeof body - 1;
    body[0] = aco_result_code(err);
    memcpy(body + 1, text, size);
    return aco_carrier_put(c, ACO_FILE_RESULT, flags, body, 1 + size);
}

void
aco_receive_refuse(aco_carrier *c, int err)
{
    char why[ACO_DEST_WHY];

    if (err == ACO_ECANCELED) err = aco_carrier_fail(c, ACO_ECLOSED, "it ends");
    memcpy(why, c->why, sizeof why);
    if (c->secure != NULL && answer(c, err, 0, why) == ACO_OK) aco_carrier_drain(c);
    memcpy(c->why, why, sizeof why);
}

static int
answer_path(incoming *in, int flags)
{
    char path[ACO_CARRIER_BODY];
    const char *root = aco_dest_path(in->r->dest);
    size_t length = strlen(root);

    if (length + strlen(in->name) + 2 > sizeof path) return answer(in->c, ACO_OK, flags, in->name);
    memcpy(path, root, length);
    path[length] = '/';
    memcpy(path + length + 1, in->name, strlen(in->name) + 1);
    return answer(in->c, ACO_OK, flags, path);
}

/* Sums ------------------------------------------------------------------------------------------
 */

int
aco_receive_sum(aco_carrier *c, int file, uint64_t size, struct aco_hash *hash)
{
    for (uint64_t at = 0; at < size;) {
        size_t most = size - at < ACO_CARRIER_BLOCK ? (size_t)(size - at) : ACO_CARRIER_BLOCK;
        int err = aco_carrier_work(c);
        if (err != ACO_OK) return err;
        ssize_t n = pread(file, c->block, most, (off_t)at);
        if (n < 0) return aco_dest_failed(c->why, "read", "the file", errno);
        if (n == 0) return aco_carrier_fail(c, ACO_ETRUNCATED, "it has become shorter");
        aco_hash_add(hash, c->block, (size_t)n);
        at += (uint64_t)n;
    }
    return ACO_OK;
}

static int
hash_start(incoming *in)
{
    aco_hash_free(in->hash);
    in->hash = aco_hash_new();
    return in->hash != NULL ? ACO_OK
                            : aco_carrier_fail(in->c, ACO_ENOMEM, "%s", aco_err_text(ACO_ENOMEM));
}

/* What there is -----------------------------------------------------------------------------------
 */

static bool
is_same(const aco_offer *offer, const struct stat *about)
{
    double apart = (double)about->st_mtim.tv_sec - (double)offer->modified.tv_sec +
                   (double)(about->st_mtim.tv_nsec - offer->modified.tv_nsec) / 1e9;

    return (uint64_t)about->st_size == offer->size && (about->st_mode & 0777) == offer->mode &&
           apart > -1 && apart < 1;
}

/* Is there a file of this name? `*same`: it seems to be the one that is offered; then `*file` is
 * its descriptor. */
static int
look(incoming *in, bool *same, int *file)
{
    aco_carrier *c = in->c;
    struct stat about;
    aco_spot spot;
    int err = aco_spot_open(in->r->dest, in->name, false, &spot, c->why);

    if (err != ACO_OK) return err == ACO_ENOTFOUND ? ACO_OK : err;
    err = aco_spot_look(&spot, &about, c->why);
    *same = err == ACO_OK && is_same(&in->offer, &about);
    if (*same) {
        *file = openat(spot.folder, spot.leaf, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (*file < 0 && (in->offer.flags & ACO_OFFER_CHECKSUM) != 0)
            err = aco_dest_failed(c->why, "file", in->name, errno);
    } else if (err == ACO_OK && (in->offer.flags & ACO_OFFER_OVERWRITE) == 0) {
        err = aco_carrier_fail(c, ACO_EEXISTS, "another file '%.300s' is there already", in->name);
    }
    aco_spot_close(&spot);
    return err == ACO_ENOTFOUND ? ACO_OK : err;
}

static int
check_size(incoming *in)
{
    const aco_receipt *r = in->r;
    struct statvfs disk;

    if (r->max_file_size > 0 && in->offer.size > r->max_file_size)
        return aco_carrier_fail(
            in->c, ACO_ETOOLARGE, "%llu bytes are more than the %llu that a file may have there",
            (unsigned long long)in->offer.size, (unsigned long long)r->max_file_size);
    if (fstatvfs(aco_dest_root(r->dest), &disk) == 0 && disk.f_blocks > 0 &&
        (in->offer.size > in->part.size ? in->offer.size - in->part.size : 0) / disk.f_frsize >
            disk.f_bavail)
        return aco_carrier_fail(in->c, ACO_ENOSPACE, "there is no room for it on the disk there");
    return ACO_OK;
}

/* What leads to a part again: the same file under the same name. */
static int
part_find(incoming *in)
{
    const aco_offer *o = &in->offer;
    const int64_t about[3] = {(int64_t)o->size, o->modified.tv_sec, o->modified.tv_nsec};
    uint8_t key[ACO_HASH_SIZE];
    bool again = (o->flags & ACO_OFFER_RESUME) != 0;

    if (again) {
        int err = hash_start(in);
        if (err != ACO_OK) return err;
        aco_hash_add(in->hash, about, sizeof about);
        aco_hash_add(in->hash, in->name, strlen(in->name));
        err = aco_hash_get(in->hash, key);
        if (err != ACO_OK) return aco_carrier_fail(in->c, err, "%s", aco_err_text(err));
    }
    int err = aco_part_open(in->r->dest, again ? key : NULL, &in->part, in->c->why);
    if (err == ACO_OK && in->part.size > o->size) err = aco_part_cut(&in->part, 0, in->c->why);
    return err;
}

/* Receiving -------------------------------------------------------------------------------------
 */

static int
expect(aco_carrier *c, int type)
{
    int err = aco_carrier_get(c);

    if (err != ACO_OK) return err == ACO_EEOF ? ACO_ETRUNCATED : err;
    if (c->type == type) return ACO_OK;
    return aco_carrier_fail(c, ACO_EPROTOCOL, "what came is not what follows in a transfer");
}

/* Say what there is, and hear from where on the rest comes: 0, or all of it. */
static int
agree(incoming *in, int flags, int file, uint64_t size, uint64_t *from)
{
    aco_carrier *c = in->c;
    uint8_t body[ACO_HAVE_SIZE], sum[ACO_HASH_SIZE] = {0};
    int err = hash_start(in);

    if (err == ACO_OK && size > 0) {
        err = aco_receive_sum(c, file, size, in->hash);
        if (err == ACO_OK) err = aco_hash_get(in->hash, sum);
    }
    if (err != ACO_OK) return err;
    aco_have_write(size, sum, body);
    err = aco_carrier_put(c, ACO_FILE_HAVE, flags, body, sizeof body);
    if (err == ACO_OK) err = expect(c, ACO_FILE_START);
    if (err != ACO_OK) return err;
    if (c->size == ACO_START_SIZE) *from = aco_offset_read(c->body);
    if (c->size == ACO_START_SIZE && (*from == 0 || *from == size)) return ACO_OK;
    return aco_carrier_fail(c, ACO_EPROTOCOL, "the sender begins where nothing ends");
}

static int
take_bytes(incoming *in)
{
    aco_carrier *c = in->c;
    size_t got;

    while (in->part.size < in->offer.size) {
        int err = aco_carrier_take(c, in->offer.size - in->part.size, &got);
        in->torn = err != ACO_OK;
        if (err == ACO_OK) {
            if (in->hash != NULL) aco_hash_add(in->hash, c->block, got);
            err = aco_part_add(&in->part, c->block, got, c->why);
        }
        if (err != ACO_OK) return err;
        in->r->bytes += got;
    }
    return ACO_OK;
}

static int
take_end(incoming *in)
{
    aco_carrier *c = in->c;
    uint8_t sum[ACO_HASH_SIZE];
    int err = expect(c, ACO_FILE_END);

    if (err != ACO_OK) return err;
    if (c->size != (in->hash != NULL ? ACO_HASH_SIZE : 0))
        return aco_carrier_fail(c, ACO_EPROTOCOL, "the transfer ends without its sum");
    if (in->hash == NULL) return ACO_OK;
    err = aco_hash_get(in->hash, sum);
    if (err != ACO_OK) return aco_carrier_fail(c, err, "%s", aco_err_text(err));
    if (memcmp(sum, c->body, sizeof sum) == 0) return ACO_OK;
    return aco_carrier_fail(c, ACO_EPROTOCOL, "the sums of what was sent and what came differ");
}

/* From `from` on, which is agreed. */
static int
take_file(incoming *in, uint64_t from)
{
    int err = aco_part_cut(&in->part, from, in->c->why);

    if (err == ACO_OK && (in->offer.flags & ACO_OFFER_CHECKSUM) == 0) {
        aco_hash_free(in->hash);
        in->hash = NULL;
    } else if (err == ACO_OK && from == 0) {
        err = hash_start(in);
    }
    if (err == ACO_OK) err = take_bytes(in);
    if (err == ACO_OK) err = take_end(in);
    if (err != ACO_OK) return err;
    err = aco_part_arrive(in->r->dest, &in->part, in->name, in->offer.mode, &in->offer.modified,
                          (in->offer.flags & ACO_OFFER_OVERWRITE) != 0, in->c->why);
    if (err != ACO_OK) return err;
    in->r->files++;
    return answer_path(in, 0);
}

/* The file seems to be there: compare the sums, when that is wished. */
static int
take_same(incoming *in, int file, uint64_t *from)
{
    int err;

    *from = in->offer.size;
    if ((in->offer.flags & ACO_OFFER_CHECKSUM) == 0) return ACO_OK;
    err = agree(in, ACO_HAVE_WHOLE, file, in->offer.size, from);
    if (err != ACO_OK || *from == in->offer.size) return err;
    if ((in->offer.flags & ACO_OFFER_OVERWRITE) == 0)
        return aco_carrier_fail(in->c, ACO_EEXISTS, "another file '%.300s' is there already",
                                in->name);
    return ACO_OK;
}

static int
put_file(incoming *in)
{
    aco_carrier *c = in->c;
    uint64_t from = 0;
    bool same = false;
    int file = -1;
    int err = aco_offer_read(&in->offer, c->flags, c->body, c->size);

    if (err != ACO_OK) return aco_carrier_fail(c, err, "what came is no offer of a file");
    err = aco_dest_name(in->offer.path, in->offer.path_size, in->name, c->why);
    if (err == ACO_OK) err = look(in, &same, &file);
    if (err == ACO_OK && same) err = take_same(in, file, &from);
    if (file >= 0) close(file);
    if (err != ACO_OK) return err;
    if (same && from == in->offer.size) return answer_path(in, ACO_RESULT_SAME);
    err = part_find(in);
    if (err == ACO_OK) err = check_size(in);
    if (err == ACO_OK && !same) err = agree(in, 0, in->part.fd, in->part.size, &from);
    return err == ACO_OK ? take_file(in, from) : err;
}

static int
receive_put(aco_carrier *c, aco_receipt *r)
{
    incoming *in = calloc(1, sizeof *in);

    if (in == NULL) return aco_carrier_fail(c, ACO_ENOMEM, "%s", aco_err_text(ACO_ENOMEM));
    in->c = c;
    in->r = r;
    in->part.fd = -1;
    int err = put_file(in);
    aco_part_close(r->dest, &in->part, err != ACO_OK && in->torn);
    if (in->torn) aco_part_prune(r->dest);
    aco_hash_free(in->hash);
    free(in);
    return err;
}

/* A path below the folder, or the whole one that a sender was told. */
static int
receive_remove(aco_carrier *c, aco_receipt *r)
{
    const char *path = (const char *)c->body, *root = aco_dest_path(r->dest);
    size_t size = c->size, length = strlen(root);
    char name[ACO_DEST_NAME_MAX + 1];

    if (size > length && memcmp(path, root, length) == 0 && path[length] == '/') {
        path += length + 1;
        size -= length + 1;
    }
    int err = aco_dest_name(path, size, name, c->why);
    if (err == ACO_OK) err = aco_dest_remove(r->dest, name, c->why);
    return err == ACO_OK ? answer(c, ACO_OK, 0, name) : err;
}

static int
receive_frame(aco_carrier *c, aco_receipt *r)
{
    if (c->type != ACO_FILE_PUT && c->type != ACO_FILE_REMOVE)
        return aco_carrier_fail(c, ACO_EPROTOCOL, "no transfer begins like this");
    if (r->dest == NULL)
        return aco_carrier_fail(c, ACO_EDENIED, "no files are taken there%s%s",
                                r->why != NULL ? ": " : "", r->why != NULL ? r->why : "");
    return c->type == ACO_FILE_PUT ? receive_put(c, r) : receive_remove(c, r);
}

int
aco_receive(aco_carrier *c, aco_receipt *r)
{
    int err;

    while ((err = aco_carrier_get(c)) == ACO_OK) {
        err = receive_frame(c, r);
        if (err != ACO_OK) break;
    }
    if (err == ACO_EEOF) return ACO_OK;
    aco_receive_refuse(c, err);
    return err;
}
