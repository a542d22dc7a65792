/* SPDX-License-Identifier: MIT */
/* main.c -- the host binary: options, the `arg` table, and what is run in which order.
 *
 * Everything that is Lua (LUA_INIT, -e, -l, the script, the prompt) runs inside the engine's main
 * coro, one step after the other, so that any of it may wait: host_main is a C function whose
 * continuation is itself, and `struct host`, which lives in main(), says which step is next.
 * The engine reports what goes wrong there; what this file reports itself is wrong options.
 *
 * A chunk that cannot be loaded is raised as an object with __tostring, not as a string: such
 * errors are printed as they are, without a traceback that would only show this file.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "bindings/edit.h"
#include "bindings/host.h"
#include "core/base/version.h"

enum host_step { STEP_SETUP, STEP_INIT, STEP_OPTIONS, STEP_SCRIPT, STEP_PROMPT, STEP_END };

/** What the results of the step that has just been run are for. */
enum host_result { RESULT_NONE, RESULT_GLOBAL, RESULT_EXIT };

struct host {
    int argc;
    char **argv;
    int script; /* index of the script's name in argv; argc when there is none */
    bool interactive, version, execute, ignore_env;
    void (*show)(void); /* --version or --help: print that and do nothing else */
    enum host_step step;
    int option; /* index of the option that STEP_OPTIONS looks at next */
    enum host_result result;
    char *global; /* RESULT_GLOBAL: the name, inside argv, and its length */
    size_t global_len;
    int exit;
};

static const char usage[] = "usage: asyncoro [options] [script [args]]\n"
                            "Available options are:\n"
                            "  -e stat   execute string 'stat'\n"
                            "  -i        enter interactive mode after executing 'script'\n"
                            "  -l mod    require library 'mod' into global 'mod'\n"
                            "  -l g=mod  require library 'mod' into global 'g'\n"
                            "  -v        show version information\n"
                            "  -E        ignore environment variables\n"
                            "  -W        turn warnings on\n"
                            "  --        stop handling options\n"
                            "  -         stop handling options and execute stdin\n"
                            "  --version show the versions of asyncoro and of what it runs on\n"
                            "  --help    show this text\n";

static const char commands[] =
    "Commands, in the place of a script (a file of that name is ./node):\n"
    "  node scheduler cluster doctor secret cert status top console\n"
    "'asyncoro COMMAND --help' says more about one.\n";

/* Options ------------------------------------------------------------------------------------ */

static int
usage_error(const char *option)
{
    if (option[1] == 'e' || option[1] == 'l')
        fprintf(stderr, "asyncoro: '%s' needs argument\n", option);
    else
        fprintf(stderr, "asyncoro: unrecognized option '%s'\n", option);
    fputs(usage, stderr);
    return EXIT_FAILURE;
}

static void
show_banner(void)
{
    printf("asyncoro %s, %s\n", aco_version(), LUA_COPYRIGHT);
}

static void
show_versions(void)
{
    printf("asyncoro %s\n%s\nlibevent %s\nOpenSSL %s\n", aco_version(), LUA_RELEASE,
           aco_version_libevent(), aco_version_openssl());
    if (LUA_VERSION_RELEASE_NUM < 50406)
        puts("warning: " LUA_RELEASE " has known faults; use 5.4.6 or newer where you can");
}

static void
show_help(void)
{
    fputs(usage, stdout);
    fputs(commands, stdout);
}

/* True for an option of one letter; those that take text are handled apart. */
static bool
parse_flag(struct host *h, const char *option)
{
    if (option[2] != '\0') return false;
    switch (option[1]) {
    case 'E':
        h->ignore_env = true;
        return true;
    case 'W':
        return true; /* done in its turn, by step_option */
    case 'i':
        h->interactive = true; /* FALLTHROUGH */
    case 'v':
        h->version = true;
        return true;
    default:
        return false;
    }
}

/* Reads the options as lua does. Returns NULL, or the option that is wrong. */
static const char *
parse_options(struct host *h)
{
    int i = 1;

    for (; i < h->argc && h->argv[i][0] == '-' && h->argv[i][1] != '\0'; i++) {
        const char *option = h->argv[i];
        if (strcmp(option, "--") == 0) {
            i++;
            break;
        }
        if (strcmp(option, "--version") == 0) {
            h->show = show_versions;
        } else if (strcmp(option, "--help") == 0) {
            h->show = show_help;
        } else if (option[1] == 'e' || option[1] == 'l') {
            h->execute = h->execute || option[1] == 'e';
            if (option[2] != '\0') continue;
            i++;
            if (i >= h->argc || h->argv[i][0] == '-') return option;
        } else if (!parse_flag(h, option)) {
            return option;
        }
    }
    h->script = i;
    return NULL;
}

/* The text of option `*i` (-e or -l): the rest of its word, or the next word. */
static char *
option_text(struct host *h, int *i)
{
    char *text = h->argv[*i] + 2;
    return *text != '\0' ? text : h->argv[++*i];
}

