/* SPDX-License-Identifier: MIT */
/* edit.c -- lines from standard input, edited where it is a terminal, without blocking the engine.
 *
 * Nothing here waits. edit.feed() takes the bytes that are there and gives a line when one is
 * whole; the caller waits for more with the engine. libedit reads keys by itself and inside some
 * commands again, so it is never let near the descriptor: bytes are collected here until they make
 * up one key, and only then pushed to it (its own read function finds nothing, ever). Keys whose
 * command would ask for more (quoted insert, reading a command's name) are done here or not at all;
 * cursor keys are translated to the control keys of the same meaning. TAB is done here too, so that
 * no Lua code runs below a frame of libedit.
 *
 * The terminal is in edit mode from edit.prompt() to the end of the line, and in its own mode while
 * the line's code runs, which may read from it. Where there is no terminal, or no libedit in the
 * build, lines are cut from the bytes read, and prompts are printed.
 *
 * One `struct edit` per Lua state, owned by the userdata that is the upvalue of all functions; its
 * user values are the completer and the line so far (without libedit). libedit works in terms of
 * the locale: it gets one of its own, for the time of each call, so that the program's is
 * untouched.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* wcwidth, newlocale */
#endif
#include "bindings/edit.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <lauxlib.h>

#ifdef HAVE_LIBEDIT
#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <wchar.h>
#endif

#define EDIT_TYPE "asyncoro.edit"
#define KEY_MAX 32 /* bytes; longer sequences are no key of any terminal */

enum uservalue { VALUE_COMPLETER = 1, VALUE_PARTIAL, VALUES = VALUE_PARTIAL };

struct edit {
    bool started, editing, at_end;
    size_t start, end; /* bytes read and not used yet: in[start .. end - 1] */
    char in[1024];
    char prompt[256];
#ifdef HAVE_LIBEDIT
    EditLine *el; /* NULL: lines are not edited */
    History *history;
    int history_fd; /* -1: not kept */
    locale_t locale;
#endif
};

static struct edit *
edit_self(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* Reads what is there, without waiting. Returns false when nothing came (the end is noted). */
static bool
edit_fill(struct edit *e)
{
    struct pollfd ready = {.fd = STDIN_FILENO, .events = POLLIN};
    ssize_t got;

    if (e->at_end) return false;
    if (e->start > 0) {
        memmove(e->in, e->in + e->start, e->end - e->start);
        e->end -= e->start;
        e->start = 0;
    }
    if (poll(&ready, 1, 0) <= 0) return false;
    got = read(STDIN_FILENO, e->in + e->end, sizeof e->in - e->end);
    if (got > 0)
        e->end += (size_t)got;
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        e->at_end = true;
    return got > 0;
}

#ifdef HAVE_LIBEDIT

#define CONTROL_KEY(c) ((c)&0x1f)
#define ESCAPE '\033'
#define HISTORY_LINES 1000
#define HISTORY_BYTES (128L * 1024) /* of the file that are read; it is cut when twice as long */

enum key_result { KEY_MORE, KEY_LINE, KEY_EOF };

static locale_t
locale_enter(const struct edit *e)
{
    return e->locale != (locale_t)0 ? uselocale(e->locale) : uselocale((locale_t)0);
}

static void
locale_leave(locale_t before)
{
    uselocale(before);
}

/* The user's locale; where that knows ASCII only, one that knows UTF-8. */
static locale_t
locale_open(void)
{
    locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);

    if (locale != (locale_t)0 && strcmp(nl_langinfo_l(CODESET, locale), "ANSI_X3.4-1968") != 0)
        return locale;
    if (locale != (locale_t)0) freelocale(locale);
    return newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

/* History ------------------------------------------------------------------------------------- */

/* Makes the folders above a file, private to the user, as far as they are missing. */
static bool
make_folders(const char *path)
{
    char part[PATH_MAX];
    size_t len = strlen(path);

    if (len >= sizeof part) return false;
    memcpy(part, path, len + 1);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST) return false;
        *slash = '/';
    }
    return true;
}

