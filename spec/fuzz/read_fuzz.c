/* SPDX-License-Identifier: MIT */
/* read_fuzz.c -- every way of reading, in any order and with any limits, over bytes that come in
 * any pieces: each gives what a look at all the bytes at once says, and none is lost.
 *
 * The input: how many operations; an operation each byte; the bytes that are read. The operations
 * also say in which pieces these come. */
#include "bindings/engine.h"
#include "bindings/state.h"
#include "bindings/stream.h"
#include "core/base/error.h"
#include "spec/core/check.h"

#include <lauxlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct memory {
    const uint8_t *data, *cuts;
    size_t size, cut_count, at, cut;
    int waited;
} memory;

static lua_State *state;

/* A piece of up to 8 bytes, or first, when its cut says so, once or twice nothing yet: a read that
 * may not wait looks twice. */
static int
memory_read(aco_stream *s, void *data, size_t size, size_t *got, aco_waitq **wait)
{
    memory *m = s->state;
    uint8_t cut = m->cut_count > 0 ? m->cuts[m->cut % m->cut_count] : 7;
    size_t piece = (size_t)(cut & 7) + 1;

    if (cut >= 0xc0 && m->waited <= (cut >> 3 & 1)) {
        m->waited++;
        *wait = &s->reader.queue;
        return ACO_EBUSY;
    }
    m->waited = 0;
    m->cut++;
    if (m->at == m->size) return ACO_EEOF;
    if (piece > m->size - m->at) piece = m->size - m->at;
    if (piece > size) piece = size;
    CHECK(piece > 0);
    memcpy(data, m->data + m->at, piece);
    m->at += piece;
    *got = piece;
    return ACO_OK;
}

static void
memory_close(aco_stream *s)
{
    s->state = NULL;
}

static const aco_transport memory_transport = {.read = memory_read, .close = memory_close};

/* (memory) -> stream */
static int
open_memory(lua_State *L)
{
    acl_engine *e = acl_engine_get(L);
    aco_stream *s = acl_stream_new(L, e);

    aco_stream_init(s, &e->loop, -1, &memory_transport, lua_touserdata(L, 1));
    return 1;
}

