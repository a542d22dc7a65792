/* SPDX-License-Identifier: MIT */
/* asyncoro.h -- asyncoro as the scripting runtime of a C or C++ program.
 *
 * A runtime is a Lua state with an engine that runs coros in it. A program makes one (or several),
 * loads a script, and lets it run in one of three ways:
 *
 *   asyncoro_run                     to its end, in one call;
 *   asyncoro_start, asyncoro_step    turn by turn, from a loop of the program's own, which may wait
 *                                    for the descriptor asyncoro_fd;
 *   options.base, asyncoro_start     driven by the libevent base of the program, beside its own
 *                                    events.
 *
 * Other threads, and the program itself, talk to the script by messages: asyncoro_post sends one to
 * a coro that has been registered by name; a coro sends to a mailbox of the program's
 * (asyncoro_mailbox_new) as to any coro. Messages are MessagePack (see docs/values.md).
 *
 * Threads: a runtime belongs to one thread, the one that made it, or that has called asyncoro_own
 * since. Functions marked "any thread" may be called from all; the others check it and return
 * ASYNCORO_EMISUSE on a wrong thread, and from inside a script that runs (from C functions that Lua
 * calls, from on_error). Nothing here is shared between runtimes: several may run in one process,
 * in one thread or in many.
 *
 * Codes: functions that return int give 0 or more on success and one of the negative codes below on
 * failure. Nothing is written to stdout or stderr, no signal handler is installed unless the leash
 * is asked for, and the process is never ended, by this library; scripts can do all that with Lua's
 * own functions.
 */
#ifndef ASYNCORO_H
#define ASYNCORO_H

#include <stddef.h>

#if defined(__GNUC__)
#define ASYNCORO_API __attribute__((visibility("default")))
#else
#define ASYNCORO_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct lua_State;
struct event_base;

/** A runtime. */
typedef struct asyncoro asyncoro;

/** A coro of some runtime, from outside. Counted references; outlives the coro and its runtime. */
typedef struct asyncoro_handle asyncoro_handle;

/** A mailbox that coros send to and the C program takes from. */
typedef struct asyncoro_mailbox asyncoro_mailbox;

/** A message taken from a mailbox. */
typedef struct asyncoro_message asyncoro_message;

/** Why a call failed. The numbers never change; new ones may come. */
enum asyncoro_code {
    ASYNCORO_OK = 0,
    ASYNCORO_ETIMEOUT = -1,  /**< the time is over */
    ASYNCORO_ECLOSED = -2,   /**< the mailbox or the runtime has been closed */
    ASYNCORO_EBUSY = -3,     /**< the mailbox of the coro is full */
    ASYNCORO_ENOTFOUND = -4, /**< no such name or file; the coro has ended */
    ASYNCORO_EEXISTS = -5,   /**< the name is taken */
    ASYNCORO_EPROTOCOL = -6, /**< the bytes are not one MessagePack value */
    ASYNCORO_ETOOLARGE = -7, /**< the message has more than 64 MiB */
    ASYNCORO_EINVALID = -8,  /**< an argument is wrong */
    ASYNCORO_ENOMEM = -9,    /**< not enough memory */
    ASYNCORO_ESYSTEM = -10,  /**< the operating system refused */
    ASYNCORO_ESYNTAX = -11,  /**< the script does not compile */
    ASYNCORO_ERUNTIME = -12, /**< a Lua error outside of every coro */
    ASYNCORO_EMISUSE =
        -13 /**< called on the wrong thread, from inside a script, or in a wrong order */
};

/** How a program ended. */
enum asyncoro_end {
    ASYNCORO_FINISHED = 0, /**< all its coros have ended */
    ASYNCORO_FAILED = 1,   /**< its main coro failed, or another one did and nobody observed it */
    ASYNCORO_DEADLOCK = 2, /**< coros were left that nothing could wake */
    ASYNCORO_STOPPED = 3   /**< asyncoro_stop or asyncoro_close ended it */
};

/** Bits of options.flags. */
enum asyncoro_flag {
    /** Reach scripts that compute without waiting: report them, and let terminate, time limits and
     * asyncoro_stop end them. Uses a signal and its handler while a program runs (see
     * docs/leash.md). */
    ASYNCORO_LEASH = 1,
    /** Leave Lua's `coroutine` table and `require` as they are: generators cannot wait then. */
    ASYNCORO_UNPATCHED = 2
};

/** How to make a runtime. asyncoro_options_init sets every field to its default, and `size`, by
 * which a newer library knows an older program; then change what you need. All pointers are
 * borrowed. */
