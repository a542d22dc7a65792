/* SPDX-License-Identifier: MIT */
/* defs.h -- the few types, attributes and limits that every file of core uses. */
#ifndef ACO_DEFS_H
#define ACO_DEFS_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACO_MUSTUSE __attribute__((warn_unused_result))
#define ACO_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define ACO_COLD __attribute__((cold, noinline))
#define ACO_APART __attribute__((noinline)) /* so that the caller's short way stays short */
#define ACO_LIKELY(x) __builtin_expect(!!(x), 1)
#define ACO_UNLIKELY(x) __builtin_expect(!!(x), 0)

/** The struct of type `type` that holds `member` at address `ptr`. */
#define ACO_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/** Times are nanoseconds on the monotonic clock; a deadline of ACO_NEVER never comes. */
typedef int64_t aco_time;
#define ACO_NEVER INT64_MAX
#define ACO_SECOND INT64_C(1000000000)

#endif