static const char model[] =
    "local core, open = require 'asyncoro.core', ...\n"
    "local delimiters = { '\\n', 'ab', ';', 'aab' }\n"
    "local rest\n"
    "local function take(n) rest = rest:sub(n + 1) end\n"
    "local function line_in(text)\n"
    "    local stop = text:find('\\n', 1, true)\n"
    "    if not stop then return nil end\n"
    "    return text:sub(1, stop - 1):gsub('\\r$', ''), stop\n"
    "end\n"
    "local function until_in(text, delimiter)\n"
    "    local _, stop = text:find(delimiter, 1, true)\n"
    "    return stop and text:sub(1, stop), stop\n"
    "end\n"
    "local function message_in(text)\n"
    "    if #text < 4 then return nil end\n"
    "    local size = string.unpack('>I4', text)\n"
    "    if #text < 4 + size then return nil, nil, size end\n"
    "    return text:sub(5, 4 + size), 4 + size, size\n"
    "end\n"
    /* The part of a piece that did not become whole: the start of what there was. */
    "local function broken(code, part, whole_in, ...)\n"
    "    if part then\n"
    "        assert(#part > 0 and rest:sub(1, #part) == part)\n"
    "        if whole_in then assert(not whole_in(part, ...)) end\n"
    "        if code == 'eof' then assert(#part == #rest) end\n"
    "        take(#part)\n"
    "    elseif code == 'eof' then\n"
    "        assert(rest == '')\n"
    "    end\n"
    "    assert(code == 'eof' or code == 'timeout', code)\n"
    "end\n"
    "local ops = {}\n"
    "function ops.read(stream, n)\n"
    "    local got, _, code, part = stream:read(n, 0)\n"
    "    if not got then return broken(code, part) end\n"
    "    assert(#got <= n and (#got > 0 or n == 0) and rest:sub(1, #got) == got)\n"
    "    take(#got)\n"
    "end\n"
    "function ops.exact(stream, n)\n"
    "    local got, _, code, part = stream:read_exact(n, 0)\n"
    "    if not got then assert(#(part or '') < n) return broken(code, part) end\n"
    "    assert(#got == n and rest:sub(1, n) == got)\n"
    "    take(n)\n"
    "end\n"
    "function ops.line(stream, n)\n"
    "    local got, _, code, part = stream:read_line(n, 0)\n"
    "    local line, stop = line_in(rest)\n"
    "    if code == 'toolarge' then return assert(#(line or rest) > n) end\n"
    "    if not got then return broken(code, part, line_in) end\n"
    "    assert(#got <= n and got == (line or rest) and (line or rest ~= ''))\n"
    "    take(stop or #rest)\n"
    "end\n"
    "function ops.find(stream, n)\n"
    "    local delimiter = delimiters[n % 4 + 1]\n"
    "    local got, _, code, part = stream:read_until(delimiter, n, 0)\n"
    "    local piece, stop = until_in(rest, delimiter)\n"
    "    if code == 'toolarge' then return assert(#(piece or rest) > n) end\n"
    "    if not got then return broken(code, part, until_in, delimiter) end\n"
    "    assert(#got <= n and got == piece)\n"
    "    take(stop)\n"
    "end\n"
    "function ops.all(stream, n)\n"
    "    local got, _, code, part = stream:read_all(n, 0)\n"
    "    if code == 'toolarge' then return assert(#rest > n) end\n"
    "    if not got then assert(code == 'timeout') return broken(code, part) end\n"
    "    assert(#got <= n and got == rest)\n"
    "    take(#got)\n"
    "end\n"
    "function ops.message(stream, n)\n"
    "    local got, _, code, part = stream:recv_msg(n, 0)\n"
    "    local message, stop, size = message_in(rest)\n"
    "    if code == 'toolarge' then return assert(size > n) end\n"
    "    if not got then return broken(code, part, message_in) end\n"
    "    assert(#got <= n and got == message)\n"
    "    take(stop)\n"
    "end\n"
    "local list = { ops.read, ops.exact, ops.line, ops.find, ops.all, ops.message, ops.line, "
    "ops.find }\n"
    "return function(memory, program, data)\n"
    "    rest = data\n"
    "    core.run(function()\n"
    "        local stream <close> = open(memory)\n"
    "        for i = 1, #program do\n"
    "            local op = program:byte(i)\n"
    "            list[op % 8 + 1](stream, op // 8)\n"
    "        end\n"
    "        repeat\n"
    "            local before = #rest\n"
    "            ops.read(stream, 5)\n"
    "            local got = stream:read(0, 0)\n"
    "            assert(got == '')\n"
    "        until before == 0\n"
    "    end)\n"
    "end\n";

static lua_State *
open_state(void)
{
    lua_State *L = acl_state_new((size_t)256 << 20);

    CHECK(L != NULL);
    lua_pushcfunction(L, acl_state_open_libs);
    CHECK(lua_pcall(L, 0, 0, 0) == LUA_OK);
    CHECK(luaL_loadstring(L, model) == LUA_OK);
    lua_pushcfunction(L, open_memory);
    CHECK(lua_pcall(L, 1, 1, 0) == LUA_OK);
    CHECK(lua_type(L, 1) == LUA_TFUNCTION);
    return L;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memory m = {.at = 0};

    if (state == NULL) state = open_state();
    if (size == 0) return 0;
    m.cuts = data + 1;
    m.cut_count = data[0] % 64;
    if (m.cut_count > size - 1) m.cut_count = size - 1;
    m.data = m.cuts + m.cut_count;
    m.size = size - 1 - m.cut_count;
    lua_pushvalue(state, 1);
    lua_pushlightuserdata(state, &m);
    lua_pushlstring(state, (const char *)m.cuts, m.cut_count);
    lua_pushlstring(state, (const char *)m.data, m.size);
    if (lua_pcall(state, 3, 0, 0) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(state, -1));
        CHECK(false);
    }
    return 0;
}