static int
history_file(const char *path)
{
    struct stat st;
    int fd;

    if (!make_folders(path)) return -1;
    fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0) return -1;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || fchmod(fd, 0600) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Keeps only `text`, the end of the file. Returns false when the file is of no more use. */
static bool
history_cut(int fd, const char *text, size_t len)
{
    return ftruncate(fd, 0) == 0 && write(fd, text, len) == (ssize_t)len;
}

static void
history_forget_file(struct edit *e)
{
    if (e->history_fd >= 0) close(e->history_fd);
    e->history_fd = -1;
}

/* Enters the file's lines; `text` has room for one byte more than HISTORY_BYTES. */
static void
history_load(struct edit *e, char *text)
{
    HistEvent event;
    off_t size = lseek(e->history_fd, 0, SEEK_END);
    off_t from = size > HISTORY_BYTES ? size - HISTORY_BYTES : 0;
    ssize_t got = pread(e->history_fd, text, (size_t)HISTORY_BYTES, from);
    char *line = text, *newline;

    if (got <= 0) return;
    text[got] = '\0';
    if (from > 0 && (newline = strchr(line, '\n')) != NULL) line = newline + 1;
    if (size > 2 * HISTORY_BYTES && !history_cut(e->history_fd, line, (size_t)(text + got - line)))
        history_forget_file(e);
    for (; (newline = strchr(line, '\n')) != NULL; line = newline + 1) {
        *newline = '\0';
        if (*line != '\0') history(e->history, &event, H_ENTER, line);
    }
}

/* Remembers a line, once where it is repeated. In the file each line is appended by itself, so that
 * several prompts at once lose nothing. */
static void
history_add(struct edit *e, const char *line, size_t len)
{
    HistEvent event;
    char *text;

    if (len == 0 || strlen(line) != len) return;
    if (history(e->history, &event, H_FIRST) == 0 && strcmp(event.str, line) == 0) return;
    history(e->history, &event, H_ENTER, line);
    if (e->history_fd < 0 || (text = malloc(len + 1)) == NULL) return;
    memcpy(text, line, len);
    text[len] = '\n';
    if (write(e->history_fd, text, len + 1) < 0) history_forget_file(e);
    free(text);
}

/* The editor ---------------------------------------------------------------------------------- */

static char *
editor_prompt(EditLine *el)
{
    struct edit *e = NULL;

    el_get(el, EL_CLIENTDATA, &e);
    return e->prompt;
}

/* libedit's read function: there is never anything but what was pushed. */
static int
editor_getc(EditLine *el, wchar_t *c)
{
    (void)el;
    *c = L'\0';
    return 0;
}

static void
editor_close(struct edit *e)
{
    locale_t before = locale_enter(e);

    if (e->el != NULL) {
        el_set(e->el, EL_UNBUFFERED, 0);
        el_end(e->el);
    }
    if (e->history != NULL) history_end(e->history);
    history_forget_file(e);
    locale_leave(before);
    if (e->locale != (locale_t)0) freelocale(e->locale);
    e->el = NULL;
    e->history = NULL;
    e->locale = (locale_t)0;
}

static void
editor_configure(struct edit *e)
{
    HistEvent event;

    history(e->history, &event, H_SETSIZE, HISTORY_LINES);
    el_set(e->el, EL_CLIENTDATA, e);
    el_set(e->el, EL_GETCFN, editor_getc);
    el_set(e->el, EL_PROMPT, editor_prompt);
    el_set(e->el, EL_SIGNAL, 0);
    el_set(e->el, EL_EDITOR, "emacs");
    el_set(e->el, EL_HIST, history, e->history);
    el_set(e->el, EL_BIND, "^R", "ed-search-prev-history", NULL);
    el_set(e->el, EL_SETTY, "-d", "susp=", NULL); /* Ctrl-Z comes as a key: see editor_suspend */
}

static bool
terminal_can_edit(void)
{
    const char *term = getenv("TERM");

    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term != NULL &&
           strcmp(term, "dumb") != 0 && term[0] != '\0';
}

