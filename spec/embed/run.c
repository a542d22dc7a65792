/* SPDX-License-Identifier: MIT */
/* run.c -- run FILE [ARGUMENT ...]: a C program that runs a script of asyncoro in itself, for the
 * spec of the examples. */
#include <asyncoro.h>

#include <stdio.h>

static void
on_error(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "run: %s\n", text);
}

int
main(int argc, char **argv)
{
    asyncoro_options options;

    if (argc < 2) return 2;
    asyncoro_options_init(&options, sizeof options);
    options.on_error = on_error;
    options.flags = ASYNCORO_LEASH;
    asyncoro *runtime = asyncoro_new(&options);
    if (runtime == NULL) return 1;
    int code = asyncoro_load_file(runtime, argv[1]);
    if (code == ASYNCORO_OK) code = asyncoro_run(runtime, argc - 2, (const char *const *)argv + 2);
    if (code != ASYNCORO_OK) fprintf(stderr, "run: %s\n", asyncoro_last_error(runtime));
    return asyncoro_close(runtime) == ASYNCORO_OK && code == ASYNCORO_OK ? 0 : 1;
}