typedef struct asyncoro_options {
    size_t size;

    /** A Lua 5.4 state of the program's own, with the standard libraries it wants scripts to have
     * (`package` must be among them). It stays the program's: asyncoro_close, which must
     * come before lua_close, leaves it as one in which stock Lua has loaded asyncoro. NULL: make
     * one with all standard libraries. */
    struct lua_State *lua;

    /** The libevent base of the program, which must outlive the runtime and be run by its thread.
     * NULL: a base of its own. */
    struct event_base *base;

    /** The allocator of the Lua state, as lua_Alloc, and its first argument. NULL: one of our own.
     * Not together with `lua`, which has one already. The engine itself uses malloc. */
    void *(*alloc)(void *arg, void *ptr, size_t old_size, size_t new_size);
    void *alloc_arg;

    /** So many bytes may the Lua state hold, 0: no limit. A script that wants more gets the Lua
     * error "not enough memory"; the engine itself may use a little more, to clean up. */
    size_t memory_limit;

    /** Another runtime, on any thread: the coros of both find each other by name, and send to each
     * other. NULL: this runtime's names are its own. */
    asyncoro *share;

    /** Called with each error that no caller is told: coros that failed with nobody observing it,
     * the failure of the main coro, deadlocks, stalls. On the runtime's thread, perhaps inside a
     * script: it may not call functions of the runtime, only those for any thread. NULL: errors are
     * dropped, but for asyncoro_last_error. */
    void (*on_error)(void *arg, const char *text);

    /** Called when a program has ended, with an enum asyncoro_end; not by asyncoro_close. It may
     * call every function, also asyncoro_start and asyncoro_close. */
    void (*on_end)(void *arg, asyncoro *runtime, int end);

    /** The first argument of both. */
    void *arg;

    /** Bits of enum asyncoro_flag. */
    unsigned flags;

    /** How many seconds the clean-up of coros may wait when asyncoro_close cancels them. Default 0:
     * what clean-up does without waiting is done, its waits raise. */
    double grace;
} asyncoro_options;

/** Set every field to its default. `size` is sizeof(asyncoro_options). */
ASYNCORO_API void asyncoro_options_init(asyncoro_options *options, size_t size);

/** Make a runtime; the calling thread owns it. `options` NULL: all defaults. NULL on failure, which
 * is said to options->on_error: no memory or descriptors; a Lua state that another runtime uses, or
 * whose own asyncoro module is in use. */
ASYNCORO_API asyncoro *asyncoro_new(const asyncoro_options *options);

/** End a runtime and free it. Coros that are left are cancelled: `<close>` handlers and the
 * functions of asyncoro.atexit run, and may wait for options.grace; a coro that has not ended a
 * quarter of a second after that is cut off. Its handles go on to exist, and give
 * ASYNCORO_ENOTFOUND. NULL is allowed. EMISUSE: nothing was done. The pointer is dead after a
 * success, so a second close is the caller's error. */
ASYNCORO_API int asyncoro_close(asyncoro *runtime);

/** Make the calling thread the owner. The former owner must not use the runtime any more; a program
 * must not be running. EMISUSE. */
ASYNCORO_API int asyncoro_own(asyncoro *runtime);

/** Compile a script of `size` bytes; it is what the next asyncoro_run or asyncoro_start runs. Text
 * only: precompiled chunks are refused. `name` is for messages; NULL: "script". ESYNTAX, ENOMEM,
 * EMISUSE; asyncoro_last_error has the text. */
ASYNCORO_API int asyncoro_load(asyncoro *runtime, const char *text, size_t size, const char *name);

/** The same from a file. Also ENOTFOUND: it cannot be read. */
ASYNCORO_API int asyncoro_load_file(asyncoro *runtime, const char *path);

/** Run the loaded script as the main coro of a program, with `argc` strings as its arguments, to
 * the end of the program: until no coro is left that is no daemon. Returns an enum asyncoro_end;
 * for FAILED and DEADLOCK asyncoro_last_error has the text. EMISUSE: no script is loaded, or a
 * program runs. ENOMEM: it was not started. With options.base, the events of the base are handled
 * meanwhile. */
ASYNCORO_API int asyncoro_run(asyncoro *runtime, int argc, const char *const *argv);

/** Start the loaded script: as the main coro of a program when none runs, else as one more coro of
 * the program. It runs in asyncoro_step, or from the base. EMISUSE: no script is loaded. ENOMEM,
 * ESYSTEM. */
ASYNCORO_API int asyncoro_start(asyncoro *runtime, int argc, const char *const *argv);

/** One turn: let the coros run that are ready, at most a few milliseconds of them unless one does
 * not wait. When none is ready, wait for one, `seconds` at most: 0 only looks, a negative time
 * waits for ever. Returns 1 when the program goes on, 0 when it is over (asyncoro_result) or none
 * was started. EMISUSE: also with options.base. */
ASYNCORO_API int asyncoro_step(asyncoro *runtime, double seconds);

/** How the last program ended: enum asyncoro_end; -1 before the first end. */
ASYNCORO_API int asyncoro_result(const asyncoro *runtime);

/** A descriptor that is readable when asyncoro_step(runtime, 0) has something to do; to be polled
 * for reading, never read. It stays the runtime's and the same until asyncoro_close. Call
 * asyncoro_step after each asyncoro_start. ESYSTEM; EMISUSE: also with options.base. */