static void
editor_open(struct edit *e)
{
    locale_t before;

    if (!terminal_can_edit()) return;
    e->locale = locale_open();
    before = locale_enter(e);
    e->history = history_init();
    if (e->history != NULL)
        e->el = el_init_fd("asyncoro", stdin, stdout, stderr, STDIN_FILENO, STDOUT_FILENO,
                           STDERR_FILENO);
    if (e->el != NULL) editor_configure(e);
    locale_leave(before);
    if (e->el == NULL) editor_close(e);
}

/* Starts a line (true) or leaves it (false); the terminal's mode goes with it. */
static void
editor_set(struct edit *e, bool editing)
{
    locale_t before = locale_enter(e);

    el_set(e->el, EL_UNBUFFERED, editing ? 1 : 0);
    locale_leave(before);
}

static void
editor_refresh(struct edit *e)
{
    locale_t before = locale_enter(e);

    el_set(e->el, EL_REFRESH);
    fflush(stdout);
    locale_leave(before);
}

static void
editor_beep(struct edit *e)
{
    el_beep(e->el);
    fflush(stdout);
}

static void
editor_insert(struct edit *e, const char *text)
{
    locale_t before = locale_enter(e);

    el_insertstr(e->el, text);
    el_set(e->el, EL_REFRESH);
    fflush(stdout);
    locale_leave(before);
}

/* Hands libedit one key. Returns the line so far and its length. */
static const char *
editor_push(struct edit *e, const char *key, int *len)
{
    locale_t before = locale_enter(e);
    const char *line;

    el_push(e->el, key);
    line = el_gets(e->el, len);
    fflush(stdout);
    locale_leave(before);
    return line;
}

/* Gives the terminal back, stops as the terminal's own Ctrl-Z would, and goes on where it was. */
static void
editor_suspend(struct edit *e)
{
    editor_set(e, false);
    fflush(stdout);
    kill(0, SIGTSTP);
    editor_set(e, true);
}

/* Bytes of the character at `text`, 0 when it is not whole yet. What is no character counts as one.
 */
static size_t
char_length(const struct edit *e, const char *text, size_t len)
{
    mbstate_t state;
    locale_t before;
    size_t n;

    if (len == 0) return 0;
    memset(&state, 0, sizeof state);
    before = locale_enter(e);
    n = mbrlen(text, len, &state);
    locale_leave(before);
    if (n == (size_t)-2) return len < MB_LEN_MAX ? 0 : 1;
    return n == (size_t)-1 || n == 0 ? 1 : n;
}

/* Bytes of the key that begins at `text`, 0 when it is not whole yet. */
static size_t
key_length(const struct edit *e, const char *text, size_t len)
{
    size_t n;

    if (len == 0) return 0;
    if (text[0] == ESCAPE && len > 1 && (text[1] == '[' || text[1] == 'O')) {
        for (n = 2; n < len && n < KEY_MAX; n++) {
            if (text[n] >= 0x40 && text[n] <= 0x7e) return n + 1;
        }
        return n < KEY_MAX ? 0 : n;
    }
    if (text[0] == ESCAPE || text[0] == CONTROL_KEY('V') || text[0] == CONTROL_KEY('X')) {
        n = char_length(e, text + 1, len - 1);
        return n > 0 ? n + 1 : 0;
    }
    return char_length(e, text, len);
}

/* The control key for a terminal's sequence (without its escape), "" for those without meaning. */
static const char *
key_translate(const char *sequence)
{
    static const char *const keys[][2] = {
        {"[A", "\020"},     {"OA", "\020"},     {"[B", "\016"},     {"OB", "\016"},
        {"[C", "\006"},     {"OC", "\006"},     {"[D", "\002"},     {"OD", "\002"},
        {"[H", "\001"},     {"OH", "\001"},     {"[1~", "\001"},    {"[7~", "\001"},
        {"[F", "\005"},     {"OF", "\005"},     {"[4~", "\005"},    {"[8~", "\005"},
        {"[3~", "\004"},    {"[1;5C", "\033f"}, {"[1;5D", "\033b"}, {"[1;3C", "\033f"},
        {"[1;3D", "\033b"},
    };

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strcmp(sequence, keys[i][0]) == 0) return keys[i][1];
    }
    return "";
}

