-- SPDX-License-Identifier: MIT
-- What all streams have in common, over pairs of sockets of this process.
local asyncoro = require "asyncoro"
local helper = require "spec.helper"

local fails, run = helper.fails, helper.run

local function pair() return assert(asyncoro.socket.pair()) end

-- A stream with this in its way, and then its end.
local function having(...)
    local reader <const>, writer <const> = pair()
    assert(writer:write(...))
    writer:close()
    return reader
end

-- A stream into which the pieces come one after the other, each when the reader waits again, and then its end.
local function dribbling(...)
    local reader <const>, writer <const> = pair()
    local pieces <const> = { ... }
    asyncoro.spawn(function()
        for _, piece in ipairs(pieces) do
            assert(writer:write(piece))
            asyncoro.sleep(0.001)
        end
        writer:close()
    end)
    return reader
end

-- Fill the way from this stream until it takes no more; how many bytes that were.
local function fill(stream)
    local sent = 0
    while true do
        local n = stream:send(("x"):rep(65536), 0)
        if not n then return sent end
        sent = sent + n
    end
end

describe("reading from a stream", function()
    it("read gives what there is, up to the limit", function()
        run(function()
            local stream <close> = having "hello world"
            assert.equal("hello", stream:read(5))
            assert.equal("", stream:read(0))
            assert.equal(" world", stream:read(100))
            assert.is_nil(fails("eof", "end of stream", stream:read(1)))
            assert.is_nil(fails("eof", "read ", stream:read()))
        end)
    end)

    it("read waits for something, but not for all", function()
        run(function()
            local stream <close> = dribbling("abc", "defg")
            assert.equal("abc", stream:read())
            assert.equal("de", stream:recv(2))
            assert.equal("fg", stream:read())
            assert.is_nil(stream:read())
        end)
    end)

    it("read_exact waits until it is whole", function()
        run(function()
            local stream <close> = dribbling("ab", "cd", "efgh")
            assert.equal("abc", stream:read_exact(3))
            assert.equal("", stream:read_exact(0))
            assert.equal("defg", stream:recvall(4))
            assert.equal("h", fails("eof", "read_exact", stream:read_exact(2)))
            assert.is_nil(fails("eof", "read_exact", stream:read_exact(2)))
        end)
    end)

    it("read_exact takes megabytes as they come", function()
        run(function()
            local reader <close>, writer = pair()
            local text <const> = ("0123456789abcdef"):rep(256 * 1024)
            asyncoro.spawn(function()
                assert.equal(#text, writer:write(text))
                writer:close()
            end)
            assert.is_true(text == reader:read_exact(#text))
            assert.is_nil(reader:read())
        end)
    end)

    it("read_line strips line ends of both kinds, and takes a last line without one", function()
        run(function()
            local stream <close> = having "one\ntwo\r\n\n\r\nfi\rve\nlast"
            for _, line in ipairs { "one", "two", "", "", "fi\rve", "last" } do assert.equal(line, stream:read_line()) end
            assert.is_nil(fails("eof", "read_line", stream:read_line()))
        end)
    end)

    it("read_line puts pieces together", function()
        run(function()
            local stream <close> = dribbling("a", "b\r", "\nc", "d\ne")
            assert.equal("ab", stream:read_line())
            assert.equal("cd", stream:read_line())
            assert.equal("e", stream:read_line())
            assert.is_nil(stream:read_line())
        end)
    end)

    it("leaves a line that is too long where it is", function()
        run(function()
            local stream <close> = having("short\n", ("x"):rep(100), "\nrest")
            assert.equal("short", stream:read_line(5))
            assert.is_nil(fails("toolarge", "read_line", stream:read_line(99)))
            assert.is_nil(fails("toolarge", "read_line", stream:read_line(10)))
            assert.equal(("x"):rep(100), stream:read_line(100))
            assert.equal("rest", stream:read_line(4))
        end)
    end)

    it("finds out that a line is too long before it has all of it", function()
        run(function()
            local reader <close>, writer <const> = pair()
            writer:write(("x"):rep(50))
            fails("toolarge", "too large", reader:read_line(20, 5))
            assert.equal(("x"):rep(50), reader:read())
            writer:close()
        end)
    end)

    it("does not count half a line end", function()
        run(function()
            local stream <close> = dribbling("abc\r", "\n", "abc\r")
            assert.equal("abc", stream:read_line(3))
            assert.is_nil(fails("toolarge", "read_line", stream:read_line(3))) -- there is no other half
            assert.equal("abc\r", stream:read_line(4))
        end)
    end)

    it("read_until gives the delimiter too", function()
        run(function()
            local stream <close> = dribbling("a--b-", "-", "-c", "d--", "tail")
            assert.equal("a--", stream:read_until "--")
            assert.equal("b--", stream:read_until "--")
            assert.equal("-cd--", stream:read_until "--")
            assert.equal("tail", fails("eof", "read_until", stream:read_until "--"))
            assert.is_nil(fails("eof", "read_until", stream:read_until "--"))
        end)
    end)

    it("read_until has a limit, the delimiter included", function()
        run(function()
            local stream <close> = having "12345;67"
            assert.is_nil(fails("toolarge", "read_until", stream:read_until(";", 5)))
            assert.equal("12345;", stream:read_until(";", 6))
            assert.is_nil(fails("toolarge", "read_until", stream:read_until(";", 1)))
            assert.equal("67", fails("eof", "read_until", stream:read_until(";", 2)))
        end)
    end)

    it("read_all reads to the end, up to a limit", function()
        run(function()
            local stream <close> = dribbling("a", "b", "c")
            assert.equal("abc", stream:read_all())
            assert.equal("", stream:read_all())
            local long <close> = having(("x"):rep(2000))
            assert.is_nil(fails("toolarge", "read_all", long:read_all(1999)))
            assert.equal(("x"):rep(2000), long:read_all(2000))
        end)
    end)

    it("reads messages with their length before them", function()
        run(function()
            local stream <close> = dribbling("\0\0\0\5he", "llo\0\0\0\0\0", "\0\0\3abc", "\0\0\0\9only")
            assert.equal("hello", stream:recv_msg())
            assert.equal("", stream:recv_msg())
            assert.is_nil(fails("toolarge", "recv_msg", stream:recv_msg(2)))
            assert.equal("abc", stream:recv_msg(3))
            assert.equal("\0\0\0\9only", fails("eof", "recv_msg", stream:recv_msg()))
            assert.is_nil(fails("eof", "recv_msg", stream:recv_msg()))
        end)
    end)

    it("does not wait for a message of four gigabytes", function()
        run(function()
            local stream <close> = having "\255\255\255\255"
            assert.is_nil(fails("toolarge", "recv_msg", stream:recv_msg()))
        end)
    end)

    it("mixes all of them", function()
        run(function()
            local stream <close> = dribbling("line 1\nab", "c;rest of it\n", "\0\0\0\1", "mtail")
            assert.equal("line 1", stream:read_line())
            assert.equal("abc;", stream:read_until ";")
            assert.equal("rest", stream:read_exact(4))
            assert.equal(" of it", stream:read_line())
            assert.equal("m", stream:recv_msg())
            assert.equal("tail", stream:read_all())
        end)
    end)

    it("gives the part that has come when time is over, once", function()
        run(function()
            local reader <close>, peer_of_reader = pair()
            local writer <close> = peer_of_reader
            writer:write "part"
            for name, read in pairs {
                read_exact = function() return reader:read_exact(10, 0.002) end,
                read_line = function() return reader:read_line(nil, 0.002) end,
                read_until = function() return reader:read_until("!", nil, 0.002) end,
                read_all = function() return reader:read_all(nil, 0.002) end,
            } do
                assert.equal("part", fails("timeout", name .. " ", read()))
                assert.is_nil(fails("timeout", "timed out", read()))
                writer:write "part"
            end
            assert.equal("part", reader:read(nil, 0))
            assert.is_nil(fails("timeout", "read ", reader:read(nil, 0)))
        end)
    end)

    it("has a time-out of its own, which an argument overrules", function()
        run(function()
            local reader <close>, peer_of_reader = pair()
            local writer <close> = peer_of_reader
            assert.is_nil(reader:gettimeout())
            assert.equal(reader, reader:settimeout(0.002))
            assert.equal(0.002, reader:gettimeout())
            fails("timeout", "read ", reader:read())
            fails("timeout", "read_line", reader:read_line())
            asyncoro.spawn(function()
                asyncoro.sleep(0.01)
                writer:write "late"
            end)
            assert.equal("late", reader:read(nil, 5))
            reader:settimeout(0)
            fails("timeout", "read ", reader:read())
            assert.is_nil(reader:settimeout():gettimeout())
        end)
    end)

    it("has one deadline for all pieces together", function()
        run(function()
            local reader <close>, peer_of_reader = pair()
            local writer <close> = peer_of_reader
            local dribbler <const> = asyncoro.spawn(function()
                for _ = 1, 1000 do
                    writer:write "x"
                    asyncoro.sleep(0.001)
                end
            end)
            local started <const> = asyncoro.now()
            fails("timeout", "read_line", reader:read_line(nil, 0.02))
            assert.is_true(asyncoro.now() - started < 0.5)
            dribbler:terminate()
        end)
    end)

    it("with a time-out of 0 takes what has come", function()
        run(function()
            local reader <close>, peer_of_reader = pair()
            local writer <close> = peer_of_reader
            for _, piece in ipairs { "a", "b" } do
                writer:write(piece)
                assert.equal(piece, reader:read(nil, 0))
            end
            writer:write "line\nand"
            assert.equal("line", reader:read_line(nil, 0))
            assert.equal("and", fails("timeout", "read_line", reader:read_line(nil, 0)))
        end)
    end)

    it("iterates over lines and chunks, and raises what is not the end", function()
        run(function()
            local lines <const> = {}
            local stream <close> = dribbling("a\nb", "\r\n", "c")
            for line in stream:lines() do lines[#lines + 1] = line end
            assert.same({ "a", "b", "c" }, lines)
            local whole <close> = having "a\r\nb\nc"
            lines[4], lines[5], lines[6] = "a\r\n", "b\n", "c"
            local n = 3
            for line in whole:lines "L" do
                n = n + 1
                assert.equal(lines[n], line)
            end
            assert.equal(6, n)
            local bytes <close> = having "abcdefg"
            local chunks <const> = {}
            for chunk in bytes:chunks(3) do chunks[#chunks + 1] = chunk end
            assert.same({ "abc", "def", "g" }, chunks)
            local long <close> = having(("x"):rep(20), "\n")
            assert.error_matches(function() for _ in long:lines("l", 10) do error "reached" end end,
                "^read_line .*: too large$")
        end)
    end)

    it("raises on wrong arguments", function()
        run(function()
            local stream <close> = having ""
            assert.error_matches(function() stream:read(-1) end, "a number of bytes expected, not a negative one")
            assert.error_matches(function() stream:read "x" end, "number expected, got string")
            assert.error_matches(function() stream:read_exact() end, "number expected, got no value")
            assert.error_matches(function() stream:read_line(1.5) end, "no integer representation")
            assert.error_matches(function() stream:read_until "" end, "a delimiter expected, not an empty string")
            assert.error_matches(function() stream:read(1, -1) end, "a time of 0 or more seconds expected")
            assert.error_matches(function() stream:settimeout(-1) end, "a time of 0 or more seconds expected")
            assert.error_matches(function() stream:lines "x" end, "invalid option 'x'")
            assert.error_matches(function() stream:chunks(0) end, "a positive number of bytes")
            assert.error_matches(function() stream.read({}) end, "stream expected, got table")
            assert.error_matches(function() stream.read(io.stdout) end, "stream expected, got FILE%*")
        end)
    end)

    it("takes streams only, not other userdata", function()
        run(function()
            local stream <close> = having ""
            for _, other in ipairs { io.stdout, asyncoro.current(), asyncoro.lock(), {}, "stream", 1 } do
                for _, method in ipairs { "read", "read_line", "write", "close", "fileno" } do
                    local done <const>, message <const> = pcall(stream[method], other, "x")
                    assert.is_false(done)
                    assert.matches("stream expected", message)
                end
            end
        end)
    end)

    it("outside of a coro says so", function()
        local stream
        run(function() stream = having "x" end)
        assert.error_matches(function() stream:read() end, "only a coro can wait")
        stream:close()
    end)
end)

describe("writing to a stream", function()
    it("takes several strings and numbers, and gives the number of bytes", function()
        run(function()
            local reader <close>, peer_of_reader = pair()
            local writer <close> = peer_of_reader
            assert.equal(11, writer:write("a", "", 12, "bc", 1.5, "def"))
            assert.equal("a12bc1.5def", reader:read_exact(11))
            assert.equal(0, writer:write())
            assert.equal(0, writer:write "")
            assert.equal(3, writer:sendall "xyz")
            assert.equal("xyz", reader:read())
        end)
    end)

    it("takes more strings than the system does at once", function()
        run(function()
            local reader <close>, peer_of_reader = pair()
            local writer <close> = peer_of_reader
            local pieces <const> = {}
            for i = 1, 200 do pieces[i] = tostring(i):rep(3) end
            local text <const> = table.concat(pieces)
            assert.equal(#text, writer:write(table.unpack(pieces)))
            assert.equal(text, reader:read_exact(#text))
        end)
    end)

    it("waits while the other side does not read, and sends everything", function()
        run(function()
            local reader <close>, writer <const> = pair()
            local text <const> = ("0123456789"):rep(100000)
            local coro <const> = asyncoro.spawn(function()
                local n <const> = writer:write(text, "|", text)
                writer:close()
                return n
            end)
            asyncoro.yield()
            assert.is_true(coro:is_alive())
            local got <const> = reader:read_all()
            assert.is_true(got == text .. "|" .. text)
            assert.same({ true, 2 * #text + 1 }, { coro:finish() })
        end)
    end)

    it("says how much went out when time is over", function()
        run(function()
            local reader <close>, peer_of_reader = pair()
            local writer <close> = peer_of_reader
            local text <const> = ("0123456789"):rep(200000)
            writer:settimeout(0.002)
            local sent <const> = fails("timeout", "write ", writer:write("head", text))
            assert.is_true(sent > 0 and sent < #text)
            local more <const> = fails("timeout", "write ", writer:write "more")
            assert.equal(0, more)
            assert.is_true(reader:read_exact(sent) == ("head" .. text):sub(1, sent))
            fails("timeout", "read ", reader:read(nil, 0))
        end)
    end)

    it("send writes once", function()
        run(function()
            local reader <close>, peer_of_reader = pair()
            local writer <close> = peer_of_reader
            assert.equal(5, writer:send "hello")
            assert.equal("hello", reader:read())
            local text <const> = ("x"):rep(10 << 20)
            local n <const> = writer:send(text)
            assert.is_true(n > 0 and n < #text)
            fails("timeout", "write ", writer:send(text, 0.001))
            fill(writer)
            local coro <const> = asyncoro.spawn(function() return writer:send "y" end)
            asyncoro.yield()
            assert.is_true(coro:is_alive())
            reader:read_exact(n)
            assert.same({ true, 1 }, { coro:finish() })
        end)
    end)

    it("after a shutdown fails, while reading goes on", function()
        run(function()
            local one <close>, peer_of_one = pair()
            local other <close> = peer_of_one
            one:write "question"
            assert.is_true(one:shutdown())
            assert.is_true(one:shutdown())
            assert.equal(0, fails("closed", "write ", one:write "more"))
            assert.equal("question", other:read_all())
            assert.equal(6, other:write "answer")
            other:shutdown()
            assert.equal("answer", one:read_all())
        end)
    end)

    it("to a broken connection gives reset, and no signal", function()
        run(function()
            local one <close>, other <const> = pair()
            other:close()
            assert.equal(0, fails("reset", "write ", one:write "x"))
            assert.equal(0, fails("reset", "write ", one:send_msg "x"))
        end)
    end)

    it("waiting for a reader that goes away ends with reset", function()
        run(function()
            local one <close>, other <const> = pair()
            fill(one)
            local coro <const> = asyncoro.spawn(function() return one:write "more" end)
            asyncoro.yield()
            other:close()
            local _, value <const>, _, code <const>, sent <const> = coro:finish()
            assert.same({ nil, "reset", 0 }, { value, code, sent })
        end)
    end)

    it("puts the length before messages", function()
        run(function()
            local reader <close>, peer_of_reader = pair()
            local writer <close> = peer_of_reader
            assert.equal(9, writer:send_msg "hello")
            assert.equal(4, writer:send_msg "")
            assert.equal("\0\0\0\5hello\0\0\0\0", reader:read_exact(13))
            writer:send_msg(("m"):rep(1000))
            assert.equal(("m"):rep(1000), reader:recv_msg())
        end)
    end)

    it("raises on what is no string", function()
        run(function()
            local reader <close>, peer_of_reader = pair()
            local writer <close> = peer_of_reader
            assert.error_matches(function() writer:write("x", {}) end, "string expected, got table")
            assert.error_matches(function() writer:write(nil) end, "string expected, got nil")
            assert.error_matches(function() writer:send(true) end, "string expected, got boolean")
            assert.error_matches(function() writer:send_msg() end, "string expected, got no value")
            fails("timeout", "read ", reader:read(nil, 0)) -- nothing went out
        end)
    end)
end)

describe("a stream shared by coros", function()
    it("has one reader and one writer at a time", function()
        run(function()
            local one <close>, peer_of_one = pair()
            local other <close> = peer_of_one
            local filled <const> = fill(one)
            local reader <const> = asyncoro.spawn(function() return one:read() end)
            local writer <const> = asyncoro.spawn(function() return one:write "end" end)
            asyncoro.yield()
            for _, name in ipairs { "read", "read_line", "read_all", "recv_msg" } do
                assert.is_nil(fails("busy", name .. " ", one[name](one)))
            end
            fails("busy", "read_exact", one:read_exact(1))
            fails("busy", "read_until", one:read_until "x")
            assert.equal(0, fails("busy", "write ", one:write "x"))
            fails("busy", "write ", one:send "x")
            fails("busy", "write ", one:send_msg "x")
            fails("busy", "shutdown", one:shutdown())
            fails("busy", "detach", one:detach())
            other:write "for the reader"
            assert.same({ true, "for the reader" }, { reader:finish() })
            other:read_exact(filled)
            assert.equal("end", other:read())
            assert.same({ true, 3 }, { writer:finish() })
        end)
    end)

    it("ends the waits of all when it is closed", function()
        run(function()
            local one <const>, other <close> = pair()
            fill(one)
            local reader <const> = asyncoro.spawn(function() return one:read_line() end)
            local writer <const> = asyncoro.spawn(function() return one:write "end" end)
            asyncoro.yield()
            assert.is_true(one:close())
            for _, coro in ipairs { reader, writer } do
                local ok <const>, value <const>, _, code <const> = coro:finish()
                assert.same({ true, nil, "closed" }, { ok, value, code })
            end
            assert.is_true(one:close())
            assert.is_false(one:is_open())
            assert.is_true(other:is_open())
            for name in ("read read_line read_all recv_msg shutdown detach peer address"):gmatch "%S+" do
                fails("closed", name .. " ", one[name](one))
            end
            for _, name in ipairs { "write", "send", "send_msg" } do fails("closed", "write ", one[name](one, "x")) end
            assert.is_nil(one:fileno())
            assert.equal("stream stream (closed)", tostring(one))
        end)
    end)

    it("keeps its other reader's part when a partial wait ends with closed", function()
        run(function()
            local one <const>, other <close> = pair()
            other:write "part of a line"
            local reader <const> = asyncoro.spawn(function() return one:read_line() end)
            asyncoro.sleep(0.001)
            one:close()
            assert.same({ true, nil, "closed", "part of a line" },
                { (function(ok, value, _, code, part) return ok, value, code, part end)(reader:finish()) })
        end)
    end)

    it("is as it was when a coro that reads is terminated", function()
        run(function()
            local one <close>, peer_of_one = pair()
            local other <close> = peer_of_one
            other:write "first half, "
            local reader <const> = asyncoro.spawn(function() return one:read_line() end)
            asyncoro.sleep(0.001)
            assert.is_true(reader:is_alive())
            reader:terminate()
            reader:finish()
            other:write "second half\n"
            assert.equal("first half, second half", one:read_line())
        end)
    end)

    it("is as it was when a time limit cancels a read", function()
        run(function()
            local one <close>, peer_of_one = pair()
            local other <close> = peer_of_one
            other:write "abc"
            fails("timeout", "with_timeout", asyncoro.with_timeout(0.002, function() return one:read_exact(6) end))
            other:write "def"
            assert.equal("abcdef", one:read_exact(6))
        end)
    end)

    it("can be written again when a coro that writes is terminated", function()
        run(function()
            local one <close>, peer_of_one = pair()
            local other <close> = peer_of_one
            local filled <const> = fill(one)
            local writer <const> = asyncoro.spawn(function() return one:write "lost" end)
            asyncoro.yield()
            writer:terminate()
            writer:finish()
            other:read_exact(filled)
            assert.equal(2, one:write "ok")
            assert.equal("ok", other:read())
        end)
    end)

    it("passes on bytes that came after another read's end", function()
        run(function()
            local stream <close> = having "a\nb\nc"
            local first <const> = asyncoro.spawn(function() return stream:read_line() end)
            assert.same({ true, "a" }, { first:finish() })
            local second <const> = asyncoro.spawn(function() return stream:read_all() end)
            assert.same({ true, "b\nc" }, { second:finish() })
        end)
    end)

    it("does not keep the others from running", function()
        run(function()
            local one <close>, peer_of_one = pair()
            local other <close> = peer_of_one
            local turns, done = 0, false
            asyncoro.spawn(function()
                while not done do
                    turns = turns + 1
                    asyncoro.yield()
                end
            end)
            for _ = 1, 2000 do
                one:write "x"
                other:read(1)
            end
            done = true
            assert.is_true(turns > 10)
        end)
    end)
end)

describe("a stream in select", function()
    it("is ready when something has come, or the end", function()
        run(function()
            local one <close>, other <const> = pair()
            assert.same({ nil, "timeout" }, { (function(i, _, code) return i, code end)(asyncoro.select({ one }, 0)) })
            asyncoro.spawn(function() other:write "two\nlines\n" end)
            assert.equal(1, (asyncoro.select({ one, 5 })))
            assert.equal("two", one:read_line(nil, 0))
            assert.equal(1, (asyncoro.select({ one }, 0))) -- it is in the buffer
            assert.equal("lines", one:read_line(nil, 0))
            assert.equal(2, (asyncoro.select({ one, 0.001 })))
            asyncoro.spawn(function() other:close() end)
            assert.equal(1, (asyncoro.select({ one, 5 })))
            fails("eof", "read ", one:read(nil, 0))
            assert.equal(1, (asyncoro.select({ one }, 0)))
        end)
    end)

    it("is ready when it is closed by another coro", function()
        run(function()
            local one <const>, other <close> = pair()
            asyncoro.spawn(function() one:close() end)
            assert.equal(1, (asyncoro.select({ one, 5 })))
            assert.equal(1, (asyncoro.select({ one }, 0)))
            assert.is_true(other:is_open())
        end)
    end)

    it("is one of several, and takes nothing", function()
        run(function()
            local one <close>, peer_of_one = pair()
            local other <close> = peer_of_one
            local queue <const> = asyncoro.queue()
            asyncoro.spawn(function() other:write "data" end)
            assert.equal(2, (asyncoro.select { queue, one, 5 }))
            queue:put "item"
            assert.same({ 1, "item" }, { asyncoro.select { queue, one, 5 } })
            assert.equal("data", one:read(nil, 0))
        end)
    end)
end)

describe("descriptors of streams", function()
    it("are not left behind", function()
        local before <const> = helper.open_fds()
        run(function()
            for _ = 1, 20 do
                local one <const> = pair()
                one:read(nil, 0)
            end
            local one <close>, peer_of_one = pair()
            local other <close> = peer_of_one
            asyncoro.spawn({ daemon = true }, function() one:read() end)
            asyncoro.yield()
            assert.is_true(other:is_open())
        end)
        collectgarbage()
        assert.equal(before, helper.open_fds())
    end)

    it("travel to another engine and back", function()
        run(function()
            local one <close>, other <const> = pair()
            other:write "here, "
            one:write "first line\nunread"
            assert.equal("first line", other:read_line())
            local fd <const>, unread <const> = other:detach()
            assert.equal("unread", unread)
            assert.is_false(other:is_open())
            local isolate <const> = asyncoro.isolate(function(number)
                local inner = require "asyncoro"
                local stream = inner.socket.from_fd(number)
                stream:write "from afar"
                local line = stream:read_line()
                return line, (stream:detach())
            end, fd)
            assert.equal("here, from afar", one:read_exact(15))
            one:write "question\n"
            local ok <const>, line <const>, back <const> = isolate:finish()
            assert.same({ true, "question" }, { ok, line })
            local again <close> = assert(asyncoro.socket.from_fd(back))
            again:write "home"
            assert.equal("home", one:read())
        end)
    end)

    it("are refused when they cannot be streams", function()
        run(function()
            assert.error_matches(function() asyncoro.socket.from_fd(1) end, "a descriptor above 2")
            assert.error_matches(function() asyncoro.socket.from_fd(-1) end, "a descriptor above 2")
            fails("invalid", "from_fd 987654", asyncoro.socket.from_fd(987654))
        end)
    end)
end)