ASYNCORO_API int asyncoro_fd(asyncoro *runtime);

/** Cancel every coro of the program that runs: it ends, with ASYNCORO_STOPPED, when they have
 * cleaned up, for which they have 5 seconds. A script that computes without waiting is reached with
 * the leash only. ENOMEM. Any thread, as long as the runtime is not closed; the owner's thread in a
 * signal handler too. */
ASYNCORO_API int asyncoro_stop(asyncoro *runtime);

/** The text of the last failure of a call on this runtime, or of its last error; "" when there was
 * none. Valid until the next call on this runtime. Owner's thread. */
ASYNCORO_API const char *asyncoro_last_error(const asyncoro *runtime);

/** The main thread of the Lua state: to register C functions and set globals, between calls of
 * this library, on the owner's thread. Use protected calls, leave its stack as it was, and do not
 * close it. C functions must not let a Lua error pass through C++ frames or frames of this library.
 * In a state that the library has made, the space of lua_getextraspace belongs to the library. */
ASYNCORO_API struct lua_State *asyncoro_lua(asyncoro *runtime);

/** asyncoro's version, "0.1.0". Any thread. */
ASYNCORO_API const char *asyncoro_version(void);

/** A short English text for a code, "timed out". Any thread. */
ASYNCORO_API const char *asyncoro_code_text(int code);

/** Find a coro by the name that it was registered under (coro:register), in this runtime or one
 * that shares with it. A new reference in *handle. ENOTFOUND, ENOMEM. Any thread, as long as the
 * runtime is not closed. */
ASYNCORO_API int asyncoro_handle_find(asyncoro *runtime, const char *name,
                                      asyncoro_handle **handle);

/** One more reference; returns the handle. Any thread. */
ASYNCORO_API asyncoro_handle *asyncoro_handle_ref(asyncoro_handle *handle);

/** Give a reference back; NULL is allowed. Any thread. */
ASYNCORO_API void asyncoro_handle_unref(asyncoro_handle *handle);

/** Send a message, one MessagePack value, which is copied. Messages of one thread to one coro
 * arrive in order. Never waits: EBUSY when the coro's mailbox is full. ENOTFOUND: the coro has
 * ended. EPROTOCOL, ETOOLARGE, ENOMEM. Any thread. */
ASYNCORO_API int asyncoro_post(asyncoro_handle *handle, const void *bytes, size_t size);

/** Make a mailbox that coros find with asyncoro.locate(name) and send to as to any coro: send,
 * deliver, call. `limit` messages fit, 0: 65,536; senders wait when it is full. *mailbox is the
 * caller's, to be closed once. EEXISTS: the name is taken. EINVALID: no name. ENOMEM, ESYSTEM. Any
 * thread, as long as the runtime is not closed; the mailbox may outlive it. */
ASYNCORO_API int asyncoro_mailbox_new(asyncoro *runtime, const char *name, size_t limit,
                                      asyncoro_mailbox **mailbox);

/** Take the oldest message; wait for one, `seconds` at most: 0 only looks, a negative time waits
 * for ever. *message is the caller's, to be freed. ETIMEOUT, ENOMEM. Any thread, several at once.
 */
ASYNCORO_API int asyncoro_mailbox_take(asyncoro_mailbox *mailbox, double seconds,
                                       asyncoro_message **message);

/** A descriptor that is readable while there may be a message; to be polled for reading, never
 * read. After asyncoro_mailbox_take gave ETIMEOUT it is readable again at the next message. Any
 * thread. */
ASYNCORO_API int asyncoro_mailbox_fd(const asyncoro_mailbox *mailbox);

/** Take the name back, refuse further messages (senders get "notfound"), free what was not taken.
 * No thread may be in asyncoro_mailbox_take. NULL is allowed. */
ASYNCORO_API void asyncoro_mailbox_close(asyncoro_mailbox *mailbox);

/** The bytes of a message, one MessagePack value; valid until it is freed. */
ASYNCORO_API const void *asyncoro_message_data(const asyncoro_message *message);
ASYNCORO_API size_t asyncoro_message_size(const asyncoro_message *message);

/** 1 when the sender waits for a reply (coro:call), and none was given yet. */
ASYNCORO_API int asyncoro_message_is_call(const asyncoro_message *message);

/** Answer a call with one MessagePack value, which is copied; at most once. ENOTFOUND: the sender
 * does not wait for it. EPROTOCOL, ETOOLARGE, ENOMEM. Any thread, one at a time. */
ASYNCORO_API int asyncoro_message_reply(asyncoro_message *message, const void *bytes, size_t size);

/** Free a message. A call that was not answered gives its sender "notfound". NULL is allowed. */
ASYNCORO_API void asyncoro_message_free(asyncoro_message *message);

#ifdef __cplusplus
}
#endif

#endif