static bool
line_is_empty(struct edit *e)
{
    locale_t before = locale_enter(e);
    const LineInfo *info = el_line(e->el);

    locale_leave(before);
    return info->lastchar == info->buffer;
}

/* Asks completer(text before the cursor) -> text to insert, text to show; either may be nil. */
static void
editor_complete(lua_State *L, struct edit *e)
{
    locale_t before;
    const LineInfo *info;

    if (lua_getiuservalue(L, lua_upvalueindex(1), VALUE_COMPLETER) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        return;
    }
    before = locale_enter(e);
    info = el_line(e->el);
    locale_leave(before);
    lua_pushlstring(L, info->buffer, (size_t)(info->cursor - info->buffer));
    if (lua_pcall(L, 1, 2, 0) != LUA_OK) {
        lua_pop(L, 1);
        editor_beep(e);
        return;
    }
    if (lua_isstring(L, -1)) printf("\r\n%s\r\n", lua_tostring(L, -1));
    if (lua_isstring(L, -2))
        editor_insert(e, lua_tostring(L, -2));
    else if (lua_isstring(L, -1))
        editor_refresh(e);
    else
        editor_beep(e);
    lua_pop(L, 2);
}

/* Hands on an ordinary key; pushes the line when that has ended it. */
static enum key_result
editor_type(lua_State *L, struct edit *e, const char *key)
{
    int len = 0;
    const char *line = editor_push(e, key, &len);

    if (line == NULL || len <= 0 || line[len - 1] != '\n') return KEY_MORE;
    lua_pushlstring(L, line, (size_t)len - 1);
    editor_set(e, false);
    e->editing = false;
    history_add(e, lua_tostring(L, -1), (size_t)len - 1);
    return KEY_LINE;
}

/* TAB completes; one that came together with more was not typed but pasted. */
static void
editor_tab(lua_State *L, struct edit *e)
{
    if (e->start < e->end)
        editor_insert(e, "\t");
    else
        editor_complete(L, e);
}

static enum key_result
editor_key(lua_State *L, struct edit *e, const char *key, size_t len)
{
    if (key[0] == ESCAPE && len > 2 && (key[1] == '[' || key[1] == 'O')) {
        key = key_translate(key + 1);
        if (key[0] == CONTROL_KEY('D') && line_is_empty(e)) key = "";
    }
    switch (key[0]) {
    case '\0':
        return KEY_MORE;
    case '\t':
        editor_tab(L, e);
        return KEY_MORE;
    case CONTROL_KEY('Z'):
        editor_suspend(e);
        return KEY_MORE;
    case CONTROL_KEY('V'):
        if (key[1] == '\n' || key[1] == '\r')
            editor_beep(e);
        else
            editor_insert(e, key + 1);
        return KEY_MORE;
    case CONTROL_KEY('D'):
        if (line_is_empty(e)) return KEY_EOF;
        break;
    case ESCAPE:
        if (key[1] == 'x' || key[1] == 'X') return KEY_MORE; /* would read the name of a command */
        break;
    default:
        break;
    }
    return editor_type(L, e, key);
}

/* Uses up keys until a line has ended. */
static int
feed_editor(lua_State *L, struct edit *e)
{
    char key[KEY_MAX + 1];
    enum key_result result = KEY_MORE;
    size_t len;

    while (result == KEY_MORE) {
        len = key_length(e, e->in + e->start, e->end - e->start);
        if (len == 0) {
            if (edit_fill(e)) continue;
            if (!e->at_end) return 0;
            result = KEY_EOF;
            break;
        }
        memcpy(key, e->in + e->start, len);
        key[len] = '\0';
        e->start += len;
        result = editor_key(L, e, key, len);
    }
    if (result == KEY_LINE) return 1;
    editor_set(e, false);
    e->editing = false;
    lua_pushboolean(L, 0);
    lua_pushliteral(L, "eof");
    return 2;
}

/* Columns that `text` takes on the terminal. */
static size_t
text_width(const char *text, size_t len)
{
    mbstate_t state;
    size_t width = 0;

    memset(&state, 0, sizeof state);
    while (len > 0) {
        wchar_t c;
        size_t n = mbrtowc(&c, text, len, &state);
        if (n == 0 || n > len) return width + len;
        width += wcwidth(c) > 0 ? (size_t)wcwidth(c) : 0;
        text += n;
        len -= n;
    }
    return width;
}

