/* SPDX-License-Identifier: MIT */
/* file.h -- plain files as streams: what is in memory is read at once, all else by the pool.
 *
 * What is written is gathered, and written by the pool in large pieces; a failure is given to the
 * next write, flush or close, and what could not be written stays, to be tried again. */
#ifndef ACO_FILE_H
#define ACO_FILE_H

#include "core/engine/pool.h"
#include "core/io/stream.h"

/** Make a closed stream one of the file `fd`, which it owns from now on, in every case. ACO_ENOMEM.
 */
ACO_MUSTUSE int aco_file_open(aco_stream *s, aco_loop *loop, aco_pool *pool, int fd);

bool aco_file_is(const aco_stream *s);

/** Has something been written that the system does not have yet? */
bool aco_file_dirty(const aco_stream *s);

/** Let what was gathered be written, and jobs be done. ACO_EBUSY: wait in `*wait` and call again.
 */
ACO_MUSTUSE int aco_file_flush(aco_stream *s, aco_waitq **wait);

/** Begin to let what was gathered reach the disk itself; aco_file_sync goes on with it, as
 * aco_file_flush does. ACO_EUNSUPPORTED: it is no file. */
ACO_MUSTUSE int aco_file_sync_begin(aco_stream *s);
ACO_MUSTUSE int aco_file_sync(aco_stream *s, aco_waitq **wait);

/** The process ends at once: let the system have what the files of this loop hold, here and now. */
void aco_files_write(aco_loop *loop);

/** As lseek, of the place where the next read or write would be, after a flush. What has been read
 * ahead is dropped. */
ACO_MUSTUSE int aco_file_seek(aco_stream *s, int64_t offset, int whence, int64_t *place);

#endif