/* Loading ------------------------------------------------------------------------------------ */

static int
load_error_tostring(lua_State *L)
{
    lua_getfield(L, 1, "message");
    return 1;
}

/* Raises the message on top of the stack so that it is printed without a traceback. */
static void
raise_plain(lua_State *L)
{
    lua_createtable(L, 0, 1);
    lua_insert(L, -2);
    lua_setfield(L, -2, "message");
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, load_error_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_setmetatable(L, -2);
    lua_error(L);
}

/* Remembers the text of a chunk that is in no file, so that its functions can be shipped. */
static void
keep_source(lua_State *L, const char *name, const char *text, size_t len)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "asyncoro.source");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "keep");
    lua_pushstring(L, name);
    lua_pushlstring(L, text, len);
    lua_call(L, 2, 0);
    lua_pop(L, 1);
}

static void
load_text(lua_State *L, const char *text, size_t len, const char *name)
{
    if (luaL_loadbufferx(L, text, len, name, NULL) != LUA_OK) raise_plain(L);
    if (len > 0 && text[0] != LUA_SIGNATURE[0]) keep_source(L, name, text, len);
}

static void
load_file(lua_State *L, const char *path)
{
    if (luaL_loadfilex(L, path, NULL) != LUA_OK) raise_plain(L);
}

/* Where a chunk read from stdin begins: after a byte order mark, and with a first line that
 * starts with '#' cut down to its line end (all of it before a compiled chunk). */
static const char *
skip_preamble(const char *text, const char *end)
{
    if (end - text >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) text += 3;
    if (text < end && *text == '#') {
        while (text < end && *text != '\n')
            text++;
        if (end - text >= 2 && text[1] == LUA_SIGNATURE[0]) text++;
    }
    return text;
}

static void
load_stdin(lua_State *L)
{
    luaL_Buffer b;
    const char *text, *start;
    size_t got, len;

    luaL_buffinit(L, &b);
    do {
        got = fread(luaL_prepbuffer(&b), 1, LUAL_BUFFERSIZE, stdin);
        luaL_addsize(&b, got);
    } while (got > 0);
    luaL_pushresult(&b);
    if (ferror(stdin)) {
        lua_pushliteral(L, "cannot read stdin");
        raise_plain(L);
    }
    text = lua_tolstring(L, -1, &len);
    start = skip_preamble(text, text + len);
    load_text(L, start, (size_t)(text + len - start), "=stdin");
    lua_remove(L, -2);
}

/* Pushes a call of `module`.`name`, both of ours; its arguments follow. */
static void
push_entry(lua_State *L, const char *module, const char *name)
{
    lua_pushfstring(L, "return require('%s').%s(...)", module, name);
    if (luaL_loadstring(L, lua_tostring(L, -1)) != LUA_OK) lua_error(L);
    lua_remove(L, -2);
}

/* Steps -------------------------------------------------------------------------------------- */

/* The table of words: the script's name at 0, its arguments after, the others before. */
static void
create_arg(lua_State *L, const struct host *h)
{
    int zero = h->script < h->argc ? h->script : 0;

    lua_createtable(L, h->argc > zero ? h->argc - zero : 0, zero + 1);
    for (int i = 0; i < h->argc; i++) {
        lua_pushstring(L, h->argv[i]);
        lua_rawseti(L, -2, i - zero);
    }
    lua_setglobal(L, "arg");
}

static void
step_setup(lua_State *L, const struct host *h)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, acl_edit_open);
    lua_setfield(L, -2, "asyncoro.edit");
    lua_pop(L, 1);
    create_arg(L, h);
}

/* Each step pushes a function with its arguments and returns how many, or -1 for nothing to do. */
static int
step_init(lua_State *L, const struct host *h)
{
    const char *name = "=LUA_INIT" LUA_VERSUFFIX;
    const char *text = getenv(name + 1);

    if (h->ignore_env) return -1;
    if (text == NULL) {
        name = "=LUA_INIT";
        text = getenv(name + 1);
    }
    if (text == NULL) return -1;
    if (text[0] == '@')
        load_file(L, text + 1);
    else
        load_text(L, text, strlen(text), name);
    return 0;
}

static int
push_require(lua_State *L, struct host *h, char *text)
{
    char *equals = strchr(text, '=');

    h->result = RESULT_GLOBAL;
    h->global = text;
    h->global_len = equals != NULL ? (size_t)(equals - text) : strlen(text);
    lua_getglobal(L, "require");
    lua_pushstring(L, equals != NULL ? equals + 1 : text);
    return 1;
}

static int
step_option(lua_State *L, struct host *h)
{
    int i = h->option;
    int nargs = -1;

    switch (h->argv[i][1]) {
    case 'e': {
        const char *text = option_text(h, &i);
        load_text(L, text, strlen(text), "=(command line)");
        nargs = 0;
        break;
    }
    case 'l':
        nargs = push_require(L, h, option_text(h, &i));
        break;
    case 'W':
        lua_warning(L, "@on", 0);
        break;
    default:
        break;
    }
    h->option = i + 1;
    return nargs;
}