/* Takes the line off the screen; the cursor is then where its prompt began. */
static void
editor_hide(struct edit *e)
{
    struct winsize size = {.ws_col = 0};
    locale_t before = locale_enter(e);
    const LineInfo *info = el_line(e->el);
    size_t width = text_width(e->prompt, strlen(e->prompt)) +
                   text_width(info->buffer, (size_t)(info->cursor - info->buffer));

    locale_leave(before);
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && width >= size.ws_col)
        printf("\033[%zuA", width / size.ws_col);
    fputs("\r\033[J", stdout);
    fflush(stdout);
}

#endif /* HAVE_LIBEDIT */

/* Without an editor --------------------------------------------------------------------------- */

/* Moves `len` bytes of the input to the end of the line so far, which it pushes. */
static void
plain_take(lua_State *L, struct edit *e, size_t len)
{
    lua_getiuservalue(L, lua_upvalueindex(1), VALUE_PARTIAL);
    lua_pushlstring(L, e->in + e->start, len);
    if (lua_isstring(L, -2))
        lua_concat(L, 2);
    else
        lua_remove(L, -2);
    e->start += len;
}

static void
plain_keep(lua_State *L)
{
    lua_setiuservalue(L, lua_upvalueindex(1), VALUE_PARTIAL);
}

static int
feed_plain(lua_State *L, struct edit *e)
{
    for (;;) {
        size_t len = e->end - e->start;
        const char *newline = memchr(e->in + e->start, '\n', len);
        if (newline != NULL || (e->at_end && len > 0)) {
            plain_take(L, e, newline != NULL ? (size_t)(newline - e->in) - e->start : len);
            if (newline != NULL) e->start++;
            lua_pushnil(L);
            plain_keep(L);
            return 1;
        }
        if (len == sizeof e->in) {
            plain_take(L, e, len);
            plain_keep(L);
        }
        if (!edit_fill(e)) break;
    }
    if (!e->at_end) return 0;
    if (lua_getiuservalue(L, lua_upvalueindex(1), VALUE_PARTIAL) != LUA_TNIL) {
        lua_pushnil(L);
        plain_keep(L);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_pushliteral(L, "eof");
    return 2;
}

/* The module ---------------------------------------------------------------------------------- */

static void
edit_close(struct edit *e)
{
#ifdef HAVE_LIBEDIT
    editor_close(e);
#endif
    e->started = false;
    e->editing = false;
}

static bool
is_editor(const struct edit *e)
{
#ifdef HAVE_LIBEDIT
    return e->el != NULL;
#else
    (void)e;
    return false;
#endif
}

/*** Begin to read lines from standard input.
 * @function start
 * @tparam[opt] table opts `history`: path of the file that keeps lines, made when missing, mode
 * 0600, left out without a word when it cannot be; `completer`: a function that gets the text
 * before the cursor and returns what to insert there and what to show, either of them nil; it may
 * not wait
 * @treturn boolean true when lines are edited, false when they are only read
 */
static int
acl_edit_start(lua_State *L)
{
    struct edit *e = edit_self(L);

    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    edit_close(e);
    lua_getfield(L, 1, "completer");
    luaL_argexpected(L, lua_isnil(L, -1) || lua_isfunction(L, -1), 1, "function as completer");
    lua_setiuservalue(L, lua_upvalueindex(1), VALUE_COMPLETER);
    lua_getfield(L, 1, "history");
    luaL_argexpected(L, lua_isnil(L, -1) || lua_isstring(L, -1), 1, "string as history");
    e->started = true;
#ifdef HAVE_LIBEDIT
    {
        char *text = lua_newuserdatauv(L, (size_t)HISTORY_BYTES + 1, 0);
        editor_open(e);
        if (e->el != NULL && lua_isstring(L, -2)) e->history_fd = history_file(lua_tostring(L, -2));
        if (e->history_fd >= 0) history_load(e, text);
    }
#endif
    lua_pushboolean(L, is_editor(e));
    return 1;
}

/*** Begin a line.
 * The prompt is shown, and what was typed of a line before is dropped.
 * @function prompt
 * @tparam string text the prompt, at most 255 bytes
 * @raise before start
 */
static int
acl_edit_prompt(lua_State *L)
{
    struct edit *e = edit_self(L);
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);

    if (!e->started) return luaL_error(L, "edit.prompt before edit.start");
    luaL_argcheck(L, len < sizeof e->prompt, 1, "prompt too long");
    memcpy(e->prompt, text, len + 1);
#ifdef HAVE_LIBEDIT
    if (e->el != NULL) {
        fflush(stdout);
        if (e->editing) editor_set(e, false);
        editor_set(e, true);
        e->editing = true;
        return 0;
    }
#endif
    fputs(e->prompt, stdout);
    fflush(stdout);
    e->editing = true;
    return 0;
}

