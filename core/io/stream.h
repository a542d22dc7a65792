/* SPDX-License-Identifier: MIT */
/* stream.h -- bytes that come and go in order: sockets, pipes, terminals, TLS, files.
 *
 * A stream is a buffer of bytes that were received and not yet taken, over a transport. Nothing
 * here blocks or waits: an operation that cannot go on now gives ACO_EBUSY and the queue in which
 * its task is to wait; woken, it calls the operation again. Loop's thread. */
#ifndef ACO_STREAM_H
#define ACO_STREAM_H

#include "core/base/buf.h"
#include "core/engine/watch.h"

#include <sys/uio.h>

typedef struct aco_stream aco_stream;

/** How the bytes travel. Each function sets stream->errnum when it gives ACO_ESYSTEM or another
 * error that comes from errno. */
typedef struct aco_transport {
    /** Receive 1 .. `size` bytes into `data`. ACO_EBUSY: none now, wait in `*wait`. ACO_EEOF: the
     * end, and so it will be from now on. ACO_ERESET and others: the stream is broken. */
    int (*read)(aco_stream *s, void *data, size_t size, size_t *got, aco_waitq **wait);
    /** Send some of the bytes, 1 at least. ACO_EBUSY: wait in `*wait`, then offer the same bytes
     * (perhaps elsewhere in memory, perhaps more of them). */
    int (*write)(aco_stream *s, const struct iovec *pieces, int count, size_t *put,
                 aco_waitq **wait);
    /** Say that nothing more will be written. ACO_EBUSY: wait in `*wait` and call again. */
    int (*shutdown)(aco_stream *s, aco_waitq **wait);
    /** Give back the descriptor and all that the transport holds, without waiting; those who wait
     * in queues of its own are woken with ACO_ECLOSED. */
    void (*close)(aco_stream *s);
    /** True when a read would give something now, without looking at the descriptor; may be NULL.
     */
    bool (*holds)(const aco_stream *s);
    /** ACO_OK when a read would not have to wait, else ACO_EBUSY: wait in `*wait`. NULL: when the
     * descriptor is readable. */
    int (*ready)(aco_stream *s, aco_waitq **wait);
    /** See that all that was written is on its way: ACO_EBUSY: wait in `*wait` and call again.
     * NULL: a write leaves nothing behind. */
    int (*flush)(aco_stream *s, aco_waitq **wait);
} aco_transport;

struct aco_stream {
    const aco_stream *self;         /* itself, by which a stream is known as one */
    const aco_transport *transport; /* NULL: closed */
    void *state;                    /* the transport's own */
    aco_loop *loop;
    aco_watch reader, writer;
    aco_buf in;       /* received */
    size_t taken;     /* of them, from the start */
    size_t scanned;   /* of what is left, and known not to hold what a reader looks for */
    aco_time timeout; /* of each operation, ACO_NEVER: none */
    aco_time limit;   /* when a wait is to end, and the operation to be called again: the transport
                         has a deadline of its own; ACO_NEVER */
    char *label;      /* for messages: what it is connected to, a path; owned, may be NULL */
    char *error;      /* text of the last failure when errno does not say it; owned, may be NULL */
    int fd;           /* -1: none (any more) */
    int errnum;       /* errno of the last failure */
    bool shared; /* other programs have the descriptor too: it stays blocking, and is asked first */
    bool stdio;  /* what C's stdout holds goes before */
    bool socket; /* the descriptor is a socket */
    bool fifo;   /* it is a pipe, perhaps a named one that nobody writes to yet */
    bool drained;          /* the last read gave less than it might have */
    bool ended;            /* the end has been seen */
    bool shut;             /* nothing may be written any more */
    bool reading, writing; /* a task is in the midst of it */
    uint8_t filled;        /* how often the pipe has been full */
};

/** A stream over `fd`, which it owns from now on and makes non-blocking: a socket, a pipe, a
 * terminal. ACO_ESYSTEM (errnum): the descriptor is still the caller's. */
ACO_MUSTUSE int aco_stream_open(aco_stream *s, aco_loop *loop, int fd);

/** A stream over standard input, output or error (`number`), of which `fd` is a duplicate that it
 * owns from now on. The mode of the descriptor stays as it is: the shell has it too. Cannot fail.
 */
void aco_stream_share(aco_stream *s, aco_loop *loop, int fd, int number);

/** The same over a transport of the caller's; `fd` is not touched and may be -1. Cannot fail. */
void aco_stream_init(aco_stream *s, aco_loop *loop, int fd, const aco_transport *transport,
                     void *state);

/** Close: those who wait are woken with ACO_ECLOSED. Harmless when it is closed, and on zeros. The
 * received bytes stay until aco_stream_fini. */
void aco_stream_close(aco_stream *s);
void aco_stream_fini(aco_stream *s);

/** Give the descriptor back to the caller and forget it; what was received is dropped. */
void aco_stream_detach(aco_stream *s);

static inline bool
aco_stream_is_open(const aco_stream *s)
{
    return s->transport != NULL;
}

/** What has been received and not taken; never NULL. */
static inline const uint8_t *
aco_stream_data(const aco_stream *s)
{
    return s->in.data != NULL ? s->in.data + s->taken : (const uint8_t *)"";
}

static inline size_t
aco_stream_size(const aco_stream *s)
{
    return s->in.size - s->taken;
}

/** Take the first `size` of them. */
void aco_stream_take(aco_stream *s, size_t size);

/** Put bytes behind what has been received. ACO_ENOMEM. */
ACO_MUSTUSE int aco_stream_keep(aco_stream *s, const void *data, size_t size);

/** Receive into the buffer, up to `size` bytes more. As the transport's read. */
ACO_MUSTUSE int aco_stream_fill(aco_stream *s, size_t size, aco_waitq **wait);

/** Receive 1 .. `size` bytes past the buffer, which must be empty. As the transport's read. */
ACO_MUSTUSE int aco_stream_read(aco_stream *s, void *data, size_t size, size_t *got,
                                aco_waitq **wait);

/** Send. As the transport's write; ACO_ECLOSED after a shutdown. */
ACO_MUSTUSE int aco_stream_write(aco_stream *s, const struct iovec *pieces, int count, size_t *put,
                                 aco_waitq **wait);

/** After the last write: ACO_OK when the system has all of it. As the transport's flush. */
ACO_MUSTUSE int aco_stream_flush(aco_stream *s, aco_waitq **wait);
ACO_MUSTUSE int aco_stream_shutdown(aco_stream *s, aco_waitq **wait);

/** ACO_OK when a read would not have to wait, ACO_EBUSY: wait in `*wait`; an error: it cannot be
 * waited for. */
ACO_MUSTUSE int aco_stream_ready(aco_stream *s, aco_waitq **wait);

/** For transports: wait until the descriptor is readable, or writable: arms the watch and gives
 * ACO_EBUSY and its queue, or the error. */
ACO_MUSTUSE int aco_stream_await(aco_watch *watch, aco_waitq **wait);

/** Until when a wait of an operation with this deadline may last. */
static inline aco_time
aco_stream_until(const aco_stream *s, aco_time deadline)
{
    return s->limit < deadline ? s->limit : deadline;
}

/** For transports: note errno in the stream; its error. */
int aco_stream_errno(aco_stream *s);

/** The transport of aco_stream_open. TLS stands upon it. */
extern const aco_transport aco_plain_transport;

#endif