static bool
is_command(const char *word)
{
    static const char *const words[] = {"node", "scheduler", "cluster", "doctor", "secret",
                                        "cert", "status",    "top",     "console"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(word, words[i]) == 0) return true;
    }
    return false;
}

static int
push_args(lua_State *L)
{
    int n;

    if (lua_getglobal(L, "arg") != LUA_TTABLE) luaL_error(L, "'arg' is not a table");
    n = (int)luaL_len(L, -1);
    luaL_checkstack(L, n + 3, "too many arguments to script");
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, -i, i);
    lua_remove(L, -n - 1);
    return n;
}

static int
step_script(lua_State *L, struct host *h)
{
    const char *name = h->argv[h->script];
    bool literal = strcmp(h->argv[h->script - 1], "--") == 0;

    if (!literal && is_command(name)) {
        h->result = RESULT_EXIT;
        push_entry(L, "asyncoro.cli", "main");
        lua_pushstring(L, name);
        lua_getglobal(L, "arg");
        return 2;
    }
    if (!literal && strcmp(name, "-") == 0)
        load_stdin(L);
    else
        load_file(L, name);
    return push_args(L);
}

static int
step_prompt(lua_State *L, struct host *h)
{
    bool terminal = isatty(STDIN_FILENO);

    if (!h->interactive) {
        if (h->script < h->argc || h->execute || h->version) return -1;
        if (!terminal) {
            load_stdin(L);
            return 0;
        }
        show_banner();
    }
    push_entry(L, "asyncoro.repl", "run");
    return 0;
}

/* Pushes the next thing to call and returns the number of its arguments, -1 when all is done. */
static int
next_call(lua_State *L, struct host *h)
{
    int nargs = -1;

    while (nargs < 0 && h->step != STEP_END) {
        lua_settop(L, 0);
        switch (h->step) {
        case STEP_SETUP:
            step_setup(L, h);
            h->step = STEP_INIT;
            break;
        case STEP_INIT:
            h->step = STEP_OPTIONS;
            nargs = step_init(L, h);
            break;
        case STEP_OPTIONS:
            if (h->option < h->script && strcmp(h->argv[h->option], "--") != 0)
                nargs = step_option(L, h);
            else
                h->step = STEP_SCRIPT;
            break;
        case STEP_SCRIPT:
            h->step = STEP_PROMPT;
            if (h->script < h->argc) nargs = step_script(L, h);
            break;
        default:
            h->step = STEP_END;
            nargs = step_prompt(L, h);
            break;
        }
    }
    return nargs;
}

static void
take_results(lua_State *L, struct host *h)
{
    if (h->result == RESULT_GLOBAL) {
        lua_pushglobaltable(L);
        lua_pushlstring(L, h->global, h->global_len);
        lua_pushvalue(L, 1);
        lua_settable(L, -3);
    } else if (h->result == RESULT_EXIT) {
        h->exit = (int)lua_tointeger(L, 1);
    }
    h->result = RESULT_NONE;
}

/* The main coro's body, and its own continuation. */
static int
host_main(lua_State *L, int status, lua_KContext ctx)
{
    struct host *h = lua_touserdata(L, lua_upvalueindex(1));
    int nargs;

    (void)status;
    for (;;) {
        take_results(L, h);
        nargs = next_call(L, h);
        if (nargs < 0) return 0;
        lua_callk(L, nargs, LUA_MULTRET, ctx, host_main);
    }
}

static int
host_start(lua_State *L)
{
    return host_main(L, LUA_OK, 0);
}

/* Runs protected: making the closure may run out of memory. */
static int
push_main(lua_State *L)
{
    lua_pushcclosure(L, host_start, 1);
    return 1;
}

static int
run_host(struct host *h)
{
    struct acl_host_opts opts = {.ignore_env = h->ignore_env};
    lua_State *L = acl_host_open(&opts);
    int code;

    if (L == NULL) {
        fputs("asyncoro: cannot create state: not enough memory\n", stderr);
        return EXIT_FAILURE;
    }
    lua_pushcfunction(L, push_main);
    lua_pushlightuserdata(L, h);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        fprintf(stderr, "asyncoro: %s\n", lua_tostring(L, -1));
        acl_host_close(L);
        return EXIT_FAILURE;
    }
    code = acl_host_run(L, 0);
    acl_host_close(L);
    return code != 0 ? code : h->exit;
}

/* Standard input, output or error that the caller has closed: the next file or socket would get its
 * number, and what print writes. */
static void
open_standard(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) close(fd);
}

int
main(int argc, char **argv)
{
    struct host h = {.argc = argc, .argv = argv, .option = 1};
    const char *wrong;

    open_standard();
    wrong = parse_options(&h);
    if (wrong != NULL) return usage_error(wrong);
    if (h.show != NULL) {
        h.show();
        return EXIT_SUCCESS;
    }
    if (h.version) show_banner();
    return run_host(&h);
}