/*** Take what has been typed; never waits.
 * To be called once after prompt, and then whenever standard input can be read.
 * @function feed
 * @treturn string the line, without its end
 * @treturn[2] nil when it has not ended yet
 * @treturn[3] boolean false
 * @treturn[3] string "eof": there are no more lines
 * @raise before start
 */
static int
acl_edit_feed(lua_State *L)
{
    struct edit *e = edit_self(L);

    if (!e->started) return luaL_error(L, "edit.feed before edit.start");
    lua_settop(L, 0);
#ifdef HAVE_LIBEDIT
    if (e->el != NULL) {
        if (!e->editing) return luaL_error(L, "edit.feed before edit.prompt");
        return feed_editor(L, e);
    }
#endif
    return feed_plain(L, e);
}

/*** Take the line being edited off the screen, so that something else can be written there.
 * @function hide
 * @treturn boolean false when no line is being edited, and nothing has been done
 */
static int
acl_edit_hide(lua_State *L)
{
    struct edit *e = edit_self(L);
    bool hidden = e->editing && is_editor(e);

#ifdef HAVE_LIBEDIT
    if (hidden) editor_hide(e);
#endif
    lua_pushboolean(L, hidden);
    return 1;
}

/*** Show the line being edited again, below what has been written since.
 * Does nothing when no line is being edited.
 * @function redisplay
 */
static int
acl_edit_redisplay(lua_State *L)
{
    struct edit *e = edit_self(L);

#ifdef HAVE_LIBEDIT
    if (e->editing && is_editor(e)) editor_refresh(e);
#endif
    (void)e;
    return 0;
}

/*** Drop the line being typed and go to a new line of the screen.
 * @function cancel
 */
static int
acl_edit_cancel(lua_State *L)
{
    struct edit *e = edit_self(L);

    if (!e->editing) return 0;
#ifdef HAVE_LIBEDIT
    if (e->el != NULL) {
        int len = 0;
        editor_push(e, "\005", &len); /* to the end of the line: it may take several rows */
        editor_set(e, false);
        e->start = e->end = 0;
    }
#endif
    e->editing = false;
    lua_pushnil(L);
    plain_keep(L);
    fputs("^C\n", stdout);
    fflush(stdout);
    return 0;
}

/*** Stop reading lines and give the terminal back as it was.
 * @function stop
 */
static int
acl_edit_stop(lua_State *L)
{
    edit_close(edit_self(L));
    return 0;
}

static int
acl_edit__gc(lua_State *L)
{
    edit_close(luaL_checkudata(L, 1, EDIT_TYPE));
    return 0;
}

int
acl_edit_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"start", acl_edit_start},   {"prompt", acl_edit_prompt},
        {"feed", acl_edit_feed},     {"hide", acl_edit_hide},
        {"cancel", acl_edit_cancel}, {"redisplay", acl_edit_redisplay},
        {"stop", acl_edit_stop},     {NULL, NULL},
    };
    struct edit *e;

    luaL_newlibtable(L, functions);
    e = lua_newuserdatauv(L, sizeof *e, VALUES);
    memset(e, 0, sizeof *e);
#ifdef HAVE_LIBEDIT
    e->history_fd = -1;
#endif
    if (luaL_newmetatable(L, EDIT_TYPE)) {
        lua_pushcfunction(L, acl_edit__gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
