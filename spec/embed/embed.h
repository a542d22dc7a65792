/* SPDX-License-Identifier: MIT */
/* embed.h -- what the programs of this folder share. They use asyncoro as any program does,
 * installed. */
#ifndef EMBED_H
#define EMBED_H

#include <asyncoro.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);                     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN
#endif
#endif

/* What on_error and on_end were told; its address is options.arg. */
typedef struct told {
    char text[4096]; /* all errors, one after the other */
    int errors, ends, end;
} told;

static inline void
tell_error(void *arg, const char *text)
{
    told *t = arg;
    size_t used = strlen(t->text);

    t->errors++;
    snprintf(t->text + used, sizeof t->text - used, "%s\n", text);
}

static inline void
tell_end(void *arg, asyncoro *rt, int end)
{
    told *t = arg;

    (void)rt;
    t->ends++;
    t->end = end;
}

static inline asyncoro_options
options_for(told *t)
{
    asyncoro_options options;

    asyncoro_options_init(&options, sizeof options);
    memset(t, 0, sizeof *t);
    options.on_error = tell_error;
    options.on_end = tell_end;
    options.arg = t;
    return options;
}

/* A runtime with the script loaded. */
static inline asyncoro *
loaded(const asyncoro_options *options, const char *script)
{
    asyncoro *rt = asyncoro_new(options);

    CHECK(rt != NULL);
    if (asyncoro_load(rt, script, strlen(script), "test") != ASYNCORO_OK)
        fprintf(stderr, "%s\n", asyncoro_last_error(rt));
    CHECK(asyncoro_load(rt, script, strlen(script), "test") == ASYNCORO_OK);
    return rt;
}

/* Run a script to its end in a runtime of its own. */
static inline int
run_script(const asyncoro_options *options, const char *script)
{
    asyncoro *rt = loaded(options, script);
    int end = asyncoro_run(rt, 0, NULL);

    CHECK(asyncoro_close(rt) == ASYNCORO_OK);
    return end;
}

#endif
